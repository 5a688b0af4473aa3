//! Two or more kernels: one baseline, and each candidate against it.

use super::digest::Digest;
use super::effect::{Effect, Unit};
use super::fingerprint::{self, Class, FactDiff};
use super::side::{CaseFacts, Side};
use super::verdict::{self, Verdict};
use crate::caveat::Caveat;
use crate::samples::Metric;
use crate::workload::Case;

/// Whether hosts that cannot be compared are shown beside each other all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    No,
    Yes,
}

/// One baseline and everything compared with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub baseline: Side,
    pub candidates: Vec<Candidate>,
    /// Metrics that at least one effect has, in column order.
    pub metrics: Vec<Metric>,
}

/// One kernel against the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub side: Side,
    /// Facts about both hosts, sorted by name; equal ones too.
    pub fingerprint: Vec<FactDiff>,
    /// Cases that both sides have, in the order of the baseline.
    pub cases: Vec<PairedCase>,
    /// Cases that only one side has.
    pub only_baseline: Vec<Case>,
    pub only_candidate: Vec<Case>,
    /// What the reader of these effects must know, beside what the runs say of themselves.
    pub caveats: Vec<Caveat>,
}

/// A case that both sides have.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedCase {
    pub case: Case,
    pub baseline: CaseFacts,
    pub candidate: CaseFacts,
    /// By metric, in column order.
    pub effects: Vec<Effect>,
}

/// Why sides cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("run `{run}` is given twice{also}; name each run once")]
    Twice { run: String, also: String },
    #[error(
        "`{fact}` differs: {baseline} on the baseline, {candidate} on `{name}`; {why}; --force shows the figures without a verdict"
    )]
    Incomparable { name: String, fact: String, baseline: String, candidate: String, why: &'static str },
    #[error("run `{simulated}` is simulated and `{measured}` is not; they are never compared")]
    Simulated { simulated: String, measured: String },
    #[error(
        "baseline and `{name}` have no case in common: {baseline} against {candidate}; measure the same workload with the same options on both"
    )]
    NothingInCommon { name: String, baseline: String, candidate: String },
}

impl Comparison {
    /// Compares each list of `candidates` with `baseline`; no list may be empty.
    pub fn of(baseline: Vec<Digest>, candidates: Vec<Vec<Digest>>, force: Force) -> Result<Self, CompareError> {
        refuse_doubles(&baseline, &candidates)?;
        refuse_simulated_among_measured(baseline.iter().chain(candidates.iter().flatten()))?;
        let names = super::side::names(&baseline, &candidates);
        let mut sides = names.into_iter().zip(std::iter::once(baseline).chain(candidates));
        let mut next = || sides.next().map(|(name, runs)| Side::of(name, runs));
        let Some(baseline) = next() else { unreachable!("the baseline is always there") };
        let mut candidates: Vec<Candidate> =
            std::iter::from_fn(next).map(|side| Candidate::of(&baseline, side, force)).collect::<Result<_, _>>()?;
        let effects = || candidates.iter().flat_map(Candidate::effects);
        let metrics =
            Metric::ALL.into_iter().filter(|metric| effects().any(|effect| effect.metric == *metric)).collect();
        for metric in Metric::ALL {
            let cases = candidates.iter_mut().flat_map(|candidate| &mut candidate.cases);
            verdict::decide(cases.flat_map(|case| &mut case.effects).filter(|effect| effect.metric == metric));
        }
        candidates.iter_mut().for_each(Candidate::withdraw_incomparable);
        Ok(Self { baseline, candidates, metrics })
    }

    /// The metric that claims are made of: core cycles if every side counted them, else wall time.
    pub fn primary(&self) -> Metric {
        if self.metrics.contains(&Metric::Cycles) { Metric::Cycles } else { Metric::WallNs }
    }
}

impl Candidate {
    fn of(baseline: &Side, side: Side, force: Force) -> Result<Self, CompareError> {
        let fingerprint = fingerprint::diff(baseline, &side);
        let fatal = fingerprint.iter().find(|fact| fact.class == Class::Incomparable && !is_event(fact));
        if let (Some(fact), Force::No) = (fatal, force) {
            return Err(CompareError::Incomparable {
                name: side.name,
                fact: fact.fact.clone(),
                baseline: fact.baseline.join(" and "),
                candidate: fact.candidate.join(" and "),
                why: fact.why,
            });
        }
        let (ours, theirs) = (baseline.cases(), side.cases());
        let paired = |case: &Case| PairedCase::of(case, baseline, &side);
        let cases: Vec<PairedCase> = ours.iter().filter(|case| theirs.contains(case)).filter_map(paired).collect();
        if cases.is_empty() {
            let first = |cases: &[Case]| cases.first().map_or_else(|| "no trial".to_owned(), described);
            return Err(CompareError::NothingInCommon {
                name: side.name,
                baseline: first(&ours),
                candidate: first(&theirs),
            });
        }
        let mut candidate = Self {
            caveats: Vec::new(),
            only_baseline: ours.iter().filter(|case| !theirs.contains(case)).cloned().collect(),
            only_candidate: theirs.into_iter().filter(|case| !ours.contains(case)).collect(),
            side,
            fingerprint,
            cases,
        };
        candidate.caveats = candidate.find_caveats(baseline);
        Ok(candidate)
    }

    /// Every effect, case by case.
    pub fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.cases.iter().flat_map(|case| &case.effects)
    }

    /// The facts that are not equal, gravest first.
    pub fn differences(&self) -> Vec<&FactDiff> {
        let mut found: Vec<&FactDiff> = self.fingerprint.iter().filter(|fact| fact.class != Class::Equal).collect();
        found.sort_by_key(|fact| std::cmp::Reverse(fact.class));
        found
    }

    fn find_caveats(&self, baseline: &Side) -> Vec<Caveat> {
        let mut found = Vec::new();
        let listed = |facts: Vec<&FactDiff>| facts.iter().map(|fact| fact.fact.clone()).collect::<Vec<_>>().join(", ");
        let of_class = |class| self.fingerprint.iter().filter(|fact| fact.class == class).collect::<Vec<_>>();
        if !of_class(Class::Incomparable).is_empty() {
            found.push(Caveat::Forced { facts: listed(of_class(Class::Incomparable)) });
        }
        if !of_class(Class::Confounds).is_empty() {
            found.push(Caveat::Confounded { facts: listed(of_class(Class::Confounds)) });
        }
        if baseline.shares_a_boot_with(&self.side) {
            found.push(Caveat::SharedBoot);
        }
        let unknown = (baseline.runs_without_boot() + self.side.runs_without_boot()) as u32;
        if unknown > 0 {
            found.push(Caveat::BootUnknown { runs: unknown });
        }
        found.extend(self.order_caveat(baseline));
        found.extend(self.cases.iter().filter_map(PairedCase::length_caveat));
        found
    }

    /// All boots of one side before all of the other: warming up, ageing and the day's load go with the kernel.
    fn order_caveat(&self, baseline: &Side) -> Option<Caveat> {
        let started = |side: &Side| side.runs.iter().map(|run| run.manifest.started.clone()).collect::<Vec<_>>();
        let (base, new) = (started(baseline), started(&self.side));
        if base.len() + new.len() < 4 || baseline.boots.len() + self.side.boots.len() < 4 {
            return None;
        }
        let apart = base.iter().max() < new.iter().min() || new.iter().max() < base.iter().min();
        apart.then_some(Caveat::NotInterleaved)
    }

    /// Forced figures get no verdict; an event with another code on either side voids its metric alone.
    fn withdraw_incomparable(&mut self) {
        let fatal = |fact: &&FactDiff| fact.class == Class::Incomparable;
        let all = self.fingerprint.iter().filter(fatal).any(|fact| !is_event(fact));
        let events: Vec<&str> =
            self.fingerprint.iter().filter(fatal).filter_map(|fact| fact.fact.strip_prefix(EVENT)).collect();
        let groups: Vec<_> = self.side.runs.iter().flat_map(|run| &run.manifest.groups).collect();
        let is_void = |metric: Metric| {
            let named = groups.iter().flat_map(|group| &group.events).find(|event| Some(event.role) == metric.role());
            named.is_some_and(|event| events.contains(&event.name.as_str()))
        };
        for effect in self.cases.iter_mut().flat_map(|case| &mut case.effects) {
            if all || is_void(effect.metric) {
                effect.verdict = Verdict::Incomparable;
            }
        }
    }
}

const EVENT: &str = "event ";

fn is_event(fact: &FactDiff) -> bool {
    fact.fact.starts_with(EVENT)
}

impl PairedCase {
    fn of(case: &Case, baseline: &Side, candidate: &Side) -> Option<Self> {
        let effect = |metric| {
            let (base, new) = (baseline.values(case, metric)?, candidate.values(case, metric)?);
            Effect::new(case, metric, Unit::Boot, base, new)
        };
        Some(Self {
            case: case.clone(),
            baseline: baseline.facts(case)?,
            candidate: candidate.facts(case)?,
            effects: Metric::ALL.into_iter().filter_map(effect).collect(),
        })
    }

    /// The effect on `metric`.
    pub fn effect(&self, metric: Metric) -> Option<&Effect> {
        self.effects.iter().find(|effect| effect.metric == metric)
    }

    fn length_caveat(&self) -> Option<Caveat> {
        let (base, new) = (self.baseline.jited_bytes, self.candidate.jited_bytes);
        (base != new).then(|| Caveat::JitedLengthDiffers {
            case: self.case.to_string(),
            baseline: base.0,
            candidate: new.0,
        })
    }
}

/// A case with everything that decides whether it pairs.
fn described(case: &Case) -> String {
    format!("{case}, {}, {}, stride {}, offset {}", case.trigger, case.body.text(), case.stride, case.offset)
}

fn refuse_doubles(baseline: &[Digest], candidates: &[Vec<Digest>]) -> Result<(), CompareError> {
    let all: Vec<&Digest> = baseline.iter().chain(candidates.iter().flatten()).collect();
    for (at, run) in all.iter().enumerate() {
        let same = |earlier: &&&Digest| earlier.manifest == run.manifest && earlier.trials == run.trials;
        if let Some(earlier) = all[..at].iter().find(same) {
            let also = if earlier.name == run.name { String::new() } else { format!(", also as `{}`", earlier.name) };
            return Err(CompareError::Twice { run: run.name.clone(), also });
        }
    }
    Ok(())
}

fn refuse_simulated_among_measured<'a>(runs: impl Iterator<Item = &'a Digest>) -> Result<(), CompareError> {
    use crate::runfile::manifest::MachineKind;

    let (simulated, measured): (Vec<&Digest>, Vec<&Digest>) =
        runs.partition(|run| run.manifest.machine == MachineKind::Sim);
    match (simulated.first(), measured.first()) {
        (Some(simulated), Some(measured)) => {
            Err(CompareError::Simulated { simulated: simulated.name.clone(), measured: measured.name.clone() })
        }
        _ => Ok(()),
    }
}
