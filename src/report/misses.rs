//! Whose code missed the iTLB, by the samples of `--attribute`.

use std::collections::BTreeMap;

use super::Summary;
use super::units::percent;
use crate::compare::pairing;
use crate::sampling::tally::Fetches;
use crate::sampling::{Misses, Owner, Spot};
use crate::workload::Case;

/// Spots shown of each case.
const SHOWN: usize = 5;

/// Lines for a text: what was sampled, then of each case the owners and the spots with most samples. Nothing for a run without.
pub fn lines(summary: &Summary<'_>) -> Vec<String> {
    let Some(sampling) = &summary.run.manifest.sampling else { return Vec::new() };
    let what = format!(
        "sampled: {} ({}), one in {}; {}",
        sampling.event.name, sampling.event.code, sampling.period, sampling.precision
    );
    let cases = summary.cases.iter().flat_map(|case| of_case(summary, &case.case));
    [what].into_iter().chain(cases).collect()
}

fn of_case(summary: &Summary<'_>, case: &Case) -> Vec<String> {
    let trials: Vec<&Misses> = pairing::counting(summary.run, case).filter_map(|trial| trial.misses.as_ref()).collect();
    let sum = |count: fn(&Misses) -> u64| trials.iter().map(|misses| count(misses)).sum::<u64>();
    let (samples, lost, throttled) = (sum(|m| m.samples), sum(|m| m.lost), sum(|m| m.throttled));
    if trials.is_empty() {
        return Vec::new();
    }
    let mut by_kind: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in trials.iter().flat_map(|misses| &misses.by_kind) {
        *by_kind.entry(kind).or_default() += count;
    }
    let share = |count: u64| percent(100.0 * count as f64 / samples.max(1) as f64);
    let kinds: Vec<String> = by_kind.iter().map(|(kind, count)| format!("{kind} {} %", share(*count))).collect();
    let mut lines = vec![format!("{case}: {samples} samples in {} trials: {}", trials.len(), kinds.join(", "))];
    if lost + throttled > 0 {
        lines.push(format!("{case}: {lost} samples lost, sampling throttled {throttled} times"));
    }
    lines.extend(fetches(case, &trials));
    let spots = top(&trials).into_iter().take(SHOWN).map(|(spot, count)| format!("{spot} {} %", share(count)));
    let spots: Vec<String> = spots.collect();
    if !spots.is_empty() {
        lines.push(format!("{case}: most in {}", spots.join(", ")));
    }
    lines
}

/// Functions and foreign programs by samples. Measured programs lie elsewhere in every trial, so they count as one.
fn top(trials: &[&Misses]) -> Vec<(String, u64)> {
    let mut spots: BTreeMap<String, u64> = BTreeMap::new();
    for spot in trials.iter().flat_map(|misses| &misses.top) {
        *spots.entry(name(spot)).or_default() += spot.samples;
    }
    let mut spots: Vec<(String, u64)> = spots.into_iter().collect();
    spots.sort_by_key(|(_, samples)| std::cmp::Reverse(*samples));
    spots
}

fn name(spot: &Spot) -> String {
    match &spot.owner {
        Owner::Foreign(name) | Owner::Kernel(name) => name.clone(),
        other => other.kind().to_owned(),
    }
}

/// What IBS told: walks, page sizes, refill latency.
fn fetches(case: &Case, trials: &[&Misses]) -> Option<String> {
    let all: Vec<&Fetches> = trials.iter().filter_map(|misses| misses.fetches.as_ref()).collect();
    let sampled: u64 = all.iter().map(|fetches| fetches.sampled).sum();
    let walks: u64 = all.iter().map(|fetches| fetches.walks).sum();
    let mut pages: BTreeMap<String, u64> = BTreeMap::new();
    for (page, count) in all.iter().flat_map(|fetches| &fetches.by_page) {
        *pages.entry(page.to_string()).or_default() += count;
    }
    let pages: Vec<String> = pages.iter().map(|(page, count)| format!("{page} {count}")).collect();
    let mut refills: Vec<u16> = all.iter().filter_map(|fetches| fetches.refill_cycles).collect();
    refills.sort_unstable();
    let refill = refills.get(refills.len() / 2).map(|cycles| format!("; refill {cycles} cycles (median)"));
    (!all.is_empty()).then(|| {
        let refill = refill.unwrap_or_default();
        format!("{case}: {sampled} fetches sampled, {walks} walks; misses by page size: {}{refill}", pages.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Event, EventCode, Role};
    use crate::report::fixture;
    use crate::sampling::ibs::Page;
    use crate::sampling::{Precision, Sampling};

    #[test]
    fn owners_spots_and_what_ibs_told_are_said_for_each_case() {
        let mut run = fixture::pmu_run();
        assert!(lines(&Summary::of(&run)).is_empty(), "nothing was asked for");
        let event = Event { role: Role::Other, name: "ibs_fetch/rand_en=1/".to_owned(), code: EventCode::new(11, 1) };
        run.manifest.sampling = Some(Sampling { event, period: 32_000, precision: Precision::Fetch });
        let trial = &mut run.trials[0];
        let spot = |owner, samples| Spot { owner, page: "0x1000".to_owned(), samples };
        trial.misses = Some(Misses {
            samples: 10,
            lost: 3,
            throttled: 0,
            by_kind: BTreeMap::from([("kernel text".to_owned(), 2), ("measured programs".to_owned(), 8)]),
            top: vec![
                spot(Owner::Measured(4), 5),
                spot(Owner::Measured(5), 3),
                spot(Owner::Kernel("bpf_test_run".to_owned()), 2),
            ],
            fetches: Some(Fetches {
                sampled: 90,
                walks: 4,
                by_page: BTreeMap::from([(Page::Small, 9), (Page::Huge, 1)]),
                refill_cycles: Some(31),
            }),
        });
        let case = trial.case.to_string();
        assert_eq!(
            lines(&Summary::of(&run)),
            [
                "sampled: ibs_fetch/rand_en=1/ (type 11 config 0x1), one in 32000; address of the fetch".to_owned(),
                format!("{case}: 10 samples in 1 trials: kernel text 20.0 %, measured programs 80.0 %"),
                format!("{case}: 3 samples lost, sampling throttled 0 times"),
                format!(
                    "{case}: 90 fetches sampled, 4 walks; misses by page size: 2M 1, 4K 9; refill 31 cycles (median)"
                ),
                format!("{case}: most in measured programs 80.0 %, bpf_test_run 20.0 %"),
            ]
        );
    }
}
