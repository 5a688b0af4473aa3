//! The plan: every trial of every case, in the seeded order in which they run.

use super::case::{Case, PackMode};
use super::spec::Spec;

/// One trial to run: which case, and which of its trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index into [`Plan::cases`].
    pub case: usize,
    /// 0-based trial of that case.
    pub trial: u32,
    /// Seed of this trial's own choices (order of visits, offsets).
    pub seed: u64,
}

/// Cases and the order of their trials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub cases: Vec<Case>,
    pub slots: Vec<Slot>,
    /// Trials of a case that follow each other in a round: two where it stands against itself.
    halves: u32,
}

impl Plan {
    /// Every case against itself: as [`Plan::new`], but each case is its own point, whose two arms are its even and its odd trials.
    /// So many trials as `specs` ask for are made of each half.
    pub fn against_itself(specs: &[Spec], seed: u64) -> Self {
        let mut alone: Vec<Spec> = Vec::new();
        for spec in specs {
            alone.extend(spec.pack.iter().map(|&pack| Spec { pack: vec![pack], ..spec.clone() }));
        }
        let halves = Self::new(&alone, seed);
        let slots = halves.slots.iter().flat_map(|slot| {
            // Trials 2k and 2k + 1 of a pair share their seed; compare deals them A B B A.
            [0, 1].map(|half| Slot { trial: 2 * slot.trial + half, ..*slot })
        });
        Self { slots: slots.collect(), cases: halves.cases, halves: 2 }
    }

    /// Lays out `spec`. Round by round every number of programs is visited once, in a shuffled order; the arms of one
    /// number follow each other directly, and their order flips from round to round in a seeded A B B A.
    /// The arms of one number and round share a seed, so that they differ in placement only.
    pub fn new(specs: &[Spec], seed: u64) -> Self {
        let mut random = oorandom::Rand64::new(u128::from(seed));
        let mut cases = Vec::new();
        let mut points: Vec<(u32, Vec<usize>)> = Vec::new();
        for spec in specs {
            for &programs in &spec.programs {
                let arms = spec.pack.iter().map(|&pack| {
                    cases.push(spec.case(programs, pack));
                    cases.len() - 1
                });
                points.push((spec.trials, arms.collect()));
            }
        }
        let rounds = points.iter().map(|(trials, _)| *trials).max().unwrap_or(0);
        let mut slots = Vec::new();
        let first_flipped: Vec<bool> = points.iter().map(|_| random.rand_u64() & 1 == 1).collect();
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..points.len()).collect();
            shuffle(&mut order, &mut random);
            for point in order {
                let (trials, arms) = &points[point];
                if round >= *trials {
                    continue;
                }
                let flip = first_flipped[point] ^ matches!(round % 4, 1 | 2);
                let seed = random.rand_u64();
                push_arms(&mut slots, arms, flip, round, seed);
            }
        }
        Self { cases, slots, halves: 1 }
    }

    /// Trials of a case in a round.
    pub fn halves(&self) -> u32 {
        self.halves
    }

    /// The same trials from the fewest programs of a workload to the most, its arms in turn. Where nothing is timed no order is
    /// needed that evens out drift, and what loading leaves behind adds up as the numbers do.
    pub fn in_order(mut self) -> Self {
        self.slots.sort_by_key(|slot| (slot.trial, slot.case));
        self
    }

    /// The arms in the plan, for a look at what it compares.
    pub fn arms(&self) -> Vec<PackMode> {
        let mut arms: Vec<PackMode> = self.cases.iter().map(|case| case.pack).collect();
        arms.sort();
        arms.dedup();
        arms
    }
}

fn push_arms(slots: &mut Vec<Slot>, arms: &[usize], flip: bool, trial: u32, seed: u64) {
    let mut push = |&case: &usize| slots.push(Slot { case, trial, seed });
    if flip {
        arms.iter().rev().for_each(&mut push);
    } else {
        arms.iter().for_each(&mut push);
    }
}

/// Fisher-Yates with the run's own generator.
pub fn shuffle<T>(items: &mut [T], random: &mut oorandom::Rand64) {
    for i in (1..items.len()).rev() {
        items.swap(i, random.rand_range(0..i as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> Plan {
        let mut spec = Spec::builtin("chain").expect("built in");
        spec.programs = vec![64, 512];
        spec.trials = 8;
        Plan::new(&[spec], seed)
    }

    #[test]
    fn every_case_gets_every_trial_once() {
        let plan = plan(1);
        assert_eq!(plan.cases.len(), 4);
        assert_eq!(plan.slots.len(), 32);
        for case in 0..4 {
            let mut trials: Vec<u32> =
                plan.slots.iter().filter(|slot| slot.case == case).map(|slot| slot.trial).collect();
            trials.sort_unstable();
            assert_eq!(trials, (0..8).collect::<Vec<_>>());
        }
    }

    #[test]
    fn against_itself_every_case_has_two_halves_that_share_seeds() {
        let mut spec = Spec::builtin("chain").expect("built in");
        spec.programs = vec![64, 512];
        spec.trials = 8;
        let plan = Plan::against_itself(&[spec.clone()], 3);
        assert_eq!((plan.cases.len(), plan.slots.len()), (4, 64));
        assert!(plan.cases.iter().all(|case| Plan::new(&[spec.clone()], 3).cases.contains(case)));
        for pair in plan.slots.chunks(2) {
            assert_eq!((pair[0].case, pair[0].seed), (pair[1].case, pair[1].seed));
            assert_eq!((pair[0].trial % 2, pair[0].trial + 1), (0, pair[1].trial));
        }
    }

    #[test]
    fn arms_alternate_as_abba() {
        let plan = plan(7);
        let first_arm: Vec<PackMode> = plan
            .slots
            .chunks(2)
            .filter(|pair| plan.cases[pair[0].case].programs == 64)
            .map(|pair| plan.cases[pair[0].case].pack)
            .collect();
        assert_eq!(first_arm[0], first_arm[3]);
        assert_eq!(first_arm[1], first_arm[2]);
        assert_ne!(first_arm[0], first_arm[1]);
    }

    #[test]
    fn arms_of_one_round_share_their_seed() {
        for pair in plan(3).slots.chunks(2) {
            assert_eq!(pair[0].seed, pair[1].seed);
            assert_eq!(pair[0].trial, pair[1].trial);
        }
    }

    #[test]
    fn in_order_every_round_goes_through_the_cases_as_they_are_listed() {
        let ordered = plan(7).in_order();
        let cases: Vec<usize> = ordered.slots.iter().map(|slot| slot.case).collect();
        assert_eq!(cases, [0, 1, 2, 3].repeat(8));
        assert!(plan(7).slots.iter().all(|slot| ordered.slots.contains(slot)));
    }

    #[test]
    fn same_seed_same_plan() {
        assert_eq!(plan(5), plan(5));
        assert_ne!(plan(5).slots, plan(6).slots);
    }
}
