//! The bpf tier of the noise meters: a run beside a busy neighbour that this test starts and ends.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use itlbench::counters::{Meter, Unusable};
use itlbench::machine::Meters;
use itlbench::machine::kernel::meters::KernelMeters;
use itlbench::runfile::Run;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// A loop that never sleeps, on one CPU; ended when dropped.
struct Busy(Child);

impl Busy {
    fn on(cpu: usize) -> Self {
        let child = Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap();
        let busy = Self(child);
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(Pid::from_raw(busy.0.id() as i32), &only).unwrap();
        busy
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn windows_beside_a_busy_neighbour_are_marked_kept_in_the_file_and_reported() {
    let Some(_turn) = tier::bpf() else { return };
    // The highest CPU: the other bpf tests take CPU 0.
    let cpu = *tier::cpus().last().unwrap() as usize;
    let out = tempfile::tempdir().unwrap();
    let busy = Busy::on(cpu);
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
        command.args([
            "run",
            "--programs",
            "64",
            "--trials",
            "2",
            "--samples",
            "20",
            "--cpu",
            &cpu.to_string(),
            "--out",
        ]);
        command.arg(out.path()).output().unwrap()
    };
    let mut output = run();
    // Another run may hold the CPU: a minute at most.
    for _ in 0..600 {
        if !String::from_utf8_lossy(&output.stderr).contains("in use by another itlbench run") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        output = run();
    }
    drop(busy);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let run = Run::read(Path::new(text.lines().last().unwrap())).unwrap();
    let windows: Vec<_> = run.trials.iter().flat_map(|trial| &trial.samples).collect();
    assert_eq!(windows.len(), 80, "the disturbed ones are kept in the file");
    let at = run.manifest.meters.iter().position(|meter| *meter == Meter::Switches).unwrap();
    let mut preempted = 0;
    for window in windows {
        let marked = window.discarded == Some(Unusable::Preempted);
        assert!(window.meters[at] == 0 || marked, "{window:?}");
        preempted += u32::from(marked);
    }
    // Two tasks share the CPU in slices of some 3 ms, as long as a window.
    assert!(preempted >= 16, "{preempted} of 80");
    assert!(text.contains("windows discarded: preempted by another task"), "{text}");
}

#[test]
fn the_meters_of_this_host_grow_and_what_is_missing_has_a_reason() {
    let mut meters = KernelMeters::open(Path::new("/"), tier::cpu(), true);
    let known: Vec<Meter> =
        meters.meters().iter().copied().chain(meters.absent().iter().flat_map(|a| a.meters.clone())).collect();
    assert_eq!(known.len(), 12, "every meter is read or has a reason: {known:?}");
    assert!(meters.absent().iter().all(|absence| !absence.reason.is_empty()));
    let (mut before, mut after) = (Vec::new(), Vec::new());
    meters.read(&mut before).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    meters.read(&mut after).unwrap();
    assert_eq!(before.len(), meters.meters().len());
    assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "{before:?} {after:?}");
    let at = meters.meters().iter().position(|meter| *meter == Meter::Switches).unwrap();
    assert!(after[at] > before[at], "a sleeper is switched in again");
}

#[test]
fn a_cpu_that_is_not_there_has_no_meters_but_reasons() {
    let meters = KernelMeters::open(Path::new("/"), 9999, true);
    assert!(!meters.meters().contains(&Meter::DeviceInterrupts));
    let reasons: Vec<&str> = meters.absent().iter().map(|absence| absence.reason.as_str()).collect();
    assert!(reasons.contains(&"`/proc/softirqs` has no counts of CPU 9999"), "{reasons:?}");
}
