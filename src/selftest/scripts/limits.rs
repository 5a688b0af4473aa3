//! Sequences at limits, and by several loaders at once.

use oorandom::Rand32;

use super::{Script, plain};
use crate::selftest::body::{Body, Kind};
use crate::selftest::operation::{Lanes, Op};
use crate::selftest::subject::Facts;

/// A loader on each CPU; what one has loaded runs while the others load.
pub fn concurrent(facts: &Facts, random: &mut Rand32) -> Lanes {
    let lanes = facts.cpus.len().min(32) as u16;
    let slots = (facts.most_held / lanes).max(1);
    let lane = |random: &mut Rand32| {
        let mut script = Script::new(facts, random);
        let mut loaded = vec![false; usize::from(slots)];
        for _ in 0..4 {
            script.churn_on(&mut loaded, 100, 2, |random| {
                if random.rand_range(0..12) == 0 { Kind::Classic } else { Kind::Plain }
            });
            // Some of it was looked at before, and others have loaded and freed beside it since.
            script.each((0..slots).step_by(4), |slot| Op::Inspect { slot });
        }
        script.ops.push(Op::Programs);
        script.ops
    };
    (0..lanes).map(|_| lane(random)).collect()
}

/// The usual, with little memory left.
pub fn pressed(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    script.ops.push(Op::Pressure(true));
    script.churn(facts.most_held, 200, 1, plain);
    script.ops.push(Op::Pressure(false));
    script.done()
}

/// Each of the first allocations of a load fails in turn, beside programs that are there.
pub fn failing(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    (0..4).for_each(|slot| script.load(slot, Kind::Plain));
    for nth in 1..=40 {
        script.ops.push(Op::FailNth(nth));
        script.load(4, Kind::Plain);
        script.run(4);
        script.ops.push(Op::Unload { slot: 4 });
    }
    (0..4).for_each(|slot| script.run(slot));
    script.ops.push(Op::Survey);
    script.done()
}

/// Loads and unloads, then filters until the limit is reached, asking before, between and after what counts against it.
pub fn jit_limit(facts: &Facts, random: &mut Rand32) -> Lanes {
    const ROOM: u32 = 32 << 10;
    let mut script = Script::new(facts, random);
    let (most, filters) = (facts.most_held, facts.most_held / 2);
    script.ops.extend([Op::Survey, Op::Charged]);
    script.churn(most, 300, 64, plain);
    script.each(0..most, |slot| Op::Unload { slot });
    script.ops.extend([Op::Settle, Op::Charged, Op::JitLimit(Some(ROOM))]);
    for slot in 0..filters {
        // No matter how a JIT encodes it, twenty of them take more than there is.
        let body = Body { steps: 600, ..script.body(Kind::Classic) };
        script.ops.push(Op::Load { slot, body });
    }
    script.ops.push(Op::JitLimit(None));
    (0..filters).for_each(|slot| script.run(slot));
    script.each(0..filters, |slot| Op::Unload { slot });
    script.ops.extend([Op::Settle, Op::Charged, Op::Survey]);
    script.done()
}

/// Loads until there are no descriptors left.
pub fn descriptors(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    script.ops.push(Op::Descriptors(Some(8)));
    (0..12).for_each(|slot| script.load(slot, Kind::Plain));
    script.ops.push(Op::Descriptors(None));
    (0..12).for_each(|slot| script.run(slot));
    script.ops.push(Op::Survey);
    script.load(12, Kind::Plain);
    script.run(12);
    script.done()
}

/// Loads until the module area is full.
pub fn area_end(facts: &Facts, random: &mut Rand32) -> Lanes {
    /// No module area is larger: 1536 MiB without KASLR configured.
    const AREA_BYTES: u64 = 1536 << 20;
    let mut script = Script::new(facts, random);
    let each = facts.pack_bytes.unwrap_or(2 << 20) * 7 / 8;
    let body = script.long(each);
    let slots = (AREA_BYTES / each) as u16 + 2;
    script.each(0..slots, |slot| Op::Load { slot, body });
    (0..slots).step_by(128).for_each(|slot| script.run(slot));
    script.ops.push(Op::Survey);
    script.done()
}
