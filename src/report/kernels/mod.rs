//! In: run files of guests, each of one boot of one kernel. Out: all kernels in one table, as text, mail, CSV, JSON, document, charts.
//! Apart because here nothing is timed: what kernels are compared by is where they put code, how they map it, and what a model
//! makes of it.

pub mod csv;
pub mod document;
pub mod json;
pub mod mail;
pub mod table;
mod words;

use std::collections::BTreeSet;

use serde::Serialize;

use super::mapping;
use crate::caveat::Caveat;
use crate::model::fetched::Window;
use crate::placement::Observed;
use crate::placement::mapping::Mapping;
use crate::runfile::manifest::Fetches;
use crate::runfile::{Manifest, Run};
use crate::trial::{Freed, Trial};
use crate::workload::{Case, PackMode};

/// All kernels.
#[derive(Clone, Debug)]
pub struct Matrix<'a> {
    pub kernels: Vec<Kernel<'a>>,
    /// What did not come to a whole run, one line each.
    pub failures: Vec<String>,
}

/// The boots of one kernel.
#[derive(Clone, Debug)]
pub struct Kernel<'a> {
    pub name: String,
    pub runs: Vec<&'a Run>,
    /// In the order of the plan.
    pub rows: Vec<Row>,
}

/// Fewest and most over the trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    pub least: i64,
    pub most: i64,
}

impl Range {
    /// The value, if all trials have the same.
    pub fn only(&self) -> Option<i64> {
        (self.least == self.most).then_some(self.least)
    }
}

/// One case in one kernel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub case: Case,
    pub arm: Arm,
    /// Trials whose placement reached its goal, of all boots; the ranges are over them, or over all if there is none.
    pub trials: usize,
    pub trials_left_out: usize,
    pub jited_bytes: Range,
    pub pages_4k: Range,
    pub regions_2m: Range,
    /// `4K`, `2M`.
    pub mapped: String,
    /// Page-table leaves that the code lies in: iTLB entries of a CPU that merges none.
    pub entries: Option<Range>,
    /// Those of them that map 4 KiB.
    pub entries_4k: Option<Range>,
    /// Growth of what the direct map has in 4 KiB pages while the programs were loaded.
    pub direct_map_kib: Option<Range>,
    pub freed: Option<Freed>,
    pub fetched: Option<Fetched>,
}

/// iTLB misses that were modelled from a guest's own fetches, per 1000 executions, over all windows of the trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fetched {
    /// In JITed code: of L1, and of both levels.
    pub l1: f64,
    pub walks: f64,
    /// The same in the rest of the kernel's code.
    pub kernel_l1: f64,
    pub kernel_walks: f64,
    /// And in user code: on the way of a run the tool's own.
    pub user_l1: f64,
    pub user_walks: f64,
}

/// Who decided where the programs lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// The kernel's own allocator.
    Native,
    /// Fillers of the tool.
    Off,
    #[serde(rename = "off-2m")]
    OffTwoMeg,
    Placebo,
}

impl Arm {
    /// Before 5.18 the kernel's own allocator is what pack off is elsewhere.
    fn of(case: &Case, manifest: &Manifest) -> Self {
        match case.pack {
            PackMode::On => Self::Native,
            PackMode::Off if manifest.caveats.contains(&Caveat::PackOffNative) => Self::Native,
            PackMode::Off => Self::Off,
            PackMode::OffTwoMeg => Self::OffTwoMeg,
            PackMode::Placebo => Self::Placebo,
        }
    }

    /// In every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Off => "off",
            Self::OffTwoMeg => "off-2m",
            Self::Placebo => "placebo",
        }
    }
}

impl<'a> Matrix<'a> {
    /// Puts the boots of each kernel together, in the order of `runs`.
    pub fn of(runs: &'a [Run], failures: Vec<String>) -> Self {
        let mut kernels: Vec<Kernel<'a>> = Vec::new();
        for run in runs {
            let name = kernel_name(&run.manifest);
            match kernels.iter_mut().find(|kernel| kernel.name == name) {
                Some(kernel) => kernel.runs.push(run),
                None => kernels.push(Kernel { name, runs: vec![run], rows: Vec::new() }),
            }
        }
        for kernel in &mut kernels {
            kernel.rows = rows(&kernel.runs);
        }
        Self { kernels, failures }
    }

    /// Names of the workloads, in the order of their first run.
    pub fn workloads(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in self.kernels.iter().flat_map(|kernel| &kernel.rows) {
            if !names.contains(&row.case.workload.as_str()) {
                names.push(&row.case.workload);
            }
        }
        names
    }

    /// Numbers of programs of `workload`, rising.
    pub fn programs(&self, workload: &str) -> Vec<u32> {
        let rows = self.kernels.iter().flat_map(|kernel| &kernel.rows);
        let numbers: BTreeSet<u32> =
            rows.filter(|row| row.case.workload == workload).map(|row| row.case.programs).collect();
        numbers.into_iter().collect()
    }

    /// Every run.
    pub fn runs(&self) -> impl Iterator<Item = &'a Run> {
        self.kernels.iter().flat_map(|kernel| kernel.runs.iter().copied())
    }

    /// Whether an iTLB was modelled from the fetches of any guest.
    pub fn is_modelled(&self) -> bool {
        self.kernels.iter().flat_map(|kernel| &kernel.rows).any(|row| row.fetched.is_some())
    }

    /// Caveats of all runs, each once.
    pub fn caveats(&self) -> Vec<Caveat> {
        let all: BTreeSet<Caveat> = self.runs().flat_map(super::caveats::of).filter(is_shared).collect();
        all.into_iter().collect()
    }

    /// Whose iTLB was modelled from the guests' fetches, and why none was: each once.
    pub fn fetches(&self) -> Vec<Fetches> {
        let mut all: Vec<Fetches> = Vec::new();
        for guest in self.runs().filter_map(|run| run.manifest.guest.as_ref()) {
            if !all.contains(&guest.fetches) {
                all.push(guest.fetches.clone());
            }
        }
        all
    }
}

/// What concerns one kernel alone stands in its rows; that windows of an emulator count nothing is said by another caveat.
fn is_shared(caveat: &Caveat) -> bool {
    !matches!(caveat, Caveat::PackOffNative | Caveat::WindowsDiscarded { .. })
}

/// What the command line called it; a run of no guest goes by its release.
fn kernel_name(manifest: &Manifest) -> String {
    let named = manifest.guest.as_ref().map(|guest| guest.kernel.clone());
    named.or_else(|| manifest.host.kernel_release.clone()).unwrap_or_else(|| "unknown kernel".to_owned())
}

fn rows(runs: &[&Run]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for run in runs {
        for case in crate::compare::pairing::cases(run) {
            if rows.iter().all(|row| row.case != case) {
                rows.push(Row::of(case, runs, &run.manifest));
            }
        }
    }
    rows
}

impl Row {
    fn of(case: Case, runs: &[&Run], manifest: &Manifest) -> Self {
        let all: Vec<&Trial> = runs.iter().flat_map(|run| &run.trials).filter(|trial| trial.case == case).collect();
        let placed: Vec<&Trial> = all.iter().copied().filter(|trial| trial.placed).collect();
        let shown = if placed.is_empty() { &all } else { &placed };
        let range = |of: &dyn Fn(&Trial) -> Option<i64>| {
            let values: Vec<i64> = shown.iter().filter_map(|trial| of(trial)).collect();
            Some(Range { least: *values.iter().min()?, most: *values.iter().max()? })
        };
        let leaves = |of: &dyn Fn(&Mapping) -> u32| {
            range(&|trial| match trial.mapping.as_ref()? {
                Observed::Seen(mapping) => Some(of(mapping).into()),
                Observed::Unknown { .. } => None,
            })
        };
        let whole = |of: &dyn Fn(&Trial) -> i64| range(&|trial| Some(of(trial))).unwrap_or(Range { least: 0, most: 0 });
        Self {
            arm: Arm::of(&case, manifest),
            trials: placed.len(),
            trials_left_out: all.len() - placed.len(),
            jited_bytes: whole(&|trial| trial.footprint.jited_bytes as i64),
            pages_4k: whole(&|trial| trial.footprint.pages_4k.into()),
            regions_2m: whole(&|trial| trial.footprint.regions_2m.into()),
            mapped: mapping::cell(shown.iter().copied()),
            entries: leaves(&|mapping| mapping.leaves),
            entries_4k: leaves(&|mapping| mapping.mapped_4k),
            direct_map_kib: range(&direct_map_growth),
            freed: freed(shown),
            fetched: Fetched::of(shown),
            case,
        }
    }
}

fn direct_map_growth(trial: &Trial) -> Option<i64> {
    let beside = trial.beside.as_ref()?;
    Some(beside.loaded.kib_4k? as i64 - beside.before.kib_4k? as i64)
}

impl Fetched {
    /// `None` if nothing was modelled.
    fn of(trials: &[&Trial]) -> Option<Self> {
        let windows = || trials.iter().flat_map(|trial| trial.fetched.iter().zip(&trial.samples));
        let executions: u64 = windows().map(|(_, sample)| sample.executions).sum();
        let of = |count: fn(&Window) -> u64| {
            1000.0 * windows().map(|(window, _)| count(window)).sum::<u64>() as f64 / executions as f64
        };
        (executions > 0).then(|| Self {
            l1: of(|window| window.jit.l1_misses),
            walks: of(|window| window.jit.walks),
            kernel_l1: of(|window| window.kernel.l1_misses),
            kernel_walks: of(|window| window.kernel.walks),
            user_l1: of(|window| window.user.l1_misses),
            user_walks: of(|window| window.user.walks),
        })
    }
}

/// What became of all images together.
fn freed(trials: &[&Trial]) -> Option<Freed> {
    let found: Vec<Freed> = trials.iter().filter_map(|trial| trial.freed).collect();
    let sum = |of: fn(&Freed) -> u32| found.iter().map(of).sum();
    (!found.is_empty()).then(|| Freed {
        images: sum(|freed| freed.images),
        poisoned: sum(|freed| freed.poisoned),
        unmapped: sum(|freed| freed.unmapped),
        other: sum(|freed| freed.other),
    })
}

#[cfg(test)]
pub(crate) mod fixture;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_of_a_kernel_share_its_rows_and_show_their_range() {
        let runs = fixture::runs();
        let matrix = Matrix::of(&runs, Vec::new());
        let names: Vec<&str> = matrix.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
        assert_eq!(names, ["5.10", "6.12", "7.3"]);
        assert_eq!((matrix.kernels[1].runs.len(), matrix.programs("chain")), (2, vec![64, 2048]));
        let row = &matrix.kernels[1].rows[0];
        assert_eq!((row.trials, row.arm, row.entries), (2, Arm::Native, Some(Range { least: 3, most: 3 })));
        assert_eq!(row.direct_map_kib, Some(Range { least: 0, most: 2048 }));
    }

    #[test]
    fn pack_off_is_native_where_the_kernel_does_not_pack() {
        let runs = fixture::runs();
        let arms =
            |at: usize| Matrix::of(&runs, Vec::new()).kernels[at].rows.iter().map(|row| row.arm).collect::<Vec<_>>();
        assert_eq!(arms(0), [Arm::Native, Arm::Native]);
        assert_eq!(arms(1), [Arm::Native, Arm::Off, Arm::Native, Arm::Off]);
    }
}
