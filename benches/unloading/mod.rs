//! Unloading after a timed load. In: maps and what was loaded. Out: nothing. Apart because each file in `benches/` is a crate of its own.
#![allow(clippy::unwrap_used)]

use std::os::fd::AsFd;
use std::time::Duration;

use itlbench::machine::kernel::pace::Pace;
use itlbench::machine::kernel::programs::{Maps, Programs};
use itlbench::machine::kernel::settle::Settle;

/// Unloads all of it, a few hundred at a time.
pub fn unload<T>(programs: &Programs, mut maps: Maps, held: Vec<T>) {
    let retired = maps.retire(programs.load_empty().unwrap().as_fd());
    let settle = Settle::watching();
    let mut pace = Pace::seeing(&settle);
    for program in held {
        drop(program);
        // A program, and perhaps a filler behind it.
        pace.step();
        pace.step();
    }
    maps.unpublish(&mut pace);
    drop((maps, retired));
    std::thread::sleep(Duration::from_millis(300));
}
