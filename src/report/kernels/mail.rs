//! The matrix for a mailing list: at most 72 columns of 7-bit ASCII.

use super::{Matrix, words};
use crate::report::mail::{self, COLUMNS};
use crate::report::table::grid;
use crate::report::wording::{ascii, wrap};
use crate::runfile::manifest::Fetches;

/// Heads, short enough for a mail.
const HEAD: [&str; 9] = ["kernel", "N", "arm", "4K", "entries", "dmap", "freed", "L1", "walks"];

/// Letters of a kernel's name that the table has room for.
const LABEL: usize = 10;

/// Where the table has its column of regions.
const REGIONS: usize = 4;

/// The mail. Passes [`mail::check_mail`] whatever the runs hold.
pub fn mail(matrix: &Matrix<'_>) -> String {
    let mut blocks = vec![("", findings(matrix))];
    blocks.push(("Kernels", items(words::labelled(matrix, LABEL))));
    blocks.push(("Guests", items(words::machines(matrix))));
    for workload in matrix.workloads() {
        let mut lines = vec![ascii(&format!("{workload}, placement as read back from each kernel"))];
        lines.extend(grid(&HEAD[..1 + words::head(matrix).len()], short(matrix, workload), &[0, 2, 4, 6], COLUMNS));
        blocks.push(("Results", lines.into_iter().map(|line| format!("  {line}")).collect()));
    }
    blocks.push(("Columns", wrap(&legend(matrix), COLUMNS, "  ", "  ")));
    blocks.push(("Not measured", items(words::not_modelled(matrix))));
    blocks.push(("Failed", items(matrix.failures.iter().cloned())));
    blocks.push(("Read with care", items(matrix.caveats().iter().map(ToString::to_string))));
    if let Some(run) = matrix.runs().next() {
        blocks.push(("Reproduce", mail::command(&mail::seeded(&run.manifest.argv, run.manifest.seed))));
    }
    blocks.push(("Raw data", items(["run.jsonl of each boot: every address".to_owned()])));
    let shown = blocks.iter().filter(|(_, lines)| !lines.is_empty());
    shown.map(|(title, lines)| block(title, lines)).collect::<Vec<_>>().join("\n")
}

const LEGEND: &str = "N: programs; arm: native is where the kernel's own allocator puts them, off gives every program a page of its own by \
                      fillers; 4K: pages touched; entries: page-table leaves and their size, the iTLB entries of a CPU that merges none; dmap: growth of what the direct map has in 4 KiB pages; freed: what is \
                      left where the code lay";

fn legend(matrix: &Matrix<'_>) -> String {
    let models = matrix.fetches().into_iter().filter_map(|fetches| match fetches {
        Fetches::Modelled { model } => Some(format!("; L1, walks: iTLB misses {}", words::provenance(&model))),
        Fetches::NotModelled { .. } => None,
    });
    models.fold(LEGEND.to_owned(), |legend, of_model| legend + &of_model)
}

fn block(title: &str, lines: &[String]) -> String {
    let title = if title.is_empty() { String::new() } else { format!("{title}:\n") };
    lines.iter().fold(title, |text, line| text + ascii_kept(line).trim_end() + "\n")
}

/// Indents stay.
fn ascii_kept(line: &str) -> String {
    ascii(line)
}

fn items(items: impl IntoIterator<Item = String>) -> Vec<String> {
    items.into_iter().flat_map(|item| wrap(&ascii(&item), COLUMNS, "  - ", "    ")).collect()
}

/// The cells of the table but the regions, without the blanks in units.
fn short(matrix: &Matrix<'_>, workload: &str) -> Vec<Vec<String>> {
    let mut rows = super::table::rows(matrix, workload, LABEL);
    for row in &mut rows {
        row.remove(REGIONS);
    }
    for cell in rows.iter_mut().flatten() {
        *cell = cell.replace(" MiB", "M").replace(" KiB", "K");
    }
    rows
}

/// One sentence for each kernel, on most programs: what its own allocator makes of them.
fn findings(matrix: &Matrix<'_>) -> Vec<String> {
    let of = |kernel: &super::Kernel<'_>| {
        let native = kernel.rows.iter().filter(|row| row.arm == super::Arm::Native);
        let row = native.max_by_key(|row| row.case.programs)?;
        let text = format!(
            "{}: {} programs lie on {} 4 KiB pages: {} iTLB entries{}",
            kernel.name,
            row.case.programs,
            words::range(Some(row.pages_4k)),
            words::entries(row),
            row.fetched
                .map_or_else(String::new, |found| format!(", {:.0} walks per 1000 executions (modelled)", found.walks))
        );
        Some(wrap(&ascii(&text), COLUMNS, "", "  "))
    };
    matrix.kernels.iter().filter_map(of).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::kernels::fixture;

    #[test]
    fn mail_of_three_kernels() {
        let runs = fixture::runs();
        let text = mail(&Matrix::of(&runs, fixture::failures()));
        mail::check_mail(&text).unwrap();
        assert!(!text.contains("ns/exec"), "an emulator's time is nobody's cost");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn hostile_names_and_no_run_at_all_make_a_mail() {
        let mut runs = fixture::runs();
        runs[0].manifest.host.kernel_release = Some("\u{3bc}\t".repeat(100));
        if let Some(guest) = &mut runs[0].manifest.guest {
            guest.kernel = "k\u{e4}rnel".repeat(30);
        }
        mail::check_mail(&mail(&Matrix::of(&runs, vec!["\u{2014}".repeat(200)]))).unwrap();
        mail::check_mail(&mail(&Matrix::of(&[], Vec::new()))).unwrap();
    }
}
