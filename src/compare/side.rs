//! One side of a comparison: the runs of one kernel, by the boots they were made in.

use crate::caveat::Caveat;
use crate::samples::{Metric, histogram};
use crate::workload::Case;

use super::digest::{Digest, TrialDigest};
use super::effect::SideValues;

/// The runs of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// The kernel's release, with as much more as tells it from the other sides.
    pub name: String,
    /// In the order they were started.
    pub runs: Vec<Digest>,
    /// Indices into `runs`, one list for each boot, in the order of their first runs.
    pub boots: Vec<Vec<usize>>,
}

/// What one side has of a case, beside its figures.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseFacts {
    pub trials: usize,
    /// Trials whose placement missed its goal.
    pub left_out: usize,
    pub windows: usize,
    pub windows_discarded: usize,
    /// Fewest and most 4 KiB pages and 2 MiB regions touched, and JITed bytes, over the counting trials (over all if none counts).
    pub pages_4k: (u32, u32),
    pub regions_2m: (u32, u32),
    pub jited_bytes: (u64, u64),
}

impl Side {
    /// A side of `runs`, at least one.
    pub(super) fn of(name: String, mut runs: Vec<Digest>) -> Self {
        runs.sort_by(|a, b| a.manifest.started.cmp(&b.manifest.started).then_with(|| a.name.cmp(&b.name)));
        let mut keys: Vec<Option<String>> = Vec::new();
        let mut boots: Vec<Vec<usize>> = Vec::new();
        for (at, run) in runs.iter().enumerate() {
            let key = run.boot();
            match keys.iter().position(|known| *known == key) {
                Some(boot) => boots[boot].push(at),
                None => {
                    keys.push(key);
                    boots.push(vec![at]);
                }
            }
        }
        Self { name, runs, boots }
    }

    /// Every case that a run of this side has, in the order of the first that has it.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for case in self.runs.iter().flat_map(Digest::cases) {
            if !cases.contains(&case) {
                cases.push(case);
            }
        }
        cases
    }

    /// `metric` of `case`, boot by boot; `None` if no trial has it.
    pub(super) fn values(&self, case: &Case, metric: Metric) -> Option<SideValues> {
        let of_boot = |boot: &Vec<usize>| boot.iter().flat_map(|&run| self.runs[run].values(case, metric)).collect();
        SideValues::of(&self.name, self.boots.iter().map(of_boot).collect(), super::Unit::Boot)
    }

    /// `metric` of every kept window of `case`, gross, sorted, to the precision of the histograms in the run files; empty where they
    /// hold none.
    pub fn windows(&self, case: &Case, metric: Metric) -> Vec<f64> {
        let trials = self.trials().filter(|trial| trial.placed && trial.case == *case);
        let stored = trials.filter_map(|trial| histogram::decode(trial.histograms.get(&metric)?).ok());
        let mut all: Vec<f64> = stored.flat_map(|stored| histogram::windows(&stored, metric)).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// Trials, windows and placement of `case`; `None` if no run has it.
    pub fn facts(&self, case: &Case) -> Option<CaseFacts> {
        let all: Vec<&TrialDigest> = self.trials().filter(|trial| trial.case == *case).collect();
        let placed: Vec<&TrialDigest> = all.iter().copied().filter(|trial| trial.placed).collect();
        let shown = if placed.is_empty() { &all } else { &placed };
        Some(CaseFacts {
            trials: placed.len(),
            left_out: all.len() - placed.len(),
            windows: placed.iter().map(|trial| trial.windows).sum(),
            windows_discarded: placed.iter().map(|trial| trial.discarded).sum(),
            pages_4k: range(shown, |trial| trial.footprint.pages_4k)?,
            regions_2m: range(shown, |trial| trial.footprint.regions_2m)?,
            jited_bytes: range(shown, |trial| trial.footprint.jited_bytes)?,
        })
    }

    /// Every trial of every run.
    pub fn trials(&self) -> impl Iterator<Item = &TrialDigest> {
        self.runs.iter().flat_map(|run| &run.trials)
    }

    /// What the runs of this side say of themselves, each once.
    pub fn caveats(&self) -> Vec<Caveat> {
        let mut all: Vec<Caveat> =
            self.runs.iter().flat_map(|run| run.manifest.caveats.iter().chain(&run.caveats)).cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// Runs whose file does not name its boot; they count as one boot together.
    pub fn runs_without_boot(&self) -> usize {
        self.runs.iter().filter(|run| run.boot().is_none()).count()
    }

    /// Whether a run of either side was made in a boot of the other.
    pub(super) fn shares_a_boot_with(&self, other: &Self) -> bool {
        let boots = |side: &Self| side.runs.iter().filter_map(Digest::boot).collect::<Vec<_>>();
        let theirs = boots(other);
        boots(self).iter().any(|boot| theirs.contains(boot))
    }
}

fn range<T: Ord + Copy>(trials: &[&TrialDigest], of: impl Fn(&TrialDigest) -> T) -> Option<(T, T)> {
    let values = || trials.iter().map(|trial| of(trial));
    values().min().zip(values().max())
}

/// A name for the baseline and for each candidate: the kernel's release; where two share it, its build as well; where those are
/// the same too, a number.
pub(super) fn names(baseline: &[Digest], candidates: &[Vec<Digest>]) -> Vec<String> {
    let sides: Vec<&[Digest]> = std::iter::once(baseline).chain(candidates.iter().map(Vec::as_slice)).collect();
    let of = |get: fn(&Digest) -> Option<&String>| {
        let joined = |runs: &&[Digest]| {
            let mut values: Vec<&str> =
                runs.iter().map(|run| get(run).map_or("unknown kernel", String::as_str)).collect();
            values.sort_unstable();
            values.dedup();
            values.join("/")
        };
        sides.iter().map(joined).collect::<Vec<String>>()
    };
    let releases = of(|run| run.manifest.host.kernel_release.as_ref());
    let builds = of(|run| run.manifest.host.kernel_version.as_ref());
    let shared = |names: &[String], at: usize| names.iter().filter(|name| **name == names[at]).count() > 1;
    let full: Vec<String> = (0..sides.len())
        .map(|at| match shared(&releases, at) {
            true => format!("{} {}", releases[at], builds[at]),
            false => releases[at].clone(),
        })
        .collect();
    let numbered = |at: usize| match shared(&full, at) {
        true => format!("{} ({})", releases[at], if at == 0 { "base".to_owned() } else { format!("new {at}") }),
        false => full[at].clone(),
    };
    (0..full.len()).map(numbered).collect()
}
