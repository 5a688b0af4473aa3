//! A comparison of kernels as text for a terminal.

use super::{View, builds, class_word, columns_are, differs, extent};
use crate::compare::{Candidate, Effect, Verdict};
use crate::report::echo;
use crate::report::table::{SIMULATED, grid};
use crate::report::units::{self, figure, or_absent};
use crate::report::wording::wrap;
use crate::samples::Metric;

/// Widest line; only a word that cannot be broken may exceed it.
const COLUMNS: usize = 100;

/// The comparison as text, with a line end at its end.
pub fn table(view: &View<'_>) -> String {
    let mut lines = Vec::new();
    if view.is_simulated() {
        lines.push(SIMULATED.to_owned());
    }
    for (side, name) in view.sides().zip(std::iter::once("base").chain(std::iter::repeat("new"))) {
        let text = format!("{name}: {}: {}; {}", side.name, extent(side), builds(side));
        lines.extend(wrap(&text, COLUMNS, "", "    "));
    }
    for candidate in &view.comparison.candidates {
        lines.extend(differences(candidate));
        for metric in view.shown() {
            lines.extend(effects(view, candidate, metric));
        }
        lines.extend(unpaired(candidate));
    }
    lines.extend(wrap(&format!("base, new: {}", columns_are(view)), COLUMNS, "  ", "  "));
    lines.push("  ~ <x%: nothing shown, and the interval reaches no further than x % from equal".to_owned());
    lines.extend(echo::sentence(&view.echoes).into_iter().flat_map(|text| wrap(&text, COLUMNS, "  ", "  ")));
    let caveats: Vec<String> =
        view.caveats().iter().flat_map(|caveat| wrap(&caveat.to_string(), COLUMNS, "  - ", "    ")).collect();
    if !caveats.is_empty() {
        lines.extend([String::new(), "Read with care:".to_owned()]);
        lines.extend(caveats);
    }
    lines.join("\n") + "\n"
}

fn differences(candidate: &Candidate) -> Vec<String> {
    let differences = candidate.differences();
    if differences.is_empty() {
        return Vec::new();
    }
    let mut lines =
        vec![String::new(), format!("How the hosts of {} differ from the baseline's:", candidate.side.name)];
    lines.extend(differences.into_iter().flat_map(|fact| {
        wrap(&format!("{}: {} ({})", class_word(fact.class), differs(fact), fact.why), COLUMNS, "  ", "    ")
    }));
    lines
}

fn effects(view: &View<'_>, candidate: &Candidate, metric: Metric) -> Vec<String> {
    let rows: Vec<Vec<String>> = candidate.effects().filter(|effect| effect.metric == metric).map(row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let unit = candidate.effects().next().map_or("", |effect| units::observation(effect.unit));
    let header =
        ["workload", "programs", "pack", "base", "new", "change", "95 % interval", "p", "n", "detects", "verdict"];
    let heading = format!("{} on {}, n in {unit}:", view.headed(metric), candidate.side.name);
    let mut lines = vec![String::new(), heading];
    lines.extend(grid(&header, rows, &[0, 2, 10], COLUMNS).into_iter().map(|line| format!("  {line}")));
    lines
}

fn row(effect: &Effect) -> Vec<String> {
    vec![
        effect.case.workload.clone(),
        effect.case.programs.to_string(),
        effect.case.pack.to_string(),
        figure(effect.centers().0),
        figure(effect.centers().1),
        or_absent(effect.ratio, units::change),
        units::change_interval(effect.interval),
        or_absent(effect.p_holm, units::p_value),
        format!("{}+{}", effect.baseline.units.len(), effect.candidate.units.len()),
        or_absent(effect.detectable_percent, |percent| format!("{percent:.1}%")),
        brief(effect),
    ]
}

/// The verdict so that a row stays a line.
fn brief(effect: &Effect) -> String {
    match effect.verdict {
        Verdict::NoDifference { within_percent: Some(within) } => format!("~ <{within:.1}%"),
        _ => effect.conclusion(),
    }
}

/// Cases that only one side has.
fn unpaired(candidate: &Candidate) -> Vec<String> {
    let named = |cases: &[crate::workload::Case], side: &str| {
        let names: Vec<String> = cases.iter().map(ToString::to_string).collect();
        (!names.is_empty()).then(|| format!("only {side} has: {}", names.join("; ")))
    };
    let sides =
        [named(&candidate.only_baseline, "the baseline"), named(&candidate.only_candidate, &candidate.side.name)];
    sides.into_iter().flatten().flat_map(|text| wrap(&text, COLUMNS, "  ", "    ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::fixture;

    fn rendered(comparison: &crate::compare::Comparison) -> String {
        let text = table(&View::of(comparison));
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS && !line.ends_with(' '), "{line}");
        }
        text
    }

    #[test]
    fn a_row_is_a_line() {
        let text = rendered(&fixture::two_kernels());
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("  chain ")).collect();
        assert!(!rows.is_empty() && rows.iter().all(|row| row.ends_with('%') || row.ends_with("slower")), "{text}");
    }

    #[test]
    fn table_of_two_kernels() {
        insta::assert_snapshot!(rendered(&fixture::two_kernels()));
    }

    #[test]
    fn table_of_three_kernels_with_a_pmu() {
        insta::assert_snapshot!(rendered(&fixture::three_kernels()));
    }

    #[test]
    fn a_comparison_of_simulations_says_so_first() {
        assert!(rendered(&fixture::simulated()).starts_with(SIMULATED));
    }
}
