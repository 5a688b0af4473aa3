//! The columns that every table for other programs has in common, so that their lines can be joined.

use crate::workload::Case;

/// What a case is.
pub const CASE: [&str; 7] = ["workload", "trigger", "body", "programs", "pack", "stride", "offset"];

/// The cells under [`CASE`].
pub fn case(case: &Case) -> [String; 7] {
    [
        case.workload.clone(),
        case.trigger.to_string(),
        case.body.to_string(),
        case.programs.to_string(),
        case.pack.to_string(),
        case.stride.to_string(),
        case.offset.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::{self, View};
    use crate::report::{Summary, csv, export, fixture, kernels};

    /// The cells under [`CASE`] of every line.
    fn cases(table: &str) -> Vec<Vec<&str>> {
        let (head, lines) = table.split_once('\n').expect("a head");
        let head: Vec<&str> = head.split(',').collect();
        let at = head.windows(CASE.len()).position(|names| names == CASE).expect("the columns of a case");
        lines.lines().map(|line| line.split(',').skip(at).take(CASE.len()).collect()).collect()
    }

    #[test]
    fn all_tables_name_the_same_cases_in_the_same_columns() {
        let run = fixture::four_arms_run();
        let mut expected: Vec<[String; 7]> = run.trials.iter().map(|trial| case(&trial.case)).collect();
        expected.sort();
        expected.dedup();
        let mut windows = Vec::new();
        export::csv(&run, &mut windows).expect("writes");
        let windows = String::from_utf8(windows).expect("text");
        for table in [csv::csv(&Summary::of(&run)), windows] {
            let mut found = cases(&table);
            found.sort();
            found.dedup();
            assert_eq!(found, expected);
        }
        let compared = comparison::csv::csv(&View::of(&comparison::fixture::two_kernels()));
        let runs = kernels::fixture::runs();
        let booted = kernels::csv::csv(&kernels::Matrix::of(&runs, Vec::new()));
        for table in [compared, booted] {
            assert!(cases(&table).iter().all(|cells| cells[0] == "chain" && cells[5] == "8k"), "{table}");
        }
    }
}
