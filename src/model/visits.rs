//! Which program a trigger runs next: the order in which bpf/bodies.bpf.c visits them, to the bit.

use crate::workload::TriggerKind;

/// The endless order of visits. `chain`: every run starts where the one before ended, so the runs together go round.
/// `walk`: the state draws a position, and each program advances it (a linear congruential generator whose high bits are
/// good); a run begins at the position that the last program drew and could not jump to.
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

    /// The position to visit now; the next call gives the one after it.
    pub fn advance(&mut self) -> usize {
        match self.trigger {
            TriggerKind::Chain => {
                let position = self.state;
                self.state = (position + 1) % self.programs;
                position as usize
            }
            TriggerKind::Walk => {
                let position = (u64::from(self.state) * u64::from(self.programs)) >> 32;
                self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                position as usize
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
        (0..executions).for_each(|_| counts[visits.advance()] += 1);
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

    #[test]
    fn the_walk_is_the_sequence_of_the_bpf_programs() {
        // walk_entry visits the position of the state it finds; each walk_<size> advances the state, then jumps.
        let (programs, mut state) = (512u32, 99u32);
        let mut visits = Visits::new(TriggerKind::Walk, programs, 99);
        for _ in 0..1000 {
            assert_eq!(visits.advance() as u64, (u64::from(state) * u64::from(programs)) >> 32);
            state = (u64::from(state) * 1_664_525 + 1_013_904_223) as u32;
        }
    }
}
