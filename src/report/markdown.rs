//! A document as Markdown with GitHub's tables: for a forge's comment, a wiki, a README. Charts are links to the files beside it.

use super::document::{Claim, Document, Part, Section};
use super::sheet::{Align, Cell, Column, Sheet, Tone};

/// `document` as Markdown.
pub fn markdown(document: &Document) -> String {
    let mut blocks = Vec::new();
    if document.simulated {
        blocks.push("**SIMULATED: no kernel and no CPU was measured**".to_owned());
    }
    blocks.push(format!("# {}", escaped(&document.title)));
    blocks.push(escaped(&document.subtitle));
    if !document.claims.is_empty() {
        blocks.push(document.claims.iter().map(claim).collect::<Vec<_>>().join("\n"));
    }
    blocks.extend(document.sections.iter().filter(|section| !section.parts.is_empty()).map(section));
    blocks.join("\n\n") + "\n"
}

fn claim(claim: &Claim) -> String {
    format!("- {}: **{}**: {}", escaped(&claim.subject), escaped(&claim.figure), escaped(&claim.sentence))
}

fn section(section: &Section) -> String {
    let parts: Vec<String> = section.parts.iter().map(part).collect();
    format!("## {}\n\n{}", section.title, parts.join("\n\n"))
}

fn part(shown: &Part) -> String {
    match shown {
        Part::Prose(text) => escaped(text),
        Part::Sheet(sheet) => table(sheet),
        Part::Items(items) => items.iter().map(|item| format!("- {}", escaped(item))).collect::<Vec<_>>().join("\n"),
        Part::Facts(facts) => facts.iter().map(fact).collect::<Vec<_>>().join("\n"),
        Part::Verbatim(text) => fenced(text),
        Part::Chart(chart) => {
            format!("![{}]({}.svg)\n\n{}", escaped(&chart.title), chart.stem, escaped(&chart.caption))
        }
        Part::Folded(line, parts) => {
            let inner: Vec<String> = parts.iter().map(part).collect();
            format!("<details><summary>{}</summary>\n\n{}\n\n</details>", escaped(line), inner.join("\n\n"))
        }
    }
}

fn fact((name, value): &(String, String)) -> String {
    format!("- {}: {}", escaped(name), escaped(value))
}

fn table(sheet: &Sheet) -> String {
    let head = |column: &Column| match column.provenance.as_str() {
        "" => escaped(&column.head),
        provenance => format!("{} ({provenance})", escaped(&column.head)),
    };
    let rule = |column: &Column| match column.align {
        Align::Left => "---".to_owned(),
        Align::Right => "--:".to_owned(),
    };
    let mut lines = vec![line(sheet.columns.iter().map(head)), line(sheet.columns.iter().map(rule))];
    lines.extend(sheet.rows.iter().map(|row| line(row.iter().map(cell))));
    format!("{}\n\n{}", escaped(&sheet.note), lines.join("\n"))
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

fn cell(cell: &Cell) -> String {
    let text = match cell.tone {
        Tone::Plain => escaped(&cell.text),
        Tone::Higher | Tone::Lower => format!("**{}**", escaped(&cell.text)),
    };
    std::iter::once(text).chain(cell.notes.iter().map(|note| escaped(note))).collect::<Vec<_>>().join("<br>")
}

/// Text in a fence longer than any inside.
fn fenced(text: &str) -> String {
    let longest = text.lines().map(|line| line.chars().take_while(|c| *c == '`').count()).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}\n{}\n{fence}", text.trim_end_matches('\n'))
}

/// What Markdown or HTML would read as its own, made harmless; one line.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' => out.extend(['\\', c]),
            // A range such as `1~2` must not become struck out.
            '~' => out.push_str("\\~"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::{self, View};
    use crate::report::{Summary, chart, document, fixture};

    #[test]
    fn markdown_of_a_host_without_a_pmu() {
        let run = fixture::timed_run();
        let summary = Summary::of(&run);
        let drawings = chart::draw(&summary).expect("charts");
        insta::assert_snapshot!(markdown(&document::of_run(&summary, &drawings, "the mail\n")));
    }

    #[test]
    fn markdown_of_two_kernels() {
        let comparison = comparison::fixture::two_kernels();
        insta::assert_snapshot!(markdown(&document::of_comparison(&View::of(&comparison), &[], "the mail\n")));
    }

    #[test]
    fn every_row_has_a_cell_for_every_column() {
        let run = fixture::pmu_run();
        let text = markdown(&document::of_run(&Summary::of(&run), &[], ""));
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        for table in text.split("\n\n").filter(|block| block.starts_with('|')) {
            let first = bars(table.lines().next().expect("a head"));
            assert!(table.lines().all(|line| bars(line) == first), "{table}");
        }
    }

    #[test]
    fn what_comes_from_outside_stays_text() {
        assert_eq!(escaped("a|b <i> `x` *y* [l](u)\n# t"), "a\\|b &lt;i&gt; \\`x\\` \\*y\\* \\[l\\](u) \\# t");
        assert_eq!(fenced("a\n```\nb\n"), "````\na\n```\nb\n````");
    }
}
