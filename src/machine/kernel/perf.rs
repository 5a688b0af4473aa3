//! Counter groups through perf_event_open(2): what `counters::set` decides, carried out.

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;

use perf_event_open::config::{Cpu, Opts, Priv, Proc, StatFormat, sibling};
use perf_event_open::count::Counter;
use perf_event_open::count::group::CounterGroup;
use perf_event_open::event::dp::DynamicPmu;

use super::sys;
use crate::counters::host::Host;
use crate::counters::layout::Layout;
use crate::counters::set::{CounterSet, OpenError};
use crate::counters::source::{Exclude, Request, Scope, Source};
use crate::counters::{Choice, EventCode, Refusal};
use crate::host::Facts;
use crate::machine::{MachineError, Result};

/// The running kernel.
#[derive(Debug)]
pub struct KernelSource;

/// A group of descriptors.
pub struct KernelGroup(CounterGroup);

impl fmt::Debug for KernelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KernelGroup").field(&self.0.leader().file()).finish()
    }
}

impl Source for KernelSource {
    type Group = KernelGroup;

    fn lead(&mut self, request: &Request) -> io::Result<KernelGroup> {
        let stat_format =
            StatFormat { time_enabled: true, time_running: true, siblings: true, id: true, ..StatFormat::default() };
        let exclude = exclude(request.exclude);
        let opts = Opts { stat_format, pin_on_pmu: request.pinned, exclude, ..Opts::default() };
        let leader = match request.scope {
            Scope::Thread => Counter::new(pmu_event(&request.code), (Proc::CURRENT, Cpu::ALL), opts),
            Scope::Cpu(cpu) => Counter::new(pmu_event(&request.code), (Proc::ALL, Cpu(cpu)), opts),
        };
        leader.map(|leader| KernelGroup(CounterGroup::from(leader)))
    }

    fn join(&mut self, group: &mut KernelGroup, request: &Request) -> io::Result<()> {
        // A sibling is enabled from the start and waits for its leader. What only the leader is read by, it need not have.
        let stat_format =
            sibling::StatFormat { time_enabled: true, time_running: true, id: true, ..Default::default() };
        let exclude = exclude(request.exclude);
        let opts = sibling::Opts { exclude, enable: true, stat_format, ..sibling::Opts::default() };
        group.0.add(pmu_event(&request.code), opts).map(drop)
    }

    fn ids(&mut self, group: &KernelGroup) -> io::Result<Vec<u64>> {
        let siblings = group.0.siblings().iter().map(|sibling| sibling.id());
        std::iter::once(group.0.leader().id()).chain(siblings).collect()
    }

    fn enable(&mut self, group: &KernelGroup) -> io::Result<()> {
        group.0.enable()
    }

    fn disable(&mut self, group: &KernelGroup) -> io::Result<()> {
        group.0.disable()
    }

    fn read(&mut self, group: &KernelGroup, buffer: &mut [u8]) -> io::Result<usize> {
        (&mut group.0.leader().file()).read(buffer)
    }
}

fn exclude(bits: Exclude) -> Priv {
    Priv { user: bits.user, kernel: bits.kernel, hv: bits.hv, guest: bits.guest, ..Priv::default() }
}

fn pmu_event(code: &EventCode) -> DynamicPmu {
    let EventCode { pmu_type, config, config1, config2, config3 } = *code;
    DynamicPmu { ty: pmu_type, config, config1, config2, config3 }
}

/// Groups of the running kernel.
pub type PerfCounters = CounterSet<KernelSource>;

/// Opens what `choice` asks for, for the calling thread, which must be pinned to `cpu`.
pub fn open(choice: &Choice, cpu: u32) -> Result<PerfCounters> {
    try_open(choice, cpu).map_err(open_failed)
}

/// The same; what was refused comes with the error.
pub fn try_open(choice: &Choice, cpu: u32) -> std::result::Result<PerfCounters, OpenError> {
    let facts = Facts::read(Path::new("/"));
    let layout = Layout::decode(&sys::counter_words());
    let watched = facts.sysctl("kernel.nmi_watchdog") == Some("1");
    let layout = if watched { layout.without_watchdog() } else { layout };
    let host = Host::read(Path::new("/sys"), facts.cpu_id().as_ref(), cpu, layout);
    CounterSet::open(KernelSource, &host, choice)
}

/// The error as the user sees it.
pub fn open_failed(error: OpenError) -> MachineError {
    match error {
        OpenError::Bad(bad) => MachineError::bad_request(format!("--counters: {bad}")),
        OpenError::NoneCounts(refused) => {
            let all: Vec<String> = refused.iter().map(Refusal::to_string).collect();
            MachineError::host_cannot(
                format!("failed to count any of the events of --counters: {}", all.join("; ")),
                "`itlbench doctor` says what this host counts",
            )
        }
    }
}
