//! Runs subtests one after the other within a time, and says what came of them.

use std::io;
use std::time::{Duration, Instant};

use oorandom::Rand32;

use super::checks::Findings;
use super::ktap::{Ktap, Outcome};
use super::operation::{Lanes, Op, loads};
use super::shrink::shrink;
use super::subject::Subject;
use super::suite::Subtest;
use crate::machine::MachineError;

/// Problems of one subtest that are printed.
const MOST_PROBLEMS: usize = 5;
/// Steps of a reproducing sequence that are printed.
const MOST_STEPS: usize = 60;
/// Rounds in which nothing was seen of what a subtest is about; if these are the first, it is skipped.
const MOST_BLIND: u32 = 3;
/// How long a failing sequence is shrunk.
const SHRINK_FOR: Duration = Duration::from_secs(20);

/// What is run, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    pub subtests: &'a [Subtest],
    pub seed: u64,
    pub time: Duration,
}

/// Why a session ends early.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("failed to write results: {0}")]
    Write(#[from] io::Error),
}

type Result<T> = std::result::Result<T, SessionError>;

/// Runs `plan` on `subject`, writing each result as it comes.
pub fn run(plan: &Plan<'_>, subject: &mut dyn Subject, ktap: &mut Ktap<'_>) -> Result<()> {
    for subtest in plan.subtests {
        let outcome = match (subtest.left_out)(subject.facts()) {
            Some(reason) => Outcome::Skip(reason),
            None => one(plan, subtest, subject, ktap)?,
        };
        ktap.result(subtest.name, &outcome)?;
    }
    let tally = subject.tally();
    ktap.note(&format!(
        "{} loads, {} unloads; at most {} frees were under way, the longest took {} ms",
        tally.loads, tally.unloads, tally.most_frees_under_way, tally.longest_free_ms
    ))?;
    Ok(())
}

/// The rounds of one subtest.
fn one(plan: &Plan<'_>, subtest: &Subtest, subject: &mut dyn Subject, ktap: &mut Ktap<'_>) -> Result<Outcome> {
    let began = Instant::now();
    let share = share(plan, subtest);
    let mut found = Findings::default();
    let (mut rounds, mut loaded, mut kept) = (0u32, 0, None);
    let (mut blind, mut why) = (0, None);
    loop {
        let lanes = script(plan.seed, subtest, subject, rounds);
        loaded += loads(&lanes);
        let steps = [kept.clone().into_iter().collect(), subject.play(&lanes)?].concat();
        if kept.is_none() && subtest.over_rounds {
            kept = steps.iter().find(|step| step.op == Op::Survey).cloned();
        }
        let mut findings = (subtest.check)(subject.facts(), &steps);
        let failed = !findings.problems.is_empty();
        if let Some(reason) = findings.skip.take() {
            (blind, why) = (blind + 1, Some(reason));
        }
        found.add(findings);
        rounds += 1;
        if failed {
            report(plan.seed, subtest, &found, rounds, ktap)?;
            reproduce(lanes, subtest, subject, ktap)?;
            return Ok(Outcome::Fail);
        }
        let hopeless = blind == rounds && blind == MOST_BLIND;
        if subtest.weight == 0 || began.elapsed() >= share || hopeless {
            break;
        }
    }
    match why {
        Some(reason) if blind == rounds => return Ok(Outcome::Skip(reason)),
        Some(reason) => ktap.note(&format!("{}: {blind} rounds saw nothing: {reason}", subtest.name))?,
        None => {}
    }
    let rate = format!("{rounds} rounds, {loaded} loads in {:.2} s", began.elapsed().as_secs_f64());
    say(subtest, &found, &rate, ktap)?;
    Ok(Outcome::Pass)
}

/// What was looked at in all rounds, and what a reader should know of the last.
fn say(subtest: &Subtest, found: &Findings, rate: &str, ktap: &mut Ktap<'_>) -> Result<()> {
    let counts: Vec<String> = found.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    ktap.note(&format!("{}: {}; {rate}", subtest.name, counts.join(", ")))?;
    for note in &found.notes {
        ktap.note(&format!("{}: {note}", subtest.name))?;
    }
    Ok(())
}

/// Its part of the time, by weight.
fn share(plan: &Plan<'_>, subtest: &Subtest) -> Duration {
    let all: u32 = plan.subtests.iter().map(|subtest| subtest.weight).sum();
    plan.time * subtest.weight / all.max(1)
}

/// The sequence of a round: the same for the same seed, whatever else runs.
fn script(seed: u64, subtest: &Subtest, subject: &dyn Subject, round: u32) -> Lanes {
    let name = subtest.name.bytes().fold(seed, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut random = Rand32::new(name.wrapping_add(u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (subtest.script)(subject.facts(), &mut random)
}

fn report(seed: u64, subtest: &Subtest, found: &Findings, round: u32, ktap: &mut Ktap<'_>) -> Result<()> {
    ktap.note(&format!("{}: broken: {}", subtest.name, subtest.promise))?;
    for problem in found.problems.iter().take(MOST_PROBLEMS) {
        ktap.note(&format!("{}: {problem}", subtest.name))?;
    }
    if found.problems.len() > MOST_PROBLEMS {
        ktap.note(&format!("{}: and {} more", subtest.name, found.problems.len() - MOST_PROBLEMS))?;
    }
    let again = format!("--seed {seed} --only {}", subtest.name);
    ktap.note(&format!("{}: seen in round {round}; reproduce with {again}", subtest.name))?;
    Ok(())
}

/// Shrinks the failing sequence and prints it. Nobody knows whether it fails each time: then it is printed as it was.
fn reproduce(lanes: Lanes, subtest: &Subtest, subject: &mut dyn Subject, ktap: &mut Ktap<'_>) -> Result<()> {
    let (began, all) = (Instant::now(), lanes.iter().map(Vec::len).sum::<usize>());
    let mut trouble = None;
    let shrunk = shrink(lanes, &mut |lanes| {
        if began.elapsed() > SHRINK_FOR {
            return None;
        }
        match subject.play(lanes) {
            Ok(steps) => Some(!(subtest.check)(subject.facts(), &steps).problems.is_empty()),
            Err(error) => {
                trouble = Some(error);
                None
            }
        }
    });
    if let Some(error) = trouble {
        return Err(error.into());
    }
    let left: usize = shrunk.iter().map(Vec::len).sum();
    ktap.note(&format!("{}: the shortest sequence found has {left} of {all} steps:", subtest.name))?;
    for (lane, ops) in shrunk.iter().enumerate() {
        for op in ops.iter().take(MOST_STEPS) {
            let on = if shrunk.len() > 1 { format!("loader {lane}: ") } else { String::new() };
            ktap.note(&format!("  {on}{op}"))?;
        }
        if ops.len() > MOST_STEPS {
            ktap.note(&format!("  and {} more", ops.len() - MOST_STEPS))?;
        }
    }
    Ok(())
}
