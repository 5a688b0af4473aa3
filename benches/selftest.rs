//! The selftest's rate of loads and unloads against a bare loop with the same pacing, in turns within this run.
#![allow(clippy::unwrap_used)]

mod figures;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use figures::median;
use itlbench::machine::kernel::probe;
use itlbench::machine::kernel::selftest::{KernelSubject, instructions};
use itlbench::machine::kernel::sys;
use itlbench::placement::pack;
use itlbench::selftest::operation::{Op, loads};
use itlbench::selftest::{Allowed, Subject, scripts};
use libbpf_rs::{Object, ObjectBuilder, ProgramInput};
use libbpf_sys::bpf_insn;

const PEEK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/peek.bpf.o"));
const ROUNDS: u32 = 7;
/// Frees under way at most, as in the selftest.
const MOST: usize = 160;

fn main() {
    if let Err(reason) = probe::test_run() {
        println!("SKIP selftest: {reason}");
        return;
    }
    let mut subject = KernelSubject::open(Allowed::default(), Arc::new(AtomicBool::new(false))).unwrap();
    let peek = ObjectBuilder::default().open_memory(PEEK).unwrap().load().unwrap();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let lanes = scripts::churn(subject.facts(), &mut oorandom::Rand32::new(u64::from(round)));
        let began = Instant::now();
        subject.play(&lanes).unwrap();
        ours.push(f64::from(loads(&lanes)) / began.elapsed().as_secs_f64());
        bare.push(bare_loop(&peek, &lanes[0]));
    }
    let (ours, bare) = (median(ours), median(bare));
    let verdict = if ours / bare >= 0.8 { "ok" } else { "MISSED" };
    println!(
        "{verdict:6} selftest: loads/s of a bare paced loop over the same programs: {:.3} (at least 0.8); {ours:.0} and {bare:.0} loads/s on one CPU, n {ROUNDS}",
        ours / bare
    );
}

/// Loads and closes the same programs in the same order, and knows where they are only for its pacing; loads a second.
fn bare_loop(peek: &Object, ops: &[Op]) -> f64 {
    let instructions = |op: &Op| match op {
        Op::Load { body, .. } => instructions(body),
        _ => Vec::new(),
    };
    let made: Vec<Vec<bpf_insn>> = ops.iter().map(instructions).collect();
    let (mut held, mut pending) = (BTreeMap::new(), VecDeque::new());
    let (began, mut count) = (Instant::now(), 0);
    for (op, insns) in ops.iter().zip(&made) {
        match op {
            Op::Load { slot, .. } => {
                let program = sys::load_sched_cls(insns).unwrap();
                let bases: Vec<u64> = sys::images(program.as_fd()).unwrap().iter().map(pack::base).collect();
                // Where a function lies now nothing is to be freed, whichever function of its program it is.
                pending.retain(|(other, _)| !bases.contains(other));
                held.insert(*slot, (program, bases[0]));
                count += 1;
            }
            Op::Unload { slot } => close(peek, held.remove(slot), &mut pending),
            _ => {}
        }
    }
    while let Some((_, last)) = held.pop_first() {
        close(peek, Some(last), &mut pending);
    }
    wait_for(peek, &mut pending, 0);
    f64::from(count) / began.elapsed().as_secs_f64()
}

fn close(peek: &Object, held: Option<(OwnedFd, u64)>, pending: &mut VecDeque<(u64, u32)>) {
    let Some((program, base)) = held else { return };
    wait_for(peek, pending, MOST - 1);
    pending.push_back((base, word(peek, base)));
    drop(program);
}

fn wait_for(peek: &Object, pending: &mut VecDeque<(u64, u32)>, most: usize) {
    let began = Instant::now();
    while pending.len() > most {
        match pending.front() {
            Some(&(base, size)) if word(peek, base) == size => std::thread::sleep(Duration::from_micros(500)),
            _ => drop(pending.pop_front()),
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the kernel frees nothing");
    }
}

fn word(peek: &Object, address: u64) -> u32 {
    let program = peek.progs_mut().next().unwrap();
    let mut context = address.to_ne_bytes();
    program.test_run(ProgramInput { context_in: Some(&mut context), ..Default::default() }).unwrap().return_value
}
