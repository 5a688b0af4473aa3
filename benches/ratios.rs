//! What the tool itself costs, each as a ratio within this run: these figures hold on a noisy machine, absolute times do not.
#![allow(clippy::unwrap_used)]

mod figures;
mod unloading;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use figures::{median, say};
use itlbench::counters::source::{Exclude, Request, Scope, Source};
use itlbench::counters::{Choice, EventCode, Reading, stream};
use itlbench::machine::kernel::perf::KernelSource;
use itlbench::machine::kernel::place::verified;
use itlbench::machine::kernel::programs::Programs;
use itlbench::machine::kernel::{KernelMachine, probe};
use itlbench::machine::{Machine, Target};
use itlbench::trial::Protocol;
use itlbench::workload::{Body, PackMode, Spec, TriggerKind};
use unloading::unload;

const ROUNDS: usize = 7;
const LOADS: u32 = 1024;

fn main() {
    if let Err(reason) = probe::test_run() {
        println!("SKIP ratios: {reason}");
        return;
    }
    // `cargo bench --bench ratios -- counters` measures that part alone.
    if std::env::args().any(|word| word == "counters") {
        counters();
        group_read();
        return;
    }
    loading(TriggerKind::Walk);
    loading(TriggerKind::Chain);
    against_bpftool();
    share_in_programs();
    counters();
    meters();
    group_read();
    whole_runs();
    layout_of_many();
    println!("default run under 60 s: see `time make run`");
}

/// Our loading (load, read the address back, publish) against a bare loop over the same instructions.
fn loading(trigger: TriggerKind) {
    let programs = Programs::open(trigger, Body::B128).unwrap();
    let (mut ours, mut bare, mut poked) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let maps = programs.maps(LOADS).unwrap();
        let began = Instant::now();
        for position in 0..LOADS {
            let program = programs.load_body(&maps, position, LOADS).unwrap();
            verified(&program).unwrap();
            maps.publish(position, program.as_fd()).unwrap();
        }
        ours.push(began.elapsed().as_secs_f64());
        unload::<OwnedFd>(&programs, maps, Vec::new());

        // Bare: the same instructions, kept by descriptor, never published, so that the kernel patches no jump.
        let maps = programs.maps(LOADS).unwrap();
        let began = Instant::now();
        let held: Vec<_> = (0..LOADS).map(|position| programs.load_body(&maps, position, LOADS).unwrap()).collect();
        bare.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        for (position, program) in (0..LOADS).zip(&held) {
            maps.publish(position, program.as_fd()).unwrap();
        }
        poked.push(began.elapsed().as_secs_f64());
        unload(&programs, maps, held);
    }
    let (ours, bare, poked) = (median(ours), median(bare), median(poked));
    let per = |seconds: f64| seconds * 1e6 / f64::from(LOADS);
    let detail = format!(
        "{:.1} us ours, {:.1} us bare, {:.1} us publishing alone a program, n {ROUNDS} x {LOADS}",
        per(ours),
        per(bare),
        per(poked)
    );
    let needed = match trigger {
        // A chain is none until its jumps are patched (bpf_arch_text_poke): publishing is part of the bare job.
        TriggerKind::Chain => bare + poked,
        _ => bare,
    };
    say(&format!("{trigger}: programs/s of a bare loop"), needed / ours, "at least 0.9", needed / ours >= 0.9, &detail);
}

/// `bpftool prog loadall` of an object with as many programs, a process and a load like those of a shell script.
fn against_bpftool() {
    const SECTIONS: u32 = 256;
    let dir = tempfile::tempdir().unwrap();
    let (source, object) = (dir.path().join("many.bpf.c"), dir.path().join("many.bpf.o"));
    let mut text = "#define SEC(n) __attribute__((section(n), used))\n".to_owned();
    for i in 0..SECTIONS {
        text += &format!("SEC(\"tc\") int p{i}(void *ctx) {{ return {i}; }}\n");
    }
    text += "char LICENSE[] SEC(\"license\") = \"GPL\";\n";
    std::fs::write(&source, text).unwrap();
    let mut clang = Command::new("clang");
    clang.args(["-target", "bpf", "-O2", "-g", "-c"]).arg(&source).arg("-o").arg(&object);
    let available = clang.status().is_ok_and(|status| status.success())
        && Command::new("bpftool").arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !available {
        println!("SKIP   against bpftool prog loadall: bpftool or clang is missing");
        return;
    }
    // Pins live in a bpffs of a mount namespace of their own and go with it.
    let script = format!("mount -t bpf none {0} && bpftool prog loadall {1} {0}/p", dir.path().display(), "$OBJ");
    let object = object_outside(&object);
    let loadall = || {
        let began = Instant::now();
        let status = Command::new("unshare").args(["-m", "sh", "-c", &script]).env("OBJ", object.path()).status();
        assert!(status.unwrap().success());
        began.elapsed().as_secs_f64()
    };
    let programs = Programs::open(TriggerKind::Walk, Body::B128).unwrap();
    let ours = || {
        let (maps, began) = (programs.maps(SECTIONS).unwrap(), Instant::now());
        for position in 0..SECTIONS {
            let program = programs.load_body(&maps, position, SECTIONS).unwrap();
            verified(&program).unwrap();
            maps.publish(position, program.as_fd()).unwrap();
        }
        began.elapsed().as_secs_f64()
    };
    let pairs: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (loadall(), ours())).collect();
    let (theirs, ours) = (median(pairs.iter().map(|p| p.0).collect()), median(pairs.iter().map(|p| p.1).collect()));
    let detail =
        format!("{:.0} us and {:.0} us a program, n {ROUNDS} x {SECTIONS}", theirs * 1e6 / 256.0, ours * 1e6 / 256.0);
    say("faster than bpftool prog loadall", theirs / ours, "at least 3", theirs / ours >= 3.0, &detail);
}

fn object_outside(object: &Path) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(object, file.path()).unwrap();
    file
}

fn machine() -> KernelMachine {
    KernelMachine::new(None, false, Arc::new(AtomicBool::new(false))).unwrap()
}

/// Share of a window of `chain` at 2048 programs that is spent in them.
fn share_in_programs() {
    let mut machine = machine();
    for pack in [PackMode::On, PackMode::Off] {
        let case = Spec::builtin("chain").unwrap().case(2048, pack);
        let mut loaded = machine.load(&case, 1).unwrap();
        loaded.check().unwrap();
        let mut fire = |target| median((0..9).map(|_| loaded.fire(target, 8000).unwrap().wall_ns as f64).collect());
        fire(Target::Programs);
        let (full, empty) = (fire(Target::Programs), fire(Target::Empty));
        let share = 1.0 - empty / full;
        let detail = format!("{:.0} and {:.0} ns a run, n 9", full / 8000.0, empty / 8000.0);
        say(
            &format!("chain, 2048 programs, pack {pack}: share in programs"),
            share,
            "at least 0.90",
            share >= 0.9,
            &detail,
        );
        loaded.unload().unwrap();
    }
}

/// Enable, disable and read against the window they bracket.
fn counters() {
    let mut machine = machine();
    let mut counters = machine.counters(&Choice::default()).unwrap();
    let mut into = Vec::new();
    let cycle = (0..1000).map(|_| {
        let began = Instant::now();
        counters.enable().unwrap();
        counters.disable().unwrap();
        counters.read(&mut into).unwrap();
        began.elapsed().as_nanos() as f64
    });
    let cycle = median(cycle.collect());
    let share = cycle / Protocol::new(1).window_ns as f64;
    let detail = format!("{:.1} us of a 3 ms window, {} groups, n 1000", cycle / 1000.0, counters.groups().len());
    say("counters: share of a window", share, "at most 0.005", share <= 0.005, &detail);
}

/// Reading the noise meters against the window they follow.
fn meters() {
    let mut machine = machine();
    let mut meters = machine.meters().unwrap();
    let mut into = Vec::new();
    let read = (0..1000).map(|_| {
        let began = Instant::now();
        meters.read(&mut into).unwrap();
        began.elapsed().as_nanos() as f64
    });
    let read = median(read.collect());
    let share = read / Protocol::new(1).window_ns as f64;
    let detail = format!("{:.1} us behind a 3 ms window, {} meters, n 1000", read / 1000.0, meters.meters().len());
    say("noise meters: share of a window", share, "at most 0.025", share <= 0.025, &detail);
}

/// A decoded group read against read(2) of the same descriptor, in turns so that both meet the same noise.
fn group_read() {
    let software = |config| Request {
        code: EventCode::new(EventCode::SOFTWARE, config),
        exclude: Exclude::default(),
        pinned: false,
        scope: Scope::Thread,
    };
    let mut source = KernelSource;
    let mut group = source.lead(&software(1)).unwrap();
    for config in [3, 4, 2] {
        source.join(&mut group, &software(config)).unwrap();
    }
    let ids = source.ids(&group).unwrap();
    let mut buffer = vec![0; stream::length(ids.len())];
    let mut reading = Reading::default();
    source.enable(&group).unwrap();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..2000 {
        let began = Instant::now();
        for _ in 0..16 {
            source.read(&group, &mut buffer).unwrap();
        }
        bare.push(began.elapsed().as_nanos() as f64 / 16.0);
        let began = Instant::now();
        for _ in 0..16 {
            let given = source.read(&group, &mut buffer).unwrap();
            stream::decode(&buffer[..given], &ids, &mut reading).unwrap();
        }
        ours.push(began.elapsed().as_nanos() as f64 / 16.0);
    }
    let (ours, bare) = (median(ours), median(bare));
    let detail = format!("{ours:.0} ns ours, {bare:.0} ns bare, a group of 4 software events, n 2000 x 16");
    say("counters: group read", ours / bare, "at most 1.1 of a bare read(2)", ours / bare <= 1.1, &detail);
}

/// Recording against wall time, and memory with 10 000 programs, from the tool itself.
fn whole_runs() {
    let out = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let (_, recording) = run_tool(&["--programs", "64,512", "--trials", "3"], out.path());
    let wall = began.elapsed().as_secs_f64();
    let share = recording / wall;
    say(
        "recording: share of wall time",
        share,
        "at most 0.02",
        share <= 0.02,
        &format!("{recording:.4} s of {wall:.2} s, n 1"),
    );
    for pack in ["on", "off"] {
        let args = ["--programs", "10000", "--trials", "1", "--samples", "5", "--pack", pack];
        let (peak, _) = run_tool(&args, out.path());
        let detail = format!("{peak:.1} MB peak RSS, n 1");
        say(
            &format!("10 000 programs, pack {pack}: memory of 100 MB"),
            peak / 100.0,
            "at most 1",
            peak <= 100.0,
            &detail,
        );
    }
}

/// `layout` with 10 000 programs, and reading by which pages they are mapped.
fn layout_of_many() {
    let mut machine = machine();
    let case = Spec::builtin("chain").unwrap().case(10_000, PackMode::On);
    let mut loaded = machine.load(&case, 1).unwrap();
    for args in [&["layout"][..], &["layout", "--format", "json"]] {
        let times = (0..ROUNDS).map(|_| {
            let began = Instant::now();
            let tool = Command::new(env!("CARGO_BIN_EXE_itlbench")).args(args).stdout(Stdio::null()).status().unwrap();
            assert!(tool.success());
            began.elapsed().as_secs_f64()
        });
        let (what, seconds) = (args.join(" "), median(times.collect()));
        say(&format!("{what}, 10 000 programs: of 0.5 s"), seconds / 0.5, "at most 1", seconds <= 0.5, "n 7");
    }
    let times = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        loaded.observe_mapping();
        began.elapsed().as_secs_f64()
    });
    let seconds = median(times.collect());
    say("reading page tables of 10 000 programs: of 10 ms", seconds / 0.01, "at most 1", seconds <= 0.01, "n 7");
    loaded.unload().unwrap();
}

/// Runs the tool; returns its peak RSS in MB and the seconds it spent recording.
fn run_tool(args: &[&str], out: &Path) -> (f64, f64) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_itlbench"))
        .args(["run", "--verbose"])
        .args(args)
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0f64;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        peak = peak.max(kib.unwrap_or(0.0) / 1000.0);
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let recording =
        text.lines().find_map(|line| line.strip_prefix("recording took ")?.strip_suffix(" s")?.parse().ok());
    (peak, recording.unwrap())
}
