//! A comparison of kernels as text for a terminal.

use super::units::{self, figure, or_absent};
use super::wording::wrap;
use crate::compare::{Alarms, Candidate, Class, Comparison, Effect, Procedure, Side};
use crate::samples::Metric;

const COLUMNS: usize = 100;

/// The comparison as text, with a line end at its end.
pub fn table(comparison: &Comparison) -> String {
    let mut lines = vec![format!("baseline: {}", side(&comparison.baseline))];
    for candidate in &comparison.candidates {
        lines.push(String::new());
        lines.push(format!("against it: {}", side(&candidate.side)));
        lines.extend(differences(candidate));
        lines.extend(comparison.metrics.iter().flat_map(|metric| effects(candidate, *metric)));
        lines.extend(candidate.caveats.iter().flat_map(|caveat| wrap(&caveat.to_string(), COLUMNS, "- ", "  ")));
    }
    lines.join("\n") + "\n"
}

/// False alarms as text, with a line end at its end.
pub fn alarms(alarms: &Alarms) -> String {
    if alarms.0.is_empty() {
        return "nothing to compare with itself: needs runs made with --aa, two runs of one boot, or several boots\n"
            .to_owned();
    }
    let mut lines = vec!["equal halves called different, at most 5 % expected:".to_owned()];
    for ((procedure, metric), count) in &alarms.0 {
        let what = match procedure {
            Procedure::Arms => "arms of an A/A run",
            Procedure::Runs => "runs of one boot",
            Procedure::Boots => "boots of one kernel",
        };
        let rate = match count.rate_percent() {
            Some((rate, (low, high))) => format!("{rate:.1} % [{low:.1}, {high:.1}]"),
            None => "too few units for a verdict".to_owned(),
        };
        lines.push(format!(
            "  {what}, {}: {} of {} pairs, {rate}; after Holm {} of {} comparisons have one{}",
            units::label(*metric),
            count.alone,
            count.pairs,
            count.comparisons_with_alarm,
            count.comparisons,
            if count.not_enough > 0 { format!("; {} pairs too small", count.not_enough) } else { String::new() },
        ));
    }
    lines.join("\n") + "\n"
}

fn side(side: &Side) -> String {
    format!("{}, {} runs in {} boots", side.name, side.runs.len(), side.boots.len())
}

fn differences(candidate: &Candidate) -> Vec<String> {
    let line = |fact: &&crate::compare::FactDiff| {
        let class = match fact.class {
            Class::Equal | Class::Harmless => "differs",
            Class::Confounds => "confounds",
            Class::Incomparable => "incomparable",
        };
        let values = format!("{} -> {}", fact.baseline.join(" and "), fact.candidate.join(" and "));
        wrap(&format!("{class}: {}: {values} ({})", fact.fact, fact.why), COLUMNS, "  ", "    ")
    };
    candidate.differences().iter().flat_map(line).collect()
}

fn effects(candidate: &Candidate, metric: Metric) -> Vec<String> {
    let mut found = candidate.effects().filter(|effect| effect.metric == metric).peekable();
    if found.peek().is_none() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), units::label(metric).to_owned()];
    lines.extend(found.map(effect));
    lines
}

fn effect(effect: &Effect) -> String {
    format!(
        "  {:<30} {:>9} {:>9}  {:>7} {:<16} p {:<8} {}  {}",
        effect.case.to_string(),
        figure(effect.baseline.median),
        figure(effect.candidate.median),
        or_absent(effect.ratio, units::ratio),
        units::interval(effect.interval, units::ratio),
        or_absent(effect.p_holm, units::p_value),
        effect.n(),
        effect.conclusion()
    )
}
