//! The seam: whatever loads programs, real or simulated.

use super::operation::Op;
use super::trace::Step;
use crate::machine::Result;

/// What the host offers to the test.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `Linux 6.18.0, x86_64`, or what stands for it.
    pub kernel: String,
    /// CPUs that loaders and programs may run on.
    pub cpus: Vec<u32>,
    /// Bytes of a pack; `None` if every program has pages of its own.
    pub pack_bytes: Option<u64>,
    /// The kernel may keep memory of empty packs for the next one, where it is no whole aligned 2 MiB page (`execmem_cache_clean`).
    pub keeps_text: bool,
    /// Bytes of the module area, as far as the kernel says.
    pub area_bytes: u64,
    /// Hundredths of bytes of machine code per step of a long body.
    pub step_centibytes: u32,
    /// Programs one lane may hold at a time: all of them are freed at once if this process is killed.
    pub most_held: u16,
    /// net.core.bpf_jit_harden as found.
    pub harden: u8,
    /// What a run may do beyond loading programs.
    pub allowed: Allowed,
    /// Why memory pressure, the end of the module area or failing allocations cannot be had, where they cannot.
    pub no_area_end: Option<String>,
    pub no_fail_nth: Option<String>,
    /// Why subtests that load very long programs take minutes here, where they do.
    pub slow: Option<String>,
}

/// What was allowed on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// To change net.core.bpf_jit_harden for a moment.
    pub sysctls: bool,
    /// To take this share of the available memory.
    pub pressure_percent: u32,
    /// To fill the module area to its end.
    pub fill_area: bool,
    /// To take minutes.
    pub slow: bool,
}

/// Something that loads programs.
pub trait Subject {
    /// What it offers.
    fn facts(&self) -> &Facts;

    /// Carries out `lanes`, all at once if there are several, and returns every step by the time it ended. All that was loaded is
    /// unloaded and free when it returns, also if it fails.
    fn play(&mut self, lanes: &[Vec<Op>]) -> Result<Vec<Step>>;

    /// Loads and unloads so far, and the most frees that were ever under way.
    fn tally(&self) -> Tally;
}

/// What a subject has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub loads: u64,
    pub unloads: u64,
    pub most_frees_under_way: u32,
    pub longest_free_ms: u32,
}
