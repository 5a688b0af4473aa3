//! Waits until the memory of unloaded programs is free.
//!
//! The last put of a program frees its image only after an RCU grace period and on a work queue (`bpf_prog_free_deferred`).
//! Until then its chunks look taken, and loading the next trial meanwhile scatters it over the holes as they open.

use std::time::{Duration, Instant};

use libbpf_rs::{MapHandle, Object, ObjectBuilder, ProgramInput};

use crate::placement::{Image, pack};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/peek.bpf.o"));
/// What a freed chunk holds, or what `peek` says of an unmapped one.
const FREED: u32 = 0xcccc_cccc;
/// Grace periods are longer under load; a minute of waiting would be worse than a disturbed placement, which is verified.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(3);
/// Where kernel memory cannot be read: an average free takes 21 ms, most take less than this.
const BLIND_WAIT: Duration = Duration::from_millis(400);

/// How long nothing more may become free before what follows the images is taken to belong to others.
const STALLED: Duration = Duration::from_millis(90);

/// Watches freed memory.
#[derive(Debug)]
pub struct Settle {
    peek: Option<Object>,
    /// Our own images by address and size in memory: these are waited for.
    own: Vec<(u64, u32)>,
    /// Chunks right behind them: mostly our fillers, which have no address of their own, but possibly others' programs.
    behind: Vec<u64>,
    /// Arrays whose direct jumps lead to the empty program; see [`Maps::retire`](super::programs::Maps::retire).
    retired: Vec<MapHandle>,
}

impl Settle {
    /// Loads the peek program; where that is refused (lockdown=confidentiality) waiting is blind.
    pub fn watching() -> Self {
        let peek = ObjectBuilder::default().open_memory(OBJECT).and_then(|open| open.load()).ok();
        Self { peek, own: Vec::new(), behind: Vec::new(), retired: Vec::new() }
    }

    /// Whether freed memory can be seen.
    pub fn sees(&self) -> bool {
        self.peek.is_some()
    }

    /// Remembers programs that have been unloaded: their own chunks, and whatever was loaded right behind each.
    pub fn unloaded(&mut self, images: &[Image]) {
        for image in images {
            self.own.push((pack::base(image), pack::chunks(image.len) * pack::CHUNK_BYTES as u32));
            self.behind.push(pack::end(image));
        }
    }

    /// Remembers that what was loaded behind each of `images` has been unloaded, but not they.
    pub fn released(&mut self, images: &[Image]) {
        self.behind.extend(images.iter().map(pack::end));
    }

    /// Keeps arrays until the programs that jump through them are gone.
    pub fn retired(&mut self, arrays: Vec<MapHandle>) {
        self.retired.extend(arrays);
    }

    /// Waits until all that was unloaded is free; returns the time it took.
    pub fn wait(&mut self) -> Duration {
        let waited = self.wait_for_frees();
        self.retired.clear();
        waited
    }

    fn wait_for_frees(&mut self) -> Duration {
        let began = Instant::now();
        let (mut own, mut behind) = (std::mem::take(&mut self.own), std::mem::take(&mut self.behind));
        if own.is_empty() && behind.is_empty() {
            return Duration::ZERO;
        }
        if !self.sees() {
            std::thread::sleep(BLIND_WAIT);
            return began.elapsed();
        }
        let mut progressed = Instant::now();
        while began.elapsed() < LONGEST_WAIT {
            let before = own.len() + behind.len();
            // Once somebody else's program lies there, the word is not our size any more.
            own.retain(|&(address, size)| self.word(address) == Some(size));
            behind.retain(|&address| self.word(address).is_some_and(|word| word != FREED));
            if own.len() + behind.len() < before {
                progressed = Instant::now();
            }
            if behind.is_empty() && own.is_empty() || own.is_empty() && progressed.elapsed() > STALLED {
                break;
            }
            std::thread::sleep(POLL);
        }
        began.elapsed()
    }

    /// What lies at `address`: the size in `struct bpf_binary_header` as long as a program begins there. `None` if it cannot be read.
    fn word(&self, address: u64) -> Option<u32> {
        let program = self.peek.as_ref().and_then(|object| object.progs_mut().next())?;
        let mut context = address.to_ne_bytes();
        let input = ProgramInput { context_in: Some(&mut context), ..Default::default() };
        program.test_run(input).ok().map(|output| output.return_value)
    }
}
