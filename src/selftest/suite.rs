//! Every subtest: what it does, what must hold, when it cannot be had.

use oorandom::Rand32;

use super::checks::{Findings, freeing, layout, limits, memory, packs, rights, running};
use super::operation::Lanes;
use super::scripts;
use super::subject::Facts;
use super::trace::Step;

/// One subtest.
#[derive(Clone, Copy)]
pub struct Subtest {
    pub name: &'static str,
    /// What holds if it passes.
    pub promise: &'static str,
    pub script: fn(&Facts, &mut Rand32) -> Lanes,
    pub check: fn(&Facts, &[Step]) -> Findings,
    /// Why it is left out, if it is.
    pub left_out: fn(&Facts) -> Option<String>,
    /// Share of the time, beside one round; 0: one round is all.
    pub weight: u32,
    /// Judged from the first survey of its first round on.
    pub over_rounds: bool,
}

impl std::fmt::Debug for Subtest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subtest").field("name", &self.name).finish_non_exhaustive()
    }
}

fn never(_: &Facts) -> Option<String> {
    None
}

fn without_pressure(facts: &Facts) -> Option<String> {
    (facts.allowed.pressure_percent == 0)
        .then(|| "takes memory from all others; --pressure PERCENT of what is available allows it".to_owned())
}

fn without_sysctls(facts: &Facts) -> Option<String> {
    (!facts.allowed.sysctls).then(|| {
        "lowers net.core.bpf_jit_limit for moments, in which filters of others without CAP_BPF would be refused; --change-sysctls allows it"
            .to_owned()
    })
}

fn without_area_end(facts: &Facts) -> Option<String> {
    if facts.allowed.fill_area {
        return facts.no_area_end.clone();
    }
    Some("takes up to 1.5 GiB and no module can be loaded meanwhile; --fill-area allows it".to_owned())
}

fn without_haste(facts: &Facts) -> Option<String> {
    facts.slow.clone().filter(|_| !facts.allowed.slow)
}

fn without_failures(facts: &Facts) -> Option<String> {
    facts.no_fail_nth.clone()
}

macro_rules! subtests {
    ($($name:literal, $promise:literal, $script:ident, $check:path, $left_out:ident, $weight:literal;)*) => {
        [$(Subtest { name: $name, promise: $promise, script: scripts::$script, check: $check, left_out: $left_out, weight: $weight, over_rounds: $name == "leaks" }),*]
    };
}

/// All of them, in the order they run.
pub fn all() -> Vec<Subtest> {
    subtests![
        "overlap", "no chunk has two owners, own or foreign", churn, layout::overlap, never, 30;
        "header", "images begin behind their header, at a multiple of 4, and end inside their chunks", inspected, layout::header, never, 1;
        "inside-pack", "every image lies inside one pack or an area of its own", surveyed, layout::inside_pack, never, 1;
        "results", "every program returns what its code says", running, running::results, never, 8;
        "results-after-reuse", "also after its neighbours were freed and their chunks used again", running_after_reuse, running::results, never, 4;
        "results-every-cpu", "on every CPU", running_on_every_cpu, running::every_cpu, never, 1;
        "results-subprograms", "with subprograms", subprograms, running::results, never, 2;
        "results-tail-calls", "with tail calls", tail_calls, running::results, never, 2;
        "results-large", "in images over a page, near a pack and over it", large, running::large, without_haste, 0;
        "results-extables", "with exception tables", extables, running::results, never, 1;
        "results-classic", "with classic filters between the programs", classic, running::classic, never, 3;
        "results-harden", "with constants blinded", harden, running::harden, never, 0;
        "bytes", "the bytes in memory are those bpf_prog_info reports", inspected, memory::bytes, never, 2;
        "neighbours", "freeing an image and using its chunks again leaves its neighbours as they were", neighbours, memory::neighbours, never, 3;
        "freed-text", "freed text is overwritten with INT3 or unmapped", freed, freeing::filled, never, 3;
        "packs-released", "packs that became empty are given back, or kept and used again where the kernel keeps text", packs, packs::packs_released, never, 0;
        "leaks", "nothing is left of thousands of programs", leaks, freeing::leaks, never, 20;
        "protection", "text is read-only and executable, its alias in the direct map not executable", mapped, rights::protection, never, 1;
        "write-xor-execute", "no page is writable and executable at any moment of a load", watched, rights::never_both, never, 3;
        "reuse", "the lowest hole of a pack that is long enough is used first", holes, layout::reuse, never, 3;
        "fragmentation", "the bytes reserved stay in proportion to those used, whatever the order of frees", fragmented, layout::fragmentation, without_haste, 0;
        "concurrency", "all of that while every CPU loads and runs programs", concurrent, running::concurrency, never, 20;
        "memory-pressure", "under memory pressure loads succeed or fail cleanly", pressed, limits::pressure, without_pressure, 1;
        "failing-allocations", "when an allocation fails, the load fails cleanly", failing, limits::failing_allocations, without_failures, 0;
        "jit-limit", "at bpf_jit_limit a load fails cleanly, and what counts against it returns to where it was", jit_limit, limits::jit_limit, without_sysctls, 0;
        "descriptor-limit", "without descriptors a load fails with EMFILE and leaves nothing", descriptors, limits::descriptors, never, 0;
        "area-end", "at the end of the module area a load fails cleanly", area_end, limits::area_end, without_area_end, 0;
    ]
    .into()
}
