//! What is left of programs that are gone.

use super::Findings;
use super::layout::remains;
use crate::selftest::subject::Facts;
use crate::selftest::trace::{Event, Left, Step, Surveyed, cannot};

/// Freed text is INT3 or not mapped, within the time that frees are waited for.
pub fn filled(_: &Facts, steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    for (_, left) in remains(steps) {
        match left.state {
            Left::Filled => found.count("filled", 1),
            Left::Unmapped => found.count("unmapped", 1),
            Left::Taken => found.count("taken by others", 1),
            Left::Stale { bytes } => {
                found.problem(format!("{bytes} bytes at {} are still those of a freed program", left.image.addr));
            }
        }
        found.count("images", 1);
    }
    let longest = steps.iter().filter_map(|step| match step.event {
        Event::Settled { longest_ms, .. } => Some(longest_ms),
        _ => None,
    });
    found.notes = vec![format!("the longest free took {} ms", longest.max().unwrap_or(0))];
    found.needs("images", cannot(steps).unwrap_or("no freed image was looked at"))
}

fn surveys(steps: &[Step]) -> Vec<&Surveyed> {
    let survey = |step: &'_ Step| matches!(step.event, Event::Surveyed(_));
    steps
        .iter()
        .filter(|step| survey(step))
        .filter_map(|step| match &step.event {
            Event::Surveyed(survey) => Some(survey),
            _ => None,
        })
        .collect()
}

/// Packs that became empty are given back: at the end there are no more than at the beginning.
pub fn packs_released(facts: &Facts, steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    for (_, left) in remains(steps) {
        found.count(if left.state == Left::Unmapped { "images unmapped" } else { "images still mapped" }, 1);
    }
    let packs: Vec<(u32, u64)> = surveys(steps).iter().filter_map(|survey| survey.packs).collect();
    let (Some(first), Some(last)) = (packs.first(), packs.last()) else {
        return Findings::skipped("/proc/vmallocinfo does not show the packs");
    };
    let most = packs.iter().map(|packs| packs.0).max().unwrap_or(0);
    found.count("packs made", u64::from(most - first.0));
    found.notes = vec![format!("areas of JITed code: {} before, {most} at most, {} after", first.0, last.0)];
    if last.0 > first.0 {
        found.problem(format!(
            "{} areas of {} are still there though nothing is in them",
            last.0 - first.0,
            most - first.0
        ));
    }
    let _ = facts;
    found.needs("packs made", "no new pack was needed: the old ones had room")
}

/// Nothing is left of thousands of programs.
pub fn leaks(_: &Facts, steps: &[Step]) -> Findings {
    /// Others allocate too; a leak of one page for each program would show as ten times as much.
    const TOLERATED_KIB: u64 = 512;
    let all = surveys(steps);
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Findings::skipped("nothing was surveyed") };
    let mut found = Findings::default();
    found.count("loads", steps.iter().filter(|step| step.loaded().is_some()).count() as u64);
    if last.own > 0 {
        found.problem(format!("{} programs are still listed", last.own));
    }
    let grown = last.vmalloc_kib.saturating_sub(first.vmalloc_kib);
    if grown > TOLERATED_KIB {
        found.problem(format!("{grown} KiB of vmalloc memory are not given back"));
    }
    if let (Some((before, _)), Some((after, _))) = (first.packs, last.packs)
        && after > before
    {
        found.problem(format!("{} more areas of JITed code than before", after - before));
    }
    found.notes = vec![format!(
        "vmalloc {} kB before, {} kB after; DirectMap4k {} kB before, {} kB after",
        first.vmalloc_kib, last.vmalloc_kib, first.direct_map_4k_kib, last.direct_map_4k_kib
    )];
    found.needs("loads", cannot(steps).unwrap_or("nothing was loaded"))
}
