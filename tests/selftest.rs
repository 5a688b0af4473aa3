//! The bpf tier of the selftest: the running kernel's own allocator, for some seconds. Bounded: a kernel that frees nothing any more must
//! not hang whoever tests it.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use itlbench::selftest::reading::{self, State};

/// What the tests here may take; the subtests that run once take some seconds beside `--seconds`.
const LONGEST: Duration = Duration::from_secs(120);

/// Exit code and output of `itlbench selftest` with `args`; it is interrupted after some time, and unloads then.
fn selftest(args: &[&str]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_itlbench"))
        .arg("selftest")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > LONGEST {
            // Not killed: the rest is to be unloaded slowly.
            Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
            std::thread::sleep(Duration::from_secs(25));
            panic!("it took longer than {LONGEST:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    (status.code(), reader.join().unwrap().unwrap())
}

fn ours() -> usize {
    let text = std::fs::read_to_string("/proc/kallsyms").unwrap();
    text.lines().filter(|line| line.contains("bpf_prog_") && line.contains("_itlbench")).count()
}

fn failed(text: &str) -> Vec<String> {
    let results = reading::read(text).unwrap_or_else(|reason| panic!("{reason}: {text}"));
    results.into_iter().filter(|one| one.state == State::Failed).map(|one| one.name).collect()
}

#[test]
fn this_kernel_passes_with_frees_paced_and_nothing_left() {
    let Some(_turn) = tier::bpf() else { return };
    let before = ours();
    let (code, text) = selftest(&["--seconds", "5", "--seed", "1"]);
    let failed: Vec<String> = failed(&text);
    if !failed.is_empty() && failed.iter().all(|name| ["leaks", "packs-released"].contains(&name.as_str())) {
        // A service that starts meanwhile and keeps its programs looks like a leak; a leak is one again.
        let (code, again) = selftest(&["--only", &failed.join(","), "--seconds", "5", "--seed", "1"]);
        assert_eq!(code, Some(0), "{text}{again}");
    } else {
        assert_eq!(code, Some(0), "{text}");
    }
    assert!(text.starts_with("KTAP version 1\n1..27\n"), "{text}");
    let results = text.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok "));
    assert_eq!(results.count(), 27, "{text}");
    let tally = text.lines().find(|line| line.contains("frees were under way")).unwrap();
    let most: u32 = tally.split("at most ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((1..=320).contains(&most), "{tally}");
    // The kernel frees later, and meanwhile perhaps what the test before left.
    tier::wait_until("all of it is gone", || ours() <= before);
}

#[test]
fn another_run_that_loads_and_unloads_beside_is_no_leak() {
    let Some(_turn) = tier::bpf() else { return };
    let out = tempfile::tempdir().unwrap();
    let mut other = Command::new(env!("CARGO_BIN_EXE_itlbench"))
        .args(["run", "chain", "--programs", "64", "--pack", "on", "--trials", "2", "--samples", "3", "--out"])
        .arg(out.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (code, text) = selftest(&["--only", "leaks", "--seconds", "4", "--seed", "5"]);
    assert!(other.wait().unwrap().success());
    // All of it, or nothing that could be said while its programs were there.
    assert!(matches!(code, Some(0 | 4)), "{text}");
}
