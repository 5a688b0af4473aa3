//! Trigger `tracepoint`: raw tracepoint programs on `bpf_trigger_tp`, which the kernel hits in one test function only. A program of
//! ours calls that function, several times in a run; one BPF_PROG_TEST_RUN repeats that as often as it is told.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::attached::Hook;
use super::{Firing, hits};
use crate::machine::kernel::sys::{TestRun, attach};
use crate::machine::{Result, Target};

/// Calls of the kernel function on whose way the hook is, by programs of ours.
#[derive(Debug)]
pub struct Calls {
    /// One in a run, for what is left of a number.
    one: TestRun,
    /// [`BATCH`] in a run.
    batch: TestRun,
}

/// As in bpf/hits.bpf.c.
const BATCH: u32 = 16;

impl Calls {
    /// Loads the programs.
    pub fn load() -> Result<Self> {
        let run = |name| -> Result<TestRun> { Ok(TestRun::new(hits::program(name)?, [0; 5])) };
        Ok(Self { one: run("hit_kernel_function")?, batch: run("hit_kernel_function_16")? })
    }

    fn run(&mut self, times: u32) -> io::Result<()> {
        let (batches, rest) = (times / BATCH, times % BATCH);
        if batches > 0 {
            self.batch.run(batches)?;
        }
        if rest > 0 {
            self.one.run(rest)?;
        }
        Ok(())
    }

    fn again(&self) -> io::Result<Self> {
        Ok(Self { one: self.one.again()?, batch: self.batch.again()? })
    }
}

/// A hook that is there once: programs and empty program hang on it in turn.
#[derive(Debug)]
pub struct InTurn {
    calls: Calls,
    attach: fn(BorrowedFd<'_>) -> io::Result<OwnedFd>,
    programs: Arc<Vec<OwnedFd>>,
    empty: Vec<OwnedFd>,
    attached: Option<Target>,
    links: Vec<OwnedFd>,
}

/// Hits before a window: what has just been attached is cold.
const WARM_UP: u32 = 16;

impl InTurn {
    /// Hits by `calls`, attaches by `attach`.
    pub fn new(
        calls: Calls,
        attach: fn(BorrowedFd<'_>) -> io::Result<OwnedFd>,
        programs: Arc<Vec<OwnedFd>>,
        empty: Vec<OwnedFd>,
    ) -> Self {
        Self { calls, attach, programs, empty, attached: None, links: Vec::new() }
    }
}

impl Hook for InTurn {
    fn prepare(&mut self, target: Target) -> io::Result<()> {
        if self.attached == Some(target) {
            return Ok(());
        }
        self.attached = None;
        self.links.clear();
        let programs = match target {
            Target::Programs => &self.programs[..],
            Target::Empty => &self.empty[..],
        };
        for program in programs {
            self.links.push((self.attach)(program.as_fd())?);
        }
        self.attached = Some(target);
        self.hit(target, WARM_UP)
    }

    fn hit(&mut self, target: Target, times: u32) -> io::Result<()> {
        if self.attached != Some(target) {
            self.prepare(target)?;
        }
        self.calls.run(times)
    }

    fn again(&self) -> io::Result<Box<dyn Firing>> {
        Ok(Box::new(Elsewhere { calls: self.calls.again()?, attached: self.attached }))
    }
}

/// The hook hit from another CPU: what hangs on it there is what hung on it when this was made.
#[derive(Debug)]
struct Elsewhere {
    calls: Calls,
    attached: Option<Target>,
}

impl Firing for Elsewhere {
    fn hit(&mut self, target: Target, times: u32) -> io::Result<()> {
        match self.attached == Some(target) {
            true => self.calls.run(times),
            false => Err(io::Error::other("something else hangs on the hook")),
        }
    }
}

/// Prepares the tracepoint.
pub fn open(programs: Arc<Vec<OwnedFd>>, empty: Vec<OwnedFd>) -> Result<InTurn> {
    let attach = |program: BorrowedFd<'_>| attach::raw_tracepoint(program, c"bpf_trigger_tp");
    Ok(InTurn::new(Calls::load()?, attach, programs, empty))
}
