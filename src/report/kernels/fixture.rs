//! Three made-up kernels as guests show them: one without packs, one with packs by 4 KiB pages, one with packs by 2 MiB pages.

use crate::caveat::Caveat;
use crate::counters::Unusable;
use crate::model::fetched::{Counts, Window};
use crate::placement::{Addr, Footprint, Image, Mapping, Observed};
use crate::report::fixture;
use crate::runfile::Run;
use crate::runfile::manifest::{Accelerator, Fetches, Guest};
use crate::trial::{Beside, DirectMap, Freed, Trial};
use crate::workload::PackMode;

/// What each kernel does.
struct Kernel {
    name: &'static str,
    packs: bool,
    huge: bool,
    append: &'static str,
}

const KERNELS: [Kernel; 3] = [
    Kernel { name: "5.10", packs: false, huge: false, append: "" },
    Kernel { name: "6.12", packs: true, huge: false, append: "" },
    Kernel { name: "7.3", packs: true, huge: true, append: "nokaslr" },
];

/// One boot of each, and a second one of the middle one.
pub fn runs() -> Vec<Run> {
    let [old, packed, huge] = KERNELS;
    vec![run(&old, 1), run(&packed, 1), run(&packed, 2), run(&huge, 1)]
}

/// A fourth kernel never got there.
pub fn failures() -> Vec<String> {
    vec![
        "6.1: the guest died before it reached user space (qemu: exit status: 0); its console ends: Kernel panic"
            .to_owned(),
    ]
}

fn run(kernel: &Kernel, boot: u32) -> Run {
    let mut run = fixture::timed_run();
    let manifest = &mut run.manifest;
    manifest.argv = ["itlbench", "kernels", "5.10=a", "6.12=b", "7.3=c"].map(str::to_owned).to_vec();
    manifest.host.kernel_release = Some(format!("{}.0-test", kernel.name));
    manifest.workloads[0].programs = vec![64, 2048];
    manifest.workloads[0].trials = 1;
    let by = "qemu 10.0.2, TCG".to_owned();
    manifest.caveats = vec![Caveat::Emulated { by: by.clone() }];
    manifest.caveats.push(if kernel.packs { Caveat::PackOffEmulated } else { Caveat::PackOffNative });
    if !kernel.packs {
        manifest.workloads[0].pack = vec![PackMode::Off];
    }
    manifest.guest = Some(guest(kernel, boot, by));
    let wanted = manifest.workloads[0].pack.clone();
    run.trials.retain(|trial| trial.trial == 0 && trial.case.programs != 512 && wanted.contains(&trial.case.pack));
    run.manifest.planned_trials = run.trials.len() as u32;
    run.trials.iter_mut().for_each(|trial| guest_trial(trial, kernel, boot));
    run
}

fn guest(kernel: &Kernel, boot: u32, emulator: String) -> Guest {
    Guest {
        kernel: kernel.name.to_owned(),
        banner: format!("{}.0-test", kernel.name),
        boot,
        accelerator: Accelerator::Tcg,
        emulator,
        cpu_model: "max".to_owned(),
        cpus: 1,
        memory_mib: 256,
        append: kernel.append.to_owned(),
        seed: 6 + u64::from(boot),
        fetches: Fetches::Modelled { model: "zen3".to_owned() },
        deaths: Vec::new(),
    }
}

/// Every execution walks where 512 entries do not hold the pages, every one misses L1 where 64 do not.
fn fetched(executions: u64, pages: u32, kernel: &Kernel) -> Window {
    let misses = |entries: u32| if pages > entries && !kernel.huge { executions } else { 0 };
    let jit = Counts { fetches: executions, l1_misses: misses(64), walks: misses(512) };
    let beside =
        |one_in| Counts { fetches: executions, l1_misses: executions / one_in, walks: executions / one_in / 2 };
    Window { jit, kernel: beside(100), user: beside(200), tables_read: 9, ..Window::default() }
}

fn guest_trial(trial: &mut Trial, kernel: &Kernel, boot: u32) {
    let stride = if trial.case.pack == PackMode::On { 192 } else { 8192 };
    let at = |n: u32| Image { addr: Addr(0xffff_ffff_c000_0008 + u64::from(n) * stride), len: 121 };
    trial.images = (0..trial.case.programs).map(at).collect();
    trial.footprint = Footprint::of(&trial.images);
    for window in trial.samples.iter_mut().chain(&mut trial.baseline) {
        window.discarded = Some(Unusable::Emulated);
    }
    let (pages, regions) = (trial.footprint.pages_4k, trial.footprint.regions_2m);
    if let Some(Observed::Seen(seen)) = trial.mapping.take() {
        let (small, large, leaves) = if kernel.huge { (0, pages, regions) } else { (pages, 0, pages) };
        let mapping =
            Mapping { pages, mapped_4k: small, mapped_2m: large, leaves, read_only: pages, executable: pages, ..seen };
        trial.mapping = Some(Observed::Seen(mapping));
    }
    trial.fetched =
        trial.samples.iter().map(|sample| fetched(sample.executions, trial.footprint.pages_4k, kernel)).collect();
    let grown = if kernel.packs { 2048 * u64::from(boot - 1) } else { u64::from(trial.case.programs) * 8 };
    let map = |kib| DirectMap { kib_4k: Some(kib), ..DirectMap::default() };
    trial.beside =
        Some(Beside { before: map(4096), loaded: map(4096 + grown), unloaded: map(4096), ..Beside::default() });
    let images = trial.case.programs;
    let (poisoned, unmapped) = if kernel.packs { (images, 0) } else { (0, images) };
    trial.freed = Some(Freed { images, poisoned, unmapped, other: 0 });
}
