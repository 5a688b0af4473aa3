//! What an iTLB model makes of the programs of a run in other worlds: as dense as the kernel's packs can be, and each on pages of
//! its own. By pages of 2 MiB where they lie is in the table of `modelled`.

use super::modelled::Modelled;
use super::sheet::{Cell, Column, Sheet};
use super::summary::CaseSummary;
use super::table::grid;
use super::units::figure;
use super::wording::wrap;
use crate::model::geometry::Named;
use crate::model::{Load, Prediction, WhatIf, predict};
use crate::stats;
use crate::trial::Trial;
use crate::workload::Case;

/// The worlds that do not depend on where an arm lies.
pub(super) const WORLDS: [WhatIf; 2] = [WhatIf::Dense, WhatIf::Spread];

/// One workload and number of programs, whatever the arm: their lengths are the same in all.
#[derive(Clone, Debug, PartialEq)]
pub struct Elsewhere {
    pub workload: String,
    pub programs: u32,
    /// Misses of L1 and walks per 1000 executions in each of [`WORLDS`], medians over the trials.
    pub worlds: Vec<(f64, f64)>,
}

/// Of every number of programs of every workload in `cases`.
pub fn of<'a>(cases: &[CaseSummary], trials: &dyn Fn(&Case) -> Vec<&'a Trial>, model: &Named) -> Vec<Elsewhere> {
    let mut found: Vec<Elsewhere> = Vec::new();
    for CaseSummary { case, .. } in cases {
        let known = found.iter().any(|known| known.workload == case.workload && known.programs == case.programs);
        if known {
            continue;
        }
        let mut trials = trials(case);
        // Only draws differ between trials: a chain goes through the same lengths in the same order each time.
        trials.truncate(if case.order().is_drawn() { usize::MAX } else { 1 });
        let worlds: Option<Vec<(f64, f64)>> = WORLDS.iter().map(|&world| in_world(world, &trials, model)).collect();
        let (workload, programs) = (case.workload.clone(), case.programs);
        found.extend(worlds.map(|worlds| Elsewhere { workload, programs, worlds }));
    }
    found
}

fn in_world(world: WhatIf, trials: &[&Trial], model: &Named) -> Option<(f64, f64)> {
    let predictions: Vec<Prediction> = trials
        .iter()
        .map(|trial| {
            let (images, pages) = world.of(&trial.images);
            let executions_per_run = trial.check.executions_per_run;
            let load = Load { images: &images, pages, order: trial.case.order(), seed: trial.seed, executions_per_run };
            predict(&load, &model.geometry)
        })
        .collect();
    let median = |figure: fn(&Prediction) -> f64| stats::median(&predictions.iter().map(figure).collect::<Vec<f64>>());
    Some((median(Prediction::l1_per_1000)?, median(Prediction::walks_per_1000)?))
}

/// One row a workload and number of programs.
pub fn sheet(modelled: &Modelled) -> Sheet {
    let note = format!(
        "What if: the same programs one behind the other in pages of 4 KiB (dense), and each on pages of its own (spread); iTLB of {}, per \
         1000 executions, modelled.",
        modelled.model.name
    );
    let mut columns = vec![Column::words("workload"), Column::figures("programs")];
    for world in WORLDS {
        columns.push(Column::figures(format!("L1 misses, {world}")).from("modelled"));
        columns.push(Column::figures(format!("walks, {world}")).from("modelled"));
    }
    let number = |value: f64| Cell::figure(value, figure(value));
    let row = |of: &Elsewhere| {
        let figures = of.worlds.iter().flat_map(|&(l1, walks)| [number(l1), number(walks)]);
        [Cell::words(&of.workload), Cell::count(of.programs)].into_iter().chain(figures).collect()
    };
    Sheet { note, columns, rows: modelled.elsewhere.iter().map(row).collect() }
}

/// The table as text of at most `columns` columns, behind its heading; nothing without rows.
pub fn lines(modelled: &Modelled, columns: usize) -> Vec<String> {
    if modelled.elsewhere.is_empty() {
        return Vec::new();
    }
    let heading = format!(
        "what if, iTLB of {}, per 1000 executions: modelled L1 misses and walks of the same programs packed densely and spread, by 4 KiB \
         pages:",
        modelled.model.name
    );
    let heads = ["workload", "programs", "L1 (dense)", "walks (dense)", "L1 (spread)", "walks (spread)"];
    let rows = sheet(modelled).rows.into_iter().map(|row| row.into_iter().map(|cell| cell.text).collect()).collect();
    let mut lines = wrap(&heading, columns, "", "");
    lines.extend(grid(&heads, rows, &[0], columns).into_iter().map(|line| format!("  {line}")));
    lines
}

#[cfg(test)]
mod tests {
    use crate::report::{Summary, fixture};

    #[test]
    fn each_number_of_programs_stands_once_and_spread_ones_miss_more() {
        let run = fixture::timed_run();
        let summary = Summary::of(&run);
        let elsewhere = &summary.modelled[0].elsewhere;
        assert_eq!(elsewhere.iter().map(|row| row.programs).collect::<Vec<_>>(), [64, 512, 2048]);
        for row in elsewhere {
            let [dense, spread] = row.worlds[..] else { panic!("{row:?}") };
            assert!(spread.0 > 900.0 && dense.0 < 100.0, "{row:?}");
        }
        // Pack off lies as it would spread, pack on as it would dense: there the model says the same of both.
        let modelled = &summary.modelled[0].rows;
        let arm = |pack| modelled.iter().find(|row| row.case.programs == 512 && row.case.pack == pack).unwrap();
        let (on, off) = (arm(crate::workload::PackMode::On), arm(crate::workload::PackMode::Off));
        assert!((off.l1 - elsewhere[1].worlds[1].0).abs() < 15.0, "{} {:?}", off.l1, elsewhere[1]);
        assert!((on.l1 - elsewhere[1].worlds[0].0).abs() < 15.0, "{} {:?}", on.l1, elsewhere[1]);
    }
}
