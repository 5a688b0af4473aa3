//! Triggers `chain` and `walk`: tail calls fired by BPF_PROG_TEST_RUN with a repetition count.

use std::io;
use std::time::Instant;

use super::{Firing, Trigger};
use crate::machine::kernel::fillers::load_failed;
use crate::machine::kernel::pace::Pace;
use crate::machine::kernel::programs::{Maps, Programs, prog_array, set_program};
use crate::machine::kernel::sys::TestRun;
use crate::machine::{Fired, MachineError, Result, Target};
use crate::trial::Check;
use crate::workload::TriggerKind;
use libbpf_rs::MapHandle;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Words of `skb->cb` as bpf/bodies.bpf.c uses them.
const STATE: usize = 0;
const CHECK: usize = 2;
const STRIDE: usize = 3;

/// Tail calls in one run: `MAX_TAIL_CALL_CNT`. The check pass counts them; this is only where it begins.
const TAIL_CALLS: u32 = 33;

/// Most repetitions in one call: the kernel takes an int.
const MOST_REPEATS: u32 = i32::MAX as u32;

/// The entry program, prepared to be fired at the measured programs and at the empty one.
#[derive(Debug)]
pub struct TailCalls {
    programs: TestRun,
    empty: TestRun,
    count: u32,
    /// Draws, or steps, after which each has been run.
    round: u32,
    kind: TriggerKind,
    empty_program: OwnedFd,
    _empty_array: MapHandle,
}

impl TailCalls {
    /// Prepares both targets.
    pub fn new(kind: TriggerKind, seed: u64, objects: &Programs, maps: &Maps) -> Result<Self> {
        let (count, round) = (maps.programs, maps.deal.slots());
        let start = if kind.is_seeded() { seed as u32 } else { 0 };
        let failed = |error: std::io::Error| load_failed("trigger program", &error);
        let by_position = maps.by_position.as_ref();
        let by_position =
            by_position.ok_or_else(|| MachineError::failed("failed to find the prog array of a chain"))?;
        let entry = objects.load_entry(by_position).map_err(failed)?;
        let empty_array = prog_array(1)?;
        let empty = objects.load_empty().map_err(failed)?;
        set_program(&empty_array, 0, empty.as_fd())
            .map_err(|error| MachineError::failed(format!("failed to store the empty program: {error}")))?;
        let empty_entry = objects.load_entry(&empty_array).map_err(failed)?;
        Ok(Self {
            programs: TestRun::new(entry, [start, round, 0, TAIL_CALLS % count, 0]),
            empty: TestRun::new(empty_entry, [0, 1, 0, 0, 0]),
            count,
            round,
            kind,
            empty_program: empty,
            _empty_array: empty_array,
        })
    }

    fn run(&mut self, target: Target, runs: u32) -> Result<()> {
        let test = match target {
            Target::Programs => &mut self.programs,
            Target::Empty => &mut self.empty,
        };
        match test.run(runs.min(MOST_REPEATS)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Err(MachineError::interrupted()),
            Err(error) => Err(MachineError::host_cannot(
                format!("failed to run programs with BPF_PROG_TEST_RUN: {error}"),
                "this needs root or CAP_BPF and CAP_NET_ADMIN, and a kernel with test runs for sched_cls programs",
            )),
        }
    }
}

/// The same runs on another CPU, with skbs of their own.
#[derive(Debug)]
struct Elsewhere {
    programs: TestRun,
    empty: TestRun,
}

impl Firing for Elsewhere {
    fn hit(&mut self, target: Target, times: u32) -> io::Result<()> {
        let run = match target {
            Target::Programs => &mut self.programs,
            Target::Empty => &mut self.empty,
        };
        run.run(times).map(drop)
    }
}

impl Trigger for TailCalls {
    /// Runs until every program must have been visited, counting; 33 for each slot.
    fn check(&mut self, maps: &Maps) -> Result<Check> {
        let runs = self.round;
        self.programs.cb()[CHECK] = 1;
        self.run(Target::Programs, runs)?;
        self.programs.cb()[CHECK] = 0;
        let counts = maps.executed(self.count)?;
        let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        let per_run = (total / u64::from(runs)) as u32;
        if self.kind == TriggerKind::Chain {
            self.programs.cb()[STATE] = 0;
            self.programs.cb()[STRIDE] = per_run % self.count;
        }
        Ok(Check {
            executed: counts.iter().filter(|&&count| count > 0).count() as u32,
            fewest: counts.iter().copied().min().unwrap_or(0).into(),
            most: counts.iter().copied().max().unwrap_or(0).into(),
            executions_per_run: per_run,
        })
    }

    fn prepare(&mut self, _target: Target) -> Result<()> {
        Ok(())
    }

    fn empty_program(&self) -> BorrowedFd<'_> {
        self.empty_program.as_fd()
    }

    fn fire(&mut self, target: Target, runs: u32) -> Result<Fired> {
        let began = Instant::now();
        self.run(target, runs)?;
        Ok(Fired { wall_ns: began.elapsed().as_nanos() as u64 })
    }

    fn again(&self) -> io::Result<Box<dyn Firing>> {
        Ok(Box::new(Elsewhere { programs: self.programs.again()?, empty: self.empty.again()? }))
    }

    /// The prog arrays hold the programs, see [`Maps::retire`].
    fn release(&mut self, _pace: &mut Pace<'_>) {}
}
