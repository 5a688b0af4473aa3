//! The matrix as text for a terminal.

use super::{Matrix, words};
use crate::report::table::grid;
use crate::report::wording::wrap;

/// Widest line; only a word that cannot be broken may exceed it.
const COLUMNS: usize = 100;

/// Letters of a kernel's name that the table has room for.
const LABEL: usize = 12;

/// The matrix as text, with a line end at its end.
pub fn table(matrix: &Matrix<'_>) -> String {
    let mut lines: Vec<String> =
        words::machines(matrix).iter().flat_map(|text| wrap(text, COLUMNS, "", "  ")).collect();
    lines.extend(words::labelled(matrix, LABEL).iter().flat_map(|kernel| wrap(kernel, COLUMNS, "  ", "    ")));
    for workload in matrix.workloads() {
        lines.extend([String::new(), format!("{workload}: placement, read back from each kernel:")]);
        let header = [&["kernel", "programs"], words::head(matrix)].concat();
        lines.extend(
            grid(&header, rows(matrix, workload, LABEL), &[0, 2, 5, 7], COLUMNS)
                .into_iter()
                .map(|line| format!("  {line}")),
        );
        lines.extend(wrap(&words::legend(matrix), COLUMNS, "  ", "  "));
    }
    lines.extend(listed("Not measured:", words::not_modelled(matrix)));
    lines.extend(listed("Read with care:", matrix.caveats().iter().map(ToString::to_string).collect()));
    lines.extend(listed("Failed:", matrix.failures.clone()));
    lines.join("\n") + "\n"
}

/// Kernel by kernel for each number of programs, so that what differs stands one under the other.
pub(super) fn rows(matrix: &Matrix<'_>, workload: &str, most: usize) -> Vec<Vec<String>> {
    let of = |programs: u32| {
        matrix.kernels.iter().flat_map(move |kernel| {
            let rows =
                kernel.rows.iter().filter(move |row| row.case.workload == workload && row.case.programs == programs);
            let label = words::label(matrix, &kernel.name, most);
            rows.map(move |row| [vec![label.clone(), programs.to_string()], words::cells(matrix, row)].concat())
        })
    };
    matrix.programs(workload).into_iter().flat_map(of).collect()
}

fn listed(heading: &str, items: Vec<String>) -> Vec<String> {
    let lines: Vec<String> = items.iter().flat_map(|item| wrap(item, COLUMNS, "  - ", "    ")).collect();
    match lines.is_empty() {
        true => Vec::new(),
        false => [vec![String::new(), heading.to_owned()], lines].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::kernels::fixture;

    #[test]
    fn table_of_three_kernels() {
        let runs = fixture::runs();
        let text = table(&Matrix::of(&runs, fixture::failures()));
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS && !line.ends_with(' '), "{line}");
        }
        assert!(!text.contains("ns/exec"), "an emulator's time is nobody's cost");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_boot_that_came_to_a_run_at_the_second_try_says_why_not_at_the_first() {
        let mut runs = fixture::runs();
        let quiet = table(&Matrix::of(&runs, Vec::new()));
        runs[1].manifest.guest.as_mut().unwrap().deaths = vec!["the guest died in trial 1".to_owned()];
        let text = table(&Matrix::of(&runs, Vec::new()));
        let line = "6.12, boot 1: what is shown is of another try; before, the guest died in trial 1";
        assert!(text.contains(line) && !quiet.contains("another try"), "{text}");
    }

    #[test]
    fn a_matrix_in_which_nothing_booted_lists_its_failures() {
        let text = table(&Matrix::of(&[], fixture::failures()));
        assert!(text.contains("Failed:\n  - 6.1: the guest died"), "{text}");
    }
}
