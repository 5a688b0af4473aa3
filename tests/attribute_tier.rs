//! The bpf tier of `--attribute`: the ring buffer, its decoding and the owners of addresses, driven by cpu-clock where no PMU is.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use itlbench::caveat::Caveat;
use itlbench::counters::{Event, EventCode, Role};
use itlbench::machine::kernel::KernelMachine;
use itlbench::machine::kernel::sampler::{Candidate, KernelSampler};
use itlbench::machine::{Machine, MissSampler, Target};
use itlbench::runfile::Run;
use itlbench::sampling::{Body, Misses, Precision, Record, Sampling};
use itlbench::workload::{PackMode, Spec};

/// Runs `attempt` until the CPU is not claimed by another run; a minute at most.
fn unclaimed<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    for _ in 0..600 {
        match attempt() {
            Ok(done) => return done,
            Err(line) if line.contains("in use by another itlbench run") => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(line) => panic!("{line}"),
        }
    }
    panic!("another run holds the CPU");
}

/// One sample each 50 us of kernel time of the calling thread.
fn clock() -> Candidate {
    let event = Event { role: Role::Other, name: "cpu-clock".to_owned(), code: EventCode::new(EventCode::SOFTWARE, 0) };
    let sampling = Sampling { event, period: 50_000, precision: Precision::Skid };
    Candidate { sampling, body: Body::Address, kernel_only: true, cpu: None }
}

#[test]
fn samples_of_a_clock_land_in_the_measured_programs() {
    let Some(_turn) = tier::bpf() else { return };
    let mut machine = unclaimed(|| {
        KernelMachine::new(None, false, Arc::new(AtomicBool::new(false))).map_err(|error| error.to_string())
    });
    let case = Spec::builtin("chain").unwrap().case(2048, PackMode::Off);
    let mut loaded = machine.load(&case, 1).unwrap();
    loaded.check().unwrap();
    let mut sampler = KernelSampler::open(vec![clock()]).unwrap();
    let mut records = Vec::new();
    for _ in 0..8 {
        sampler.start().unwrap();
        loaded.fire(Target::Programs, 8000).unwrap();
        sampler.stop().unwrap();
        sampler.drain(&mut records).unwrap();
    }
    assert!(records.iter().any(|record| matches!(record, Record::Sample(sampled) if !sampled.exact)));
    let misses = Misses::of(&records, loaded.images(), &sampler.symbols());
    loaded.unload().unwrap();
    let of = |kind: &str| misses.by_kind.get(kind).copied().unwrap_or(0);
    assert!(misses.samples >= 50, "{misses:?}");
    assert_eq!((of("user space"), of("unknown")), (0, 0), "{misses:?}");
    // More than nine tenths of such a window are spent in the programs; an interrupt may delay the sample's.
    assert!(of("measured programs") * 2 > misses.samples, "{misses:?}");
    assert!(misses.top[0].page.starts_with("0xffffffff"), "{misses:?}");
}

#[test]
fn an_event_that_does_not_open_is_named_with_its_answer_and_the_next_is_tried() {
    let Some(_turn) = tier::bpf() else { return };
    let mut nothing = clock();
    nothing.sampling.event.name = "nothing".to_owned();
    nothing.sampling.event.code = EventCode::new(0xfff, 0);
    let reason = KernelSampler::open(vec![nothing.clone()]).unwrap_err();
    assert!(reason.starts_with("nothing (type 4095 config 0x0): "), "{reason}");
    assert!(KernelSampler::open(vec![nothing, clock()]).is_ok());
}

#[test]
fn without_a_pmu_the_run_goes_on_and_says_why_nothing_was_sampled() {
    let Some(_turn) = tier::bpf() else { return };
    let out = tempfile::tempdir().unwrap();
    let output = unclaimed(|| {
        let output = Command::new(env!("CARGO_BIN_EXE_itlbench"))
            .args(["run", "--attribute", "--programs", "8", "--trials", "1", "--samples", "2", "--out"])
            .arg(out.path())
            .output()
            .unwrap();
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(output) } else { Err(line) }
    });
    let text = String::from_utf8(output.stdout).unwrap();
    let run = Run::read(std::path::Path::new(text.lines().last().unwrap())).unwrap();
    match &run.manifest.sampling {
        Some(_) => assert!(run.trials.iter().all(|trial| trial.misses.is_some())),
        None => {
            let said = |caveat: &Caveat| matches!(caveat, Caveat::NoMissSamples { reason } if reason.contains("iTLB-load-misses"));
            assert!(run.manifest.caveats.iter().any(said), "{:?}", run.manifest.caveats);
            assert!(text.contains("no iTLB misses were sampled"), "{text}");
        }
    }
}
