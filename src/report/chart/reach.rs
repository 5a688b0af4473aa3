//! How many programs an iTLB holds: where a level is full, for an arm as it lay.

use super::frame::Style;
use crate::model::geometry::{Core, CpuId};
use crate::placement::Observed;
use crate::report::Summary;
use crate::report::summary::CaseSummary;
use crate::runfile::manifest::MachineKind;
use crate::workload::PackMode;

/// The number of programs of one arm that fills one level.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    pub programs: f64,
    pub words: String,
    pub style: Style,
    core: &'static str,
}

/// The marks of both arms, if the table of geometries knows the CPU; none for a simulation.
pub fn of_run(summary: &Summary, workload: &str) -> Vec<Reach> {
    let manifest = &summary.run.manifest;
    let host = &manifest.host;
    let known = (host.cpu_vendor.as_deref(), host.cpu_family, host.cpu_model_number);
    let (Some(vendor), Some(family), Some(model), MachineKind::Kernel) = (known.0, known.1, known.2, manifest.machine)
    else {
        return Vec::new();
    };
    let Some(core) = Core::of(CpuId { vendor, family, model, core: None }) else { return Vec::new() };
    [PackMode::On, PackMode::Off].into_iter().flat_map(|arm| of_arm(summary, workload, arm, core)).collect()
}

fn of_arm(summary: &Summary, workload: &str, arm: PackMode, core: &'static Core) -> Vec<Reach> {
    let cases = summary.cases.iter().filter(|case| case.case.workload == workload && case.case.pack == arm);
    let Some(case) = cases.max_by_key(|case| case.case.programs) else { return Vec::new() };
    let Some((needed, huge)) = entries_needed(summary, case).filter(|(needed, _)| *needed > 0) else {
        return Vec::new();
    };
    let geometry = core.geometry();
    let mark = |(name, level): (&str, crate::model::itlb::Level)| {
        let array = if huge { level.huge.unwrap_or(level.small) } else { level.small };
        let programs = f64::from(array.entries()) * f64::from(case.case.programs) / f64::from(needed);
        let words = format!("pack {arm}: {name} iTLB full ({})", array.entries());
        Reach { programs, words, style: arm.into(), core: &core.title }
    };
    [("L1", geometry.l1), ("L2", geometry.l2)].map(mark).to_vec()
}

/// Translations that the programs of `case` need, and whether they are of 2 MiB: page-table leaves where the mapping was seen,
/// else 4 KiB pages.
fn entries_needed(summary: &Summary, case: &CaseSummary) -> Option<(u32, bool)> {
    let trial = summary.run.trials.iter().find(|trial| trial.case == case.case && trial.placed)?;
    Some(match &trial.mapping {
        Some(Observed::Seen(mapping)) => (mapping.leaves, mapping.mapped_2m * 2 > mapping.pages),
        _ => (trial.footprint.pages_4k, false),
    })
}

/// What the marks are, in words.
pub fn note(marks: &[Reach]) -> String {
    let core = marks.first().map_or("", |mark| mark.core);
    format!(
        "dotted: an arm's translations fill a level of the iTLB, each taking an entry of its own ({core}, from its manual)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_level_is_full_when_the_programs_pages_are_its_entries() {
        let run = fixture::timed_run();
        let summary = Summary::of(&run);
        let marks = of_run(&summary, "chain");
        let core = Core::of(CpuId { vendor: "AuthenticAMD", family: 25, model: 1, core: None }).expect("Zen 3");
        let l1 = f64::from(core.geometry().l1.small.entries());
        // Pack off: a page each. Pack on: 2048 programs on 64 pages.
        let found: Vec<f64> = marks.iter().map(|mark| mark.programs).collect();
        assert_eq!((found[0], found[2]), (l1 * 32.0, l1));
        assert_eq!(marks.len(), 4);
    }

    #[test]
    fn neither_an_unknown_cpu_nor_a_simulation_has_marks() {
        let mut run = fixture::timed_run();
        run.manifest.host.cpu_family = Some(99);
        assert!(of_run(&Summary::of(&run), "chain").is_empty());
        assert!(of_run(&Summary::of(&fixture::sim_run()), "chain").is_empty());
    }
}
