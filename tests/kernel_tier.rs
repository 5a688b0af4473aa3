//! The bpf tier: real programs in the running kernel. Needs root; elsewhere it prints SKIP and why, unless REQUIRE_TIER=bpf.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use itlbench::machine::kernel::{KernelMachine, pagewalk};
use itlbench::machine::{Machine, Target};
use itlbench::placement::mapping::{PageSize, Source};
use itlbench::placement::{Addr, Footprint, Image, Observed};
use itlbench::runfile::Run;
use itlbench::trial::Trial;
use itlbench::workload::{PackMode, Spec};
use tier::{Mortal, wait_until};

fn itlbench(args: &[&str], out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
    command.args(args).arg("--out").arg(out).stdin(Stdio::null());
    command
}

fn directory(output: &Output) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(&output.stdout).lines().last().unwrap())
}

fn error_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "one line, not: {text}");
    assert!(text.starts_with("itlbench: "), "{text}");
    text
}

/// Programs of ours that the kernel lists.
fn ours() -> usize {
    let text = std::fs::read_to_string("/proc/kallsyms").unwrap();
    text.lines().filter(|line| line.contains("bpf_prog_") && line.contains("_itlbench")).count()
}

fn assert_placed(trial: &Trial) {
    let (case, print) = (&trial.case, &trial.footprint);
    assert!(trial.placed, "{case}: {print:?}");
    assert_eq!(trial.check.executed, case.programs, "{case}");
    assert_eq!(trial.check.executions_per_run, 33, "{case}");
    let addresses: HashSet<u64> = trial.images.iter().map(|image| image.addr.0).collect();
    assert_eq!(addresses.len(), case.programs as usize);
    assert_eq!(Footprint::of(&trial.images), *print, "the footprint is that of the addresses");
    assert_mapped(trial);
    match case.pack {
        PackMode::Off => assert!(print.own_pages_percent() >= 99.0, "{case}: {print:?}"),
        PackMode::OffTwoMeg => assert_eq!(print.own_region_programs, case.programs, "{case}: {print:?}"),
        PackMode::On | PackMode::Placebo => {
            assert!(print.pages_4k <= (print.ideal_pages_4k * 11 / 10).max(print.ideal_pages_4k + 1))
        }
    }
}

/// JITed code is mapped, read-only and executable, and the walk that says so sees kernel text as the 2 MiB pages it is.
fn assert_mapped(trial: &Trial) {
    let Some(Observed::Seen(mapping)) = &trial.mapping else { panic!("{}: {:?}", trial.case, trial.mapping) };
    assert_eq!(mapping.pages, trial.footprint.pages_4k);
    assert_eq!(mapping.mapped_4k + mapping.mapped_2m + mapping.mapped_1g, mapping.pages, "{mapping:?}");
    assert_eq!((mapping.read_only, mapping.executable), (mapping.pages, mapping.pages), "{mapping:?}");
    assert_eq!(mapping.kernel_text, Some(PageSize::Large));
    if let (Source::BpfWalk | Source::KcoreWalk, Some(frames)) = (mapping.source, mapping.frames) {
        assert!(frames.runs <= mapping.pages && frames.leaves_merged_16k <= mapping.leaves, "{mapping:?}");
    }
}

#[test]
fn the_direct_map_is_found_where_there_is_no_kcore_too() {
    let Some(_turn) = tier::bpf() else { return };
    let base = match pagewalk::direct_map() {
        Ok(base) => base / 4096,
        Err(reason) => return println!("SKIP no way to page tables here: {reason}"),
    };
    // Any frame that is memory on every machine; it is behind what the firmware keeps.
    let frame = (16 << 20) / 4096;
    let leaves = pagewalk::open().leaves(&[base + frame]).unwrap().leaves;
    assert_eq!(leaves[&(base + frame)].frame, Some(frame), "{leaves:?}");
}

#[test]
fn two_sources_of_page_tables_agree_wherever_there_are_two() {
    let Some(_turn) = tier::bpf() else { return };
    let mut looks = pagewalk::open();
    let sources = looks.sources();
    if sources.len() < 2 {
        println!("SKIP: this host offers {sources:?} only");
        return;
    }
    let mut machine = KernelMachine::new(Some(tier::cpu()), false, Arc::new(AtomicBool::new(false))).unwrap();
    let case = Spec::builtin("chain").unwrap().case(256, PackMode::Off);
    let loaded = machine.load(&case, 1).unwrap();
    match looks.observe(loaded.images()) {
        Observed::Seen(mapping) => assert_eq!(1 + mapping.agreeing.len(), sources.len(), "{mapping:?}"),
        Observed::Unknown { reason } => panic!("{reason}"),
    }
}

#[test]
fn a_page_that_is_not_mapped_is_told_from_one_that_cannot_be_read() {
    let Some(_turn) = tier::bpf() else { return };
    let mut looks = pagewalk::open();
    let nowhere = Image { addr: Addr(0xffff_ffff_ffff_f000), len: 64 };
    let Observed::Seen(mapping) = looks.observe(&[nowhere]) else { panic!("the last page is looked at") };
    assert_eq!((mapping.pages, mapping.unmapped), (1, 1));
}

#[test]
fn both_arms_of_chain_and_walk_are_where_they_should_be_and_every_program_runs() {
    let Some(_turn) = tier::bpf() else { return };
    for workload in ["chain", "walk"] {
        let out = tempfile::tempdir().unwrap();
        let args = ["run", workload, "--programs", "64,512", "--trials", "2", "--samples", "4"];
        let output = itlbench(&args, out.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let run = Run::read(&directory(&output)).unwrap();
        assert!(run.complete);
        assert_eq!(run.trials.len(), 8);
        run.trials.iter().for_each(assert_placed);
        let loaded = |trial: &Trial| f64::from(trial.load.fillers + trial.load.programs);
        let most = run.trials.iter().filter(|trial| trial.case.programs == 512).map(loaded).fold(0.0, f64::max);
        let least = run.trials.iter().filter(|trial| trial.case.programs == 512).map(loaded).fold(f64::MAX, f64::min);
        assert!(most / least < 1.25, "both arms load about as many: {least} and {most}");
    }
}

#[test]
fn addresses_are_those_of_kallsyms_and_nothing_stays_behind() {
    let Some(_turn) = tier::bpf() else { return };
    if !tier::kallsyms() {
        return;
    }
    let before = ours();
    let mut machine = KernelMachine::new(Some(tier::cpu()), false, Arc::new(AtomicBool::new(false))).unwrap();
    let case = Spec::builtin("chain").unwrap().case(256, PackMode::Off);
    let mut loaded = machine.load(&case, 1).unwrap();
    let text = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let known: HashSet<u64> = text
        .lines()
        .filter(|line| line.contains("_itlbench"))
        .filter_map(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok())
        .collect();
    assert!(known.len() >= 256);
    for image in loaded.images() {
        assert!(known.contains(&image.addr.0), "{} is not in kallsyms", image.addr);
    }
    loaded.fire(Target::Programs, 100).unwrap();
    loaded.unload().unwrap();
    drop(machine);
    wait_until("programs to go", || ours() <= before);
}

/// A kill frees all of it at once: with its fillers far fewer than the frees at which a kernel can lock up.
fn start_long_run(out: &Path) -> Mortal {
    let args = ["run", "--programs", "96", "--trials", "500", "--samples", "4", "--cpu", &tier::cpu().to_string()];
    Mortal(itlbench(&args, out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn run_file(out: &Path) -> Option<PathBuf> {
    let file = std::fs::read_dir(out).ok()?.next()?.ok()?.path().join("run.jsonl");
    file.exists().then_some(file)
}

fn wait_for_trials(out: &Path) -> PathBuf {
    let mut file = PathBuf::new();
    wait_until("two trials", || {
        let Some(found) = run_file(out) else { return false };
        let trials = std::fs::read_to_string(&found).unwrap_or_default().matches("\"record\":\"trial\"").count();
        file = found;
        trials >= 2
    });
    file
}

#[test]
fn a_killed_run_leaves_nothing_in_the_kernel_and_a_readable_file() {
    let Some(_turn) = tier::bpf() else { return };
    let (before, out) = (ours(), tempfile::tempdir().unwrap());
    let mut child = start_long_run(out.path());
    let file = wait_for_trials(out.path());
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    wait_until("programs to go", || ours() <= before);
    let report = Command::new(env!("CARGO_BIN_EXE_itlbench")).arg("report").arg(&file).output().unwrap();
    assert_eq!(report.status.code(), Some(0), "{}", String::from_utf8_lossy(&report.stderr));
    assert!(String::from_utf8_lossy(&report.stdout).contains("interrupted after"));
}

#[test]
fn a_signal_ends_a_run_in_order_and_keeps_what_was_measured() {
    let Some(_turn) = tier::bpf() else { return };
    let out = tempfile::tempdir().unwrap();
    let mut child = start_long_run(out.path());
    let file = wait_for_trials(out.path());
    let status = Command::new("kill").args(["-INT", &child.0.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    assert!(std::fs::read_to_string(&file).unwrap().lines().last().unwrap().contains("\"record\":\"end\""));
    for name in ["mail.txt", "report.html"] {
        assert!(file.with_file_name(name).exists(), "{name}");
    }
}

#[test]
fn a_second_run_on_the_same_cpu_is_refused() {
    let Some(_turn) = tier::bpf() else { return };
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut child = start_long_run(first.path());
    wait_until("the first run to begin", || run_file(first.path()).is_some());
    let cpu = tier::cpu().to_string();
    let output = itlbench(&["run", "--programs", "8", "--trials", "1", "--cpu", &cpu], second.path()).output().unwrap();
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(error_line(&output).contains(&format!("CPU {cpu} is in use by another itlbench run")));
}

#[test]
fn without_root_the_missing_capabilities_are_named() {
    let Some(_turn) = tier::bpf() else { return };
    let out = tempfile::tempdir().unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .arg(env!("CARGO_BIN_EXE_itlbench"))
        .args(["run", "--out"])
        .arg(out.path())
        .output()
        .unwrap();
    if output.status.code() == Some(126) || output.status.code() == Some(127) {
        println!("SKIP: nobody may not execute the binary where it is built");
        return;
    }
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(error_line(&output).contains("CAP_BPF"));
}

#[test]
fn more_than_the_module_area_holds_is_refused_before_loading() {
    let Some(_turn) = tier::bpf() else { return };
    let out = tempfile::tempdir().unwrap();
    let output = itlbench(&["run", "--programs", "200000", "--trials", "1"], out.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let line = error_line(&output);
    assert!(line.contains("error 524") && line.contains("--stride 4k"), "{line}");
}

#[test]
fn a_cpu_that_does_not_exist_is_named_with_those_that_do() {
    let Some(_turn) = tier::bpf() else { return };
    let out = tempfile::tempdir().unwrap();
    let output = itlbench(&["run", "--cpu", "9999"], out.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(error_line(&output).contains("failed to pin to CPU 9999"));
}

#[test]
fn doctor_tries_events_and_test_runs() {
    let Some(_turn) = tier::bpf() else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_itlbench")).arg("doctor").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("iTLB-load-misses"), "{text}");
}
