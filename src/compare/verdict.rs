//! What may be said of an effect.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Effect;
use crate::samples::{Metric, Provenance};
use crate::stats;

/// Gives verdicts to the effects on one metric, one for each case and candidate.
///
/// An effect stands if its interval leaves out equality and its p-value stays below 0.05 after Holm's correction over these
/// effects: with several numbers of programs in a run, one of them alone would otherwise look different in too many runs.
/// Where a trial is zero or below there is no ratio; the interval of the shift decides then.
/// Effects with too few units get no verdict and take no part in the correction.
pub(super) fn decide<'a>(effects: impl Iterator<Item = &'a mut Effect>) {
    let mut able: Vec<(&mut Effect, f64, Reach)> =
        effects.filter_map(|effect| testable(effect).map(|(p, reach)| (effect, p, reach))).collect();
    let adjusted = stats::holm(&able.iter().map(|(_, p, _)| *p).collect::<Vec<_>>());
    let tests = able.len();
    for ((effect, _, reach), p) in able.iter_mut().zip(adjusted) {
        effect.p_holm = Some(p);
        effect.find_detectable(tests);
        effect.verdict = reach.verdict(p < stats::ALPHA);
    }
}

/// The interval that decides.
enum Reach {
    Ratio((f64, f64)),
    Shift((f64, f64)),
}

fn testable(effect: &Effect) -> Option<(f64, Reach)> {
    let p = effect.p.filter(|_| effect.enough_units())?;
    let reach = match (effect.interval, effect.shift.interval) {
        (Some(ratio), _) => Reach::Ratio(ratio),
        (None, Some(shift)) => Reach::Shift(shift),
        (None, None) => return None,
    };
    Some((p, reach))
}

impl Reach {
    fn verdict(&self, stands: bool) -> Verdict {
        let ((low, high), equal) = match *self {
            Self::Ratio(interval) => (interval, 1.0),
            Self::Shift(interval) => (interval, 0.0),
        };
        let within_percent = match self {
            Self::Ratio(_) => Some(100.0 * (low - 1.0).abs().max((high - 1.0).abs())),
            Self::Shift(_) => None,
        };
        match stands {
            true if low > equal => Verdict::Slower,
            true if high < equal => Verdict::Faster,
            _ => Verdict::NoDifference { within_percent },
        }
    }
}

/// The verdict on one effect. Every metric is a cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The candidate costs less.
    Faster,
    /// The candidate costs more.
    Slower,
    /// Nothing shown: the interval reaches no further than `within_percent` from equality; `None` where there is no ratio.
    NoDifference { within_percent: Option<f64> },
    /// Too few units to say anything.
    NotEnough,
    /// The hosts differ in what decides the figure; shown because it was forced.
    Incomparable,
}

impl Verdict {
    /// In the words of `metric`: times are slower, counts are higher.
    pub fn of(self, metric: Metric) -> String {
        match self {
            Self::Faster if is_count(metric) => "lower".to_owned(),
            Self::Slower if is_count(metric) => "higher".to_owned(),
            verdict => verdict.to_string(),
        }
    }

    /// Whether a difference was shown.
    pub fn is_different(self) -> bool {
        matches!(self, Self::Faster | Self::Slower)
    }
}

fn is_count(metric: Metric) -> bool {
    metric.provenance() == Provenance::Measured && metric != Metric::Cycles
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Faster => f.pad("faster"),
            Self::Slower => f.pad("slower"),
            Self::NoDifference { within_percent: Some(within) } => f.pad(&format!("~ (within {within:.1} %)")),
            Self::NoDifference { within_percent: None } => f.pad("~"),
            Self::NotEnough => f.pad("not enough"),
            Self::Incomparable => f.pad("incomparable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::effect::{SideValues, Unit};
    use crate::report::fixture;

    /// An effect on 8+8 trials that show nothing, then given `p` and `interval`.
    fn effect(p: f64, interval: (f64, f64), trials: u32) -> Effect {
        let values: Vec<f64> = (0..trials).map(|trial| 10.0 + f64::from(trial)).collect();
        let side = |name| SideValues::of(name, vec![values.clone()], Unit::Trial).unwrap();
        let case = fixture::timed_run().trials[0].case.clone();
        let mut effect = Effect::new(&case, Metric::WallNs, Unit::Trial, side("old"), side("new")).unwrap();
        if effect.enough_units() {
            (effect.p, effect.interval) = (Some(p), Some(interval));
        }
        effect
    }

    fn verdicts(mut effects: Vec<Effect>) -> Vec<Verdict> {
        decide(effects.iter_mut());
        effects.into_iter().map(|effect| effect.verdict).collect()
    }

    #[test]
    fn an_interval_beyond_one_decides() {
        let found = verdicts(vec![effect(0.001, (1.2, 1.3), 8), effect(0.001, (0.7, 0.8), 8)]);
        assert_eq!(found, [Verdict::Slower, Verdict::Faster]);
    }

    #[test]
    fn a_weak_effect_does_not_stand_beside_others_that_show_nothing() {
        let weak = effect(0.03, (1.01, 1.25), 8);
        assert_eq!(verdicts(vec![weak.clone()]), [Verdict::Slower]);
        let found = verdicts(vec![weak, effect(0.6, (0.9, 1.05), 8)]);
        let Verdict::NoDifference { within_percent: Some(within) } = found[0] else { panic!("{found:?}") };
        assert!((within - 25.0).abs() < 1e-9);
    }

    #[test]
    fn three_a_side_are_not_enough_and_do_not_burden_the_others() {
        let found = verdicts(vec![effect(0.1, (1.5, 1.6), 3), effect(0.03, (1.01, 1.25), 8)]);
        assert_eq!(found, [Verdict::NotEnough, Verdict::Slower]);
    }

    #[test]
    fn more_tests_can_see_less() {
        let detectable = |n: usize| {
            let mut effects = vec![effect(0.5, (0.9, 1.1), 8); n];
            decide(effects.iter_mut());
            effects[0].detectable_percent.unwrap()
        };
        assert!(detectable(1) < detectable(2) && detectable(2) < detectable(5));
    }

    #[test]
    fn counts_are_higher_and_times_are_slower() {
        for (metric, expected) in
            [(Metric::WallNs, "slower"), (Metric::Cycles, "slower"), (Metric::ItlbMissesPer1000, "higher")]
        {
            assert_eq!(Verdict::Slower.of(metric), expected);
        }
        assert_eq!(Verdict::NoDifference { within_percent: Some(1.25) }.of(Metric::Cycles), "~ (within 1.2 %)");
    }
}
