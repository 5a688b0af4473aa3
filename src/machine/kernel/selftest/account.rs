//! The account of frees under way: programs that were let go of and whose memory is not free yet.
//!
//! The kernel frees on a work queue, under one mutex, and has been seen to stop for good when more frees wait there than the queue has
//! places (METHODOLOGY.md). So no more than a few hundred are ever under way, however fast programs are unloaded, and where the kernel
//! does not go on nothing more is asked of it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::machine::{MachineError, Result};

/// Frees under way of one loader at most, and of all together. The work queue of kernels before 6.16 has 256 places for each CPU.
pub const MOST_OF_LANE: u32 = 160;
pub const MOST: u32 = 320;
/// A free takes some 20 ms, under load a second.
pub const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_micros(500);

/// Memory that is being freed.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    lane: u16,
    /// Where its code began, and the first word of it.
    pub addr: u64,
    pub word: u32,
    /// Programs it stands for: those let go of before it that have no address.
    weight: u32,
    since: Instant,
}

/// All that is being freed.
#[derive(Debug, Default)]
pub struct Account {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    pending: VecDeque<Pending>,
    most: u32,
    longest: Duration,
}

impl Entries {
    fn weight(&self, of: impl Fn(&Pending) -> bool) -> u32 {
        self.pending.iter().filter(|entry| of(entry)).map(|entry| entry.weight).sum()
    }

    fn finish(&mut self, at: usize) {
        if let Some(entry) = self.pending.remove(at) {
            self.longest = self.longest.max(entry.since.elapsed());
        }
    }
}

impl Account {
    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `weight` more frees of `lane` may begin. `is_free` looks at memory; an error if the kernel does not go on.
    pub fn admit(&self, lane: u16, weight: u32, is_free: &dyn Fn(&Pending) -> bool) -> Result<()> {
        loop {
            self.sweep(lane, is_free, true);
            {
                let entries = self.entries();
                let (own, all) = (entries.weight(|entry| entry.lane == lane), entries.weight(|_| true));
                if (own == 0 || own + weight <= MOST_OF_LANE) && all + weight <= MOST {
                    return Ok(());
                }
            }
            self.check_deadline()?;
            std::thread::sleep(POLL);
        }
    }

    /// Remembers a free that begins now.
    pub fn register(&self, lane: u16, addr: u64, word: u32, weight: u32) {
        let mut entries = self.entries();
        entries.pending.push_back(Pending { lane, addr, word, weight, since: Instant::now() });
        entries.most = entries.most.max(entries.weight(|_| true));
    }

    /// What lay in `range` must be free: something else has been loaded there.
    pub fn taken(&self, range: std::ops::Range<u64>) {
        let mut entries = self.entries();
        while let Some(at) = entries.pending.iter().position(|entry| range.contains(&entry.addr)) {
            entries.finish(at);
        }
    }

    /// Waits until nothing of `lane` is being freed, or of all; how many it were, and how long the longest took.
    pub fn settle(&self, lane: Option<u16>, is_free: &dyn Fn(&Pending) -> bool) -> Result<(u32, Duration)> {
        let is_ours = |entry: &Pending| lane.is_none_or(|lane| entry.lane == lane);
        let (waited, oldest) = {
            let entries = self.entries();
            (
                entries.weight(is_ours),
                entries.pending.iter().filter(|entry| is_ours(entry)).map(|entry| entry.since).min(),
            )
        };
        loop {
            let lanes: Vec<u16> =
                self.entries().pending.iter().filter(|entry| is_ours(entry)).map(|entry| entry.lane).collect();
            let Some(&first) = lanes.first() else { break };
            self.sweep(lane.unwrap_or(first), is_free, false);
            if self.entries().weight(is_ours) == 0 {
                break;
            }
            self.check_deadline()?;
            std::thread::sleep(POLL);
        }
        Ok((waited, oldest.map_or(Duration::ZERO, |since| since.elapsed())))
    }

    /// Strikes out what is free now; only up to the first that is not, if they come in order.
    fn sweep(&self, lane: u16, is_free: &dyn Fn(&Pending) -> bool, in_order: bool) {
        let own: Vec<Pending> = self.entries().pending.iter().filter(|entry| entry.lane == lane).copied().collect();
        for entry in own {
            if is_free(&entry) {
                let mut entries = self.entries();
                if let Some(at) =
                    entries.pending.iter().position(|other| other.addr == entry.addr && other.lane == lane)
                {
                    entries.finish(at);
                }
            } else if in_order {
                break;
            }
        }
    }

    fn check_deadline(&self) -> Result<()> {
        let entries = self.entries();
        let late = entries.weight(|entry| entry.since.elapsed() > DEADLINE);
        if late == 0 {
            return Ok(());
        }
        Err(MachineError::failed(format!(
            "the kernel has not freed {late} unloaded programs for {} s: its work queue hangs, nothing more is loaded; look for tasks \
             in state D and for `bpf_prog_pack_free` in `echo w > /proc/sysrq-trigger`, and reboot",
            DEADLINE.as_secs()
        )))
    }

    /// The most frees that were under way at a time, and the longest that one took.
    pub fn extremes(&self) -> (u32, Duration) {
        let entries = self.entries();
        (entries.most, entries.longest)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_more_frees_begin_than_a_lane_may_have() {
        let account = Account::default();
        let freed: RefCell<HashSet<u64>> = RefCell::default();
        let asked = RefCell::new(0u32);
        // The kernel frees the oldest with every tenth look.
        let is_free = |entry: &Pending| {
            *asked.borrow_mut() += 1;
            if asked.borrow().is_multiple_of(10) {
                freed.borrow_mut().insert(entry.addr);
            }
            freed.borrow().contains(&entry.addr)
        };
        for addr in 0..1000 {
            account.admit(0, 1, &is_free).expect("admitted");
            account.register(0, addr, 64, 1);
        }
        assert_eq!(account.extremes().0, MOST_OF_LANE);
        assert_eq!(account.settle(Some(0), &|_| true).expect("settled").0, MOST_OF_LANE);
    }

    #[test]
    fn all_lanes_together_have_a_limit_too() {
        let account = Account::default();
        for lane in 0..3 {
            for at in 0..MOST_OF_LANE {
                if account.entries().weight(|_| true) == MOST {
                    break;
                }
                account.admit(lane, 1, &|_| false).expect("admitted");
                account.register(lane, u64::from(lane) << 32 | u64::from(at), 64, 1);
            }
        }
        assert_eq!(account.extremes().0, MOST);
    }

    #[test]
    fn what_is_loaded_over_a_free_shows_that_it_ended() {
        let account = Account::default();
        account.register(0, 0x1000, 64, 1);
        account.register(1, 0x2000, 64, 1);
        account.taken(0x0fc0..0x1040);
        assert_eq!(account.entries().weight(|_| true), 1);
    }

    #[test]
    fn a_free_that_never_ends_is_an_error_and_not_a_wait_for_ever() {
        let account = Account::default();
        let long_ago =
            Instant::now().checked_sub(DEADLINE + Duration::from_secs(1)).expect("an uptime of more than that");
        account.entries().pending.push_back(Pending { lane: 0, addr: 1, word: 64, weight: 3, since: long_ago });
        let error = account.settle(None, &|_| false).expect_err("hangs");
        assert!(error.to_string().contains("has not freed 3 unloaded programs for 20 s"), "{error}");
    }
}
