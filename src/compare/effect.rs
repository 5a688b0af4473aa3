//! The difference between two arms: a ratio of medians with its interval.

use super::verdict::Verdict;
use crate::samples::Metric;

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
    /// 95 % interval of the ratio.
    pub interval: Option<(f64, f64)>,
    /// Mann-Whitney, two-sided, exact for small n.
    pub p: Option<f64>,
    pub baseline_trials: usize,
    pub candidate_trials: usize,
    pub verdict: Verdict,
}
