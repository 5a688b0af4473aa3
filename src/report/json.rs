//! The report for other programs, as one JSON object. What is absent has no key; no figure is rounded.

use serde::Serialize;

use super::beyond_json::Beyond;
use super::company::{self, ChurnRow, ParallelRow};
use super::knees::{Sweep, sweeps};
use super::{Summary, tandem, units};
use crate::caveat::Caveat;
use crate::compare::{Effect, Method, SideValues, Unit, Verdict};
use crate::counters::{Group, Refusal};
use crate::host::Facts;
use crate::placement::Footprint;
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;
use crate::trial::record::Victim;
use crate::workload::{Case, Spec};

use super::summary::{CaseSummary, Spread};

/// Version of this form: it grows by keys; a key that changes its meaning raises the number.
const FORM: u32 = 1;

#[derive(Serialize)]
struct Report<'a> {
    form: u32,
    tool_version: &'a str,
    machine: MachineKind,
    started: &'a str,
    argv: &'a [String],
    seed: u64,
    cpu: u32,
    complete: bool,
    trials: usize,
    planned_trials: u32,
    primary: Metric,
    cases: Vec<CaseReport<'a>>,
    effects: Vec<EffectReport<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sweeps: Vec<Sweep>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parallel: Vec<ParallelRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    churn: Vec<ChurnRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tandem: Option<Tandem<'a>>,
    #[serde(flatten)]
    beyond: Beyond<'a>,
    caveats: &'a [Caveat],
    not_measured: &'a [Refusal],
    events: &'a [Group],
    workloads: &'a [Spec],
    host: &'a Facts,
}

#[derive(Serialize)]
struct Tandem<'a> {
    victim: &'a Victim,
    cases: Vec<tandem::Row>,
    between: Vec<tandem::Between>,
}

#[derive(Serialize)]
struct CaseReport<'a> {
    case: &'a Case,
    trials: usize,
    trials_left_out: usize,
    windows_discarded: usize,
    footprint: &'a Footprint,
    pages_4k: (u32, u32),
    #[serde(skip_serializing_if = "Option::is_none")]
    share_in_programs_percent: Option<f64>,
    figures: Vec<Figure<'a>>,
}

/// One metric of one case.
#[derive(Serialize)]
struct Figure<'a> {
    metric: Metric,
    unit: &'static str,
    provenance: &'static str,
    trials: usize,
    windows: usize,
    median: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<(f64, f64)>,
    p50: f64,
    p90: f64,
    p99: f64,
    trial_medians: &'a [f64],
}

/// One effect, with every figure that a verdict rests on.
#[derive(Debug, Serialize)]
pub struct EffectReport<'a> {
    /// On the baseline's side.
    case: &'a Case,
    metric: Metric,
    unit: &'static str,
    provenance: &'static str,
    baseline: SideReport<'a>,
    candidate: SideReport<'a>,
    observation: Unit,
    #[serde(flatten)]
    method: Method,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_interval: Option<(f64, f64)>,
    shift: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shift_interval: Option<(f64, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p_holm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detectable_percent: Option<f64>,
    #[serde(flatten)]
    verdict: Verdict,
    conclusion: String,
}

/// One side of an effect.
#[derive(Debug, Serialize)]
struct SideReport<'a> {
    name: &'a str,
    median: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<(f64, f64)>,
    trials: usize,
    /// The trials' medians, boot by boot.
    boots: &'a [Vec<f64>],
}

impl<'a> EffectReport<'a> {
    /// The report of `effect` from runs on `machine`.
    pub(super) fn of(effect: &'a Effect, machine: MachineKind) -> Self {
        let side = |values: &'a SideValues| SideReport {
            name: &values.name,
            median: values.median,
            interval: values.interval,
            trials: values.trials,
            boots: &values.boots,
        };
        Self {
            case: &effect.case,
            metric: effect.metric,
            unit: units::label(effect.metric),
            provenance: units::provenance(effect.metric, machine),
            baseline: side(&effect.baseline),
            candidate: side(&effect.candidate),
            observation: effect.unit,
            method: effect.method,
            ratio: effect.ratio,
            ratio_interval: effect.interval,
            shift: effect.shift.estimate,
            shift_interval: effect.shift.interval,
            p: effect.p,
            p_holm: effect.p_holm,
            detectable_percent: effect.detectable_percent,
            verdict: effect.verdict,
            conclusion: effect.conclusion(),
        }
    }
}

/// The run as JSON, with a line end at its end.
pub fn json(summary: &Summary<'_>) -> Result<String, serde_json::Error> {
    let manifest = &summary.run.manifest;
    let report = Report {
        form: FORM,
        tool_version: &manifest.tool_version,
        machine: manifest.machine,
        started: &manifest.started,
        argv: &manifest.argv,
        seed: manifest.seed,
        cpu: manifest.cpu,
        complete: summary.run.complete,
        trials: summary.run.trials.len(),
        planned_trials: manifest.planned_trials,
        primary: summary.primary(),
        cases: summary.cases.iter().map(|found| case(found, manifest.machine)).collect(),
        effects: summary.effects.iter().map(|effect| EffectReport::of(effect, manifest.machine)).collect(),
        sweeps: sweeps(summary),
        parallel: company::parallel(summary),
        churn: company::churn(summary),
        tandem: tandem::of_run(summary).map(|(victim, cases)| Tandem {
            victim,
            between: tandem::between(&cases),
            cases,
        }),
        beyond: Beyond::of(summary),
        caveats: &summary.caveats,
        not_measured: &manifest.refused,
        events: &manifest.groups,
        workloads: &manifest.workloads,
        host: &manifest.host,
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

fn case(case: &CaseSummary, machine: MachineKind) -> CaseReport<'_> {
    CaseReport {
        case: &case.case,
        trials: case.trials,
        trials_left_out: case.trials_left_out,
        windows_discarded: case.windows_discarded,
        footprint: &case.footprint,
        pages_4k: case.pages,
        share_in_programs_percent: case.share_in_programs_percent,
        figures: case.metrics.iter().map(|(&metric, spread)| figure(metric, spread, machine)).collect(),
    }
}

fn figure(metric: Metric, spread: &Spread, machine: MachineKind) -> Figure<'_> {
    Figure {
        metric,
        unit: units::label(metric),
        provenance: units::provenance(metric, machine),
        trials: spread.trials,
        windows: spread.windows,
        median: spread.median,
        interval: spread.interval,
        p50: spread.p50,
        p90: spread.p90,
        p99: spread.p99,
        trial_medians: &spread.trial_medians,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn json_of_an_interrupted_run() {
        insta::assert_snapshot!(json(&Summary::of(&fixture::interrupted_run())).expect("json"));
    }

    #[test]
    fn every_figure_is_a_number() {
        let value: serde_json::Value =
            serde_json::from_str(&json(&Summary::of(&fixture::pmu_run())).expect("json")).expect("JSON");
        let cases = value["cases"].as_array().expect("cases");
        assert_eq!(cases.len(), 6);
        for figure in cases.iter().flat_map(|case| case["figures"].as_array().expect("figures")) {
            assert!(figure["median"].is_f64() && figure["p99"].is_f64(), "{figure}");
        }
        assert_eq!(value["effects"].as_array().expect("effects").len(), 15);
    }
}
