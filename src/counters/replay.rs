//! A source that plays back what a kernel did: refusals by code, a PMU of so many counters, and streams of reads, recorded
//! or made by hand.

use std::collections::VecDeque;
use std::io;

use super::EventCode;
use super::source::{Request, Source};

/// What the replayed kernel does.
#[derive(Debug, Default)]
pub struct Replay {
    /// Codes that are refused, each with its errno.
    pub refuse: Vec<(EventCode, i32)>,
    /// Refuses every event with this errno.
    pub refuse_all: Option<i32>,
    /// A group of more core events opens, and is never on the PMU.
    pub counters: Option<usize>,
    /// A sibling beyond so many is refused with EINVAL, as `validate_group` does.
    pub largest_group: Option<usize>,
    /// `exclude_guest` is refused with EINVAL.
    pub knows_no_guests: bool,
    /// Given out first, one a read; then readings that grow by 1000 ns and 10 an event.
    pub reads: VecDeque<io::Result<Vec<u8>>>,
    /// Whether the trial at start-up takes from `reads` too.
    pub started: bool,
    /// Enabling fails with this errno.
    pub enable: Option<i32>,
    /// Every request that opened.
    pub opened: Vec<Request>,
    pub ticks: u64,
}

/// An open group: the ids of its events, and whether it is pinned.
#[derive(Debug)]
pub struct ReplayGroup {
    ids: Vec<u64>,
    pinned: bool,
}

impl Replay {
    fn ask(&mut self, request: &Request, group_length: usize) -> io::Result<u64> {
        const EINVAL: i32 = 22;
        let refused = self.refuse.iter().find(|(code, _)| *code == request.code).map(|(_, errno)| *errno);
        let too_large = self.largest_group.filter(|&largest| request.exclude.hv && group_length >= largest);
        let no_guests = (self.knows_no_guests && request.exclude.guest).then_some(EINVAL);
        match refused.or(self.refuse_all).or(too_large.map(|_| EINVAL)).or(no_guests) {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => {
                self.opened.push(*request);
                Ok(100 + self.opened.len() as u64)
            }
        }
    }
}

impl Source for Replay {
    type Group = ReplayGroup;

    fn lead(&mut self, request: &Request) -> io::Result<ReplayGroup> {
        Ok(ReplayGroup { ids: vec![self.ask(request, 0)?], pinned: request.pinned })
    }

    fn join(&mut self, group: &mut ReplayGroup, request: &Request) -> io::Result<()> {
        group.ids.push(self.ask(request, group.ids.len())?);
        Ok(())
    }

    fn ids(&mut self, group: &ReplayGroup) -> io::Result<Vec<u64>> {
        Ok(group.ids.clone())
    }

    fn enable(&mut self, _: &ReplayGroup) -> io::Result<()> {
        self.enable.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn disable(&mut self, _: &ReplayGroup) -> io::Result<()> {
        self.ticks += 1;
        Ok(())
    }

    fn read(&mut self, group: &ReplayGroup, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.started.then(|| self.reads.pop_front()).flatten();
        let bytes = match ready {
            Some(read) => read?,
            None => {
                let runs = !group.pinned || self.counters.is_none_or(|counters| group.ids.len() <= counters);
                stream(&group.ids, self.ticks * 10, self.ticks * 1000, if runs { self.ticks * 1000 } else { 0 })
            }
        };
        // The kernel answers a buffer that is too small with ENOSPC.
        let room = buffer.get_mut(..bytes.len()).ok_or_else(|| io::Error::from_raw_os_error(28))?;
        room.copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// A read of a group whose events all stand at `count`.
pub fn stream(ids: &[u64], count: u64, enabled_ns: u64, running_ns: u64) -> Vec<u8> {
    let head = [ids.len() as u64, enabled_ns, running_ns];
    let events = ids.iter().flat_map(|&id| [count, id]);
    head.into_iter().chain(events).flat_map(u64::to_ne_bytes).collect()
}
