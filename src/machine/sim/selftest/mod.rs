//! In: sequences of the selftest. Out: what a kernel with the allocator of `placement/allocator.rs` would show, right or with one
//! deliberate defect. Apart from the simulated machine of runs: it has contents and rights of memory, which no run looks at.

mod defect;
mod memory;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use self::defect::Defect;
use self::memory::{Memory, Program, Wrong};
use crate::machine::Result;
use crate::placement::image::PAGE_BYTES;
use crate::selftest::body::{Body, Kind};
use crate::selftest::operation::Op;
use crate::selftest::trace::{Event, Inspected, Remains, Step, Surveyed, Watched};
use crate::selftest::{Allowed, Facts, Subject, Tally};

/// Frees under way in the simulated kernel at most; the next unload waits for all of them.
const MOST_FREES: u32 = 160;
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const ENOTSUPP: i32 = 524;

/// The simulated kernel.
#[derive(Debug)]
pub struct SimSubject {
    facts: Facts,
    memory: Memory,
    tally: Tally,
    defect: Option<Defect>,
    slots: HashMap<(u16, u16), Program>,
    former: HashMap<(u16, u16), Program>,
    pending: Vec<Program>,
    state: State,
    lost_kib: u64,
    lost_charge: u64,
    lost_packs: u32,
    most_packs: u32,
}

/// What ends with a sequence.
#[derive(Debug, Default)]
struct State {
    clock_ns: u64,
    lanes: usize,
    loads: u32,
    classic: bool,
    settled: bool,
    harden: Option<u8>,
    pressure: bool,
    fail_nth: Option<u32>,
    descriptors: Option<u16>,
    jit_limit: Option<u64>,
    watching: bool,
    half_loaded: u32,
}

impl SimSubject {
    /// A kernel with programs of others in its first pack; with `defect` if one is wanted.
    pub fn new(seed: u64, allowed: Allowed, defect: Option<Defect>) -> Self {
        let memory = Memory::new(seed);
        let facts = Facts {
            kernel: "a simulated kernel".to_owned(),
            cpus: vec![0, 1],
            pack_bytes: Some(memory.pack_bytes()),
            keeps_text: false,
            area_bytes: 1008 << 20,
            step_centibytes: 1400,
            most_held: 96,
            harden: 0,
            allowed,
            no_area_end: None,
            no_fail_nth: None,
            slow: None,
        };
        Self {
            facts,
            memory,
            tally: Tally::default(),
            defect,
            slots: HashMap::new(),
            former: HashMap::new(),
            pending: Vec::new(),
            state: State::default(),
            lost_kib: 0,
            lost_charge: 0,
            lost_packs: 0,
            most_packs: 0,
        }
    }

    /// One that keeps empty packs for the next ones, as the kernel's cache of executable memory does.
    #[cfg(test)]
    fn that_keeps_text(mut self) -> Self {
        self.facts.keeps_text = true;
        self
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// The same where one loads alone: what several see at once is a subtest of its own.
    fn has_alone(&self, defect: Defect) -> bool {
        self.has(defect) && self.state.lanes == 1
    }

    fn apply(&mut self, lane: u16, op: Op) -> Event {
        match op {
            Op::Load { slot, body } => self.load((lane, slot), body),
            Op::Run { slot, input, cpu } => self.run((lane, slot), input, cpu),
            Op::Inspect { slot } => self.inspect((lane, slot)),
            Op::Unload { slot } => self.unload((lane, slot)),
            Op::Settle => self.settle(),
            Op::Remains { slot } => self.remains((lane, slot)),
            Op::Mapping => self.mapping(),
            Op::Programs | Op::Survey => self.survey(),
            Op::Watch(on) => self.watch(on),
            Op::Pressure(on) => self.set(|state| state.pressure = on),
            Op::Harden(level) => self.set(|state| state.harden = level),
            Op::Charged => Event::Charged(self.charged()),
            Op::JitLimit(room) => {
                let limit = room.map(|room| self.charged() + u64::from(room));
                self.set(|state| state.jit_limit = limit)
            }
            Op::FailNth(nth) => self.set(|state| state.fail_nth = Some(nth)),
            Op::Descriptors(left) => self.set(|state| state.descriptors = left),
        }
    }

    fn set(&mut self, change: impl FnOnce(&mut State)) -> Event {
        change(&mut self.state);
        Event::Done
    }

    fn load(&mut self, key: (u16, u16), body: Body) -> Event {
        if self.slots.contains_key(&key) {
            return Event::Nothing;
        }
        self.state.loads += 1;
        self.state.classic |= body.kind == Kind::Classic;
        if let Some(errno) = self.refusal() {
            return Event::Refused(errno);
        }
        let wrong = Wrong { second_fit: self.has(Defect::SecondFit) && self.state.loads > 48 };
        let Some(mut program) = self.memory.load(body, wrong) else {
            return Event::Refused(if self.has(Defect::OddErrorAtAreaEnd) { 14 } else { ENOTSUPP });
        };
        self.lost_charge += if self.has(Defect::LostCharge) { 64 } else { 0 };
        if self.state.jit_limit.is_some_and(|limit| self.charged() + program.bytes() > limit) {
            self.memory.free(&program, false);
            return Event::Refused(ENOTSUPP);
        }
        self.tally.loads += 1;
        self.lost_kib += if self.has(Defect::LostPages) { 4 } else { 0 };
        let shares = self.has_alone(Defect::SharedChunk) && self.state.loads.is_multiple_of(97);
        if shares
            && !program.places.is_empty()
            && let Some(other) = self.slots.values().find(|other| !other.places.is_empty())
        {
            program.places[0].image.addr = other.places[0].image.addr;
        }
        let places = program.places.clone();
        self.slots.insert(key, program);
        Event::Loaded(places)
    }

    /// What counts against the limit: others' code, and all of ours that is not freed yet.
    fn charged(&self) -> u64 {
        const OTHERS: u64 = 12_864;
        OTHERS + self.lost_charge + self.slots.values().chain(&self.pending).map(Program::bytes).sum::<u64>()
    }

    fn refusal(&mut self) -> Option<i32> {
        if self.state.fail_nth.take().is_some_and(|nth| nth < 30) {
            self.state.half_loaded += 1;
            return Some(ENOMEM);
        }
        if let Some(left) = &mut self.state.descriptors {
            if *left == 0 {
                return Some(if self.has(Defect::OddErrorWithoutDescriptors) { ENOMEM } else { EMFILE });
            }
            *left -= 1;
        }
        (self.state.pressure && self.state.loads.is_multiple_of(20))
            .then(|| if self.has(Defect::OddErrorUnderPressure) { 5 } else { ENOMEM })
    }

    fn run(&mut self, key: (u16, u16), input: u32, cpu: Option<u32>) -> Event {
        let Some(program) = self.slots.get(&key) else { return Event::Nothing };
        let right = program.body.result(input);
        Event::Returned(if self.is_wrong(program, cpu) { right ^ 1 } else { right })
    }

    fn is_wrong(&self, program: &Program, cpu: Option<u32>) -> bool {
        let (state, kind) = (&self.state, program.body.kind);
        let alone = state.lanes == 1;
        match self.defect {
            Some(Defect::WrongAfterMany) => alone && !state.classic && state.loads > 120 && kind == Kind::Plain,
            Some(Defect::WrongAfterFree) => state.settled && !state.classic,
            Some(Defect::WrongOnOneCpu) => cpu == Some(1),
            Some(Defect::WrongSubprograms) => kind == Kind::Subprograms && state.harden.is_none(),
            Some(Defect::WrongTailCalls) => kind == Kind::TailCalls,
            Some(Defect::WrongOverPack) => {
                program.places.iter().any(|place| u64::from(place.image.len) > self.memory.pack_bytes())
            }
            Some(Defect::WrongExtables) => kind == Kind::Extable,
            Some(Defect::WrongClassic) => kind == Kind::Classic && alone && program.body.steps < 600,
            Some(Defect::WrongBlinding) => state.harden == Some(2),
            Some(Defect::WrongWhenConcurrent) => !alone,
            _ => false,
        }
    }

    fn inspect(&mut self, key: (u16, u16)) -> Event {
        let Some(program) = self.slots.get(&key) else { return Event::Nothing };
        let inspected = program.places.iter().map(|place| Inspected {
            image: place.image,
            header: self.memory.header(program, &place.image)
                - if self.has_alone(Defect::ShortHeader) { 64 } else { 0 },
            differing: u32::from(self.has_alone(Defect::FlippedByte)),
            digest: self.memory.digest(&place.image),
        });
        Event::Inspected(inspected.collect())
    }

    fn unload(&mut self, key: (u16, u16)) -> Event {
        let Some(program) = self.slots.remove(&key) else { return Event::Nothing };
        self.tally.unloads += 1;
        self.pending.push(program.clone());
        self.former.insert(key, program);
        let under_way: u32 = self.pending.iter().map(|program| program.body.frees()).sum();
        self.tally.most_frees_under_way = self.tally.most_frees_under_way.max(under_way);
        if under_way >= MOST_FREES {
            self.free_pending();
        }
        Event::Done
    }

    fn free_pending(&mut self) -> u32 {
        let pending = std::mem::take(&mut self.pending);
        let packs = self.memory.packs();
        for program in &pending {
            let middling =
                program.body.kind == Kind::Long && (16 << 10..32 << 10).contains(&program.places[0].image.len);
            if self.has(Defect::LostChunks) && middling {
                continue;
            }
            self.memory.free(program, self.has_alone(Defect::ScribbledNeighbour));
        }
        self.lost_packs += if self.has(Defect::LostPacks) { packs - self.memory.packs() } else { 0 };
        pending.iter().map(|program| program.body.frees()).sum()
    }

    fn settle(&mut self) -> Event {
        self.state.settled = true;
        Event::Settled { frees: self.free_pending(), longest_ms: 21 }
    }

    fn remains(&mut self, key: (u16, u16)) -> Event {
        let Some(program) = self.former.get(&key) else { return Event::Nothing };
        let stale = self.has(Defect::StaleText);
        let left = program.places.iter().map(|place| Remains {
            image: place.image,
            state: self.memory.left(&place.image, stale && key.1 % 8 == 6),
        });
        Event::Remains(left.collect())
    }

    fn mapping(&mut self) -> Event {
        let images = self.slots.values().flat_map(|program| &program.places).map(|place| place.image);
        Event::Mapped(self.memory.mapped(images, self.has(Defect::WritableText)))
    }

    fn survey(&mut self) -> Event {
        let mut areas = self.memory.areas(self.slots.values());
        let pages: u64 = areas.iter().map(|(_, bytes)| bytes / PAGE_BYTES).sum();
        let packs = areas.len() as u32 + self.lost_packs;
        self.most_packs = self.most_packs.max(packs);
        let kept = if self.facts.keeps_text { self.most_packs } else { packs };
        let half = if self.has(Defect::HalfLoaded) { self.state.half_loaded } else { 0 };
        if self.has(Defect::OutsideArea) {
            areas[0].1 = PAGE_BYTES / 2;
        }
        Event::Surveyed(Surveyed {
            foreign: self.memory.foreign().to_vec(),
            own: self.slots.values().map(|program| program.body.listed()).sum::<u32>() + half,
            areas,
            packs: Some((kept, pages)),
            loads: self.tally.loads,
            program_areas: Some(3 + (self.lost_kib / 4) as u32),
            vmalloc_kib: 10_000 + pages * 4 + self.lost_kib,
            direct_map_4k_kib: 60_000,
        })
    }

    fn watch(&mut self, on: bool) -> Event {
        if on {
            return self.set(|state| state.watching = true);
        }
        if !std::mem::take(&mut self.state.watching) {
            return Event::Nothing;
        }
        let both = self.has(Defect::WritableWhileLoading);
        let writable_executable = if both { vec![0xf_ffff_fffc_0000] } else { Vec::new() };
        Event::Watched(Watched { looks: 100, pages: 51_200, writable_executable })
    }
}

impl Subject for SimSubject {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn play(&mut self, lanes: &[Vec<Op>]) -> Result<Vec<Step>> {
        self.state = State { lanes: lanes.len(), ..State::default() };
        let longest = lanes.iter().map(Vec::len).max().unwrap_or(0);
        let mut steps = Vec::new();
        // Lanes take turns.
        for at in 0..longest {
            for (lane, ops) in lanes.iter().enumerate() {
                let Some(op) = ops.get(at) else { continue };
                let began_ns = self.state.clock_ns;
                let event = self.apply(lane as u16, *op);
                self.state.clock_ns += 40_000;
                steps.push(Step { lane: lane as u16, began_ns, ended_ns: began_ns + 30_000, op: *op, event });
            }
        }
        let mut left: Vec<(u16, u16)> = self.slots.keys().copied().collect();
        left.sort_unstable();
        for key in left {
            self.unload(key);
        }
        self.free_pending();
        self.former.clear();
        Ok(steps)
    }

    fn tally(&self) -> Tally {
        self.tally
    }
}
