//! Attribution and derived figures as text and tables.

use std::collections::BTreeMap;

use crate::compare::attribution::{Amount, Attribution, Delta, Side, Term, attributions};
use crate::compare::pairing;
use crate::runfile::manifest::MachineKind;
use crate::samples::Derived;
use crate::stats;
use crate::workload::Case;

use super::Summary;
use super::sheet::{Cell, Column, Sheet};
use super::units::{self, figure, with_interval};

/// One derived figure of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct DerivedRow {
    pub case: Case,
    pub figure: Derived,
    /// Median of the trials' figures, its 95 % interval, and the trials behind it.
    pub median: f64,
    pub interval: Option<(f64, f64)>,
    pub trials: usize,
}

/// Every derived figure that the events of the run allow, by figure and case.
pub fn derived(summary: &Summary<'_>) -> Vec<DerivedRow> {
    let groups = &summary.run.manifest.groups;
    let row = |figure: Derived, case: &Case| {
        let values: Vec<f64> =
            pairing::counting(summary.run, case).filter_map(|trial| figure.of(trial, groups)).collect();
        let (median, interval) = (stats::median(&values)?, stats::median_interval(&values));
        Some(DerivedRow { case: case.clone(), figure, median, interval, trials: values.len() })
    };
    let cases = || summary.cases.iter().map(|case| &case.case);
    Derived::ALL.into_iter().flat_map(|figure| cases().filter_map(move |case| row(figure, case))).collect()
}

/// The derived figures as a table; `None` if the events of the run allow none.
pub fn derived_sheet(summary: &Summary<'_>) -> Option<Sheet> {
    let rows = derived(summary);
    let provenance = provenance(summary);
    let columns = vec![
        Column::words("figure"),
        Column::words("workload"),
        Column::figures("programs"),
        Column::words("pack"),
        Column::figures("median").from(provenance),
        Column::figures("95 % interval"),
        Column::figures("n"),
    ];
    let cells = |row: &DerivedRow| {
        vec![
            Cell::words(row.figure.unit()),
            Cell::words(&row.case.workload),
            Cell::count(row.case.programs),
            Cell::words(row.case.pack.to_string()),
            Cell::figure(row.median, figure(row.median)),
            Cell::words(units::interval(row.interval, figure)),
            Cell::count(row.trials),
        ]
    };
    let note = "Each with its denominator in its name, from counts net of the empty program; never misses per load.";
    (!rows.is_empty()).then(|| Sheet { note: note.to_owned(), columns, rows: rows.iter().map(cells).collect() })
}

/// The derived figures as lines of a text, one a figure: both arms at every number of programs, or at the largest alone.
pub fn derived_lines(summary: &Summary<'_>, largest: bool) -> Vec<String> {
    let cell = |row: &DerivedRow| {
        let value = with_interval(row.median, row.interval, figure);
        format!("{} n={} pack {} {value}", row.case.workload, row.case.programs, row.case.pack)
    };
    let mut rows = derived(summary);
    if largest {
        let cases = summary.cases.iter().map(|case| &case.case);
        let most = |workload: &str| cases.clone().filter(|case| case.workload == workload).map(|c| c.programs).max();
        rows.retain(|row| Some(row.case.programs) == most(&row.case.workload));
    }
    let figures = Derived::ALL.into_iter().filter(|figure| rows.iter().any(|row| row.figure == *figure));
    figures
        .map(|figure| {
            let cells: Vec<String> = rows.iter().filter(|row| row.figure == figure).map(cell).collect();
            format!("{} ({}): {}", figure.unit(), provenance(summary), cells.join("; "))
        })
        .collect()
}

/// The split of every pair, largest number of programs of each workload only if `largest`; one line where there is none.
pub fn lines(summary: &Summary<'_>, largest: bool) -> Vec<String> {
    match attributions(summary.run, summary.calibrated.as_ref()) {
        Err(why) => vec![why],
        Ok(found) => {
            let is_shown = |one: &&Attribution| {
                !largest || found.iter().all(|o| o.workload != one.workload || o.programs <= one.programs)
            };
            found.iter().filter(is_shown).flat_map(of_pair).collect()
        }
    }
}

fn of_pair(pair: &Attribution) -> Vec<String> {
    let (on, off) = pair.trials;
    let mut lines = vec![format!(
        "{}, {} programs: {} cycles/exec from pack on to pack off ({on}+{off} trials)",
        pair.workload,
        pair.programs,
        signed(&pair.cycles)
    )];
    lines.extend(pair.terms.iter().filter_map(term_line));
    lines.push(match &pair.unexplained {
        Some(rest) => format!("unexplained: {} cycles", signed(rest)),
        None => "unexplained: all of it; no iTLB term was counted that has a cost".to_owned(),
    });
    lines.extend(absent_line(pair));
    lines
}

fn term_line(term: &Term) -> Option<String> {
    let side = side(term.side);
    match &term.amount {
        Amount::Cycles(delta) => Some(format!("{side}, {}: {} cycles", term.name, signed(delta))),
        Amount::Events(delta) => Some(format!(
            "{side}, {}: {} per 1000 exec; no cost is published, not subtracted",
            term.name,
            signed(delta)
        )),
        Amount::Within(delta) => {
            Some(format!("{side}, {}: {} per 1000 exec; within the slots lost", term.name, signed(delta)))
        }
        Amount::Absent(_) => None,
    }
}

/// Terms that are absent, those of one reason together.
fn absent_line(pair: &Attribution) -> Option<String> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for term in &pair.terms {
        if let Amount::Absent(why) = &term.amount {
            reasons.entry(why).or_default().push(&term.name);
        }
    }
    let each: Vec<String> = reasons.iter().map(|(why, names)| format!("{}: {why}", names.join(", "))).collect();
    (!each.is_empty()).then(|| format!("absent: {}", each.join("; ")))
}

/// The splits as a table, or why there are none.
pub fn sheet(summary: &Summary<'_>) -> Result<Sheet, String> {
    let found = attributions(summary.run, summary.calibrated.as_ref())?;
    let columns = vec![
        Column::words("workload"),
        Column::figures("programs"),
        Column::words("term"),
        Column::figures("cycles/exec").from(provenance(summary)),
        Column::figures("events/1000 exec").from(provenance(summary)),
    ];
    Ok(Sheet {
        note: "Pack off minus pack on, with 95 % intervals. Terms in cycles are subtracted; events without a published or \
               calibrated cost are shown and not subtracted; what is left is unexplained."
            .to_owned(),
        columns,
        rows: found.iter().flat_map(rows).collect(),
    })
}

fn rows(pair: &Attribution) -> Vec<Vec<Cell>> {
    let row = |term: String, cycles: Cell, events: Cell| {
        vec![Cell::words(&pair.workload), Cell::count(pair.programs), Cell::words(term), cycles, events]
    };
    let cell = |delta: &Delta| Cell::figure(delta.value, signed(delta));
    let none = || Cell::words("");
    let mut rows = vec![row("all".to_owned(), cell(&pair.cycles), none())];
    rows.extend(pair.terms.iter().map(|term| {
        let name = format!("{}, {}", side(term.side), term.name);
        match &term.amount {
            Amount::Cycles(delta) => row(name, cell(delta), none()),
            Amount::Events(delta) | Amount::Within(delta) => row(name, none(), cell(delta)),
            Amount::Absent(why) => row(name, Cell::words(why), none()),
        }
    }));
    let rest = pair.unexplained.as_ref().map_or_else(|| Cell::words("all of it"), cell);
    rows.push(row("unexplained".to_owned(), rest, none()));
    rows
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Itlb => "iTLB",
        Side::Rival => "rival",
    }
}

fn signed(delta: &Delta) -> String {
    let text = with_interval(delta.value, delta.interval, figure);
    if text.starts_with('-') { text } else { format!("+{text}") }
}

fn provenance(summary: &Summary<'_>) -> &'static str {
    match summary.run.manifest.machine {
        MachineKind::Sim => "simulated",
        MachineKind::Kernel => "measured",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_run_without_cycles_says_why_in_one_line() {
        let run = fixture::timed_run();
        let summary = Summary::of(&run);
        assert_eq!(lines(&summary, true), ["no attribution to iTLB or rivals: cycles were not counted"]);
        assert!(derived_lines(&summary, true).is_empty() && derived_sheet(&summary).is_none());
    }

    #[test]
    fn the_generic_event_alone_leaves_all_unexplained_and_names_what_is_absent() {
        let run = fixture::pmu_run();
        let found = lines(&Summary::of(&run), true);
        assert!(found[0].starts_with("chain, 2048 programs: +"), "{found:?}");
        assert_eq!(found[1], "unexplained: all of it; no iTLB term was counted that has a cost");
        assert!(found[2].starts_with("absent: walks, second-level hits, fetch stalled on L1I misses, "), "{found:?}");
        assert_eq!(found.len(), 3);
        let derived = derived_lines(&Summary::of(&run), false);
        assert_eq!(derived.len(), 1);
        assert!(
            derived[0].starts_with("iTLB-load-misses/1000 instructions (measured): chain n=64 pack on "),
            "{derived:?}"
        );
    }
}
