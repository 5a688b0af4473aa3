use super::{boots, digest};
use crate::compare::{AlarmCount, Alarms, Digest, Procedure, pairing};
use crate::report::fixture;
use crate::runfile::manifest::Design;
use crate::samples::Metric;

fn of(alarms: &Alarms, procedure: Procedure) -> AlarmCount {
    alarms.0.get(&(procedure, Metric::WallNs)).copied().unwrap_or_default()
}

fn aa_run(boot: usize) -> Digest {
    let mut run = digest(&fixture::pmu_run(), "6.1", boot, 1.0);
    run.manifest.design = Design::AgainstItself;
    run
}

#[test]
fn a_run_against_itself_pits_the_halves_of_every_case() {
    let run = aa_run(0);
    let effects = pairing::arms(&run);
    let wall: Vec<_> = effects.iter().filter(|effect| effect.metric == Metric::WallNs).collect();
    assert_eq!(wall.len(), 6);
    assert_eq!(
        (wall[0].baseline.name.as_str(), wall[0].candidate.name.as_str(), wall[0].n().as_str()),
        ("A", "B", "4+4 trials")
    );
    let values = run.values(&wall[0].case, Metric::WallNs);
    let trials: Vec<u32> = run.counting(&wall[0].case).map(|trial| trial.trial).collect();
    let of_half = |numbers: [u32; 4]| -> Vec<f64> {
        trials.iter().zip(&values).filter(|(trial, _)| numbers.contains(trial)).map(|(_, value)| *value).collect()
    };
    assert_eq!(wall[0].baseline.units, of_half([0, 3, 4, 7]));
    assert_eq!(wall[0].candidate.units, of_half([1, 2, 5, 6]));
}

#[test]
fn pairs_and_comparisons_are_counted_by_procedure() {
    let alarms = Alarms::of(&[aa_run(0), aa_run(1)]);
    let arms = of(&alarms, Procedure::Arms);
    assert_eq!((arms.pairs, arms.comparisons, arms.not_enough), (12, 2, 0));
    assert_eq!(of(&alarms, Procedure::Runs), AlarmCount::default());
    let alarms = Alarms::of(&boots("6.1", 8, 1.0));
    let dealt = of(&alarms, Procedure::Boots);
    assert_eq!((dealt.pairs, dealt.comparisons, dealt.alone), (6, 1, 0));
    assert_eq!(of(&alarms, Procedure::Runs), AlarmCount::default());
}

#[test]
fn few_boots_are_no_pairs() {
    let dealt = of(&Alarms::of(&boots("6.1", 6, 1.0)), Procedure::Boots);
    assert_eq!((dealt.pairs, dealt.comparisons, dealt.not_enough), (0, 0, 6));
    assert_eq!(dealt.rate_percent(), None);
}

#[test]
fn a_drift_between_two_runs_of_a_boot_is_an_alarm() {
    let mut late = digest(&fixture::pmu_run(), "6.1", 0, 1.2);
    late.manifest.started = "2026-01-02T04:00:00Z".to_owned();
    let runs = of(&Alarms::of(&[late, digest(&fixture::pmu_run(), "6.1", 0, 1.0)]), Procedure::Runs);
    assert_eq!((runs.pairs, runs.alone, runs.corrected, runs.comparisons_with_alarm), (6, 6, 6, 1));
    let (rate, (low, high)) = runs.rate_percent().unwrap();
    assert_eq!((rate, high), (100.0, 100.0));
    assert!((low - 54.07).abs() < 0.01, "{low}");
}
