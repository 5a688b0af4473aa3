//! Where the cycles between two arms went: to the iTLB as far as it was counted and costed, to rivals that moved too, and
//! the rest, which is said to be unexplained. Nothing here guesses: a term without a count or without a published or
//! calibrated cost is absent, with its reason.

use super::pairing;
use crate::counters::cost::{Cost, MissCosts};
use crate::counters::{Refusal, Role};
use crate::runfile::Run;
use crate::runfile::manifest::MachineKind;
use crate::samples::series;
use crate::stats;
use crate::workload::Case;

/// A difference per execution, candidate minus baseline: Hodges-Lehmann over the trials, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delta {
    pub value: f64,
    /// `None` with too few trials.
    pub interval: Option<(f64, f64)>,
}

/// How much a term moved.
#[derive(Clone, Debug, PartialEq)]
pub enum Amount {
    /// Cycles per execution; subtracted from what is to be explained.
    Cycles(Delta),
    /// Events per 1000 executions, without a cost anybody vouches for: shown, not subtracted.
    Events(Delta),
    Absent(String),
}

/// Whose cycles they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Itlb,
    Rival,
}

/// One term of the split.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    pub side: Side,
    pub name: String,
    pub amount: Amount,
}

/// The split of one pair of arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    pub workload: String,
    pub programs: u32,
    /// Trials of baseline and candidate that have every term that is subtracted.
    pub trials: (usize, usize),
    pub cycles: Delta,
    pub terms: Vec<Term>,
    /// Cycles less every term in cycles; `None` if no iTLB term could be costed.
    pub unexplained: Option<Delta>,
}

/// Rivals that the CPU counts in cycles itself, disjoint from iTLB stalls in Intel's top-down analysis.
const RIVAL_CYCLES: [(Role, &str); 2] =
    [(Role::FetchStallsData, "fetch stalled on L1I misses"), (Role::ResteerCycles, "resteers after mispredictions")];
/// Rivals without a published cost of one.
const RIVAL_EVENTS: [(Role, &str); 7] = [
    (Role::L1iMisses, "L1I misses"),
    (Role::L2CodeMisses, "L2 code misses"),
    (Role::Resteers, "front-end resteers"),
    (Role::L1BtbCorrections, "L1 BTB corrections"),
    (Role::L2BtbCorrections, "L2 BTB corrections"),
    (Role::DecoderOverrides, "decoder overrides"),
    (Role::BranchMisses, "branch misses"),
];

/// One split for every pair of arms with counted cycles. `calibrated` costs go before published ones. The error is the one line
/// that says why there is none.
pub fn attributions(run: &Run, calibrated: Option<&MissCosts>) -> Result<Vec<Attribution>, String> {
    if !run.manifest.groups.iter().any(|group| group.events.iter().any(|event| event.role == Role::Cycles)) {
        return Err("no attribution to iTLB or rivals: cycles were not counted".to_owned());
    }
    let published = match run.manifest.machine {
        MachineKind::Sim => MissCosts::simulated(),
        MachineKind::Kernel => MissCosts::published(run.manifest.host.cpu_id().as_ref()),
    };
    let costs = MissCosts {
        second_level_hit: calibrated.and_then(|costs| costs.second_level_hit.clone()).or(published.second_level_hit),
        walk: calibrated.and_then(|costs| costs.walk.clone()).or(published.walk),
        walk_beside: published.walk_beside,
    };
    let found: Vec<Attribution> = pairing::pairs(&pairing::cases(run))
        .iter()
        .filter_map(|(on, off)| Arms { run, on, off }.attribute(&costs))
        .collect();
    match found.is_empty() {
        true => Err("no attribution: no pair of arms has trials with counted cycles".to_owned()),
        false => Ok(found),
    }
}

/// A figure of one trial per execution, as a sum of counts times factors.
type Parts = Vec<(Role, f64)>;

/// Two arms of one run.
struct Arms<'a> {
    run: &'a Run,
    on: &'a Case,
    off: &'a Case,
}

impl Arms<'_> {
    fn attribute(&self, costs: &MissCosts) -> Option<Attribution> {
        let cycles = self.delta(&[(Role::Cycles, 1.0)])?;
        let mut subtracted: Parts = Vec::new();
        let mut terms = vec![self.walks(costs, &mut subtracted)];
        terms.extend(self.walks_beside(costs, &mut subtracted));
        terms.push(self.second_level_hits(costs, &mut subtracted));
        let costed = !subtracted.is_empty();
        for (role, name) in RIVAL_CYCLES {
            terms.push(self.in_cycles(Side::Rival, role, 1.0, name.to_owned(), &mut subtracted));
        }
        terms.extend(RIVAL_EVENTS.map(|(role, name)| self.events(Side::Rival, role, name)));
        let mut rest = vec![(Role::Cycles, 1.0)];
        rest.extend(subtracted.iter().map(|(role, cost)| (*role, -cost)));
        Some(Attribution {
            workload: self.on.workload.clone(),
            programs: self.on.programs,
            trials: (self.values(self.on, &rest).len(), self.values(self.off, &rest).len()),
            cycles,
            terms,
            unexplained: if costed { self.delta(&rest) } else { None },
        })
    }

    /// Walk cycles where the CPU counts them, else walks times a cost.
    fn walks(&self, costs: &MissCosts, subtracted: &mut Parts) -> Term {
        if self.delta(&[(Role::WalkCycles, 1.0)]).is_some() {
            return self.in_cycles(Side::Itlb, Role::WalkCycles, 1.0, "walk cycles".to_owned(), subtracted);
        }
        self.costed(Role::WalksCompleted, "walks", costs.walk.as_ref(), subtracted)
    }

    /// What walks cost beside their counted cycles, where the vendor says so.
    fn walks_beside(&self, costs: &MissCosts, subtracted: &mut Parts) -> Option<Term> {
        let Cost { cycles, source } = costs.walk_beside.as_ref()?;
        self.delta(&[(Role::WalkCycles, 1.0)])?;
        let name = format!("walks x {cycles} cycles beside ({source})");
        Some(self.in_cycles(Side::Itlb, Role::WalksCompleted, *cycles, name, subtracted))
    }

    fn second_level_hits(&self, costs: &MissCosts, subtracted: &mut Parts) -> Term {
        self.costed(Role::StlbHits, "second-level hits", costs.second_level_hit.as_ref(), subtracted)
    }

    fn costed(&self, role: Role, name: &str, cost: Option<&Cost>, subtracted: &mut Parts) -> Term {
        match cost {
            Some(Cost { cycles, source }) if self.delta(&[(role, 1.0)]).is_some() => {
                self.in_cycles(Side::Itlb, role, *cycles, format!("{name} x {cycles} cycles ({source})"), subtracted)
            }
            _ => self.events(Side::Itlb, role, name),
        }
    }

    fn in_cycles(&self, side: Side, role: Role, cost: f64, name: String, subtracted: &mut Parts) -> Term {
        let amount = match self.delta(&[(role, cost)]) {
            Some(delta) => {
                subtracted.push((role, cost));
                Amount::Cycles(delta)
            }
            None => Amount::Absent(self.why_absent(role)),
        };
        Term { side, name, amount }
    }

    fn events(&self, side: Side, role: Role, name: &str) -> Term {
        let amount = match self.delta(&[(role, 1000.0)]) {
            Some(delta) => Amount::Events(delta),
            None => Amount::Absent(self.why_absent(role)),
        };
        Term { side, name: name.to_owned(), amount }
    }

    fn why_absent(&self, role: Role) -> String {
        let refused = self.run.manifest.refused.iter().find(|refusal| refusal.event.role == role);
        let counted = self.run.manifest.groups.iter().any(|group| group.events.iter().any(|event| event.role == role));
        match refused {
            Some(Refusal { errno, .. }) => format!("refused ({errno})"),
            None if counted => "no reading counts".to_owned(),
            None => "not counted".to_owned(),
        }
    }

    fn delta(&self, parts: &[(Role, f64)]) -> Option<Delta> {
        let shift = stats::hodges_lehmann(&self.values(self.on, parts), &self.values(self.off, parts))?;
        Some(Delta { value: shift.estimate, interval: shift.interval })
    }

    /// One value for each counting trial that has every part.
    fn values(&self, case: &Case, parts: &[(Role, f64)]) -> Vec<f64> {
        let groups = &self.run.manifest.groups;
        pairing::counting(self.run, case)
            .filter_map(|trial| {
                parts.iter().try_fold(0.0, |sum, (role, factor)| {
                    Some(sum + factor * series::role_median(trial, groups, *role)?)
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Event, EventCode, Group, Reading};
    use crate::report::fixture;
    use crate::workload::PackMode;

    const ROLES: [Role; 5] =
        [Role::Cycles, Role::WalkCycles, Role::StlbHits, Role::BranchMisses, Role::FetchStallsData];

    /// Eight trials an arm; per execution pack off costs 20 walk cycles, half a second-level hit, 0.01 branch misses and 3 stalled
    /// cycles more, and `other` cycles that nothing tells of.
    fn run(roles: &[Role], other: f64) -> Run {
        let mut run = fixture::sim_run();
        let event = |&role: &Role| Event { role, name: role.to_string(), code: EventCode::new(4, 1) };
        run.manifest.groups = vec![Group {
            name: "core".to_owned(),
            events: roles.iter().map(event).collect(),
            pinned: true,
            ..Group::default()
        }];
        for trial in &mut run.trials {
            let off = if trial.case.pack == PackMode::Off { 1.0 } else { 0.0 };
            let scatter = f64::from(trial.trial) * 0.1;
            let figure = |role: &Role| match role {
                Role::Cycles => 50.0 + scatter + off * (20.0 + 3.5 + 3.0 + other),
                Role::WalkCycles => 2.0 + off * 20.0,
                Role::StlbHits => 0.1 + off * 0.5,
                Role::BranchMisses => 0.02 + off * 0.01,
                _ => 1.0 + off * 3.0,
            };
            for sample in &mut trial.samples {
                let count = |role| (figure(role) * sample.executions as f64).round() as u64;
                let counts = roles.iter().map(count).collect();
                sample.readings = vec![Reading { counts, enabled_ns: 1, running_ns: 1 }];
            }
            for sample in &mut trial.baseline {
                sample.readings = vec![Reading { counts: vec![0; roles.len()], enabled_ns: 1, running_ns: 1 }];
            }
        }
        run
    }

    fn cycles(term: &Term) -> f64 {
        let Amount::Cycles(delta) = &term.amount else { panic!("{term:?}") };
        let (low, high) = delta.interval.expect("eight trials an arm");
        assert!(low <= delta.value && delta.value <= high);
        (delta.value * 100.0).round() / 100.0
    }

    #[test]
    fn cycles_are_split_into_what_was_counted_and_the_rest() {
        let found = attributions(&run(&ROLES, 4.0), None).expect("cycles are counted");
        assert_eq!(found.len(), 3, "one for each number of programs");
        let first = &found[0];
        assert!((first.cycles.value - 30.5).abs() < 0.01, "{first:?}");
        assert_eq!(cycles(&first.terms[0]), 20.0);
        assert_eq!(
            (cycles(&first.terms[1]), first.terms[1].name.as_str()),
            (3.5, "second-level hits x 7 cycles (as the simulation is made)")
        );
        assert_eq!(cycles(&first.terms[2]), 3.0);
        let rest = first.unexplained.expect("walks were counted");
        assert!((rest.value - 4.0).abs() < 0.01 && rest.interval.is_some(), "{rest:?}");
        assert_eq!(first.trials, (8, 8));
    }

    #[test]
    fn events_without_a_cost_are_shown_and_not_subtracted() {
        let found = attributions(&run(&ROLES, 0.0), None).expect("cycles are counted");
        let misses = found[0].terms.iter().find(|term| term.name == "branch misses").expect("a rival");
        let Amount::Events(delta) = &misses.amount else { panic!("{misses:?}") };
        assert!((delta.value - 10.0).abs() < 0.1, "per 1000 executions: {delta:?}");
        assert!(found[0].unexplained.expect("walks").value.abs() < 0.01);
    }

    #[test]
    fn what_was_not_counted_says_so_and_nothing_is_explained_without_the_itlb() {
        let found = attributions(&run(&[Role::Cycles], 0.0), None).expect("cycles are counted");
        assert!(found[0].terms.iter().all(|term| matches!(&term.amount, Amount::Absent(why) if why == "not counted")));
        assert_eq!(found[0].unexplained, None);
        let none = attributions(&fixture::timed_run(), None);
        assert_eq!(none, Err("no attribution to iTLB or rivals: cycles were not counted".to_owned()));
    }

    #[test]
    fn a_calibrated_cost_goes_before_a_published_one_and_serves_where_walks_have_no_cycles() {
        let cost = |cycles| Some(Cost { cycles, source: "calibrated".to_owned() });
        let costs = MissCosts { second_level_hit: cost(9.0), walk: cost(30.0), walk_beside: None };
        let found = attributions(&run(&ROLES, 0.0), Some(&costs)).expect("cycles are counted");
        assert_eq!(cycles(&found[0].terms[1]), 4.5);
        let mut amd = run(&[Role::Cycles, Role::StlbHits, Role::WalksCompleted], 0.0);
        amd.manifest.machine = MachineKind::Kernel;
        let found = attributions(&amd, Some(&costs)).expect("cycles are counted");
        assert_eq!(
            (cycles(&found[0].terms[0]), found[0].terms[0].name.as_str()),
            (90.0, "walks x 30 cycles (calibrated)")
        );
        let found = attributions(&amd, None).expect("cycles are counted");
        assert!(matches!(found[0].terms[0].amount, Amount::Events(_)), "nobody vouches for a cost: {found:?}");
        assert_eq!(found[0].unexplained, None);
    }

    #[test]
    fn broadwell_has_seven_cycles_a_walk_beside_the_walk_cycles() {
        let mut broadwell = run(&[Role::Cycles, Role::WalkCycles, Role::StlbHits, Role::WalksCompleted], 0.0);
        broadwell.manifest.machine = MachineKind::Kernel;
        let host = &mut broadwell.manifest.host;
        host.cpu_vendor = Some("GenuineIntel".to_owned());
        (host.cpu_family, host.cpu_model_number, host.cpu_stepping) = (Some(6), Some(0x4f), Some(1));
        let found = attributions(&broadwell, None).expect("cycles are counted");
        let itlb: Vec<(&str, f64)> =
            found[0].terms[..3].iter().map(|term| (term.name.as_str(), cycles(term))).collect();
        let expected = [
            ("walk cycles", 20.0),
            ("walks x 7 cycles beside (Intel's ITLB_Misses metric)", 21.0),
            ("second-level hits x 14 cycles (Intel's ITLB_Misses metric)", 7.0),
        ];
        assert_eq!(itlb, expected);
    }

    #[test]
    fn too_few_trials_leave_the_interval_open() {
        let mut few = run(&ROLES, 0.0);
        few.trials.retain(|trial| trial.trial < 2);
        let found = attributions(&few, None).expect("cycles are counted");
        assert_eq!((found[0].cycles.interval, found[0].trials), (None, (2, 2)));
    }
}
