//! What an iTLB model makes of the placements of a run: predicted on read, beside what was measured and never mixed with it.

use std::sync::OnceLock;

use super::elsewhere::{self, Elsewhere};
use super::reach::{self, Arm, Reach};
use super::sheet::{Cell, Column, Sheet};
use super::split::{self, Split};
use super::table::grid;
use super::units::{ABSENT, figure, or_absent, provenance, ratio};
use super::wording::wrap;
use crate::counters::Group;
use crate::host::Facts;
use crate::model::geometry::{Core, CoreKind, CpuId, Named};
use crate::model::itlb::{Array, Level};
use crate::model::predict::TEXT_ENTRIES;
use crate::model::{Load, PageSize, Prediction, predict};
use crate::runfile::manifest::MachineKind;
use crate::runfile::{Manifest, Run};
use crate::samples::Metric;
use crate::stats;
use crate::trial::Trial;
use crate::twin::Calibration;
use crate::workload::Case;

use super::summary::CaseSummary;

/// The model of the CPU that `--machine sim` has.
const SIMULATED_CPU: &str = "simulated";

/// One model, and what it says of every case.
#[derive(Clone, Debug)]
pub struct Modelled {
    pub model: Named,
    pub rows: Vec<Row>,
    /// The same programs in other worlds.
    pub elsewhere: Vec<Elsewhere>,
    arms: Vec<Arm>,
    reach: OnceLock<Vec<Reach>>,
    /// Cases whose pages' size was not observed, or is mixed: taken to be 4 KiB.
    pub assumed: usize,
    /// What a calibration makes of the difference in time.
    pub split: Vec<Split>,
    /// Where the column of counts comes from.
    counted_by: &'static str,
}

/// Medians over the trials of one case, per 1000 executions.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub case: Case,
    pub l1: f64,
    pub walks: f64,
    /// The same with pages of 2 MiB.
    pub l1_if_2m: f64,
    pub walks_if_2m: f64,
    /// What `iTLB-load-misses` came to, and what of the prediction it should be.
    pub measured: Option<(f64, f64)>,
}

/// The models of a run: its CPU's if the table knows it, then those asked for.
pub fn models(manifest: &Manifest, asked: &[Named]) -> Vec<Named> {
    let own = match manifest.machine {
        MachineKind::Sim => Named::find(SIMULATED_CPU).ok(),
        MachineKind::Kernel => core(&manifest.host, &manifest.groups).map(Named::from),
    };
    let mut models: Vec<Named> = own.into_iter().collect();
    for model in asked {
        if !models.contains(model) {
            models.push(model.clone());
        }
    }
    models
}

/// The core that counted: on a hybrid CPU the PMU says which kind it was.
fn core(host: &Facts, groups: &[Group]) -> Option<&'static Core> {
    let codes = || groups.iter().flat_map(|group| &group.events).map(|event| event.code.pmu_type);
    let counted = |pmu: &str| host.pmus.get(pmu).is_some_and(|pmu_type| codes().any(|code| code == *pmu_type));
    let kind = match (counted("cpu_atom"), counted("cpu_core")) {
        (true, false) => Some(CoreKind::Efficient),
        (false, true) => Some(CoreKind::Performance),
        _ => None,
    };
    let vendor = host.cpu_vendor.as_deref()?;
    Core::of(CpuId { vendor, family: host.cpu_family?, model: host.cpu_model_number?, core: kind })
}

/// What `models` say of `cases`; the first one's misses are costed by `calibration`.
pub fn modelled(
    run: &Run,
    cases: &[CaseSummary],
    models: Vec<Named>,
    calibration: Option<&Calibration>,
) -> Vec<Modelled> {
    let mut modelled: Vec<Modelled> = models.into_iter().map(|model| of_model(run, cases, model)).collect();
    if let (Some(first), Some(calibration)) = (modelled.first_mut(), calibration) {
        first.split = split::splits(calibration, &first.model.name, &run.manifest.host, &first.rows, cases);
    }
    modelled
}

fn of_model(run: &Run, cases: &[CaseSummary], model: Named) -> Modelled {
    let trials = |case: &Case| {
        let all: Vec<&Trial> = run.trials.iter().filter(|trial| trial.case == *case).collect();
        let placed: Vec<&Trial> = all.iter().copied().filter(|trial| trial.placed).collect();
        if placed.is_empty() { all } else { placed }
    };
    let unseen = |case: &&CaseSummary| trials(&case.case).iter().any(|trial| observed(trial).is_none());
    Modelled {
        rows: cases.iter().filter_map(|case| row(case, &trials(&case.case), &model)).collect(),
        elsewhere: elsewhere::of(cases, &trials, &model),
        arms: reach::arms(cases, &trials),
        reach: OnceLock::new(),
        assumed: cases.iter().filter(unseen).count(),
        split: Vec::new(),
        counted_by: provenance(Metric::ItlbMissesPer1000, run.manifest.machine),
        model,
    }
}

/// Size of the pages that map all programs of a trial, where that was seen.
pub(super) fn observed(trial: &Trial) -> Option<PageSize> {
    use crate::placement::Observed;
    use crate::placement::mapping::PageSize as Mapped;

    match trial.mapping.as_ref()? {
        Observed::Unknown { .. } => None,
        Observed::Seen(mapping) => mapping.size().map(|size| match size {
            Mapped::Small => PageSize::Small,
            // AMD smashes entries of 1 GiB into 2 MiB; Intel keeps them in arrays of their own that nothing else needs here.
            Mapped::Large | Mapped::Huge => PageSize::Huge,
        }),
    }
}

fn row(case: &CaseSummary, trials: &[&Trial], model: &Named) -> Option<Row> {
    let of = |pages: Option<PageSize>| predictions(trials, pages, model);
    let median = |predictions: &[Prediction], figure: fn(&Prediction) -> f64| {
        stats::median(&predictions.iter().map(figure).collect::<Vec<f64>>())
    };
    let (seen, huge) = (of(None), of(Some(PageSize::Huge)));
    let (l1, walks) = (median(&seen, Prediction::l1_per_1000)?, median(&seen, Prediction::walks_per_1000)?);
    // The generic event counts walks, but every miss of L1 on efficient cores (hw_cache_event_ids of arch/x86/events).
    let counted = if model.core.kind == Some(CoreKind::Efficient) { l1 } else { walks };
    Some(Row {
        case: case.case.clone(),
        l1,
        walks,
        l1_if_2m: median(&huge, Prediction::l1_per_1000)?,
        walks_if_2m: median(&huge, Prediction::walks_per_1000)?,
        measured: case.metrics.get(&Metric::ItlbMissesPer1000).map(|spread| (spread.median, counted)),
    })
}

/// One prediction a trial. Trials that lie where another does share its own, but for the random order of their walks.
fn predictions(trials: &[&Trial], pages: Option<PageSize>, model: &Named) -> Vec<Prediction> {
    let mut known: Vec<(&Trial, Prediction)> = Vec::new();
    for &trial in trials {
        let load = load(trial, pages);
        let same = |&(other, _): &&(&Trial, Prediction)| {
            let order = !trial.case.order().is_drawn() || other.seed == trial.seed;
            let rhythm = other.check.executions_per_run == trial.check.executions_per_run;
            order && rhythm && other.mapping == trial.mapping && other.images == trial.images
        };
        let prediction = known.iter().find(same).map_or_else(|| predict(&load, &model.geometry), |(_, same)| *same);
        known.push((trial, prediction));
    }
    known.into_iter().map(|(_, prediction)| prediction).collect()
}

fn load(trial: &Trial, pages: Option<PageSize>) -> Load<'_> {
    Load {
        images: &trial.images,
        pages: pages.or_else(|| observed(trial)).unwrap_or(PageSize::Small),
        order: trial.case.order(),
        seed: trial.seed,
        executions_per_run: trial.check.executions_per_run,
    }
}

impl Modelled {
    /// Heading without a stop: which model, and what it took for granted.
    pub fn heading(&self) -> String {
        let level = |level: Level| match level.huge {
            Some(huge) => format!("4K {}, 2M {}", array(level.small), array(huge)),
            None => array(level.small),
        };
        let geometry = self.model.geometry;
        format!("iTLB of {} (L1 {}; L2 {})", self.model.name, level(geometry.l1), level(geometry.l2))
    }

    /// What a reader must know of these figures.
    pub fn assumptions(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "modelled from the addresses read back and the order of the trigger, LRU, {TEXT_ENTRIES} entries of 2 MiB for \
             kernel text and one page for the entry program counted in; no prefetch, no speculation, no data translations"
        )];
        if self.assumed > 0 {
            lines.push(format!("the page size of {} cases was not observed: 4 KiB is assumed", self.assumed));
        }
        lines.extend(self.model.core.uncertain.iter().map(|uncertain| format!("{}: {uncertain}", self.model.name)));
        lines.extend(self.reach().iter().map(Reach::sentence));
        lines.extend(self.split.iter().map(Split::to_string));
        lines
    }

    /// Where more programs of each arm would run out of the levels.
    pub fn reach(&self) -> &[Reach] {
        self.reach.get_or_init(|| self.arms.iter().map(|arm| arm.reach(&self.model)).collect())
    }

    /// One row a case.
    pub fn sheet(&self) -> Sheet {
        let compared = self.rows.iter().any(|row| row.measured.is_some());
        let modelled = ["L1 misses", "walks", "L1 misses, 2M", "walks, 2M"];
        let mut columns = vec![Column::words("workload"), Column::figures("programs"), Column::words("pack")];
        columns.extend(modelled.map(|head| Column::figures(head).from("modelled")));
        if compared {
            columns.push(Column::figures("iTLB-load-misses").from(self.counted_by));
            columns.push(Column::figures(format!("{} / modelled", self.counted_by)));
        }
        let note = format!("{}, per 1000 executions. {}.", self.heading(), self.assumptions().join(". "));
        Sheet { note, columns, rows: self.rows.iter().map(|row| row.cells(compared)).collect() }
    }

    /// The table as text of at most `columns` columns, behind its heading.
    pub fn lines(&self, columns: usize) -> Vec<String> {
        let sheet = self.sheet();
        let heads = ["workload", "programs", "pack", "L1", "walks", "L1 (2M)", "walks (2M)", self.counted_by, "ratio"];
        // One workload needs no column, but its name in the heading.
        let one = self.rows.windows(2).all(|pair| pair[0].case.workload == pair[1].case.workload);
        let first = usize::from(one);
        let heads = &heads[first..sheet.columns.len()];
        let rows =
            sheet.rows.into_iter().map(|row| row.into_iter().skip(first).map(|cell| cell.text).collect()).collect();
        let name = self.rows.first().filter(|_| one).map_or(String::new(), |row| format!("{}: ", row.case.workload));
        let mut heading = format!(
            "{name}{}, per 1000 executions: modelled L1 misses and walks, now and by pages of 2 MiB",
            self.heading()
        );
        if heads.len() + first > 7 {
            heading +=
                &format!("; {} iTLB-load-misses and their ratio to what the model has for them", self.counted_by);
        }
        heading += ":";
        let left: &[usize] = if one { &[1] } else { &[0, 2] };
        let mut lines = wrap(&heading, columns, "", "");
        lines.extend(grid(heads, rows, left, columns).into_iter().map(|line| format!("  {line}")));
        lines.extend(self.assumptions().iter().flat_map(|line| wrap(line, columns, "  - ", "    ")));
        lines
    }
}

impl Row {
    /// Measured over modelled; `None` if either is absent, or nothing was predicted.
    pub fn ratio(&self) -> Option<f64> {
        self.measured.filter(|(_, counted)| *counted > 0.0).map(|(measured, counted)| measured / counted)
    }

    fn cells(&self, compared: bool) -> Vec<Cell> {
        let number = |value: f64| Cell::figure(value, figure(value));
        let Case { workload, programs, pack, .. } = &self.case;
        let mut cells = vec![Cell::words(workload), Cell::count(*programs), Cell::words(pack.to_string())];
        cells.extend([self.l1, self.walks, self.l1_if_2m, self.walks_if_2m].map(number));
        if compared {
            cells.push(self.measured.map_or_else(|| Cell::words(ABSENT), |(measured, _)| number(measured)));
            cells.push(Cell::figure(self.ratio().unwrap_or(f64::NAN), or_absent(self.ratio(), ratio)));
        }
        cells
    }
}

/// `64 full` or `512x4`.
pub fn array(array: Array) -> String {
    match array.entries() == array.ways() {
        true => format!("{} full", array.entries()),
        false => format!("{}x{}", array.entries(), array.ways()),
    }
}
