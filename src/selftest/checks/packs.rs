//! Whether packs that became empty are given back, or kept for what comes next where the kernel does that.

use super::Findings;
use super::freeing::surveys;
use super::layout::remains;
use crate::placement::Addr;
use crate::placement::image::REGION_BYTES;
use crate::selftest::subject::Facts;
use crate::selftest::trace::{Event, Left, Step, Surveyed, lives};

/// Packs that a kernel may keep for what comes next where nothing is known of them: one was needed for a while.
pub(super) fn spared(facts: &Facts) -> u32 {
    u32::from(facts.keeps_text)
}

/// Packs that became empty are given back: at the end there are no more than at the beginning. Since 7.3 programs lie in memory of
/// execmem's cache, which gives back only what is whole, aligned 2 MiB pages (`execmem_cache_clean`): what is not, as with
/// `nohugevmalloc`, it keeps. Then the same programs, loaded once more, must find room in it.
pub fn packs_released(facts: &Facts, steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    for (_, left) in remains(steps) {
        found.count(if left.state == Left::Unmapped { "images unmapped" } else { "images still mapped" }, 1);
    }
    let seen: Vec<&Surveyed> = surveys(steps).into_iter().filter(|survey| survey.packs.is_some()).collect();
    let [first, .., last] = seen[..] else {
        return Findings::skipped(match facts.pack_bytes {
            None => "this kernel gives every program pages of its own: there are no packs",
            Some(_) => "/proc/vmallocinfo does not show the packs",
        });
    };
    let full: Vec<u32> = seen.iter().filter(|survey| survey.own > 0).map(|survey| areas(survey)).collect();
    let (before, after) = (areas(first), areas(last));
    let most = seen.iter().map(|survey| areas(survey)).max().unwrap_or(before);
    let held = seen.iter().map(|survey| survey.areas.len()).max().unwrap_or(0) - first.areas.len();
    found.count("packs filled", u64::from(most - before).max(held as u64));
    let kept = after.saturating_sub(before);
    if kept > 0 && !may_keep(facts, steps) {
        let text = format!("{kept} areas of {} are still there though nothing is in them", most - before);
        found.problem_or_others(first, last, text);
    } else if kept > 0 && full.last() > full.first() {
        let text = format!(
            "{kept} areas are still there though nothing is in them, and the same programs did not fit in them once more"
        );
        found.problem_or_others(first, last, text);
    }
    let kept = if kept > 0 { format!(", {kept} of them empty, kept and used again") } else { String::new() };
    found.notes = vec![format!("areas of JITed code: {before} before, {most} at most, {after} after{kept}")];
    found.needs("packs filled", &no_pack(steps))
}

/// Why no new pack was filled.
fn no_pack(steps: &[Step]) -> String {
    let refused = |step: &Step| match step.event {
        Event::Refused(errno) => Some(errno),
        _ => None,
    };
    match steps.iter().find_map(refused) {
        Some(errno) => format!("no new pack was needed: loads were refused with error {errno}"),
        None => "no new pack was needed: the old ones had room".to_owned(),
    }
}

fn areas(survey: &Surveyed) -> u32 {
    survey.packs.map_or(0, |(areas, _)| areas)
}

/// Whether the kernel may keep areas that own programs were in. Where those were is not known, it may.
fn may_keep(facts: &Facts, steps: &[Step]) -> bool {
    let is_kept = |pack: Option<Addr>| pack.is_none_or(|pack| !pack.0.is_multiple_of(REGION_BYTES));
    facts.keeps_text && lives(steps).iter().flat_map(|life| life.places).any(|place| is_kept(place.pack))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::sim::selftest::SimSubject;
    use crate::placement::Image;
    use crate::selftest::body::Body;
    use crate::selftest::operation::Op;
    use crate::selftest::trace::Place;
    use crate::selftest::{Allowed, Subject};

    const ALIGNED: u64 = 0xffff_ffff_c020_0000;
    const NOT_ALIGNED: u64 = 0xffff_ffff_c016_2000;

    fn step(op: Op, event: Event) -> Step {
        Step { lane: 0, began_ns: 0, ended_ns: 0, op, event }
    }

    /// Whether a kernel passes that has as many areas as `areas` says before, full, empty, full and empty.
    fn passes(keeps_text: bool, pack: u64, areas: [u32; 5]) -> bool {
        let body = Body::plain(1, 1);
        let image = Image { addr: Addr(pack + 8), len: 30 };
        let place = Place { image, pack: Some(Addr(pack)) };
        let mut steps = vec![step(Op::Load { slot: 0, body }, Event::Loaded(vec![place]))];
        for (at, areas) in areas.into_iter().enumerate() {
            let packs = Some((areas, u64::from(areas) * 512));
            let surveyed = Surveyed { own: (at % 2) as u32, packs, ..Surveyed::default() };
            steps.push(step(Op::Survey, Event::Surveyed(surveyed)));
        }
        let kernel = SimSubject::new(1, Allowed::default(), None);
        let found = packs_released(&Facts { keeps_text, ..kernel.facts().clone() }, &steps);
        assert_eq!(found.skip, None);
        found.problems.is_empty()
    }

    #[test]
    fn an_empty_pack_is_given_back() {
        assert!(passes(false, NOT_ALIGNED, [1, 2, 1, 2, 1]));
        assert!(!passes(false, NOT_ALIGNED, [1, 2, 2, 2, 2]));
    }

    #[test]
    fn a_kernel_that_keeps_text_keeps_what_is_no_whole_huge_page_and_uses_it_again() {
        assert!(passes(true, NOT_ALIGNED, [1, 2, 2, 2, 2]));
        assert!(!passes(true, ALIGNED, [1, 2, 2, 2, 2]), "this one it gives back");
        assert!(!passes(true, NOT_ALIGNED, [1, 2, 2, 3, 3]), "this one is lost");
        assert!(!passes(true, NOT_ALIGNED, [1, 2, 2, 3, 2]), "it was of no use");
    }
}
