//! Programs that come and go while something is measured: a thread that loads one at a steady rate and closes the oldest.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libbpf_sys::bpf_insn;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{memory, sys};
use crate::machine::{Churn, MachineError, Result};
use crate::trial::beside::DirectMap;
use crate::trial::company::Churned;

/// Programs alive at once: few frees are under way at any time.
const ALIVE: usize = 16;
/// Additions in each: with its head and its end some 250 bytes of code.
const STEPS: usize = 32;
/// `BPF_ALU64 | BPF_MOV | BPF_K`, `BPF_ALU64 | BPF_ADD | BPF_K`, `BPF_JMP | BPF_EXIT`.
const MOVE: u8 = 0xb7;
const ADD: u8 = 0x07;
const EXIT: u8 = 0x95;

/// A churn that can be started again and again.
#[derive(Debug)]
pub struct KernelChurn {
    per_s: u32,
    /// CPUs to churn on: those that are not measured, if there are any.
    cpus: Vec<u32>,
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Churned>>,
    before: DirectMap,
}

impl KernelChurn {
    /// At `per_s` loads a second, off `measured` where there is another CPU.
    pub fn new(per_s: u32, measured: &[u32], allowed: &[u32]) -> Self {
        let others: Vec<u32> = allowed.iter().copied().filter(|cpu| !measured.contains(cpu)).collect();
        let cpus = if others.is_empty() { allowed.to_vec() } else { others };
        Self { per_s: per_s.max(1), cpus, under_way: None }
    }
}

impl Churn for KernelChurn {
    fn per_s(&self) -> u32 {
        self.per_s
    }

    fn start(&mut self) -> Result<()> {
        let stop: Arc<AtomicBool> = Arc::default();
        let (told, cpus, per_s) = (Arc::clone(&stop), self.cpus.clone(), self.per_s);
        let thread = std::thread::Builder::new().name("churn".to_owned()).spawn(move || churn(per_s, &cpus, &told));
        let thread = thread.map_err(|error| MachineError::failed(format!("failed to start the churn: {error}")))?;
        self.under_way = Some(UnderWay { stop, thread, before: memory::direct_map() });
        Ok(())
    }

    fn stop(&mut self) -> Result<Churned> {
        let Some(UnderWay { stop, thread, before }) = self.under_way.take() else { return Ok(Churned::default()) };
        stop.store(true, Ordering::Relaxed);
        let ended = thread.join().map_err(|_| MachineError::failed("the churn died"))?;
        let churned = ended.map_err(|error| super::fillers::load_failed("churning program", &error))?;
        Ok(Churned { splits: before.splits_until(&memory::direct_map()), ..churned })
    }
}

impl Drop for KernelChurn {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

fn churn(per_s: u32, cpus: &[u32], stop: &AtomicBool) -> std::io::Result<Churned> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu as usize));
    sched_setaffinity(None, &set)?;
    let insns = program();
    let every = Duration::from_secs(1) / per_s;
    let (began, mut churned, mut alive) = (Instant::now(), Churned::default(), VecDeque::<OwnedFd>::new());
    let mut due = began;
    while !stop.load(Ordering::Relaxed) {
        let at = Instant::now();
        alive.push_back(sys::load_sched_cls(&insns)?);
        churned.load_ns.push(at.elapsed().as_nanos() as u64);
        churned.loads += 1;
        if alive.len() > ALIVE {
            let at = Instant::now();
            drop(alive.pop_front());
            churned.unload_ns.push(at.elapsed().as_nanos() as u64);
        }
        // What came late is not made up for: a heap of frees is what must not be.
        due = (due + every).max(Instant::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()).max(every / 2));
    }
    churned.elapsed_ns = began.elapsed().as_nanos() as u64;
    Ok(churned)
}

fn program() -> Vec<bpf_insn> {
    let insn = |code: u8, imm: i32| {
        let mut insn = bpf_insn { code, imm, ..Default::default() };
        insn.set_dst_reg(0);
        insn
    };
    let steps = std::iter::repeat_with(|| insn(ADD, 0x1234_5678)).take(STEPS);
    [insn(MOVE, 0)].into_iter().chain(steps).chain([insn(MOVE, 0), insn(EXIT, 0)]).collect()
}
