//! Figures made of two or more events, each with its denominator in its name. Never misses per load: on most CPUs the generic
//! `iTLB-loads` counts something else than look-ups.

use serde::{Deserialize, Serialize};

use super::series;
use crate::counters::{Group, Role};
use crate::trial::Trial;

/// One derived figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Derived {
    WalksPer1000Exec,
    StlbHitsPer1000Exec,
    ItlbFillsPer1000Exec,
    RetiredItlbMissesPer1000Exec,
    WalksPer1000Instructions,
    /// The generic event over instructions, where no walks are counted.
    GenericPer1000Instructions,
    WalkCyclesPercentOfCycles,
    TagStallsPercentOfCycles,
    Walks4kPercentOfWalks,
    WalksCoalescedPercentOfWalks,
    Walks2mPercentOfWalks,
    /// AMD alone counts hits of the L1 iTLB.
    FirstLevelMissesPercentOfFetches,
    WalksPercentOfFetches,
}

impl Derived {
    /// Every figure, in the order of columns.
    pub const ALL: [Self; 13] = [
        Self::WalksPer1000Exec,
        Self::StlbHitsPer1000Exec,
        Self::ItlbFillsPer1000Exec,
        Self::RetiredItlbMissesPer1000Exec,
        Self::WalksPer1000Instructions,
        Self::GenericPer1000Instructions,
        Self::WalkCyclesPercentOfCycles,
        Self::TagStallsPercentOfCycles,
        Self::Walks4kPercentOfWalks,
        Self::WalksCoalescedPercentOfWalks,
        Self::Walks2mPercentOfWalks,
        Self::FirstLevelMissesPercentOfFetches,
        Self::WalksPercentOfFetches,
    ];

    /// Name with its denominator, as it heads a column.
    pub fn unit(self) -> &'static str {
        match self {
            Self::WalksPer1000Exec => "walks/1000 exec",
            Self::StlbHitsPer1000Exec => "second-level hits/1000 exec",
            Self::ItlbFillsPer1000Exec => "L1 iTLB fills/1000 exec",
            Self::RetiredItlbMissesPer1000Exec => "retired iTLB misses/1000 exec",
            Self::WalksPer1000Instructions => "walks/1000 instructions",
            Self::GenericPer1000Instructions => "iTLB-load-misses/1000 instructions",
            Self::WalkCyclesPercentOfCycles => "walk cycles, % of cycles",
            Self::TagStallsPercentOfCycles => "fetch stalled on tags, % of cycles",
            Self::Walks4kPercentOfWalks => "4K walks, % of walks",
            Self::WalksCoalescedPercentOfWalks => "coalesced 4K walks, % of walks",
            Self::Walks2mPercentOfWalks => "2M walks, % of walks",
            Self::FirstLevelMissesPercentOfFetches => "L1 iTLB misses, % of fetches",
            Self::WalksPercentOfFetches => "walks, % of fetches",
        }
    }

    /// The figure of one trial, from events per execution with the empty program subtracted. `None` if an event was not counted or
    /// a denominator is not above zero.
    pub fn of(self, trial: &Trial, groups: &[Group]) -> Option<f64> {
        let count = |role| series::role_median(trial, groups, role);
        let per_1000 = |role| Some(1000.0 * count(role)?);
        let share = |part: Option<f64>, whole: Option<f64>| ratio(100.0 * part?, whole?);
        match self {
            Self::WalksPer1000Exec => per_1000(Role::WalksCompleted),
            Self::StlbHitsPer1000Exec => per_1000(Role::StlbHits),
            Self::ItlbFillsPer1000Exec => per_1000(Role::ItlbFills),
            Self::RetiredItlbMissesPer1000Exec => per_1000(Role::RetiredItlbMisses),
            Self::WalksPer1000Instructions => ratio(per_1000(Role::WalksCompleted)?, count(Role::Instructions)?),
            Self::GenericPer1000Instructions => match count(Role::WalksCompleted) {
                Some(_) => None,
                None => ratio(per_1000(Role::ItlbMisses)?, count(Role::Instructions)?),
            },
            Self::WalkCyclesPercentOfCycles => share(count(Role::WalkCycles), count(Role::Cycles)),
            Self::TagStallsPercentOfCycles => share(count(Role::FetchStallsTag), count(Role::Cycles)),
            Self::Walks4kPercentOfWalks => share(count(Role::WalksCompleted4k), count(Role::WalksCompleted)),
            Self::WalksCoalescedPercentOfWalks => share(count(Role::WalksCoalesced4k), count(Role::WalksCompleted)),
            Self::Walks2mPercentOfWalks => share(count(Role::WalksCompleted2m), count(Role::WalksCompleted)),
            Self::FirstLevelMissesPercentOfFetches => {
                let missed = count(Role::StlbHits)? + count(Role::WalksCompleted)?;
                share(Some(missed), Some(count(Role::FetchHits)? + missed))
            }
            Self::WalksPercentOfFetches => {
                let (second, walks) = (count(Role::StlbHits)?, count(Role::WalksCompleted)?);
                share(Some(walks), Some(count(Role::FetchHits)? + second + walks))
            }
        }
    }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Event, EventCode, Reading};
    use crate::report::fixture;
    use crate::trial::Sample;

    /// A trial of one window of 1000 executions on an empty run of nothing, with these counts.
    fn counted(counts: &[(Role, u64)]) -> (Trial, Vec<Group>) {
        let event = |&(role, _): &(Role, u64)| Event { role, name: role.to_string(), code: EventCode::new(4, 1) };
        let groups = vec![Group {
            name: "g".to_owned(),
            events: counts.iter().map(event).collect(),
            pinned: true,
            ..Group::default()
        }];
        let window = |executions, counts: Vec<u64>| Sample {
            runs: 10,
            executions,
            wall_ns: 1000,
            readings: vec![Reading { counts, enabled_ns: 1, running_ns: 1 }],
            meters: Vec::new(),
            discarded: None,
        };
        let mut trial = fixture::timed_run().trials.remove(0);
        trial.baseline = vec![window(0, vec![0; counts.len()])];
        trial.samples = vec![window(1000, counts.iter().map(|(_, count)| *count).collect())];
        (trial, groups)
    }

    fn figures(counts: &[(Role, u64)]) -> Vec<(&'static str, f64)> {
        let (trial, groups) = counted(counts);
        let of = |derived: Derived| Some((derived.unit(), derived.of(&trial, &groups)?));
        Derived::ALL.into_iter().filter_map(of).collect()
    }

    #[test]
    fn intel_gets_walks_their_cycles_and_their_page_sizes() {
        let found = figures(&[
            (Role::Cycles, 50_000),
            (Role::Instructions, 20_000),
            (Role::WalksCompleted, 400),
            (Role::WalksCompleted4k, 300),
            (Role::WalksCompleted2m, 100),
            (Role::WalkCycles, 10_000),
            (Role::StlbHits, 50),
        ]);
        let expected = [
            ("walks/1000 exec", 400.0),
            ("second-level hits/1000 exec", 50.0),
            ("walks/1000 instructions", 20.0),
            ("walk cycles, % of cycles", 20.0),
            ("4K walks, % of walks", 75.0),
            ("2M walks, % of walks", 25.0),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn amd_gets_the_rate_that_its_hits_allow() {
        let found =
            figures(&[(Role::FetchHits, 9_000), (Role::StlbHits, 700), (Role::WalksCompleted, 300), (Role::Cycles, 1)]);
        assert!(found.contains(&("L1 iTLB misses, % of fetches", 10.0)), "{found:?}");
        assert!(found.contains(&("walks, % of fetches", 3.0)), "{found:?}");
    }

    #[test]
    fn loads_are_never_a_denominator() {
        let found = figures(&[(Role::ItlbMisses, 10), (Role::ItlbLoads, 20), (Role::Instructions, 10_000)]);
        assert_eq!(found, [("iTLB-load-misses/1000 instructions", 1.0)]);
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!(
            figures(&[(Role::WalksCompleted, 0), (Role::WalksCompleted4k, 0), (Role::Instructions, 0)]),
            [("walks/1000 exec", 0.0)]
        );
    }
}
