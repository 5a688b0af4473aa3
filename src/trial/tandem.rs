//! A victim beside the load: one process run again and again while the programs run, are interrupted for, or rest.

use std::time::Duration;

use crate::counters::CountSide;
use crate::machine::{Churn, Loaded, Result, Tandem, Target};
use crate::workload::plan::shuffle;

use super::record::Check;
use super::victim::{Company, Repetition, VictimRun};

/// Between two bursts: a thousand in a second.
pub const RHYTHM: Duration = Duration::from_millis(1);

/// How often the victim is run, and over how many programs.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    pub programs: u32,
    pub rounds: u32,
    pub seed: u64,
    /// Whether it is also run with the programs on a hook that it hits.
    pub hooked: bool,
}

/// Runs the victim `rounds` times in each company, in a seeded order anew for every round. A burst runs every program once.
pub fn repeat(
    loaded: &mut dyn Loaded,
    tandem: &mut dyn Tandem,
    mut churn: Option<&mut (dyn Churn + 'static)>,
    check: &Check,
    turns: Turns,
) -> Result<Vec<Repetition>> {
    let Turns { programs, rounds, seed, hooked } = turns;
    let runs = programs.div_ceil(check.executions_per_run.max(1));
    let mut random = oorandom::Rand64::new(u128::from(seed) ^ 0x7461_6e64);
    let mut repetitions = Vec::new();
    for round in 0..rounds {
        let side = if round % 2 == 0 { CountSide::User } else { CountSide::Kernel };
        let mut companies = Company::ALL.to_vec();
        companies.retain(|company| match company {
            Company::Churn => churn.is_some(),
            Company::Hooked => hooked,
            Company::Alone | Company::Empty | Company::Programs => true,
        });
        shuffle(&mut companies, &mut random);
        for company in companies {
            let mut churn = churn.as_mut().filter(|_| company == Company::Churn);
            if let Some(churn) = &mut churn {
                churn.start()?;
            }
            let repetition = match company {
                Company::Hooked => on_hook(loaded, tandem, side),
                _ => one(loaded, tandem, company, side, runs, check.executions_per_run),
            };
            if let Some(churn) = churn {
                churn.stop()?;
            }
            repetitions.push(repetition?);
        }
    }
    Ok(repetitions)
}

/// The victim alone, with every program on a hook that it hits.
fn on_hook(loaded: &mut dyn Loaded, tandem: &mut dyn Tandem, side: CountSide) -> Result<Repetition> {
    let run = loaded.hook().and_then(|entrance| match entrance {
        Some(entrance) => tandem.run_inside(side, &entrance),
        None => tandem.run(side, None),
    });
    let executions = loaded.unhook();
    let VictimRun { wall_ns, cpu_ns, exit_code, counts } = run?;
    Ok(Repetition {
        company: Company::Hooked,
        wall_ns,
        cpu_ns,
        exit_code,
        counts,
        bursts: 0,
        executions: executions?,
        busy_ns: 0,
    })
}

fn one(
    loaded: &mut dyn Loaded,
    tandem: &mut dyn Tandem,
    company: Company,
    side: CountSide,
    runs: u32,
    executions_per_run: u32,
) -> Result<Repetition> {
    let target = match company {
        Company::Alone | Company::Churn | Company::Hooked => None,
        Company::Empty => Some(Target::Empty),
        Company::Programs => Some(Target::Programs),
    };
    if let Some(target) = target {
        loaded.prepare(target)?;
    }
    let (mut bursts, mut busy_ns) = (0u64, 0u64);
    let run = match target {
        None => tandem.run(side, None)?,
        Some(target) => {
            let mut burst = || {
                busy_ns += loaded.fire(target, runs)?.wall_ns;
                bursts += 1;
                Ok(())
            };
            tandem.run(side, Some(&mut burst))?
        }
    };
    let executed = if company == Company::Programs { u64::from(runs) * u64::from(executions_per_run) } else { 0 };
    Ok(Repetition {
        company,
        wall_ns: run.wall_ns,
        cpu_ns: run.cpu_ns,
        exit_code: run.exit_code,
        counts: run.counts,
        bursts,
        executions: bursts * executed,
        busy_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::machine::sim::SimMachine;
    use crate::trial::victim::Victim;
    use crate::victim::{Asked, VictimKind};
    use crate::workload::{PackMode, Spec};

    fn repetitions(programs: u32, pack: PackMode) -> Vec<Repetition> {
        let mut machine = SimMachine::new(3);
        let mut tandem = machine.tandem(&Asked::BuiltIn(VictimKind::Code)).expect("a victim");
        let case = Spec::builtin("chain").expect("built in").case(programs, pack);
        let mut loaded = machine.load(&case, 5).expect("loads");
        let check = loaded.check().expect("checks");
        repeat(loaded.as_mut(), tandem.as_mut(), None, &check, Turns { programs, rounds: 4, seed: 9, hooked: false })
            .expect("repeats")
    }

    fn cpu_ns(repetitions: &[Repetition], company: Company) -> u64 {
        let all: Vec<u64> = repetitions.iter().filter(|r| r.company == company).map(|r| r.cpu_ns).collect();
        all.iter().sum::<u64>() / all.len() as u64
    }

    #[test]
    fn every_round_has_every_company_and_the_load_runs_in_its_own_only() {
        let repetitions = repetitions(64, PackMode::Off);
        assert_eq!(repetitions.len(), 12);
        for round in repetitions.chunks(3) {
            let mut companies: Vec<Company> = round.iter().map(|r| r.company).collect();
            companies.sort();
            assert_eq!(companies, Company::ALL[..3]);
        }
        for repetition in &repetitions {
            assert_eq!(repetition.executions > 0, repetition.company == Company::Programs, "{repetition:?}");
            assert_eq!(repetition.bursts > 0, repetition.company != Company::Alone, "{repetition:?}");
            assert_eq!(repetition.executions % 66, 0, "whole rounds of 64 programs in runs of 33");
        }
    }

    /// A victim with one event a side, of which a run counts the one that it is told.
    #[derive(Debug, Default)]
    struct Replayed(Victim);

    impl Tandem for Replayed {
        fn victim(&self) -> &Victim {
            &self.0
        }

        fn run(&mut self, side: CountSide, burst: Option<&mut dyn FnMut() -> Result<()>>) -> Result<VictimRun> {
            burst.map_or(Ok(()), |burst| burst())?;
            let counts = [CountSide::User, CountSide::Kernel].map(|counted| (counted == side).then_some(7)).to_vec();
            Ok(VictimRun { wall_ns: 10, cpu_ns: 9, exit_code: 0, counts })
        }
    }

    #[test]
    fn rounds_count_user_and_kernel_side_in_turn_and_one_round_the_user_side_alone() {
        let case = Spec::builtin("chain").expect("built in").case(64, PackMode::On);
        let mut machine = SimMachine::new(3);
        let mut loaded = machine.load(&case, 5).expect("loads");
        let check = loaded.check().expect("checks");
        for rounds in [1, 2, 5] {
            let turns = Turns { programs: 64, rounds, seed: 9, hooked: false };
            let all = repeat(loaded.as_mut(), &mut Replayed::default(), None, &check, turns).expect("repeats");
            for (round, repetitions) in all.chunks(3).enumerate() {
                let expected = if round % 2 == 0 { [Some(7), None] } else { [None, Some(7)] };
                assert!(repetitions.iter().all(|repetition| repetition.counts == expected), "{round}: {repetitions:?}");
            }
            assert_eq!(all.len() as u32, 3 * rounds);
        }
    }

    #[test]
    fn spread_programs_cost_the_simulated_victim_more_than_packed_ones() {
        let (on, off) = (repetitions(512, PackMode::On), repetitions(512, PackMode::Off));
        let ratio = |all: &[Repetition]| cpu_ns(all, Company::Programs) as f64 / cpu_ns(all, Company::Empty) as f64;
        assert!(ratio(&off) > 1.05 && ratio(&off) > ratio(&on) + 0.02, "{} {}", ratio(&on), ratio(&off));
    }
}
