//! What itlbench asks of perf_event_open(2) is what perf asks, what the kernel answers reaches the user, and what it counts is
//! right as far as that can be shown without a PMU; `perf_stat.rs` compares counts.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use itlbench::counters::source::{Exclude, Request, Scope, Source};
use itlbench::counters::{Choice, CountSide, EventCode, Events, Reading, Role};
use itlbench::machine::kernel::perf::{self, KernelSource, PerfCounters};
use itlbench::machine::kernel::sys;
use itlbench::runfile::Run;

const BINARY: &str = env!("CARGO_BIN_EXE_itlbench");

/// Fields in which we may differ from perf, each for a reason:
/// - `size`: perf and the crate know structs of different kernels; what is beyond the shorter is zero;
/// - `sample_type`: perf asks for IDENTIFIER, which only samples carry, and there are none;
/// - `inherit`, `enable_on_exec`: we count this thread between two ioctls, perf a command with its children.
const EXCUSED: [&str; 4] = ["size", "sample_type", "inherit", "enable_on_exec"];

/// One perf_event_open as strace shows it: fields of the attr, then `pid`, `cpu`, `group` and `flags`.
type Call = BTreeMap<String, String>;

fn calls(trace: &str) -> Vec<Call> {
    trace.lines().filter_map(call).collect()
}

fn call(line: &str) -> Option<Call> {
    let (_, rest) = line.split_once("perf_event_open({")?;
    let (attr, rest) = rest.split_once("}, ")?;
    let (arguments, _) = rest.split_once(')')?;
    let mut call = Call::new();
    for field in attr.split(", ").filter_map(|field| field.split_once('=')) {
        let value = field.1.split(" /*").next().unwrap();
        call.insert(field.0.to_owned(), number(value).to_string());
    }
    for (name, value) in ["pid", "cpu", "group", "flags"].iter().zip(arguments.split(", ")) {
        call.insert((*name).to_owned(), value.to_owned());
    }
    Some(call)
}

/// `0x1<<16|0<<8|0x4`, as strace puts together the config of cache events.
fn number(text: &str) -> u64 {
    let one = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    };
    let part = |text: &str| text.split_once("<<").map_or_else(|| one(text), |(value, bits)| one(value) << one(bits));
    text.split('|').map(part).sum()
}

fn differences(ours: &Call, perfs: &Call, excused: &[&str]) -> Vec<String> {
    let of_ours = |name: &String| ours.get(name).cloned().unwrap_or_else(|| "0".to_owned());
    let fields =
        perfs.iter().filter(|(name, _)| !EXCUSED.contains(&name.as_str()) && !excused.contains(&name.as_str()));
    let differing = fields.filter(|(name, value)| of_ours(name) != **value);
    differing.map(|(name, value)| format!("{name}: ours {}, perf's {value}", of_ours(name))).collect()
}

fn has_pmu(name: &str) -> bool {
    Path::new("/sys/bus/event_source/devices").join(name).exists()
}

fn runs(program: &str) -> bool {
    let result = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    result.is_ok_and(|status| status.success())
}

/// Whether strace is there and may trace.
fn can_trace() -> bool {
    let result = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let can = result.is_ok_and(|status| status.success());
    if !can {
        println!("SKIP: strace is not installed, or may not trace");
    }
    can
}

/// Every perf_event_open of a command.
fn trace(command: &[&str]) -> Vec<Call> {
    trace_of(&[], command)
}

fn trace_of(options: &[&str], command: &[&str]) -> Vec<Call> {
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-v", "-X", "raw", "-e", "trace=perf_event_open"]).args(options);
    strace.arg("-o").arg(out.path()).args(command);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    calls(&std::fs::read_to_string(out.path()).unwrap())
}

fn ours(list: &str, side: &str) -> Vec<Call> {
    trace(&[BINARY, "doctor", "--counters", list, "--count", side])
}

/// The same where no PMU takes anything: each event is asked for by itself then, as there is no group for it to join.
fn ours_alone(list: &str, side: &str) -> Vec<Call> {
    let refused = ["-e", "inject=perf_event_open:error=ENOENT"];
    trace_of(&refused, &[BINARY, "doctor", "--counters", list, "--count", side])
}

/// Whether this CPU has cores of two kinds: each event then names the PMU of one kind in its config, which perf did not on the boxes
/// where it was recorded.
fn is_hybrid() -> bool {
    let hybrid = has_pmu("cpu_core");
    if hybrid {
        println!("SKIP generic events: the CPU has cores of two kinds");
    }
    hybrid
}

/// A section of the recorded files, by what stands behind `stat`.
fn recorded(file: &str, arguments: &str) -> Vec<Call> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/perf-attrs").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let mut sections = text
        .split("## ")
        .filter(|section| section.lines().next().is_some_and(|title| title.ends_with(&format!(" stat {arguments}"))));
    calls(sections.next().unwrap_or_else(|| panic!("no section `{arguments}` in {file}")))
}

#[test]
fn our_attrs_are_those_recorded_of_perf() {
    if !can_trace() || is_hybrid() {
        return;
    }
    for file in ["perf-6.1.strace.txt", "perf-6.12.strace.txt"] {
        let perfs = recorded(file, "-e {iTLB-load-misses,cycles}:kD");
        let group = ours("iTLB-load-misses,cycles", "kernel");
        assert_eq!(differences(&group[0], &perfs[0], &["pid"]), [""; 0], "a pinned group of kernel events, {file}");

        // perf counts these one by one, we in pinned groups: the read format of a group, and the pin.
        let alone = ["pid", "read_format", "pinned"];
        let perfs = recorded(file, "-e iTLB-load-misses,iTLB-loads,cycles,instructions");
        let generic = ours_alone("iTLB-load-misses,iTLB-loads,cycles,instructions", "both");
        assert!(generic.len() >= perfs.len(), "{generic:?}");
        for (ours, perfs) in generic.iter().zip(&perfs) {
            assert_eq!(differences(ours, perfs, &alone), [""; 0], "generic events, {file}");
        }
        let raw = ours("r0e85", "both");
        assert_eq!(differences(&raw[0], &recorded(file, "-e r0e85")[0], &alone), [""; 0], "{file}");
        let clock = ours("task-clock", "both");
        let clock = clock.iter().find(|call| call["type"] == "1").unwrap();
        let perfs = recorded(file, "-e task-clock,context-switches,page-faults");
        assert_eq!(differences(clock, &perfs[0], &alone), [""; 0], "{file}");

        // perf counts the whole CPU here, we this thread.
        let tsc = ours("msr/tsc/", "both");
        let tsc: Vec<&Call> = tsc.iter().filter(|call| call["type"] == "9").collect();
        if let Some(taken) = tsc.last() {
            let perfs = recorded(file, "-C 0 -e {msr/tsc/,cpu-clock}");
            let perfs = perfs.iter().rfind(|call| call["type"] == "9").unwrap();
            let excused = ["pid", "cpu", "flags", "read_format"];
            assert_eq!(differences(taken, perfs, &excused), [""; 0], "after both were told EINVAL, {file}");
            assert_eq!(tsc[0]["exclude_guest"], "1", "asked as perf asks first");
        }
    }
}

#[test]
fn an_event_of_a_whole_cpu_is_asked_for_as_perf_does() {
    if !can_trace() {
        return;
    }
    let test = std::env::current_exe().unwrap();
    let ours = trace(&[test.to_str().unwrap(), "--ignored", "--exact", "opens_an_event_on_cpu_0"]);
    for file in ["perf-6.1.strace.txt", "perf-6.12.strace.txt"] {
        let perfs = recorded(file, "-C 0 -e iTLB-load-misses:k");
        assert_eq!(differences(&ours[0], &perfs[0], &["read_format"]), [""; 0], "{file}");
    }
}

#[test]
#[ignore = "a part of another test"]
fn opens_an_event_on_cpu_0() {
    let exclude = Exclude { user: true, hv: true, ..Exclude::default() };
    let code = EventCode::new(EventCode::HW_CACHE, 0x1_0004);
    let _ = KernelSource.lead(&Request { code, exclude, pinned: false, scope: Scope::Cpu(0) });
}

#[test]
fn our_attrs_are_those_of_the_perf_that_is_installed() {
    if !can_trace() || !runs("perf") {
        println!("SKIP: perf is not installed");
        return;
    }
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    for (list, modifier) in [
        ("iTLB-load-misses,cycles", ":kD"),
        ("r0e85,cycles", ":kD"),
        ("r0e85,cycles", ":uD"),
        ("task-clock,context-switches,cpu-migrations,page-faults", ""),
    ] {
        let events = format!("{{{list}}}{modifier}");
        let perfs = trace(&["perf", "stat", "-i", "-e", &events, "-t", &own, "--", "sleep", "0.01"]);
        // Newer perfs try out events first; the last calls are those that count.
        let opened = list.split(',').count();
        let is_first = |call: &&Call| call["group"] == "-1" && call["read_format"] == "15";
        let Some(leader) = perfs.iter().rposition(|call| is_first(&call)) else { panic!("{events}: {perfs:?}") };
        let side = if modifier == ":uD" { "user" } else { "kernel" };
        let mine = ours(list, side);
        let at = mine.iter().position(|call| call["type"] == perfs[leader]["type"]).unwrap();
        assert_eq!(differences(&mine[at], &perfs[leader], &["pid"]), [""; 0], "leader of {events}");
        for (mine, perfs) in mine[at..].iter().zip(&perfs[leader..]).skip(1).take(opened - 1) {
            // The crate cannot ask a sibling for the format of a group; only leaders are read.
            let excused = ["pid", "group", "read_format"];
            assert_eq!(differences(mine, perfs, &excused), [""; 0], "sibling in {events}");
        }
    }
}

fn injected(errno: &str, command: &[&str]) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-e"]).arg(format!("inject=perf_event_open:error={errno}"));
    strace.args(command).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn errors_of_the_kernel_reach_the_user_with_their_remedy() {
    if !can_trace() {
        return;
    }
    for (errno, expected) in [
        ("EACCES", "EACCES: kernel.perf_event_paranoid forbids it; run as root or with CAP_PERFMON"),
        ("EPERM", "EPERM: seccomp or a security module forbids it"),
        ("EINVAL", "EINVAL: this CPU has no such event"),
        ("EMFILE", "EMFILE: this process has too many descriptors open; raise `ulimit -n`"),
        ("EOPNOTSUPP", "EOPNOTSUPP: the PMU lacks the feature"),
        ("EBUSY", "EBUSY: another user owns the PMU; stop the other profiler"),
        ("ENOENT", "ENOENT: no PMU of this host takes it; run on bare metal"),
        ("E2BIG", "E2BIG: the kernel is too old for this perf_event_attr"),
    ] {
        let output = injected(errno, &[BINARY, "doctor", "--counters", "auto"]);
        let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(expected), "{errno}: {text}");
        // Where cores are of two kinds the config goes on with the PMU of one.
        assert!(text.contains("events none opens; refused: cycles (type 0 config 0x"), "{text}");
    }
}

#[test]
fn a_run_that_cannot_count_what_was_named_says_which_and_why() {
    if !can_trace() {
        return;
    }
    let Some(_turn) = tier::bpf() else { return };
    let out = tempfile::tempdir().unwrap();
    let out_dir = out.path().to_str().unwrap();
    let run = [BINARY, "run", "chain", "--counters", "r0e85,cycles", "--out", out_dir];
    let output = injected("EBUSY", &run);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("r0e85 (type 4 config 0xe85): EBUSY: another user owns the PMU"), "{error}");
    let cycles = error.split_once("cycles (type 0 config 0x").and_then(|(_, rest)| rest.split_once("): "));
    assert!(cycles.is_some_and(|(_, answer)| answer.starts_with("EBUSY")), "{error}");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_list_that_names_no_event_is_bad_usage() {
    for (list, expected) in [
        ("cpux/event=1/", "no PMU `cpux` on this host"),
        ("msr/event=/", "value `` of term `event` is no number"),
        ("msr/tsk/", "PMU `msr` has no term `tsk`; it has terms event; events "),
        ("walks", "no event `walks`"),
    ] {
        if list.starts_with("msr/") && !has_pmu("msr") {
            println!("SKIP {list}: no msr PMU");
            continue;
        }
        let output = Command::new(BINARY).args(["doctor", "--counters", list]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{list}: {error}");
        assert!(error.starts_with("itlbench: --counters: ") && error.contains(expected), "{list}: {error}");
    }
}

fn open(list: &str, side: CountSide) -> Option<PerfCounters> {
    match perf::open(&Choice { events: Events::List(list.to_owned()), side }, 0) {
        Ok(counters) => Some(counters),
        Err(error) => {
            println!("SKIP: {error}");
            None
        }
    }
}

/// Counts while `work` runs.
fn window(counters: &mut PerfCounters, work: impl FnOnce()) -> Vec<Reading> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    counters.read(&mut before).unwrap();
    counters.enable().unwrap();
    work();
    counters.disable().unwrap();
    counters.read(&mut after).unwrap();
    after.iter().zip(&before).map(|(after, before)| after.since(before)).collect()
}

fn spin(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Ticks that the event counted over those of rdtsc while the thread was on the CPU: rdtsc goes on while it is not, and by how
/// much is what the time running says.
fn tsc_over_rdtsc(counters: &mut PerfCounters, at: usize, time: Duration) -> f64 {
    let (mut ticks, mut elapsed) = (0, Duration::ZERO);
    let readings = window(counters, || {
        let (began, began_ticks) = (Instant::now(), sys::time_stamp());
        spin(time);
        ticks = sys::time_stamp() - began_ticks;
        elapsed = began.elapsed();
    });
    assert_eq!(readings[at].unusable(), None);
    let on_cpu = readings[at].running_ns as f64 / elapsed.as_nanos() as f64;
    readings[at].counts[0] as f64 / (ticks as f64 * on_cpu)
}

#[test]
fn the_time_stamp_counter_agrees_with_rdtsc_in_short_and_long_windows() {
    let Some(mut counters) = open("msr/tsc/,task-clock", CountSide::Kernel) else { return };
    let Some(tsc) = counters.groups().iter().position(|group| group.events[0].role == Role::Tsc) else {
        println!("SKIP: no msr PMU");
        return;
    };
    for (milliseconds, windows) in [(1, 41), (20, 9)] {
        let time = Duration::from_millis(milliseconds);
        let mut ratios: Vec<f64> = (0..windows).map(|_| tsc_over_rdtsc(&mut counters, tsc, time)).collect();
        ratios.sort_by(f64::total_cmp);
        let median = ratios[windows / 2];
        assert!((0.98..=1.02).contains(&median), "{milliseconds} ms: {ratios:?}");
        println!(
            "msr/tsc/ over rdtsc, {milliseconds} ms: {median:.5}, {windows} windows, {:.5} to {:.5}",
            ratios[0],
            ratios[windows - 1]
        );
    }
}

#[test]
fn software_events_open_group_enable_and_read() {
    let Some(mut counters) = open("task-clock,context-switches,page-faults,minor-faults", CountSide::Kernel) else {
        return;
    };
    let pages = 64;
    let readings = window(&mut counters, || {
        let mut memory = vec![0u8; pages * 4096];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        std::hint::black_box(&memory);
        spin(Duration::from_millis(2));
    });
    let at = counters.groups().iter().position(|group| group.name == "software").unwrap();
    let count = |name: &str| {
        let event = counters.groups()[at].events.iter().position(|event| event.name == name).unwrap();
        readings[at].counts[event]
    };
    assert_eq!(readings[at].unusable(), None);
    assert!(count("task-clock").abs_diff(readings[at].enabled_ns) <= readings[at].enabled_ns / 50, "{readings:?}");
    assert!(count("page-faults") >= pages as u64 / 2 && count("minor-faults") <= count("page-faults"), "{readings:?}");
}

#[test]
fn tracepoints_and_more_software_events_are_counted_in_a_whole_run() {
    let Some(_turn) = tier::bpf() else { return };
    let out = tempfile::tempdir().unwrap();
    // tracefs in a mount namespace of its own, which goes with the command.
    let script =
        "test -e /sys/kernel/tracing/events || mount -t tracefs tracefs /sys/kernel/tracing || exit 99; exec \"$@\"";
    let list =
        if has_pmu("msr") { "sched:sched_switch,minor-faults,msr/tsc/" } else { "sched:sched_switch,minor-faults" };
    let run = ["run", "chain", "--programs", "8", "--trials", "2", "--samples", "4", "--counters", list, "--out"];
    let attempt = || {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh", BINARY]).args(run).arg(out.path()).stdin(Stdio::null());
        command.output().unwrap()
    };
    let mut output = attempt();
    // The CPU may be another run's for a while.
    for _ in 0..60 {
        if !String::from_utf8_lossy(&output.stderr).contains("in use by another itlbench run") {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
        output = attempt();
    }
    if output.status.code() == Some(99) || !Path::new("/sys/kernel/tracing").exists() {
        println!("SKIP: no tracefs");
        return;
    }
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{error}");
    let dir = String::from_utf8_lossy(&output.stdout).lines().last().unwrap().to_owned();
    let run = Run::read(&Path::new(&dir).join("run.jsonl")).unwrap();
    let software = run.manifest.groups.iter().position(|group| group.name == "software").unwrap();
    let group = &run.manifest.groups[software];
    let event = group.events.iter().position(|event| event.name == "sched:sched_switch").unwrap();
    assert_eq!((group.events.len(), group.events[event].code.pmu_type), (6, 2));
    for sample in run.trials.iter().flat_map(|trial| &trial.samples) {
        assert_eq!(sample.readings[software].counts.len(), 6);
        let switches = group.events.iter().position(|event| event.role == Role::ContextSwitches).unwrap();
        let counts = &sample.readings[software].counts;
        assert!(counts[event] <= counts[switches] + 1, "a switch away is a switch: {counts:?}");
    }
}
