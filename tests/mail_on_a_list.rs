//! The mail under a patch: what `git format-patch` and `git am` make of it, and what is left of it when it is quoted twice.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use itlbench::report::mail::check_mail;

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=A U Thor", "-c", "user.email=author@example.org", "-c", "init.defaultBranch=trunk"])
        .args(["-c", "commit.gpgSign=false", "-c", "core.hooksPath=/dev/null"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn itlbench(args: &[&str], paths: &[&Path]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_itlbench")).args(args).args(paths).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A simulated run under `out`; its directory.
fn simulated_run(out: &Path, seed: &str) -> PathBuf {
    let sizes = ["--programs", "8,64", "--trials", "6", "--samples", "8"];
    let args = [&["run", "--machine", "sim", "--seed", seed][..], &sizes, &["--out"]].concat();
    fs::canonicalize(itlbench(&args, &[out]).lines().last().unwrap()).unwrap()
}

fn simulated_mail() -> String {
    let out = tempfile::tempdir().unwrap();
    fs::read_to_string(simulated_run(out.path(), "7").join("mail.txt")).unwrap()
}

/// Two simulated boots a side, compared, the parts of a mail written to `attached`; what stdout got.
fn compared(attached: &Path) -> String {
    let out = tempfile::tempdir().unwrap();
    let run = |seed: u32| simulated_run(&out.path().join(seed.to_string()), &seed.to_string());
    let (base, new): (Vec<PathBuf>, Vec<PathBuf>) = ((1..=2).map(run).collect(), (11..=12).map(run).collect());
    let words = |paths: &[PathBuf]| paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut args = vec!["compare".to_owned()];
    args.extend(words(&base));
    args.push("--to".to_owned());
    args.extend(words(&new));
    args.push("--attach".to_owned());
    itlbench(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[attached])
}

/// Sends `message` through format-patch and am; what the receiver's log holds.
fn through_git(message: &str) -> (String, String) {
    let (sender, receiver) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [sender.path(), receiver.path()] {
        git(dir, &["init", "-q"]);
        fs::write(dir.join("file"), "before\n").unwrap();
        git(dir, &["add", "file"]);
        git(dir, &["commit", "-q", "-m", "base"]);
    }
    fs::write(sender.path().join("file"), "after\n").unwrap();
    fs::write(sender.path().join("message"), message).unwrap();
    git(sender.path(), &["commit", "-q", "-F", "message", "file"]);
    let patch = git(sender.path(), &["format-patch", "-1", "--stdout"]);
    fs::write(receiver.path().join("patch"), &patch).unwrap();
    git(receiver.path(), &["am", "-q", "patch"]);
    (patch, git(receiver.path(), &["log", "-1", "--format=%B"]))
}

fn assert_survives(mail: &str) {
    check_mail(mail).unwrap();
    let message = format!("bpf: place programs elsewhere\n\n{mail}\nSigned-off-by: A U Thor <author@example.org>\n");
    let (patch, log) = through_git(&message);
    assert_eq!(log.trim_end(), message.trim_end());
    assert!(patch.is_ascii() && !patch.to_lowercase().contains("content-transfer-encoding"), "{patch}");
    let longest = mail.lines().map(|line| format!("> > {line}").len()).max().unwrap();
    assert!(longest <= 78, "{longest} columns when quoted twice");
}

#[test]
fn the_mail_survives_format_patch_and_am_and_two_quotes() {
    assert_survives(&simulated_mail());
}

/// The attached run files alone give the comparison again, by the attached script.
#[test]
fn the_mail_of_a_comparison_survives_and_its_parts_repeat_it() {
    let attached = tempfile::tempdir().unwrap();
    let text = compared(attached.path());
    assert_survives(&fs::read_to_string(attached.path().join("report.txt")).unwrap());
    let mut names: Vec<String> =
        fs::read_dir(attached.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let runs = ["base", "new"].map(|side| (1..=2).map(move |run| format!("run-{side}-{run}.jsonl")));
    let expected: Vec<String> = ["config", "report.txt", "reproduce"]
        .map(str::to_owned)
        .into_iter()
        .chain(runs.into_iter().flatten())
        .collect();
    assert_eq!(names, expected);
    let tools = Path::new(env!("CARGO_BIN_EXE_itlbench")).parent().unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let again = Command::new("sh").args(["reproduce", "compare"]).current_dir(&attached).env("PATH", path).output();
    assert_eq!(String::from_utf8(again.unwrap().stdout).unwrap(), text);
}

/// What the test above rests on: git does change a message that is not made for mail.
#[test]
fn git_does_not_carry_every_message() {
    let (_, log) = through_git("subject\n\nfirst\n---\nlost\n");
    assert!(log.contains("first") && !log.contains("lost"), "{log}");
}
