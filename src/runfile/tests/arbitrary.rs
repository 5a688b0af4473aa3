//! Runs of every kind, as proptest makes them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::caveat::Caveat;
use crate::counters::{Event, EventCode, Group, Meter, MeterAbsence, Reading, Refusal, Role, Unusable};
use crate::host::Facts;
use crate::model::fetched::Window;
use crate::placement::mapping::{Leaf, Mapping, PageSize, Source};
use crate::placement::{Addr, Footprint, Image, Observed};
use crate::runfile::Run;
use crate::runfile::manifest::{Accelerator, Design, Fetches, Guest, MachineKind, Manifest};
use crate::samples::Metric;
use crate::survey::vmalloc::{Packs, ToldBy};
use crate::trial::beside::{Beside, DirectMap};
use crate::trial::{Check, Freed, LoadCost, Sample, Trial};
use crate::workload::{Body, FillerRule, OffsetRule, Order, PackMode, Spec, Stride, TriggerKind};

type Histograms = BTreeMap<Metric, String>;

prop_compose! {
    fn spec(name: String)(
        (question, expectation) in any::<(String, String)>(),
        trigger in prop::sample::select(vec![TriggerKind::Chain, TriggerKind::Walk]),
        programs in prop::collection::btree_set(1u32..5000, 1..4),
        body in prop::sample::select(Body::all()),
        pack in prop::sample::subsequence(vec![PackMode::On, PackMode::Off, PackMode::OffTwoMeg, PackMode::Placebo], 1..=4),
        stride in prop::sample::select(vec![Stride::Page, Stride::PageAndGuard]),
        offset in prop::sample::select(vec![OffsetRule::Walk, OffsetRule::Random, OffsetRule::Fixed]),
        fillers in prop::sample::select(vec![FillerRule::Keep, FillerRule::Release, FillerRule::Needed]),
        (trials, samples) in (1u32.., 1u32..),
        (order, loaded) in (prop::option::of(1u32..4001), prop::option::of(Just(5000u32))),
    ) -> Spec {
        // The arm `off-2m` takes 200 programs at most.
        let fits = |n: u32| if pack.contains(&PackMode::OffTwoMeg) { n % 200 + 1 } else { n };
        let programs: BTreeSet<u32> = programs.into_iter().map(fits).collect();
        let (name, programs) = (name.clone(), programs.into_iter().collect());
        let (cpus, churn) = (loaded.map(|_| crate::workload::Cpus::All), loaded.map(|_| 7));
        let order = order.and_then(crate::workload::order::Exponent::new).map(Order::Zipf);
        let order = order.filter(|_| trigger == TriggerKind::Walk);
        let loaded = loaded.filter(|_| !pack.contains(&PackMode::OffTwoMeg));
        Spec { name, question, expectation, trigger, programs, body, pack, stride, offset, fillers, order, loaded, cpus, churn, trials, samples }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let role = prop::sample::select(vec![Role::Cycles, Role::ItlbMisses, Role::Tsc, Role::TaskClock]);
    (role, any::<String>(), any::<(u32, u64)>()).prop_map(|(role, name, (pmu_type, config))| Event {
        role,
        name,
        code: EventCode::new(pmu_type, config),
    })
}

fn caveat() -> impl Strategy<Value = Caveat> {
    prop_oneof![
        Just(Caveat::Simulated),
        any::<String>().prop_map(|hypervisor| Caveat::VirtualMachine { hypervisor }),
        any::<(String, String)>().prop_map(|(goal, reached)| Caveat::PlacementMissed { goal, reached }),
        any::<(u32, u32, String)>().prop_map(|(discarded, of, reason)| Caveat::WindowsDiscarded {
            discarded,
            of,
            reason
        }),
    ]
}

fn facts() -> impl Strategy<Value = Facts> {
    let maps = (any::<BTreeMap<String, String>>(), any::<BTreeMap<String, u64>>());
    (any::<Option<String>>(), any::<Option<u32>>(), maps).prop_map(|(cpu_model, cpu_family, (sysctls, memory_kib))| {
        Facts { cpu_model, cpu_family, sysctls, memory_kib, ..Facts::default() }
    })
}

prop_compose! {
    fn manifest()(
        (tool_version, started, argv) in any::<(String, String, Vec<String>)>(),
        machine in prop::sample::select(vec![MachineKind::Kernel, MachineKind::Sim]),
        (seed, cpu) in any::<(u64, u32)>(),
        design in prop::sample::select(vec![Design::Arms, Design::AgainstItself]),
        workloads in (spec("chain".to_owned()), spec("walk of others".to_owned())),
        groups in vec((any::<String>(), vec(event(), 1..4), any::<bool>()), 0..3),
        refused in vec((event(), any::<String>(), any::<String>()), 0..2),
        host in facts(),
        caveats in vec(caveat(), 0..3),
        absence in any::<String>(),
        guest in prop::option::of(guest()),
    ) -> Manifest {
        let group = |(name, events, pinned)| Group { name, events, pinned, ..Group::default() };
        let refusal = |(event, errno, meaning)| Refusal { event, errno, meaning };
        Manifest {
            tool_version, machine, started, argv, seed, design, cpu, planned_trials: 0, host, caveats,
            workloads: vec![workloads.0, workloads.1],
            groups: groups.into_iter().map(group).collect(),
            refused: refused.into_iter().map(refusal).collect(),
            meters: vec![Meter::Switches, Meter::Aperf],
            meters_absent: vec![MeterAbsence { meters: vec![Meter::Smis], reason: absence }],
            sampling: None,
            guest,
            victim: None,
        }
    }
}

fn guest() -> impl Strategy<Value = Guest> {
    let fetches = any::<(bool, String)>().prop_map(|(modelled, text)| match modelled {
        true => Fetches::Modelled { model: text },
        false => Fetches::NotModelled { reason: text },
    });
    let accelerator = prop::sample::select(vec![Accelerator::Tcg, Accelerator::Kvm]);
    (any::<[String; 5]>(), any::<(u32, u32, u32, u64)>(), fetches, accelerator).prop_map(
        |([kernel, banner, emulator, cpu_model, append], (boot, cpus, memory_mib, seed), fetches, accelerator)| Guest {
            kernel,
            banner,
            boot,
            accelerator,
            emulator,
            cpu_model,
            cpus,
            memory_mib,
            append,
            seed,
            fetches,
            deaths: Vec::new(),
        },
    )
}

fn sample(shape: Vec<usize>) -> impl Strategy<Value = Sample> {
    let reading = |events: &usize| {
        let counts = prop_oneof![1 => Just(Vec::new()), 9 => vec(any::<u64>(), *events)];
        (counts, any::<(u64, u64)>()).prop_map(|(counts, (enabled_ns, running_ns))| Reading {
            counts,
            enabled_ns,
            running_ns,
        })
    };
    let readings: Vec<_> = shape.iter().map(reading).collect();
    let discarded = prop::option::of(prop::sample::select(Unusable::ALL.to_vec()));
    let meters = prop_oneof![Just(Vec::new()), vec(any::<u64>(), 2)];
    (any::<(u64, u64, u64)>(), readings, meters, discarded).prop_map(
        |((runs, executions, wall_ns), readings, meters, discarded)| Sample {
            runs,
            executions,
            wall_ns,
            readings,
            meters,
            discarded,
        },
    )
}

fn beside() -> impl Strategy<Value = Option<Beside>> {
    let map = any::<(Option<u64>, Option<u64>)>().prop_map(|(kib_4k, splits_2m)| DirectMap {
        kib_4k,
        splits_2m,
        ..DirectMap::default()
    });
    let packs = prop::option::of(any::<(u32, u64)>()).prop_map(|packs| {
        let packs = packs?;
        Some(Packs { told_by: ToldBy::Caller, areas: packs.0, reserved_pages: packs.1, ranges: Vec::new() })
    });
    let beside = (map, packs, any::<(Option<String>, u64)>()).prop_map(|(map, packs, (load_latency, freed_ns))| {
        Beside { before: DirectMap::default(), loaded: map, unloaded: map, packs, load_latency, freed_ns }
    });
    prop::option::of(beside)
}

fn mapping() -> impl Strategy<Value = Option<Observed>> {
    let leaf = (any::<(bool, bool, bool)>(), prop::option::of(any::<u64>())).prop_map(|(rights, frame)| Leaf {
        size: PageSize::Small,
        writable: rights.0,
        executable: rights.1,
        global: rights.2,
        frame,
    });
    let seen = prop::collection::btree_map(0u64..64, leaf, 0..9).prop_map(|leaves| {
        let pages: Vec<u64> = leaves.keys().map(|page| page * 2).collect();
        Observed::Seen(Mapping::of(Source::Ptdump, &pages, &leaves))
    });
    prop_oneof![Just(None), any::<String>().prop_map(|reason| Some(Observed::Unknown { reason })), seen.prop_map(Some)]
}

prop_compose! {
    fn trial(case: crate::workload::Case, shape: Vec<usize>, number: u32)(
        (sequence, seed, started_ms, unload_ns, placed) in any::<(u32, u64, u64, u64, bool)>(),
        images in vec(any::<(u64, u32)>(), 0..8),
        load in any::<(u32, u32, u32, u64, u64)>(),
        check in any::<(u32, u64, u64, u32)>(),
        baseline in vec(sample(shape.clone()), 0..3),
        samples in vec(sample(shape), 0..4),
        caveats in vec(caveat(), 0..2),
        mapping in mapping(),
        beside in beside(),
        freed in prop::option::of(any::<(u32, u32, u32, u32)>()),
        samples_fetched in 0..3usize,
    ) -> Trial {
        // No image is longer than the module area holds; a footprint counts every page.
        let image = |(addr, len): (u64, u32)| Image { addr: Addr(addr >> 1), len: len >> 13 };
        let images: Vec<Image> = images.into_iter().map(image).collect();
        let (programs, fillers, plugs, settle_ns, load_ns) = load;
        let (executed, fewest, most, executions_per_run) = check;
        Trial {
            case: case.clone(), trial: number, sequence, seed, started_ms, placed, unload_ns, baseline, samples, misses: None, tandem: Vec::new(), parallel: None, churn: None, caveats,
            fetched: vec![Window { tag: seed, ..Window::default() }; samples_fetched],
            freed: freed.map(|(images, poisoned, unmapped, other)| Freed { images, poisoned, unmapped, other }),
            footprint: Footprint::of(&images),
            mapping,
            beside,
            images,
            load: LoadCost { programs, fillers, plugs, settle_ns, load_ns },
            check: Check { executed, fewest, most, executions_per_run },
        }
    }
}

fn histograms() -> impl Strategy<Value = Histograms> {
    prop::collection::btree_map(prop::sample::select(Metric::ALL.to_vec()), any::<String>(), 0..3)
}

/// A run as it would be read back: every case of the manifest with `n` trials, and one more planned if interrupted.
pub fn run() -> impl Strategy<Value = (Run, bool)> {
    (manifest(), 0u32..3, any::<bool>()).prop_flat_map(|(manifest, n, interrupted)| {
        let shape: Vec<usize> = manifest.groups.iter().map(|group| group.events.len()).collect();
        let arms = |spec: &Spec| [spec.case(spec.programs[0], spec.pack[0])];
        let cases: Vec<_> = manifest.workloads.iter().flat_map(arms).collect();
        let one = |case: &crate::workload::Case, number| (trial(case.clone(), shape.clone(), number), histograms());
        let trials: Vec<_> = (0..n).flat_map(|number| cases.iter().map(move |case| one(case, number))).collect();
        trials.prop_map(move |trials| {
            let mut manifest = manifest.clone();
            manifest.planned_trials = trials.len() as u32 + u32::from(interrupted);
            let (trials, histograms): (Vec<Trial>, Vec<Histograms>) = trials.into_iter().unzip();
            let (done, planned) = (trials.len() as u32, manifest.planned_trials);
            let caveats = if interrupted { vec![Caveat::Interrupted { trials: done, planned }] } else { Vec::new() };
            (Run { manifest, trials, complete: !interrupted, caveats, histograms }, interrupted)
        })
    })
}
