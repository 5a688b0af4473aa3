//! The terminal table: fixed width, no colour, nothing beyond ASCII in what it adds itself.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::beside;
use super::company;
use super::echo;
use super::elsewhere;
use super::knees;
use super::mapping;
use super::modelled::Modelled;
use super::summary::{CaseSummary, Summary};
use super::tandem;
use super::units::{self, figure, or_absent, percent};
use super::wording::{not_measured, wrap};
use super::{attribution, misses};
use crate::compare::Effect;
use crate::compare::pairing::CANDIDATE;
use crate::placement::Footprint;
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;

/// Widest line; only a word that cannot be broken may exceed it.
const COLUMNS: usize = 100;
/// Metrics beside each other in one table, beyond the primary one.
const METRICS_A_TABLE: usize = 2;
/// Heading of the knees of a sweep.
const KNEES: &str = "Knees (straight pieces over the logarithms; in brackets 95 % of the resamplings of the trials):";
/// Stands over everything that a simulation printed.
pub const SIMULATED: &str = "SIMULATED: no kernel and no CPU was measured";

/// The run as text for a terminal, with a line end at its end.
pub fn table(summary: &Summary<'_>) -> String {
    let mut lines = Vec::new();
    if summary.run.manifest.machine == MachineKind::Sim {
        lines.push(SIMULATED.to_owned());
    }
    lines.extend(wrap(&title(summary), COLUMNS, "", ""));
    lines.extend(placement(summary));
    lines.extend(mapping::sentences(summary.run).iter().flat_map(|text| wrap(text, COLUMNS, "  ", "    ")));
    lines.extend(primary(summary));
    lines.extend(others(summary));
    lines.extend(effects(summary));
    lines.extend(listed(KNEES, knees::lines(summary)));
    lines.extend(listed("Derived figures (largest number of programs):", attribution::derived_lines(summary, true)));
    lines.extend(listed("Where the cycles went (largest number of programs):", attribution::lines(summary, true)));
    lines.extend(listed("Whose code missed the iTLB:", misses::lines(summary)));
    lines.extend(beside_it(summary));
    lines.extend(listed(
        "In company (against the windows of the same trial before, baseline included):",
        company::lines(summary),
    ));
    lines.extend(tandem_lines(summary));
    lines.extend(modelled(summary));
    lines.extend(listed("Not measured:", not_measured(summary)));
    lines.extend(listed("Read with care:", summary.caveats.iter().map(ToString::to_string)));
    lines.join("\n") + "\n"
}

fn title(summary: &Summary<'_>) -> String {
    let manifest = &summary.run.manifest;
    let kernel = manifest.host.kernel_release.as_deref().unwrap_or("an unknown kernel");
    let cpu = manifest.host.cpu_model.as_deref().unwrap_or("an unknown CPU");
    let (done, planned) = (summary.run.trials.len(), manifest.planned_trials);
    format!("itlbench {} on {kernel}, {cpu}: {done} of {planned} trials, seed {}", manifest.tool_version, manifest.seed)
}

fn placement(summary: &Summary<'_>) -> Vec<String> {
    let mapped = |case: &CaseSummary| mapping::cell(summary.run.trials.iter().filter(|trial| trial.case == case.case));
    // One size for all stands in the sentence below the table.
    let differ = summary.cases.iter().any(|case| mapped(case) != mapped(&summary.cases[0]));
    let mut header = vec!["4K pages", "ideal", "2M regions", "own %", "busy %", "trials", "left out", "cut"];
    header.extend(differ.then_some("mapped"));
    let row = |case: &CaseSummary| {
        let print = &case.footprint;
        let mut row = point(case);
        row.extend([
            pages(print, case.pages),
            print.ideal_pages_4k.to_string(),
            print.regions_2m.to_string(),
            percent(print.own_pages_percent()),
            or_absent(case.share_in_programs_percent, percent),
            case.trials.to_string(),
            case.trials_left_out.to_string(),
            case.windows_discarded.to_string(),
        ]);
        row.extend(differ.then(|| mapped(case)));
        row
    };
    let heading = match summary.run.manifest.machine {
        MachineKind::Kernel => {
            "Placement, read back from the kernel (own: alone on their pages; busy: time in programs):"
        }
        MachineKind::Sim => "Placement, simulated (own: alone on their pages; busy: time in programs):",
    };
    section(heading, &header, summary.cases.iter().map(row).collect())
}

/// Pages of the median trial, and their range if it is one.
pub(super) fn pages(footprint: &Footprint, (fewest, most): (u32, u32)) -> String {
    match fewest == most {
        true => footprint.pages_4k.to_string(),
        false => format!("{} ({fewest}-{most})", footprint.pages_4k),
    }
}

fn primary(summary: &Summary<'_>) -> Vec<String> {
    let metric = summary.primary();
    let row = |case: &CaseSummary| {
        let spread = case.metrics.get(&metric)?;
        let mut row = point(case);
        row.push(figure(spread.median));
        row.push(units::interval(spread.interval, figure));
        row.extend([spread.p50, spread.p90, spread.p99].map(figure));
        row.extend([spread.trials, spread.windows].map(|n| n.to_string()));
        Some(row)
    };
    let heading = format!("{}, empty-program baseline subtracted:", headed(summary, metric));
    let header = ["median", "95 % interval", "p50", "p90", "p99", "trials", "windows"];
    section(&heading, &header, summary.cases.iter().filter_map(row).collect())
}

fn others(summary: &Summary<'_>) -> Vec<String> {
    let primary = summary.primary();
    let others: Vec<Metric> = summary.shown().into_iter().filter(|metric| *metric != primary).collect();
    let chunk = |metrics: &[Metric]| {
        let header: Vec<String> = metrics.iter().map(|metric| headed(summary, *metric)).collect();
        let row = |case: &CaseSummary| {
            let cell = |metric: &Metric| match case.metrics.get(metric) {
                Some(spread) => units::with_interval(spread.median, spread.interval, figure),
                None => units::ABSENT.to_owned(),
            };
            let mut row = point(case);
            row.extend(metrics.iter().map(cell));
            row
        };
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        section("Median [95 % interval]:", &header, summary.cases.iter().map(row).collect())
    };
    others.chunks(METRICS_A_TABLE).flat_map(chunk).collect()
}

fn effects(summary: &Summary<'_>) -> Vec<String> {
    let header = ["workload", "programs", "off / on", "95 % interval", "p", "n", "verdict"];
    // With one candidate its name stands in the heading of its column, with several in every row.
    let several = summary.effects.iter().any(|effect| effect.candidate.name != CANDIDATE);
    let header = if several { header.map(|name| if name == "off / on" { "against on" } else { name }) } else { header };
    let named = |effect: &Effect| {
        let mut row = effect_row(effect);
        if several {
            row[1] = format!("{}, {}", row[1], effect.candidate.name);
        }
        row
    };
    let block = |&metric: &Metric| {
        let of_metric = summary.effects.iter().filter(|effect| effect.metric == metric);
        let rows: Vec<Vec<String>> = of_metric.map(named).collect();
        match rows.is_empty() {
            true => Vec::new(),
            false => headed_grid(&format!("Effect on {}:", headed(summary, metric)), &header, rows, &[0, 6]),
        }
    };
    let not_repeated = echo::sentence(&summary.echoes).map(|text| wrap(&text, COLUMNS, "  ", "  "));
    summary.shown().iter().flat_map(block).chain(not_repeated.into_iter().flatten()).collect()
}

fn effect_row(effect: &Effect) -> Vec<String> {
    vec![
        effect.case.workload.clone(),
        format!("at {}", effect.case.programs),
        or_absent(effect.ratio, units::ratio),
        units::interval(effect.interval, units::ratio),
        or_absent(effect.p, units::p_value),
        format!("{}+{}", effect.baseline.trials, effect.candidate.trials),
        effect.conclusion(),
    ]
}

fn beside_it(summary: &Summary<'_>) -> Vec<String> {
    let rows = beside::rows(summary).into_iter().map(|(case, cells)| [point(case), cells].concat()).collect::<Vec<_>>();
    if rows.is_empty() {
        return Vec::new();
    }
    let mut lines = section("Cost beside (median trial):", &beside::HEADER, rows);
    lines.extend(wrap(beside::LEGEND, COLUMNS, "  ", "  "));
    lines
}

/// What the load cost the victim, if there was one.
fn tandem_lines(summary: &Summary<'_>) -> Vec<String> {
    let Some((victim, rows)) = tandem::of_run(summary) else { return Vec::new() };
    let sheet = tandem::sheet(victim, &rows);
    let header: Vec<&str> = sheet.columns.iter().map(|column| column.head.as_str()).collect();
    let cells = sheet.rows.iter().map(|row| row.iter().map(|cell| cell.text.clone()).collect()).collect();
    let mut lines = vec![String::new()];
    lines.extend(wrap(&format!("{}:", sheet.note), COLUMNS, "", ""));
    lines.extend(
        grid(&header, cells, &[0, 2], COLUMNS).into_iter().map(|line| format!("  {line}").trim_end().to_owned()),
    );
    let sentences = tandem::sentences(summary, victim, &rows);
    lines.extend(sentences.iter().flat_map(|text| wrap(text, COLUMNS, "  - ", "    ")));
    lines
}

/// A block for each model, apart from all that was measured.
fn modelled(summary: &Summary<'_>) -> Vec<String> {
    let block = |modelled: &Modelled| {
        [vec![String::new()], modelled.lines(COLUMNS), vec![String::new()], elsewhere::lines(modelled, COLUMNS)]
            .concat()
    };
    summary.modelled.iter().filter(|modelled| !modelled.rows.is_empty()).flat_map(block).collect()
}

/// `cycles/exec (measured)`: the provenance stands in every heading.
pub(super) fn headed(summary: &Summary<'_>, metric: Metric) -> String {
    format!("{} ({})", units::label(metric), units::provenance(metric, summary.run.manifest.machine))
}

/// The columns that name a case.
fn point(case: &CaseSummary) -> Vec<String> {
    vec![case.case.workload.clone(), case.case.programs.to_string(), case.case.pack.to_string()]
}

/// A table of cases under its heading.
fn section(heading: &str, header: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let header: Vec<&str> = ["workload", "programs", "pack"].iter().chain(header).copied().collect();
    headed_grid(heading, &header, rows, &[0, 2])
}

fn headed_grid(heading: &str, header: &[&str], rows: Vec<Vec<String>>, left: &[usize]) -> Vec<String> {
    let mut lines = vec![String::new(), heading.to_owned()];
    lines.extend(grid(header, rows, left, COLUMNS).into_iter().map(|line| format!("  {line}").trim_end().to_owned()));
    lines
}

/// Rows in columns, two blanks between them, figures to the right and the columns of `left` to the left. Cells wrap where the grid
/// would get wider than `columns`, an indent of two included.
pub(super) fn grid(header: &[&str], rows: Vec<Vec<String>>, left: &[usize], columns: usize) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns as u16 - 2);
    table.set_header(header.iter().copied());
    table.add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        // The last one's blanks would take room from the others and then be cut off.
        column.set_padding((0, if at + 1 < header.len() { 2 } else { 0 }));
        let alignment = if left.contains(&at) { CellAlignment::Left } else { CellAlignment::Right };
        column.set_cell_alignment(alignment);
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn listed(heading: &str, items: impl IntoIterator<Item = String>) -> Vec<String> {
    let lines: Vec<String> = items.into_iter().flat_map(|item| wrap(&item, COLUMNS, "  - ", "    ")).collect();
    match lines.is_empty() {
        true => Vec::new(),
        false => [vec![String::new(), heading.to_owned()], lines].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::runfile::Run;

    fn rendered(run: &Run) -> String {
        let text = table(&Summary::of(run));
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS && !line.ends_with(' '), "{line}");
        }
        text
    }

    #[test]
    fn table_of_a_host_without_a_pmu() {
        insta::assert_snapshot!(rendered(&fixture::timed_run()));
    }

    #[test]
    fn table_with_a_pmu() {
        insta::assert_snapshot!(rendered(&fixture::pmu_run()));
    }

    #[test]
    fn table_of_a_simulation() {
        let text = rendered(&fixture::sim_run());
        assert!(text.starts_with(SIMULATED));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn table_of_an_interrupted_run() {
        insta::assert_snapshot!(rendered(&fixture::interrupted_run()));
    }

    #[test]
    fn cases_mapped_by_other_pages_get_a_column_of_their_own() {
        let mut run = fixture::timed_run();
        assert!(!rendered(&run).contains("mapped\n"));
        run.trials[0].mapping = None;
        assert!(!rendered(&run).contains("mapped\n"), "the case has other trials");
        let case = run.trials[0].case.clone();
        run.trials.iter_mut().filter(|trial| trial.case == case).for_each(|trial| trial.mapping = None);
        assert!(rendered(&run).contains("mapped\n"));
    }

    #[test]
    fn a_run_without_trials_still_says_what_was_not_measured() {
        let mut run = fixture::interrupted_run();
        run.trials.clear();
        let text = rendered(&run);
        assert!(text.contains("0 of 48 trials") && text.contains("Not measured:"), "{text}");
    }
}
