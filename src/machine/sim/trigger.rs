//! What triggers cost on the simulated CPU. The figures are invented, in the order in which real ones lie.

use crate::workload::TriggerKind;

/// Programs that one run of tail calls executes: the kernel's `MAX_TAIL_CALL_CNT`.
pub const TAIL_CALLS: u32 = 33;

/// One run of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Programs it executes.
    pub executions: u32,
    /// Cycles and instructions without programs.
    pub cycles: u64,
    pub instructions: u64,
    /// Cycles that each program takes to be reached, the empty one as well where it is reached as often as there are programs.
    pub dispatch: u64,
    /// How often the empty program is reached.
    pub empties: u32,
}

impl Run {
    /// A run of `trigger` with `programs` programs.
    pub fn of(trigger: TriggerKind, programs: u32) -> Self {
        let (cycles, instructions, dispatch) = match trigger {
            TriggerKind::Chain | TriggerKind::Walk => (75, 120, 0),
            TriggerKind::Tracepoint => (90, 140, 20),
            TriggerKind::Fentry => (110, 160, 25),
            TriggerKind::Kprobe => (300, 400, 120),
            TriggerKind::Cgroup => (1800, 2400, 8),
            TriggerKind::Cls => (2000, 2600, 25),
            TriggerKind::Uprobe => (1300, 900, 60),
            TriggerKind::Xdp => (3500, 4200, 250),
            TriggerKind::Socket => (0, 0, 1500),
            TriggerKind::Syscall => (0, 0, 1600),
        };
        let executions = if trigger.is_tail_calls() { TAIL_CALLS } else { programs };
        let each = matches!(trigger, TriggerKind::Socket | TriggerKind::Syscall);
        Self { executions, cycles, instructions, dispatch, empties: if each { programs } else { 0 } }
    }
}
