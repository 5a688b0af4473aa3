//! Our own false alarms: the same against the same, judged as if it were not.

use std::collections::BTreeMap;

use super::digest::Digest;
use super::effect::{Effect, SideValues, Unit};
use super::pairing;
use super::verdict;
use crate::runfile::manifest::Design;
use crate::samples::Metric;
use crate::stats;

/// How two halves of the same came to stand against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Procedure {
    /// The interleaved arms of a run made with `--aa`; the unit is the trial.
    Arms,
    /// Two runs of one boot, one after the other; the unit is the trial.
    Runs,
    /// Boots of one kernel dealt to two sides, A B B A; the unit is the boot.
    Boots,
}

/// What one procedure called different in one metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlarmCount {
    /// Pairs of equal halves, one for each case.
    pub pairs: usize,
    /// Called different if each pair stood alone: p below 0.05, and an interval without equality.
    pub alone: usize,
    /// Called different after Holm, as every report does it.
    pub corrected: usize,
    /// Comparisons, each of several cases, and those with at least one pair called different after Holm.
    pub comparisons: usize,
    pub comparisons_with_alarm: usize,
    /// Pairs with too few units for a verdict; no part of the above.
    pub not_enough: usize,
}

impl AlarmCount {
    /// Share of the pairs that were called different alone, with its 95 % interval (Clopper and Pearson), in percent.
    pub fn rate_percent(&self) -> Option<(f64, (f64, f64))> {
        let (low, high) = stats::proportion_interval(self.alone, self.pairs)?;
        Some((100.0 * self.alone as f64 / self.pairs as f64, (100.0 * low, 100.0 * high)))
    }

    fn count(&mut self, mut effects: Vec<Effect>) {
        for effect in &effects {
            let mut alone = [effect.clone()];
            verdict::decide(alone.iter_mut());
            if alone[0].verdict == verdict::Verdict::NotEnough {
                self.not_enough += 1;
            } else {
                self.pairs += 1;
                self.alone += usize::from(alone[0].verdict.is_different());
            }
        }
        verdict::decide(effects.iter_mut());
        let corrected = effects.iter().filter(|effect| effect.verdict.is_different()).count();
        self.corrected += corrected;
        if effects.iter().any(|effect| effect.verdict != verdict::Verdict::NotEnough) {
            self.comparisons += 1;
            self.comparisons_with_alarm += usize::from(corrected > 0);
        }
    }
}

/// The false alarms of a set of runs of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms(pub BTreeMap<(Procedure, Metric), AlarmCount>);

impl Alarms {
    /// Pits equal halves of `runs` against each other, in the order the runs were started.
    pub fn of(runs: &[Digest]) -> Self {
        let mut runs: Vec<&Digest> = runs.iter().collect();
        runs.sort_by(|a, b| a.manifest.started.cmp(&b.manifest.started).then_with(|| a.name.cmp(&b.name)));
        let (aa, plain): (Vec<&Digest>, Vec<&Digest>) =
            runs.into_iter().partition(|run| run.manifest.design == Design::AgainstItself);
        let mut alarms = Self::default();
        for run in aa {
            alarms.take(Procedure::Arms, pairing::open_effects(run));
        }
        let boots = by_boot(&plain);
        for pair in boots.iter().flat_map(|runs| runs.chunks_exact(2)) {
            alarms.take(Procedure::Runs, against(&[vec![pair[0]]], &[vec![pair[1]]], Unit::Trial));
        }
        let (even, odd) = dealt(boots);
        alarms.take(Procedure::Boots, against(&even, &odd, Unit::Boot));
        alarms
    }

    fn take(&mut self, procedure: Procedure, effects: Vec<Effect>) {
        for metric in Metric::ALL {
            let of_metric: Vec<Effect> = effects.iter().filter(|effect| effect.metric == metric).cloned().collect();
            if !of_metric.is_empty() {
                self.0.entry((procedure, metric)).or_default().count(of_metric);
            }
        }
    }
}

/// The runs of each boot, in the order of their first; a run that does not name its boot is left out.
fn by_boot<'a>(runs: &[&'a Digest]) -> Vec<Vec<&'a Digest>> {
    let mut boots: Vec<(String, Vec<&Digest>)> = Vec::new();
    for run in runs {
        let Some(boot) = run.boot() else { continue };
        match boots.iter_mut().find(|(known, _)| *known == boot) {
            Some((_, runs)) => runs.push(run),
            None => boots.push((boot, vec![run])),
        }
    }
    boots.into_iter().map(|(_, runs)| runs).collect()
}

/// The boots of one side.
type Boots<'a> = Vec<Vec<&'a Digest>>;

/// A B B A, so that a drift falls on both sides alike.
fn dealt(boots: Boots<'_>) -> (Boots<'_>, Boots<'_>) {
    let whole = boots.len() / 2 * 2;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for (at, runs) in boots.into_iter().take(whole).enumerate() {
        if matches!(at % 4, 0 | 3) { a.push(runs) } else { b.push(runs) }
    }
    (a, b)
}

/// The cases that both sides have, each list of runs being a boot. Verdicts are open.
fn against(base: &[Vec<&Digest>], new: &[Vec<&Digest>], unit: Unit) -> Vec<Effect> {
    let values = |name: &str, boots: &[Vec<&Digest>], case: &crate::workload::Case, metric| {
        let of_boot = |runs: &Vec<&Digest>| runs.iter().flat_map(|run| run.values(case, metric)).collect();
        SideValues::of(name, boots.iter().map(of_boot).collect(), unit)
    };
    let Some(first) = base.iter().flatten().next() else { return Vec::new() };
    let cases = first.cases();
    let points = cases.iter().flat_map(|case| Metric::ALL.map(|metric| (case, metric)));
    let effect = |(case, metric)| {
        Effect::new(case, metric, unit, values("A", base, case, metric)?, values("B", new, case, metric)?)
    };
    points.filter_map(effect).collect()
}
