//! The caveats of a run and of its trials, each once: what hundreds of windows have to say must fit a mail.

use std::collections::{BTreeMap, BTreeSet};

use crate::caveat::Caveat;
use crate::compare::pairing;
use crate::runfile::Run;
use crate::runfile::manifest::MachineKind;
use crate::trial::Trial;
use crate::workload::{Case, PackMode};

use super::noise;

/// Caveats of the manifest, of reading and of the trials, sorted. Those that trials repeat with other numbers become one: missed
/// placements and discarded windows one per case, the worst of the windows out of proportion and of the programs that did not
/// run one per run.
pub fn of(run: &Run) -> Vec<Caveat> {
    let mut all: BTreeSet<Caveat> = run.manifest.caveats.iter().chain(&run.caveats).cloned().collect();
    if run.manifest.machine == MachineKind::Sim {
        all.insert(Caveat::Simulated);
    }
    if let Some(guest) = &run.manifest.guest {
        let boot = format!("{}, boot {}", guest.kernel, guest.boot);
        all.extend(guest.deaths.iter().map(|death| Caveat::TriedAgain { boot: boot.clone(), death: death.clone() }));
    }
    let interrupted = all.iter().any(|caveat| matches!(caveat, Caveat::Interrupted { .. }));
    if !run.complete && !interrupted {
        all.insert(Caveat::Interrupted { trials: run.trials.len() as u32, planned: run.manifest.planned_trials });
    }
    let (repeating, once): (Vec<&Caveat>, Vec<&Caveat>) =
        run.trials.iter().flat_map(|trial| &trial.caveats).partition(|caveat| repeats(caveat));
    all.extend(once.into_iter().cloned());
    all.extend(worst_linearity(&repeating));
    all.extend(fewest_executed(&repeating));
    all.extend(noise::left_out(run));
    for case in pairing::cases(run) {
        let trials: Vec<&Trial> = run.trials.iter().filter(|trial| trial.case == case).collect();
        all.extend(missed(&case, &trials));
        all.extend(discarded(&case, &trials));
    }
    all.into_iter().collect()
}

fn repeats(caveat: &Caveat) -> bool {
    matches!(
        caveat,
        Caveat::PlacementMissed { .. }
            | Caveat::WindowsDiscarded { .. }
            | Caveat::WindowNotLinear { .. }
            | Caveat::NotAllExecuted { .. }
    )
}

fn worst_linearity(caveats: &[&Caveat]) -> Option<Caveat> {
    let ratios = caveats.iter().filter_map(|caveat| match caveat {
        Caveat::WindowNotLinear { ratio_percent } => Some(*ratio_percent),
        _ => None,
    });
    let worst = ratios.max_by_key(|ratio| (ratio.abs_diff(200), *ratio))?;
    Some(Caveat::WindowNotLinear { ratio_percent: worst })
}

/// Fewest for each number of programs.
fn fewest_executed(caveats: &[&Caveat]) -> Vec<Caveat> {
    let mut fewest: BTreeMap<u32, u32> = BTreeMap::new();
    for caveat in caveats {
        if let Caveat::NotAllExecuted { executed, programs } = caveat {
            let entry = fewest.entry(*programs).or_insert(*executed);
            *entry = (*entry).min(*executed);
        }
    }
    fewest.into_iter().map(|(programs, executed)| Caveat::NotAllExecuted { executed, programs }).collect()
}

/// The missed placement farthest from its goal, with the number of trials that missed.
fn missed(case: &Case, trials: &[&Trial]) -> Option<Caveat> {
    let missing: Vec<(&Trial, &String, &String)> = trials
        .iter()
        .flat_map(|trial| trial.caveats.iter().map(move |caveat| (trial, caveat)))
        .filter_map(|(trial, caveat)| match caveat {
            Caveat::PlacementMissed { goal, reached } => Some((*trial, goal, reached)),
            _ => None,
        })
        .collect();
    let badness = |trial: &Trial| match case.pack {
        PackMode::On | PackMode::Placebo => trial.footprint.pages_4k,
        PackMode::Off => u32::MAX - trial.footprint.own_page_programs,
        PackMode::OffTwoMeg => u32::MAX - trial.footprint.own_region_programs,
    };
    let (_, goal, reached) = missing.iter().max_by_key(|(trial, ..)| badness(trial))?;
    let where_it_was = format!("{case}: {} of {} trials, at worst {reached}", missing.len(), trials.len());
    Some(Caveat::PlacementMissed { goal: (*goal).clone(), reached: where_it_was })
}

/// Discarded windows of a case in all, one caveat for each reason.
fn discarded(case: &Case, trials: &[&Trial]) -> Vec<Caveat> {
    let mut by_reason: BTreeMap<&str, u32> = BTreeMap::new();
    for caveat in trials.iter().flat_map(|trial| &trial.caveats) {
        if let Caveat::WindowsDiscarded { discarded, reason, .. } = caveat {
            *by_reason.entry(reason).or_default() += discarded;
        }
    }
    let of = trials.iter().map(|trial| trial.samples.len() as u32).sum();
    let caveat = |(reason, discarded)| Caveat::WindowsDiscarded { discarded, of, reason: format!("{reason} ({case})") };
    by_reason.into_iter().map(caveat).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn with(caveats: impl Fn(&Trial) -> Vec<Caveat>) -> Vec<String> {
        let mut run = fixture::timed_run();
        run.manifest.caveats.clear();
        for trial in &mut run.trials {
            trial.caveats = caveats(trial);
        }
        of(&run).iter().map(Caveat::to_string).collect()
    }

    #[test]
    fn what_every_trial_repeats_is_said_once() {
        let chain = Caveat::ChainIndirect { reason: "no poke".to_owned() };
        assert_eq!(with(|_| vec![chain.clone()]), ["chain uses indirect tail calls: no poke"]);
    }

    #[test]
    fn discarded_windows_are_added_up_by_case() {
        let two = |trial: &Trial| match (trial.case.programs, trial.trial) {
            (64, 0..2) => {
                vec![Caveat::WindowsDiscarded { discarded: 2 + trial.trial, of: 10, reason: "multiplexed".into() }]
            }
            _ => Vec::new(),
        };
        let expected = ["chain n=64 pack=off", "chain n=64 pack=on"]
            .map(|case| format!("5 of 80 windows discarded: multiplexed ({case})"));
        assert_eq!(with(two), expected);
    }

    #[test]
    fn the_window_farthest_from_proportion_stands_for_all() {
        let found = with(|trial| vec![Caveat::WindowNotLinear { ratio_percent: 206 + trial.trial }]);
        assert_eq!(found, ["twice the executions took 213 % of the time, not 200 %"]);
    }

    #[test]
    fn missed_placements_name_the_case_and_how_often() {
        let found = with(|trial| match (trial.case.programs, trial.case.pack, trial.trial) {
            (512, PackMode::Off, 3..5) => {
                vec![Caveat::PlacementMissed { goal: "99 % own pages".to_owned(), reached: "97 %".to_owned() }]
            }
            _ => Vec::new(),
        });
        assert_eq!(
            found,
            [
                "placement missed its goal (99 % own pages; reached chain n=512 pack=off: 2 of 8 trials, at worst 97 %): \
              left out of the effect"
            ]
        );
    }

    #[test]
    fn a_simulated_or_unfinished_run_says_so_even_if_its_file_does_not() {
        let mut run = fixture::sim_run();
        run.complete = false;
        let found = of(&run);
        assert!(found.contains(&Caveat::Simulated));
        assert!(found.contains(&Caveat::Interrupted { trials: 48, planned: 48 }));
    }
}
