//! `itlbench layout` on the running kernel, against kallsyms and, where it is installed, bpftool. Needs root; elsewhere it prints
//! SKIP and why, unless REQUIRE_TIER=bpf.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use itlbench::machine::Machine;
use itlbench::machine::kernel::KernelMachine;
use itlbench::runfile::Run;
use itlbench::samples::histogram;
use itlbench::workload::{PackMode, Spec};
use serde_json::Value;

fn layout(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_itlbench")).arg("layout").args(args).output().unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = layout(&[&["--format", "json"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn address(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

/// `bpftool prog show` as JSON, where there is one that works.
fn bpftool() -> Option<Value> {
    let output = Command::new("bpftool").args(["prog", "show", "--json"]).output().ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

#[test]
fn every_loaded_program_is_where_the_kernel_says() {
    let Some(_turn) = tier::bpf() else { return };
    let mut machine = KernelMachine::new(Some(tier::cpu()), false, Arc::new(AtomicBool::new(false))).unwrap();
    let case = Spec::builtin("chain").unwrap().case(300, PackMode::Off);
    let loaded = machine.load(&case, 1).unwrap();
    let sheet = json(&[]);
    let code = sheet["code"].as_array().unwrap();
    let by_address: HashMap<u64, &Value> = code.iter().map(|piece| (address(&piece["addr"]), piece)).collect();
    for image in loaded.images() {
        let piece = by_address.get(&image.addr.0).unwrap_or_else(|| panic!("{} is missing", image.addr));
        assert_eq!((piece["len"].as_u64(), piece["own"].as_bool()), (Some(image.len.into()), Some(true)));
        assert_eq!(address(&piece["pages"][0]), image.addr.0 & !0xfff);
        // Plugs and fillers are own too, but no measured program shares the page with another.
        assert!(piece["kind"] == "sched_cls" && piece["what"] == "program", "{piece}");
    }
    assert_eq!(sheet["mapping"], Value::Null);
    let observed = json(&["--observe-mapping"]);
    assert_eq!(observed["mapping"]["seen"]["unmapped"], 0, "{}", observed["mapping"]);
    assert_eq!(observed["mapping"]["seen"]["pages"], observed["totals"]["pages_4k"]);
    drop(loaded);
}

#[test]
fn ids_and_lengths_are_those_of_bpftool() {
    let Some(_turn) = tier::bpf() else { return };
    let mut machine = KernelMachine::new(Some(tier::cpu()), false, Arc::new(AtomicBool::new(false))).unwrap();
    let case = Spec::builtin("chain").unwrap().case(64, PackMode::On);
    let _loaded = machine.load(&case, 1).unwrap();
    let Some(shown) = bpftool() else {
        println!("SKIP: no bpftool that works");
        return;
    };
    let sheet = json(&[]);
    let mut lengths: BTreeMap<u64, u64> = BTreeMap::new();
    for piece in sheet["code"].as_array().unwrap() {
        if let Some(id) = piece["id"].as_u64() {
            *lengths.entry(id).or_default() += piece["len"].as_u64().unwrap_or(0);
        }
    }
    let mut compared = 0;
    for program in shown.as_array().unwrap().iter().filter(|program| program["name"] == "itlbench") {
        let id = program["id"].as_u64().unwrap();
        // Others of that name come and go.
        if let Some(length) = lengths.get(&id) {
            assert_eq!(Some(*length), program["bytes_jited"].as_u64(), "program {id}");
            compared += 1;
        }
    }
    assert!(compared >= 64, "only {compared}");
}

#[test]
fn what_a_case_costs_beside_is_recorded() {
    let Some(_turn) = tier::bpf() else { return };
    let out = tempfile::tempdir().unwrap();
    let args = ["run", "--programs", "64", "--trials", "1", "--samples", "2", "--out", out.path().to_str().unwrap()];
    let output = Command::new(env!("CARGO_BIN_EXE_itlbench")).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Cost beside (median trial):"), "{text}");
    let run = Run::read(Path::new(text.lines().last().unwrap())).unwrap();
    for trial in &run.trials {
        let beside = trial.beside.as_ref().unwrap();
        let latency = histogram::decode(beside.load_latency.as_deref().unwrap()).unwrap();
        let loads = u64::from(trial.load.programs + trial.load.plugs);
        assert!(latency.len() == loads && latency.min() > 1000, "{} loads of {loads}", latency.len());
        assert!(latency.max() < trial.load.load_ns + trial.load.load_ns / 100, "no load takes longer than all");
        for map in [beside.before, beside.loaded, beside.unloaded] {
            assert!(map.kib_4k.is_some_and(|kib| kib > 0), "{map:?}");
        }
        let packs = beside.packs.as_ref().unwrap();
        assert!(packs.areas >= 1 && packs.reserved_pages >= u64::from(trial.footprint.pages_4k), "{packs:?}");
    }
}

#[test]
fn pictures_are_written_and_an_unknown_option_is_not() {
    let Some(_turn) = tier::bpf() else { return };
    let mut machine = KernelMachine::new(Some(tier::cpu()), false, Arc::new(AtomicBool::new(false))).unwrap();
    let case = Spec::builtin("chain").unwrap().case(64, PackMode::On);
    let _loaded = machine.load(&case, 1).unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().to_str().unwrap();
    let output = layout(&["--out", path, "--own", "nobody_is_called_so"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("(0 own)") && text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(std::fs::read_dir(out.path()).unwrap().count() >= 2);
    assert_eq!(layout(&["--picture"]).status.code(), Some(2));
}

#[test]
fn without_rights_the_reason_is_one_line_or_a_note() {
    let Some(_turn) = tier::bpf() else { return };
    let mut machine = KernelMachine::new(Some(tier::cpu()), false, Arc::new(AtomicBool::new(false))).unwrap();
    let case = Spec::builtin("chain").unwrap().case(64, PackMode::On);
    let _loaded = machine.load(&case, 1).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .arg(env!("CARGO_BIN_EXE_itlbench"))
        .arg("layout")
        .output()
        .unwrap();
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(126 | 127) => println!("SKIP: nobody may not execute the binary where it is built"),
        // perf_event_paranoid above 1 hides addresses from processes without CAP_SYSLOG.
        Some(3) => assert!(error.lines().count() == 1 && error.contains("CAP_SYSLOG"), "{error}"),
        Some(0) => assert!(text.contains("CAP_SYS_ADMIN"), "{text}"),
        code => panic!("{code:?}: {error}"),
    }
}
