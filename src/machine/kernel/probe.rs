//! What the host offers, found out by trying: for `itlbench doctor`.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use libbpf_rs::ProgramType;
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions, ProgramInfo};

use super::fillers::load_failed;
use super::maps::not_jited;
use super::perf::{open_failed, try_open};
use super::programs::Programs;
use super::sys::{self, TestRun};
use crate::counters::set::OpenError;
use crate::counters::{Choice, Event, Refusal};
use crate::machine;
use crate::placement::{Addr, Image};
use crate::survey::Program;
use crate::workload::{Body, TriggerKind};

/// BPF programs loaded on this host now; `None` without the right to ask.
pub fn loaded_programs() -> Option<u32> {
    let count = ProgInfoIter::default().count() as u32;
    // The iterator ends alike for "no programs" and "not allowed"; only CAP_SYS_ADMIN may walk the ids.
    (count > 0 || rustix::process::geteuid().is_root()).then_some(count)
}

/// Every program the kernel lists. Only CAP_SYS_ADMIN may walk the list.
pub fn jited_programs() -> Result<Vec<Program>, String> {
    let query = ProgInfoQueryOptions::default().include_jited_func_lens(true).include_jited_ksyms(true);
    let programs: Vec<Program> = ProgInfoIter::with_query_opts(query).map(|info| program(&info)).collect();
    match programs.is_empty() && loaded_programs().is_none() {
        true => Err("the kernel lists programs for CAP_SYS_ADMIN only".to_owned()),
        false => Ok(programs),
    }
}

fn program(info: &ProgramInfo) -> Program {
    let lens = info.jited_func_lens.iter().copied();
    let images = info.jited_ksyms.iter().zip(lens).map(|(addr, len)| Image { addr: Addr(*addr as u64), len });
    Program {
        id: info.id,
        name: info.name.to_string_lossy().into_owned(),
        kind: kind(info.ty),
        images: images.collect(),
    }
}

/// `sched_cls` for `SchedCls`, as bpftool spells it.
fn kind(kind: ProgramType) -> String {
    let mut name = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// How many programs others have loaded, and where the JITed code of each of their functions lies, as far as the kernel says.
pub fn foreign() -> (u32, Vec<Image>) {
    let programs = jited_programs().unwrap_or_default();
    let images = programs.iter().flat_map(|program| program.images.iter().copied());
    (programs.len() as u32, images.filter(|image| image.addr.0 != 0 && image.len != 0).collect())
}

/// Every event we would count, with its raw code, and whether it opens and gets a counter.
pub fn events(choice: &Choice) -> machine::Result<Vec<(String, Result<(), String>)>> {
    let cpu = rustix::thread::sched_getcpu() as u32;
    let (groups, refused) = match try_open(choice, cpu) {
        Ok(counters) => (counters.groups().to_vec(), counters.refused().to_vec()),
        Err(OpenError::NoneCounts(refused)) => (Vec::new(), refused),
        Err(error) => return Err(open_failed(error)),
    };
    let named = |event: &Event| format!("{} ({})", event.name, event.code);
    let opened = groups.iter().flat_map(|group| &group.events).map(|event| (named(event), Ok(())));
    let refused = refused.iter().map(|refusal| (named(&refusal.event), Err(reason(refusal))));
    let mut all: Vec<_> = opened.chain(refused).collect();
    // Cycles and instructions are in every pass.
    let mut seen = BTreeSet::new();
    all.retain(|(name, _)| seen.insert(name.clone()));
    Ok(all)
}

fn reason(refusal: &Refusal) -> String {
    format!("{}: {}", refusal.errno, refusal.meaning)
}

/// Whether programs can be loaded and run through BPF_PROG_TEST_RUN.
pub fn test_run() -> Result<(), String> {
    let programs = Programs::open(TriggerKind::Chain, Body::B128).map_err(|error| error.to_string())?;
    let empty = programs.load_empty().map_err(|error| load_failed("empty program", &error).to_string())?;
    TestRun::new(empty, [0; 5]).run(1).map(drop).map_err(|error| format!("BPF_PROG_TEST_RUN failed: {error}"))
}

/// JITed bytes of each function of a program with `body` for `trigger`.
pub fn jited_lengths(trigger: TriggerKind, body: Body) -> Result<Vec<u32>, String> {
    let programs = Programs::open(trigger, body).map_err(|error| error.to_string())?;
    let maps = programs.maps(1).map_err(|error| error.to_string())?;
    let program = programs.load_body(&maps, 0, 1).map_err(|error| load_failed("a program", &error).to_string())?;
    let images =
        sys::images(program.as_fd()).map_err(|error| format!("failed to query a program's length: {error}"))?;
    match images.iter().any(|image| image.len == 0) || images.is_empty() {
        true => Err(not_jited("failed to query a program's length").to_string()),
        false => Ok(images.iter().map(|image| image.len).collect()),
    }
}
