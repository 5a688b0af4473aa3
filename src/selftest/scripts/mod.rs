//! In: a seed. Out: the sequences of each subtest. Apart from the checks: a sequence knows what it asks for, not what must hold.

mod limits;
mod packs;

use oorandom::Rand32;

use super::body::{Body, Kind};
use super::operation::{Lanes, Op};
use super::subject::Facts;

pub use self::limits::{area_end, concurrent, descriptors, failing, jit_limit, pressed};
pub use self::packs::{fragmented, holes, leaks, mapped, packs, watched};

/// Steps of a long classic filter. It may have 4096 instructions, but before 6.7 a socket takes no more than net.core.optmem_max, 20 KiB,
/// of eight bytes each.
const FILTER_STEPS: u32 = 2400;

/// A sequence being written.
struct Script<'a> {
    facts: &'a Facts,
    random: &'a mut Rand32,
    ops: Vec<Op>,
}

impl<'a> Script<'a> {
    fn new(facts: &'a Facts, random: &'a mut Rand32) -> Self {
        Self { facts, random, ops: Vec::new() }
    }

    /// Most short programs come from a few steps, some are longer than a page of chunks.
    fn steps(&mut self) -> u32 {
        let most = [8, 40, 200][self.random.rand_range(0..8).min(2) as usize];
        1 + self.random.rand_range(0..most)
    }

    fn body(&mut self, kind: Kind) -> Body {
        let parts = match kind {
            Kind::Subprograms => 1 + self.random.rand_range(0..6),
            Kind::TailCalls => 1 + self.random.rand_range(0..5),
            _ => 0,
        };
        Body { kind, seed: self.random.rand_u32() >> 1, steps: self.steps(), parts }
    }

    /// One of so many bytes of machine code, about.
    fn long(&mut self, bytes: u64) -> Body {
        let steps = (bytes * 100 / u64::from(self.facts.step_centibytes.max(1))) as u32;
        Body { kind: Kind::Long, seed: self.random.rand_u32() >> 1, steps, parts: 0 }
    }

    /// Fills more than a pack, from slot `first` on, and returns the slot behind: mostly with long classic filters, which no verifier looks at, and some programs among them; one is as long as a filter, so that it
    /// is seen where the last pack is.
    fn fill(&mut self, first: u16) -> u16 {
        /// What a step takes at least: a JIT needs more for a division, and as much for an addition.
        const STEP_BYTES: u64 = 8;
        let bytes = self.facts.pack_bytes.unwrap_or(1 << 20).min(2 << 20) * 5 / 4;
        let filters = (bytes / (u64::from(FILTER_STEPS) * STEP_BYTES)) as u16;
        for slot in first..first + filters {
            let (kind, steps) = match slot {
                _ if slot + 2 == first + filters => (Kind::Long, FILTER_STEPS),
                _ if slot % 8 == 3 => (Kind::Long, 200),
                _ => (Kind::Classic, FILTER_STEPS),
            };
            let body = Body { kind, seed: self.random.rand_u32() >> 1, steps, parts: 0 };
            self.ops.push(Op::Load { slot, body });
        }
        first + filters
    }

    fn load(&mut self, slot: u16, kind: Kind) {
        let body = self.body(kind);
        self.ops.push(Op::Load { slot, body });
    }

    fn run(&mut self, slot: u16) {
        let input = self.random.rand_u32();
        self.ops.push(Op::Run { slot, input, cpu: None });
    }

    fn each(&mut self, slots: impl Iterator<Item = u16>, op: impl Fn(u16) -> Op) {
        self.ops.extend(slots.map(op));
    }

    /// Loads and unloads at random, running some of what is there.
    fn churn(&mut self, slots: u16, ops: u32, run_one_in: u32, kind: impl Fn(&mut Rand32) -> Kind) {
        self.churn_on(&mut vec![false; usize::from(slots)], ops, run_one_in, kind);
    }

    /// The same where some slots are `loaded` already.
    fn churn_on(&mut self, loaded: &mut [bool], ops: u32, run_one_in: u32, kind: impl Fn(&mut Rand32) -> Kind) {
        for _ in 0..ops {
            let slot = self.random.rand_range(0..loaded.len() as u32) as u16;
            if loaded[usize::from(slot)] {
                if self.random.rand_range(0..run_one_in) == 0 {
                    self.run(slot);
                }
                self.ops.push(Op::Unload { slot });
            } else {
                let kind = kind(self.random);
                self.load(slot, kind);
            }
            loaded[usize::from(slot)] ^= true;
        }
    }

    fn done(self) -> Lanes {
        vec![self.ops]
    }
}

fn plain(_: &mut Rand32) -> Kind {
    Kind::Plain
}

/// Programs a simple script holds.
fn some(facts: &Facts) -> u16 {
    facts.most_held.min(48)
}

/// Long random loading and unloading, surveyed at the end of every stretch.
pub fn churn(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    // Subprograms are many images in one slot.
    let slots = (facts.most_held / 2).max(1);
    script.churn(slots, 900, 16, |random| if random.rand_range(0..16) == 0 { Kind::Subprograms } else { Kind::Plain });
    // Not more: reading all of vmalloc memory would take as long as a hundred loads.
    script.ops.push(Op::Programs);
    script.done()
}

/// Programs, inspected while they are there.
pub fn inspected(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    let slots = some(facts);
    for slot in 0..slots {
        let kind = if slot % 4 == 3 { Kind::Subprograms } else { Kind::Plain };
        script.load(slot, kind);
    }
    script.each(0..slots, |slot| Op::Inspect { slot });
    script.done()
}

/// Programs, surveyed while they are there.
pub fn surveyed(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    for slot in 0..some(facts) {
        script.load(slot, Kind::Plain);
    }
    script.ops.push(Op::Survey);
    script.done()
}

/// Random loading and unloading; every program runs before it goes.
pub fn running(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    script.churn(facts.most_held, 300, 1, plain);
    script.done()
}

/// Every second program is freed, its place is taken by others, and all run again.
pub fn running_after_reuse(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    let slots = some(facts);
    (0..slots).for_each(|slot| script.load(slot, Kind::Plain));
    (0..slots).for_each(|slot| script.run(slot));
    script.each((0..slots).step_by(2), |slot| Op::Unload { slot });
    script.ops.push(Op::Settle);
    (0..slots).skip(1).step_by(2).for_each(|slot| script.run(slot));
    (0..slots).step_by(2).for_each(|slot| script.load(slot, Kind::Plain));
    (0..slots).for_each(|slot| script.run(slot));
    script.done()
}

/// Each program on each CPU.
pub fn running_on_every_cpu(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    let slots = facts.most_held.min(12);
    (0..slots).for_each(|slot| script.load(slot, Kind::Plain));
    for &cpu in &facts.cpus {
        for slot in 0..slots {
            let input = script.random.rand_u32();
            script.ops.push(Op::Run { slot, input, cpu: Some(cpu) });
        }
    }
    script.done()
}

/// Programs of `kind` alone.
fn of_kind(facts: &Facts, random: &mut Rand32, kind: Kind) -> Lanes {
    let mut script = Script::new(facts, random);
    script.churn((facts.most_held / 8).max(1), 48, 1, |_| kind);
    script.done()
}

pub fn subprograms(facts: &Facts, random: &mut Rand32) -> Lanes {
    of_kind(facts, random, Kind::Subprograms)
}

pub fn tail_calls(facts: &Facts, random: &mut Rand32) -> Lanes {
    of_kind(facts, random, Kind::TailCalls)
}

pub fn extables(facts: &Facts, random: &mut Rand32) -> Lanes {
    of_kind(facts, random, Kind::Extable)
}

/// Classic filters and programs side by side.
pub fn classic(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    script.churn((facts.most_held / 2).max(1), 160, 1, |random| {
        if random.rand_range(0..2) == 0 { Kind::Classic } else { Kind::Plain }
    });
    script.done()
}

/// One over a page, one that almost fills a pack, and one that is larger than it.
pub fn large(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    let pack = facts.pack_bytes.unwrap_or(256 << 10).min(2 << 20);
    for (slot, bytes) in [6 << 10, pack - pack / 32, pack + pack / 32].into_iter().enumerate() {
        let slot = slot as u16;
        let body = script.long(bytes);
        script.ops.push(Op::Load { slot, body });
        script.run(slot);
    }
    (0..3).for_each(|slot| script.run(slot));
    script.done()
}

/// Each value of bpf_jit_harden if it may be set, else the one there is.
pub fn harden(facts: &Facts, random: &mut Rand32) -> Lanes {
    let levels: &[Option<u8>] = if facts.allowed.sysctls { &[Some(0), Some(1), Some(2)] } else { &[None] };
    let mut script = Script::new(facts, random);
    for level in levels {
        if level.is_some() {
            script.ops.push(Op::Harden(*level));
        }
        for slot in 0..facts.most_held.min(16) {
            let kind = if slot % 4 == 0 { Kind::Subprograms } else { Kind::Plain };
            script.load(slot, kind);
            script.run(slot);
            script.ops.push(Op::Unload { slot });
        }
    }
    if facts.allowed.sysctls {
        script.ops.push(Op::Harden(None));
    }
    script.done()
}

/// Images are read, half of them freed and their places used again, and the others read again.
pub fn neighbours(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    let slots = some(facts);
    (0..slots).for_each(|slot| script.load(slot, Kind::Plain));
    script.each((1..slots).step_by(2), |slot| Op::Inspect { slot });
    script.each((0..slots).step_by(2), |slot| Op::Unload { slot });
    script.ops.push(Op::Settle);
    script.each((1..slots).step_by(2), |slot| Op::Inspect { slot });
    (0..slots).step_by(2).for_each(|slot| script.load(slot, Kind::Plain));
    script.each((1..slots).step_by(2), |slot| Op::Inspect { slot });
    script.done()
}

/// Programs are freed, and their places looked at.
pub fn freed(facts: &Facts, random: &mut Rand32) -> Lanes {
    let mut script = Script::new(facts, random);
    let slots = some(facts);
    (0..slots).for_each(|slot| script.load(slot, Kind::Plain));
    script.each((0..slots).step_by(2), |slot| Op::Unload { slot });
    script.ops.push(Op::Settle);
    script.each((0..slots).step_by(2), |slot| Op::Remains { slot });
    script.done()
}
