//! What may be said of an effect.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Effect;
use crate::stats;

/// Gives verdicts to the effects on one metric, one for each case.
///
/// An effect is higher or lower if its interval leaves out 1 and its p-value stays below 0.05 after Holm's correction over these
/// effects: with several numbers of programs in a run, one of them alone would otherwise look different in too many runs.
/// Effects with too few trials, or none above zero, get no verdict and take no part in the correction.
pub(super) fn decide<'a>(effects: impl Iterator<Item = &'a mut Effect>) {
    let mut able: Vec<(&mut Effect, f64, (f64, f64))> =
        effects.filter_map(|effect| testable(effect).map(|(p, interval)| (effect, p, interval))).collect();
    let adjusted = stats::holm(&able.iter().map(|(_, p, _)| *p).collect::<Vec<_>>());
    for ((effect, _, interval), p) in able.iter_mut().zip(adjusted) {
        effect.verdict = of_interval(*interval, p < stats::ALPHA);
    }
}

fn testable(effect: &Effect) -> Option<(f64, (f64, f64))> {
    let enough = effect.enough_trials() && effect.ratio.is_some();
    if enough { effect.p.zip(effect.interval) } else { None }
}

fn of_interval((low, high): (f64, f64), stands: bool) -> Verdict {
    if stands && low > 1.0 {
        Verdict::Higher
    } else if stands && high < 1.0 {
        Verdict::Lower
    } else {
        Verdict::NoDifference { within_percent: 100.0 * (low - 1.0).abs().max((high - 1.0).abs()) }
    }
}

/// The verdict on one effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The candidate costs less.
    Lower,
    /// The candidate costs more.
    Higher,
    /// Nothing shown: the interval reaches no further than `within_percent` from equality.
    NoDifference { within_percent: f64 },
    /// Too few trials to say anything.
    NotEnough,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lower => f.pad("lower"),
            Self::Higher => f.pad("higher"),
            Self::NoDifference { within_percent } => f.pad(&format!("~ (within {within_percent:.1} %)")),
            Self::NotEnough => f.pad("too few trials"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Metric;

    fn effect(p: f64, interval: (f64, f64), trials: usize) -> Effect {
        Effect {
            workload: "chain".to_owned(),
            programs: 64,
            metric: Metric::WallNs,
            baseline: "pack on",
            candidate: "pack off",
            baseline_median: 10.0,
            candidate_median: 10.0 * (interval.0 * interval.1).sqrt(),
            ratio: Some((interval.0 * interval.1).sqrt()),
            interval: Some(interval),
            p: Some(p),
            baseline_trials: trials,
            candidate_trials: trials,
            verdict: Verdict::NotEnough,
        }
    }

    fn verdicts(mut effects: Vec<Effect>) -> Vec<Verdict> {
        decide(effects.iter_mut());
        effects.into_iter().map(|effect| effect.verdict).collect()
    }

    #[test]
    fn an_interval_beyond_one_decides() {
        let found = verdicts(vec![effect(0.001, (1.2, 1.3), 8), effect(0.001, (0.7, 0.8), 8)]);
        assert_eq!(found, [Verdict::Higher, Verdict::Lower]);
    }

    #[test]
    fn a_weak_effect_does_not_stand_beside_others_that_show_nothing() {
        let weak = effect(0.03, (1.01, 1.25), 8);
        assert_eq!(verdicts(vec![weak.clone()]), [Verdict::Higher]);
        let found = verdicts(vec![weak, effect(0.6, (0.9, 1.05), 8)]);
        let Verdict::NoDifference { within_percent } = found[0] else { panic!("{found:?}") };
        assert!((within_percent - 25.0).abs() < 1e-9);
    }

    #[test]
    fn three_a_side_are_not_enough_and_do_not_burden_the_others() {
        let found = verdicts(vec![effect(0.1, (1.5, 1.6), 3), effect(0.03, (1.01, 1.25), 8)]);
        assert_eq!(found, [Verdict::NotEnough, Verdict::Higher]);
    }
}
