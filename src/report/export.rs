//! Every window of a run as CSV or JSON, for other tools: raw counts, one row a window, columns named once.
//!
//! Both hold the same columns in the same order. What was not counted is empty in CSV and null in JSON; nothing is rounded.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::runfile::Run;
use crate::trial::{Sample, Trial};

/// The columns before the counters: what was measured, and the window's own figures.
const FIXED: [&str; 17] = [
    "workload",
    "trigger",
    "body",
    "programs",
    "pack",
    "stride",
    "offset",
    "trial",
    "sequence",
    "placed",
    "pages_4k",
    "kind",
    "window",
    "runs",
    "executions",
    "wall_ns",
    "discarded",
];

/// The windows of `run` as CSV with a header (RFC 4180, but line feeds alone).
pub fn csv(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let names = columns(run);
    writeln!(out, "{}", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(","))?;
    each_row(run, |row| writeln!(out, "{}", row.iter().map(cell).collect::<Vec<_>>().join(",")))
}

/// The windows of `run` as one JSON object: the manifest, `columns`, and `windows` as arrays in their order.
pub fn json(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let manifest = serde_json::to_string(&run.manifest)?;
    writeln!(
        out,
        "{{\"manifest\":{manifest},\"complete\":{},\"columns\":{},\"windows\":[",
        run.complete,
        json!(columns(run))
    )?;
    let mut first = true;
    each_row(run, |row| {
        let separator = if std::mem::take(&mut first) { "" } else { ",\n" };
        write!(out, "{separator}{}", Value::Array(row))
    })?;
    writeln!(out, "\n]}}")
}

fn columns(run: &Run) -> Vec<String> {
    let mut names: Vec<String> = FIXED.iter().map(|name| (*name).to_owned()).collect();
    for group in &run.manifest.groups {
        names.extend(["enabled_ns", "running_ns"].map(|time| format!("{}.{time}", group.name)));
        names.extend(group.events.iter().map(|event| format!("{}.{}", group.name, event.name)));
    }
    names.extend(run.manifest.meters.iter().map(|meter| format!("meter.{}", word(json!(meter)))));
    names
}

fn each_row(run: &Run, mut take: impl FnMut(Vec<Value>) -> io::Result<()>) -> io::Result<()> {
    for trial in &run.trials {
        for (kind, windows) in [("baseline", &trial.baseline), ("sample", &trial.samples)] {
            for (window, sample) in windows.iter().enumerate() {
                take(row(run, trial, kind, window, sample))?;
            }
        }
    }
    Ok(())
}

fn row(run: &Run, trial: &Trial, kind: &str, window: usize, sample: &Sample) -> Vec<Value> {
    let case = &trial.case;
    let mut row = vec![
        json!(case.workload),
        json!(case.trigger.to_string()),
        json!(case.body.nominal_bytes()),
        json!(case.programs),
        json!(case.pack),
        json!(case.stride.bytes()),
        json!(case.offset),
        json!(trial.trial),
        json!(trial.sequence),
        json!(u8::from(trial.placed)),
        json!(trial.footprint.pages_4k),
        json!(kind),
        json!(window),
        json!(sample.runs),
        json!(sample.executions),
        json!(sample.wall_ns),
        json!(sample.discarded),
    ];
    for (at, group) in run.manifest.groups.iter().enumerate() {
        let reading = sample.readings.get(at).filter(|reading| !reading.counts.is_empty());
        row.extend(
            [reading.map(|reading| reading.enabled_ns), reading.map(|reading| reading.running_ns)]
                .map(|time| json!(time)),
        );
        row.extend((0..group.events.len()).map(|event| json!(reading.and_then(|reading| reading.counts.get(event)))));
    }
    row.extend((0..run.manifest.meters.len()).map(|meter| json!(sample.meters.get(meter))));
    row
}

fn word(value: Value) -> String {
    match value {
        Value::String(word) => word,
        other => other.to_string(),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        number => number.to_string(),
    }
}

fn quoted(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

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
        assert_eq!(lost[FIXED.len() + 2], Value::Null);
    }

    #[test]
    fn names_with_commas_are_quoted() {
        assert_eq!(quoted("cpu/event=0x1,umask=2/"), "\"cpu/event=0x1,umask=2/\"");
        assert_eq!(quoted("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }
}
