//! Sequences that fill, leave and fragment packs.

use oorandom::Rand32;

use super::{Script, plain, some};
use crate::selftest::body::{Body, Kind};
use crate::selftest::operation::{Lanes, Op};
use crate::selftest::subject::Facts;

/// More than a pack, and nothing left of it; then once more: memory that is kept must serve the second time.
pub fn packs(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    script.ops.push(Op::Survey);
    for _ in 0..2 {
        let slots = script.fill(0);
        script.ops.push(Op::Survey);
        script.each(0..slots, |slot| Op::Unload { slot });
        script.ops.push(Op::Settle);
        script.each(0..slots, |slot| Op::Remains { slot });
        script.ops.push(Op::Survey);
    }
    script.done()
}

/// Many loads between two surveys.
pub fn leaks(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    // What the first loads leave behind (slabs, page tables) is no leak.
    script.churn(facts.most_held, 200, 64, plain);
    script.each(0..facts.most_held, |slot| Op::Unload { slot });
    script.ops.extend([Op::Settle, Op::Survey]);
    script.churn(facts.most_held, 2400, 64, plain);
    script.each(0..facts.most_held, |slot| Op::Unload { slot });
    script.ops.extend([Op::Settle, Op::Survey]);
    script.done()
}

/// Programs of all sizes, whose pages are looked up.
pub fn mapped(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    let slots = some(facts);
    for slot in 0..slots {
        script.load(slot, Kind::Plain);
    }
    let body = script.long(20 << 10);
    script.ops.push(Op::Load { slot: slots, body });
    script.ops.push(Op::Mapping);
    script.done()
}

/// Loading and unloading under a watcher's eyes, new packs included.
pub fn watched(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    script.load(0, Kind::Plain);
    script.ops.push(Op::Watch(true));
    script.churn((facts.most_held / 2).max(1), 200, 64, plain);
    script.fill(facts.most_held);
    script.ops.push(Op::Watch(false));
    script.done()
}

/// Holes of many sizes, and programs that have to choose among them.
pub fn holes(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    let slots = some(facts);
    for slot in 0..slots {
        let body = Body { steps: 4 + script.random.rand_range(0..60), ..script.body(Kind::Plain) };
        script.ops.push(Op::Load { slot, body });
    }
    script.each((0..slots).step_by(2), |slot| Op::Unload { slot });
    script.ops.push(Op::Settle);
    script.each((0..slots).step_by(2), |slot| Op::Remains { slot });
    for slot in slots..slots + slots / 4 {
        let body = Body { steps: 4 + script.random.rand_range(0..60), ..script.body(Kind::Plain) };
        script.ops.push(Op::Load { slot, body });
    }
    script.each((0..slots).step_by(2), |slot| Op::Remains { slot });
    script.done()
}

/// Half of all programs go, and those that come are too large for their places, again and again.
pub fn fragmented(facts: &Facts, random: &mut Rand32) -> Lanes {
    const GENERATIONS: u64 = 12;
    let mut script = Script::new(facts, random);
    let slots = facts.most_held.min(48);
    let each = (facts.pack_bytes.unwrap_or(2 << 20) / u64::from(slots)).clamp(4 << 10, 24 << 10);
    script.ops.push(Op::Survey);
    for generation in 0..GENERATIONS {
        let first = (generation % 2) as u16;
        for slot in (first..slots).step_by(if generation == 0 { 1 } else { 2 }) {
            let body = script.long(each + generation * 256);
            script.ops.push(Op::Load { slot, body });
        }
        script.ops.push(Op::Survey);
        script.each((1 - first..slots).step_by(2), |slot| Op::Unload { slot });
        script.ops.push(Op::Settle);
    }
    script.done()
}
