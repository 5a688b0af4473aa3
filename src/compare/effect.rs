//! The difference between two arms: a ratio of medians with its interval.

use super::pairing::{BASELINE, CANDIDATE};
use super::verdict::Verdict;
use crate::samples::Metric;
use crate::stats;
use crate::workload::Case;

/// Candidate (`pack off`) against baseline (`pack on`) of one workload, number of programs and metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    pub workload: String,
    pub programs: u32,
    pub metric: Metric,
    pub baseline: &'static str,
    pub candidate: &'static str,
    /// Medians of the trials' medians.
    pub baseline_median: f64,
    pub candidate_median: f64,
    /// candidate / baseline; `None` where the baseline is zero or below.
    pub ratio: Option<f64>,
    /// 95 % interval of the ratio: Hodges-Lehmann on the logs of the trials' medians, by the distribution of Mann-Whitney's U.
    /// `None` where a trial's median is zero or below, or with too few trials.
    pub interval: Option<(f64, f64)>,
    /// Mann-Whitney, two-sided, exact for small n; not corrected for the number of cases.
    pub p: Option<f64>,
    pub baseline_trials: usize,
    pub candidate_trials: usize,
    pub verdict: Verdict,
}

impl Effect {
    /// The verdict in words, or why there is none.
    pub fn conclusion(&self) -> String {
        match self.verdict {
            Verdict::NotEnough if self.ratio.is_none() => format!("no ratio: {} is not above 0", self.baseline),
            Verdict::NotEnough if self.enough_trials() => "no interval: a trial is not above 0".to_owned(),
            verdict => verdict.to_string(),
        }
    }

    /// At least 4+4: below, even complete separation has p = 0.1.
    pub fn enough_trials(&self) -> bool {
        self.baseline_trials.min(self.candidate_trials) >= LEAST_TRIALS
    }
}

/// Fewest trials a side for which a verdict is given.
const LEAST_TRIALS: usize = 4;

/// The trials' medians of both arms, neither empty.
#[derive(Debug)]
pub(super) struct Sides {
    baseline: Vec<f64>,
    candidate: Vec<f64>,
    baseline_median: f64,
    candidate_median: f64,
}

impl Sides {
    /// `None` if an arm has no value.
    pub(super) fn of(baseline: Vec<f64>, candidate: Vec<f64>) -> Option<Self> {
        let baseline_median = stats::median(&baseline)?;
        let candidate_median = stats::median(&candidate)?;
        Some(Self { baseline, candidate, baseline_median, candidate_median })
    }

    /// The effect on `metric` at the point of the matrix that `on` stands for. Its verdict is still open.
    pub(super) fn effect(&self, on: &Case, metric: Metric) -> Effect {
        Effect {
            workload: on.workload.clone(),
            programs: on.programs,
            metric,
            baseline: BASELINE,
            candidate: CANDIDATE,
            baseline_median: self.baseline_median,
            candidate_median: self.candidate_median,
            ratio: (self.baseline_median > 0.0).then(|| self.candidate_median / self.baseline_median),
            interval: self.interval(),
            p: stats::mann_whitney(&self.baseline, &self.candidate).map(|test| test.p),
            baseline_trials: self.baseline.len(),
            candidate_trials: self.candidate.len(),
            verdict: Verdict::NotEnough,
        }
    }

    fn interval(&self) -> Option<(f64, f64)> {
        let (baseline, candidate) = (logs(&self.baseline)?, logs(&self.candidate)?);
        let (low, high) = stats::hodges_lehmann(&baseline, &candidate)?.interval?;
        Some((low.exp(), high.exp()))
    }
}

/// `None` if a value has no logarithm.
fn logs(values: &[f64]) -> Option<Vec<f64>> {
    values.iter().map(|value| (*value > 0.0).then(|| value.ln())).collect()
}
