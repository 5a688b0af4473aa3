//! A comparison of kernels in the grid of the 0-day robot.

use super::{View, builds, extent};
use crate::compare::Candidate;
use crate::report::lkp::{Row, Side, axes, candidate as place, grid, key};
use crate::report::units;
use crate::samples::Metric;

/// One grid for each workload, a column for each kernel.
pub fn lkp(view: &View<'_>) -> String {
    let manifest = view.manifest();
    let sides: Vec<Side> = view
        .sides()
        .map(|side| Side { name: side.name.clone(), subject: format!("{}; {}", builds(side), extent(side)) })
        .collect();
    let unit = view.comparison.candidates.iter().flat_map(Candidate::effects).next();
    let unit = unit.map_or("boots", |effect| units::observation(effect.unit));
    let grids = view.workloads().into_iter().map(|workload| {
        let spec = manifest.workloads.iter().find(|spec| spec.name == workload);
        let axes = spec.map(|spec| axes(manifest, spec)).unwrap_or_default();
        grid(&axes, &sides, unit, &rows(view, workload))
    });
    grids.collect::<Vec<_>>().join("\n")
}

fn rows(view: &View<'_>, workload: &str) -> Vec<Row> {
    view.shown().into_iter().flat_map(|metric| rows_of(view, workload, metric)).collect()
}

/// A row for each case that any candidate shares with the baseline.
fn rows_of(view: &View<'_>, workload: &str, metric: Metric) -> Vec<Row> {
    let candidates = &view.comparison.candidates;
    let mut cases = Vec::new();
    for case in candidates.iter().flat_map(|candidate| &candidate.cases).filter(|case| case.case.workload == workload) {
        if !cases.contains(&&case.case) {
            cases.push(&case.case);
        }
    }
    let row = |case: &&crate::workload::Case| {
        let effects: Vec<_> = candidates
            .iter()
            .map(|candidate| candidate.effects().find(|effect| effect.metric == metric && effect.case == **case))
            .collect();
        let baseline = effects.iter().flatten().next()?.baseline.units.clone();
        Some(Row {
            key: format!("{}.{}.{}.{}", case.workload, case.programs, case.pack, key(metric)),
            baseline,
            candidates: effects.into_iter().map(|effect| effect.map(place)).collect(),
        })
    };
    cases.iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::fixture;

    #[test]
    fn grid_of_three_kernels() {
        insta::assert_snapshot!(lkp(&View::of(&fixture::three_kernels())));
    }
}
