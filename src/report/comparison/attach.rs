//! The parts of a mail on a comparison, as the lists accept attachments: plain text.

use super::View;
use crate::compare::{Digest, Side};
use crate::report::attach::{Part, command, config, made_by};
use crate::report::mail;
use crate::report::wording::{ascii, wrap};

/// `report.txt`, `config` of every side and `reproduce`; the run files, named by [`run_files`], follow.
pub fn parts(view: &View<'_>) -> Vec<Part> {
    vec![
        Part { name: "report.txt", text: mail::kernels(view) },
        Part { name: "config", text: configs(view) },
        Part { name: "reproduce", text: reproduce(view) },
    ]
}

/// Every run file under the name it is attached by: `run-base-1.jsonl`, `run-new-1.jsonl`; behind a third kernel `run-new2-1.jsonl`.
pub fn run_files<'a>(view: &View<'a>) -> Vec<(String, &'a Digest)> {
    let of = |(at, side): (usize, &'a Side)| {
        let stem = stem(view, at);
        side.runs.iter().enumerate().map(move |(run, digest)| (format!("{stem}-{}.jsonl", run + 1), digest))
    };
    view.sides().enumerate().flat_map(of).collect()
}

fn stem(view: &View<'_>, at: usize) -> String {
    match (at, view.comparison.candidates.len()) {
        (0, _) => "run-base".to_owned(),
        (_, 1) => "run-new".to_owned(),
        (at, _) => format!("run-new{at}"),
    }
}

/// What each run of every side was told, the same text once.
fn configs(view: &View<'_>) -> String {
    let mut blocks: Vec<(Vec<String>, String)> = Vec::new();
    for (name, run) in run_files(view) {
        let text = config(&run.manifest.host);
        match blocks.iter_mut().find(|(_, known)| *known == text) {
            Some((names, _)) => names.push(name),
            None => blocks.push((vec![name], text)),
        }
    }
    let shown = |(names, text): &(Vec<String>, String)| {
        wrap(&names.join(" "), mail::COLUMNS, "# of ", "#    ").join("\n") + "\n" + text
    };
    blocks.iter().map(shown).collect::<Vec<_>>().join("\n")
}

/// A shell script: without an argument it measures as the baseline did; with `compare` it makes the comparison again from the
/// attached run files.
fn reproduce(view: &View<'_>) -> String {
    let manifest = view.manifest();
    let mut lines = vec!["#!/bin/sh".to_owned()];
    lines.extend(made_by(manifest));
    let sides: Vec<String> = view
        .sides()
        .enumerate()
        .map(|(at, side)| format!("{} in {} boots of {}", stem(view, at), side.boots.len(), side.name))
        .collect();
    let how = format!(
        "Run it under each kernel, in boots of their own ({}), and then with `compare` beside the attached run files.",
        sides.join(", ")
    );
    lines.extend(wrap(&ascii(&how), mail::COLUMNS, "# ", "# "));
    let candidates = (1..view.sides().count()).map(|at| format!(" --to {}-*.jsonl", stem(view, at)));
    lines.extend([
        "set -eu".to_owned(),
        "if [ \"${1:-}\" = compare ]; then".to_owned(),
        format!("    exec itlbench compare run-base-*.jsonl{}", candidates.collect::<String>()),
        "fi".to_owned(),
    ]);
    lines.extend(command(manifest));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::fixture;

    #[test]
    fn parts_of_three_kernels() {
        let comparison = fixture::three_kernels();
        let view = View::of(&comparison);
        let parts = parts(&view);
        assert_eq!(parts[0].text, mail::kernels(&view));
        let names: Vec<String> = run_files(&view).into_iter().map(|(name, _)| name).collect();
        insta::assert_snapshot!(format!("{}---\n{}---\n{}\n", parts[1].text, parts[2].text, names.join("\n")));
    }

    #[test]
    fn every_part_is_seven_bit_text() {
        let comparison = fixture::two_kernels();
        for part in parts(&View::of(&comparison)) {
            let plain = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
            assert!(part.text.chars().all(plain) && part.text.ends_with('\n'), "{}", part.name);
        }
    }
}
