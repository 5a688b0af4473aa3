//! What is counted of a victim: the generic TLB events and cycles of it and all it starts, from its exec on.
//!
//! Each is opened by itself, inherited and switched on by exec: groups that are inherited cannot be read on older kernels. One
//! repetition counts one side, so that four events of a PMU run at once; a count that was multiplexed is left out.

use std::fmt;

use perf_event_open::config::{Cpu, Inherit, OnExecve, Opts, Priv, Proc, StatFormat};
use perf_event_open::count::Counter;
use perf_event_open::event::dp::DynamicPmu;

use crate::counters::errno;
use crate::counters::{CountSide, Event, EventCode, Refusal, Role};
use crate::trial::record::VictimEvent;

/// Role, perf's name, type and config.
const WANTED: [(Role, &str, u32, u64); 6] = [
    (Role::ItlbMisses, "iTLB-load-misses", EventCode::HW_CACHE, 0x1_0004),
    (Role::DtlbMisses, "dTLB-load-misses", EventCode::HW_CACHE, 0x1_0003),
    (Role::Cycles, "cycles", EventCode::HARDWARE, 0),
    (Role::Instructions, "instructions", EventCode::HARDWARE, 1),
    (Role::PageFaults, "page-faults", EventCode::SOFTWARE, 2),
    (Role::ContextSwitches, "context-switches", EventCode::SOFTWARE, 3),
];

/// Which of the events this host counts, once for each side, and which it refuses.
pub fn offered() -> (Vec<VictimEvent>, Vec<Refusal>) {
    let (mut events, mut refused) = (Vec::new(), Vec::new());
    for (role, name, pmu_type, config) in WANTED {
        let event = Event { role, name: name.to_owned(), code: EventCode::new(pmu_type, config) };
        match open(&event.code, CountSide::User) {
            Ok(_) => {
                events.extend(
                    [CountSide::User, CountSide::Kernel].map(|side| VictimEvent { side, event: event.clone() }),
                );
            }
            Err(error) => refused.push(refusal(event, &error)),
        }
    }
    (events, refused)
}

fn refusal(event: Event, error: &std::io::Error) -> Refusal {
    let errno::Explained { name, meaning } = errno::explain(error);
    Refusal { event, errno: name, meaning }
}

/// Counters that wait for the next exec of a child.
pub struct VictimCounters {
    /// In the order of the victim's events; `None` for those of the other side.
    counters: Vec<Option<Counter>>,
}

impl fmt::Debug for VictimCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VictimCounters").field("counters", &self.counters.len()).finish()
    }
}

impl VictimCounters {
    /// Opens those of `events` that are of `side`.
    pub fn open(events: &[VictimEvent], side: CountSide) -> Self {
        let of_side = |event: &VictimEvent| (event.side == side).then(|| open(&event.event.code, side).ok()).flatten();
        Self { counters: events.iter().map(of_side).collect() }
    }

    /// Counts of all children that ended since.
    pub fn read(&self) -> Vec<Option<u64>> {
        let count = |counter: &Option<Counter>| {
            let stat = counter.as_ref()?.stat().ok()?;
            (stat.time_enabled == stat.time_running).then_some(stat.count)
        };
        self.counters.iter().map(count).collect()
    }
}

fn open(code: &EventCode, side: CountSide) -> std::io::Result<Counter> {
    let EventCode { pmu_type, config, config1, config2, config3 } = *code;
    let opts = Opts {
        exclude: Priv { user: side == CountSide::Kernel, kernel: side == CountSide::User, hv: true, ..Priv::default() },
        inherit: Some(Inherit::NewChild),
        on_execve: Some(OnExecve::Enable),
        stat_format: StatFormat { time_enabled: true, time_running: true, ..StatFormat::default() },
        ..Opts::default()
    };
    Counter::new(DynamicPmu { ty: pmu_type, config, config1, config2, config3 }, (Proc::CURRENT, Cpu::ALL), opts)
}
