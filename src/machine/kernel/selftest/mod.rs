//! In: sequences of the selftest. Out: what the running kernel made of them. Apart from the machine of runs: it loads other programs,
//! looks at what no run looks at, and paces every unload by an account of the frees under way.

mod account;
mod charge;
mod code;
mod lane;
mod limits;
mod look;
mod mapping;
mod packs;
mod survey;

use std::ffi::{CStr, CString};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use libbpf_sys::bpf_insn;
use rustix::thread::{CpuSet, sched_getaffinity};

use self::account::Account;
use self::lane::{Lane, Shared};
use self::limits::Changes;
use self::look::Look;
use self::mapping::Watcher;
use self::packs::Packs;
use self::survey::Least;
use super::maps::not_jited;
use super::sys::{self, ProgramType};
use super::{pack_bytes, pagewalk};
use crate::machine::{MachineError, Result};
use crate::placement::Image;
use crate::placement::mapping::Looks;
use crate::selftest::body::{Body, Kind};
use crate::selftest::operation::Op;
use crate::selftest::trace::{Event, Step};
use crate::selftest::{Allowed, Facts, Subject, Tally};

/// Programs a loader holds: all of them are freed at once if the process is killed.
const MOST_HELD: u16 = 96;
/// Beyond this a load of some dozens of instructions is slow: under emulation.
const SLOW_US: u64 = 1500;
/// How long the first free may take.
const CANARY: Duration = Duration::from_secs(10);

/// The running kernel.
#[derive(Debug)]
pub struct KernelSubject {
    stage: Stage,
    /// Page tables are read by one thread alone.
    looks: Looks,
    tally: Tally,
}

/// What all loaders share.
#[derive(Debug)]
struct Stage {
    facts: Facts,
    account: Account,
    look: Look,
    extable: Vec<bpf_insn>,
    packs: Packs,
    stop: Arc<AtomicBool>,
    /// What the programs of this test alone are called: other processes of ours may load at the same time.
    name: CString,
    /// Loads of all sequences before this one.
    loads_before: u64,
    least: Least,
}

impl KernelSubject {
    /// Opens what looks at the kernel, shows with one program that the kernel still frees, and finds out what it offers.
    pub fn open(allowed: Allowed, stop: Arc<AtomicBool>) -> Result<Self> {
        let (look, extable) = look::open()?;
        let name = own_name();
        canary(&look, &name)?;
        let facts = Facts {
            kernel: kernel_release(),
            cpus: usable_cpus()?,
            pack_bytes: None,
            keeps_text: keeps_text(),
            area_bytes: limits::area_bytes(),
            step_centibytes: 1400,
            most_held: MOST_HELD,
            harden: limits::harden_level(),
            allowed,
            no_area_end: limits::no_area_end(),
            no_fail_nth: limits::no_fail_nth(),
            slow: None,
        };
        let (account, packs) = (Account::default(), Packs::default());
        let stage =
            Stage { facts, account, look, extable, packs, stop, name, loads_before: 0, least: Least::default() };
        let mut subject = Self { stage, looks: pagewalk::open(), tally: Tally::default() };
        subject.calibrate()?;
        Ok(subject)
    }

    /// Finds out by behaviour whether programs share pages, and how long a step of a long body is.
    fn calibrate(&mut self) -> Result<()> {
        let body = |steps, seed| Body { kind: Kind::Long, seed, steps, parts: 0 };
        let ops = (0..8).map(|slot| Op::Load { slot, body: body(if slot < 4 { 40 } else { 140 }, 1) });
        let steps = self.play(&[ops.collect()])?;
        let images: Vec<Image> =
            steps.iter().filter_map(Step::loaded).flat_map(|(_, _, places)| places).map(|place| place.image).collect();
        let (Some(short), Some(long)) = (images.first(), images.last()) else {
            return Err(match steps.iter().any(|step| step.loaded().is_some()) {
                true => not_jited("failed to find code to test"),
                false => MachineError::failed("failed to load the first programs of the test"),
            });
        };
        if short.addr.0 == 0 {
            return Err(MachineError::host_cannot(
                "the kernel shows no addresses of JITed code",
                "set `sysctl kernel.kptr_restrict=1` or 0, and run with CAP_SYSLOG",
            ));
        }
        if long.len <= short.len {
            let lens = format!("140 steps take {} bytes of code, 40 take {}", long.len, short.len);
            return Err(MachineError::failed(lens));
        }
        let loads = steps.iter().filter(|step| step.loaded().is_some());
        let quickest_us = loads.map(|step| (step.ended_ns - step.began_ns) / 1000).min().unwrap_or(0);
        self.stage.facts.slow = (quickest_us > SLOW_US).then(|| {
            format!("loading is slow here, {quickest_us} us for 42 instructions: it would take minutes; --only runs it all the same")
        });
        self.stage.facts.step_centibytes = long.len - short.len;
        self.stage.facts.pack_bytes = super::share_pages(&images).then(pack_bytes);
        self.stage.look.own_pages = self.stage.facts.pack_bytes.is_none();
        Ok(())
    }
}

impl Stage {
    fn lane(&self, number: usize, lanes: &[Vec<Op>]) -> Result<Lane<'_>> {
        let cpus = &self.facts.cpus;
        // A loader alone stays away from the lowest CPUs, which take most interrupts.
        let cpu = if lanes.len() == 1 { cpus[cpus.len() - 1] } else { cpus[number % cpus.len()] };
        let shared = Shared {
            account: &self.account,
            look: &self.look,
            extable: &self.extable,
            name: &self.name,
            packs: &self.packs,
        };
        let with_packs = lanes.iter().flatten().any(|op| matches!(op, Op::Remains { .. }));
        Lane::new(number as u16, cpu, shared, with_packs)
    }

    /// Carries out the sequence of loader `number`.
    fn play(&self, number: usize, lanes: &[Vec<Op>], began: Instant, looks: Option<&mut Looks>) -> Result<Played> {
        let mut lane = self.lane(number, lanes)?;
        let playing = Playing { stage: self, began, changes: Changes::default(), failing: false, watcher: None, looks };
        playing.play(&mut lane, &lanes[number])
    }
}

/// What one loader did.
#[derive(Debug, Default)]
struct Played {
    steps: Vec<Step>,
    loads: u64,
    unloads: u64,
}

/// A sequence under way.
struct Playing<'a> {
    stage: &'a Stage,
    began: Instant,
    changes: Changes,
    /// An allocation of the next load is to fail.
    failing: bool,
    watcher: Option<Watcher>,
    looks: Option<&'a mut Looks>,
}

impl Playing<'_> {
    fn play(mut self, lane: &mut Lane<'_>, ops: &[Op]) -> Result<Played> {
        let mut played = Played::default();
        self.carry_out(ops, lane, &mut played)?;
        self.changes = Changes::default();
        if let Some(watcher) = self.watcher.take() {
            watcher.stop();
        }
        // What is left is unloaded step by step as well: another loader may be given its place while the checks think it is there.
        let left: Vec<Op> = lane.slots().into_iter().map(|slot| Op::Unload { slot }).collect();
        self.carry_out(&left, lane, &mut played)?;
        lane.end()?;
        (played.loads, played.unloads) = (lane.loads, lane.unloads);
        Ok(played)
    }

    fn carry_out(&mut self, ops: &[Op], lane: &mut Lane<'_>, played: &mut Played) -> Result<()> {
        for op in ops {
            if self.stage.stop.load(Ordering::Relaxed) {
                lane.end()?;
                return Err(MachineError::interrupted());
            }
            let began_ns = self.began.elapsed().as_nanos() as u64;
            let event = match lane.apply(*op)? {
                Some(event) => event,
                None => self.apply(*op, lane),
            };
            let ended_ns = self.began.elapsed().as_nanos() as u64;
            if let Op::Load { .. } = op
                && std::mem::take(&mut self.failing)
            {
                let _ = limits::fail_nth(0);
            }
            played.steps.push(Step { lane: lane.number, began_ns, ended_ns, op: *op, event });
        }
        Ok(())
    }

    fn apply(&mut self, op: Op, lane: &mut Lane<'_>) -> Event {
        match op {
            Op::Mapping => match &mut self.looks {
                Some(looks) => mapping::look_up(looks, &lane.images()),
                None => Event::CannotHere("page tables are read by one loader alone".to_owned()),
            },
            Op::Programs => Event::Surveyed(survey::programs(&lane.images(), &self.stage.name.to_string_lossy())),
            Op::Survey => {
                let loads = self.stage.loads_before + lane.loads;
                let survey = || survey::survey(&lane.images(), &self.stage.name.to_string_lossy(), loads);
                Event::Surveyed(if lane.slots().is_empty() { self.stage.least.waited_for(survey) } else { survey() })
            }
            Op::Watch(true) => match lane.images().first() {
                Some(image) => {
                    self.watcher = Some(Watcher::start(image.addr));
                    Event::Done
                }
                None => Event::Nothing,
            },
            Op::Watch(false) => self.watcher.take().map_or(Event::Nothing, Watcher::stop),
            Op::Pressure(on) => self.changes.pressure(on, self.stage.facts.allowed.pressure_percent),
            Op::Harden(level) => self.changes.harden(level),
            Op::Charged => self.changes.charged(|| lane.filter_gone().map_err(std::io::Error::other)),
            Op::JitLimit(room) => self.changes.jit_limit(room),
            Op::FailNth(nth) => match limits::fail_nth(nth) {
                Ok(()) => {
                    self.failing = true;
                    Event::Done
                }
                Err(error) => Event::CannotHere(format!("allocations cannot be made to fail: {error}")),
            },
            Op::Descriptors(left) => self.changes.descriptors(left),
            _ => Event::Nothing,
        }
    }
}

impl Subject for KernelSubject {
    fn facts(&self) -> &Facts {
        &self.stage.facts
    }

    fn play(&mut self, lanes: &[Vec<Op>]) -> Result<Vec<Step>> {
        let began = Instant::now();
        self.stage.loads_before = self.tally.loads;
        let stage = &self.stage;
        let played: Vec<Result<Played>> = if lanes.len() == 1 {
            vec![stage.play(0, lanes, began, Some(&mut self.looks))]
        } else {
            std::thread::scope(|scope| {
                let thread = |number| scope.spawn(move || stage.play(number, lanes, began, None));
                let threads: Vec<_> = (0..lanes.len()).map(thread).collect();
                let panicked = || Err(MachineError::failed("a loader came to grief"));
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
            })
        };
        let mut steps = Vec::new();
        for played in played {
            let played = played?;
            self.tally.loads += played.loads;
            self.tally.unloads += played.unloads;
            steps.extend(played.steps);
        }
        steps.sort_by_key(|step| step.began_ns);
        Ok(steps)
    }

    fn tally(&self) -> Tally {
        let (most, longest) = self.stage.account.extremes();
        Tally { most_frees_under_way: most, longest_free_ms: longest.as_millis() as u32, ..self.tally }
    }
}

/// Loads and frees one program. A kernel whose work queue hangs frees nothing any more, and would hang the whole test.
fn canary(look: &Look, name: &CStr) -> Result<()> {
    let failed = |error: std::io::Error| super::fillers::load_failed("the first program", &error);
    let insns = code::program(&Body::plain(1, 4));
    let program = sys::load_program(ProgramType::SchedCls, name, &insns).map_err(failed)?;
    let images = sys::images(std::os::fd::AsFd::as_fd(&program)).map_err(failed)?;
    let Some(image) = images.first().filter(|image| image.addr.0 != 0 && image.len > 0) else { return Ok(()) };
    let (at, word) = (image.addr.0, look.word(image.addr.0).map_err(failed)?);
    drop(program);
    let began = Instant::now();
    while look.word(at).is_ok_and(|now| now == word) {
        if began.elapsed() > CANARY {
            return Err(MachineError::host_cannot(
                format!(
                    "the kernel has not freed an unloaded program for {} s: its work queue hangs",
                    CANARY.as_secs()
                ),
                "look for tasks in state D, and reboot",
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// `itlbench_` and six digits that no other process draws.
fn own_name() -> CString {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut digits =
        (since.as_nanos() as u64 ^ u64::from(std::process::id()) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let mut name = b"itlbench_".to_vec();
    for _ in 0..6 {
        name.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(digits % 36) as usize]);
        digits /= 36;
    }
    CString::new(name).unwrap_or_default()
}

/// What a program of `body` is loaded as; of a chain or a filter nothing can be said without its array or its socket.
pub fn instructions(body: &Body) -> Vec<bpf_insn> {
    code::program(body)
}

/// Whether execmem's cache is in this kernel: what no longer holds code stays in it unless it is a whole, aligned 2 MiB page.
fn keeps_text() -> bool {
    let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    text.lines().any(|line| line.split(' ').nth(2) == Some("execmem_cache_clean"))
}

fn usable_cpus() -> Result<Vec<u32>> {
    let allowed = sched_getaffinity(None)
        .map_err(|error| MachineError::failed(format!("failed to read CPU affinity: {error}")))?;
    Ok((0..CpuSet::MAX_CPU as u32).filter(|&cpu| allowed.is_set(cpu as usize)).collect())
}

fn kernel_release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}, {}", release.trim(), std::env::consts::ARCH)
}
