//! `itlbench calibrate` and what uses its file: needs no root.
#![allow(clippy::unwrap_used)]

mod tier;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use itlbench::counters::Role;
use itlbench::twin::Calibration;
use itlbench::twin::loops::Counted;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const BUSY: &str = "in use by another itlbench run";

/// Runs the tool; where another of these tests has the CPU, again.
fn itlbench(args: &[&str]) -> Output {
    for _ in 0..120 {
        let output = once(args);
        if !text(&output.stderr).contains(BUSY) {
            return output;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    panic!("the CPU is claimed for a minute");
}

fn once(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_itlbench")).args(args).output().unwrap()
}

/// The lowest CPU this process may use.
fn lowest_cpu() -> usize {
    let allowed = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu)).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn calibrate(dir: &Path, more: &[&str]) -> Output {
    let mut args =
        vec!["calibrate", "--most", "64", "--allocations", "4", "--seed", "5", "--out", dir.to_str().unwrap()];
    args.extend(more);
    itlbench(&args)
}

#[test]
fn a_short_calibration_times_every_arm_and_says_that_it_ends_too_soon() {
    let dir = tempfile::tempdir().unwrap();
    let output = calibrate(dir.path(), &["--model", "zen4"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.contains("no comparison:") && said.contains("the misses are the model's")
            || said.contains("counted on the user side"),
        "{said}"
    );
    let calibration = Calibration::read(&dir.path().join("calibration.json")).unwrap();
    assert_eq!(calibration.model.as_deref(), Some("zen4"));
    let arms = if calibration.supply.is_some() { 4 } else { 2 };
    assert_eq!(calibration.points.len(), 5 * arms, "16, 24, 32, 48, 64 stubs");
    assert!(calibration.points.iter().all(|point| point.ns.len() + (point.left_out + point.disturbed) as usize == 4));
    assert!(dir.path().join("calibration.svg").exists() && dir.path().join("calibration.png").exists());
}

#[test]
fn json_on_stdout_is_what_the_file_holds() {
    let dir = tempfile::tempdir().unwrap();
    let output = calibrate(dir.path(), &["--format", "json"]);
    let file = std::fs::read_to_string(dir.path().join("calibration.json")).unwrap();
    assert_eq!(text(&output.stdout).trim_end(), file);
}

#[test]
fn a_run_reports_other_models_and_why_a_calibration_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    calibrate(dir.path(), &[]);
    let file = dir.path().join("calibration.json");
    let out = dir.path().join("runs");
    let common = ["run", "--machine", "sim", "--programs", "64", "--trials", "4", "--samples", "4"];
    let more = ["--model", "skylake,zen5+coalescing", "--calibration", file.to_str().unwrap(), "--out"];
    let output = itlbench(&[&common[..], &more[..], &[out.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for words in ["iTLB of simulated", "iTLB of skylake", "iTLB of zen5+coalescing", "time is not split"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn bad_input_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let run = ["run", "--machine", "sim", "--out", dir.path().to_str().unwrap()];
    let cases: [(Vec<&str>, i32, &str); 4] = [
        ([&run[..], &["--model", "zen9"]].concat(), 2, "no iTLB model is called `zen9`; `itlbench list models`"),
        ([&run[..], &["--calibration", "/nowhere.json"]].concat(), 1, "`itlbench calibrate` writes one"),
        (vec!["calibrate", "--model", "skylake+coalescing"], 2, "does not coalesce"),
        (vec!["calibrate", "--cpu", "9999"], 3, "failed to pin to CPU 9999"),
    ];
    for (args, code, words) in cases {
        let output = itlbench(&args);
        assert_eq!(output.status.code(), Some(code), "{args:?} {}", text(&output.stderr));
        let error = text(&output.stderr);
        assert!(error.contains(words) && error.trim_end().lines().count() == 1, "{args:?}: {error}");
    }
}

#[test]
fn pmu_tier_misses_are_counted_on_the_user_side_and_the_host_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let output = calibrate(dir.path(), &[]);
    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{error}");
    let calibration = Calibration::read(&dir.path().join("calibration.json")).unwrap();
    if calibration.groups.is_empty() {
        assert!(said.contains("nothing of the core counts here (") && !calibration.refused.is_empty(), "{said}");
        return tier::skip("pmu", &calibration.refused[0]);
    }
    assert!(said.contains("counted on the user side: "), "{said}");
    for point in &calibration.points {
        assert_eq!(point.counted.len(), point.ns.len(), "{point:?}");
        let instructions = |counted: &Counted| counted.per_jump(&calibration.groups, Role::Instructions);
        let counts: Vec<f64> = point.counted.iter().filter_map(instructions).collect();
        // Three instructions a stub: decrement, conditional exit, jump.
        assert!(counts.iter().any(|count| (count - 3.0).abs() < 0.06), "{counts:?}");
    }
}

#[test]
fn a_cpu_that_a_run_has_claimed_is_refused() {
    let cpu = lowest_cpu();
    let name = SocketAddr::from_abstract_name(format!("itlbench/cpu{cpu}")).unwrap();
    let claim = (0..240).find_map(|_| {
        let claim = UnixDatagram::bind_addr(&name).ok();
        if claim.is_none() {
            std::thread::sleep(Duration::from_millis(250));
        }
        claim
    });
    let _claim = claim.expect("the CPU is claimed for a minute");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("made");
    let output = once(&["calibrate", "--cpu", &cpu.to_string(), "--out", out.to_str().unwrap()]);
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), error.lines().count()), (Some(3), 1), "{error}");
    assert!(error.contains(BUSY) && error.contains("--cpu"), "{error}");
    assert!(!out.exists(), "nothing is left behind");
}

/// Set when dropped: a failed test stops what it started, and does not wait for it for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn other_work_on_the_cpu_is_noticed_and_said() {
    let (stop, cpu) = (AtomicBool::new(false), lowest_cpu());
    let dir = tempfile::tempdir().unwrap();
    let output = std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let mut only = CpuSet::new();
            only.set(cpu);
            sched_setaffinity(None, &only).unwrap();
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let most = ["calibrate", "--most", "1024", "--allocations", "4", "--seed", "5"];
        let rest = ["--cpu", &cpu.to_string(), "--out", dir.path().to_str().unwrap()];
        itlbench(&[&most[..], &rest[..]].concat())
    });
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let calibration = Calibration::read(&dir.path().join("calibration.json")).unwrap();
    let company = calibration.company;
    assert!(company.switched_loops > 0 && company.waited_ns > Some(0), "{company:?}");
    let said = text(&output.stdout);
    assert!(said.contains(&format!("other work ran on CPU {cpu}: the thread was switched out in ")), "{said}");
}
