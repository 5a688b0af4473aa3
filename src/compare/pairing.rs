//! Which trials stand against which within one run: every other arm against pack on, the trial being the unit.

use crate::runfile::Run;
use crate::runfile::manifest::Design;
use crate::samples::Metric;
use crate::trial::Trial;
use crate::workload::{Case, PackMode};

use super::digest::{Digest, TrialDigest};
use super::effect::{Effect, SideValues, Unit};
use super::verdict;

/// Names of the two arms that every run has, in every output.
pub const BASELINE: &str = arm_name(PackMode::On);
pub const CANDIDATE: &str = arm_name(PackMode::Off);

/// Name of an arm in every output.
pub const fn arm_name(arm: PackMode) -> &'static str {
    match arm {
        PackMode::On => "pack on",
        PackMode::Off => "pack off",
        PackMode::OffTwoMeg => "pack off-2m",
        PackMode::Placebo => "placebo",
    }
}

/// Every case of `run` that has a trial: in the order of the plan, then any that the plan does not name.
pub fn cases(run: &Run) -> Vec<Case> {
    let planned = run.manifest.workloads.iter().flat_map(|spec| {
        spec.programs.iter().flat_map(move |&programs| spec.pack.iter().map(move |&pack| spec.case(programs, pack)))
    });
    let mut cases: Vec<Case> = planned.filter(|case| run.trials.iter().any(|trial| trial.case == *case)).collect();
    for trial in &run.trials {
        if !cases.contains(&trial.case) {
            cases.push(trial.case.clone());
        }
    }
    cases
}

/// The trials of `case` that count: those whose placement reached its goal.
pub fn counting<'a>(run: &'a Run, case: &'a Case) -> impl Iterator<Item = &'a Trial> {
    run.trials.iter().filter(move |trial| trial.placed && trial.case == *case)
}

/// Every other arm against pack on for every workload, number of programs and metric that both have.
pub fn effects(run: &Run) -> Vec<Effect> {
    arms(&Digest::of("", run))
}

/// The same from a digest. A run of one arm has no effects. A difference stands only after Holm over the cases of one metric.
/// A run made with `--aa` has each case against itself instead.
pub fn arms(run: &Digest) -> Vec<Effect> {
    let mut effects = open_effects(run);
    for metric in Metric::ALL {
        verdict::decide(effects.iter_mut().filter(|effect| effect.metric == metric));
    }
    effects
}

/// The effects of [`arms`] before any verdict.
pub(super) fn open_effects(run: &Digest) -> Vec<Effect> {
    let cases = run.cases();
    let metrics = || Metric::ALL.into_iter();
    match run.manifest.design {
        Design::Arms => {
            let of = |(on, other): &(Case, Case)| {
                metrics().filter_map(|metric| effect(run, on, other, metric)).collect::<Vec<_>>()
            };
            against_on(&cases).iter().flat_map(of).collect()
        }
        Design::AgainstItself => {
            cases.iter().flat_map(|case| metrics().filter_map(|metric| against_itself(run, case, metric))).collect()
        }
    }
}

/// Names of the two halves of a case that is measured against itself.
pub const HALVES: [&str; 2] = ["A", "B"];

/// Trials 0, 3, 4, 7, ... of `case` against trials 1, 2, 5, 6, ...: the order in which [`crate::workload::Plan`] runs the arms of
/// a number of programs.
fn against_itself(run: &Digest, case: &Case, metric: Metric) -> Option<Effect> {
    let half = |at: usize| {
        let mine = |trial: &&TrialDigest| usize::from(matches!(trial.trial % 4, 1 | 2)) == at;
        let values = run.counting(case).filter(mine).filter_map(|trial| trial.values.get(&metric).copied()).collect();
        SideValues::of(HALVES[at], vec![values], Unit::Trial)
    };
    Effect::new(case, metric, Unit::Trial, half(0)?, half(1)?)
}

/// The cases that differ in nothing but the arm, as (pack on, pack off).
pub(super) fn pairs(cases: &[Case]) -> Vec<(Case, Case)> {
    against_on(cases).into_iter().filter(|(_, other)| other.pack == PackMode::Off).collect()
}

/// The cases that differ in nothing but the arm, as (pack on, another arm), in the order of the arms.
fn against_on(cases: &[Case]) -> Vec<(Case, Case)> {
    let on = cases.iter().filter(|case| case.pack == PackMode::On);
    on.flat_map(|on| {
        let others = [PackMode::Off, PackMode::OffTwoMeg, PackMode::Placebo].map(|pack| Case { pack, ..on.clone() });
        others.into_iter().filter(|other| cases.contains(other)).map(|other| (on.clone(), other))
    })
    .collect()
}

fn effect(run: &Digest, on: &Case, other: &Case, metric: Metric) -> Option<Effect> {
    let side = |case: &Case| SideValues::of(arm_name(case.pack), vec![run.values(case, metric)], Unit::Trial);
    Effect::new(on, metric, Unit::Trial, side(on)?, side(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Verdict;
    use crate::report::fixture;

    fn of(run: &Run, programs: u32, metric: Metric) -> Effect {
        let found = effects(run).into_iter().find(|e| e.case.programs == programs && e.metric == metric);
        found.expect("both arms have it")
    }

    #[test]
    fn spread_programs_cost_more_where_they_do() {
        let effect = of(&fixture::timed_run(), 2048, Metric::WallNs);
        assert_eq!(effect.verdict, Verdict::Slower);
        let (low, high) = effect.interval.unwrap();
        let ratio = effect.ratio.unwrap();
        assert!(1.0 < low && low < ratio && ratio < high, "{effect:?}");
        assert!((effect.candidate.median / effect.baseline.median / ratio - 1.0).abs() < 0.01, "{effect:?}");
        assert_eq!((&*effect.baseline.name, &*effect.candidate.name), (BASELINE, CANDIDATE));
    }

    #[test]
    fn no_difference_says_how_much_could_hide() {
        let effect = of(&fixture::timed_run(), 64, Metric::WallNs);
        let (low, high) = effect.interval.unwrap();
        let Verdict::NoDifference { within_percent: Some(within_percent) } = effect.verdict else {
            panic!("{effect:?}")
        };
        assert!(low < 1.0 && high > 1.0);
        assert!((within_percent - 100.0 * (1.0 - low).max(high - 1.0)).abs() < 1e-9);
    }

    #[test]
    fn every_other_arm_stands_against_pack_on() {
        let run = fixture::four_arms_run();
        let found = effects(&run);
        let at = |candidate| {
            let of =
                |e: &&Effect| e.candidate.name == candidate && e.case.programs == 2048 && e.metric == Metric::WallNs;
            found.iter().find(of).unwrap().verdict
        };
        assert_eq!((at("pack off"), at("pack off-2m")), (Verdict::Slower, Verdict::Slower));
        assert!(matches!(at("placebo"), Verdict::NoDifference { .. }));
        let cases = cases(&run);
        assert_eq!(pairs(&cases).len() * 3, against_on(&cases).len());
    }

    #[test]
    fn one_arm_alone_has_no_effect() {
        let mut run = fixture::timed_run();
        run.trials.retain(|trial| trial.case.pack == PackMode::On);
        assert!(effects(&run).is_empty());
        assert!(!cases(&run).is_empty());
    }

    #[test]
    fn fewer_than_four_trials_a_side_never_get_a_verdict() {
        let mut run = fixture::timed_run();
        run.trials.retain(|trial| trial.trial < 3 || trial.case.pack == PackMode::On);
        let effect = of(&run, 2048, Metric::WallNs);
        assert_eq!((effect.verdict, effect.candidate.trials), (Verdict::NotEnough, 3));
        assert!(effect.ratio.is_some());
    }

    #[test]
    fn trials_whose_placement_missed_are_left_out() {
        let mut run = fixture::timed_run();
        let full = of(&run, 2048, Metric::WallNs).candidate.trials;
        let missed = run.trials.iter_mut().find(|t| t.case.programs == 2048 && t.case.pack == PackMode::Off);
        missed.unwrap().placed = false;
        assert_eq!(of(&run, 2048, Metric::WallNs).candidate.trials, full - 1);
    }

    #[test]
    fn a_baseline_of_nothing_gives_no_ratio_and_the_shift_decides() {
        let effect = of(&fixture::pmu_run(), 64, Metric::ItlbMissesPer1000);
        assert!(effect.baseline.median <= 0.0 && effect.candidate.median > 0.0, "{effect:?}");
        assert_eq!((effect.ratio, effect.interval, effect.detectable_percent), (None, None, None));
        assert_eq!(effect.verdict, Verdict::Slower);
        assert_eq!(effect.conclusion(), "higher");
        let (low, high) = effect.shift.interval.unwrap();
        assert!(0.0 < low && low <= effect.shift.estimate && effect.shift.estimate <= high, "{effect:?}");
    }
}
