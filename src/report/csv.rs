//! Tables for other programs: one line a case and metric, then those of a victim, of several CPUs and of churn; numbers at full
//! precision, empty where there is none.

use super::{Summary, columns, units};
use crate::compare::Effect;
use crate::compare::pairing::arm_name;
use crate::samples::Metric;
use crate::workload::Case;

/// One line of cells as RFC 4180 wants them.
pub fn line(cells: &[String]) -> String {
    let quoted = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    cells.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n"
}

/// A number so that it reads back as it was; nothing for none, and for what is not finite.
pub fn number(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map(|value| value.to_string()).unwrap_or_default()
}

const BEHIND_CASE: [&str; 20] = [
    "metric",
    "unit",
    "provenance",
    "trials",
    "trials_left_out",
    "windows",
    "median",
    "median_low",
    "median_high",
    "p50",
    "p90",
    "p99",
    "pages_4k_fewest",
    "pages_4k_most",
    "regions_2m",
    "ratio_to_pack_on",
    "ratio_low",
    "ratio_high",
    "p",
    "verdict",
];

fn head() -> Vec<String> {
    columns::CASE.iter().chain(&BEHIND_CASE).map(|name| (*name).to_owned()).collect()
}

/// The figures of every case and metric, echoes too, and on the lines of the other arms the effect against pack on.
pub fn csv(summary: &Summary<'_>) -> String {
    let mut text = line(&head());
    for case in &summary.cases {
        for (&metric, spread) in &case.metrics {
            let (low, high) = spread.interval.unzip();
            let mut cells = columns::case(&case.case).to_vec();
            cells.extend([
                super::lkp::key(metric).to_owned(),
                units::label(metric).to_owned(),
                units::provenance(metric, summary.run.manifest.machine).to_owned(),
            ]);
            cells.extend([spread.trials, case.trials_left_out, spread.windows].map(|n| n.to_string()));
            cells.extend([Some(spread.median), low, high].map(number));
            cells.extend([spread.p50, spread.p90, spread.p99].map(|value| number(Some(value))));
            cells.extend([case.pages.0, case.pages.1, case.footprint.regions_2m].map(|n| n.to_string()));
            cells.extend(effect_cells(effect(summary, &case.case, metric)));
            text += &line(&cells);
        }
    }
    text + &super::company_csv::lines(summary)
}

/// The effect whose candidate `case` is: the same under pack on is its baseline.
fn effect<'a>(summary: &'a Summary<'_>, case: &Case, metric: Metric) -> Option<&'a Effect> {
    let arm = arm_name(case.pack);
    let is_it = |effect: &&Effect| {
        effect.metric == metric
            && effect.candidate.name == arm
            && Case { pack: case.pack, ..effect.case.clone() } == *case
    };
    summary.effects.iter().find(is_it)
}

fn effect_cells(effect: Option<&Effect>) -> [String; 5] {
    let (low, high) = effect.and_then(|effect| effect.interval).unzip();
    let [ratio, low, high, p] = [effect.and_then(|e| e.ratio), low, high, effect.and_then(|e| e.p)].map(number);
    [ratio, low, high, p, effect.map(Effect::conclusion).unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn csv_with_a_pmu() {
        insta::assert_snapshot!(csv(&Summary::of(&fixture::pmu_run())));
    }

    #[test]
    fn every_arm_but_pack_on_has_its_effect() {
        let text = csv(&Summary::of(&fixture::four_arms_run()));
        let at = |name: &str| head().iter().position(|head| head == name).expect("a column");
        for line in text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>()) {
            assert_eq!(line[at("ratio_to_pack_on")].is_empty(), line[at("pack")] == "on", "{line:?}");
            assert_eq!(line[at("verdict")].is_empty(), line[at("pack")] == "on", "{line:?}");
        }
    }

    #[test]
    fn cells_that_need_quotes_get_them_and_all_lines_are_as_long() {
        assert_eq!(line(&["a,b".to_owned(), "c\"d".to_owned(), String::new()]), "\"a,b\",\"c\"\"d\",\n");
        assert_eq!([Some(f64::NAN), Some(f64::INFINITY), None, Some(0.1)].map(number), ["", "", "", "0.1"]);
        let text = csv(&Summary::of(&fixture::timed_run()));
        assert!(text.lines().all(|line| line.matches(',').count() == head().len() - 1), "{text}");
    }
}
