//! The guard of the bpf tier, for every test that loads programs. In: nothing. Out: the turn to use the kernel, or a SKIP line with
//! the reason; and waiting for what the kernel does later. Apart because each file in `tests/` is a crate of its own.
//!
//! `mod tier;` takes it in, `let Some(_turn) = tier::bpf() else { return };` begins a test.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs::File;
use std::process::Child;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The turn to use the kernel: no other test of this package loads programs until it is dropped.
pub struct Turn {
    /// Against tests in other processes. A lock on a file that is there anyway leaves nothing behind, however the test ends.
    _processes: Option<File>,
    _threads: MutexGuard<'static, ()>,
}

/// The turn, or `None` where this host cannot run programs; fails instead where `REQUIRE_TIER` asks for the tier.
#[cfg(feature = "kernel")]
pub fn bpf() -> Option<Turn> {
    use rustix::fs::{FlockOperation, flock};
    use std::sync::PoisonError;

    let threads = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(reason) = itlbench::machine::kernel::probe::test_run() {
        skip("bpf", &reason);
        return None;
    }
    let file = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).ok();
    if let Some(file) = &file {
        flock(file, FlockOperation::LockExclusive).unwrap();
    }
    Some(Turn { _processes: file, _threads: threads })
}

/// Says why `tier` cannot run here, and fails where `REQUIRE_TIER` asks for it.
pub fn skip(tier: &str, reason: &str) {
    assert!(std::env::var("REQUIRE_TIER").as_deref() != Ok(tier), "REQUIRE_TIER={tier}, but: {reason}");
    println!("SKIP {tier} tier: {reason}");
}

/// Whether the kernel shows JITed programs in /proc/kallsyms; a SKIP line if not.
pub fn kallsyms() -> bool {
    let value = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).unwrap_or_default();
    let hidden = [("bpf_jit_kallsyms", "0"), ("bpf_jit_harden", "1"), ("bpf_jit_harden", "2")];
    let why = hidden.into_iter().find(|(name, hides)| value(name).trim() == *hides);
    if let Some((name, hides)) = why {
        println!("SKIP kallsyms: net.core.{name} = {hides} keeps JITed programs out of it");
    }
    why.is_none()
}

/// CPUs that this thread may use, the lowest first.
pub fn cpus() -> Vec<u32> {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).map(|cpu| cpu as u32).collect()
}

/// The CPU of most tests.
pub fn cpu() -> u32 {
    cpus()[0]
}

/// A process that does not outlive its test, also not where that fails.
pub struct Mortal(pub Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ids of the programs of this name, or of all others.
#[cfg(feature = "kernel")]
fn programs(ours: bool) -> std::collections::BTreeSet<u32> {
    let named = |info: &libbpf_rs::query::ProgramInfo| info.name.to_string_lossy().starts_with("itlbench") == ours;
    libbpf_rs::query::ProgInfoIter::default().filter(named).map(|info| info.id).collect()
}

/// Links of our programs.
#[cfg(feature = "kernel")]
pub fn links() -> usize {
    let all: Vec<u32> = libbpf_rs::query::LinkInfoIter::default().map(|link| link.prog_id).collect();
    let ours = programs(true);
    all.iter().filter(|id| ours.contains(id)).count()
}

/// What came of `trial` while nobody else loaded or unloaded a program; `None`, and a SKIP line, if somebody did each time.
#[cfg(feature = "kernel")]
pub fn undisturbed<T>(mut trial: impl FnMut() -> T) -> Option<T> {
    const TRIALS: u32 = 5;
    for _ in 0..TRIALS {
        let before = programs(false);
        let done = trial();
        if programs(false) == before {
            return Some(done);
        }
    }
    println!("SKIP: somebody else loaded or unloaded programs in each of {TRIALS} trials");
    None
}

/// Waits until `done`; 40 s at most. The kernel frees programs on a work queue, some time after the last descriptor is closed.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(40), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
