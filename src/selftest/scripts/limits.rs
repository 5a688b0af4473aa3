//! Sequences at limits, and by several loaders at once.

use oorandom::Rand32;

use super::{FILTER_STEPS, Script, plain};
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

/// Loads until the module area is full, and then some more.
pub fn area_end(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    let (body, each) = filling(facts, &mut script);
    let slots = (facts.area_bytes / each) as u16 + 2;
    script.each(0..slots, |slot| Op::Load { slot, body });
    // Where the kernel interprets what gets no memory, it shows that of these alone: of a filter it shows nothing.
    let probe = script.long(PROBE_BYTES);
    script.each(slots..slots + 3, |slot| Op::Load { slot, body: probe });
    (0..slots).step_by(128).for_each(|slot| script.run(slot));
    (slots..slots + 3).for_each(|slot| script.run(slot));
    script.ops.push(Op::Survey);
    script.done()
}

/// Larger than any hole that filters leave.
const PROBE_BYTES: u64 = 64 << 10;

/// The program that fills the module area soonest, and how much of it each takes.
fn filling(facts: &Facts, script: &mut Script<'_>) -> (Body, u64) {
    const PAGE: u64 = 4096;
    const FUNCTIONS: u32 = 200;
    match (facts.pack_bytes, &facts.slow) {
        // A page and a guard page for each function.
        (None, _) => {
            let parts = FUNCTIONS - 1;
            let body = Body { steps: 2, parts, ..script.body(Kind::Subprograms) };
            (body, u64::from(FUNCTIONS) * 2 * PAGE)
        }
        // Few, so that a kill frees few at once: no two of them fit in a pack, and half of the code fills all of the area.
        (Some(pack), None) => (script.long(pack * 17 / 32), pack),
        // Under emulation the verifier would take an hour; filters do not see it. A kill takes the whole guest.
        (Some(_), Some(_)) => {
            let body = Body { steps: FILTER_STEPS, ..script.body(Kind::Classic) };
            (body, u64::from(FILTER_STEPS) * u64::from(facts.step_centibytes) / 100 * 9 / 10)
        }
    }
}
