//! What is left of programs that are gone.

use std::collections::HashSet;

use super::Findings;
use super::layout::remains;
use super::packs::spared;
use crate::placement::Image;
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

pub(super) fn surveys(steps: &[Step]) -> Vec<&Surveyed> {
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

/// Whose memory is it? Programs of others that came or went between two surveys take and give back memory too.
fn others_changed(first: &Surveyed, last: &Surveyed) -> Option<String> {
    let set = |survey: &Surveyed| survey.foreign.iter().copied().collect::<HashSet<Image>>();
    let changed = set(first).symmetric_difference(&set(last)).count();
    (changed > 0).then(|| {
        format!("{changed} images of others came or went meanwhile: their memory cannot be told from what is left of ours; run it alone")
    })
}

impl Findings {
    /// A problem, unless others changed as much: then nothing can be said.
    pub(super) fn problem_or_others(&mut self, first: &Surveyed, last: &Surveyed, text: String) {
        match others_changed(first, last) {
            Some(reason) => self.skip = Some(reason),
            None => self.problem(text),
        }
    }
}

/// Areas that others may have taken meanwhile without a program that is listed: classic filters, which come and go.
const TOLERATED_AREAS: u64 = 64;
/// A leak of less than an area for so many loads is not seen.
const LOADS_TO_AN_AREA: u64 = 100;
/// Where only the sum of all vmalloc memory is known, which stacks of new threads are part of.
const TOLERATED_KIB: u64 = 4096;

/// Nothing is left of thousands of programs: judged between the first survey there was and the last.
pub fn leaks(facts: &Facts, steps: &[Step]) -> Findings {
    let all = surveys(steps);
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Findings::skipped("nothing was surveyed") };
    let mut found = Findings::default();
    found.count("loads", steps.iter().filter(|step| step.loaded().is_some()).count() as u64);
    if last.own > 0 {
        found.problem(format!("{} programs are still listed", last.own));
    }
    let loads = last.loads - first.loads;
    memory_left(first, last, loads, &mut found);
    if let (Some((before, _)), Some((after, _))) = (first.packs, last.packs)
        && after > before + spared(facts)
    {
        found.problem_or_others(first, last, format!("{} more areas of JITed code than before", after - before));
    }
    let areas = |survey: &Surveyed| survey.program_areas.map_or("?".to_owned(), |areas| areas.to_string());
    found.notes = vec![format!(
        "over {loads} loads: areas for programs {} before, {} after; vmalloc {} and {} kB; DirectMap4k {} and {} kB",
        areas(first),
        areas(last),
        first.vmalloc_kib,
        last.vmalloc_kib,
        first.direct_map_4k_kib,
        last.direct_map_4k_kib
    )];
    found.needs("loads", cannot(steps).unwrap_or("nothing was loaded"))
}

fn memory_left(first: &Surveyed, last: &Surveyed, loads: u64, found: &mut Findings) {
    if let (Some(before), Some(after)) = (first.program_areas, last.program_areas) {
        let grown = u64::from(after.saturating_sub(before));
        if grown > TOLERATED_AREAS + loads / LOADS_TO_AN_AREA {
            let text = format!("{grown} areas of vmalloc memory for programs are not given back after {loads} loads");
            found.problem_or_others(first, last, text);
        }
        return;
    }
    let grown = last.vmalloc_kib.saturating_sub(first.vmalloc_kib);
    if grown > TOLERATED_KIB + loads / 2 {
        found.problem_or_others(
            first,
            last,
            format!("{grown} KiB of vmalloc memory are not given back after {loads} loads"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::sim::selftest::SimSubject;
    use crate::placement::Addr;
    use crate::selftest::operation::Op;
    use crate::selftest::{Allowed, Subject};

    fn survey(loads: u64, areas: Option<u32>, vmalloc_kib: u64, foreign: u64) -> Step {
        let image = |at| Image { addr: Addr(0x1000 + at * 64), len: 30 };
        let surveyed = Surveyed {
            foreign: (0..foreign).map(image).collect(),
            loads,
            program_areas: areas,
            vmalloc_kib,
            ..Surveyed::default()
        };
        Step { lane: 0, began_ns: 0, ended_ns: 0, op: Op::Survey, event: Event::Surveyed(surveyed) }
    }

    /// Problems, and whether nothing can be said, of what lay between two surveys.
    fn judged(before: Step, after: Step) -> (usize, bool) {
        let load = Op::Load { slot: 0, body: crate::selftest::body::Body::plain(1, 1) };
        let loaded = Step { op: load, event: Event::Loaded(Vec::new()), ..before.clone() };
        let kernel = SimSubject::new(1, Allowed::default(), None);
        let found = leaks(kernel.facts(), &[before, loaded, after]);
        (found.problems.len(), found.skip.is_some())
    }

    #[test]
    fn an_area_for_each_hundredth_load_is_a_leak_over_many_loads_and_noise_over_few() {
        assert_eq!(judged(survey(0, Some(10), 0, 3), survey(100_000, Some(1200), 0, 3)), (1, false));
        assert_eq!(judged(survey(0, Some(10), 0, 3), survey(100_000, Some(800), 0, 3)), (0, false));
        assert_eq!(judged(survey(0, Some(10), 0, 3), survey(2400, Some(50), 0, 3)), (0, false));
        assert_eq!(judged(survey(0, Some(10), 0, 3), survey(2400, Some(2410), 0, 3)), (1, false));
    }

    #[test]
    fn stacks_of_threads_are_no_leak_and_the_sum_decides_where_nothing_else_is_known() {
        assert_eq!(judged(survey(0, Some(10), 0, 3), survey(2400, Some(10), 100_000, 3)), (0, false));
        assert_eq!(judged(survey(0, None, 0, 3), survey(2400, None, 100_000, 3)), (1, false));
        assert_eq!(judged(survey(0, None, 0, 3), survey(2400, None, 4000, 3)), (0, false));
    }

    #[test]
    fn where_others_loaded_meanwhile_nothing_is_said() {
        assert_eq!(judged(survey(0, Some(10), 0, 3), survey(2400, Some(9000), 0, 5000)), (0, true));
        assert_eq!(judged(survey(0, Some(10), 0, 3), survey(2400, Some(12), 0, 4)), (0, false));
    }
}
