//! One piece of code, timed and counted in loops. A loop in which the thread was switched out does not count.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::code::Code;
use crate::counters::{Group, Reading, Role};
use crate::host::per_cpu::{self, Scheduled};
use crate::machine::{Counters, Result};

/// Loops are run until this many times as many as wanted are spoilt.
const TRIES: u32 = 3;

/// How the calling thread fares, as the kernel tells it.
#[derive(Debug)]
pub struct Company {
    file: Option<File>,
    buffer: [u8; 128],
}

impl Company {
    /// Of the calling thread.
    pub fn of_this_thread() -> Self {
        Self { file: File::open("/proc/thread-self/schedstat").ok(), buffer: [0; 128] }
    }

    /// `None` if the kernel keeps no account (CONFIG_SCHED_INFO).
    pub fn scheduled(&mut self) -> Option<Scheduled> {
        let bytes = self.file.as_ref()?.read_at(&mut self.buffer, 0).ok()?;
        per_cpu::scheduled(&self.buffer[..bytes])
    }
}

/// Core events over one loop of each pass on one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub jumps: u32,
    /// In the order of the groups; empty where no loop of the pass counts.
    pub readings: Vec<Reading>,
}

impl Counted {
    /// Events of `role` a jump; `None` if they were not counted, or not all the time.
    pub fn per_jump(&self, groups: &[Group], role: Role) -> Option<f64> {
        let of = |(group, reading): (&Group, &Reading)| {
            let event = group.events.iter().position(|event| event.role == role)?;
            reading.unusable().is_none().then(|| reading.counts.get(event).copied())?
        };
        let count = groups.iter().zip(&self.readings).find_map(of)?;
        Some(count as f64 / f64::from(self.jumps.max(1)))
    }
}

/// Runs loops and tells which of them count.
pub struct Loops<'a> {
    counters: Option<&'a mut dyn Counters>,
    /// How often the thread was put on a CPU.
    switches: Box<dyn FnMut() -> Option<u64> + 'a>,
    /// Loops that were run again because the thread was switched out in them.
    pub switched: u32,
}

impl fmt::Debug for Loops<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loops").field("counters", &self.counters).field("switched", &self.switched).finish()
    }
}

impl<'a> Loops<'a> {
    /// `counters` count around loops of their own, behind the timed ones; `switches` is asked before and after each loop.
    pub fn new(counters: Option<&'a mut dyn Counters>, switches: impl FnMut() -> Option<u64> + 'a) -> Self {
        Self { counters, switches: Box::new(switches), switched: 0 }
    }

    /// Nanoseconds of the fastest of `wanted` loops of `jumps`; `None` if the thread was switched out in all of them.
    pub fn least_ns(&mut self, code: &Code, jumps: u32, wanted: u32) -> Option<f64> {
        code.run(jumps);
        let (mut least, mut kept) = (None, 0);
        for _ in 0..wanted * TRIES {
            if kept == wanted {
                break;
            }
            let before = (self.switches)();
            let began = Instant::now();
            code.run(jumps);
            let ns = began.elapsed().as_nanos() as f64;
            if before == (self.switches)() {
                kept += 1;
                least = Some(least.map_or(ns, |least: f64| least.min(ns)));
            } else {
                self.switched += 1;
            }
        }
        least
    }

    /// Counts `jumps` of code that is warm; `None` if nothing counts.
    pub fn counted(&mut self, code: &Code, jumps: u32) -> Result<Option<Counted>> {
        let Self { counters: Some(counters), switches, switched } = self else { return Ok(None) };
        let mut readings = vec![Reading::default(); counters.groups().len()];
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for pass in 0..counters.passes() {
            counters.select(pass);
            for _ in 0..TRIES {
                let times = switches();
                counters.read(&mut before)?;
                counters.enable()?;
                code.run(jumps);
                counters.disable()?;
                counters.read(&mut after)?;
                if times == switches() {
                    keep(&mut readings, counters.groups(), pass, &before, &after);
                    break;
                }
                *switched += 1;
            }
        }
        let core = |(group, reading): (&Group, Reading)| group.pinned.then_some(reading);
        Ok(Some(Counted { jumps, readings: counters.groups().iter().zip(readings).filter_map(core).collect() }))
    }
}

/// The window of every group that is counted in `pass`.
fn keep(into: &mut [Reading], groups: &[Group], pass: u32, before: &[Reading], after: &[Reading]) {
    for at in (0..groups.len()).filter(|&at| groups[at].is_in(pass)) {
        into[at] = after[at].since(&before[at]);
    }
}

/// The groups whose readings a [`Counted`] holds: those of the core's counters.
pub fn core_groups(groups: &[Group]) -> Vec<Group> {
    groups.iter().filter(|group| group.pinned).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::host::Host;
    use crate::counters::layout::Layout;
    use crate::counters::replay::{Replay, stream};
    use crate::counters::set::CounterSet;
    use crate::counters::{Choice, CountSide, Events};
    use crate::twin::code::{Pages, Supply};
    use crate::twin::stubs;

    fn code() -> Code {
        let chain = stubs::code(stubs::Layout::Packed, &stubs::order(16, 1));
        let parts: Vec<(usize, &[u8])> = chain.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        Code::new(&parts, Pages::Small, Supply::Transparent).expect("executable memory")
    }

    /// Core events named by `list`, on a host with two counters of which nothing else is known.
    fn counters(replay: Replay, list: &str) -> CounterSet<Replay> {
        let nothing = tempfile::tempdir().expect("a directory");
        let host = Host::read(nothing.path(), None, 0, Layout { general: 2, ..Layout::UNKNOWN });
        let choice = Choice { events: Events::List(list.to_owned()), side: CountSide::User };
        CounterSet::open(replay, &host, &choice).expect("opens")
    }

    #[test]
    fn the_fastest_loop_counts_and_none_in_which_the_thread_was_switched_out() {
        let mut asked = 0;
        let never = Loops::new(None, || Some(7)).least_ns(&code(), 1000, 7);
        assert!(never.is_some_and(|ns| ns > 0.0));
        let mut always = Loops::new(None, || {
            asked += 1;
            Some(asked)
        });
        assert_eq!(always.least_ns(&code(), 1000, 7), None);
        assert_eq!(always.switched, 7 * TRIES, "and it ends");
        drop(always);
        // Two loops are spoilt, the others are not.
        let mut times = [0, 1, 1, 2, 2].into_iter();
        let mut twice = Loops::new(None, move || times.next().or(Some(9)));
        assert!(twice.least_ns(&code(), 1000, 7).is_some());
        assert_eq!(twice.switched, 3, "the third began at 2 and ended at 9");
        assert!(Loops::new(None, || None).least_ns(&code(), 1000, 1).is_some(), "a kernel that keeps no account");
    }

    #[test]
    fn events_are_counted_on_the_user_side_in_as_many_passes_as_they_need() {
        let mut set = counters(Replay::default(), "r0e85,r2085,r1085");
        assert_eq!(set.passes(), 2, "two counters");
        let groups = core_groups(set.groups());
        assert!(groups.iter().all(|group| group.side == Some(CountSide::User)), "{groups:?}");
        let counted = Loops::new(Some(&mut set), || None).counted(&code(), 1000).expect("reads").expect("counts");
        assert_eq!((counted.jumps, counted.readings.len()), (1000, 2));
        assert!(counted.readings.iter().all(|reading| reading.unusable().is_none()), "{counted:?}");
        // The replayed PMU counts 10 of everything for each of the two groups that are stopped behind a window.
        assert_eq!(counted.per_jump(&groups, Role::Other), Some(0.02));
        assert_eq!(counted.per_jump(&groups, Role::WalksCompleted), None);
    }

    /// The replay numbers events as they are opened: one of the core, then four of the kernel's own.
    fn replaying(core: [(u64, u64, u64); 2]) -> Replay {
        let software = || Ok(stream(&[102, 103, 104, 105], 1, 1000, 1000));
        let core = core.map(|(count, enabled_ns, running_ns)| Ok(stream(&[101], count, enabled_ns, running_ns)));
        let [before, after] = core;
        let at_start = Ok(stream(&[101], 1, 1000, 1000));
        let reads = [at_start, before, software(), after, software()].into();
        Replay { reads, started: true, ..Replay::default() }
    }

    #[test]
    fn a_loop_that_was_multiplexed_has_no_count() {
        let count = |core| {
            let mut set = counters(replaying(core), "r0e85");
            let groups = core_groups(set.groups());
            let counted = Loops::new(Some(&mut set), || None).counted(&code(), 100).expect("reads").expect("counts");
            counted.per_jump(&groups, Role::Other)
        };
        assert_eq!(count([(5, 1000, 1000), (55, 3000, 3000)]), Some(0.5));
        assert_eq!(count([(5, 1000, 1000), (55, 3000, 2999)]), None);
    }

    #[test]
    fn bytes_that_are_no_reading_end_the_sweep() {
        let mut replay = replaying([(1, 1, 1), (2, 2, 2)]);
        replay.reads.truncate(1);
        replay.reads.push_back(Ok(vec![0; 12]));
        let mut set = counters(replay, "r0e85");
        let error = Loops::new(Some(&mut set), || None).counted(&code(), 100).expect_err("torn").to_string();
        assert!(error.contains("the kernel gave 12 bytes"), "{error}");
    }
}
