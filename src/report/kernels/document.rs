//! The document of a matrix, which HTML and Markdown both write out.

use super::{Matrix, Row, words};
use crate::report::chart::Drawing;
use crate::report::document::{Document, Part, Section};
use crate::report::mail;
use crate::report::sheet::{Cell, Column, Sheet};

/// What there is to say of `matrix`, with its charts and its mail.
pub fn document<'a>(matrix: &Matrix<'_>, drawings: &'a [Drawing], mail: &str) -> Document<'a> {
    let names: Vec<&str> = matrix.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
    let items = |lines: Vec<String>| if lines.is_empty() { Vec::new() } else { vec![Part::Items(lines)] };
    let results = matrix.workloads().into_iter().map(|workload| Part::Sheet(sheet(matrix, workload))).collect();
    Document {
        title: format!(
            "JITed BPF code in {}",
            if names.is_empty() { "no kernel".to_owned() } else { names.join(", ") }
        ),
        subtitle: words::machines(matrix).join(" | "),
        simulated: false,
        claims: Vec::new(),
        sections: vec![
            Section { title: "Kernels", parts: items(matrix.kernels.iter().map(words::kernel).collect()) },
            Section { title: "Result", parts: results },
            Section { title: "Charts", parts: drawings.iter().map(Part::Chart).collect() },
            Section { title: "What was not measured, and why", parts: items(words::not_modelled(matrix)) },
            Section { title: "What failed", parts: items(matrix.failures.clone()) },
            Section { title: "Caveats", parts: items(matrix.caveats().iter().map(ToString::to_string).collect()) },
            Section { title: "How to reproduce", parts: reproduce(matrix) },
            Section {
                title: "For a mail",
                parts: vec![Part::Folded(
                    "The text of mail.txt: 72 columns, 7 bit".to_owned(),
                    vec![Part::Verbatim(mail.to_owned())],
                )],
            },
        ],
    }
}

fn sheet(matrix: &Matrix<'_>, workload: &str) -> Sheet {
    let mut columns = vec![Column::words("kernel"), Column::figures("programs")];
    columns.extend(words::head(matrix).iter().enumerate().map(|(at, head)| match at {
        0 | 3 | 5 => Column::words(*head),
        _ => Column::figures(*head),
    }));
    let mut rows = Vec::new();
    for programs in matrix.programs(workload) {
        for kernel in &matrix.kernels {
            let of = kernel.rows.iter().filter(|row| row.case.workload == workload && row.case.programs == programs);
            rows.extend(
                of.map(|row| [vec![Cell::words(&kernel.name), Cell::count(programs)], cells(matrix, row)].concat()),
            );
        }
    }
    Sheet { note: format!("{workload}. {}.", words::legend(matrix)), columns, rows }
}

fn cells(matrix: &Matrix<'_>, row: &Row) -> Vec<Cell> {
    let most = |range: super::Range| range.most as f64;
    let placed = [None, Some(row.pages_4k), Some(row.regions_2m), row.entries, row.direct_map_kib, None];
    let misses = [row.fetched.map(|found| found.l1), row.fetched.map(|found| found.walks)];
    let keys = placed.into_iter().map(|range| range.map(most)).chain(misses);
    let cell = |(text, key): (String, Option<f64>)| match key {
        Some(key) => Cell::figure(key, text),
        None => Cell::words(text),
    };
    words::cells(matrix, row).into_iter().zip(keys).map(cell).collect()
}

fn reproduce<'a>(matrix: &Matrix<'_>) -> Vec<Part<'a>> {
    let Some(run) = matrix.runs().next() else { return Vec::new() };
    let command = mail::command(&mail::seeded(&run.manifest.argv, run.manifest.seed));
    vec![Part::Verbatim(command.join("\n"))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::kernels::fixture;
    use crate::report::{html, markdown};

    #[test]
    fn html_and_markdown_hold_every_kernel_and_no_time() {
        let runs = fixture::runs();
        let matrix = Matrix::of(&runs, fixture::failures());
        let document = document(&matrix, &[], "the mail\n");
        for text in [html::html(&document).unwrap(), markdown::markdown(&document)] {
            for words in ["5.10", "6.12", "nokaslr", "the guest died", "under emulation"] {
                assert!(text.contains(words), "{words}");
            }
            assert!(!text.contains("ns/exec"));
        }
    }

    #[test]
    fn page_and_markdown_of_three_kernels_but_for_their_charts() {
        let runs = fixture::runs();
        let matrix = Matrix::of(&runs, fixture::failures());
        let document = document(&matrix, &[], "the mail\n");
        insta::assert_snapshot!("page_of_three_kernels", html::html(&document).unwrap());
        insta::assert_snapshot!("markdown_of_three_kernels", markdown::markdown(&document));
    }
}
