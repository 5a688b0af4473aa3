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
    /// Chunks of our own images: these are waited for.
    own: Vec<u64>,
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
            let base = pack::chunk_base(image.addr).0;
            self.own.push(base);
            self.behind.push(base + u64::from(pack::chunks(image.len)) * pack::CHUNK_BYTES);
        }
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
        if own.is_empty() {
            return Duration::ZERO;
        }
        if !self.sees() {
            std::thread::sleep(BLIND_WAIT);
            return began.elapsed();
        }
        let mut progressed = Instant::now();
        while began.elapsed() < LONGEST_WAIT {
            let before = own.len() + behind.len();
            own.retain(|&address| !self.is_free(address));
            behind.retain(|&address| !self.is_free(address));
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

    fn is_free(&self, address: u64) -> bool {
        let Some(program) = self.peek.as_ref().and_then(|object| object.progs_mut().next()) else { return true };
        let mut context = address.to_ne_bytes();
        let input = ProgramInput { context_in: Some(&mut context), ..Default::default() };
        program.test_run(input).map_or(true, |output| output.return_value == FREED)
    }
}
