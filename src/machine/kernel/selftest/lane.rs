//! One loader: a thread on a CPU of its own, with the programs it holds.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use libbpf_rs::MapHandle;
use libbpf_sys::bpf_insn;
use rustix::thread::{CpuSet, sched_setaffinity};
use socket2::SockRef;

use super::account::{Account, Pending};
use super::code;
use super::look::Look;
use crate::machine::kernel::programs::{prog_array, set_program};
use crate::machine::kernel::sys::{self, ProgramType};
use crate::machine::{MachineError, Result};
use crate::placement::{Image, pack};
use crate::selftest::body::{Body, Kind, MOST_CLASSIC};
use crate::selftest::operation::Op;
use crate::selftest::trace::{Event, Inspected, Left, Place, Remains};

/// Filters that may be closed before a program with an address is closed behind them.
const MOST_LOOSE: u32 = 16;

/// Functions of one program that take as long to free as a program.
const FUNCTIONS_TO_A_FREE: u32 = 16;

/// How long freed text may stay readable once its header is gone.
const BOUNDED: Duration = Duration::from_secs(1);

/// What all loaders share.
#[derive(Debug)]
pub struct Shared<'a> {
    pub account: &'a Account,
    pub look: &'a Look,
    pub extable: &'a [bpf_insn],
    /// What this test's programs are called.
    pub name: &'a CStr,
    pub packs: &'a super::packs::Packs,
}

/// A loaded program.
#[derive(Debug)]
struct Held {
    body: Body,
    places: Vec<Place>,
    programs: Vec<OwnedFd>,
    /// Keeps the links of a chain; goes with them.
    _array: Option<MapHandle>,
    sockets: Option<(UnixDatagram, UnixDatagram)>,
}

/// A loader.
#[derive(Debug)]
pub struct Lane<'a> {
    pub number: u16,
    cpu: u32,
    shared: Shared<'a>,
    slots: BTreeMap<u16, Held>,
    former: BTreeMap<u16, Vec<Place>>,
    /// Filters closed since the last program with an address.
    loose: u32,
    /// Whether the pack of each image is asked for.
    with_packs: bool,
    pub loads: u64,
    pub unloads: u64,
}

impl<'a> Lane<'a> {
    /// A loader on `cpu` that holds nothing.
    pub fn new(number: u16, cpu: u32, shared: Shared<'a>, with_packs: bool) -> Result<Self> {
        stay_on(cpu)?;
        let (slots, former) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { number, cpu, shared, slots, former, loose: 0, with_packs, loads: 0, unloads: 0 })
    }

    /// Images it holds, with where each is.
    pub fn images(&self) -> Vec<Image> {
        self.slots.values().flat_map(|held| &held.places).map(|place| place.image).collect()
    }

    /// Slots that hold a program.
    pub fn slots(&self) -> Vec<u16> {
        self.slots.keys().copied().collect()
    }

    /// Carries out what concerns programs alone; `None` for all else.
    pub fn apply(&mut self, op: Op) -> Result<Option<Event>> {
        Ok(Some(match op {
            Op::Load { slot, body } => self.load(slot, body)?,
            Op::Run { slot, input, cpu } => self.run(slot, input, cpu)?,
            Op::Inspect { slot } => self.inspect(slot),
            Op::Unload { slot } => self.unload(slot)?,
            Op::Settle => self.settle()?,
            Op::Remains { slot } => self.remains(slot),
            _ => return Ok(None),
        }))
    }

    fn load(&mut self, slot: u16, body: Body) -> Result<Event> {
        if self.slots.contains_key(&slot) {
            return Ok(Event::Nothing);
        }
        if body.kind == Kind::Extable && self.shared.extable.is_empty() {
            return Ok(Event::CannotHere("this kernel does not take programs with exception tables".to_owned()));
        }
        match self.try_load(body) {
            Ok(held) => {
                self.loads += held.programs.len().max(1) as u64;
                for image in held.places.iter().map(|place| place.image) {
                    self.shared.account.taken(pack::base(&image)..pack::end(&image));
                }
                let places = held.places.clone();
                self.slots.insert(slot, held);
                Ok(Event::Loaded(places))
            }
            Err(error) => match error.raw_os_error() {
                // A helper, or what the verifier knows of its result, came with a later kernel.
                Some(22 | 13) if body.kind == Kind::Extable => {
                    Ok(Event::CannotHere(format!("this kernel does not load programs with exception tables: {error}")))
                }
                Some(errno) => Ok(Event::Refused(errno)),
                None => Err(MachineError::failed(format!("failed to load a program: {error}"))),
            },
        }
    }

    fn load_named(&self, kind: ProgramType, insns: &[bpf_insn]) -> io::Result<OwnedFd> {
        sys::load_program(kind, self.shared.name, insns)
    }

    fn try_load(&self, body: Body) -> io::Result<Held> {
        let mut held = Held { body, places: Vec::new(), programs: Vec::new(), _array: None, sockets: None };
        match body.kind {
            Kind::Classic => {
                let (sender, receiver) = UnixDatagram::pair()?;
                // A filter that drops what it should let through must not make us wait.
                receiver.set_nonblocking(true)?;
                SockRef::from(&receiver).attach_filter(&code::filter(&body))?;
                held.sockets = Some((sender, receiver));
            }
            Kind::TailCalls => {
                let array = prog_array(body.parts + 1).map_err(io::Error::other)?;
                for link in 0..=body.parts {
                    let program = self.load_named(ProgramType::SchedCls, &code::link(&body, link, array.as_fd()))?;
                    set_program(&array, link, program.as_fd()).map_err(io::Error::other)?;
                    held.programs.push(program);
                }
                held._array = Some(array);
            }
            Kind::Extable => held.programs.push(self.load_named(ProgramType::RawTracepoint, self.shared.extable)?),
            _ => held.programs.push(self.load_named(ProgramType::SchedCls, &code::program(&body))?),
        }
        for program in &held.programs {
            // Of what is interpreted the kernel shows where the interpreter is, and no length.
            for image in sys::images(program.as_fd())?.into_iter().filter(|image| image.len > 0) {
                let pack = self.with_packs.then(|| self.shared.packs.of(image.addr, self.shared.look)).flatten();
                held.places.push(Place { image, pack });
            }
        }
        Ok(held)
    }

    fn run(&mut self, slot: u16, input: u32, cpu: Option<u32>) -> Result<Event> {
        let Some(held) = self.slots.get(&slot) else { return Ok(Event::Nothing) };
        if let Some(cpu) = cpu {
            stay_on(cpu)?;
        }
        let returned = execute(held, input);
        if cpu.is_some() {
            stay_on(self.cpu)?;
        }
        Ok(match returned {
            Ok(value) => Event::Returned(value),
            Err(error) => Event::RunFailed(error.raw_os_error().unwrap_or(0)),
        })
    }

    fn inspect(&self, slot: u16) -> Event {
        let Some(held) = self.slots.get(&slot) else { return Event::Nothing };
        let mut inspected = Vec::new();
        for program in &held.programs {
            let Ok(reported) = sys::jited(program.as_fd()) else {
                return Event::CannotHere("the kernel does not show the bytes of programs".to_owned());
            };
            let mut from = 0;
            for image in sys::images(program.as_fd()).unwrap_or_default() {
                let len = image.len as usize;
                let expected = reported.get(from..from + len).unwrap_or_default();
                let memory = self.shared.look.bytes(image.addr.0, len);
                let differing =
                    memory.iter().zip(expected).filter(|(one, other)| one != other).count() + (len - expected.len());
                let header = self.shared.look.word(pack::base(&image)).unwrap_or(0);
                inspected.push(Inspected {
                    image,
                    header,
                    differing: differing as u32,
                    digest: crc32fast::hash(&memory),
                });
                from += len;
            }
        }
        Event::Inspected(inspected)
    }

    fn is_free(&self) -> impl Fn(&Pending) -> bool + use<'a> {
        let look = self.shared.look;
        // An error to look is no sign that anything was freed.
        move |entry| look.word(entry.addr).is_ok_and(|word| word != entry.word)
    }

    fn unload(&mut self, slot: u16) -> Result<Event> {
        let Some(held) = self.slots.remove(&slot) else { return Ok(Event::Nothing) };
        self.unloads += held.programs.len().max(1) as u64;
        // Filters have no address, and what is interpreted has no code.
        if held.places.is_empty() {
            let programs = held.programs.len().max(1) as u32;
            self.shared.account.admit(self.number, self.loose + programs, &self.is_free())?;
            drop(held);
            self.loose += programs;
            return if self.loose >= MOST_LOOSE {
                self.stand_for_loose().map(|()| Event::Done)
            } else {
                Ok(Event::Done)
            };
        }
        // Functions go with their program, in one work; hundreds of them take their time all the same.
        let more = held.body.parts / FUNCTIONS_TO_A_FREE;
        self.shared.account.admit(self.number, self.loose + more + held.programs.len() as u32, &self.is_free())?;
        // Links of a chain have one image each; of functions the first stands for all.
        for place in held.places.iter().take(held.programs.len()) {
            let at = place.image.addr.0;
            let word = self.shared.look.word(at).unwrap_or(0);
            self.shared.account.register(self.number, at, word, 1 + more + std::mem::take(&mut self.loose));
        }
        self.former.insert(slot, held.places.clone());
        Ok(Event::Done)
    }

    /// Closes a program behind the filters that were closed: frees of one CPU come in order, so when its memory is free theirs is.
    fn stand_for_loose(&mut self) -> Result<()> {
        if self.loose == 0 {
            return Ok(());
        }
        let failed =
            |error: io::Error| MachineError::failed(format!("failed to load a program behind filters: {error}"));
        let program = self.load_named(ProgramType::SchedCls, &code::program(&Body::plain(1, 1))).map_err(failed)?;
        let images = sys::images(program.as_fd()).map_err(failed)?;
        // Interpreted: there is no memory for code until some of what was let go of is free. The next stands for these too.
        let Some(image) = images.first().filter(|image| image.len > 0) else { return Ok(()) };
        self.shared.account.taken(pack::base(image)..pack::end(image));
        let word = self.shared.look.word(image.addr.0).map_err(failed)?;
        self.shared.account.register(self.number, image.addr.0, word, 1 + std::mem::take(&mut self.loose));
        Ok(())
    }

    /// A filter was closed that is in no slot: waits until it is free.
    pub fn filter_gone(&mut self) -> Result<()> {
        self.loose += 1;
        self.settle().map(drop)
    }

    fn settle(&mut self) -> Result<Event> {
        let began = Instant::now();
        self.stand_for_loose()?;
        while self.loose > 0 && began.elapsed() < BOUNDED {
            std::thread::sleep(Duration::from_millis(20));
            self.stand_for_loose()?;
        }
        let (frees, longest) = self.shared.account.settle(Some(self.number), &self.is_free())?;
        self.shared.packs.forget();
        Ok(Event::Settled { frees, longest_ms: longest.as_millis() as u32 })
    }

    fn remains(&self, slot: u16) -> Event {
        let Some(places) = self.former.get(&slot) else { return Event::Nothing };
        let live: Vec<Image> = self.images();
        let state = |image: &Image| {
            let began = Instant::now();
            loop {
                // Long images are overwritten page by page, the header first.
                match self.shared.look.left(image, &live) {
                    Left::Stale { .. } if began.elapsed() < BOUNDED => std::thread::sleep(Duration::from_millis(5)),
                    left => return left,
                }
            }
        };
        Event::Remains(places.iter().map(|place| Remains { image: place.image, state: state(&place.image) }).collect())
    }

    /// Unloads all that is left, in order, and waits until it is free.
    pub fn end(&mut self) -> Result<()> {
        for slot in self.slots.keys().copied().collect::<Vec<_>>() {
            self.unload(slot)?;
        }
        self.settle()?;
        self.former.clear();
        Ok(())
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        // On an error the rest goes as well, slowly enough; if the kernel does not free it any more, nothing else can be done.
        let began = Instant::now();
        while let Some((_, held)) = self.slots.pop_first() {
            drop(held);
            if began.elapsed() < super::account::DEADLINE {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn execute(held: &Held, input: u32) -> io::Result<u32> {
    if let Some((sender, receiver)) = &held.sockets {
        let mut buffer = [0u8; 2 * MOST_CLASSIC as usize];
        sender.send(&buffer)?;
        return receiver.recv(&mut buffer).map(|len| len as u32);
    }
    let program: BorrowedFd<'_> = held.programs[0].as_fd();
    match held.body.kind {
        Kind::Extable => sys::run_raw(program, [u64::from(input), u64::from(std::process::id())]),
        _ => sys::run_skb(program, input),
    }
}

/// Keeps this thread on `cpu`.
pub fn stay_on(cpu: u32) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu as usize);
    sched_setaffinity(None, &only)
        .map_err(|error| MachineError::failed(format!("failed to move to CPU {cpu}: {error}")))
}
