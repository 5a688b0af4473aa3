//! The difference between two sides: a ratio with its interval, the shift, the test, and what it could have found.

use serde::{Deserialize, Serialize};

use super::verdict::Verdict;
use crate::samples::Metric;
use crate::stats::{self, Shift, Welch};
use crate::workload::Case;

/// What counts as one observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Within one boot: a fresh load.
    Trial,
    /// Between kernels: the trials of one boot share its random state.
    Boot,
}

/// How interval and p-value were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Method {
    /// Mann-Whitney on the units; the interval inverts it (Hodges-Lehmann, on logs for the ratio).
    MannWhitney { exact: bool },
    /// Welch's t on the boots' means of logs: fewer than ten boots on a side.
    Welch,
    /// Too few units for a test.
    Descriptive,
}

/// Fewest units a side for a verdict: below, even complete separation has p = 0.1.
pub const LEAST_UNITS: usize = 4;
/// From so many boots a side on, ranks take the place of Welch's t.
const RANKS_FROM_BOOTS: usize = 10;
/// Efficiency of Mann-Whitney against t on normal figures, 3 / pi.
const RANK_EFFICIENCY: f64 = 3.0 / std::f64::consts::PI;
/// Chance with which the smallest detectable effect is found.
pub const POWER: f64 = 0.8;

/// The figures of one side of an effect.
#[derive(Clone, Debug, PartialEq)]
pub struct SideValues {
    /// `pack on`, or the side's kernel.
    pub name: String,
    /// The trials' medians, boot by boot, in the order they ran. No boot is empty.
    pub boots: Vec<Vec<f64>>,
    /// One per unit: the trials' medians, or the means of the boots (geometric where every trial is above zero).
    pub units: Vec<f64>,
    /// Median of the units.
    pub median: f64,
    /// 95 % interval of that median; `None` below six units.
    pub interval: Option<(f64, f64)>,
    /// Trials in all.
    pub trials: usize,
}

impl SideValues {
    /// `None` if there is no trial. Boots without one are left out.
    pub(super) fn of(name: &str, mut boots: Vec<Vec<f64>>, unit: Unit) -> Option<Self> {
        boots.retain(|trials| !trials.is_empty());
        let units: Vec<f64> = match unit {
            Unit::Trial => boots.concat(),
            Unit::Boot => boots.iter().map(|trials| center(trials)).collect(),
        };
        let trials = boots.iter().map(Vec::len).sum();
        let (median, interval) = (stats::median(&units)?, stats::median_interval(&units));
        Some(Self { name: name.to_owned(), boots, units, median, interval, trials })
    }

    /// `None` if a trial has no logarithm.
    fn logs(&self) -> Option<Vec<f64>> {
        let positive = self.boots.iter().flatten().all(|value| *value > 0.0);
        positive.then(|| self.units.iter().map(|value| value.ln()).collect())
    }
}

/// Geometric mean, or the arithmetic one if a value has no logarithm.
fn center(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.iter().all(|value| *value > 0.0) {
        (values.iter().map(|value| value.ln()).sum::<f64>() / n).exp()
    } else {
        values.iter().sum::<f64>() / n
    }
}

/// One metric of one case on two sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The case on the baseline's side.
    pub case: Case,
    pub metric: Metric,
    pub baseline: SideValues,
    pub candidate: SideValues,
    pub unit: Unit,
    pub method: Method,
    /// Candidate / baseline, as the test estimates it, so that it lies in `interval`: of geometric means (Welch), or the
    /// Hodges-Lehmann estimate on logs (Mann-Whitney), which is the ratio of medians where both sides have one shape. Without an
    /// interval the plain ratio of medians; `None` where the baseline is zero or below.
    pub ratio: Option<f64>,
    /// 95 % interval of `ratio`; `None` where a trial is zero or below, or with too few units.
    pub interval: Option<(f64, f64)>,
    /// Hodges-Lehmann, in the metric's unit.
    pub shift: Shift,
    /// Two-sided, not corrected; `None` with too few units.
    pub p: Option<f64>,
    /// After Holm's correction over the cases of the metric; what the verdict rests on.
    pub p_holm: Option<f64>,
    /// The smallest change that this many units with this spread would have called different four times in five, in percent
    /// of the baseline. `None` where there is no interval.
    pub detectable_percent: Option<f64>,
    pub verdict: Verdict,
}

impl Effect {
    /// The effect with its verdict still open.
    pub(super) fn new(
        case: &Case,
        metric: Metric,
        unit: Unit,
        baseline: SideValues,
        candidate: SideValues,
    ) -> Option<Self> {
        let shift = stats::hodges_lehmann(&baseline.units, &candidate.units)?;
        let ratio = (baseline.median > 0.0).then(|| candidate.median / baseline.median);
        let mut effect = Self {
            case: case.clone(),
            metric,
            unit,
            ratio,
            shift,
            method: Method::Descriptive,
            interval: None,
            p: None,
            p_holm: None,
            detectable_percent: None,
            verdict: Verdict::NotEnough,
            baseline,
            candidate,
        };
        if effect.enough_units() {
            effect.test();
        }
        Some(effect)
    }

    /// At least 4+4.
    pub fn enough_units(&self) -> bool {
        self.baseline.units.len().min(self.candidate.units.len()) >= LEAST_UNITS
    }

    /// The figures of both sides that `ratio` is a ratio of: the boots' geometric means under Welch's test, else medians.
    pub fn centers(&self) -> (f64, f64) {
        match self.method {
            Method::Welch => (center(&self.baseline.units), center(&self.candidate.units)),
            Method::MannWhitney { .. } | Method::Descriptive => (self.baseline.median, self.candidate.median),
        }
    }

    /// The verdict in words, or why there is none.
    pub fn conclusion(&self) -> String {
        match (self.verdict, self.unit) {
            (Verdict::NotEnough, Unit::Trial) => "too few trials".to_owned(),
            (Verdict::NotEnough, Unit::Boot) => "too few boots".to_owned(),
            (verdict, _) => verdict.of(self.metric),
        }
    }

    /// `9+9 trials`, or `4+4 boots, 48+48 trials`.
    pub fn n(&self) -> String {
        let trials = format!("{}+{} trials", self.baseline.trials, self.candidate.trials);
        match self.unit {
            Unit::Trial => trials,
            Unit::Boot => format!("{}+{} boots, {trials}", self.baseline.units.len(), self.candidate.units.len()),
        }
    }

    fn test(&mut self) {
        let logs = self.baseline.logs().zip(self.candidate.logs());
        let fewest = self.baseline.units.len().min(self.candidate.units.len());
        let welch = logs.as_ref().and_then(|(base, new)| stats::welch(base, new));
        let few_boots = self.unit == Unit::Boot && fewest < RANKS_FROM_BOOTS;
        if let (true, Some(welch)) = (few_boots, welch) {
            self.method = Method::Welch;
            self.p = Some(welch.p);
            self.interval = Some(exp(welch.interval));
            self.ratio = Some(welch.difference.exp());
            return;
        }
        if let Some(test) = stats::mann_whitney(&self.baseline.units, &self.candidate.units) {
            self.method = Method::MannWhitney { exact: test.exact };
            self.p = Some(test.p);
        }
        let shift = logs.and_then(|(base, new)| stats::hodges_lehmann(&base, &new));
        if let Some(Shift { estimate, interval: Some(interval) }) = shift {
            (self.ratio, self.interval) = (Some(estimate.exp()), Some(exp(interval)));
        }
    }

    /// What a family of `tests` effects could have found in this one.
    pub(super) fn find_detectable(&mut self, tests: usize) {
        let Some((base, new)) = self.baseline.logs().zip(self.candidate.logs()) else { return };
        let alpha = stats::ALPHA / tests.max(1) as f64;
        let reach = |welch: Welch| stats::detectable(&welch, alpha, POWER);
        let reach = stats::welch(&base, &new).map(|welch| match self.method {
            Method::MannWhitney { .. } => reach(welch) / RANK_EFFICIENCY.sqrt(),
            Method::Welch | Method::Descriptive => reach(welch),
        });
        self.detectable_percent = reach.map(|reach| 100.0 * reach.exp_m1()).filter(|percent| percent.is_finite());
    }
}

fn exp((low, high): (f64, f64)) -> (f64, f64) {
    (low.exp(), high.exp())
}
