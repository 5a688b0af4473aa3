//! Every window of a run as CSV or JSON, for other tools: raw counts, one row a window, columns named once.
//!
//! Both hold the same columns in the same order. What was not counted is empty in CSV and null in JSON; nothing is rounded. The windows
//! on several CPUs at once, those under churn and the runs of a victim are rows of a `kind` of their own.

mod rows;

use std::io::{self, Write};

use serde_json::{Value, json};

use self::rows::{each_row, fetched};
use super::{columns, csv::line};
use crate::model::fetched::Window;
use crate::runfile::Run;

/// What a row is of, and the window's own figures.
const BEHIND_CASE: [&str; 11] =
    ["trial", "sequence", "placed", "pages_4k", "kind", "window", "cpu", "runs", "executions", "wall_ns", "discarded"];
/// Figures of a victim's run before what was counted of it.
const OF_VICTIM: [&str; 4] = ["cpu_ns", "exit_code", "bursts", "busy_ns"];

/// The windows of `run` as CSV with a header (RFC 4180, but line feeds alone).
pub fn csv(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(line(&names(run)).as_bytes())?;
    each_row(run, |row| out.write_all(line(&row.iter().map(cell).collect::<Vec<_>>()).as_bytes()))
}

/// The windows of `run` as one JSON object: the manifest, `columns`, and `windows` as arrays in their order.
pub fn json(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let manifest = serde_json::to_string(&run.manifest)?;
    writeln!(
        out,
        "{{\"manifest\":{manifest},\"complete\":{},\"columns\":{},\"windows\":[",
        run.complete,
        json!(names(run))
    )?;
    let mut first = true;
    each_row(run, |row| {
        let separator = if std::mem::take(&mut first) { "" } else { ",\n" };
        write!(out, "{separator}{}", Value::Array(row))
    })?;
    writeln!(out, "\n]}}")
}

fn names(run: &Run) -> Vec<String> {
    let mut names: Vec<String> = columns::CASE.iter().chain(&BEHIND_CASE).map(|name| (*name).to_owned()).collect();
    for group in &run.manifest.groups {
        names.extend(["enabled_ns", "running_ns"].map(|time| format!("{}.{time}", group.name)));
        names.extend(group.events.iter().map(|event| format!("{}.{}", group.name, event.name)));
    }
    names.extend(run.manifest.meters.iter().map(|meter| format!("meter.{}", cell(&json!(meter)))));
    if has_fetches(run) {
        names.extend(fetched(&Window::default()).into_iter().map(|(name, _)| format!("fetched.{name}")));
    }
    if let Some(victim) = &run.manifest.victim {
        names.extend(OF_VICTIM.map(|name| format!("victim.{name}")));
        let counted = victim.events.iter().map(|counted| (&counted.event.name, counted.side.suffix()));
        names.extend(counted.map(|(name, side)| format!("victim.{name}{side}")));
    }
    names
}

/// Whether an emulator looked at the fetches of any window.
fn has_fetches(run: &Run) -> bool {
    run.trials.iter().any(|trial| !trial.fetched.is_empty())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        number => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::CountSide;
    use crate::report::fixture;
    use crate::trial::record::{Churn, Company, CpuWindow, Parallel, Repetition, Victim, VictimEvent};

    fn text(run: &Run, write: fn(&Run, &mut dyn Write) -> io::Result<()>) -> String {
        let mut bytes = Vec::new();
        write(run, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn csv_has_every_window_with_its_raw_counts() {
        let run = fixture::pmu_run();
        let text = text(&run, csv);
        let lines: Vec<&str> = text.lines().collect();
        let windows: usize = run.trials.iter().map(|trial| trial.baseline.len() + trial.samples.len()).sum();
        assert_eq!(lines.len(), windows + 1);
        assert!(lines[0].starts_with("workload,trigger,body,programs,pack,stride,"), "{}", lines[0]);
        assert!(
            lines[0].contains(",core.enabled_ns,core.running_ns,core.cycles,core.instructions,core.iTLB-load-misses,")
        );
        let sample = &run.trials[0].samples[0];
        let counts = &sample.readings[0].counts;
        let row = lines.iter().find(|line| line.contains(",sample,0,")).unwrap();
        assert!(row.contains(&format!(",{},{},{}", counts[0], counts[1], counts[2])), "{row}");
        assert!(lines.iter().all(|line| line.split(',').count() == lines[0].split(',').count()));
    }

    #[test]
    fn json_is_one_document_with_the_same_rows() {
        let mut run = fixture::pmu_run();
        run.trials[0].samples[1].readings[0].counts.clear();
        let document: Value = serde_json::from_str(&text(&run, json)).unwrap();
        let windows = document["windows"].as_array().unwrap();
        assert_eq!(windows.len(), text(&run, csv).lines().count() - 1);
        assert_eq!(windows[0].as_array().unwrap().len(), document["columns"].as_array().unwrap().len());
        assert_eq!(document["manifest"]["seed"], 1);
        let lost = &windows[run.trials[0].baseline.len() + 1];
        assert_eq!(lost[columns::CASE.len() + BEHIND_CASE.len() + 2], Value::Null);
    }

    /// Two windows of each kind of the first trial, as they are written.
    #[test]
    fn windows_of_one_trial() {
        let mut run = fixture::pmu_run();
        run.trials.truncate(1);
        run.trials[0].baseline.truncate(2);
        run.trials[0].samples.truncate(2);
        insta::assert_snapshot!("windows_csv", text(&run, csv));
        insta::assert_snapshot!("windows_json", text(&run, json));
    }

    #[test]
    fn names_with_commas_are_quoted() {
        let mut run = fixture::pmu_run();
        run.manifest.groups[0].events[0].name = "cpu/event=0x1,umask=2/".to_owned();
        assert!(text(&run, csv).contains(",\"core.cpu/event=0x1,umask=2/\","));
    }

    /// The value of every row of a kind in a column, and of the others.
    fn of_kind(run: &Run, kind: &str, column: &str) -> [Vec<Value>; 2] {
        let document: Value = serde_json::from_str(&text(run, json)).unwrap();
        let at = |name: &str| document["columns"].as_array().unwrap().iter().position(|column| column == name).unwrap();
        let (kinds, column) = (at("kind"), at(column));
        let (of, others): (Vec<&Value>, Vec<&Value>) =
            document["windows"].as_array().unwrap().iter().partition(|row| row[kinds] == kind);
        [of, others].map(|rows| rows.iter().map(|row| row[column].clone()).collect())
    }

    #[test]
    fn windows_in_company_and_runs_of_a_victim_are_rows_too() {
        let mut run = fixture::pmu_run();
        let trial = &mut run.trials[0];
        let part = |wall_ns| CpuWindow { wall_ns, readings: trial.samples[0].readings.clone() };
        let windows = vec![vec![part(11), part(12)], vec![part(13), part(14)]];
        trial.parallel = Some(Parallel { cpus: vec![0, 5], runs: 2, executions: 66, windows });
        trial.churn = Some(Churn {
            per_s: 7,
            loads: 1,
            elapsed_ns: 1,
            load_latency: None,
            unload_latency: None,
            splits: None,
            windows: trial.samples[..3].to_vec(),
        });
        trial.fetched = vec![Window { instructions: 99, ..Window::default() }];
        trial.tandem = vec![Repetition {
            company: Company::Programs,
            wall_ns: 21,
            cpu_ns: 22,
            exit_code: 0,
            counts: vec![Some(23)],
            bursts: 24,
            executions: 25,
            busy_ns: 26,
        }];
        let event = run.manifest.groups[0].events[0].clone();
        run.manifest.victim =
            Some(Victim { events: vec![VictimEvent { side: CountSide::User, event }], ..Victim::default() });
        let [walls, _] = of_kind(&run, "parallel", "wall_ns");
        assert_eq!(walls, [11, 12, 13, 14]);
        assert_eq!(of_kind(&run, "parallel", "cpu")[0], [0, 5, 0, 5]);
        assert_eq!(of_kind(&run, "churn", "window")[0], [0, 1, 2]);
        assert_eq!(of_kind(&run, "sample", "fetched.instructions")[0][..2], [json!(99), Value::Null]);
        let [counted, others] = of_kind(&run, "victim-beside", "victim.cycles:u");
        assert_eq!((counted, others.iter().all(Value::is_null)), (vec![json!(23)], true));
        let lines = text(&run, csv);
        let width = lines.lines().next().unwrap().split(',').count();
        assert!(lines.lines().all(|line| line.split(',').count() == width), "{lines}");
    }
}
