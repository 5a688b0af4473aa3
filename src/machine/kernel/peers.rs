//! The same programs on other CPUs: a thread on each, with its own skb and its own counters, that fires when it is told.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_setaffinity};

use super::perf::{self, PerfCounters};
use super::trigger::Firing;
use crate::counters::{Choice, Group, Reading};
use crate::machine::{MachineError, Peers, Result, Target};
use crate::trial::company::CpuWindow;

/// Threads on their CPUs.
#[derive(Debug)]
pub struct KernelPeers {
    threads: Vec<Thread>,
    barrier: Arc<Barrier>,
}

#[derive(Debug)]
struct Thread {
    cpu: u32,
    orders: Option<Sender<(Target, u32)>>,
    windows: Receiver<Result<CpuWindow>>,
    thread: Option<JoinHandle<()>>,
}

impl KernelPeers {
    /// A thread for each of `cpus` with what it fires. They count what `choice` asks for, which must be `groups`.
    pub fn start(cpus: &[u32], firings: Vec<Box<dyn Firing>>, choice: &Choice, groups: &[Group]) -> Result<Self> {
        let barrier = Arc::new(Barrier::new(cpus.len() + 1));
        let mut peers = Self { threads: Vec::new(), barrier };
        for (&cpu, firing) in cpus.iter().zip(firings) {
            peers.threads.push(Thread::start(
                cpu,
                firing,
                choice.clone(),
                groups.to_vec(),
                Arc::clone(&peers.barrier),
            )?);
        }
        Ok(peers)
    }
}

impl Thread {
    fn start(
        cpu: u32,
        mut firing: Box<dyn Firing>,
        choice: Choice,
        groups: Vec<Group>,
        barrier: Arc<Barrier>,
    ) -> Result<Self> {
        let (orders, told) = channel();
        let (tell, windows) = channel();
        let work = move || {
            let prepared = prepare(cpu, &choice, &groups);
            let ready = prepared
                .as_ref()
                .map(|_| CpuWindow::default())
                .map_err(|error| MachineError::failed(error.to_string()));
            if tell.send(ready).is_ok()
                && let Ok(counters) = prepared
            {
                serve(counters, firing.as_mut(), &told, &tell, &barrier);
            }
        };
        let thread = std::thread::Builder::new().name(format!("cpu{cpu}")).spawn(work);
        let thread = thread.map_err(|error| MachineError::failed(format!("failed to start a thread: {error}")))?;
        let this = Self { cpu, orders: Some(orders), windows, thread: Some(thread) };
        this.window()?;
        Ok(this)
    }

    fn window(&self) -> Result<CpuWindow> {
        let died = |_| MachineError::failed(format!("the thread on CPU {} died", self.cpu));
        self.windows.recv().map_err(died)?
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn prepare(cpu: u32, choice: &Choice, groups: &[Group]) -> Result<PerfCounters> {
    let mut only = CpuSet::new();
    only.set(cpu as usize);
    sched_setaffinity(None, &only)
        .map_err(|error| MachineError::failed(format!("failed to pin a thread to CPU {cpu}: {error}")))?;
    let mut counters = perf::open(choice, cpu)?;
    counters.select(0);
    match counters.groups() == groups {
        true => Ok(counters),
        false => Err(MachineError::host_cannot(
            format!("failed to count the same events on CPU {cpu} as on the CPU of the run"),
            "choose CPUs of one kind with --cpus, or other events with --counters",
        )),
    }
}

/// One window for each order, until there are no more.
fn serve(
    mut counters: PerfCounters,
    firing: &mut dyn Firing,
    orders: &Receiver<(Target, u32)>,
    tell: &Sender<Result<CpuWindow>>,
    barrier: &Barrier,
) {
    let mut last = Vec::new();
    let mut failed = counters.read(&mut last).err().map(MachineError::from);
    while let Ok((target, runs)) = orders.recv() {
        barrier.wait();
        let window = match failed.take() {
            Some(error) => Err(error),
            None => window(&mut counters, &mut last, firing, (target, runs)),
        };
        if tell.send(window).is_err() {
            break;
        }
    }
}

fn window(
    counters: &mut PerfCounters,
    last: &mut Vec<Reading>,
    firing: &mut dyn Firing,
    (target, runs): (Target, u32),
) -> Result<CpuWindow> {
    counters.enable()?;
    let began = std::time::Instant::now();
    let fired = firing.hit(target, runs);
    let wall_ns = began.elapsed().as_nanos() as u64;
    counters.disable()?;
    fired.map_err(|error| match error.kind() {
        std::io::ErrorKind::Interrupted => MachineError::interrupted(),
        _ => MachineError::failed(format!("failed to run programs on several CPUs: {error}")),
    })?;
    let mut now = Vec::with_capacity(last.len());
    counters.read(&mut now)?;
    let readings = now.iter().zip(last.iter()).map(|(now, last)| now.since(last)).collect();
    *last = now;
    Ok(CpuWindow { wall_ns, readings })
}

impl Peers for KernelPeers {
    fn begin(&mut self, target: Target, runs: u32) -> Result<()> {
        for thread in &self.threads {
            let told = thread.orders.as_ref().is_some_and(|orders| orders.send((target, runs)).is_ok());
            if !told {
                return Err(MachineError::failed(format!("the thread on CPU {} died", thread.cpu)));
            }
        }
        self.barrier.wait();
        Ok(())
    }

    fn end(&mut self) -> Result<Vec<CpuWindow>> {
        self.threads.iter().map(Thread::window).collect()
    }
}
