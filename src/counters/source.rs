//! The seam between the rules by which events are opened and counted, and the system calls that do it.

use std::fmt;
use std::io;

use super::{CountSide, EventCode};

/// One event, as perf_event_open(2) is asked for it. What is not here is zero, but for `disabled` (leaders wait to be
/// enabled), `pinned` (leaders of core events) and the read format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub code: EventCode,
    pub exclude: Exclude,
    /// The group is on the PMU or in error, never multiplexed.
    pub pinned: bool,
    pub scope: Scope,
}

/// Whose events are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of the calling thread.
    Thread,
    /// Of one CPU: all that a PMU offers that counts for a package or a die.
    Cpu(u32),
}

/// The `exclude_*` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exclude {
    pub user: bool,
    pub kernel: bool,
    pub hv: bool,
    pub guest: bool,
}

impl Exclude {
    /// As perf sets them for `{...}:k`, `{...}:u` and `{...}`.
    pub fn for_side(side: CountSide) -> Self {
        let (user, kernel) = match side {
            CountSide::Kernel => (true, false),
            CountSide::User => (false, true),
            CountSide::Both => (false, false),
        };
        Self { user, kernel, hv: user || kernel, guest: true }
    }
}

/// Opens and reads groups: the kernel, or a replay of what a kernel did.
pub trait Source: fmt::Debug {
    /// An open group: its descriptors close when it is dropped.
    type Group: fmt::Debug;

    /// Opens the leader of a group.
    fn lead(&mut self, request: &Request) -> io::Result<Self::Group>;
    /// Adds a sibling, enabled with its leader.
    fn join(&mut self, group: &mut Self::Group, request: &Request) -> io::Result<()>;
    /// The kernel's ids of the events, leader first (`PERF_EVENT_IOC_ID`).
    fn ids(&mut self, group: &Self::Group) -> io::Result<Vec<u64>>;
    fn enable(&mut self, group: &Self::Group) -> io::Result<()>;
    fn disable(&mut self, group: &Self::Group) -> io::Result<()>;
    /// One read(2) of the leader; returns the bytes it gave.
    fn read(&mut self, group: &Self::Group, buffer: &mut [u8]) -> io::Result<usize>;
    /// Something that every core event counts, for the trial at start-up.
    fn exercise(&mut self) {
        std::hint::black_box((0..100_000u64).fold(0u64, |sum, i| sum ^ i));
    }
}
