//! In: a comparison of kernels. Out: the same outputs that a run has: terminal table, mail and its parts, grid, CSV, JSON; its document and its
//! charts are beside those of a run. Apart because here a column is a kernel, not an arm.

pub mod alarms;
pub mod attach;
pub mod csv;
pub mod json;
pub mod lkp;
pub mod table;

use super::echo::{self, Echo};
use crate::caveat::Caveat;
use crate::compare::{Candidate, Class, Comparison, Effect, FactDiff, Method, Side};
use crate::runfile::Manifest;
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;

use super::units;

/// A comparison with what every output asks of it.
#[derive(Debug)]
pub struct View<'a> {
    pub comparison: &'a Comparison,
    /// Clocks that need no table of their own.
    pub echoes: Vec<Echo>,
}

impl<'a> View<'a> {
    /// Prepares `comparison` for being shown.
    pub fn of(comparison: &'a Comparison) -> Self {
        let effects: Vec<&Effect> = comparison.candidates.iter().flat_map(Candidate::effects).collect();
        Self { comparison, echoes: echo::echoes_of_effects(&effects) }
    }

    /// The metrics worth a table each, the primary one first.
    pub fn shown(&self) -> Vec<Metric> {
        let primary = self.comparison.primary();
        let is_echo = |metric: Metric| self.echoes.iter().any(|echo| echo.metric == metric);
        let others = self.comparison.metrics.iter().copied().filter(|&metric| metric != primary && !is_echo(metric));
        self.comparison.metrics.iter().copied().filter(|&metric| metric == primary).chain(others).collect()
    }

    /// What the first run of the baseline says of itself.
    pub fn manifest(&self) -> &'a Manifest {
        &self.comparison.baseline.runs[0].manifest
    }

    pub fn machine(&self) -> MachineKind {
        self.manifest().machine
    }

    pub fn is_simulated(&self) -> bool {
        self.machine() == MachineKind::Sim
    }

    /// `cycles/exec (measured)`.
    pub fn headed(&self, metric: Metric) -> String {
        format!("{} ({})", units::label(metric), units::provenance(metric, self.machine()))
    }

    /// Baseline and candidates, in this order.
    pub fn sides(&self) -> impl Iterator<Item = &'a Side> {
        std::iter::once(&self.comparison.baseline).chain(self.comparison.candidates.iter().map(|c| &c.side))
    }

    /// Names of the workloads that pair, in order.
    pub fn workloads(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for case in self.comparison.candidates.iter().flat_map(|candidate| &candidate.cases) {
            if !names.contains(&case.case.workload.as_str()) {
                names.push(&case.case.workload);
            }
        }
        names
    }

    /// The effects that claims are made of: of the primary metric, for each candidate, workload and arm those with most programs.
    pub fn claimed(&self) -> Vec<&'a Effect> {
        let metric = self.comparison.primary();
        let mut largest: Vec<&Effect> = Vec::new();
        for effect in self.comparison.candidates.iter().flat_map(Candidate::effects).filter(|e| e.metric == metric) {
            let same = |known: &&mut &Effect| {
                known.candidate.name == effect.candidate.name
                    && known.case.workload == effect.case.workload
                    && known.case.pack == effect.case.pack
            };
            match largest.iter_mut().find(same) {
                Some(known) if known.case.programs < effect.case.programs => *known = effect,
                Some(_) => {}
                None => largest.push(effect),
            }
        }
        largest
    }

    /// Caveats of the comparison and of the runs on every side, each once.
    pub fn caveats(&self) -> Vec<Caveat> {
        let own = self.comparison.candidates.iter().flat_map(|candidate| candidate.caveats.iter().cloned());
        let mut all: Vec<Caveat> = own.chain(self.sides().flat_map(Side::caveats)).collect();
        if self.is_simulated() {
            all.push(Caveat::Simulated);
        }
        all.sort();
        all.dedup();
        all
    }
}

/// `4 boots, 4 runs, 96 trials`.
pub fn extent(side: &Side) -> String {
    let counted = |n: usize, noun: &str| if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") };
    let trials = side.trials().count();
    [counted(side.boots.len(), "boot"), counted(side.runs.len(), "run"), counted(trials, "trial")].join(", ")
}

/// The builds that a side's runs name.
pub fn builds(side: &Side) -> String {
    let mut builds: Vec<&str> =
        side.runs.iter().filter_map(|run| run.manifest.host.kernel_version.as_deref()).collect();
    builds.sort_unstable();
    builds.dedup();
    builds.join(" and ")
}

/// One word for what a difference does.
pub fn class_word(class: Class) -> &'static str {
    match class {
        Class::Equal => "equal",
        Class::Harmless => "harmless",
        Class::Confounds => "confounds",
        Class::Incomparable => "incomparable",
    }
}

/// `microcode: 0x1 -> 0x2`.
pub fn differs(fact: &FactDiff) -> String {
    format!("{}: {} -> {}", fact.fact, fact.baseline.join(" and "), fact.candidate.join(" and "))
}

/// What stands in the columns of both sides, and what the change is a change of.
pub fn columns_are(view: &View<'_>) -> String {
    let all = || view.comparison.candidates.iter().flat_map(Candidate::effects);
    let has = |wanted: fn(&Method) -> bool| all().any(|effect| wanted(&effect.method));
    let welch = has(|method| *method == Method::Welch);
    let ranks = has(|method| matches!(method, Method::MannWhitney { .. }));
    let few = has(|method| *method == Method::Descriptive);
    let unit = all().next().map_or("boots", |effect| units::observation(effect.unit));
    let said = [
        welch.then(|| format!("geometric means of the {unit}, their ratio, interval and p after Welch on logs")),
        ranks.then(|| {
            format!(
                "medians of the {unit}, ratio and interval after Hodges and Lehmann on logs, p after Mann and Whitney"
            )
        }),
        few.then(|| format!("with too few {unit} the medians and their plain ratio")),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// One sentence on what an effect shows.
pub fn claim(view: &View<'_>, effect: &Effect) -> String {
    use crate::compare::Verdict;

    let (base, new) = (&effect.baseline.name, &effect.candidate.name);
    let change = units::or_absent(effect.ratio, units::change);
    let interval = units::interval(effect.interval, units::change);
    let said = match effect.verdict {
        Verdict::Slower | Verdict::Faster if effect.ratio.is_some() => {
            format!("{new} is {} than {base}: {change} {interval}", effect.conclusion())
        }
        Verdict::Slower | Verdict::Faster => {
            let shift = units::with_interval(effect.shift.estimate, effect.shift.interval, units::figure);
            format!("{new} is {} than {base}: by {shift}", effect.conclusion())
        }
        Verdict::NoDifference { within_percent } => {
            let within = within_percent.map_or_else(String::new, |w| format!(", so within {w:.1} %"));
            format!("no difference shown between {base} and {new}: {change} {interval}{within}")
        }
        Verdict::NotEnough => format!(
            "no claim for {new} against {base}, {}: {change}, {} to {}",
            effect.conclusion(),
            units::figure(effect.baseline.median),
            units::figure(effect.candidate.median)
        ),
        Verdict::Incomparable => format!("no claim for {new} against {base}: the hosts cannot be compared"),
    };
    let case = &effect.case;
    let what = view.headed(effect.metric).replace(" (", ", ").replace(')', "");
    let p = effect.p_holm.map_or_else(String::new, |p| format!(", p {}", units::p_value(p)));
    format!("{said} ({what}; {}, {} programs, pack {}; {}{p})", case.workload, case.programs, case.pack, effect.n())
}

#[cfg(test)]
pub(crate) mod fixture;
