//! What is asked of the kernel, one step at a time. A sequence stays valid with any of its steps left out, so that a failing one
//! can be shrunk.

use std::fmt;

use super::body::Body;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Loads `body` into a free slot.
    Load { slot: u16, body: Body },
    /// Runs it once, on `cpu` if one is named.
    Run { slot: u16, input: u32, cpu: Option<u32> },
    /// Reads its header and its bytes from memory, and what the kernel says its bytes are.
    Inspect { slot: u16 },
    /// Lets go of it; the kernel frees it later.
    Unload { slot: u16 },
    /// Waits until all that was let go of is free.
    Settle,
    /// Looks at where the last program of this slot was.
    Remains { slot: u16 },
    /// Reads from the page tables how the pages of all loaded programs, and their aliases in the direct map, are mapped.
    Mapping,
    /// Everybody's code.
    Programs,
    /// Everybody's code, the areas it lies in, and the kernel's memory.
    Survey,
    /// Begins or ends to walk the page tables without pause, beside whatever follows.
    Watch(bool),
    /// Takes or gives back memory of this process.
    Pressure(bool),
    /// Sets net.core.bpf_jit_harden, or what it was.
    Harden(Option<u8>),
    /// Finds out how many bytes count against net.core.bpf_jit_limit.
    Charged,
    /// Lowers it so that this many more may be taken, and loads without CAP_BPF from then on; or restores both.
    JitLimit(Option<u32>),
    /// Lets the `nth` allocation of the load that follows fail.
    FailNth(u32),
    /// Lowers this process's descriptor limit so that this many are left, or restores it.
    Descriptors(Option<u16>),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { slot, body } => write!(f, "load {slot} ({body})"),
            Self::Run { slot, input, cpu: None } => write!(f, "run {slot} on input {input}"),
            Self::Run { slot, input, cpu: Some(cpu) } => write!(f, "run {slot} on input {input} on CPU {cpu}"),
            Self::Inspect { slot } => write!(f, "inspect {slot}"),
            Self::Unload { slot } => write!(f, "unload {slot}"),
            Self::Settle => f.write_str("settle"),
            Self::Remains { slot } => write!(f, "look at what is left of {slot}"),
            Self::Mapping => f.write_str("read the page tables"),
            Self::Programs => f.write_str("list programs"),
            Self::Survey => f.write_str("survey"),
            Self::Watch(on) => write!(f, "{} the page tables", if *on { "watch" } else { "stop watching" }),
            Self::Pressure(on) => write!(f, "{} memory", if *on { "take" } else { "give back" }),
            Self::Harden(Some(level)) => write!(f, "set bpf_jit_harden to {level}"),
            Self::Harden(None) => f.write_str("restore bpf_jit_harden"),
            Self::Charged => f.write_str("find out what counts against bpf_jit_limit"),
            Self::JitLimit(Some(room)) => write!(f, "leave {room} bytes below bpf_jit_limit, and load without CAP_BPF"),
            Self::JitLimit(None) => f.write_str("restore bpf_jit_limit"),
            Self::FailNth(nth) => write!(f, "let allocation {nth} fail"),
            Self::Descriptors(Some(left)) => write!(f, "leave {left} descriptors"),
            Self::Descriptors(None) => f.write_str("restore the descriptor limit"),
        }
    }
}

/// Sequences that are carried out at the same time, each by a thread on a CPU of its own.
pub type Lanes = Vec<Vec<Op>>;

/// Loads in all lanes.
pub fn loads(lanes: &[Vec<Op>]) -> u32 {
    lanes.iter().flatten().filter(|op| matches!(op, Op::Load { .. })).count() as u32
}
