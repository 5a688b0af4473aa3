//! The bpf tier of bodies: each loads, does what it says, has the size it claims, and goes where its arm wants it.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use itlbench::machine::Machine;
use itlbench::machine::kernel::programs::Programs;
use itlbench::machine::kernel::trigger::offer;
use itlbench::machine::kernel::{KernelMachine, sys};
use itlbench::placement::{Footprint, Image, pack};
use itlbench::workload::{Body, Case, PackMode, Spec, TriggerKind};
use libbpf_rs::{MapCore, MapFlags};

const RUNS: u64 = 5;

/// Runs the hooked form of `body` a few times by itself.
fn run(body: Body) -> Programs {
    let objects = Programs::open(TriggerKind::Syscall, body).unwrap();
    let maps = objects.maps(1).unwrap();
    let program = objects.load_body(&maps, 0, 1).unwrap();
    (0..RUNS).for_each(|_| sys::test_run_raw(program.as_fd()).unwrap());
    objects
}

fn value(objects: &Programs, map: &str, key: &[u8]) -> Vec<u8> {
    objects.map_named(map).unwrap().lookup(key, MapFlags::ANY).unwrap().unwrap()
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[8 * at..8 * at + 8].try_into().unwrap())
}

/// What the body found last.
fn found(objects: &Programs) -> u64 {
    word(&value(objects, ".found", &[0; 4]), 0)
}

/// `struct tuple` of the packet in bpf/models.bpf.c: 10.0.0.1:49152 to 10.0.0.2:53, UDP.
fn flow() -> Vec<u8> {
    let addresses = [0x0a00_0001u32.to_ne_bytes(), 0x0a00_0002u32.to_ne_bytes()].concat();
    let ports = [0xc000u16.to_ne_bytes(), 53u16.to_ne_bytes()].concat();
    [addresses, ports, 17u32.to_ne_bytes().to_vec()].concat()
}

#[test]
fn what_models_find_is_what_their_packet_holds() {
    let Some(_turn) = tier::bpf() else { return };
    let hash = b"wwwexamplecom".iter().fold(5381u32, |hash, &byte| hash.wrapping_mul(33).wrapping_add(byte.into()));
    for (body, expected) in [
        (Body::Classifier, 2),
        (Body::Lpm, 1),
        // Half word 38 of the packet is its UDP length, 41: allowed by the ladder's last rung.
        (Body::Seccomp, 0x7fff_0000),
        // The last of its rules is for device 53 of its kind.
        (Body::Device, 1),
        (Body::Dns, u64::from(hash)),
    ] {
        assert_eq!(found(&run(body)), expected, "{body}");
    }
    // The bucket is full at once, and each packet of 61 bytes takes its worth; it fills again meanwhile.
    let most = (1 << 20) - 61;
    assert!((most - 4 * 61..=most).contains(&found(&run(Body::TokenBucket))));
    assert_ne!(found(&run(Body::Branchy)), 0, "its state moves on");
    assert_eq!(found(&run(Body::Subprograms)), u64::from(mixed()), "what its two functions return");
}

/// The ones' complement sum of the packet's IPv4 header, mixed with its destination.
fn mixed() -> u32 {
    let header = [0x4500u32, 61, 0, 0x4000, 0x4011, 0, 0x0a00, 1, 0x0a00, 2];
    let sum: u32 = header.iter().sum();
    let (mut a, mut b) = ((sum & 0xffff) + (sum >> 16), 0x0a00_0002u32);
    for bits in [14, 25] {
        a = (a ^ b).wrapping_sub(b.rotate_left(bits));
        b = (b ^ a).wrapping_sub(a.rotate_left(if bits == 14 { 11 } else { 16 }));
    }
    a ^ b
}

#[test]
fn what_models_count_is_how_often_they_ran() {
    let Some(_turn) = tier::bpf() else { return };
    let counter = run(Body::Counter).map_named("counts").unwrap();
    let cpus = counter.lookup_percpu(&[0; 4], MapFlags::ANY).unwrap().unwrap();
    assert_eq!(cpus.iter().map(|bytes| word(bytes, 0)).sum::<u64>(), RUNS, "counter");
    let latency = run(Body::Latency);
    let slots = (0u32..64).map(|slot| word(&value(&latency, "slots", &slot.to_ne_bytes()), 0));
    assert_eq!(slots.sum::<u64>(), RUNS, "latency");
    let flow = value(&run(Body::Conntrack), "flows", &flow());
    assert_eq!((word(&flow, 0), word(&flow, 1)), (RUNS, 61 * RUNS), "conntrack: packets and bytes");
    let event = run(Body::Opensnoop).map_named("events").unwrap();
    let records = event.lookup_percpu(&[0; 4], MapFlags::ANY).unwrap().unwrap();
    let name = |record: &&Vec<u8>| record[16..20] == [2, 0, 0, 0] && record[28..30] == [8, 0];
    assert!(records.iter().any(|record| name(&record)), "opensnoop: {records:?}");
}

/// JITed bytes of `functions`, headers between them included as if they lay one behind the other: in small holes they do not.
fn length(functions: &[Image]) -> u32 {
    match functions {
        [one] => one.len,
        several => pack::jited_bytes_for(several.iter().map(|function| pack::chunks(function.len)).sum()),
    }
}

/// JITed bytes of the hooked form of each part, by position.
fn lengths(body: Body) -> Vec<u32> {
    let objects = Programs::open(TriggerKind::Syscall, body).unwrap();
    let parts = body.parts().len() as u32;
    let maps = objects.maps(parts).unwrap();
    let load = |position| objects.load_body(&maps, position, parts).unwrap();
    (0..parts).map(|position| length(&sys::images(load(position).as_fd()).unwrap())).collect()
}

#[test]
fn bodies_are_as_long_as_they_say_and_the_fleet_as_published() {
    let Some(_turn) = tier::bpf() else { return };
    let singles = Body::all().into_iter().filter(|body| body.parts().len() == 1);
    let measured: Vec<(Body, u32)> = singles.map(|body| (body, lengths(body)[0])).collect();
    println!("{measured:?}");
    for (body, length) in measured {
        let nominal = f64::from(body.nominal_bytes());
        assert!((f64::from(length) / nominal - 1.0).abs() < 0.15, "{body}: {length} bytes, aims at {nominal}");
    }
    let fleet = lengths(Body::Fleet);
    let under = |bytes| fleet.iter().filter(|&&length| length < bytes).count() * 100 / fleet.len();
    assert_eq!((under(500), under(2000)), (50, 75), "{fleet:?}");
    let tools: BTreeSet<u32> = lengths(Body::Tools).into_iter().collect();
    assert!(tools.len() >= 10, "ten models at least: {tools:?}");
}

/// Rows of a table in Markdown that begin with a body: its name, then what it does, then lengths.
fn rows(text: &str) -> Vec<(String, String, Vec<f64>)> {
    let lines = text.lines().filter(|line| line.starts_with("| `"));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect());
    let rows =
        cells.filter(|cells: &Vec<String>| cells.len() == 5 && cells[4].starts_with(|c: char| c.is_ascii_digit()));
    // A body of several functions has `LENGTH in FUNCTIONS`.
    let number = |cell: &String| cell.split(' ').next().unwrap().parse::<f64>().unwrap();
    rows.map(|cells| (cells[0].clone(), cells[1].clone(), cells[2..].iter().map(number).collect())).collect()
}

#[test]
fn the_table_of_the_reference_is_what_the_tool_lists() {
    let Some(_turn) = tier::bpf() else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_itlbench")).args(["list", "bodies"]).output().unwrap();
    let listed = rows(&String::from_utf8(output.stdout).unwrap());
    let reference = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/README.md")).unwrap();
    let (reference, singles) =
        (rows(&reference), Body::all().into_iter().filter(|body| body.parts().len() == 1).count());
    assert_eq!((listed.len(), reference.len()), (singles, singles));
    for ((name, does, lengths), (written, also, expected)) in listed.iter().zip(&reference) {
        assert_eq!((name, does), (written, also));
        // Another kernel, or other mitigations, make other code of it.
        let close = lengths.iter().zip(expected).all(|(length, expected)| (length / expected - 1.0).abs() < 0.2);
        assert!(close, "{name}: {lengths:?} listed, {expected:?} in bpf/README.md");
    }
}

const FAMILIES: [TriggerKind; 3] = [TriggerKind::Chain, TriggerKind::Walk, TriggerKind::Syscall];

#[test]
fn every_body_and_mix_runs_in_chains_in_walks_and_on_hooks() {
    let Some(_turn) = tier::bpf() else { return };
    for body in Body::all() {
        for trigger in FAMILIES {
            let check =
                offer::run(trigger, body, PROGRAMS).unwrap_or_else(|error| panic!("{trigger}, {body}: {error}"));
            assert_eq!(check.executed, PROGRAMS, "{trigger}, {body}");
        }
    }
}

/// What a length does to placement has nothing to do with how a program is reached: one family each, in turn.
#[test]
fn every_body_and_mix_lies_densely_in_pack_on_and_on_its_own_page_in_pack_off() {
    let Some(_turn) = tier::bpf() else { return };
    let mut machine = KernelMachine::new(Some(tier::cpu()), false, Arc::new(AtomicBool::new(false))).unwrap();
    for (body, trigger) in Body::all().into_iter().zip(FAMILIES.into_iter().cycle()) {
        for pack in [PackMode::On, PackMode::Off] {
            let case = Spec::builtin(&trigger.to_string()).unwrap().case(PROGRAMS, pack);
            assert_placed(&mut machine, &Case { body, ..case });
        }
    }
}

/// More than the parts of any mix.
const PROGRAMS: u32 = 12;

fn assert_placed(machine: &mut KernelMachine, case: &Case) {
    let body = case.body;
    let mut loaded = machine.load(case, 5).unwrap_or_else(|error| panic!("{case}, {body}: {error}"));
    let print = Footprint::of(loaded.images());
    assert_eq!(loaded.check().unwrap().executed, PROGRAMS, "{case}, {body}");
    assert_eq!(print.missed(case.pack), None, "{case}, {body}: {print:?}");
    let lengths: BTreeSet<u32> = loaded.images().iter().map(|image| image.len).collect();
    let parts: BTreeSet<Body> = body.parts().into_iter().collect();
    assert!(parts.len() as u32 <= PROGRAMS && lengths.len() >= parts.len().min(4), "{case}, {body}: {lengths:?}");
    loaded.unload().unwrap();
}

#[test]
fn models_load_as_every_type_of_program_that_triggers_take() {
    let Some(_turn) = tier::bpf() else { return };
    for trigger in TriggerKind::ALL.into_iter().filter(|trigger| !matches!(trigger, TriggerKind::Fentry)) {
        for body in [Body::Tools, Body::Fleet] {
            let objects = Programs::open(trigger, body).unwrap();
            let parts = body.parts().len() as u32;
            let maps = objects.maps(parts).unwrap();
            for position in 0..parts {
                let loaded = objects.load_body(&maps, position, parts);
                // Kernels without multi-kprobes refuse the type itself, of all bodies alike.
                let refused = trigger == TriggerKind::Kprobe && loaded.is_err();
                assert!(refused || loaded.is_ok(), "{trigger} {}: {loaded:?}", body.at(position));
            }
        }
    }
}
