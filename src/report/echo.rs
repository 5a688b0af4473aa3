//! Clocks that tell the same as the wall clock, boiled down to one line each: three equal tables prove no more than one.

use super::summary::CaseSummary;
use super::units;
use crate::compare::Effect;
use crate::samples::Metric;

/// A metric that says nothing which `of` does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Echo {
    pub metric: Metric,
    pub of: Metric,
    /// Least and greatest ratio of the medians of both, over the cases.
    pub low: f64,
    pub high: f64,
}

/// The ratio of two clocks may vary by so much over the cases; any more is news, such as time spent preempted.
const SAME_WITHIN: f64 = 1.02;

const WALL: Metric = Metric::WallNs;
const OTHERS: [Metric; 2] = [Metric::TaskClockNs, Metric::TscTicks];

/// The clocks of `cases` that keep step with the wall clock.
pub fn echoes(cases: &[CaseSummary]) -> Vec<Echo> {
    OTHERS.into_iter().filter_map(|metric| echo(cases, metric)).collect()
}

fn echo(cases: &[CaseSummary], metric: Metric) -> Option<Echo> {
    let median = |case: &CaseSummary, metric| case.metrics.get(&metric).map(|spread| spread.median);
    in_step(metric, cases.iter().map(|case| (median(case, WALL), median(case, metric))))
}

/// The clocks of `effects` that keep step with the wall clock on both sides.
pub fn echoes_of_effects(effects: &[&Effect]) -> Vec<Echo> {
    let find = |like: &Effect, metric: Metric| {
        effects.iter().copied().find(|effect| {
            effect.metric == metric && effect.case == like.case && effect.candidate.name == like.candidate.name
        })
    };
    let walls = || effects.iter().copied().filter(|effect| effect.metric == WALL);
    let echo = |metric: Metric| {
        let medians = walls().flat_map(|wall| {
            let other = find(wall, metric);
            let sides = [|effect: &Effect| effect.baseline.median, |effect: &Effect| effect.candidate.median];
            sides.map(|side| (Some(side(wall)), other.map(side)))
        });
        in_step(metric, medians)
    };
    OTHERS.into_iter().filter_map(echo).collect()
}

/// Whether each of `medians` (of the wall clock, of `metric`) is the same multiple. A place without the metric, or without time
/// at all, makes it worth a table of its own.
fn in_step(metric: Metric, medians: impl Iterator<Item = (Option<f64>, Option<f64>)>) -> Option<Echo> {
    let timed = medians.filter_map(|(wall, other)| Some((wall?, other)));
    let ratios: Option<Vec<f64>> =
        timed.map(|(wall, other)| Some(other? / wall).filter(|ratio| ratio.is_finite() && *ratio > 0.0)).collect();
    let ratios = ratios?;
    let low = ratios.iter().copied().reduce(f64::min)?;
    let high = ratios.iter().copied().reduce(f64::max)?;
    (high <= low * SAME_WITHIN).then_some(Echo { metric, of: WALL, low, high })
}

/// One sentence on all of `echoes`; `None` if there are none.
pub fn sentence(echoes: &[Echo]) -> Option<String> {
    let one = |echo: &Echo| {
        let (low, high) = (units::ratio(echo.low), units::ratio(echo.high));
        let factor = if low == high { low } else { format!("{low} to {high}") };
        format!("{} is {factor} of {}", units::label(echo.metric), units::label(echo.of))
    };
    let all: Vec<String> = echoes.iter().map(one).collect();
    (!all.is_empty()).then(|| format!("not repeated: {} in every case", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Summary, fixture};

    #[test]
    fn clocks_in_step_are_said_in_one_sentence() {
        let run = fixture::timed_run();
        let summary = Summary::of(&run);
        assert_eq!(summary.shown(), [Metric::WallNs]);
        assert_eq!(
            sentence(&summary.echoes).as_deref(),
            Some("not repeated: task ns/exec is 1.000 of wall ns/exec in every case")
        );
        assert_eq!(sentence(&[]), None);
    }

    #[test]
    fn a_clock_out_of_step_in_one_case_keeps_its_table() {
        let run = fixture::timed_run();
        let mut summary = Summary::of(&run);
        let spread = summary.cases[3].metrics.get_mut(&Metric::TaskClockNs).unwrap();
        spread.median *= 0.95;
        assert_eq!(echoes(&summary.cases), []);
        summary.cases[3].metrics.remove(&Metric::TaskClockNs);
        assert_eq!(echoes(&summary.cases), []);
    }

    #[test]
    fn what_was_measured_leads_and_is_never_folded() {
        let run = fixture::pmu_run();
        let shown = Summary::of(&run).shown();
        assert_eq!(shown, [Metric::Cycles, Metric::WallNs, Metric::Instructions, Metric::ItlbMissesPer1000]);
    }
}
