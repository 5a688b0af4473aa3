//! What we count against what `perf stat` counts over the same window of the same thread: software events anywhere, events of the
//! core where there is a PMU.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use itlbench::counters::{Choice, CountSide, Events, Reading};
use itlbench::machine::kernel::perf;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::{Pid, Signal, kill_process};

/// `perf stat` attached to this thread, switched on and off through fifos.
struct PerfStat {
    child: Child,
    control: File,
    answers: File,
    _dir: tempfile::TempDir,
}

impl PerfStat {
    /// Attached, and counting nothing yet; `None` where perf is not to be had.
    fn attach(events: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let fifo = |name: &str| {
            let path = dir.path().join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
            path
        };
        let (control, answers) = (fifo("control"), fifo("answers"));
        // Open at both ends, so that nobody waits for the other.
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let open = |path| OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(path).unwrap();
        let (control_end, answers_end) = (open(&control), open(&answers));
        let fifos = format!("fifo:{},{}", control.display(), answers.display());
        let own = rustix::thread::gettid().as_raw_nonzero().to_string();
        let child = Command::new("perf")
            .args(["stat", "-x", ",", "-D", "-1", "-e", events, "-t", &own, "--control", &fifos])
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        Some(Self { child, control: control_end, answers: answers_end, _dir: dir })
    }

    /// Whether perf took the command; it may have ended for want of events.
    fn tell(&mut self, command: &str) -> bool {
        writeln!(self.control, "{command}").unwrap();
        let (began, mut answer) = (Instant::now(), Vec::new());
        while !answer.contains(&b'\n') {
            let mut some = [0; 16];
            match self.answers.read(&mut some) {
                Ok(bytes) => answer.extend(&some[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.child.try_wait().unwrap().is_some() {
                        return false;
                    }
                    assert!(began.elapsed() < Duration::from_secs(20), "perf does not answer `{command}`");
                    std::thread::sleep(Duration::from_micros(100));
                }
                Err(error) => panic!("{error}"),
            }
        }
        true
    }

    /// Lines `value,unit,event,...` as perf prints them at its end.
    fn lines(self) -> String {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        String::from_utf8_lossy(&self.child.wait_with_output().unwrap().stderr).into_owned()
    }
}

/// What perf counted of `event`, added up over the PMUs of a hybrid part; `None` if no PMU took it.
fn count(lines: &str, event: &str) -> Option<f64> {
    let counted = lines.lines().filter_map(|line| {
        let mut fields = line.split(',');
        let (value, unit, name) = (fields.next()?.parse::<f64>().ok()?, fields.next()?, fields.next()?);
        name.contains(event).then_some(if unit == "msec" { value * 1e6 } else { value })
    });
    counted.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Counts of `events` over one window of `work`: ours and perf's, by event. `None` if perf counts none of them.
fn both(events: &[&str], side: CountSide, work: fn()) -> Option<Vec<(String, f64, f64)>> {
    let suffix = if events[0] == "task-clock" { "" } else { side.suffix() };
    let asked: Vec<String> = events.iter().map(|event| format!("{event}{suffix}")).collect();
    let mut perf = PerfStat::attach(&asked.join(","))?;
    let ours = perf::open(&Choice { events: Events::List(events.join(",")), side }, 0);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut ours = ours.ok();
    if !perf.tell("enable") {
        return None;
    }
    if let Some(counters) = &mut ours {
        counters.read(&mut before).unwrap();
        counters.enable().unwrap();
        work();
        counters.disable().unwrap();
        counters.read(&mut after).unwrap();
    }
    perf.tell("disable");
    let lines = perf.lines();
    let theirs: Vec<(&str, f64)> = events.iter().filter_map(|event| Some((*event, count(&lines, event)?))).collect();
    if theirs.is_empty() {
        return None;
    }
    let counters = ours.unwrap_or_else(|| panic!("perf counts and we do not: {lines}"));
    let windows: Vec<Reading> = after.iter().zip(&before).map(|(after, before)| after.since(before)).collect();
    let of = |event: &str| {
        let groups = counters.groups().iter().zip(&windows);
        groups
            .flat_map(|(group, window)| group.events.iter().zip(&window.counts))
            .find(|(known, _)| known.name == event)
    };
    let found = |(event, theirs): (&str, f64)| {
        let (_, ours) =
            of(event).unwrap_or_else(|| panic!("perf counts {event} and we do not: {:?}", counters.refused()));
        (event.to_owned(), *ours as f64, theirs)
    };
    Some(theirs.into_iter().map(found).collect())
}

/// Below this many events what lies between the two windows is more than 2 %.
const FEW: f64 = 10_000.0;

fn agree(found: &[(String, f64, f64)]) {
    for (event, ours, theirs) in found {
        println!("{event}: ours {ours}, perf's {theirs}, ratio {:.4}", ours / theirs);
        assert!(*theirs < FEW || (0.98..=1.02).contains(&(ours / theirs)), "{event}: ours {ours}, perf's {theirs}");
    }
    assert!(found.iter().any(|(_, _, theirs)| *theirs >= FEW), "nothing worth comparing: {found:?}");
}

/// A third of a second in user space and in the kernel, with page faults.
fn work() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(350) {
        let mut memory = vec![0u8; 512 << 12];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        std::hint::black_box(&memory);
        (0..500).for_each(|_| {
            std::hint::black_box(rustix::process::getppid());
        });
        (0..100_000u32).for_each(|turn| {
            std::hint::black_box(turn);
        });
    }
}

#[test]
fn software_events_agree_with_perf_stat_over_the_same_window() {
    match both(&["task-clock", "page-faults"], CountSide::Kernel, work) {
        Some(found) => agree(&found),
        None => println!("SKIP: perf is not installed, or may not count"),
    }
}

#[test]
fn pmu_tier_core_events_agree_with_perf_stat_over_the_same_window() {
    for side in [CountSide::User, CountSide::Kernel] {
        match both(&["instructions", "cycles", "iTLB-load-misses"], side, work) {
            Some(found) => agree(&found),
            None => return tier::skip("pmu", "`perf stat -e instructions` is not to be had, or counts nothing"),
        }
    }
}
