//! What lies in `contrib/` for kselftest, LAVA and LKP, run over what the selftest prints, with the harness's own commands played.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use itlbench::selftest::reading::{self, State};

/// One test at a time: a child started while another thread writes a program inherits the open file for a moment, and executing the
/// program then fails with ETXTBSY.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn contrib(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(path)
}

/// What the selftest prints on the simulated kernel.
fn printed() -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
    let output = command.args(["selftest", "--machine", "sim", "--seconds", "0", "--seed", "3"]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The same with the second result broken and the last ones missing, as from a kernel that hangs.
fn broken() -> String {
    let text = printed().replace("ok 2 header", "not ok 2 header");
    let (kept, _) = text.split_once("ok 20 ").unwrap();
    kept.to_owned()
}

/// A directory in which `itlbench` prints `text` and ends with `code`, whatever it is asked, and remembers what that was.
fn with_itlbench(text: &str, code: u8) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("text"), text).unwrap();
    let here = dir.path().display();
    script(&dir.path().join("itlbench"), &format!("echo \"$@\" >{here}/asked\ncat {here}/text\nexit {code}"));
    dir
}

fn script(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn expected(text: &str) -> Vec<(String, &'static str)> {
    let word = |state| match state {
        State::Passed => "pass",
        State::Failed => "fail",
        State::Skipped => "skip",
    };
    // A text that ends early has its plan corrected, so that it can be read at all.
    let results = text.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok ")).count();
    let text = text.replacen("1..27", &format!("1..{results}"), 1);
    reading::read(&text).unwrap().into_iter().map(|one| (one.name, word(one.state))).collect()
}

#[test]
fn the_output_follows_the_rules_of_the_kernels_parser() {
    let _turn = turn();
    let results = reading::read(&printed()).unwrap();
    assert_eq!(results.len(), 27);
    assert!(results.iter().all(|one| one.state != State::Failed));
    assert!(results.iter().any(|one| one.state == State::Skipped && one.reason.is_some()));
}

#[test]
fn lkp_gets_a_statistic_of_each_result() {
    let _turn = turn();
    for text in [printed(), broken()] {
        let mut child = Command::new(contrib("lkp/programs/itlbench-selftest/parse"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let stats = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let wanted: Vec<String> = expected(&text).iter().map(|(name, result)| format!("{name}.{result}: 1")).collect();
        let results: Vec<&str> = stats.lines().filter(|line| !line.starts_with("loads: ")).collect();
        assert_eq!(results, wanted);
        let loads: u32 = stats.lines().find_map(|line| line.strip_prefix("loads: ")?.parse().ok()).unwrap_or(0);
        assert_eq!(loads > 0, text.contains(" loads, "), "{stats}");
    }
}

#[test]
fn lkp_is_given_files_that_are_yaml_and_a_script_that_is_run_with_its_parameter() {
    let _turn = turn();
    let job = fs::read_to_string(contrib("lkp/jobs/itlbench-selftest.yaml")).unwrap();
    assert!(job.contains("\nitlbench-selftest:\n  seconds:\n"), "{job}");
    let dir = with_itlbench("hello\n", 0);
    let lib = dir.path().join("lib");
    fs::create_dir(&lib).unwrap();
    fs::write(lib.join("reproduce-log.sh"), "log_cmd() { \"$@\"; }\n").unwrap();
    fs::write(lib.join("run.sh"), "cd_benchmark() { cd \"$LKP_SRC\" || exit 1; }\n").unwrap();
    let mut run = Command::new(contrib("lkp/programs/itlbench-selftest/run"));
    let output = run.env("LKP_SRC", dir.path()).env("seconds", "77").output().unwrap();
    assert_eq!(output.stdout, b"hello\n");
    assert_eq!(fs::read_to_string(dir.path().join("asked")).unwrap(), "selftest --seconds 77\n");
}

/// What LAVA is told when the selftest prints `text` and ends with `code`.
fn told(text: &str, code: u8) -> Vec<(String, String)> {
    let dir = with_itlbench(text, code);
    let log = dir.path().join("told");
    script(&dir.path().join("lava-test-case"), &format!("echo \"$1 $2 $3\" >>{}", log.display()));
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let binary = dir.path().join("itlbench");
    let status = Command::new(contrib("lava/itlbench-selftest.sh"))
        .arg(&binary)
        .args(["--seconds", "5"])
        .env("PATH", path)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let case = |line: &str| {
        let mut words = line.split(' ');
        let (name, option, result) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        assert_eq!(option, "--result");
        (name.to_owned(), result.to_owned())
    };
    fs::read_to_string(log).unwrap().lines().map(case).collect()
}

#[test]
fn lava_is_told_each_result_and_whether_all_came() {
    let _turn = turn();
    for (text, code, all) in [(printed(), 0, "pass"), (broken(), 1, "fail"), (String::new(), 3, "skip")] {
        let mut wanted: Vec<(String, String)> = match text.is_empty() {
            true => Vec::new(),
            false => expected(&text).into_iter().map(|(name, result)| (name, result.to_owned())).collect(),
        };
        wanted.push(("itlbench-selftest".to_owned(), all.to_owned()));
        assert_eq!(told(&text, code), wanted);
    }
}

/// `bpf_text.sh` in a directory of its own, with or without a binary beside it.
fn kselftest(dir: &Path) -> Output {
    fs::copy(contrib("kselftest/bpf-text/bpf_text.sh"), dir.join("bpf_text.sh")).unwrap();
    Command::new("./bpf_text.sh").arg("--seed").arg("9").current_dir(dir).output().unwrap()
}

#[test]
fn kselftest_gets_its_exit_codes() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: not root, which the script asks for first");
        return;
    }
    let _turn = turn();
    for (code, theirs) in [(0, 0), (1, 1), (3, 4), (4, 4)] {
        let dir = with_itlbench("KTAP version 1\n", code);
        let output = kselftest(dir.path());
        assert_eq!(output.status.code(), Some(theirs));
        assert_eq!(fs::read_to_string(dir.path().join("asked")).unwrap(), "selftest --seed 9\n");
    }
    let dir = tempfile::tempdir().unwrap();
    let output = kselftest(dir.path());
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1..0 # SKIP copy the static binary"));
}
