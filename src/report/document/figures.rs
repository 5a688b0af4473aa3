//! The tables of a run: figures per case, effects, placement.

use super::run::capitalised;
use crate::compare::{Effect, Verdict};
use crate::report::sheet::{Cell, Column, Sheet, Tone};
use crate::report::summary::{CaseSummary, Spread};
use crate::report::{Summary, beside, units};
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;

/// Median, interval and percentiles of each of `metrics`, a row for each case.
pub(super) fn figures(summary: &Summary, metrics: &[Metric]) -> Sheet {
    let machine = summary.run.manifest.machine;
    let mut columns = point_columns();
    columns.push(Column::words("pack"));
    columns.extend(["pages of 4 KiB", "n (trials)", "trials left out", "windows left out"].map(Column::figures));
    columns.extend(metrics.iter().map(|&metric| metric_column(metric, machine)));
    let row = |case: &CaseSummary| {
        let mut row = point(case);
        row.extend([pages(case), Cell::count(case.trials), Cell::count(case.trials_left_out)]);
        row.push(Cell::count(case.windows_discarded));
        row.extend(metrics.iter().map(|metric| match case.metrics.get(metric) {
            Some(spread) => figure(spread, case.trials),
            None => Cell::words("not counted"),
        }));
        row
    };
    Sheet {
        note: "Median of the trials' medians, with the 95 % interval of that median over trials, and p50 / p90 / p99 over \
               all windows. n is the number of trials."
            .to_owned(),
        columns,
        rows: summary.cases.iter().map(row).collect(),
    }
}

/// Candidate against baseline for each of `metrics`.
pub(super) fn effects(summary: &Summary, metrics: &[Metric]) -> Sheet {
    let machine = summary.run.manifest.machine;
    let mut columns = point_columns();
    columns.push(Column::words("metric"));
    columns.extend(["baseline", "candidate", "ratio", "95 % interval", "p", "n"].map(Column::figures));
    columns.push(Column::words("verdict"));
    let of = |metric: Metric| summary.effects.iter().filter(move |effect| effect.metric == metric);
    Sheet {
        note:
            "Medians of the trials; the ratio of candidate to baseline and its 95 % interval are those of Hodges and Lehmann on \
               logs (with too few trials the plain ratio of the medians); p: Mann-Whitney, two-sided; ~ means that nothing was shown."
                .to_owned(),
        columns,
        rows: metrics.iter().flat_map(|&metric| of(metric)).map(|effect| effect_row(effect, machine)).collect(),
    }
}

/// Where the programs lay, and whether all of them ran.
pub(super) fn placement(summary: &Summary) -> Sheet {
    let mut columns = point_columns();
    columns.push(Column::words("pack"));
    columns.extend(
        [
            "JITed bytes",
            "pages of 4 KiB",
            "fewest possible",
            "regions of 2 MiB",
            "programs on own pages",
            "bytes of pages that are code",
            "line offsets used",
            "programs that ran",
            "window spent in programs",
        ]
        .map(Column::figures),
    );
    let note = match summary.run.manifest.machine {
        MachineKind::Kernel => {
            "Addresses and lengths were read back from the kernel (bpf_prog_info.jited_ksyms) after every load; the footprint \
             is computed from them. The check pass counts the executions of each program."
        }
        MachineKind::Sim => {
            "Addresses and lengths are the simulated machine's; the footprint is computed from them. The check pass counts \
             the executions of each program."
        }
    };
    let rows = summary.cases.iter().map(|case| placement_row(summary, case)).collect();
    Sheet { note: note.to_owned(), columns, rows }
}

/// What each case cost beside its time; `None` if no trial looked.
pub(super) fn beside_it(summary: &Summary) -> Option<Sheet> {
    let rows: Vec<Vec<Cell>> = beside::rows(summary)
        .into_iter()
        .map(|(case, cells)| {
            let figure = |text: String| Cell { key: text.parse().ok(), ..Cell::words(text) };
            point(case).into_iter().chain(cells.into_iter().map(figure)).collect()
        })
        .collect();
    let mut columns = point_columns();
    columns.push(Column::words("pack"));
    columns.extend(beside::HEADER.map(Column::figures));
    (!rows.is_empty()).then(|| Sheet { note: format!("Median trial. {}.", capitalised(beside::LEGEND)), columns, rows })
}

fn placement_row(summary: &Summary, case: &CaseSummary) -> Vec<Cell> {
    let print = &case.footprint;
    let trials = summary.run.trials.iter().filter(|trial| trial.case == case.case);
    let percent = |value: f64| Cell::figure(value, format!("{value:.1} %"));
    let ran = match trials.map(|trial| trial.check.executed).min() {
        Some(ran) => Cell::figure(f64::from(ran), format!("{ran} of {}", case.case.programs)),
        None => Cell::words("no trial"),
    };
    let mut row = point(case);
    row.extend([
        Cell::count(print.jited_bytes),
        pages(case),
        Cell::count(print.ideal_pages_4k),
        Cell::count(print.regions_2m),
        percent(print.own_pages_percent()),
        percent(print.density_percent()),
        Cell::figure(f64::from(print.line_offsets), format!("{} of 64", print.line_offsets)),
        ran,
        case.share_in_programs_percent.map_or_else(|| Cell::words("no baseline"), percent),
    ]);
    row
}

fn point_columns() -> Vec<Column> {
    vec![Column::words("workload"), Column::figures("programs")]
}

fn point(case: &CaseSummary) -> Vec<Cell> {
    let case = &case.case;
    vec![Cell::words(&case.workload), Cell::count(case.programs), Cell::words(case.pack.to_string())]
}

/// A column of `metric` with where its figures come from.
pub(super) fn metric_column(metric: Metric, machine: MachineKind) -> Column {
    Column::figures(units::label(metric)).from(units::provenance(metric, machine))
}

fn pages(case: &CaseSummary) -> Cell {
    let (fewest, most) = case.pages;
    let text = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
    Cell::figure(f64::from(case.footprint.pages_4k), text)
}

fn figure(spread: &Spread, trials: usize) -> Cell {
    let percentiles = [spread.p50, spread.p90, spread.p99].map(units::figure).join(" / ");
    let n = if spread.trials == trials { String::new() } else { format!("n = {}", spread.trials) };
    let cell = Cell::figure(spread.median, units::figure(spread.median));
    cell.with(between(spread.interval, units::figure)).with(percentiles).with(n)
}

/// An interval in words, for a table whose numbers stand one under the other.
pub(super) fn between(interval: Option<(f64, f64)>, format: fn(f64) -> String) -> String {
    interval.map_or_else(|| units::ABSENT.to_owned(), |(low, high)| format!("{} to {}", format(low), format(high)))
}

fn effect_row(effect: &Effect, machine: MachineKind) -> Vec<Cell> {
    let (baseline, candidate) = (effect.baseline.median, effect.candidate.median);
    let ratio = Cell::figure(effect.ratio.unwrap_or(f64::NAN), units::or_absent(effect.ratio, units::ratio));
    let low = effect.interval.map_or(f64::NAN, |(low, _)| low);
    let trials = effect.baseline.trials + effect.candidate.trials;
    vec![
        Cell::words(&effect.case.workload),
        Cell::count(effect.case.programs),
        Cell::words(units::label(effect.metric)).with(units::provenance(effect.metric, machine)),
        Cell::figure(baseline, units::figure(baseline)).with(&effect.baseline.name),
        Cell::figure(candidate, units::figure(candidate)).with(&effect.candidate.name),
        ratio,
        Cell::figure(low, between(effect.interval, units::ratio)),
        Cell::figure(effect.p.unwrap_or(f64::NAN), units::or_absent(effect.p, units::p_value)),
        Cell::figure(trials as f64, format!("{} + {}", effect.baseline.trials, effect.candidate.trials)),
        Cell::words(effect.conclusion()).toned(tone(&effect.verdict)),
    ]
}

/// Colour of a verdict.
pub(super) fn tone(verdict: &Verdict) -> Tone {
    match verdict {
        Verdict::Slower => Tone::Higher,
        Verdict::Faster => Tone::Lower,
        Verdict::NoDifference { .. } | Verdict::NotEnough | Verdict::Incomparable => Tone::Plain,
    }
}
