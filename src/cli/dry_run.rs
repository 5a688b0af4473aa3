//! `itlbench run --dry-run`: what a run would do, on no machine at all.

use std::fmt::Write as _;
use std::time::Duration;

use super::Failure;
use crate::machine::Machine;
use crate::machine::sim::SimMachine;
use crate::report::wording::wrap;
use crate::trial::{LoadCost, Protocol};
use crate::victim::Asked;
use crate::workload::{Order, Plan, Spec};

const COLUMNS: usize = 100;
/// Of one load of a program or a filler, verified and published: between the 45 us of a dense program and the 165 us of a
/// spread one with its filler.
const LOAD: Duration = Duration::from_micros(90);
/// Between two trials, until the frees of the one before are done.
const SETTLE: Duration = Duration::from_millis(150);
/// One run of one of the tool's own victims, interrupted and started.
const VICTIM: Duration = Duration::from_millis(170);
/// Windows in which a trial warms up and sizes its windows; two looks at the double length among them.
const BEFORE_WINDOWS: u32 = 14;
/// Warming up beyond that, reading counters, writing.
const BESIDE_PERCENT: u32 = 25;

/// The plan as text. Loads are counted by placing every case in the packs of the simulated machine.
pub fn text(specs: &[Spec], plan: &Plan, seed: u64, victim: Option<&Victim>) -> Result<String, Failure> {
    let costs = costs(plan, seed)?;
    let mut text = String::new();
    for spec in specs {
        text += &wrap(&about(spec), COLUMNS, "", "  ").join("\n");
        text += "\n";
        text += &wrap(&format!("Asks: {}", one_line(&spec.question)), COLUMNS, "  ", "  ").join("\n");
        text += "\n";
        text += &wrap(&format!("Expects: {}", one_line(&spec.expectation)), COLUMNS, "  ", "  ").join("\n");
        text += "\n\n";
    }
    text += &cases(plan, &costs);
    text += &order(plan, seed);
    text += &beside(victim);
    text += &totals(specs, plan, &costs, victim);
    text += "Nothing was loaded.\n";
    Ok(text)
}

/// A victim, and how often each trial runs it in each company.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    pub asked: Asked,
    pub rounds: u32,
    pub hooked: bool,
}

/// Runs of the victim in one trial, and what each takes; the time of a command is its own.
fn victim_runs(spec: &Spec, victim: &Victim) -> (u32, Duration) {
    let companies = 3 + u32::from(spec.churn.is_some()) + u32::from(victim.hooked);
    let each = if matches!(victim.asked, Asked::BuiltIn(_)) { VICTIM } else { Duration::ZERO };
    (companies * victim.rounds, each)
}

fn beside(victim: Option<&Victim>) -> String {
    let Some(Victim { asked, rounds, hooked }) = victim else { return String::new() };
    let (who, time) = match asked {
        Asked::BuiltIn(kind) => (format!("victim {kind}"), ""),
        Asked::Command(argv) => (format!("`{}`", argv.join(" ")), ", whose time is not in the estimate"),
    };
    let hook = if *hooked { ", one of them with the programs on a hook that it hits" } else { "" };
    format!("Beside them {who}{time}: {rounds} runs in each company and trial{hook}\n")
}

/// What loading each case takes, in the order of the cases.
fn costs(plan: &Plan, seed: u64) -> Result<Vec<LoadCost>, Failure> {
    let mut machine = SimMachine::new(seed);
    let cost = |case| -> Result<LoadCost, Failure> { Ok(machine.load(case, seed)?.load_cost().clone()) };
    plan.cases.iter().map(cost).collect()
}

fn about(spec: &Spec) -> String {
    let windows = Protocol::new(spec.samples);
    let list = |items: Vec<String>| items.join(", ");
    format!(
        "{}: trigger {}, order {}{}, body {}, arms {}, pack off with stride {} and offset {}, fillers {}; {} trials of {} windows of at least {} ms and {} executions{}{}",
        spec.name,
        spec.trigger,
        spec.order.unwrap_or_else(|| Order::of(spec.trigger)),
        spec.loaded.map(|loaded| format!(" (the first of {loaded} programs)")).unwrap_or_default(),
        spec.body.text(),
        list(spec.pack.iter().map(ToString::to_string).collect()),
        spec.stride,
        spec.offset,
        match spec.fillers {
            crate::workload::FillerRule::Keep => "kept",
            crate::workload::FillerRule::Release => "released",
            crate::workload::FillerRule::Needed => "kept, as many as each arm needs",
        },
        spec.trials,
        spec.samples,
        windows.window_ns / 1_000_000,
        windows.window_executions,
        spec.cpus.as_ref().map(|cpus| format!("; as many on several CPUs at once ({cpus})")).unwrap_or_default(),
        spec.churn.map(|per_s| format!("; as many while {per_s} programs/s come and go")).unwrap_or_default(),
    )
}

fn one_line(prose: &str) -> String {
    prose.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cases(plan: &Plan, costs: &[LoadCost]) -> String {
    let mut text = String::from("Cases, with what each trial of them loads:\n");
    for (at, (case, cost)) in plan.cases.iter().zip(costs).enumerate() {
        let trials = plan.slots.iter().filter(|slot| slot.case == at).count();
        let LoadCost { programs, fillers, plugs, .. } = cost;
        let _ = writeln!(
            text,
            "  {case}: {trials} trials, each loads {programs} programs, {fillers} fillers, about {plugs} plugs"
        );
    }
    text + "\n"
}

/// A line for each round, in it the numbers of programs in their order and the arms of each in theirs.
fn order(plan: &Plan, seed: u64) -> String {
    let mut text = format!("Order of the trials (--seed {seed} gives it again):\n");
    let mut begin = 0;
    for round in 1.. {
        let Some(first) = plan.slots.get(begin) else { break };
        // In a run against itself trials 2k and 2k + 1 stand side by side.
        let of_round = |trial: u32| trial / plan.halves() == first.trial / plan.halves();
        let length = plan.slots[begin..].iter().take_while(|slot| of_round(slot.trial)).count();
        let mut items: Vec<String> = Vec::new();
        let mut last = String::new();
        for slot in &plan.slots[begin..begin + length] {
            let case = &plan.cases[slot.case];
            let point = case.point();
            match items.last_mut().filter(|_| last == point) {
                Some(item) => *item += &format!(" {}", case.pack),
                None => items.push(format!("{point} {}", case.pack)),
            }
            last = point;
        }
        text += &wrap(&items.join(", "), COLUMNS, &format!("  {round:>3}: "), "       ").join("\n");
        text += "\n";
        begin += length;
    }
    text + "\n"
}

fn totals(specs: &[Spec], plan: &Plan, costs: &[LoadCost], victim: Option<&Victim>) -> String {
    let loads = |case: usize| costs[case].programs + costs[case].fillers + costs[case].plugs;
    let total: u64 = plan.slots.iter().map(|slot| u64::from(loads(slot.case))).sum();
    let time: Duration =
        plan.slots.iter().map(|slot| time(loads(slot.case), spec_of(specs, plan, slot.case), victim)).sum();
    format!(
        "In all {} trials, {total} loads, about {} if events fit one pass (an estimate: half or twice as much is usual).\n",
        plan.slots.len(),
        humantime::format_duration(Duration::from_secs(time.as_secs().max(1)))
    )
}

fn spec_of<'a>(specs: &'a [Spec], plan: &Plan, case: usize) -> Option<&'a Spec> {
    let name = &plan.cases[case].workload;
    specs.iter().find(|spec| spec.name == *name)
}

/// Of one trial.
fn time(loads: u32, spec: Option<&Spec>, victim: Option<&Victim>) -> Duration {
    let samples = spec.map_or(0, |spec| spec.samples);
    let protocol = Protocol::new(samples);
    let again = spec.map_or(0, |spec| u32::from(spec.cpus.is_some()) + u32::from(spec.churn.is_some()));
    let windows = samples * (1 + again) + 2 * protocol.baseline + BEFORE_WINDOWS;
    let (runs, each) = spec.zip(victim).map_or((0, VICTIM), |(spec, victim)| victim_runs(spec, victim));
    SETTLE
        + each * runs
        + LOAD * loads
        + Duration::from_nanos(protocol.window_ns) * windows * (100 + BESIDE_PERCENT) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> Vec<Spec> {
        vec![Spec { programs: vec![8, 64], trials: 3, samples: 5, ..Spec::builtin("chain").expect("built in") }]
    }

    #[test]
    fn the_plan_of_a_run() {
        insta::assert_snapshot!(text(&specs(), &Plan::new(&specs(), 7), 7, None).expect("a plan"));
    }

    #[test]
    fn every_trial_stands_in_the_order() {
        let plan = Plan::new(&specs(), 3);
        let shown = order(&plan, 3);
        for (at, case) in plan.cases.iter().enumerate() {
            let trials = plan.slots.iter().filter(|slot| slot.case == at).count();
            let named = format!("{}, ", shown.replace('\n', ", ")).matches(&case.point()).count();
            assert_eq!(named, trials, "{case}: {shown}");
        }
    }

    #[test]
    fn against_itself_a_round_holds_both_halves() {
        let shown = order(&Plan::against_itself(&specs(), 3), 3);
        assert_eq!(shown.lines().filter(|line| line.contains(':') && line.contains("n=8")).count(), 3, "{shown}");
    }

    #[test]
    fn more_programs_and_more_windows_take_longer() {
        let spec = &specs()[0];
        let (more, churned) = (Spec { samples: 6, ..spec.clone() }, Spec { churn: Some(9), ..spec.clone() });
        let least = time(100, Some(spec), None);
        let victim = Victim { asked: Asked::BuiltIn(crate::victim::VictimKind::Code), rounds: 2, hooked: false };
        for longer in [
            time(1000, Some(spec), None),
            time(100, Some(&more), None),
            time(100, Some(&churned), None),
            time(100, Some(spec), Some(&victim)),
        ] {
            assert!(longer > least, "{longer:?} {least:?}");
        }
    }
}
