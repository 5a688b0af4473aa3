//! As what programs are loaded for a trigger, and what they return there.

use libbpf_sys::{
    BPF_CGROUP_INET_EGRESS, BPF_PROG_TYPE_CGROUP_SKB, BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_RAW_TRACEPOINT,
    BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_SOCKET_FILTER, BPF_PROG_TYPE_TRACING, BPF_PROG_TYPE_XDP, BPF_TRACE_FENTRY,
    BPF_TRACE_KPROBE_MULTI, BPF_TRACE_UPROBE_MULTI, BPF_XDP_DEVMAP,
};

use super::spots::{PROGRAMS_PER_SPOT, Spots};
use crate::machine::Result;
use crate::machine::kernel::sys::LoadAs;
use crate::workload::TriggerKind;

/// `TC_ACT_UNSPEC`: the next classifier.
const NEXT: i32 = -1;
/// `XDP_DROP`.
const XDP_DROP: i32 = 1;
/// A filter's packet length: nothing of the packet is kept.
const NOTHING: i32 = 0;
/// A control group's filter lets the packet pass.
const PASS: i32 = 1;

/// What a trigger needs of its programs.
#[derive(Debug)]
pub struct Form {
    program: u32,
    attach: u32,
    /// What they return.
    pub returns: i32,
    /// Functions to attach to, for the measured programs and for the empty ones.
    pub spots: Option<[Spots; 2]>,
}

impl Form {
    /// The form for `trigger`.
    pub fn of(trigger: TriggerKind) -> Result<Self> {
        let (program, attach, returns) = match trigger {
            TriggerKind::Chain | TriggerKind::Walk => (BPF_PROG_TYPE_SCHED_CLS, 0, 0),
            TriggerKind::Cls => (BPF_PROG_TYPE_SCHED_CLS, 0, NEXT),
            TriggerKind::Tracepoint | TriggerKind::Syscall => (BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0),
            TriggerKind::Cgroup => (BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS, PASS),
            TriggerKind::Uprobe => (BPF_PROG_TYPE_KPROBE, BPF_TRACE_UPROBE_MULTI, 0),
            TriggerKind::Xdp => (BPF_PROG_TYPE_XDP, BPF_XDP_DEVMAP, XDP_DROP),
            TriggerKind::Socket => (BPF_PROG_TYPE_SOCKET_FILTER, 0, NOTHING),
            TriggerKind::Fentry => (BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, 0),
            TriggerKind::Kprobe => (BPF_PROG_TYPE_KPROBE, BPF_TRACE_KPROBE_MULTI, 0),
        };
        let spots = match trigger {
            TriggerKind::Fentry => Some([Spots::open()?, Spots::open()?]),
            _ => None,
        };
        Ok(Self { program, attach, returns, spots })
    }

    /// How the measured program of `position` is loaded.
    pub fn load_as(&self, position: u32) -> LoadAs<'_> {
        self.with_spot(position, 0)
    }

    /// How an empty program in its place is loaded.
    pub fn load_empty_as(&self, position: u32) -> LoadAs<'_> {
        self.with_spot(position, 1)
    }

    fn with_spot(&self, position: u32, which: usize) -> LoadAs<'_> {
        let spot = position / PROGRAMS_PER_SPOT;
        let target = self.spots.as_ref().and_then(|spots| spots[which].target(spot));
        LoadAs { program: self.program, attach: self.attach, target }
    }
}
