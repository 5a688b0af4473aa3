//! Which program a trigger runs next: the order in which bpf/bodies.bpf.c visits them, to the bit.

use crate::workload::Order;

/// Slots of a Zipf deal for each program, and at least in all.
const SLOTS_EACH: u32 = 16;
const FEWEST_SLOTS: u32 = 4096;
/// At most in all; beyond, each program has one.
const MOST_SLOTS: u32 = 1 << 20;

/// How the slots of the prog array that draws are taken from are dealt to the positions: position p has those from `begins[p]` to
/// `begins[p + 1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    begins: Vec<u32>,
}

impl Deal {
    /// One slot each, but for a Zipf order: there every position has one slot of sixteen by right, the others are dealt by
    /// 1 / r^s, largest remainders first.
    pub fn new(order: Order, programs: u32) -> Self {
        let own = |exponent: Option<&dyn Fn(f64) -> f64>| match exponent {
            None => vec![1; programs as usize],
            Some(power) => zipf(programs, power),
        };
        let counts = match order {
            Order::Zipf(exponent) => own(Some(&|rank| exponent.power(rank))),
            Order::Sequential | Order::Permuted | Order::Random => own(None),
        };
        let mut sum = 0;
        let begins = std::iter::once(0).chain(counts.into_iter().map(|count| {
            sum += count;
            sum
        }));
        Self { begins: begins.collect() }
    }

    /// Slots in all.
    pub fn slots(&self) -> u32 {
        self.begins.last().copied().unwrap_or(0)
    }

    /// The slots of a position; none beyond the last.
    pub fn of(&self, position: u32) -> std::ops::Range<u32> {
        let at = position as usize;
        match (self.begins.get(at), self.begins.get(at + 1)) {
            (Some(&begin), Some(&end)) => begin..end,
            _ => 0..0,
        }
    }

    fn position(&self, slot: u32) -> usize {
        self.begins.partition_point(|&begin| begin <= slot) - 1
    }
}

fn zipf(programs: u32, power: &dyn Fn(f64) -> f64) -> Vec<u32> {
    let slots = programs.saturating_mul(SLOTS_EACH).clamp(FEWEST_SLOTS, MOST_SLOTS).max(programs);
    let weights: Vec<f64> = (1..=programs).map(|rank| 1.0 / power(f64::from(rank))).collect();
    let total: f64 = weights.iter().sum();
    let shares: Vec<f64> = weights.iter().map(|weight| f64::from(slots - programs) * weight / total).collect();
    let mut counts: Vec<u32> = shares.iter().map(|share| 1 + *share as u32).collect();
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    by_remainder.sort_by(|&a, &b| shares[b].fract().total_cmp(&shares[a].fract()).then(a.cmp(&b)));
    let left = slots.saturating_sub(counts.iter().sum());
    by_remainder.iter().cycle().take(left as usize).for_each(|&at| counts[at] += 1);
    counts
}

/// The endless order of visits. In turn: every run starts where the one before ended, so the runs together go round; what is attached
/// runs in turn with every hit, which is the same order.
/// Drawn: the state draws a slot, and each program advances it (a linear congruential generator whose high bits are good); a run
/// begins at the slot that the last program drew and could not jump to.
#[derive(Clone, Debug)]
pub struct Visits {
    drawn: bool,
    deal: Deal,
    state: u32,
}

impl Visits {
    /// Visits of `programs` programs, at least one.
    pub fn new(order: Order, programs: u32, seed: u64) -> Self {
        let drawn = order.is_drawn();
        Self { drawn, deal: Deal::new(order, programs), state: if drawn { seed as u32 } else { 0 } }
    }

    /// Visits after which every program is likely to have been seen some times: a round, or as many draws as there are slots.
    pub fn round(&self) -> u32 {
        self.deal.slots()
    }

    /// Visits after which the order repeats itself; `None` for draws, which do so after 2^32.
    pub fn period(&self) -> Option<u32> {
        (!self.drawn).then(|| self.deal.slots())
    }

    /// The position to visit now; the next call gives the one after it.
    pub fn advance(&mut self) -> usize {
        let slots = self.deal.slots();
        if self.drawn {
            let slot = (u64::from(self.state) * u64::from(slots)) >> 32;
            self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.deal.position(slot as u32)
        } else {
            let position = self.state;
            self.state = (position + 1) % slots;
            position as usize
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(order: Order, programs: u32, executions: u32) -> Vec<u64> {
        let mut counts = vec![0; programs as usize];
        let mut visits = Visits::new(order, programs, 7);
        (0..executions).for_each(|_| counts[visits.advance()] += 1);
        counts
    }

    fn zipf_of(text: &str) -> Order {
        text.parse().expect("an order")
    }

    #[test]
    fn in_turn_all_are_visited_alike() {
        for programs in [1, 8, 33, 64, 2048] {
            assert!(visited(Order::Permuted, programs, programs * 33).iter().all(|&count| count == 33));
        }
    }

    #[test]
    fn random_draws_favour_nobody_by_much() {
        let counts = visited(Order::Random, 64, 64_000);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn zipf_draws_follow_their_weights() {
        let (programs, draws) = (64, 1_000_000);
        let counts = visited(zipf_of("zipf(1)"), programs, draws);
        let harmonic: f64 = (1..=programs).map(|rank| 1.0 / f64::from(rank)).sum();
        // A position of 64 has one of 4096 slots by right, the others by weight.
        let by_right = f64::from(programs) / f64::from(FEWEST_SLOTS);
        for rank in [1, 2, 5, 20, 64] {
            let share = by_right / f64::from(programs) + (1.0 - by_right) / (harmonic * f64::from(rank));
            let seen = counts[rank as usize - 1] as f64 / f64::from(draws);
            assert!((seen / share - 1.0).abs() < 0.05, "rank {rank}: {seen} is not {share}");
        }
    }

    #[test]
    fn every_position_has_a_slot_and_every_slot_a_position() {
        for (order, programs) in
            [("zipf(2)", 1), ("zipf(0.99)", 2048), ("zipf(4)", 70_000), ("random", 5), ("permuted", 9)]
        {
            let deal = Deal::new(zipf_of(order), programs);
            assert_eq!(deal.of(0).start, 0);
            assert_eq!(deal.of(programs - 1).end, deal.slots());
            assert!((0..programs).all(|position| !deal.of(position).is_empty()), "{order} {programs}");
            assert!((0..programs).all(|position| deal.position(deal.of(position).start) == position as usize));
            assert_eq!(deal.of(programs), 0..0);
        }
        assert_eq!(Deal::new(zipf_of("zipf(1)"), 2048).slots(), 32_768);
        assert_eq!(Deal::new(Order::Random, 2048).slots(), 2048);
    }

    #[test]
    fn the_walk_is_the_sequence_of_the_bpf_programs() {
        // walk_entry visits the position of the state it finds; each walk_<size> advances the state, then jumps.
        let (programs, mut state) = (512u32, 99u32);
        let mut visits = Visits::new(Order::Random, programs, 99);
        for _ in 0..1000 {
            assert_eq!(visits.advance() as u64, (u64::from(state) * u64::from(programs)) >> 32);
            state = (u64::from(state) * 1_664_525 + 1_013_904_223) as u32;
        }
    }
}
