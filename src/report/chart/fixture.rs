//! A run small enough to read, for the tests of everything that draws: two arms, three sizes, figures of a seeded generator.

use std::collections::BTreeMap;

use crate::caveat::Caveat;
use crate::counters::{Event, EventCode, Group, Reading, Refusal, Role};
use crate::host::Facts;
use crate::placement::{Addr, Image};
use crate::runfile::manifest::{Design, MachineKind};
use crate::runfile::{Manifest, Run};
use crate::trial::{Check, LoadCost, Sample, Trial};
use crate::workload::{Case, PackMode, Spec};

fn event(role: Role, name: &str, pmu_type: u32, config: u64) -> Event {
    Event { role, name: name.to_owned(), code: EventCode::new(pmu_type, config) }
}

/// A run of `chain` with `trials` trials a case, on a machine that counts cycles and iTLB misses.
pub(crate) fn run(trials: u32) -> Run {
    let spec = Spec { trials, samples: 40, ..Spec::builtin("chain").expect("built in") };
    let mut random = oorandom::Rand64::new(7);
    let trials: Vec<Trial> = (0..trials)
        .flat_map(|trial| spec.programs.clone().into_iter().map(move |programs| (trial, programs)))
        .flat_map(|(trial, programs)| [PackMode::On, PackMode::Off].map(|pack| (trial, programs, pack)))
        .enumerate()
        .map(|(sequence, (trial, programs, pack))| {
            one_trial(spec.case(programs, pack), trial, sequence as u32, &mut random)
        })
        .collect();
    let planned = trials.len() as u32;
    Run { manifest: manifest(spec, planned), trials, complete: true, caveats: Vec::new(), histograms: Vec::new() }
}

fn manifest(spec: Spec, planned_trials: u32) -> Manifest {
    let counted = vec![event(Role::Cycles, "cycles", 0, 0), event(Role::ItlbMisses, "iTLB-load-misses", 3, 0x10004)];
    Manifest {
        tool_version: "0.1.0".into(),
        machine: MachineKind::Sim,
        started: "2026-02-03T04:05:06Z".into(),
        argv: ["itlbench", "run", "chain", "--out", "my reports"].map(String::from).to_vec(),
        seed: 42,
        design: Design::Arms,
        cpu: 1,
        workloads: vec![spec],
        planned_trials,
        groups: vec![Group { name: "front end".into(), events: counted, pinned: true, ..Group::default() }],
        refused: vec![Refusal {
            event: event(Role::L1iMisses, "L1-icache-load-misses", 3, 0x10001),
            errno: "ENOENT".into(),
            meaning: "this CPU has no such event".into(),
        }],
        meters: Vec::new(),
        meters_absent: Vec::new(),
        sampling: None,
        victim: None,
        guest: None,
        host: Facts {
            cpu_model: Some("Example CPU <E-1> @ 2.00GHz".into()),
            kernel_release: Some("6.18.44".into()),
            mitigations: BTreeMap::from([("retbleed".to_owned(), "Mitigation: untrained return thunk".to_owned())]),
            ..Facts::default()
        },
        caveats: vec![Caveat::Simulated, Caveat::PackOffEmulated],
    }
}

fn one_trial(case: Case, trial: u32, sequence: u32, random: &mut oorandom::Rand64) -> Trial {
    let images = images(case.programs, case.pack);
    let shift = 1.0 + 0.06 * (random.rand_float() - 0.5);
    let samples = (0..40).map(|_| sample(&case, shift, random)).collect();
    Trial {
        trial,
        sequence,
        seed: u64::from(trial),
        started_ms: u64::from(sequence) * 100,
        load: LoadCost { programs: case.programs, ..LoadCost::default() },
        check: Check { executed: case.programs, fewest: 33, most: 34, executions_per_run: case.programs },
        baseline: vec![nothing()],
        samples,
        ..Trial::bare(case, images)
    }
}

fn images(programs: u32, pack: PackMode) -> Vec<Image> {
    let stride = if pack == PackMode::On { 128 } else { 8192 + 64 };
    let at = |i: u32| Image { addr: Addr(0xffff_ffff_c040_0008 + u64::from(i) * stride), len: 52 };
    (0..programs).map(at).collect()
}

fn sample(case: &Case, shift: f64, random: &mut oorandom::Rand64) -> Sample {
    const EXECUTIONS: f64 = 100_000.0;
    let spread = f64::from(case.programs) / 2048.0;
    let (cycles, misses) = match case.pack {
        PackMode::On | PackMode::Placebo => (31.0 + 8.0 * spread, 2.0),
        PackMode::Off | PackMode::OffTwoMeg => (32.0 + 80.0 * spread, 4.0 + 900.0 * spread),
    };
    let tail = random.rand_float();
    let noise = shift * (1.0 + 0.02 * random.rand_float() + if tail > 0.99 { 0.4 * random.rand_float() } else { 0.0 });
    let count = |figure: f64| (figure * noise * EXECUTIONS) as u64;
    Sample {
        runs: 100,
        executions: EXECUTIONS as u64,
        wall_ns: count(cycles / 2.4),
        readings: vec![Reading { counts: vec![count(cycles), count(misses / 1000.0)], enabled_ns: 1, running_ns: 1 }],
        meters: Vec::new(),
        discarded: None,
    }
}

/// An empty-program window that cost nothing: net figures are the gross ones.
fn nothing() -> Sample {
    let readings = vec![Reading { counts: vec![0, 0], enabled_ns: 1, running_ns: 1 }];
    Sample { runs: 100, executions: 0, wall_ns: 0, readings, meters: Vec::new(), discarded: None }
}
