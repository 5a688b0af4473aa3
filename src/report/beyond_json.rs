//! What the JSON report holds beside cases and effects: derived figures, where the cycles went, and what is modelled.

use serde::Serialize;

use super::attribution::{DerivedRow, derived};
use super::elsewhere::{Elsewhere, WORLDS};
use super::modelled::{Modelled, Row};
use super::{Reach, Summary, split};
use crate::compare::attribution::{Attribution, attributions};
use crate::model::PageSize;
use crate::model::what_if::WhatIf;
use crate::workload::{Case, PackMode};

/// Keys of the report; each is absent if there is nothing to say.
#[derive(Serialize)]
pub(super) struct Beyond<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    derived: Vec<DerivedReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attribution: Vec<Attribution>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    modelled: Vec<ModelledReport<'a>>,
}

#[derive(Serialize)]
struct DerivedReport {
    case: Case,
    unit: &'static str,
    median: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<(f64, f64)>,
    trials: usize,
}

/// What one model says.
#[derive(Serialize)]
struct ModelledReport<'a> {
    model: &'a str,
    cases: Vec<CaseReport<'a>>,
    elsewhere: Vec<WorldReport<'a>>,
    runs_out: Vec<ReachReport<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    split: &'a [split::Split],
}

/// Misses of L1 and of both levels per 1000 executions.
#[derive(Serialize)]
struct Misses {
    l1_per_1000: f64,
    walks_per_1000: f64,
}

#[derive(Serialize)]
struct CaseReport<'a> {
    case: &'a Case,
    #[serde(flatten)]
    as_mapped: Misses,
    if_2m: Misses,
    #[serde(skip_serializing_if = "Option::is_none")]
    counted_per_1000: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counted_over_modelled: Option<f64>,
}

#[derive(Serialize)]
struct WorldReport<'a> {
    workload: &'a str,
    programs: u32,
    world: WhatIf,
    #[serde(flatten)]
    misses: Misses,
}

#[derive(Serialize)]
struct ReachReport<'a> {
    workload: &'a str,
    pack: PackMode,
    jited_bytes: u32,
    page_bytes: u32,
    loaded: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    l1_programs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l2_programs: Option<u32>,
}

impl<'a> Beyond<'a> {
    /// Of a run.
    pub fn of(summary: &'a Summary<'_>) -> Self {
        Self {
            derived: derived(summary).into_iter().map(DerivedReport::from).collect(),
            attribution: attributions(summary.run, summary.calibrated.as_ref()).unwrap_or_default(),
            modelled: summary.modelled.iter().map(ModelledReport::of).collect(),
        }
    }
}

impl From<DerivedRow> for DerivedReport {
    fn from(DerivedRow { case, figure, median, interval, trials }: DerivedRow) -> Self {
        Self { case, unit: figure.unit(), median, interval, trials }
    }
}

impl<'a> ModelledReport<'a> {
    fn of(modelled: &'a Modelled) -> Self {
        Self {
            model: &modelled.model.name,
            cases: modelled.rows.iter().map(case).collect(),
            elsewhere: modelled.elsewhere.iter().flat_map(worlds).collect(),
            runs_out: modelled.reach().iter().map(runs_out).collect(),
            split: &modelled.split,
        }
    }
}

fn case(row: &Row) -> CaseReport<'_> {
    CaseReport {
        case: &row.case,
        as_mapped: Misses { l1_per_1000: row.l1, walks_per_1000: row.walks },
        if_2m: Misses { l1_per_1000: row.l1_if_2m, walks_per_1000: row.walks_if_2m },
        counted_per_1000: row.measured.map(|(counted, _)| counted),
        counted_over_modelled: row.ratio(),
    }
}

fn worlds(elsewhere: &Elsewhere) -> impl Iterator<Item = WorldReport<'_>> {
    WORLDS.into_iter().zip(&elsewhere.worlds).map(|(world, &(l1_per_1000, walks_per_1000))| WorldReport {
        workload: &elsewhere.workload,
        programs: elsewhere.programs,
        world,
        misses: Misses { l1_per_1000, walks_per_1000 },
    })
}

fn runs_out(reach: &Reach) -> ReachReport<'_> {
    ReachReport {
        workload: &reach.workload,
        pack: reach.pack,
        jited_bytes: reach.jited_bytes,
        page_bytes: if reach.pages == PageSize::Huge { 2 << 20 } else { 4096 },
        loaded: reach.loaded,
        l1_programs: reach.knees.l1,
        l2_programs: reach.knees.l2,
    }
}

#[cfg(test)]
mod tests {
    use crate::report::{Summary, fixture, json};
    use crate::twin::calibration::tests::sample;

    fn of(summary: &Summary<'_>) -> serde_json::Value {
        serde_json::from_str(&json::json(summary).expect("json")).expect("JSON")
    }

    #[test]
    fn what_is_derived_attributed_and_modelled_stands_in_the_json() {
        let run = fixture::pmu_run();
        let summary = Summary::of(&run);
        let value = of(&summary);
        assert!(value["derived"][0]["median"].is_f64(), "{}", value["derived"]);
        assert!(value["attribution"][0]["cycles"]["value"].is_f64(), "{}", value["attribution"]);
        assert!(value["attribution"][0]["terms"][0]["kind"].is_string());
        let modelled = &value["modelled"][0];
        assert_eq!(modelled["model"], "zen3");
        assert_eq!(modelled["cases"].as_array().map(Vec::len), Some(summary.modelled[0].rows.len()));
        assert!(modelled["cases"][0]["if_2m"]["walks_per_1000"].is_f64());
        assert_eq!(modelled["elsewhere"][0]["world"], "dense");
        assert!(modelled["runs_out"][0]["l1_programs"].is_u64());
        assert!(modelled["split"].is_null());
    }

    #[test]
    fn a_calibrated_split_is_given_in_numbers() {
        let run = fixture::timed_run();
        let mut calibration = sample();
        calibration.host = run.manifest.host.clone();
        let value = of(&Summary::with_models(&run, &[], Some(&calibration)));
        let split = &value["modelled"][0]["split"][1];
        let part = |name: &str| split[name].as_f64().expect("a number");
        assert_eq!((split["workload"].as_str(), split["programs"].as_u64()), (Some("chain"), Some(512)));
        assert!((part("timed_ns") - part("itlb_ns") - part("unexplained_ns")).abs() < 1e-9, "{split}");
    }
}
