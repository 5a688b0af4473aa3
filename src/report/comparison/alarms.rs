//! How often equal halves were called different, as text for a terminal.

use crate::compare::{Alarms, Procedure};
use crate::report::units;

/// False alarms as text, with a line end at its end.
pub fn text(alarms: &Alarms) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Digest;
    use crate::report::fixture;
    use crate::runfile::manifest::Design;

    #[test]
    fn alarms_of_a_run_against_itself() {
        let mut run = fixture::timed_run();
        run.manifest.design = Design::AgainstItself;
        insta::assert_snapshot!(text(&Alarms::of(&[Digest::of("run.jsonl", &run)])));
    }
}
