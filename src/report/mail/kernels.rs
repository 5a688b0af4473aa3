//! A comparison of kernels as a mail: base and patched beside each other, the change with its n and interval.

use super::super::comparison::{View, builds, claim, class_word, columns_are, differs, extent};
use super::super::echo;
use super::super::table::{SIMULATED, grid};
use super::super::units::{self, figure, or_absent};
use super::super::wording::{ascii, refused_by_reason, wrap};
use super::{Block, COLUMNS, dots, items, join, setup};
use crate::compare::{Candidate, Effect, Side, Unit};
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;

/// The mail: the claims first, then all that a reader needs to doubt or repeat them. Passes [`super::check_mail`].
pub fn kernels(view: &View<'_>) -> String {
    let manifest = view.manifest();
    let mut blocks = Vec::new();
    if view.is_simulated() {
        blocks.push(Block { title: "", lines: vec![SIMULATED.to_owned()] });
    }
    blocks.push(Block { title: "", lines: claims(view) });
    blocks.push(Block { title: "Kernels", lines: kernels_compared(view) });
    blocks.push(Block { title: "Setup (of the baseline)", lines: setup::machine_rows(manifest) });
    blocks.push(Block { title: "Differences of the hosts", lines: items(differences(view)) });
    blocks.extend(setup::workloads(manifest));
    blocks.push(Block {
        title: "Results (per execution, less is better, empty program subtracted)",
        lines: results(view),
    });
    blocks.extend(plot(view));
    blocks.push(Block { title: "Pages of 4 KiB (base -> new)", lines: pages(view) });
    blocks.push(Block { title: "Verified", lines: items(verified(view)) });
    blocks.push(Block { title: "Not measured", lines: items(missing(view)) });
    blocks.push(Block { title: "Read with care", lines: items(view.caveats().iter().map(ToString::to_string)) });
    blocks.push(Block {
        title: "Reproduce (under each kernel, in a boot of its own)",
        lines: setup::reproduce(manifest),
    });
    blocks.push(Block { title: "Raw data", lines: items(raw_data(view)) });
    join(&blocks)
}

fn claims(view: &View<'_>) -> Vec<String> {
    let effects = view.claimed();
    effects.iter().flat_map(|effect| wrap(&ascii(&claim(view, effect)), COLUMNS, "", "  ")).collect()
}

fn kernels_compared(view: &View<'_>) -> Vec<String> {
    let of = |(at, side): (usize, &Side)| {
        let key = label(at, view.comparison.candidates.len());
        setup::row(&key, &format!("{}, {}; {}", side.name, builds(side), extent(side)))
    };
    view.sides().enumerate().flat_map(of).collect()
}

/// `base`, `new`; with several candidates `new 1`, `new 2`.
fn label(at: usize, candidates: usize) -> String {
    match (at, candidates) {
        (0, _) => "base".to_owned(),
        (_, 1) => "new".to_owned(),
        (at, _) => format!("new {at}"),
    }
}

fn differences(view: &View<'_>) -> Vec<String> {
    let several = view.comparison.candidates.len() > 1;
    let of = |(at, candidate): (usize, &Candidate)| {
        let who = if several { format!("new {}: ", at + 1) } else { String::new() };
        let line = |fact: &&crate::compare::FactDiff| {
            format!("{who}{}: {} ({})", class_word(fact.class), differs(fact), fact.why)
        };
        candidate.differences().iter().map(line).collect::<Vec<_>>()
    };
    view.comparison.candidates.iter().enumerate().flat_map(of).collect()
}

fn results(view: &View<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, candidate) in view.comparison.candidates.iter().enumerate() {
        for workload in view.workloads() {
            for metric in view.shown() {
                lines.extend(result(view, (at + 1, candidate), workload, metric));
            }
        }
    }
    lines.extend(wrap(&format!("base, new: {}", columns_are(view)), COLUMNS, "  ", "  "));
    lines.extend(echo::sentence(&view.echoes).into_iter().flat_map(|text| wrap(&text, COLUMNS, "  ", "  ")));
    lines
}

fn result(view: &View<'_>, (at, candidate): (usize, &Candidate), workload: &str, metric: Metric) -> Vec<String> {
    let of = candidate.effects().filter(|effect| effect.metric == metric && effect.case.workload == workload);
    let rows: Vec<Vec<String>> = of.map(row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let new = label(at, view.comparison.candidates.len());
    let heading = format!("{workload}, {}, {new} {}", view.headed(metric), candidate.side.name);
    let header = ["programs", "pack", "base", &new, "change", "95 % interval", "n", "p", ""];
    let mut lines = wrap(&ascii(&heading), COLUMNS, "  ", "    ");
    lines.extend(grid(&header, rows, &[1, 8], COLUMNS).into_iter().map(|line| format!("  {line}")));
    lines
}

fn row(effect: &Effect) -> Vec<String> {
    let mark = if effect.verdict.is_different() { "" } else { "~" };
    vec![
        effect.case.programs.to_string(),
        effect.case.pack.to_string(),
        figure(effect.centers().0),
        figure(effect.centers().1),
        or_absent(effect.ratio, units::change),
        units::change_interval(effect.interval),
        format!("{}+{}", effect.baseline.units.len(), effect.candidate.units.len()),
        or_absent(effect.p_holm, units::p_value),
        mark.to_owned(),
    ]
}

/// The first claim's figures, a mark for each boot.
fn plot(view: &View<'_>) -> Option<Block> {
    let first = *view.claimed().first()?;
    let effects = view.comparison.candidates.iter().filter_map(|candidate| {
        candidate.effects().find(|effect| effect.metric == first.metric && effect.case == first.case)
    });
    let labels: Vec<String> =
        (0..=view.comparison.candidates.len()).map(|at| label(at, view.comparison.candidates.len())).collect();
    let values = std::iter::once(&first.baseline).chain(effects.map(|effect| &effect.candidate));
    let sides: Vec<(&str, &[f64], char)> = labels
        .iter()
        .zip(values)
        .zip(['x', 'o', 'v', 'w'].into_iter().cycle())
        .map(|((label, side), mark)| (label.as_str(), side.units.as_slice(), mark))
        .collect();
    let case = &first.case;
    let what =
        format!("{} at {} programs, pack {}, {}", case.workload, case.programs, case.pack, view.headed(first.metric));
    let (title, unit) = match first.unit {
        Unit::Trial => ("Trial medians", "trial"),
        Unit::Boot => ("Boots (means of their trials)", "boot"),
    };
    Some(dots::plot(title, &what, unit, &sides))
}

fn pages(view: &View<'_>) -> Vec<String> {
    let range = |(fewest, most): (u32, u32)| {
        if fewest == most { fewest.to_string() } else { format!("{fewest}-{most}") }
    };
    let several = view.comparison.candidates.len() > 1;
    let mut rows = Vec::new();
    for (at, candidate) in view.comparison.candidates.iter().enumerate() {
        rows.extend(candidate.cases.iter().map(|case| {
            let (base, new) = (&case.baseline, &case.candidate);
            let mut row = vec![
                case.case.workload.clone(),
                case.case.programs.to_string(),
                case.case.pack.to_string(),
                format!("{} -> {}", range(base.pages_4k), range(new.pages_4k)),
                format!("{} -> {}", range(base.regions_2m), range(new.regions_2m)),
            ];
            row.extend(several.then(|| format!("new {}", at + 1)));
            row
        }));
    }
    let mut header = vec!["workload", "programs", "pack", "4K pages", "2M regions"];
    header.extend(several.then_some("of"));
    grid(&header, rows, &[0, 2], COLUMNS).into_iter().map(|line| format!("  {line}")).collect()
}

fn verified(view: &View<'_>) -> Vec<String> {
    let trials = || view.sides().flat_map(Side::trials);
    let (all, missed) = (trials().count(), trials().filter(|trial| !trial.placed).count());
    let source = match view.machine() {
        MachineKind::Kernel => "read back from jited_ksyms of every program",
        MachineKind::Sim => "as the simulation laid it out",
    };
    let (kept, thrown) = (trials().map(|t| t.windows).sum::<usize>(), trials().map(|t| t.discarded).sum::<usize>());
    vec![
        format!("placement: {source}; {} of {all} trials reached their goal, the others are left out", all - missed),
        format!("windows: {kept} of {} kept; none is scaled", kept + thrown),
        "boots: told apart by the kernel's boot_id; n counts boots, not trials".to_owned(),
    ]
}

/// Events that any side was refused, and what therefore cannot be concluded.
fn missing(view: &View<'_>) -> Vec<String> {
    let mut refused = Vec::new();
    for refusal in view.sides().flat_map(|side| &side.runs).flat_map(|run| &run.manifest.refused) {
        if !refused.contains(refusal) {
            refused.push(refusal.clone());
        }
    }
    let mut lines = refused_by_reason(&refused);
    if !view.comparison.metrics.contains(&Metric::ItlbMissesPer1000) {
        lines.push(
            "time alone does not show that a difference is the iTLB's: other code and another layout also cost BTB reach \
             and cache sets"
                .to_owned(),
        );
    }
    lines
}

/// Every run file, in the order they were made.
fn raw_data(view: &View<'_>) -> Vec<String> {
    let of = |(at, side): (usize, &Side)| {
        let names: Vec<&str> = side.runs.iter().map(|run| run.name.as_str()).collect();
        format!("{}: {}", label(at, view.comparison.candidates.len()), names.join(", "))
    };
    view.sides().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Comparison;
    use crate::report::comparison::fixture;
    use crate::report::mail::check_mail;

    fn rendered(comparison: &Comparison) -> String {
        let text = kernels(&View::of(comparison));
        check_mail(&text).unwrap();
        text
    }

    #[test]
    fn mail_of_two_kernels() {
        insta::assert_snapshot!(rendered(&fixture::two_kernels()));
    }

    #[test]
    fn mail_of_three_kernels_with_a_pmu() {
        insta::assert_snapshot!(rendered(&fixture::three_kernels()));
    }

    #[test]
    fn simulations_are_called_so() {
        let text = rendered(&fixture::simulated());
        assert!(text.starts_with(SIMULATED) && !text.contains("timed") && !text.contains("bare metal"), "{text}");
    }
}
