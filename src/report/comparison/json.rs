//! A comparison for other programs, as one JSON object. What is absent has no key; no figure is rounded.

use serde::Serialize;

use super::{View, builds};
use crate::caveat::Caveat;
use crate::compare::{Candidate, Class, Side};
use crate::report::json::EffectReport;
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;
use crate::workload::Case;

/// Version of this form: it grows by keys; a key that changes its meaning raises the number.
const FORM: u32 = 1;

#[derive(Serialize)]
struct Report<'a> {
    form: u32,
    machine: MachineKind,
    primary: Metric,
    baseline: SideReport<'a>,
    candidates: Vec<CandidateReport<'a>>,
    caveats: Vec<Caveat>,
}

#[derive(Serialize)]
struct SideReport<'a> {
    name: &'a str,
    builds: String,
    boots: usize,
    runs: Vec<&'a str>,
    trials: usize,
}

#[derive(Serialize)]
struct CandidateReport<'a> {
    #[serde(flatten)]
    side: SideReport<'a>,
    effects: Vec<EffectReport<'a>>,
    differences: Vec<Difference<'a>>,
    only_baseline: &'a [Case],
    only_candidate: &'a [Case],
}

#[derive(Serialize)]
struct Difference<'a> {
    fact: &'a str,
    baseline: &'a [String],
    candidate: &'a [String],
    class: Class,
    why: &'static str,
}

/// The comparison as JSON, with a line end at its end.
pub fn json(view: &View<'_>) -> Result<String, serde_json::Error> {
    let comparison = view.comparison;
    let report = Report {
        form: FORM,
        machine: view.machine(),
        primary: comparison.primary(),
        baseline: side(&comparison.baseline),
        candidates: comparison.candidates.iter().map(|found| candidate(view, found)).collect(),
        caveats: view.caveats(),
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

fn side(side: &Side) -> SideReport<'_> {
    SideReport {
        name: &side.name,
        builds: builds(side),
        boots: side.boots.len(),
        runs: side.runs.iter().map(|run| run.name.as_str()).collect(),
        trials: side.trials().count(),
    }
}

fn candidate<'a>(view: &View<'_>, candidate: &'a Candidate) -> CandidateReport<'a> {
    let difference = |fact: &'a crate::compare::FactDiff| Difference {
        fact: &fact.fact,
        baseline: &fact.baseline,
        candidate: &fact.candidate,
        class: fact.class,
        why: fact.why,
    };
    CandidateReport {
        side: side(&candidate.side),
        effects: candidate.effects().map(|effect| EffectReport::of(effect, view.machine())).collect(),
        differences: candidate.differences().into_iter().map(difference).collect(),
        only_baseline: &candidate.only_baseline,
        only_candidate: &candidate.only_candidate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::fixture;

    #[test]
    fn json_of_three_kernels_holds_every_effect() {
        let comparison = fixture::three_kernels();
        let text = json(&View::of(&comparison)).expect("json");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let effects = |at: usize| value["candidates"][at]["effects"].as_array().expect("effects");
        assert_eq!((effects(0).len(), effects(1).len()), (30, 30));
        insta::assert_snapshot!(serde_json::to_string_pretty(&value["candidates"][0]["effects"][2]).expect("json"));
        assert_eq!(value["candidates"][1]["boots"], 2);
    }

    #[test]
    fn json_of_two_kernels() {
        insta::assert_snapshot!(json(&View::of(&fixture::two_kernels())).expect("json"));
    }
}
