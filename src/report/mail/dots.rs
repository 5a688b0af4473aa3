//! The trials' medians of both arms on a common scale, after the idea of ministat(1): the eye sees spread and overlap.

use super::super::Summary;
use super::super::table::headed;
use super::super::units::figure;
use super::super::wording::{ascii, wrap};
use super::{Block, COLUMNS, claim};
use crate::samples::Metric;
use crate::workload::{Case, PackMode};

/// Arms with label and mark.
const ARMS: [(PackMode, &str, char); 4] = [
    (PackMode::On, "pack on", 'x'),
    (PackMode::Off, "pack off", 'o'),
    (PackMode::OffTwoMeg, "off-2m", 'm'),
    (PackMode::Placebo, "placebo", 'p'),
];

/// Columns of the scale.
const SCALE: usize = 58;

/// The plot at the largest number of programs of the first workload; `None` without trials that count.
pub(super) fn block(summary: &Summary<'_>) -> Option<Block> {
    let metric = summary.primary();
    let case = plotted(summary)?;
    let arms = ARMS.map(|(arm, label, mark)| (label, medians(summary, case, arm, metric), mark));
    let what = format!("{} at {} programs, {}", case.workload, case.programs, headed(summary, metric));
    Some(plot("Trial medians", &what, "trial", &arms))
}

/// Values of several sides, a line each, on one scale; one mark a `unit`.
pub(super) fn plot(title: &'static str, what: &str, unit: &str, sides: &[(&str, &[f64], char)]) -> Block {
    let all = || sides.iter().flat_map(|(_, values, _)| values.iter().copied());
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let mut lines = wrap(&ascii(what), COLUMNS, "  ", "    ");
    lines.extend(sides.iter().filter_map(|(label, values, mark)| row(label, values, *mark, (low, high))));
    lines.push(ends(low, high));
    lines.push(format!("  one mark a {unit}; a capital stands for several"));
    Block { title, lines }
}

/// A case at the point that the first claim is about, or at the largest number of programs that has figures.
fn plotted<'a>(summary: &'a Summary<'_>) -> Option<&'a Case> {
    let metric = summary.primary();
    let claimed = claim::claimed(summary).first().map(|effect| (effect.case.workload.clone(), effect.case.programs));
    let has = summary.cases.iter().filter(|case| case.metrics.contains_key(&metric)).map(|case| &case.case);
    match claimed {
        Some((workload, programs)) => {
            has.into_iter().find(|case| case.workload == workload && case.programs == programs)
        }
        None => has.max_by_key(|case| case.programs),
    }
}

fn medians<'a>(summary: &'a Summary<'_>, case: &Case, pack: PackMode, metric: Metric) -> &'a [f64] {
    let arm = Case { pack, ..case.clone() };
    let found = summary.cases.iter().find(|case| case.case == arm);
    found.and_then(|case| case.metrics.get(&metric)).map_or(&[], |spread| &spread.trial_medians)
}

/// `None` for an arm without trials.
fn row(label: &str, values: &[f64], mark: char, (low, high): (f64, f64)) -> Option<String> {
    let mut marks = vec![' '; SCALE];
    for value in values {
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        let at = (share * (SCALE - 1) as f64).round() as usize;
        marks[at] = if marks[at] == ' ' { mark } else { mark.to_ascii_uppercase() };
    }
    (!values.is_empty()).then(|| format!("  {label:<8} |{}|", marks.into_iter().collect::<String>()))
}

fn ends(low: f64, high: f64) -> String {
    let (low, high) = (figure(low), figure(high));
    let gap = (SCALE + 2).saturating_sub(low.len());
    format!("  {:<8} {low}{high:>gap$}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_where_their_values_are() {
        let line = row("pack on", &[1.0, 1.0, 2.0, 3.0], 'x', (1.0, 3.0)).unwrap();
        let scale: Vec<char> = line.chars().skip(12).collect();
        assert_eq!((scale[0], scale[29], scale[57], scale[58]), ('X', 'x', 'x', '|'));
        assert_eq!(scale.iter().filter(|mark| **mark == ' ').count(), SCALE - 3);
    }

    #[test]
    fn equal_values_share_one_mark() {
        let line = row("pack off", &[5.0, 5.0], 'o', (5.0, 5.0)).unwrap();
        assert!(line.starts_with("  pack off |O "), "{line}");
        assert_eq!(row("pack off", &[], 'o', (5.0, 5.0)), None);
    }

    #[test]
    fn both_ends_are_labelled_under_the_scale() {
        let line = ends(1.0, 12345.0);
        assert!(line.starts_with("           1.00 ") && line.ends_with(" 12345"), "{line}");
        assert_eq!(line.len(), 11 + SCALE + 2);
    }
}
