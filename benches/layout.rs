//! What `itlbench layout` takes on a host with ten thousand programs.
#![allow(clippy::unwrap_used)]

mod figures;

use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use itlbench::machine::kernel::pace::Pace;
use itlbench::machine::kernel::probe;
use itlbench::machine::kernel::programs::{Programs, prog_array, set_program};
use itlbench::machine::kernel::settle::Settle;
use itlbench::workload::{Body, TriggerKind};
use libbpf_rs::MapHandle;

const PROGRAMS: u32 = 10_000;
/// Programs that are unloaded at once: a kernel that frees thousands together may lock up (6.18).
const AT_ONCE: u32 = 100;
const ROUNDS: usize = 5;
const MOST_SECONDS: f64 = 0.5;

fn main() {
    if let Err(reason) = probe::test_run() {
        println!("SKIP   layout: {reason}");
        return;
    }
    let held = Held::load();
    for (format, extra) in [("text", None), ("json", None), ("text", Some("--kallsyms"))] {
        let seconds: Vec<f64> = (0..ROUNDS).map(|_| layout(format, extra)).collect();
        let worst = seconds.iter().copied().fold(0.0, f64::max);
        let median = figures::median(seconds);
        let verdict = match extra {
            // What is not asked of it: this is why it is left out.
            Some(_) => "      ",
            None if median <= MOST_SECONDS => "ok    ",
            None => "MISSED",
        };
        let what = extra.map(|option| format!(" {option}")).unwrap_or_default();
        println!(
            "{verdict} layout{what}, {format}, {PROGRAMS} programs: {median:.3} s (at most {MOST_SECONDS}); worst {worst:.3}, n {ROUNDS}"
        );
    }
    drop(held);
}

/// Seconds of wall time of the whole command.
fn layout(format: &str, extra: Option<&str>) -> f64 {
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
    let status = command.args(["layout", "--format", format]).args(extra).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    began.elapsed().as_secs_f64()
}

/// Programs that nobody runs.
struct Held(Vec<MapHandle>);

impl Held {
    fn load() -> Self {
        let programs = Programs::open(TriggerKind::Chain, Body::B128).unwrap();
        let array = || {
            let array = prog_array(AT_ONCE).unwrap();
            (0..AT_ONCE).for_each(|slot| set_program(&array, slot, programs.load_empty().unwrap().as_fd()).unwrap());
            array
        };
        Self((0..PROGRAMS / AT_ONCE).map(|_| array()).collect())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let settle = Settle::watching();
        let mut pace = Pace::seeing(&settle);
        for array in self.0.drain(..) {
            drop(array);
            (0..AT_ONCE).for_each(|_| pace.step());
        }
    }
}
