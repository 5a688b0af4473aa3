use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::caveat::Caveat;
use crate::counters::{Event, EventCode, Group, Meter, MeterAbsence, Reading, Refusal, Role, Unusable};
use crate::host::Facts;
use crate::model::fetched::Window;
use crate::placement::mapping::{Leaf, Mapping, PageSize, Source};
use crate::placement::{Addr, Footprint, Image, Observed};
use crate::samples::Metric;
use crate::survey::vmalloc::{Packs, ToldBy};
use crate::trial::beside::{Beside, DirectMap};
use crate::trial::{Check, Freed, LoadCost, Sample, Trial};
use crate::workload::{Body, FillerRule, OffsetRule, Order, PackMode, Spec, Stride, TriggerKind};

use super::manifest::{Accelerator, Design, Fetches, Guest, MachineKind, Manifest};
use super::{ReadError, Run, WriteError, Writer};

type Histograms = BTreeMap<Metric, String>;

prop_compose! {
    fn spec(name: String)(
        (question, expectation) in any::<(String, String)>(),
        trigger in prop::sample::select(vec![TriggerKind::Chain, TriggerKind::Walk]),
        programs in prop::collection::btree_set(1u32..5000, 1..4),
        body in prop::sample::select(Body::ALL.to_vec()),
        pack in prop::sample::subsequence(vec![PackMode::On, PackMode::Off, PackMode::OffTwoMeg, PackMode::Placebo], 1..=4),
        stride in prop::sample::select(vec![Stride::Page, Stride::PageAndGuard]),
        offset in prop::sample::select(vec![OffsetRule::Walk, OffsetRule::Random, OffsetRule::Fixed]),
        fillers in prop::sample::select(vec![FillerRule::Keep, FillerRule::Release]),
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
fn run() -> impl Strategy<Value = (Run, bool)> {
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

fn write(path: &Path, run: &Run, interrupted: bool) {
    let mut writer = Writer::create(path, &run.manifest).expect("creates");
    for (trial, histograms) in run.trials.iter().zip(&run.histograms) {
        writer.append(trial, histograms).expect("appends");
    }
    writer.finish(interrupted).expect("finishes");
}

/// A small run with fixed values.
fn small() -> Run {
    let spec = Spec { programs: vec![8], ..Spec::builtin("chain").expect("built in") };
    let event = Event { role: Role::Cycles, name: "cycles".to_owned(), code: EventCode::new(0, 0) };
    let manifest = Manifest {
        tool_version: "0.1.0".to_owned(),
        machine: MachineKind::Sim,
        started: "2025-01-01T00:00:00Z".to_owned(),
        argv: vec!["itlbench".to_owned()],
        seed: u64::MAX,
        design: Design::Arms,
        cpu: 1,
        workloads: vec![spec.clone()],
        planned_trials: 3,
        groups: vec![Group { name: "hardware".to_owned(), events: vec![event], pinned: true, ..Group::default() }],
        refused: Vec::new(),
        meters: Vec::new(),
        meters_absent: Vec::new(),
        sampling: None,
        victim: None,
        guest: None,
        host: Facts::default(),
        caveats: vec![Caveat::Simulated],
    };
    let images = vec![Image { addr: Addr(u64::MAX - 4096), len: 64 }];
    let reading = Reading { counts: vec![u64::MAX], enabled_ns: 5, running_ns: 5 };
    let sample =
        Sample { runs: 1, executions: 33, wall_ns: 9, readings: vec![reading], meters: Vec::new(), discarded: None };
    let trials = (0..3).map(|trial| Trial {
        case: spec.case(8, PackMode::On),
        trial,
        sequence: trial,
        seed: 4,
        started_ms: 10,
        footprint: Footprint::of(&images),
        mapping: None,
        beside: None,
        images: images.clone(),
        placed: true,
        load: LoadCost::default(),
        check: Check::default(),
        baseline: vec![sample.clone()],
        samples: vec![sample.clone()],
        misses: None,
        tandem: Vec::new(),
        parallel: None,
        churn: None,
        fetched: Vec::new(),
        freed: None,
        unload_ns: 1,
        caveats: Vec::new(),
    });
    let trials: Vec<Trial> = trials.collect();
    let histograms = vec![BTreeMap::from([(Metric::WallNs, "HISTFAAA".to_owned())]); trials.len()];
    Run { manifest, trials, complete: true, caveats: Vec::new(), histograms }
}

fn small_text() -> String {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    write(&path, &small(), false);
    std::fs::read_to_string(path).expect("reads")
}

fn read(text: &str) -> Result<Run, ReadError> {
    Run::from_reader("run.jsonl", text.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read_back((run, interrupted) in run()) {
        let directory = tempfile::tempdir().expect("temporary directory");
        write(&directory.path().join("run.jsonl"), &run, interrupted);
        prop_assert_eq!(Run::read(directory.path()).expect("reads"), run);
    }
}

#[test]
fn the_small_run_reads_back_whole() {
    assert_eq!(read(&small_text()).expect("reads"), small());
}

#[test]
fn the_head_says_what_the_columns_are_and_addresses_are_hexadecimal() {
    let text = small_text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(r#"{"record":"run","schema":1,"tool_version":"0.1.0","#), "{}", lines[0]);
    assert!(lines[0].contains(r#""sample":["runs","executions","wall_ns","discarded","readings"]"#), "{}", lines[0]);
    assert!(lines[1].starts_with(r#"{"record":"placement","case":0,"trial":0,"sequence":0,"placed":true,"#));
    assert!(lines[1].ends_with(r#""images":[["0xffffffffffffefff",64]]}"#), "{}", lines[1]);
    assert!(lines[2].contains(r#""samples":[[1,33,9,null,[[5,5,18446744073709551615]]]],"#), "{}", lines[2]);
    assert_eq!(lines.len(), 8);
}

#[test]
fn the_checksum_is_the_crc_32_of_all_bytes_before_it() {
    let text = small_text();
    let (before, tail) = text.split_at(text.len() - "01234567\"}\n".len());
    assert_eq!(tail, format!("{:08x}\"}}\n", crc32fast::hash(before.as_bytes())));
}

#[test]
fn a_run_without_end_is_interrupted_and_a_torn_line_is_left_out() {
    let text = small_text();
    let lines: Vec<&str> = text.lines().collect();
    let interrupted = |trials| Caveat::Interrupted { trials, planned: 3 };
    for (kept, torn, expected) in [
        (7, "", vec![interrupted(3)]),
        (6, "", vec![interrupted(2)]),
        (5, "", vec![interrupted(2)]),
        (5, "{\"record\":\"pl", vec![Caveat::TornTail, interrupted(2)]),
        (6, &lines[6][..99], vec![Caveat::TornTail, interrupted(2)]),
        (1, "\0\0\0\0", vec![Caveat::TornTail, interrupted(0)]),
        (1, "\u{fffd}", vec![Caveat::TornTail, interrupted(0)]),
    ] {
        let run = read(&format!("{}\n{torn}", lines[..kept].join("\n"))).expect("reads");
        assert_eq!((run.complete, run.caveats), (false, expected), "{kept} lines and {torn:?}");
    }
}

#[test]
fn an_end_that_admits_an_interruption_is_believed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    let mut run = small();
    run.trials.pop();
    write(&path, &run, true);
    let run = Run::read(&path).expect("reads");
    assert_eq!((run.complete, run.caveats), (false, vec![Caveat::Interrupted { trials: 2, planned: 3 }]));
}

#[test]
fn an_end_with_trials_missing_is_no_complete_run_whatever_it_says() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    let mut run = small();
    run.trials.pop();
    write(&path, &run, false);
    assert!(!Run::read(&path).expect("reads").complete);
}

#[test]
fn lies_are_refused_with_the_line_and_the_reason() {
    let text = small_text();
    let lines: Vec<&str> = text.lines().collect();
    let with = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        edit(&mut lines);
        let text = lines.iter().flat_map(|line| [line, "\n"]).collect::<String>();
        read(&text).expect_err("refused").to_string()
    };
    let swap = |line: usize, from: &'static str, to: &'static str| {
        with(&move |lines| {
            assert!(lines[line].contains(from), "{}", lines[line]);
            lines[line] = lines[line].replacen(from, to, 1);
        })
    };
    for (error, expected) in [
        (swap(2, "[1,33,9", "[1,33,8"), "line 8: the checksum does not match"),
        (swap(7, "\"trials\":3", "\"trials\":4"), "line 8: the end record counts 3 placements, 4 trials and 3 planned"),
        (swap(7, "false", "true"), "line 8: the checksum does not match"),
        (swap(2, "[5,5,18446744073709551615]", "[5,5,1,2]"), "line 3: a reading has 2 counts for 1 events"),
        (
            swap(2, r#""histograms"#, r#""meters":{"baseline":[],"samples":[[7]]},"histograms"#),
            "line 3: a window has 1 values for 0 meters",
        ),
        (swap(2, "[[5,5,18446744073709551615]]", "[]"), "line 3: a window has 0 readings for 1 groups"),
        (swap(2, "[[5,5,18446744073709551615]]", "[[5]]"), "line 3: a reading lacks its two times"),
        (swap(2, "[[5,5,18446744073709551615]]", "[[5,5,-1]]"), "line 3: invalid value: integer `-1`"),
        (swap(2, "[[5,5,18446744073709551615]]", "[[5,5,NaN]]"), "line 3: the line is broken"),
        (swap(1, "0xffff", "ffff"), "line 2: `ffffffffffffefff` is not a hexadecimal address"),
        (swap(1, "\"case\":0", "\"case\":1"), "line 3: the trial does not follow its own placement"),
        (swap(4, "\"record\":\"trial\"", "\"record\":\"trail\""), "line 5: unknown record `trail`"),
        (swap(4, "{", ""), "line 5: invalid type: string \"record\""),
        (swap(4, ",", ",,"), "line 5: the line is broken"),
        (swap(0, "[\"addr\",\"len\"]", "[\"len\",\"addr\"]"), "line 1: the columns are not those of schema 1"),
        (with(&|lines| lines.insert(3, String::new())), "line 4: the line is broken"),
        (with(&|lines| lines.insert(3, lines[0].clone())), "line 4: a second `run` record"),
        (with(&|lines| lines.push(lines[1].clone())), "line 9: the file goes on behind its end record"),
        (with(&|lines| drop(lines.remove(2))), "line 3: a placement follows a placement"),
        (with(&|lines| drop(lines.remove(6))), "line 7: the last placement has no trial"),
        (with(&|lines| lines.insert(3, lines[2].clone())), "line 4: the trial does not follow its own placement"),
        (
            with(&|lines| {
                lines.insert(3, lines[1].clone());
                lines.insert(4, lines[2].clone());
            }),
            "line 5: trial 0 of case `chain n=8 pack=on` is there twice",
        ),
        (
            with(&|lines| {
                lines[1] = lines[1].replace("\"case\":0", "\"case\":2");
                lines[2] = lines[2].replace("\"case\":0", "\"case\":2");
            }),
            "line 3: case number 2 of 2 is unknown",
        ),
        (swap(0, "\"planned_trials\":3", "\"planned_trials\":2"), "line 7: there are more trials than the 2 planned"),
    ] {
        assert!(error.contains(expected), "{error}\n  does not say\n{expected}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn fields_of_a_later_version_are_ignored_within_a_schema() {
    let text = small_text();
    let mut text = text[..text.rfind("{\"record\":\"end\"").expect("end")].to_owned();
    text = text.replace("{\"record\":", "{\"later\":[1,{\"x\":null}],\"record\":");
    text = text.replace("\"question\":", "\"colour\":\"blue\",\"question\":");
    text = text.replace("\"histograms\":{", "\"histograms\":{\"page-faults\":\"AAAA\",");
    let run = read(&text).expect("reads");
    assert_eq!((run.trials, run.histograms), (small().trials, small().histograms));
}

#[test]
fn a_later_schema_is_refused_before_anything_else_is_looked_at() {
    for (schema, found) in [("2", 2), ("99999999999", u32::MAX)] {
        let text = format!("{{\"record\":\"run\",\"schema\":{schema},\"planned_trials\":\"many\"}}\n");
        match read(&text) {
            Err(ReadError::Newer { found: said, known: 1, .. }) => assert_eq!(said, found),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn other_files_are_not_run_files() {
    for (text, expected) in [
        ("", "it is empty"),
        ("\n", "its first line is torn, or no JSON"),
        ("hello\n", "its first line is torn, or no JSON"),
        ("hello\nworld\n", "first line: the line is broken"),
        ("[1]\n", "first line: "),
        ("{\"record\":\"trial\"}\n", "its first record is no `run`"),
        ("{\"record\":\"run\"}\n", "its `run` record has no schema number"),
        ("{\"record\":\"run\",\"schema\":0}\n", "its `run` record has no schema number"),
    ] {
        let error = read(text).expect_err(text).to_string();
        assert!(error.starts_with("`run.jsonl` is not an itlbench run file: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_line() {
    let mut bytes = small_text().into_bytes();
    let at = bytes.iter().position(|&byte| byte == b'\n').expect("line feed") + 20;
    bytes[at] = 0xff;
    let error = Run::from_reader("run.jsonl", &bytes[..]).expect_err("refused").to_string();
    assert_eq!(error, "run file `run.jsonl`, line 2: the line is not UTF-8");
}

#[test]
fn a_line_without_end_is_refused_and_not_kept_in_memory() {
    let endless = io::BufReader::new(io::repeat(b'x'));
    let error = Run::from_reader("zero", endless).expect_err("refused").to_string();
    assert_eq!(error, "run file `zero`, line 1: the line is longer than 64 MiB");
}

#[test]
fn a_missing_file_is_named() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let error = Run::read(directory.path()).expect_err("no file").to_string();
    assert!(error.contains("run.jsonl`: No such file"), "{error}");
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    std::fs::write(&path, "mine").expect("writes");
    let error = Writer::create(&path, &small().manifest).expect_err("exists");
    assert!(matches!(error, WriteError::Exists { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "mine");
    let error = Writer::create(&directory.path().join("no/run.jsonl"), &small().manifest).expect_err("no directory");
    assert!(error.to_string().ends_with("create the directory, or choose another with `--out`"), "{error}");
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let run = small();
    let mut writer = Writer::create(&directory.path().join("run.jsonl"), &run.manifest).expect("creates");
    let mut refuse = |trial: &Trial| writer.append(trial, &BTreeMap::new()).expect_err("refused").to_string();
    let mut strange = run.trials[0].clone();
    strange.case.programs = 9;
    assert!(refuse(&strange).ends_with("case `chain n=9 pack=on` is not one of the run's workloads"));
    let mut short = run.trials[0].clone();
    short.samples[0].readings.clear();
    assert!(refuse(&short).ends_with("a window has 0 readings for 1 groups"));
    writer.append(&run.trials[0], &BTreeMap::new()).expect("appends");
    let twice = writer.append(&run.trials[0], &BTreeMap::new()).expect_err("refused").to_string();
    assert!(twice.ends_with("trial 0 of case `chain n=8 pack=on` is there twice"), "{twice}");
}

#[test]
fn a_new_run_can_be_read_before_it_ends() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    let run = small();
    let mut writer = Writer::create(&path, &run.manifest).expect("creates");
    for done in 0..3 {
        assert_eq!(Run::read(&path).expect("reads").trials, run.trials[..done]);
        let spent = writer.spent();
        writer.append(&run.trials[done], &run.histograms[done]).expect("appends");
        assert!(writer.spent() > spent, "time spent on recording adds up");
    }
}

/// A file on a disk with room for a few bytes.
#[derive(Debug)]
struct SmallDisk {
    file: std::fs::File,
    room: usize,
    cuts: bool,
}

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = self.file.write(&bytes[..bytes.len().min(self.room)])?;
        self.room -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl super::writer::Sink for SmallDisk {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        if self.cuts { self.file.set_len(bytes) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

/// What is readable after the disk filled up `room` bytes into a run, and what the writer said to the two trials behind.
fn on_a_small_disk(room: usize, cuts: bool) -> (Run, [String; 2]) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    let file = std::fs::OpenOptions::new().append(true).create_new(true).open(&path).expect("creates");
    let run = small();
    let disk = Box::new(SmallDisk { file, room, cuts });
    let mut writer = Writer::start("run.jsonl".to_owned(), disk, &run.manifest).expect("the head fits");
    writer.append(&run.trials[0], &run.histograms[0]).expect("the first trial fits");
    let errors = [1, 2].map(|i| writer.append(&run.trials[i], &run.histograms[i]).expect_err("full").to_string());
    (Run::read(&path).expect("still readable"), errors)
}

#[test]
fn a_full_disk_keeps_what_was_written_before() {
    let text = small_text();
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    for room in [ends[2], ends[2] + 1, ends[3], ends[4] - 1] {
        let (run, [first, second]) = on_a_small_disk(room, true);
        assert_eq!(run.trials, small().trials[..1]);
        assert_eq!(run.caveats, [Caveat::Interrupted { trials: 1, planned: 3 }]);
        assert!(
            first.starts_with("failed to write run file `run.jsonl`: no storage space; free some space"),
            "{first}"
        );
        assert!(first.ends_with("the trial written before it stays readable"), "{first}");
        assert_eq!(first.lines().count(), 1);
        assert!(second.starts_with("failed to write run file"), "{second}");
    }
}

#[test]
fn nothing_is_written_behind_a_torn_line_that_cannot_be_cut_off() {
    let text = small_text();
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let (run, [_, second]) = on_a_small_disk(ends[2] + 7, false);
    assert_eq!(run.caveats, [Caveat::TornTail, Caveat::Interrupted { trials: 1, planned: 3 }]);
    assert!(second.contains("an earlier write left a torn line"), "{second}");
}

#[test]
fn a_device_that_is_always_full_is_told_in_one_line() {
    let Ok(file) = std::fs::OpenOptions::new().append(true).open("/dev/full") else { return };
    let error = Writer::start("/dev/full".to_owned(), Box::new(file), &small().manifest).expect_err("full").to_string();
    let expected = "failed to write run file `/dev/full`: No space left on device (os error 28); free some space, \
                    or choose a directory on another disk with `--out`";
    assert_eq!(error, expected);
}
