//! A bench with a script in place of qemu, for every test of what `itlbench kernels` makes of guests. In: what the script does. Out: the
//! command, what it said, and the processes that were guests. Apart because each file in `tests/` is a crate of its own.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A made-up kernel image, a static program that is never run, and a qemu that does what its script says.
pub struct Bench {
    pub dir: tempfile::TempDir,
}

/// What a made-up qemu does, in the language of the shell.
pub struct Script<'a> {
    pub version: &'a str,
    /// When it is asked whether a plugin works in it; `None`: it was built without plugins.
    pub probed: Option<&'a str>,
    /// When it boots.
    pub guest: &'a str,
}

impl Bench {
    /// One without plugins.
    pub fn new(guest: &str) -> Self {
        Self::of(&Script { version: "10.0.2", probed: None, guest })
    }

    pub fn of(script: &Script<'_>) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(bench.path("image"), bzimage()).unwrap();
        fs::write(bench.path("init"), static_elf()).unwrap();
        let Script { version, probed, guest } = script;
        let help = if probed.is_some() { "echo '-plugin [file=]<file>'" } else { ":" };
        let (probed, pids) = (probed.unwrap_or_default(), bench.path("pids"));
        bench.qemu(&format!(
            "case $1 in\n--version) echo 'QEMU emulator version {version} (made up)'; exit;;\n-help) {help}; exit;;\nesac\n\
             case $* in *probe=on*)\n{probed}\nexit;;\nesac\necho $$ >>{}\n{guest}",
            pids.display()
        ));
        bench
    }

    /// Puts another script in its place.
    pub fn qemu(&self, script: &str) {
        fs::write(self.path("qemu"), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(self.path("qemu"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Measures.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare(args);
        command.args(["--programs", "8"]);
        command
    }

    /// The same without a word of what is measured.
    pub fn bare(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
        command.arg("kernels").args(args).args(["--accel", "tcg", "--seed", "7"]);
        command.arg("--qemu").arg(self.path("qemu")).arg("--init").arg(self.path("init"));
        command.arg("--out").arg(self.path("out")).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Every process that was a guest.
    pub fn pids(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path("pids")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    pub fn assert_no_guest_is_left(&self) {
        assert!(!self.pids().is_empty(), "no guest was started");
        super::tier::wait_until("guests end", || self.pids().iter().all(|pid| !is_alive(*pid)));
    }
}

/// Zombies are dead.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The header of a bzImage, and a little behind it.
pub fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 1024 + 16 * 64];
    image[0x1f1] = 1;
    image[0x1f4] = 64;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&[0x0f, 0x02]);
    image[0x236] = 0x7f;
    image
}

fn static_elf() -> Vec<u8> {
    let mut file = vec![0; 128];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = 62;
    file[54] = 56;
    file
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exit code, and the one line on stderr.
pub fn refusal(output: &Output) -> (Option<i32>, String) {
    let text = stderr(output);
    assert_eq!(text.lines().count(), 1, "one line, not: {text}");
    (output.status.code(), text)
}

/// The directory of the matrix: the last line on stdout.
pub fn directory(output: &Output) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(&output.stdout).lines().last().unwrap())
}
