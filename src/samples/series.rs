//! Per-execution figures of a trial, window by window, with the empty-program baseline subtracted.

use super::Metric;
use crate::counters::{Group, Role};
use crate::stats;
use crate::trial::{Sample, Trial};

/// What `metric` counts in one window, undivided: nanoseconds or events. `None` if no group holds its event.
pub fn window_total(sample: &Sample, groups: &[Group], metric: Metric) -> Option<u64> {
    let Some(role) = metric.role() else {
        return Some(sample.wall_ns);
    };
    total_of(position(groups, role)?)(sample)
}

/// Where the first event of `role` stands in a window's readings: group, and event in it.
fn position(groups: &[Group], role: Role) -> Option<(usize, usize)> {
    groups.iter().enumerate().find_map(|(at, group)| {
        let event = group.events.iter().position(|event| event.role == role)?;
        Some((at, event))
    })
}

/// `metric` of every kept window, in window order: `(total - runs * baseline) / executions`, times the metric's denominator, where
/// baseline is the median over the trial's kept empty-program windows of their total per run of the trigger.
/// Tiny programs may come out below zero; such values are noise around zero and stay. `None` if the event was not counted, or
/// no baseline window or no window was kept.
pub fn per_execution(trial: &Trial, groups: &[Group], metric: Metric) -> Option<Vec<f64>> {
    let factor = f64::from(metric.executions());
    let Some(role) = metric.role() else {
        return net(trial, factor, |sample| Some(sample.wall_ns));
    };
    net(trial, factor, total_of(position(groups, role)?))
}

/// What stands at a position of a window's readings.
fn total_of((group, event): (usize, usize)) -> impl Fn(&Sample) -> Option<u64> {
    move |sample| sample.readings.get(group)?.counts.get(event).copied()
}

/// One trial's events of `role` per execution, the empty program subtracted: median over its kept windows.
pub fn role_median(trial: &Trial, groups: &[Group], role: Role) -> Option<f64> {
    stats::median(&net(trial, 1.0, total_of(position(groups, role)?))?)
}

/// `factor * (total - runs * baseline) / executions` of every kept window.
fn net(trial: &Trial, factor: f64, total: impl Fn(&Sample) -> Option<u64>) -> Option<Vec<f64>> {
    let baseline = baseline_per_run(trial, &total)?;
    let values: Vec<f64> = trial
        .kept()
        .filter(|sample| sample.executions > 0)
        .filter_map(|sample| {
            let net = total(sample)? as f64 - sample.runs as f64 * baseline;
            Some(net / sample.executions as f64 * factor)
        })
        .collect();
    (!values.is_empty()).then_some(values)
}

/// Median of [`per_execution`]: the trial's one value of `metric`.
pub fn trial_median(trial: &Trial, groups: &[Group], metric: Metric) -> Option<f64> {
    stats::median(&per_execution(trial, groups, metric)?)
}

/// Share of a window's wall time that the measured programs took, in percent: `1 - runs * baseline / window`, median over the
/// kept windows. What is left is the trigger's own cost.
pub fn share_in_programs_percent(trial: &Trial) -> Option<f64> {
    let baseline = baseline_per_run(trial, |sample| Some(sample.wall_ns))?;
    let shares: Vec<f64> = trial
        .kept()
        .filter(|sample| sample.wall_ns > 0)
        .map(|sample| 100.0 * (1.0 - sample.runs as f64 * baseline / sample.wall_ns as f64))
        .collect();
    stats::median(&shares)
}

/// Cost of one run of the trigger with the empty program in place of the measured ones.
fn baseline_per_run(trial: &Trial, total: impl Fn(&Sample) -> Option<u64>) -> Option<f64> {
    let kept = trial.baseline.iter().filter(|sample| sample.discarded.is_none() && sample.runs > 0);
    let per_run: Vec<f64> = kept.filter_map(|sample| Some(total(sample)? as f64 / sample.runs as f64)).collect();
    stats::median(&per_run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Reading, Unusable};
    use crate::report::fixture;

    /// 10 runs of 100 executions, 52 ns and 0.3 misses each, on an empty run of 200 ns and 5 misses.
    fn trial() -> (Trial, Vec<Group>) {
        let groups = fixture::pmu_groups();
        let window = |wall_ns: u64, misses: u64| Sample {
            runs: 10,
            executions: 1000,
            wall_ns,
            readings: vec![
                Reading { counts: vec![7, 8, misses], enabled_ns: 1, running_ns: 1 },
                Reading { counts: vec![9], enabled_ns: 1, running_ns: 1 },
            ],
            meters: Vec::new(),
            discarded: None,
        };
        let mut trial = fixture::timed_run().trials.remove(0);
        trial.baseline = vec![window(2000, 50), window(2000, 50), window(90_000, 5000)];
        trial.samples = vec![window(54_000, 350), window(1000, 20)];
        (trial, groups)
    }

    #[test]
    fn the_empty_program_is_subtracted_once_per_run() {
        let (trial, groups) = trial();
        assert_eq!(per_execution(&trial, &groups, Metric::WallNs), Some(vec![52.0, -1.0]));
        assert_eq!(per_execution(&trial, &groups, Metric::ItlbMissesPer1000), Some(vec![300.0, -30.0]));
        assert_eq!(trial_median(&trial, &groups, Metric::WallNs), Some(25.5));
    }

    #[test]
    fn discarded_windows_do_not_count_on_either_side() {
        let (mut trial, groups) = trial();
        trial.samples[1].discarded = Some(Unusable::Multiplexed);
        trial.baseline[0].discarded = Some(Unusable::Multiplexed);
        trial.baseline[2].discarded = Some(Unusable::Empty);
        assert_eq!(per_execution(&trial, &groups, Metric::WallNs), Some(vec![52.0]));
        trial.samples[0].discarded = Some(Unusable::Empty);
        assert_eq!(per_execution(&trial, &groups, Metric::WallNs), None);
    }

    #[test]
    fn an_event_that_was_not_opened_is_absent() {
        let (trial, groups) = trial();
        assert_eq!(per_execution(&trial, &groups, Metric::DtlbMissesPer1000), None);
        assert_eq!(per_execution(&trial, &[], Metric::Cycles), None);
    }

    #[test]
    fn without_a_baseline_nothing_is_claimed() {
        let (mut trial, groups) = trial();
        trial.baseline.clear();
        assert_eq!(per_execution(&trial, &groups, Metric::WallNs), None);
        assert_eq!(share_in_programs_percent(&trial), None);
    }

    #[test]
    fn the_share_in_programs_is_what_the_trigger_leaves() {
        let (mut trial, _) = trial();
        trial.samples.truncate(1);
        let share = share_in_programs_percent(&trial).unwrap();
        assert!((share - 100.0 * 52.0 / 54.0).abs() < 1e-9, "{share}");
    }
}
