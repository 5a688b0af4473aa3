//! Counter groups through perf_event_open(2).

use std::fmt;
use std::io::{self, ErrorKind as IoErrorKind};
use std::path::Path;

use perf_event_open::config::{Cpu, Opts, Proc, StatFormat, sibling};
use perf_event_open::count::Counter;
use perf_event_open::count::group::CounterGroup;
use perf_event_open::event::dp::DynamicPmu;

use crate::counters::{Event, EventCode, Group, Reading, Refusal, Role};
use crate::machine::{Counters, MachineError, Result};

/// `PERF_TYPE_HARDWARE`, `PERF_TYPE_SOFTWARE`, `PERF_TYPE_HW_CACHE`.
const HARDWARE: u32 = 0;
const SOFTWARE: u32 = 1;
const HW_CACHE: u32 = 3;

/// Hardware events, most wanted first: the group is cut from the end until it can be scheduled.
/// Cache events are `cache | op << 8 | result << 16`; L1I = 1, DTLB = 3, ITLB = 4, read = 0, access = 0, miss = 1.
const HARDWARE_EVENTS: [(Role, &str, u32, u64); 7] = [
    (Role::Cycles, "cycles", HARDWARE, 0),
    (Role::Instructions, "instructions", HARDWARE, 1),
    (Role::ItlbMisses, "iTLB-load-misses", HW_CACHE, 0x1_0004),
    (Role::ItlbLoads, "iTLB-loads", HW_CACHE, 0x4),
    (Role::L1iMisses, "L1-icache-load-misses", HW_CACHE, 0x1_0001),
    (Role::DtlbMisses, "dTLB-load-misses", HW_CACHE, 0x1_0003),
    (Role::BranchMisses, "branch-misses", HARDWARE, 5),
];

const SOFTWARE_EVENTS: [(Role, &str, u32, u64); 4] = [
    (Role::TaskClock, "task-clock", SOFTWARE, 1),
    (Role::ContextSwitches, "context-switches", SOFTWARE, 3),
    (Role::Migrations, "cpu-migrations", SOFTWARE, 4),
    (Role::PageFaults, "page-faults", SOFTWARE, 2),
];

/// Groups that are open, and what was refused.
pub struct PerfCounters {
    open: Vec<CounterGroup>,
    groups: Vec<Group>,
    refused: Vec<Refusal>,
}

impl fmt::Debug for PerfCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerfCounters").field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl PerfCounters {
    /// Opens every group this host offers for the calling thread: hardware, kernel side only and pinned; the time stamp
    /// counter; software. Nothing refused is an error: it is remembered with its reason.
    pub fn open(sysfs: &Path) -> Self {
        let mut counters = Self { open: Vec::new(), groups: Vec::new(), refused: Vec::new() };
        counters.add_hardware();
        counters.add_tsc(sysfs);
        counters.add_group(
            "software",
            &events(&SOFTWARE_EVENTS),
            &Opts { stat_format: stat_format(), ..Opts::default() },
        );
        counters
    }

    fn add_hardware(&mut self) {
        let mut opts = Opts { stat_format: stat_format(), pin_on_pmu: true, ..Opts::default() };
        (opts.exclude.user, opts.exclude.hv) = (true, true);
        let mut wanted = events(&HARDWARE_EVENTS);
        while !wanted.is_empty() {
            let Some((group, opened)) = self.try_group(&wanted, &opts) else { return };
            if is_scheduled(&group) {
                self.push("hardware", group, opened, true);
                return;
            }
            // More events than counters (the NMI watchdog may hold one): the least wanted goes.
            let Some(cut) = opened.last().cloned() else { return };
            wanted.retain(|event| opened.contains(event) && *event != cut);
            self.refused.push(Refusal {
                event: cut,
                errno: "not scheduled".to_owned(),
                meaning: "no free counter for it beside the others".to_owned(),
            });
        }
    }

    /// `msr/tsc/`, alone in its group: behind a software leader it reads 0 in short windows.
    fn add_tsc(&mut self, sysfs: &Path) {
        let path = sysfs.join("bus/event_source/devices/msr/type");
        let pmu_type = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        let Some(pmu_type) = pmu_type else {
            let event = Event { role: Role::Tsc, name: "msr/tsc/".to_owned(), code: EventCode::new(0, 0) };
            let meaning = "the kernel offers no msr PMU".to_owned();
            self.refused.push(Refusal { event, errno: "ENOENT".to_owned(), meaning });
            return;
        };
        let opts = Opts { stat_format: stat_format(), ..Opts::default() };
        self.add_group("tsc", &events(&[(Role::Tsc, "msr/tsc/", pmu_type, 0)]), &opts);
    }

    fn add_group(&mut self, name: &str, wanted: &[Event], opts: &Opts) {
        if let Some((group, opened)) = self.try_group(wanted, opts) {
            self.push(name, group, opened, opts.pin_on_pmu);
        }
    }

    fn push(&mut self, name: &str, group: CounterGroup, events: Vec<Event>, pinned: bool) {
        self.open.push(group);
        self.groups.push(Group { name: name.to_owned(), events, pinned });
    }

    /// Opens what the kernel takes of `wanted` as one group; the first that opens leads.
    fn try_group(&mut self, wanted: &[Event], opts: &Opts) -> Option<(CounterGroup, Vec<Event>)> {
        let mut group: Option<CounterGroup> = None;
        let mut opened = Vec::new();
        for event in wanted {
            let result = match &mut group {
                None => Counter::new(pmu_event(event), (Proc::CURRENT, Cpu::ALL), opts).map(|leader| {
                    group = Some(CounterGroup::from(leader));
                }),
                Some(group) => group.add(pmu_event(event), sibling_opts(opts)).map(|_| ()),
            };
            match result {
                Ok(()) => opened.push(event.clone()),
                Err(error) => self.refuse(event, &error),
            }
        }
        group.map(|group| (group, opened))
    }

    fn refuse(&mut self, event: &Event, error: &io::Error) {
        if !self.refused.iter().any(|refusal| refusal.event == *event) {
            let (errno, meaning) = explain(error);
            self.refused.push(Refusal { event: event.clone(), errno, meaning });
        }
    }
}

impl Counters for PerfCounters {
    fn groups(&self) -> &[Group] {
        &self.groups
    }

    fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    fn enable(&mut self) -> Result<()> {
        // Hardware, the first group, is enabled last and disabled first: it spans least besides the trigger.
        self.open.iter().rev().try_for_each(CounterGroup::enable).map_err(|error| ioctl_failed("enable", &error))
    }

    fn disable(&mut self) -> Result<()> {
        self.open.iter().try_for_each(CounterGroup::disable).map_err(|error| ioctl_failed("disable", &error))
    }

    fn read(&mut self, into: &mut Vec<Reading>) -> Result<()> {
        into.clear();
        for group in &self.open {
            into.push(read_group(group).map_err(|error| ioctl_failed("read", &error))?);
        }
        Ok(())
    }
}

fn ioctl_failed(verb: &str, error: &io::Error) -> MachineError {
    MachineError::failed(format!("failed to {verb} counters: {error}"))
}

fn stat_format() -> StatFormat {
    StatFormat { time_enabled: true, time_running: true, siblings: true, id: true, ..StatFormat::default() }
}

fn sibling_opts(leader: &Opts) -> sibling::Opts {
    // A sibling is enabled from the start and waits for its leader.
    sibling::Opts { exclude: leader.exclude.clone(), enable: true, ..sibling::Opts::default() }
}

fn events(table: &[(Role, &str, u32, u64)]) -> Vec<Event> {
    let event = |&(role, name, pmu_type, config): &(Role, &str, u32, u64)| Event {
        role,
        name: name.to_owned(),
        code: EventCode::new(pmu_type, config),
    };
    table.iter().map(event).collect()
}

fn pmu_event(event: &Event) -> DynamicPmu {
    DynamicPmu { ty: event.code.pmu_type, config: event.code.config, config1: 0, config2: 0, config3: 0 }
}

/// One read of a group; a pinned group that lost its counters reads 0 bytes, which is an empty reading.
fn read_group(group: &CounterGroup) -> io::Result<Reading> {
    match group.leader().stat() {
        Ok(stat) => Ok(Reading {
            counts: std::iter::once(stat.count).chain(stat.siblings.iter().map(|sibling| sibling.count)).collect(),
            enabled_ns: stat.time_enabled.unwrap_or(0),
            running_ns: stat.time_running.unwrap_or(0),
        }),
        Err(error) if error.kind() == IoErrorKind::UnexpectedEof => Ok(Reading::default()),
        Err(error) => Err(error),
    }
}

/// Trial-schedules a group: opening does not see counters held by others (`validate_group`), only running does.
fn is_scheduled(group: &CounterGroup) -> bool {
    let run = || -> io::Result<Reading> {
        group.enable()?;
        std::hint::black_box((0..100_000u64).fold(0u64, |sum, i| sum ^ i));
        group.disable()?;
        let reading = read_group(group)?;
        group.clear_count()?;
        Ok(reading)
    };
    run().is_ok_and(|reading| reading.enabled_ns > 0 && reading.unusable().is_none())
}

/// errno by name, and what it means for perf_event_open(2).
fn explain(error: &io::Error) -> (String, String) {
    use rustix::io::Errno;
    let known = [
        (Errno::NOENT, "ENOENT", "no PMU of this host takes it"),
        (Errno::INVAL, "EINVAL", "this CPU has no such event, or the group cannot be scheduled"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP", "the PMU lacks the feature"),
        (Errno::ACCESS, "EACCES", "kernel.perf_event_paranoid forbids it; use CAP_PERFMON or lower the sysctl"),
        (Errno::PERM, "EPERM", "seccomp or a security module forbids it"),
        (Errno::BUSY, "EBUSY", "another user owns the PMU"),
        (Errno::MFILE, "EMFILE", "too many open descriptors; raise `ulimit -n`"),
        (Errno::NODEV, "ENODEV", "the CPU lacks the PMU"),
        (Errno::TOOBIG, "E2BIG", "the kernel is too old for this perf_event_attr"),
    ];
    let code = error.raw_os_error();
    match known.iter().find(|(errno, ..)| Some(errno.raw_os_error()) == code) {
        Some((_, name, meaning)) => ((*name).to_owned(), (*meaning).to_owned()),
        None => (code.map_or_else(|| "error".to_owned(), |code| format!("errno {code}")), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_errno_and_meaning() {
        for (code, name) in [(2, "ENOENT"), (22, "EINVAL"), (13, "EACCES"), (16, "EBUSY"), (95, "EOPNOTSUPP")] {
            let (errno, meaning) = explain(&io::Error::from_raw_os_error(code));
            assert_eq!(errno, name);
            assert!(!meaning.is_empty());
        }
        assert_eq!(explain(&io::Error::from_raw_os_error(4242)).0, "errno 4242");
    }

    #[test]
    fn cache_events_are_encoded_as_the_kernel_has_them() {
        let itlb =
            events(&HARDWARE_EVENTS).into_iter().find(|event| event.role == Role::ItlbMisses).expect("in the table");
        assert_eq!(itlb.code, EventCode::new(3, 4 | 1 << 16));
        assert_eq!(itlb.code.to_string(), "type 3 config 0x10004");
    }
}
