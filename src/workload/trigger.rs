//! What runs the programs of a case.

use serde::{Deserialize, Serialize};

/// What runs the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerKind {
    /// Direct tail calls that visit all programs in turn.
    Chain,
    /// Indirect tail calls to the program a linear congruential generator draws.
    Walk,
    /// A raw tracepoint that nobody else hits: one hit runs all.
    Tracepoint,
    /// Classifiers of one queueing discipline in a network namespace of its own: one packet runs all.
    Cls,
    /// Egress filters of nested control groups: one packet of a socket in the innermost runs all.
    Cgroup,
    /// Probes on a function of this process: one call runs all.
    Uprobe,
    /// XDP programs behind the entries of a device map: one packet, sent to all entries, runs all.
    Xdp,
    /// A filter on each of many sockets: a datagram to every socket runs all.
    Socket,
    /// A system call for each program: BPF_PROG_TEST_RUN.
    Syscall,
    /// Entry probes on functions of a BPF program of ours: one run of it runs all.
    Fentry,
    /// Multi-kprobes on a kernel function that nobody else calls: one call runs all.
    Kprobe,
}

impl TriggerKind {
    /// Every trigger, in the order in which they are listed.
    pub const ALL: [Self; 11] = [
        Self::Chain,
        Self::Walk,
        Self::Tracepoint,
        Self::Cls,
        Self::Cgroup,
        Self::Uprobe,
        Self::Xdp,
        Self::Socket,
        Self::Syscall,
        Self::Fentry,
        Self::Kprobe,
    ];

    /// What runs the programs, in a line.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Chain => "direct tail calls that visit all programs in turn",
            Self::Walk => "indirect tail calls to a program drawn for each",
            Self::Tracepoint => "raw tracepoint bpf_trigger_tp: one hit runs every program",
            Self::Cls => "classifiers on egress of a network namespace of its own: one packet runs every program",
            Self::Cgroup => "egress filters of nested control groups: one packet runs every program",
            Self::Uprobe => "probes on a function of this process: one call runs every program",
            Self::Xdp => "XDP programs behind a device map: one packet is copied to every program",
            Self::Socket => "a filter on each of many sockets: a datagram to each runs every program",
            Self::Syscall => "BPF_PROG_TEST_RUN: a system call for each program",
            Self::Fentry => "entry probes on functions of a BPF program: one run of it runs every program",
            Self::Kprobe => "multi-kprobes on a quiet kernel function: one call runs every program",
        }
    }

    /// Whether programs call each other, so that the kernel's `MAX_TAIL_CALL_CNT` bounds one run; otherwise one run visits all in turn.
    pub fn is_tail_calls(self) -> bool {
        matches!(self, Self::Chain | Self::Walk)
    }

    /// What its programs can also hang on so that a victim runs them itself; `None` if they are of a type that cannot.
    pub fn victims_hook(self) -> Option<&'static str> {
        match self {
            Self::Tracepoint | Self::Syscall => Some("raw tracepoint sys_enter"),
            Self::Cgroup => Some("egress of a control group of its own"),
            _ => None,
        }
    }

    /// Whether the order of visits follows from the seed of a trial.
    pub fn is_seeded(self) -> bool {
        self == Self::Walk
    }
}
