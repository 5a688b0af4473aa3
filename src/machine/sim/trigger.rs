//! Which program a trigger runs next.

use crate::workload::TriggerKind;

/// Programs that one run of a trigger executes: the kernel's `MAX_TAIL_CALL_CNT`.
pub const EXECUTIONS_PER_RUN: u32 = 33;

/// The endless order of visits. `chain`: every run starts 33 positions behind the one before, so the runs together go
/// round. `walk`: the position is drawn by a linear congruential generator (Numerical Recipes), whose high bits are good.
#[derive(Clone, Copy, Debug)]
pub struct Visits {
    trigger: TriggerKind,
    programs: u32,
    state: u32,
}

impl Visits {
    /// Visits of `programs` programs, at least one.
    pub fn new(trigger: TriggerKind, programs: u32, seed: u64) -> Self {
        let state = match trigger {
            TriggerKind::Chain => 0,
            TriggerKind::Walk => seed as u32,
        };
        Self { trigger, programs, state }
    }

    /// The next position.
    pub fn next(&mut self) -> usize {
        match self.trigger {
            TriggerKind::Chain => {
                let position = self.state;
                self.state = (position + 1) % self.programs;
                position as usize
            }
            TriggerKind::Walk => {
                self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((u64::from(self.state) * u64::from(self.programs)) >> 32) as usize
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(trigger: TriggerKind, programs: u32, executions: u32) -> Vec<u64> {
        let mut counts = vec![0; programs as usize];
        let mut visits = Visits::new(trigger, programs, 7);
        (0..executions).for_each(|_| counts[visits.next()] += 1);
        counts
    }

    #[test]
    fn the_chain_visits_all_alike() {
        for programs in [1, 8, 33, 64, 2048] {
            assert!(visited(TriggerKind::Chain, programs, programs * 33).iter().all(|&count| count == 33));
        }
    }

    #[test]
    fn the_walk_favours_nobody_by_much() {
        let counts = visited(TriggerKind::Walk, 64, 64_000);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
