//! The guard of the bpf tier, for every test that loads programs. In: nothing. Out: the turn to use the kernel, or a SKIP line with
//! the reason; and waiting for what the kernel does later. Apart because each file in `tests/` is a crate of its own.
//!
//! `mod tier;` takes it in, `let Some(_turn) = tier::bpf() else { return };` begins a test.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs::File;
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

/// Waits until `done`; 40 s at most. The kernel frees programs on a work queue, some time after the last descriptor is closed.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(40), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
