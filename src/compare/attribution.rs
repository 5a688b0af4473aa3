//! Where the cycles between two arms went: to the iTLB as far as it was counted and costed, to rivals that moved too, and
//! the rest, which is said to be unexplained. Nothing here guesses: a term without a count or without a published or
//! calibrated cost is absent, with its reason.

use serde::Serialize;

use super::pairing;
use crate::counters::cost::{Cost, MissCosts};
use crate::counters::{Refusal, Role};
use crate::runfile::Run;
use crate::runfile::manifest::MachineKind;
use crate::samples::series;
use crate::stats;
use crate::workload::Case;

/// A difference per execution, candidate minus baseline: Hodges-Lehmann over the trials, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Delta {
    pub value: f64,
    /// `None` with too few trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
}

/// How much a term moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", content = "amount", rename_all = "snake_case")]
pub enum Amount {
    /// Cycles per execution; subtracted from what is to be explained.
    Cycles(Delta),
    /// Events per 1000 executions, without a cost anybody vouches for: shown, not subtracted.
    Events(Delta),
    /// Events per 1000 executions whose cost is within another term.
    Within(Delta),
    Absent(String),
}

/// Whose cycles they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Itlb,
    Rival,
}

/// One term of the split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Term {
    pub side: Side,
    pub name: String,
    #[serde(flatten)]
    pub amount: Amount,
}

/// The split of one pair of arms.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attribution {
    pub workload: String,
    pub programs: u32,
    /// Trials of baseline and candidate that have every term that is subtracted.
    pub trials: (usize, usize),
    pub cycles: Delta,
    pub terms: Vec<Term>,
    /// Cycles less every term in cycles; `None` if no iTLB term could be costed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexplained: Option<Delta>,
}

/// Rivals that the CPU counts in cycles itself, disjoint from iTLB stalls in Intel's top-down analysis.
const RIVAL_CYCLES: [(Role, &str); 3] = [
    (Role::FetchStallsData, "fetch stalled on L1I misses"),
    (Role::ResteerCycles, "resteers after mispredictions"),
    (Role::UnknownBranchCycles, "branches the predictor did not know"),
];
/// Rivals that E-cores count in issue slots.
const RIVAL_SLOTS: [(Role, &str); 2] = [
    (Role::SlotsLostL1i, "issue slots lost to L1I misses"),
    (Role::SlotsLostResteer, "issue slots lost to branches the predictor did not know"),
];
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
    let costs = calibrated.map_or(published.clone(), |calibrated| before(calibrated, published));
    let found: Vec<Attribution> = pairing::pairs(&pairing::cases(run))
        .iter()
        .filter_map(|(on, off)| Arms { run, on, off }.attribute(&costs))
        .collect();
    match found.is_empty() {
        true => Err("no attribution: no pair of arms has trials with counted cycles".to_owned()),
        false => Ok(found),
    }
}

/// Calibrated costs of misses go before published ones, and before what the vendor makes of all of them together.
fn before(calibrated: &MissCosts, published: MissCosts) -> MissCosts {
    let is_whole = calibrated.walk.is_some() || calibrated.second_level_hit.is_some();
    MissCosts {
        second_level_hit: calibrated.second_level_hit.clone().or(published.second_level_hit),
        walk: calibrated.walk.clone().or(published.walk),
        slot: published.slot.filter(|_| !is_whole),
        ..published
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
        let mut terms = self.itlb(costs, &mut subtracted);
        let costed = !subtracted.is_empty();
        terms.extend(self.rivals(costs, &mut subtracted));
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

    /// Slots lost where the CPU counts those and the vendor says what one is; else walks and second-level hits.
    fn itlb(&self, costs: &MissCosts, subtracted: &mut Parts) -> Vec<Term> {
        if let Some(Cost { cycles, source }) = costs.slot.as_ref().filter(|_| self.has(Role::SlotsLostItlb)) {
            let name = format!("issue slots lost to iTLB misses / {:.0} ({source})", 1.0 / cycles);
            let within = |role, name: &str| {
                let amount = self.delta(&[(role, 1000.0)]).map_or_else(|| self.absent(role), Amount::Within);
                Term { side: Side::Itlb, name: name.to_owned(), amount }
            };
            return vec![
                self.in_cycles(Side::Itlb, name, &[(Role::SlotsLostItlb, *cycles)], subtracted),
                within(Role::WalksCompleted, "walks"),
                within(Role::StlbHits, "second-level hits"),
            ];
        }
        let mut terms = vec![self.walks(costs, subtracted)];
        terms.extend(self.walks_beside(costs, subtracted));
        terms.push(self.second_level_hits(costs, subtracted));
        terms
    }

    /// Walk cycles where the CPU counts them, else walks times a cost.
    fn walks(&self, costs: &MissCosts, subtracted: &mut Parts) -> Term {
        match self.has(Role::WalkCycles) {
            true => self.in_cycles(Side::Itlb, "walk cycles".to_owned(), &[(Role::WalkCycles, 1.0)], subtracted),
            false => self.costed(Side::Itlb, Role::WalksCompleted, "walks", costs.walk.as_ref(), subtracted),
        }
    }

    /// What walks cost beside their counted cycles, where the vendor says so.
    fn walks_beside(&self, costs: &MissCosts, subtracted: &mut Parts) -> Option<Term> {
        let Cost { cycles, source } = costs.walk_beside.as_ref().filter(|_| self.has(Role::WalkCycles))?;
        let name = format!("walks x {cycles} cycles beside ({source})");
        Some(self.in_cycles(Side::Itlb, name, &[(Role::WalksCompleted, *cycles)], subtracted))
    }

    /// Hits times their cost; without one the stalls on tags that walks do not account for, as Intel reckons `Code_STLB_Hit`.
    fn second_level_hits(&self, costs: &MissCosts, subtracted: &mut Parts) -> Term {
        let beyond = [(Role::FetchStallsTag, 1.0), (Role::WalkCycles, -1.0)];
        match (&costs.second_level_hit, &costs.tag_stall) {
            (None, Some(Cost { source, .. })) if self.delta(&beyond).is_some_and(|stalls| stalls.value > 0.0) => {
                let name = format!("second-level hits: fetch stalled on tags beyond the walk cycles ({source})");
                self.in_cycles(Side::Itlb, name, &beyond, subtracted)
            }
            (cost, _) => self.costed(Side::Itlb, Role::StlbHits, "second-level hits", cost.as_ref(), subtracted),
        }
    }

    fn rivals(&self, costs: &MissCosts, subtracted: &mut Parts) -> Vec<Term> {
        let mut terms = Vec::new();
        for (role, name) in RIVAL_CYCLES {
            terms.push(self.in_cycles(Side::Rival, name.to_owned(), &[(role, 1.0)], subtracted));
        }
        if let Some(Cost { cycles, .. }) = &costs.slot {
            for (role, name) in RIVAL_SLOTS {
                let name = format!("{name} / {:.0}", 1.0 / cycles);
                terms.push(self.in_cycles(Side::Rival, name, &[(role, *cycles)], subtracted));
            }
        }
        for (role, name) in RIVAL_EVENTS {
            let cost = match role {
                Role::Resteers => costs.resteer.as_ref(),
                Role::BranchMisses => costs.misprediction.as_ref(),
                _ => None,
            };
            terms.push(self.costed(Side::Rival, role, name, cost, subtracted));
        }
        terms
    }

    /// Events times their cost, or shown alone where nobody says what one costs.
    fn costed(&self, side: Side, role: Role, name: &str, cost: Option<&Cost>, subtracted: &mut Parts) -> Term {
        match cost.filter(|_| self.has(role)) {
            Some(Cost { cycles, source }) => {
                self.in_cycles(side, format!("{name} x {cycles} cycles ({source})"), &[(role, *cycles)], subtracted)
            }
            None => {
                let amount = self.delta(&[(role, 1000.0)]).map_or_else(|| self.absent(role), Amount::Events);
                Term { side, name: name.to_owned(), amount }
            }
        }
    }

    fn in_cycles(&self, side: Side, name: String, parts: &[(Role, f64)], subtracted: &mut Parts) -> Term {
        let amount = match self.delta(parts) {
            Some(delta) => {
                subtracted.extend(parts);
                Amount::Cycles(delta)
            }
            None => self.absent(parts[0].0),
        };
        Term { side, name, amount }
    }

    fn has(&self, role: Role) -> bool {
        self.delta(&[(role, 1.0)]).is_some()
    }

    fn absent(&self, role: Role) -> Amount {
        Amount::Absent(self.why_absent(role))
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
mod tests;
