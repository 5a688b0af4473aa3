//! A comparison for other programs: one line a candidate, case and metric.

use super::View;
use crate::compare::{Effect, Method};
use crate::report::csv::{line, number};
use crate::report::{columns, lkp, units};

const BEFORE_CASE: [&str; 2] = ["baseline", "candidate"];
const BEHIND_CASE: [&str; 21] = [
    "metric",
    "unit",
    "provenance",
    "n_in",
    "baseline_n",
    "candidate_n",
    "baseline_trials",
    "candidate_trials",
    "baseline_median",
    "candidate_median",
    "ratio",
    "ratio_low",
    "ratio_high",
    "shift",
    "shift_low",
    "shift_high",
    "method",
    "p",
    "p_holm",
    "detectable_percent",
    "verdict",
];

fn head() -> Vec<String> {
    let names = BEFORE_CASE.iter().chain(&columns::CASE).chain(&BEHIND_CASE);
    names.map(|name| (*name).to_owned()).collect()
}

/// Every effect, echoes too.
pub fn csv(view: &View<'_>) -> String {
    let mut text = line(&head());
    for effect in view.comparison.candidates.iter().flat_map(crate::compare::Candidate::effects) {
        text += &line(&cells(view, effect));
    }
    text
}

fn cells(view: &View<'_>, effect: &Effect) -> Vec<String> {
    let (low, high) = effect.interval.unzip();
    let (shift_low, shift_high) = effect.shift.interval.unzip();
    let mut cells = vec![effect.baseline.name.clone(), effect.candidate.name.clone()];
    cells.extend(columns::case(&effect.case));
    cells.extend([
        lkp::key(effect.metric).to_owned(),
        units::label(effect.metric).to_owned(),
        units::provenance(effect.metric, view.machine()).to_owned(),
        units::observation(effect.unit).to_owned(),
    ]);
    let (base, new) = (&effect.baseline, &effect.candidate);
    cells.extend([base.units.len(), new.units.len(), base.trials, new.trials].map(|n| n.to_string()));
    cells.extend([Some(base.median), Some(new.median), effect.ratio, low, high].map(number));
    cells.extend([Some(effect.shift.estimate), shift_low, shift_high].map(number));
    cells.push(method(effect.method).to_owned());
    cells.extend([effect.p, effect.p_holm, effect.detectable_percent].map(number));
    cells.push(effect.conclusion());
    cells
}

/// How interval and p came about.
pub fn method(method: Method) -> &'static str {
    match method {
        Method::MannWhitney { exact: true } => "Mann-Whitney, exact",
        Method::MannWhitney { exact: false } => "Mann-Whitney, normal",
        Method::Welch => "Welch on logs",
        Method::Descriptive => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::fixture;

    #[test]
    fn csv_of_two_kernels() {
        let text = csv(&View::of(&fixture::two_kernels()));
        assert!(text.lines().all(|line| line.split(',').count() >= head().len()), "{text}");
        insta::assert_snapshot!(text);
    }
}
