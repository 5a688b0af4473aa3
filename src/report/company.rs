//! The same windows on several CPUs at once, and while other programs come and go: each against the windows of the same trial before.

use serde::Serialize;

use super::Summary;
use super::units::{figure, fixed, or_absent, ratio, with_interval};
use crate::compare::pairing;
use crate::counters::Role;
use crate::runfile::Run;
use crate::samples::histogram;
use crate::stats;
use crate::trial::Trial;
use crate::trial::record::{Churn, Parallel};
use crate::workload::Case;

/// One case on several CPUs at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParallelRow {
    pub case: Case,
    pub trials: usize,
    pub cpus: Vec<u32>,
    /// Nanoseconds an execution on the CPU of the run before, and on each at once; baseline included.
    pub alone_ns: f64,
    pub ns: Vec<f64>,
    /// The CPU of the run at once over alone, of the same trials.
    pub ratio: f64,
    pub interval: Option<(f64, f64)>,
    /// `iTLB-load-misses` of 1000 executions on each CPU, where it is counted.
    pub itlb_misses: Vec<Option<f64>>,
}

/// One case while others come and go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChurnRow {
    pub case: Case,
    pub trials: usize,
    pub asked_per_s: u32,
    pub loads_per_s: f64,
    pub before_ns: f64,
    pub while_ns: f64,
    pub ratio: f64,
    pub interval: Option<(f64, f64)>,
    /// Microseconds of a load and of a close: median, 99th percentile, most.
    pub load_us: Option<[f64; 3]>,
    pub unload_us: Option<[f64; 3]>,
    /// Pages of the direct map split a second, on the whole host.
    pub splits_per_s: Option<f64>,
}

/// Median nanoseconds an execution of the windows that count.
fn ns(windows: impl Iterator<Item = (u64, u64)>) -> Option<f64> {
    let each = windows.filter(|(_, executions)| *executions > 0);
    stats::median(&each.map(|(wall_ns, executions)| wall_ns as f64 / executions as f64).collect::<Vec<f64>>())
}

fn before_ns(trial: &Trial) -> Option<f64> {
    ns(trial.kept().map(|window| (window.wall_ns, window.executions)))
}

/// Rows of the cases that ran on several CPUs.
pub fn parallel(summary: &Summary<'_>) -> Vec<ParallelRow> {
    summary.cases.iter().filter_map(|case| parallel_row(summary.run, &case.case)).collect()
}

fn parallel_row(run: &Run, case: &Case) -> Option<ParallelRow> {
    let with = pairing::counting(run, case).filter_map(|trial| Some((before_ns(trial)?, trial.parallel.as_ref()?)));
    let trials: Vec<(f64, &Parallel)> = with.collect();
    let cpus = trials.first()?.1.cpus.clone();
    let on = |at: usize, parallel: &Parallel| {
        ns(parallel.windows.iter().filter_map(|cpus| Some((cpus.get(at)?.wall_ns, parallel.executions))))
    };
    let median_on =
        |at: usize| stats::median(&trials.iter().filter_map(|(_, parallel)| on(at, parallel)).collect::<Vec<f64>>());
    let ratios: Vec<f64> = trials.iter().filter_map(|(before, parallel)| Some(on(0, parallel)? / before)).collect();
    Some(ParallelRow {
        case: case.clone(),
        trials: trials.len(),
        alone_ns: stats::median(&trials.iter().map(|(before, _)| *before).collect::<Vec<f64>>())?,
        ns: (0..cpus.len()).filter_map(median_on).collect(),
        ratio: stats::median(&ratios)?,
        interval: stats::median_interval(&ratios),
        itlb_misses: (0..cpus.len()).map(|at| misses(run, &trials, at)).collect(),
        cpus,
    })
}

fn misses(run: &Run, trials: &[(f64, &Parallel)], at: usize) -> Option<f64> {
    let place = run.manifest.groups.iter().enumerate().find_map(|(group, described)| {
        Some((group, described.events.iter().position(|event| event.role == Role::ItlbMisses)?))
    });
    let (group, event) = place?;
    let of = |parallel: &Parallel| {
        let counts = parallel.windows.iter().filter_map(|cpus| {
            let reading = cpus.get(at)?.readings.get(group)?;
            let usable = reading.unusable().is_none();
            usable.then(|| reading.counts.get(event).copied()).flatten()
        });
        let per_1000 = |count: u64| 1000.0 * count as f64 / parallel.executions.max(1) as f64;
        stats::median(&counts.map(per_1000).collect::<Vec<f64>>())
    };
    stats::median(&trials.iter().filter_map(|(_, parallel)| of(parallel)).collect::<Vec<f64>>())
}

/// Rows of the cases with churn.
pub fn churn(summary: &Summary<'_>) -> Vec<ChurnRow> {
    summary.cases.iter().filter_map(|case| churn_row(summary.run, &case.case)).collect()
}

fn churn_row(run: &Run, case: &Case) -> Option<ChurnRow> {
    let with = pairing::counting(run, case).filter_map(|trial| Some((before_ns(trial)?, trial.churn.as_ref()?)));
    let trials: Vec<(f64, &Churn)> = with.collect();
    let during = |churn: &Churn| {
        let kept = churn.windows.iter().filter(|window| window.discarded.is_none());
        ns(kept.map(|window| (window.wall_ns, window.executions)))
    };
    let median = |figure: &dyn Fn(&(f64, &Churn)) -> Option<f64>| {
        stats::median(&trials.iter().filter_map(figure).collect::<Vec<f64>>())
    };
    let ratios: Vec<f64> = trials.iter().filter_map(|(before, churn)| Some(during(churn)? / before)).collect();
    let per_s = |count: u64, churn: &Churn| count as f64 * 1e9 / churn.elapsed_ns.max(1) as f64;
    let latencies = |text: fn(&Churn) -> Option<&String>| {
        let all: Vec<_> = trials.iter().filter_map(|(_, churn)| histogram::decode(text(churn)?).ok()).collect();
        let merged = histogram::merge(all.iter()).ok().filter(|merged| !merged.is_empty())?;
        Some([merged.value_at_quantile(0.5), merged.value_at_quantile(0.99), merged.max()].map(|ns| ns as f64 / 1e3))
    };
    Some(ChurnRow {
        case: case.clone(),
        trials: trials.len(),
        asked_per_s: trials.first()?.1.per_s,
        loads_per_s: median(&|(_, churn)| Some(per_s(churn.loads, churn)))?,
        before_ns: median(&|(before, _)| Some(*before))?,
        while_ns: median(&|(_, churn)| during(churn))?,
        ratio: stats::median(&ratios)?,
        interval: stats::median_interval(&ratios),
        load_us: latencies(|churn| churn.load_latency.as_ref()),
        unload_us: latencies(|churn| churn.unload_latency.as_ref()),
        splits_per_s: median(&|(_, churn)| Some(per_s(churn.splits?, churn))),
    })
}

/// What both say; nothing for a run without.
pub fn lines(summary: &Summary<'_>) -> Vec<String> {
    let parallel = parallel(summary).into_iter().map(|row| parallel_line(&row));
    let churn = churn(summary).into_iter().map(|row| churn_line(&row));
    parallel.chain(churn).collect()
}

fn parallel_line(row: &ParallelRow) -> String {
    let each = row.cpus.iter().zip(&row.ns).map(|(cpu, ns)| format!("CPU {cpu} {}", figure(*ns)));
    let mut line = format!(
        "{} on {} CPUs at once: {} ns an execution; CPU {} alone {}: at once over alone {}, n = {}",
        row.case,
        row.cpus.len(),
        each.collect::<Vec<_>>().join(", "),
        row.cpus.first().copied().unwrap_or_default(),
        figure(row.alone_ns),
        with_interval(row.ratio, row.interval, ratio),
        row.trials
    );
    if row.itlb_misses.iter().any(Option::is_some) {
        let each = row
            .cpus
            .iter()
            .zip(&row.itlb_misses)
            .map(|(cpu, misses)| format!("CPU {cpu} {}", or_absent(*misses, figure)));
        line += &format!("; iTLB-load-misses/1000 exec: {}", each.collect::<Vec<_>>().join(", "));
    }
    line
}

fn churn_line(row: &ChurnRow) -> String {
    let us = |latencies: &Option<[f64; 3]>| match latencies {
        Some(all) => all.map(|us| fixed(us, 1)).join("/"),
        None => "-".to_owned(),
    };
    format!(
        "{} while {} of {} programs/s come and go: {} ns an execution, before {}: {}, n = {}; load p50/p99/most {} us, close {} us; \
         direct-map splits/s {}",
        row.case,
        fixed(row.loads_per_s, 0),
        row.asked_per_s,
        figure(row.while_ns),
        figure(row.before_ns),
        with_interval(row.ratio, row.interval, ratio),
        row.trials,
        us(&row.load_us),
        us(&row.unload_us),
        or_absent(row.splits_per_s, |splits| fixed(splits, 2)),
    )
}
