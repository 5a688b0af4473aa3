//! The matrix for other programs: one line a kernel and case.

use super::{Matrix, Range, Row};
use crate::report::columns;
use crate::report::csv::{line, number};
use crate::runfile::Manifest;
use crate::runfile::manifest::Fetches;

const BEFORE_CASE: [&str; 5] = ["kernel", "kernel_release", "boots", "append", "arm"];
const BEHIND_CASE: [&str; 22] = [
    "trials",
    "trials_left_out",
    "jited_bytes",
    "pages_4k_fewest",
    "pages_4k_most",
    "regions_2m_fewest",
    "regions_2m_most",
    "mapped",
    "entries_fewest",
    "entries_most",
    "direct_map_4k_growth_kib_least",
    "direct_map_4k_growth_kib_most",
    "freed_poisoned",
    "freed_unmapped",
    "freed_other",
    "modelled_by",
    "modelled_l1_misses_per_1000",
    "modelled_walks_per_1000",
    "modelled_kernel_l1_misses_per_1000",
    "modelled_kernel_walks_per_1000",
    "modelled_user_l1_misses_per_1000",
    "modelled_user_walks_per_1000",
];

fn head() -> Vec<String> {
    let names = BEFORE_CASE.iter().chain(&columns::CASE).chain(&BEHIND_CASE);
    names.map(|name| (*name).to_owned()).collect()
}

/// Every row; what is not known is empty.
pub fn csv(matrix: &Matrix<'_>) -> String {
    let mut text = line(&head());
    for kernel in &matrix.kernels {
        let manifest = &kernel.runs[0].manifest;
        let append = manifest.guest.as_ref().map(|guest| guest.append.clone()).unwrap_or_default();
        let release = manifest.host.kernel_release.clone().unwrap_or_default();
        for row in &kernel.rows {
            let own = [kernel.name.clone(), release.clone(), kernel.runs.len().to_string(), append.clone()];
            text += &line(&[own.to_vec(), cells(row), modelled(manifest, row)].concat());
        }
    }
    text
}

fn cells(row: &Row) -> Vec<String> {
    let ends = |range: Option<Range>| match range {
        Some(Range { least, most }) => [least.to_string(), most.to_string()],
        None => [String::new(), String::new()],
    };
    let freed = row.freed.map(|freed| [freed.poisoned, freed.unmapped, freed.other].map(|n| n.to_string()));
    let mut cells = vec![row.arm.name().to_owned()];
    cells.extend(columns::case(&row.case));
    cells.extend([row.trials.to_string(), row.trials_left_out.to_string(), row.jited_bytes.most.to_string()]);
    cells.extend(ends(Some(row.pages_4k)));
    cells.extend(ends(Some(row.regions_2m)));
    cells.push(row.mapped.clone());
    cells.extend(ends(row.entries));
    cells.extend(ends(row.direct_map_kib));
    cells.extend(freed.unwrap_or_default());
    cells
}

fn modelled(manifest: &Manifest, row: &Row) -> Vec<String> {
    let by = match manifest.guest.as_ref().map(|guest| &guest.fetches) {
        Some(Fetches::Modelled { model }) => model.clone(),
        _ => String::new(),
    };
    let figures = row.fetched.map(|found| {
        [found.l1, found.walks, found.kernel_l1, found.kernel_walks, found.user_l1, found.user_walks].map(Some)
    });
    let figures = figures.unwrap_or([None; 6]).map(number);
    std::iter::once(by).chain(figures).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::kernels::fixture;

    #[test]
    fn csv_of_three_kernels() {
        let runs = fixture::runs();
        let text = csv(&Matrix::of(&runs, Vec::new()));
        assert!(text.lines().all(|line| line.split(',').count() == head().len()), "{text}");
        insta::assert_snapshot!(text);
    }
}
