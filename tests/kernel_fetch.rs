//! `scripts/kernels.sh` without a network: what it refuses, and what it takes from its cache.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn fetch(cache: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new("bash");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kernels.sh")).args(args);
    // A mirror that refuses at once: a test that asked the network would fail.
    command.env("XDG_CACHE_HOME", cache).env("MIRROR", "http://127.0.0.1:1/debian").env_remove("SECURITY_MIRROR");
    command.envs(environment.iter().copied()).output().unwrap()
}

/// Exit code and the one line of complaint.
fn refusal(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.lines().last().unwrap_or_default().to_owned())
}

fn has_apt() -> bool {
    let has = Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success())
        && Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists();
    if !has {
        println!("SKIP no apt with the keys of the Debian archive on this host");
    }
    has
}

fn put(dir: &Path, file: &str, version: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(file), "image").unwrap();
    fs::write(dir.join("version"), format!("{version}\n")).unwrap();
}

#[test]
fn what_is_in_the_cache_is_taken_without_asking_the_network() {
    let cache = tempfile::tempdir().unwrap();
    let root = cache.path().join("itlbench");
    put(&root.join("kernels/6.12"), "vmlinuz", "6.12.1-1");
    put(&root.join("kernels/7.2"), "vmlinuz", "7.2.13-1");
    put(&root.join("qemu"), "qemu-system-x86_64", "1:10.0.2");
    std::os::unix::fs::symlink("7.2", root.join("kernels/newest")).unwrap();
    let output = fetch(cache.path(), &["6.12", "newest", "qemu"], &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let root = root.canonicalize().unwrap();
    let root = root.display();
    let expected = format!(
        "6.12\t{root}/kernels/6.12/vmlinuz\t6.12.1-1\nnewest\t{root}/kernels/7.2/vmlinuz\t7.2.13-1\n\
         qemu\t{root}/qemu/qemu-system-x86_64\t1:10.0.2\n"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn what_is_not_known_is_a_usage_error() {
    let cache = tempfile::tempdir().unwrap();
    let (code, line) = refusal(&fetch(cache.path(), &["5.11"], &[]));
    assert_eq!(code, Some(2));
    assert_eq!(line, "kernels: unknown argument `5.11`; known are --refresh 5.10 6.1 6.12 newest newest-rc qemu");
}

#[test]
fn without_the_keys_of_the_archive_nothing_is_fetched() {
    if !has_apt() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let (code, line) = refusal(&fetch(cache.path(), &["6.12"], &[("KEYRING", "/nonexistent")]));
    assert_eq!(code, Some(3));
    assert!(line.contains("debian-archive-keyring"), "{line}");
}

#[test]
fn a_mirror_that_does_not_answer_is_named_and_nothing_is_left() {
    if !has_apt() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let (code, line) = refusal(&fetch(cache.path(), &["newest-rc"], &[]));
    assert_eq!(code, Some(1));
    assert!(line.starts_with("kernels: failed to read the lists of experimental: Could not connect"), "{line}");
    let left: Vec<_> = fs::read_dir(cache.path().join("itlbench")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(fs::read_dir(cache.path().join("itlbench/kernels")).unwrap().count(), 0);
}
