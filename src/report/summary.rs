//! What every output prints: the run boiled down once, so that no two outputs can disagree.

use std::collections::BTreeMap;

use crate::caveat::Caveat;
use crate::compare::Effect;
use crate::placement::Footprint;
use crate::runfile::Run;
use crate::samples::Metric;
use crate::workload::Case;

/// One metric of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Trials behind it; the unit of every interval within one boot.
    pub trials: usize,
    /// Windows behind the percentiles.
    pub windows: usize,
    /// Median of the trials' medians.
    pub median: f64,
    /// 95 % interval of that median; `None` with too few trials.
    pub interval: Option<(f64, f64)>,
    /// Percentiles over all windows of all trials.
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    /// Every trial's median, in trial order, for dot plots.
    pub trial_medians: Vec<f64>,
}

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseSummary {
    pub case: Case,
    /// Trials that count, and those left out because their placement missed.
    pub trials: usize,
    pub trials_left_out: usize,
    pub windows_discarded: usize,
    /// Footprint of the trial with the median number of pages; `pages` is the range over all trials.
    pub footprint: Footprint,
    pub pages: (u32, u32),
    /// Share of a window's wall time spent in measured programs, in percent (against the empty baseline).
    pub share_in_programs_percent: Option<f64>,
    pub metrics: BTreeMap<Metric, Spread>,
}

/// The run, boiled down.
#[derive(Debug)]
pub struct Summary<'a> {
    pub run: &'a Run,
    /// Metrics that at least one case has, in column order.
    pub metrics: Vec<Metric>,
    /// In the order of the plan.
    pub cases: Vec<CaseSummary>,
    /// Pack off against pack on, per workload, number of programs and metric.
    pub effects: Vec<Effect>,
    /// Of the run and of its trials, each once.
    pub caveats: Vec<Caveat>,
}
