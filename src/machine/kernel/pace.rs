//! Unloads a few hundred programs at a time.
//!
//! The kernel frees each program on a work queue, under one mutex. With thousands under way it may lock up for good (seen on 6.18:
//! `bpf_prog_pack_free` waits for `pack_mutex` in every worker that `system_wq` may have, and its holder waits in `vm_unmap_aliases` for
//! work of the same queue).

use std::time::Duration;

use super::fillers;
use super::settle::Settle;

/// Programs let go of before the kernel is waited for. It has 1024 workers at most; twice this may be under way.
const AT_ONCE: u32 = 256;
/// Where kernel memory cannot be read: an average free takes 21 ms.
const BLIND_PAUSE: Duration = Duration::from_millis(40);
/// A free is not waited for any longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Counts programs let go of.
#[derive(Debug)]
pub struct Pace<'a> {
    settle: Option<&'a Settle>,
    let_go: u32,
}

impl<'a> Pace<'a> {
    /// Waits until the kernel is seen to have freed what was let go of.
    pub fn seeing(settle: &'a Settle) -> Self {
        Self { settle: Some(settle), let_go: 0 }
    }

    /// Waits for a while.
    pub fn blind() -> Self {
        Self { settle: None, let_go: 0 }
    }

    /// One more program has lost what may have been its last holder.
    pub fn step(&mut self) {
        self.let_go += 1;
        if self.let_go == AT_ONCE {
            self.let_go = 0;
            self.pause();
        }
    }

    /// Frees come in the order of the last puts, more or less: once a program let go of now is gone, those before it are, or nearly.
    fn pause(&self) {
        match (self.settle.filter(|settle| settle.sees()), fillers::smallest()) {
            (Some(settle), Ok((program, extent))) => {
                drop(program);
                settle.wait_for(&extent, LONGEST_PAUSE);
            }
            _ => std::thread::sleep(BLIND_PAUSE),
        }
    }
}
