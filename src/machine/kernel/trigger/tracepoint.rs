//! Trigger `tracepoint`: raw tracepoint programs on `bpf_trigger_tp`, which the kernel hits in one test function only. A program of
//! ours calls that function; one BPF_PROG_TEST_RUN hits as often as it is told.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::attached::Hook;
use super::{Firing, hits};
use crate::machine::kernel::sys::{TestRun, attach};
use crate::machine::{Result, Target};

/// A hook that is there once: programs and empty program hang on it in turn.
#[derive(Debug)]
pub struct InTurn {
    hit: TestRun,
    attach: fn(BorrowedFd<'_>) -> io::Result<OwnedFd>,
    programs: Arc<Vec<OwnedFd>>,
    empty: Vec<OwnedFd>,
    attached: Option<Target>,
    links: Vec<OwnedFd>,
}

/// Hits before a window: what has just been attached is cold.
const WARM_UP: u32 = 16;

impl InTurn {
    /// Hits by `hit`, attaches by `attach`.
    pub fn new(
        hit: OwnedFd,
        attach: fn(BorrowedFd<'_>) -> io::Result<OwnedFd>,
        programs: Arc<Vec<OwnedFd>>,
        empty: Vec<OwnedFd>,
    ) -> Self {
        Self { hit: TestRun::new(hit, [0; 5]), attach, programs, empty, attached: None, links: Vec::new() }
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
        self.hit.run(times).map(drop)
    }

    fn again(&self) -> io::Result<Box<dyn Firing>> {
        Ok(Box::new(Elsewhere { hit: self.hit.again()?, attached: self.attached }))
    }
}

/// The hook hit from another CPU: what hangs on it there is what hung on it when this was made.
#[derive(Debug)]
struct Elsewhere {
    hit: TestRun,
    attached: Option<Target>,
}

impl Firing for Elsewhere {
    fn hit(&mut self, target: Target, times: u32) -> io::Result<()> {
        match self.attached == Some(target) {
            true => self.hit.run(times).map(drop),
            false => Err(io::Error::other("something else hangs on the hook")),
        }
    }
}

/// Prepares the tracepoint.
pub fn open(programs: Arc<Vec<OwnedFd>>, empty: Vec<OwnedFd>) -> Result<InTurn> {
    let attach = |program: BorrowedFd<'_>| attach::raw_tracepoint(program, c"bpf_trigger_tp");
    Ok(InTurn::new(hits::program("hit_kernel_function")?, attach, programs, empty))
}
