//! Sentences and line breaks that the text outputs share.

use crate::counters::{MeterAbsence, Refusal};
use crate::samples::Metric;

use super::Summary;

/// What was not measured, one entry for each reason: first whether cycles and iTLB misses are missing, then every refused event
/// with its raw code, events of one reason together.
pub fn not_measured(summary: &Summary<'_>) -> Vec<String> {
    let wanted = [(Metric::Cycles, "cycles"), (Metric::ItlbMissesPer1000, "iTLB-load-misses")];
    let missing: Vec<&str> =
        wanted.iter().filter(|(metric, _)| !summary.metrics.contains(metric)).map(|(_, name)| *name).collect();
    let mut lines = Vec::new();
    if !missing.is_empty() {
        lines.push(format!("{}: no such figure stands in this report", missing.join(" and ")));
    }
    lines.extend(refused_by_reason(&summary.run.manifest.refused));
    lines.extend(meters_by_reason(&summary.run.manifest.meters_absent));
    lines
}

/// Refusals in the words of their `Display`, with the events of equal reasons in one line, in the order of their first.
pub fn refused_by_reason(refused: &[Refusal]) -> Vec<String> {
    let same = |a: &Refusal, b: &Refusal| a.errno == b.errno && a.meaning == b.meaning;
    let mut lines = Vec::new();
    for (at, first) in refused.iter().enumerate() {
        if refused[..at].iter().any(|earlier| same(earlier, first)) {
            continue;
        }
        let others = refused[at + 1..].iter().filter(|later| same(later, first));
        let mut names: Vec<String> = vec![named(first)];
        names.extend(others.map(named));
        lines.push(format!("{}: {}: {}", names.join(", "), first.errno, first.meaning));
    }
    lines
}

/// Absent noise meters, those of one reason in one line.
fn meters_by_reason(absent: &[MeterAbsence]) -> Vec<String> {
    absent.iter().map(|absence| format!("noise meters: {absence}")).collect()
}

fn named(refusal: &Refusal) -> String {
    format!("{} ({})", refusal.event.name, refusal.event.code)
}

/// A number with its noun.
pub fn counted(number: u32, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Breaks `text` at blanks into lines of at most `columns`, the first behind `first`, the rest behind `rest`. A word too long for
/// a line is broken inside.
pub fn wrap(text: &str, columns: usize, first: &str, rest: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        if !empty && width(&line) + 1 + width(&word) > columns {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        while width(&line) + width(&word) > columns {
            let tail = word.split_off(byte_of(&word, columns.saturating_sub(width(&line)).max(1)));
            line.push_str(&word);
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            word = tail;
        }
        line.push_str(&word);
        empty = false;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Byte at which the `at`-th character begins.
fn byte_of(text: &str, at: usize) -> usize {
    text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte)
}

/// 7-bit text on one line: blanks for tabs, line ends and control characters, `?` for what ASCII lacks.
pub fn ascii(text: &str) -> String {
    let plain = |c: char| match c {
        c if c.is_ascii_graphic() => c,
        c if c.is_whitespace() || c.is_control() => ' ',
        _ => '?',
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use proptest::prelude::*;

    #[test]
    fn events_of_one_reason_share_a_line() {
        let run = fixture::timed_run();
        let lines = not_measured(&Summary::of(&run));
        assert_eq!(
            lines,
            [
                "cycles and iTLB-load-misses: no such figure stands in this report",
                "cycles (type 0 config 0x0), instructions (type 0 config 0x1), iTLB-load-misses (type 3 config 0x10004), \
                 dTLB-load-misses (type 3 config 0x10003): ENOENT: no PMU on this host counts it",
                "msr/tsc/ (type 9 config 0x0): EACCES: perf_event_paranoid forbids it",
            ]
        );
    }

    #[test]
    fn nothing_is_missing_where_all_was_counted() {
        let run = fixture::pmu_run();
        assert!(not_measured(&Summary::of(&run)).is_empty());
    }

    #[test]
    fn a_lone_refusal_reads_as_itself() {
        let run = fixture::timed_run();
        let last = run.manifest.refused.last().unwrap();
        assert_eq!(refused_by_reason(std::slice::from_ref(last)), [last.to_string()]);
    }

    #[test]
    fn text_wraps_behind_its_indents() {
        assert_eq!(wrap("aa bb cc", 6, "- ", "  "), ["- aa", "  bb", "  cc"]);
        assert_eq!(wrap("aa bb cc", 7, "- ", "  "), ["- aa bb", "  cc"]);
        assert_eq!(wrap("abcdefgh i", 5, "- ", "  "), ["- abc", "  def", "  gh", "  i"]);
        assert_eq!(wrap("", 5, "", ""), [""]);
    }

    #[test]
    fn foreign_characters_become_ascii() {
        assert_eq!(ascii("Intel\u{ae} \u{3bc}\tx\n"), "Intel? ? x ");
    }

    proptest! {
        #[test]
        fn no_line_is_too_long_and_no_letter_is_lost(text in "[a-z\u{e9} ]{0,120}", columns in 4usize..40) {
            let lines = wrap(&text, columns, "- ", "  ");
            prop_assert!(lines.iter().all(|line| line.chars().count() <= columns && !line.ends_with(' ')), "{:?}", lines);
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
