//! What a comparison keeps of a run: its head, and of each trial one value per metric. A run of a million windows leaves some
//! kilobytes, so that any number of runs fits into memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::caveat::Caveat;
use crate::placement::{Footprint, Observed};
use crate::runfile::manifest::MachineKind;
use crate::runfile::{Head, Manifest, ReadError, Run, reader};
use crate::samples::{Metric, series};
use crate::trial::Trial;
use crate::workload::Case;

/// A run, boiled down to its trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    /// Where it was read from; stands in messages.
    pub name: String,
    pub manifest: Manifest,
    pub complete: bool,
    /// What reading found.
    pub caveats: Vec<Caveat>,
    pub trials: Vec<TrialDigest>,
}

/// A trial, boiled down to one value per metric.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialDigest {
    pub case: Case,
    pub trial: u32,
    pub placed: bool,
    pub footprint: Footprint,
    /// By which pages the programs were mapped, as far as it was observed.
    pub mapping: Option<Observed>,
    /// Windows that count, and those thrown out by rule.
    pub windows: usize,
    pub discarded: usize,
    /// Median of the kept windows, by metric.
    pub values: BTreeMap<Metric, f64>,
    pub caveats: Vec<Caveat>,
    /// base64 of HDR V2 by metric, as the file has them: gross figures of every window.
    pub histograms: BTreeMap<Metric, String>,
}

impl Digest {
    /// Boils `run` down; `name` says where it came from.
    pub fn of(name: &str, run: &Run) -> Self {
        let trials = run.trials.iter().enumerate().map(|(at, trial)| {
            let histograms = run.histograms.get(at).cloned().unwrap_or_default();
            TrialDigest::of(trial, &run.manifest, histograms)
        });
        Self {
            name: name.to_owned(),
            trials: trials.collect(),
            manifest: run.manifest.clone(),
            complete: run.complete,
            caveats: run.caveats.clone(),
        }
    }

    /// Reads a run file, or the one in the directory of a run, trial by trial.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let (name, file) = reader::open(path)?;
        let mut trials = Vec::new();
        let head = reader::each_trial(&name, file, |manifest, trial, histograms| {
            trials.push(TrialDigest::of(&trial, manifest, histograms));
        })?;
        let Head { manifest, complete, caveats } = head;
        Ok(Self { name: path.display().to_string(), manifest, complete, caveats, trials })
    }

    /// Reads several, as many at a time as there are CPUs; in the order of `paths`. The error is that of the first file that has one.
    pub fn read_all(paths: &[impl AsRef<Path> + Sync]) -> Result<Vec<Self>, ReadError> {
        let next = AtomicUsize::new(0);
        let mine = || {
            let taken = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
            let taken = taken.take_while(|at| *at < paths.len());
            taken.map(|at| (at, Self::read(paths[at].as_ref()))).collect::<Vec<_>>()
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len());
        let mut read: Vec<(usize, Result<Self, ReadError>)> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..threads).map(|_| scope.spawn(mine)).collect();
            let ended = started.into_iter().map(|thread| thread.join());
            ended.flat_map(|found| found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        read.sort_by_key(|(at, _)| *at);
        read.into_iter().map(|(_, digest)| digest).collect()
    }

    /// The boot the run was made in; `None` if the file does not say. A simulated run is a boot of its own seed.
    pub fn boot(&self) -> Option<String> {
        match self.manifest.machine {
            MachineKind::Kernel => self.manifest.host.boot_id.clone(),
            MachineKind::Sim => Some(format!("simulated, seed {}", self.manifest.seed)),
        }
    }

    /// Every case that has a trial: in the order of the plan, then any that the plan does not name.
    pub fn cases(&self) -> Vec<Case> {
        let planned = self.manifest.workloads.iter().flat_map(|spec| {
            spec.programs.iter().flat_map(move |&programs| spec.pack.iter().map(move |&pack| spec.case(programs, pack)))
        });
        let mut left: BTreeSet<&Case> = self.trials.iter().map(|trial| &trial.case).collect();
        let mut cases: Vec<Case> = planned.filter(|case| left.remove(case)).collect();
        for trial in &self.trials {
            if left.remove(&trial.case) {
                cases.push(trial.case.clone());
            }
        }
        cases
    }

    /// The trials of `case` that count: those whose placement reached its goal.
    pub fn counting<'a>(&'a self, case: &'a Case) -> impl Iterator<Item = &'a TrialDigest> {
        self.trials.iter().filter(move |trial| trial.placed && trial.case == *case)
    }

    /// `metric` of every counting trial of `case`, in the order they ran.
    pub fn values(&self, case: &Case, metric: Metric) -> Vec<f64> {
        self.counting(case).filter_map(|trial| trial.values.get(&metric).copied()).collect()
    }
}

impl TrialDigest {
    /// Boils `trial` down.
    pub fn of(trial: &Trial, manifest: &Manifest, histograms: BTreeMap<Metric, String>) -> Self {
        let value = |metric| Some((metric, series::trial_median(trial, &manifest.groups, metric)?));
        let windows = trial.kept().count();
        Self {
            case: trial.case.clone(),
            trial: trial.trial,
            placed: trial.placed,
            footprint: trial.footprint.clone(),
            mapping: trial.mapping.clone(),
            windows,
            discarded: trial.samples.len() - windows,
            values: Metric::ALL.into_iter().filter_map(value).collect(),
            caveats: trial.caveats.clone(),
            histograms,
        }
    }
}
