//! The rows of an export: whatever was timed in a trial, in the order in which it was done.

use std::io;

use serde_json::{Value, json};

use super::{OF_VICTIM, columns, has_fetches};
use crate::counters::{Reading, Unusable};
use crate::model::fetched::Window;
use crate::runfile::{Manifest, Run};
use crate::trial::record::{Parallel, Repetition};
use crate::trial::{Sample, Trial};
use crate::workload::Body;

/// What one row has of its own; `None` and empty where its kind has no such thing.
#[derive(Default)]
struct Timed<'a> {
    kind: String,
    window: usize,
    cpu: Option<u32>,
    runs: Option<u64>,
    executions: u64,
    wall_ns: u64,
    discarded: Option<Unusable>,
    readings: &'a [Reading],
    meters: &'a [u64],
    fetched: Option<&'a Window>,
    repetition: Option<&'a Repetition>,
}

/// Hands over every row of every trial.
pub fn each_row(run: &Run, mut take: impl FnMut(Vec<Value>) -> io::Result<()>) -> io::Result<()> {
    let fetches = has_fetches(run);
    for trial in &run.trials {
        let case = of_trial(trial);
        for timed in all_timed(trial, run.manifest.cpu) {
            take([case.clone(), own(&timed), counted(&run.manifest, &timed, fetches)].concat())?;
        }
    }
    Ok(())
}

/// The figures of an emulator's window under their names, `jit.walks` and so on.
pub fn fetched(window: &Window) -> Vec<(String, Value)> {
    let mut figures = Vec::new();
    if let Ok(Value::Object(fields)) = serde_json::to_value(window) {
        for (name, value) in fields {
            match value {
                Value::Object(parts) => {
                    figures.extend(parts.into_iter().map(|(part, value)| (format!("{name}.{part}"), value)));
                }
                value => figures.push((name, value)),
            }
        }
    }
    figures
}

fn all_timed(trial: &Trial, cpu: u32) -> Vec<Timed<'_>> {
    let mut all = numbered("baseline", cpu, &trial.baseline);
    let counted = numbered("sample", cpu, &trial.samples).into_iter();
    all.extend(counted.map(|timed| Timed { fetched: trial.fetched.get(timed.window), ..timed }));
    all.extend(trial.parallel.iter().flat_map(of_parallel));
    all.extend(trial.churn.iter().flat_map(|churn| numbered("churn", cpu, &churn.windows)));
    all.extend(trial.tandem.iter().enumerate().map(|(window, repetition)| of_victim(window, repetition)));
    all
}

/// Bytes of straight-line code as a number, the others by name.
fn body(body: Body) -> Value {
    if Body::SIZES.contains(&body) { json!(body.nominal_bytes()) } else { json!(body) }
}

fn numbered<'a>(kind: &str, cpu: u32, windows: &'a [Sample]) -> Vec<Timed<'a>> {
    windows.iter().enumerate().map(|(window, sample)| of_sample(kind, window, cpu, sample)).collect()
}

fn of_sample<'a>(kind: &str, window: usize, cpu: u32, sample: &'a Sample) -> Timed<'a> {
    Timed {
        kind: kind.to_owned(),
        window,
        cpu: Some(cpu),
        runs: Some(sample.runs),
        executions: sample.executions,
        wall_ns: sample.wall_ns,
        discarded: sample.discarded,
        readings: &sample.readings,
        meters: &sample.meters,
        ..Timed::default()
    }
}

fn of_parallel(parallel: &Parallel) -> impl Iterator<Item = Timed<'_>> {
    parallel.windows.iter().enumerate().flat_map(move |(window, parts)| {
        parallel.cpus.iter().zip(parts).map(move |(&cpu, part)| Timed {
            kind: "parallel".to_owned(),
            window,
            cpu: Some(cpu),
            runs: Some(parallel.runs),
            executions: parallel.executions,
            wall_ns: part.wall_ns,
            readings: &part.readings,
            ..Timed::default()
        })
    })
}

fn of_victim(window: usize, repetition: &Repetition) -> Timed<'_> {
    Timed {
        kind: format!("victim-{}", repetition.company.name()),
        window,
        executions: repetition.executions,
        wall_ns: repetition.wall_ns,
        repetition: Some(repetition),
        ..Timed::default()
    }
}

fn of_trial(trial: &Trial) -> Vec<Value> {
    let mut cells = columns::case(&trial.case).map(Value::String).to_vec();
    // Numbers are numbers in JSON.
    (cells[2], cells[3]) = (body(trial.case.body), json!(trial.case.programs));
    cells.extend([
        json!(trial.trial),
        json!(trial.sequence),
        json!(u8::from(trial.placed)),
        json!(trial.footprint.pages_4k),
    ]);
    cells
}

fn own(timed: &Timed<'_>) -> Vec<Value> {
    let Timed { kind, window, cpu, runs, executions, wall_ns, discarded, .. } = timed;
    vec![json!(kind), json!(window), json!(cpu), json!(runs), json!(executions), json!(wall_ns), json!(discarded)]
}

/// What counters, meters and an emulator saw of it, and of a victim.
fn counted(manifest: &Manifest, timed: &Timed<'_>, fetches: bool) -> Vec<Value> {
    let mut cells = Vec::new();
    for (at, group) in manifest.groups.iter().enumerate() {
        let reading = timed.readings.get(at).filter(|reading| !reading.counts.is_empty());
        cells.extend(
            [reading.map(|reading| reading.enabled_ns), reading.map(|reading| reading.running_ns)]
                .map(|time| json!(time)),
        );
        cells.extend((0..group.events.len()).map(|event| json!(reading.and_then(|reading| reading.counts.get(event)))));
    }
    cells.extend((0..manifest.meters.len()).map(|meter| json!(timed.meters.get(meter))));
    if fetches {
        let none = timed.fetched.is_none();
        let figures = fetched(timed.fetched.unwrap_or(&Window::default()));
        cells.extend(figures.into_iter().map(|(_, value)| if none { Value::Null } else { value }));
    }
    if let Some(victim) = &manifest.victim {
        cells.extend(of_repetition(timed.repetition, victim.events.len()));
    }
    cells
}

fn of_repetition(repetition: Option<&Repetition>, events: usize) -> Vec<Value> {
    let Some(repetition) = repetition else { return vec![Value::Null; OF_VICTIM.len() + events] };
    let Repetition { cpu_ns, exit_code, bursts, busy_ns, counts, .. } = repetition;
    let mut cells = vec![json!(cpu_ns), json!(exit_code), json!(bursts), json!(busy_ns)];
    cells.extend((0..events).map(|event| json!(counts.get(event).copied().flatten())));
    cells
}
