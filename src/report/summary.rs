//! What every output prints: the run boiled down once, so that no two outputs can disagree.

use std::collections::BTreeMap;

use crate::caveat::Caveat;
use crate::compare::{self, Effect, pairing};
use crate::counters::cost::MissCosts;
use crate::model::geometry::Named;
use crate::placement::Footprint;
use crate::runfile::Run;
use crate::samples::{Metric, series};
use crate::stats;
use crate::trial::Trial;
use crate::twin::Calibration;
use crate::workload::Case;

use super::caveats;
use super::echo::{self, Echo};
use super::modelled::{self, Modelled};
use super::split;

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
    /// Footprint of the counting trial with the median number of 4 KiB pages; `pages` is their range. Of all trials if none counts.
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
    /// Clocks that need no table of their own.
    pub echoes: Vec<Echo>,
    /// What iTLB models say of the placements; the CPU's own first, if it is known.
    pub modelled: Vec<Modelled>,
    /// Costs of a miss from a calibration of this CPU.
    pub calibrated: Option<MissCosts>,
}

impl<'a> Summary<'a> {
    /// Boils `run` down.
    pub fn of(run: &'a Run) -> Self {
        Self::with_models(run, &[], None)
    }

    /// Boils `run` down, asks `models` beside that of its CPU, and costs the misses of the latter by `calibration`.
    pub fn with_models(run: &'a Run, models: &[Named], calibration: Option<&Calibration>) -> Self {
        let cases: Vec<CaseSummary> = pairing::cases(run).into_iter().filter_map(|case| case_of(run, case)).collect();
        let has = |metric: &Metric| cases.iter().any(|case| case.metrics.contains_key(metric));
        Self {
            run,
            metrics: Metric::ALL.into_iter().filter(has).collect(),
            effects: compare::effects(run),
            caveats: caveats::of(run),
            echoes: echo::echoes(&cases),
            calibrated: calibration.and_then(|calibration| split::miss_costs(calibration, &run.manifest.host)),
            modelled: modelled::modelled(run, &cases, modelled::models(&run.manifest, models), calibration),
            cases,
        }
    }

    /// The metric that claims are made of: core cycles if they were counted, else wall time.
    pub fn primary(&self) -> Metric {
        if self.metrics.contains(&Metric::Cycles) { Metric::Cycles } else { Metric::WallNs }
    }

    /// The metrics worth a table each, the primary one first.
    pub fn shown(&self) -> Vec<Metric> {
        let primary = self.primary();
        let is_echo = |metric: Metric| self.echoes.iter().any(|echo| echo.metric == metric);
        let others = self.metrics.iter().copied().filter(|&metric| metric != primary && !is_echo(metric));
        self.metrics.iter().copied().filter(|&metric| metric == primary).chain(others).collect()
    }
}

fn case_of(run: &Run, case: Case) -> Option<CaseSummary> {
    let all: Vec<&Trial> = run.trials.iter().filter(|trial| trial.case == case).collect();
    let placed: Vec<&Trial> = all.iter().copied().filter(|trial| trial.placed).collect();
    let shown = if placed.is_empty() { &all } else { &placed };
    let mut by_pages = shown.clone();
    by_pages.sort_by_key(|trial| trial.footprint.pages_4k);
    let (fewest, most) = (by_pages.first()?.footprint.pages_4k, by_pages.last()?.footprint.pages_4k);
    let shares: Vec<f64> = placed.iter().filter_map(|trial| series::share_in_programs_percent(trial)).collect();
    Some(CaseSummary {
        trials: placed.len(),
        trials_left_out: all.len() - placed.len(),
        windows_discarded: placed.iter().map(|trial| trial.samples.len() - trial.kept().count()).sum(),
        footprint: by_pages[(by_pages.len() - 1) / 2].footprint.clone(),
        pages: (fewest, most),
        share_in_programs_percent: stats::median(&shares),
        metrics: Metric::ALL.into_iter().filter_map(|m| Some((m, spread(run, &placed, m)?))).collect(),
        case,
    })
}

fn spread(run: &Run, trials: &[&Trial], metric: Metric) -> Option<Spread> {
    let per_trial: Vec<Vec<f64>> =
        trials.iter().filter_map(|trial| series::per_execution(trial, &run.manifest.groups, metric)).collect();
    let trial_medians: Vec<f64> = per_trial.iter().filter_map(|windows| stats::median(windows)).collect();
    let windows: Vec<f64> = per_trial.concat();
    Some(Spread {
        trials: trial_medians.len(),
        windows: windows.len(),
        median: stats::median(&trial_medians)?,
        interval: stats::median_interval(&trial_medians),
        p50: stats::quantile(&windows, 0.5)?,
        p90: stats::quantile(&windows, 0.9)?,
        p99: stats::quantile(&windows, 0.99)?,
        trial_medians,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::workload::PackMode;

    #[test]
    fn cases_come_in_the_order_of_the_plan_and_count_their_trials() {
        let run = fixture::timed_run();
        let summary = Summary::of(&run);
        let order: Vec<(u32, PackMode)> = summary.cases.iter().map(|c| (c.case.programs, c.case.pack)).collect();
        let both = |programs| [(programs, PackMode::On), (programs, PackMode::Off)];
        assert_eq!(order, [both(64), both(512), both(2048)].concat());
        assert_eq!(summary.metrics, [Metric::WallNs, Metric::TaskClockNs]);
        assert_eq!(summary.primary(), Metric::WallNs);
        let spread = &summary.cases[0].metrics[&Metric::WallNs];
        assert_eq!((spread.trials, spread.trial_medians.len()), (summary.cases[0].trials, spread.trials));
        assert!(spread.p50 <= spread.p90 && spread.p90 <= spread.p99);
    }

    #[test]
    fn left_out_trials_and_discarded_windows_are_counted_and_not_used() {
        let mut run = fixture::timed_run();
        let at = run.trials.iter().position(|t| t.case.pack == PackMode::Off && t.case.programs == 512).unwrap();
        run.trials[at].placed = false;
        run.trials[at].footprint.pages_4k = 7;
        let before = Summary::of(&run);
        let case = before.cases.iter().find(|c| c.case == run.trials[at].case).unwrap();
        assert_eq!((case.trials, case.trials_left_out), (fixture::TRIALS as usize - 1, 1));
        assert_eq!(case.metrics[&Metric::WallNs].trials, case.trials);
        assert_eq!(case.pages, (512, 512));
    }

    #[test]
    fn an_interrupted_run_shows_the_cases_it_has() {
        let run = fixture::interrupted_run();
        let summary = Summary::of(&run);
        assert_eq!(summary.cases.len(), 1);
        assert_eq!(summary.cases[0].metrics[&Metric::WallNs].interval, None);
        assert!(summary.effects.is_empty());
        assert!(summary.caveats.iter().any(|c| matches!(c, Caveat::Interrupted { trials: 1, .. })));
    }

    #[test]
    fn cycles_are_primary_where_they_were_counted() {
        assert_eq!(Summary::of(&fixture::pmu_run()).primary(), Metric::Cycles);
    }
}
