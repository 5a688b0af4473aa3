//! `itlbench calibrate` and what uses its file: needs no root.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use itlbench::twin::Calibration;

fn itlbench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_itlbench")).args(args).output().unwrap()
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
    assert!(said.contains("no comparison:") && said.contains("no PMU was asked"), "{said}");
    let calibration = Calibration::read(&dir.path().join("calibration.json")).unwrap();
    assert_eq!(calibration.model.as_deref(), Some("zen4"));
    let arms = if calibration.supply.is_some() { 4 } else { 2 };
    assert_eq!(calibration.points.len(), 5 * arms, "16, 24, 32, 48, 64 stubs");
    assert!(calibration.points.iter().all(|point| point.ns.len() + point.left_out as usize == 4));
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
