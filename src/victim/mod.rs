//! In: a kind of victim and an amount of work. Out: that much work done on the calling thread's CPU.
//! Apart because these are the loads of others, which our programs share a CPU with; they know neither BPF nor counters.

mod loops;

use std::fmt;

pub use loops::{DATAGRAMS, work};

/// A victim of the tool's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum VictimKind {
    /// Jumps through 1 MiB of code in a permuted order: needs 256 pages of the iTLB
    Code,
    /// A null system call, again and again
    Syscall,
    /// A byte to and fro between two threads through two pipes
    Pipe,
    /// A datagram from one socket to another through the loopback device, again and again
    Datagram,
    /// Copies 16 MiB and touches a word on each of 4096 pages in a permuted order
    Memory,
}

/// The victim that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    BuiltIn(VictimKind),
    /// A command and its arguments.
    Command(Vec<String>),
}

impl fmt::Display for VictimKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Code => "code",
            Self::Syscall => "syscall",
            Self::Pipe => "pipe",
            Self::Datagram => "datagram",
            Self::Memory => "memory",
        })
    }
}
