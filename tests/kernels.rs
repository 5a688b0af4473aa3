//! `itlbench kernels`: with a script in place of qemu everything that can go wrong with a guest, and in the vm tier real kernels.
//! The tier needs the kernels and the qemu that `scripts/kernels.sh` fetches and the binary of `make release`.
#![allow(clippy::unwrap_used)]

mod guests;
mod tier;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use guests::{Bench, bzimage, directory, refusal, stderr};
use itlbench::placement::Observed;
use itlbench::runfile::Run;
use itlbench::trial::Trial;
use itlbench::workload::PackMode;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn files_that_are_no_kernel_are_named_and_the_others_go_on() {
    let bench = Bench::new("printf 'H\\nF3 no JIT here\\n'");
    fs::write(bench.path("text"), "just words\n").unwrap();
    fs::write(bench.path("cut"), &bzimage()[..1500]).unwrap();
    let mut arm = vec![0; 1024];
    arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
    fs::write(bench.path("arm"), arm).unwrap();
    let output = bench.run(&["text=text", "cut=cut", "arm=arm", "none=none", "good=image"]);
    let said = stderr(&output);
    for line in [
        "itlbench: text: `text` is a text file; give a bzImage of x86_64",
        "itlbench: cut: kernel image `cut` is cut off: 1500 bytes of 2048",
        "itlbench: arm: `arm` is a kernel for arm64;",
        "itlbench: none: failed to read kernel image `none`: No such file",
        "itlbench: good: the guest gave up: no JIT here",
    ] {
        assert_eq!(said.matches(line).count(), 1, "{line} in {said}");
    }
    assert_eq!((said.lines().count(), output.status.code()), (5, Some(1)));
    let mail = fs::read_to_string(directory(&output).join("mail.txt")).unwrap();
    assert!(mail.contains("Failed:") && mail.contains("good: the guest gave up"), "{mail}");
}

#[test]
fn a_panic_is_tried_again_quoted_and_known_to_the_next_try() {
    let job = "job=$(echo \"$*\" | sed 's/.*-initrd \\([^ ]*\\).*/\\1/'); grep -aco '\"deaths\":\\[\"the guest died' $job >>told";
    let bench =
        Bench::new(&format!("{job}\necho '[ 0.9] Kernel panic - not syncing: VFS' >&2\necho '[ 0.9] CPU: 0' >&2"));
    let output = bench.run(&["a=image"]);
    assert_eq!(fs::read_to_string(bench.path("told")).unwrap(), "0\n1\n");
    let (said, line) = (stderr(&output), "its console ends: [ 0.9] Kernel panic - not syncing: VFS | [ 0.9] CPU: 0");
    assert_eq!((said.matches(line).count(), said.matches("; trying again").count()), (2, 1), "{said}");
    assert!(said.contains("the guest died before it reached user space (qemu: exit status: 0)"), "{said}");
    assert_eq!((output.status.code(), bench.pids().len()), (Some(1), 2));
    let kept = directory(&output).join("a/console.txt");
    assert!(said.ends_with(&format!("; more of it in `{}`\n", kept.display())), "{said}");
    let console = fs::read_to_string(kept).unwrap();
    assert!(console.contains("Kernel panic"), "{console}");
}

#[test]
fn a_kernel_that_dies_while_its_allocator_is_tested_is_not_tried_again() {
    let bench =
        Bench::new("printf 'H\\nKKTAP version 1\\nK1..2\\nKok 1 header\\n'; echo 'Kernel panic - not syncing: x' >&2");
    let output = bench.bare(&["a=image", "--selftest"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("# a: the guest died behind `ok 1 header`") && text.ends_with("not ok 1 a\n"), "{text}");
    assert_eq!((output.status.code(), bench.pids().len()), (Some(1), 1), "{}", stderr(&output));
}

#[test]
fn what_a_wrapper_started_ends_with_its_guest_though_the_wrapper_is_dead() {
    let bench = Bench::new("sh -c 'echo $$ >>pids; exec sleep 600' &\nsleep 0.2\nkill -KILL $$");
    let output = bench.run(&["a=image", "--timeout", "5"]);
    assert_eq!((output.status.code(), bench.pids().len()), (Some(1), 2), "{}", stderr(&output));
    bench.assert_no_guest_is_left();
}

#[test]
fn a_guest_that_hangs_is_ended_and_the_next_one_boots() {
    let bench = Bench::new("printf 'H\\nPtrial 1 of 2, chain n=8 pack=on\\n'\nsleep 600");
    let output = bench.run(&["a=image", "b=image", "--timeout", "5", "--jobs", "1"]);
    let said = stderr(&output);
    let line =
        "the guest hung in trial 1 of 2, chain n=8 pack=on: no end of it in 5 s (raise --timeout if it was only slow)";
    assert_eq!(said.matches(line).count(), 2, "{said}");
    assert_eq!((output.status.code(), bench.pids().len()), (Some(1), 2));
    bench.assert_no_guest_is_left();
}

fn started(bench: &Bench) -> Child {
    let mut command = bench.command(&["a=image", "b=image", "--jobs", "2"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    tier::wait_until("guests start", || bench.pids().len() == 2);
    child
}

#[test]
fn ctrl_c_ends_every_guest_and_what_was_measured_is_reported() {
    let bench = Bench::new("echo H\nsleep 600");
    let child = started(&bench);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(directory(&output).join("mail.txt").exists());
    bench.assert_no_guest_is_left();
}

#[test]
fn no_guest_outlives_a_killed_itlbench() {
    let bench = Bench::new("echo H\nexec sleep 600");
    let mut child = started(&bench);
    child.kill().unwrap();
    child.wait().unwrap();
    bench.assert_no_guest_is_left();
}

#[test]
fn what_a_guest_sends_must_be_a_whole_run() {
    let bench = Bench::new("printf 'H\\nR{}\\nD\\n'");
    let output = bench.run(&["a=image"]);
    assert!(stderr(&output).contains("is not an itlbench run file"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_results_of_a_selftest_are_subtests_and_the_worst_of_them_is_the_exit_code() {
    let bench = Bench::new("printf 'H\\nKKTAP version 1\\nK1..1\\nKnot ok 1 bytes\\nC1\\nD\\n'");
    let output = bench.run(&["a=image", "--selftest"]);
    let said = stderr(&output);
    assert!(output.status.code() == Some(2) && said.contains("--programs"), "a selftest measures nothing: {said}");
    let output = bench.bare(&["a=image", "b=none", "--selftest"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "KTAP version 1\n1..2\n  KTAP version 1\n  1..1\n  not ok 1 bytes\nnot ok 1 a\n# b: failed to read kernel image `none`";
    assert!(text.starts_with(expected) && text.ends_with("not ok 2 b\n"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(bench.pids().len(), 1, "a subtest that failed is a result, not a guest to try again");
}

#[test]
fn a_full_disk_is_said_once_with_the_file() {
    let bench = Bench::new("echo H\nprintf R\nhead -c 200000 /dev/zero | tr '\\0' x\necho\nsleep 600");
    let limited = format!(
        "trap '' XFSZ; ulimit -f 256; exec {} kernels a=image --accel tcg --seed 7 --qemu {} --init {} --out {}",
        env!("CARGO_BIN_EXE_itlbench"),
        bench.path("qemu").display(),
        bench.path("init").display(),
        bench.path("out").display()
    );
    let output = Command::new("sh").args(["-c", &limited]).current_dir(bench.dir.path()).output().unwrap();
    let said = stderr(&output);
    assert!(said.contains("run.jsonl`: File too large") && said.contains("free some space"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    bench.assert_no_guest_is_left();
}

#[test]
fn what_no_boot_can_do_without_is_asked_for_first() {
    let bench = Bench::new("");
    let mut without_qemu = Command::new(env!("CARGO_BIN_EXE_itlbench"));
    without_qemu.args(["kernels", "a=image"]).arg("--init").arg(bench.path("init")).current_dir(bench.dir.path());
    without_qemu.env_clear().env("XDG_CACHE_HOME", bench.path("cache")).env("PATH", bench.path("bin"));
    let (code, line) = refusal(&without_qemu.output().unwrap());
    assert!(code == Some(3) && line.contains("failed to find `qemu-system-x86_64`"), "{line}");
    let (code, line) = refusal(&bench.run(&["a=image", "a=image"]));
    assert!(code == Some(2) && line.contains("two images are called `a`"), "{line}");
    let (code, line) = refusal(&bench.run(&["a=image", "--append", "x -- y"]));
    assert!(code == Some(2) && line.contains("--append takes no `--`"), "{line}");
    let (code, line) = refusal(&bench.run(&["a=image", "--model", "zen9"]));
    assert!(code == Some(2) && line.contains("`zen9`"), "{line}");
    fs::write(bench.path("init"), "#!/bin/sh\n").unwrap();
    let (code, line) = refusal(&bench.run(&["a=image"]));
    assert!(code == Some(3) && line.contains("it is no program for x86_64; run `make release`"), "{line}");
    assert!(!bench.path("out").exists(), "nothing was begun");
}

/// What the vm tier needs, or `None` and a SKIP line.
struct Vm {
    cache: PathBuf,
    init: PathBuf,
    out: tempfile::TempDir,
    /// The newest kernel there is, a release candidate if there is one.
    newest: &'static str,
    /// As many guests at a time as there are CPUs, and no other test's.
    _turn: MutexGuard<'static, ()>,
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Vm {
    fn new() -> Option<Self> {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = itlbench::vm::qemu::cache().unwrap_or_default();
        let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/static/itlbench");
        let image = |name: &str| cache.join("kernels").join(name).join("vmlinuz");
        let newest = if image("newest-rc").exists() { "newest-rc" } else { "newest" };
        let needed = ["5.10", "6.12", newest].map(image).into_iter().chain([init.clone()]);
        if let Some(missing) = needed.into_iter().find(|file| !file.exists()) {
            let how = "run `bash scripts/kernels.sh` and `make release`";
            tier::skip("vm", &format!("`{}` is missing; {how}", missing.display()));
            return None;
        }
        if let Err(error) = itlbench::vm::qemu::Qemu::find(None) {
            tier::skip("vm", &error.to_string());
            return None;
        }
        Some(Self { cache, init, out: tempfile::tempdir().unwrap(), newest, _turn: turn })
    }

    fn image(&self, name: &str, kernel: &str) -> String {
        format!("{name}={}", self.cache.join("kernels").join(kernel).join("vmlinuz").display())
    }

    /// Whether the newest kernel maps packs by 2 MiB pages: 7.3 was the first.
    fn newest_is_huge(&self) -> bool {
        let version = fs::read_to_string(self.cache.join("kernels").join(self.newest).join("version")).unwrap();
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (7, 3)
    }

    fn kernels(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
        command.arg("kernels").args(args).args(["--accel", "tcg", "--seed", "7"]);
        command.arg("--init").arg(&self.init).arg("--out").arg(self.out.path()).output().unwrap()
    }

    fn boot(&self, args: &[&str]) -> Output {
        self.kernels(&[args, &["--programs", "64"]].concat())
    }
}

/// The trial of the kernel's own allocator.
fn native(dir: &Path, kernel: &str) -> Trial {
    let run = Run::read(&dir.join(kernel)).unwrap();
    assert!(run.complete && run.manifest.is_emulated(), "{kernel}");
    assert!(run.trials.iter().all(|trial| trial.placed), "{kernel}");
    let wanted = if run.manifest.workloads[0].pack.contains(&PackMode::On) { PackMode::On } else { PackMode::Off };
    run.trials.into_iter().find(|trial| trial.case.pack == wanted).unwrap()
}

/// 4 KiB pages touched, and how many of them are mapped by 4 KiB and by 2 MiB.
fn pages(trial: &Trial) -> (u32, u32, u32) {
    match &trial.mapping {
        Some(Observed::Seen(mapping)) => (mapping.pages, mapping.mapped_4k, mapping.mapped_2m),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kernel_shows_where_its_own_allocator_puts_programs() {
    let Some(vm) = Vm::new() else { return };
    let images = [
        vm.image("old", "5.10"),
        vm.image("packed", "6.12"),
        vm.image("newest", vm.newest),
        vm.image("small", vm.newest),
    ];
    let mut args: Vec<&str> = images.iter().map(String::as_str).collect();
    // The kernel itself does not know `nokaslr`, and hands it to init.
    args.extend(["--append", "small:nohugevmalloc", "--append", "packed:nokaslr"]);
    let output = vm.boot(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let dir = directory(&output);
    let old = native(&dir, "old");
    assert_eq!(pages(&old), (64, 64, 0), "a page each");
    assert_eq!(old.freed.unwrap().unmapped, 64, "{:?}", old.freed);
    let packed = native(&dir, "packed");
    assert_eq!(pages(&packed), (3, 3, 0), "packed, by pages of 4 KiB");
    assert_eq!(packed.freed.unwrap().poisoned, 64, "{:?}", packed.freed);
    if vm.newest_is_huge() {
        assert_eq!(pages(&native(&dir, "newest")), (3, 0, 3), "packed, by pages of 2 MiB");
    }
    assert_eq!(pages(&native(&dir, "small")), (3, 3, 0), "not with nohugevmalloc");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("guest under emulation") && !table.contains("ns/exec"), "{table}");
}

/// Placements, and what the plugin counted if there is one.
fn counted(dir: &Path, kernel: &str) -> Vec<Trial> {
    Run::read(&dir.join(kernel)).unwrap().trials
}

#[test]
fn two_boots_of_one_seed_are_alike_to_the_bit() {
    let Some(vm) = Vm::new() else { return };
    let images = [vm.image("a", "5.10"), vm.image("b", "5.10")];
    let output = vm.boot(&[&images[0], &images[1]]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let dir = directory(&output);
    let (one, other) = (counted(&dir, "a"), counted(&dir, "b"));
    assert!(one == other, "the same seed gave two results");
    if one[0].fetched.is_empty() {
        println!("SKIP the plugin's counts, for want of `make plugin`; placements were compared");
    }
}

#[test]
fn each_boot_draws_its_own_places_and_all_of_a_kernel_are_one_row() {
    let Some(vm) = Vm::new() else { return };
    let output = vm.boot(&[&vm.image("a", "5.10"), "--boots", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let dir = directory(&output);
    let places = |boot: u32| {
        let trial = native(&dir, &format!("a-boot{boot}"));
        assert_eq!(pages(&trial), (64, 64, 0), "boot {boot}");
        trial.images
    };
    assert_ne!(places(1), places(2), "KASLR of two seeds put every program into the same place");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = table.lines().filter(|line| line.trim_start().starts_with("a ") && line.contains("native"));
    assert!(table.contains(", 2 boots") && rows.count() == 1, "{table}");
}

#[test]
fn the_allocator_of_a_guest_passes_its_selftest() {
    let Some(vm) = Vm::new() else { return };
    let only = ["--selftest", "--seconds", "0", "--only", "header,bytes,results"];
    let output = vm.kernels(&[&[vm.image("6.12", "6.12").as_str()], &only[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains("  1..3\n") && text.ends_with("\nok 1 6.12\n"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("  ok ")).count(), 3, "{text}");
}

#[test]
fn a_kernel_that_finds_no_init_and_one_without_memory_are_quoted() {
    let Some(vm) = Vm::new() else { return };
    let image = vm.image("a", "5.10");
    let output = vm.boot(&[&image, "--append", "rdinit=/nonexistent", "--timeout", "300"]);
    let said = stderr(&output);
    assert!(said.contains("a: the guest died before it reached user space") && said.contains("Kernel panic"), "{said}");
    let output = vm.boot(&[&image, "--memory", "24", "--timeout", "300"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("a: the guest "), "{}", stderr(&output));
}
