//! Hand-built runs for the tests of reports: three sizes, both arms, figures with a small seeded scatter. Each is made once, since that takes
//! longer than most tests do with it.

use std::sync::OnceLock;

use crate::caveat::Caveat;
use crate::counters::{Event, EventCode, Group, Reading, Refusal, Role};
use crate::host::Facts;
use crate::placement::mapping::observed::{pages_of, with_neighbours};
use crate::placement::mapping::{Leaf, Mapping, PageSize, Source};
use crate::placement::{Addr, Image, Observed};
use crate::runfile::manifest::{Design, MachineKind};
use crate::runfile::{Manifest, Run};
use crate::samples::histogram;
use crate::survey::vmalloc::{Packs, ToldBy};
use crate::trial::{Beside, Check, DirectMap, LoadCost, Sample, Trial};
use crate::workload::{Case, PackMode, Plan, Spec};

/// Trials of each case.
pub const TRIALS: u32 = 8;
const WINDOWS: u32 = 10;
const EXECUTIONS: u64 = 65_536;
const EMPTY_RUN_NS: u64 = 150;
const SEED: u64 = 1;

/// A virtual machine without a PMU: wall time and task clock only, five events refused.
pub fn timed_run() -> Run {
    let refused = vec![
        refusal(Role::Cycles, "cycles", 0, 0),
        refusal(Role::Instructions, "instructions", 0, 1),
        refusal(Role::ItlbMisses, "iTLB-load-misses", 3, 0x10004),
        refusal(Role::DtlbMisses, "dTLB-load-misses", 3, 0x10003),
        Refusal {
            event: event(Role::Tsc, "msr/tsc/", 9, 0),
            errno: "EACCES".to_owned(),
            meaning: "perf_event_paranoid forbids it".to_owned(),
        },
    ];
    static MADE: OnceLock<Run> = OnceLock::new();
    MADE.get_or_init(|| run(MachineKind::Kernel, vec![clock_group()], refused, host(Some("KVM")))).clone()
}

/// Bare metal with a PMU.
pub fn pmu_run() -> Run {
    static MADE: OnceLock<Run> = OnceLock::new();
    MADE.get_or_init(|| run(MachineKind::Kernel, pmu_groups(), Vec::new(), host(None))).clone()
}

/// The simulated machine, on a host of which nothing is known.
pub fn sim_run() -> Run {
    run(MachineKind::Sim, pmu_groups(), Vec::new(), Facts::default())
}

/// [`timed_run`] with all four arms; the 2 MiB regions cost what pages of their own cost, the placebo what pack on costs.
pub fn four_arms_run() -> Run {
    let mut run = timed_run();
    for spec in &mut run.manifest.workloads {
        spec.pack.extend([PackMode::OffTwoMeg, PackMode::Placebo]);
    }
    for pack in [PackMode::OffTwoMeg, PackMode::Placebo] {
        let like = if pack == PackMode::Placebo { PackMode::On } else { PackMode::Off };
        let more: Vec<Trial> = run.trials.iter().filter(|trial| trial.case.pack == like).cloned().collect();
        run.trials.extend(more.into_iter().map(|trial| Trial { case: Case { pack, ..trial.case }, ..trial }));
    }
    run.trials.iter_mut().for_each(|trial| trial.case.fillers_of = PackMode::OffTwoMeg);
    run
}

/// [`timed_run`], stopped after its first trial.
pub fn interrupted_run() -> Run {
    let mut run = timed_run();
    run.trials.truncate(1);
    run.complete = false;
    run.caveats = vec![Caveat::Interrupted { trials: 1, planned: run.manifest.planned_trials }];
    run
}

/// Cycles, instructions and iTLB misses in one group, task clock in another.
pub fn pmu_groups() -> Vec<Group> {
    let events = vec![
        event(Role::Cycles, "cycles", 0, 0),
        event(Role::Instructions, "instructions", 0, 1),
        event(Role::ItlbMisses, "iTLB-load-misses", 3, 0x10004),
    ];
    vec![Group { name: "core".to_owned(), events, pinned: true, ..Group::default() }, clock_group()]
}

fn clock_group() -> Group {
    let events = vec![event(Role::TaskClock, "task-clock", 1, 1)];
    Group { name: "clock".to_owned(), events, ..Group::default() }
}

fn event(role: Role, name: &str, pmu_type: u32, config: u64) -> Event {
    Event { role, name: name.to_owned(), code: EventCode::new(pmu_type, config) }
}

fn refusal(role: Role, name: &str, pmu_type: u32, config: u64) -> Refusal {
    Refusal {
        event: event(role, name, pmu_type, config),
        errno: "ENOENT".to_owned(),
        meaning: "no PMU on this host counts it".to_owned(),
    }
}

fn run(machine: MachineKind, groups: Vec<Group>, refused: Vec<Refusal>, host: Facts) -> Run {
    let mut spec = Spec::builtin("chain").expect("built in");
    spec.trials = TRIALS;
    spec.samples = WINDOWS;
    let plan = Plan::new(std::slice::from_ref(&spec), SEED);
    let trials = plan.slots.iter().enumerate();
    let mut trials: Vec<Trial> =
        trials.map(|(at, slot)| trial(&plan.cases[slot.case], slot.trial, at as u32, &groups)).collect();
    if machine == MachineKind::Sim {
        for trial in &mut trials {
            trial.mapping = trial.mapping.take().map(simulated);
            trial.beside = None;
        }
    }
    let mut caveats = vec![Caveat::PackOffEmulated];
    caveats.extend(host.hypervisor.clone().map(|hypervisor| Caveat::VirtualMachine { hypervisor }));
    let manifest = Manifest {
        tool_version: "0.1.0".to_owned(),
        machine,
        started: "2026-01-02T03:04:05Z".to_owned(),
        argv: ["/usr/local/bin/itlbench", "run", "chain", "--trials", "8", "--out", "my reports"]
            .map(str::to_owned)
            .to_vec(),
        seed: SEED,
        design: Design::Arms,
        cpu: 1,
        workloads: vec![spec],
        planned_trials: plan.slots.len() as u32,
        groups,
        refused,
        meters: Vec::new(),
        meters_absent: Vec::new(),
        sampling: None,
        victim: None,
        guest: None,
        host,
        caveats,
    };
    Run { manifest, trials, complete: true, caveats: Vec::new(), histograms: Vec::new() }
}

fn host(hypervisor: Option<&str>) -> Facts {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Facts {
        cpu_vendor: Some("AuthenticAMD".to_owned()),
        cpu_model: Some("AMD EPYC 7B13\u{a0}64-Core Processor".to_owned()),
        cpu_family: Some(25),
        cpu_model_number: Some(1),
        cpu_stepping: Some(1),
        microcode: Some("0xa0011d5".to_owned()),
        cpus_online: Some("0-1".to_owned()),
        hypervisor: hypervisor.map(str::to_owned),
        kernel_release: Some("6.18.5".to_owned()),
        kernel_version: Some("#1 SMP PREEMPT_DYNAMIC".to_owned()),
        mitigations: pairs(&[
            ("itlb_multihit", "Not affected"),
            ("meltdown", "Not affected"),
            ("retbleed", "Mitigation: untrained return thunk; SMT enabled with STIBP protection"),
            ("spec_store_bypass", "Mitigation: Speculative Store Bypass disabled via prctl"),
            ("spectre_v2", "Mitigation: Retpolines; IBPB: conditional; STIBP: always-on; PBRSB-eIBRS: Not affected"),
        ]),
        kernel_config: pairs(&[
            ("ARCH_HAS_EXECMEM_ROX", "y"),
            ("BPF_JIT", "y"),
            ("BPF_JIT_ALWAYS_ON", "y"),
            ("CC_VERSION_TEXT", "gcc (Debian 15.2.0-4) 15.2.0"),
            ("EXECMEM", "y"),
            ("HAVE_ARCH_HUGE_VMALLOC", "y"),
            ("HZ", "250"),
            ("PREEMPT_DYNAMIC", "y"),
            ("PREEMPT_LAZY", "y"),
            ("STRICT_MODULE_RWX", "y"),
            ("X86_KERNEL_IBT", "y"),
        ]),
        smt: Some("on".to_owned()),
        governor: Some("performance".to_owned()),
        thp: Some("always [madvise] never".to_owned()),
        sysctls: pairs(&[
            ("kernel.kptr_restrict", "0"),
            ("net.core.bpf_jit_enable", "1"),
            ("net.core.bpf_jit_harden", "0"),
        ]),
        ..Facts::default()
    }
}

fn trial(case: &Case, trial: u32, sequence: u32, groups: &[Group]) -> Trial {
    let images = images(case);
    Trial {
        trial,
        sequence,
        seed: u64::from(sequence / 2),
        started_ms: u64::from(sequence) * 500,
        mapping: Some(mapping(&images)),
        beside: Some(beside()),
        load: LoadCost { programs: case.programs, fillers: case.programs, plugs: 3, settle_ns: 0, load_ns: 9_000_000 },
        check: Check { executed: case.programs, fewest: 1, most: 1, executions_per_run: case.programs },
        baseline: (0..3).map(|window| sample(case, trial, window, groups, true)).collect(),
        samples: (0..WINDOWS).map(|window| sample(case, trial, window, groups, false)).collect(),
        unload_ns: 1_000_000,
        ..Trial::bare(case.clone(), images)
    }
}

/// Three packs, two splits, loads of 40 us but for a few of 79.
fn beside() -> Beside {
    let map = |splits| DirectMap { kib_4k: Some(4096), splits_2m: Some(splits), ..DirectMap::default() };
    let loads: Vec<u64> = (0..100).map(|at| if at < 96 { 40_000 } else { 79_000 }).collect();
    let latency = histogram::of_values(&loads).and_then(|all| histogram::encode(&all));
    Beside {
        before: map(7),
        loaded: map(9),
        unloaded: map(9),
        packs: Some(Packs { told_by: ToldBy::Caller, areas: 3, reserved_pages: 1536, ranges: Vec::new() }),
        load_latency: latency.ok(),
        freed_ns: 21_500_000,
    }
}

fn simulated(mapping: Observed) -> Observed {
    match mapping {
        Observed::Seen(seen) => Observed::Seen(Mapping { source: Source::Simulated, kernel_text: None, ..seen }),
        unknown => unknown,
    }
}

/// As most kernels map packs: 4 KiB, frames in no order.
fn mapping(images: &[Image]) -> Observed {
    let pages = pages_of(images);
    let frame = |page: u64| Some(page * 7 % 65_536);
    let leaf =
        |page| Leaf { size: PageSize::Small, writable: false, executable: true, global: true, frame: frame(page) };
    let leaves = with_neighbours(&pages).into_iter().map(|page| (page, leaf(page))).collect();
    let mapping = Mapping::of(Source::BpfWalk, &pages, &leaves);
    Observed::Seen(Mapping { kernel_text: Some(PageSize::Large), ..mapping })
}

/// Two chunks a program, or a page and a guard page with the offset walking through the page.
fn images(case: &Case) -> Vec<Image> {
    let addr = |i: u64| match case.pack {
        PackMode::On | PackMode::Placebo => i * 128,
        PackMode::Off => i * 8192 + i % 63 * 64,
        PackMode::OffTwoMeg => i * (2 << 20) + i % 32 * 4160,
    };
    (0..u64::from(case.programs)).map(|i| Image { addr: Addr(0xffff_ffff_c000_0008 + addr(i)), len: 100 }).collect()
}

/// Nanoseconds and iTLB misses per execution.
fn cost(case: &Case) -> (f64, f64) {
    match (case.pack, case.programs) {
        (PackMode::On | PackMode::Placebo, 2048) => (41.0, 0.011),
        (PackMode::On | PackMode::Placebo, _) => (40.0, 0.0),
        (PackMode::Off, 2048) => (62.4, 0.97),
        (PackMode::Off, 512) => (46.2, 0.41),
        (PackMode::Off | PackMode::OffTwoMeg, _) => (40.05, 0.002),
    }
}

fn sample(case: &Case, trial: u32, window: u32, groups: &[Group], empty: bool) -> Sample {
    let runs = EXECUTIONS / u64::from(case.programs);
    let (ns, misses) = if empty { (0.0, 0.0) } else { cost(case) };
    let scatter = 1.0 + 0.02 * noise(case, trial, 1000) + 0.01 * noise(case, trial, window);
    let wall_ns = runs * EMPTY_RUN_NS + (EXECUTIONS as f64 * ns * scatter) as u64;
    let count = |role: Role| match role {
        Role::Cycles => wall_ns * 3,
        Role::Instructions => runs * 400 + if empty { 0 } else { EXECUTIONS * 31 },
        Role::ItlbMisses => runs * 2 + (EXECUTIONS as f64 * misses * scatter) as u64,
        _ => wall_ns - 20,
    };
    let reading = |group: &Group| Reading {
        counts: group.events.iter().map(|event| count(event.role)).collect(),
        enabled_ns: wall_ns,
        running_ns: wall_ns,
    };
    let executions = if empty { 0 } else { EXECUTIONS };
    Sample {
        runs,
        executions,
        wall_ns,
        readings: groups.iter().map(reading).collect(),
        meters: Vec::new(),
        discarded: None,
    }
}

/// Between 0 and 1, the same on every call.
fn noise(case: &Case, trial: u32, window: u32) -> f64 {
    let key = [u64::from(case.programs), case.pack as u64, u64::from(trial), u64::from(window)];
    let seed = key.iter().fold(1u64, |hash, part| hash.wrapping_mul(1_000_003) ^ part);
    oorandom::Rand64::new(u128::from(seed)).rand_float()
}
