//! Programs on a hook, fired by hitting it.

use std::ffi::CStr;
use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inhabited::Inhabited;
use super::{Firing, Trigger, attach_failed, cgroup, cls, kprobe, socket, spots, syscall, tracepoint, uprobe, xdp};
use crate::machine::kernel::fillers::load_failed;
use crate::machine::kernel::pace::Pace;
use crate::machine::kernel::programs::{Maps, Programs};
use crate::machine::kernel::sys::attach;
use crate::machine::{Fired, MachineError, Result, Target};
use crate::trial::Check;
use crate::workload::TriggerKind;

/// Hits in the check pass.
const CHECKED_HITS: u32 = 3;
/// A packet may be left to ksoftirqd.
const LATEST: Duration = Duration::from_millis(500);

/// Where programs hang.
pub trait Hook: Debug {
    /// Makes `target` what is hit next.
    fn prepare(&mut self, _target: Target) -> io::Result<()> {
        Ok(())
    }
    /// Hits it: every program runs `times` times.
    fn hit(&mut self, target: Target, times: u32) -> io::Result<()>;
    /// The same to be hit from another thread.
    fn again(&self) -> io::Result<Box<dyn Firing>>;
}

/// No hook any more.
#[derive(Debug)]
struct Gone;

impl Hook for Gone {
    fn hit(&mut self, _target: Target, _times: u32) -> io::Result<()> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn again(&self) -> io::Result<Box<dyn Firing>> {
        Err(io::ErrorKind::NotConnected.into())
    }
}

/// One of two alike hooks.
pub trait Point: Debug + Send + Sized {
    fn hit(&mut self, times: u32) -> io::Result<()>;
    /// The same to be hit from another thread.
    fn again(&self) -> io::Result<Self>;
}

/// Two hooks that do not know each other: one with the programs, one with the empty program.
#[derive(Debug)]
pub struct Pair<P: Point> {
    pub programs: P,
    pub empty: P,
}

impl<P: Point> Firing for Pair<P> {
    fn hit(&mut self, target: Target, times: u32) -> io::Result<()> {
        match target {
            Target::Programs => self.programs.hit(times),
            Target::Empty => self.empty.hit(times),
        }
    }
}

impl<P: Point + 'static> Hook for Pair<P> {
    fn hit(&mut self, target: Target, times: u32) -> io::Result<()> {
        Firing::hit(self, target, times)
    }

    fn again(&self) -> io::Result<Box<dyn Firing>> {
        Ok(Box::new(Pair { programs: self.programs.again()?, empty: self.empty.again()? }))
    }
}

/// The programs of a case on their hook.
#[derive(Debug)]
pub struct Attached {
    kind: TriggerKind,
    hook: Box<dyn Hook>,
    /// By position. They hold the programs, so that leaving the hook frees none.
    programs: Arc<Vec<OwnedFd>>,
    empty: OwnedFd,
    /// Links to a hook that other processes hit.
    hooked: Vec<OwnedFd>,
    /// A hook of the control groups that a victim lives in.
    inhabited: Option<Inhabited>,
}

/// Hit by every system call of the host: whatever a process does, it hits this.
const EVERYBODYS: &CStr = c"sys_enter";

impl Attached {
    /// Puts `programs` on their hook, and an empty program on another or in turn on the same.
    pub fn new(kind: TriggerKind, objects: &Programs, programs: Vec<OwnedFd>) -> Result<Self> {
        let programs = Arc::new(programs);
        let empty = objects.load_empty().map_err(|error| load_failed("trigger program", &error))?;
        let hook = hook(kind, objects, &programs, &empty)?;
        Ok(Self { kind, hook, programs, empty, hooked: Vec::new(), inhabited: None })
    }

    fn hit(&mut self, target: Target, times: u32) -> Result<()> {
        match self.hook.hit(target, times) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(MachineError::interrupted()),
            Err(error) => Err(attach_failed(self.kind, "run programs", &error)),
        }
    }

    /// Counts by position once all that was claimed is there, or too long was waited for it.
    fn counts(&self, maps: &Maps, claimed: u64) -> Result<Vec<u32>> {
        let began = Instant::now();
        loop {
            let counts = maps.executed(self.programs.len() as u32)?;
            let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
            if total >= claimed || began.elapsed() > LATEST {
                return Ok(counts);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn hook(kind: TriggerKind, objects: &Programs, programs: &Arc<Vec<OwnedFd>>, empty: &OwnedFd) -> Result<Box<dyn Hook>> {
    let failed = |error: io::Error| attach_failed(kind, "attach programs", &error);
    let bare = || empty.try_clone().map(|empty| vec![empty]).map_err(failed);
    let last = |returns| objects.load_empty_at(0, returns).map_err(|error| load_failed("trigger program", &error));
    let count = programs.len();
    Ok(match kind {
        TriggerKind::Tracepoint => Box::new(tracepoint::open(Arc::clone(programs), bare()?)?),
        TriggerKind::Kprobe => Box::new(kprobe::open(Arc::clone(programs), bare()?)?),
        TriggerKind::Fentry => Box::new(spots::open(objects, programs)?),
        TriggerKind::Cls => {
            let drop = last(cls::DROP)?;
            let on = |programs: &[OwnedFd]| cls::Cls::open(programs, &drop).map_err(failed);
            Box::new(Pair { programs: on(programs)?, empty: on(&bare()?)? })
        }
        TriggerKind::Cgroup => {
            let drop = last(cgroup::DROP)?;
            let on = |programs: &[OwnedFd]| cgroup::Cgroup::open(programs, &drop).map_err(failed);
            Box::new(Pair { programs: on(programs)?, empty: on(&bare()?)? })
        }
        TriggerKind::Uprobe => Box::new(uprobe::open(programs, empty).map_err(failed)?),
        TriggerKind::Xdp => {
            let on = |programs: &[OwnedFd]| xdp::Xdp::open(programs);
            Box::new(Pair { programs: on(programs)?, empty: on(&bare()?)? })
        }
        TriggerKind::Socket => {
            let on = |program: &dyn Fn(usize) -> usize, all: &[OwnedFd]| {
                socket::Sockets::open((0..count).map(|at| all[program(at)].as_fd())).map_err(failed)
            };
            Box::new(Pair { programs: on(&|at| at, programs)?, empty: on(&|_| 0, &bare()?)? })
        }
        TriggerKind::Syscall => Box::new(Pair {
            programs: syscall::Calls::new(Arc::clone(programs), 1),
            empty: syscall::Calls::new(Arc::new(bare()?), count),
        }),
        TriggerKind::Chain | TriggerKind::Walk => {
            return Err(MachineError::failed(format!("failed to attach: trigger `{kind}` has no hook")));
        }
    })
}

impl Trigger for Attached {
    fn check(&mut self, maps: &Maps) -> Result<Check> {
        self.prepare(Target::Programs)?;
        maps.set_checking(true)?;
        self.hit(Target::Programs, CHECKED_HITS)?;
        let claimed = u64::from(CHECKED_HITS) * self.programs.len() as u64;
        let counts = self.counts(maps, claimed)?;
        maps.set_checking(false)?;
        let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        if total != claimed {
            return Err(MachineError::failed(format!(
                "failed to check trigger `{}`: programs counted {total} executions of {claimed} claimed; something else \
                 reaches its hook, or not all is delivered",
                self.kind
            )));
        }
        Ok(Check {
            executed: counts.iter().filter(|&&count| count > 0).count() as u32,
            fewest: counts.iter().copied().min().unwrap_or(0).into(),
            most: counts.iter().copied().max().unwrap_or(0).into(),
            executions_per_run: self.programs.len() as u32,
        })
    }

    fn prepare(&mut self, target: Target) -> Result<()> {
        self.hook.prepare(target).map_err(|error| attach_failed(self.kind, "attach programs", &error))
    }

    fn fire(&mut self, target: Target, runs: u32) -> Result<Fired> {
        let began = Instant::now();
        self.hit(target, runs)?;
        Ok(Fired { wall_ns: began.elapsed().as_nanos() as u64 })
    }

    fn again(&self) -> io::Result<Box<dyn Firing>> {
        self.hook.again()
    }

    fn hook(&mut self, maps: &Maps) -> Result<Option<PathBuf>> {
        let Some(name) = self.kind.victims_hook() else {
            let kind = self.kind;
            return Err(MachineError::bad_request(format!(
                "--hooked: programs of trigger `{kind}` cannot hang on a hook that a victim hits"
            )));
        };
        maps.clear_executed()?;
        maps.set_checking(true)?;
        let failed = |error| attach_failed(self.kind, &format!("attach programs to {name}"), &error);
        if self.kind == TriggerKind::Cgroup {
            let inhabited = Inhabited::open(&self.programs).map_err(failed)?;
            let entrance = inhabited.entrance().map_err(failed)?;
            self.inhabited = Some(inhabited);
            return Ok(Some(entrance));
        }
        for program in self.programs.iter() {
            self.hooked.push(attach::raw_tracepoint(program.as_fd(), EVERYBODYS).map_err(failed)?);
        }
        Ok(None)
    }

    fn unhook(&mut self, maps: &Maps) -> Result<u64> {
        self.hooked.clear();
        self.inhabited = None;
        maps.set_checking(false)?;
        Ok(maps.executed(self.programs.len() as u32)?.iter().map(|&count| u64::from(count)).sum())
    }

    fn empty_program(&self) -> BorrowedFd<'_> {
        self.empty.as_fd()
    }

    fn release(&mut self, pace: &mut Pace<'_>) {
        self.hook = Box::new(Gone);
        self.hooked.clear();
        self.inhabited = None;
        for program in Arc::get_mut(&mut self.programs).map(std::mem::take).unwrap_or_default() {
            drop(program);
            pace.step();
        }
    }
}
