//! Everybody's code and the kernel's memory, as /proc and the list of programs show them.

use std::collections::HashSet;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::machine::kernel::{memory, probe};
use crate::placement::image::PAGE_BYTES;
use crate::placement::{Addr, Image};
use crate::selftest::trace::Surveyed;
use crate::survey::vmalloc::{self, Packs};

/// Everybody's programs; for the parameters see [`survey`].
pub fn programs(own: &[Image], name: &str) -> Surveyed {
    let ours: HashSet<u64> = own.iter().map(|image| image.addr.0).collect();
    let (mine, others): (Vec<_>, Vec<_>) =
        probe::jited_programs().unwrap_or_default().into_iter().partition(|program| program.name == name);
    let foreign = others
        .iter()
        .flat_map(|program| program.images.iter().copied())
        .filter(|image| image.addr.0 != 0 && !ours.contains(&image.addr.0));
    Surveyed { foreign: foreign.collect(), own: mine.len() as u32, ..Surveyed::default() }
}

/// What is there now; `own` are the images of the programs that this process loaded for the test, `name` is what those are called and
/// nobody else's, `loads` is how many there have been.
pub fn survey(own: &[Image], name: &str, loads: u64) -> Surveyed {
    let listed = programs(own, name);
    let text = fs::read_to_string("/proc/vmallocinfo").unwrap_or_default();
    let parsed = vmalloc::parse(&text);
    let known: Vec<Addr> = own.iter().chain(&listed.foreign).map(|image| image.addr).collect();
    // By address only what holds known code is found, by its maker also what is empty.
    let made = Packs::of(&parsed, &[]);
    let held = Packs::of(&parsed, &known).map(|packs| packs.ranges).unwrap_or_default();
    Surveyed {
        loads,
        program_areas: (!parsed.is_empty()).then(|| vmalloc::for_programs(&parsed)),
        areas: held.into_iter().map(|(start, pages)| (start, u64::from(pages) * PAGE_BYTES)).collect(),
        packs: made.map(|packs| (packs.areas, packs.reserved_pages)),
        vmalloc_kib: meminfo("VmallocUsed:"),
        direct_map_4k_kib: memory::direct_map().kib_4k.unwrap_or(0),
        ..listed
    }
}

/// How long memory is waited for that is still being freed, ours or that of others.
const BOUNDED: Duration = Duration::from_secs(2);

/// The least that was there while nothing of ours was loaded: areas for programs, and packs.
#[derive(Debug, Default)]
pub struct Least(Mutex<Option<(u32, u32)>>);

impl Least {
    /// What `survey` sees once it is no more than that, or after some time: frees go on behind what can be waited for. A pack goes
    /// after the last image in it was overwritten, and what others let go of is in no list any more while it is being freed.
    pub fn waited_for(&self, survey: impl Fn() -> Surveyed) -> Surveyed {
        let mut least = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        loop {
            let seen = survey();
            let now = (seen.program_areas.unwrap_or(0), seen.packs.map_or(0, |(packs, _)| packs));
            if least.is_none_or(|least| now.0 <= least.0 && now.1 <= least.1) || began.elapsed() >= BOUNDED {
                *least = Some(now);
                return seen;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

/// A line of /proc/meminfo, in KiB.
pub fn meminfo(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// What is seen where /proc/vmallocinfo shows one of `areas` after the other.
    fn seen(least: &Least, areas: &[u32]) -> u32 {
        let left = RefCell::new(areas.iter().copied());
        let last = *areas.last().expect("an area");
        let survey = || Surveyed {
            program_areas: Some(left.borrow_mut().next().unwrap_or(last)),
            packs: Some((1, 512)),
            ..Surveyed::default()
        };
        least.waited_for(survey).program_areas.expect("areas")
    }

    #[test]
    fn what_is_still_being_freed_is_waited_for_but_not_for_ever() {
        let least = Least::default();
        assert_eq!(seen(&least, &[9]), 9);
        assert_eq!(seen(&least, &[300, 120, 9]), 9);
        assert_eq!(seen(&least, &[300, 7]), 7);
        let began = Instant::now();
        assert_eq!(seen(&least, &[40]), 40);
        assert!(began.elapsed() >= BOUNDED, "others keep it");
        assert!(seen(&least, &[40]) == 40 && began.elapsed() < BOUNDED * 2, "and it is not waited for again");
    }
}
