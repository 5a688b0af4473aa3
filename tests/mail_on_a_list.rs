//! The mail under a patch: what `git format-patch` and `git am` make of it, and what is left of it when it is quoted twice.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
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

fn simulated_mail() -> String {
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_itlbench"))
        .args([
            "run",
            "--machine",
            "sim",
            "--seed",
            "7",
            "--programs",
            "8,64",
            "--trials",
            "6",
            "--samples",
            "8",
            "--out",
        ])
        .arg(out.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let directory = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    fs::read_to_string(Path::new(&directory).join("mail.txt")).unwrap()
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

#[test]
fn the_mail_survives_format_patch_and_am_and_two_quotes() {
    let mail = simulated_mail();
    check_mail(&mail).unwrap();
    let message = format!("bpf: place programs elsewhere\n\n{mail}\nSigned-off-by: A U Thor <author@example.org>\n");
    let (patch, log) = through_git(&message);
    assert_eq!(log.trim_end(), message.trim_end());
    assert!(patch.is_ascii() && !patch.to_lowercase().contains("content-transfer-encoding"), "{patch}");
    let longest = mail.lines().map(|line| format!("> > {line}").len()).max().unwrap();
    assert!(longest <= 78, "{longest} columns when quoted twice");
}

/// What the test above rests on: git does change a message that is not made for mail.
#[test]
fn git_does_not_carry_every_message() {
    let (_, log) = through_git("subject\n\nfirst\n---\nlost\n");
    assert!(log.contains("first") && !log.contains("lost"), "{log}");
}
