//! Lines of the table for other programs that are of no metric: a victim, several CPUs at once, and others that come and go. Each
//! figure's name stands where a metric's does.

use super::csv::{line, number};
use super::{Summary, columns, company, tandem};
use crate::runfile::manifest::MachineKind;
use crate::trial::record::Company;
use crate::workload::Case;

/// A figure with its interval, over so many trials.
struct Figure<'a> {
    case: &'a Case,
    name: String,
    unit: &'static str,
    trials: usize,
    value: Option<f64>,
    interval: Option<(f64, f64)>,
    /// Against pack on.
    against: Against,
}

/// One arm against another, of what is known.
#[derive(Clone, Copy, Default)]
struct Against {
    ratio: Option<f64>,
    interval: Option<(f64, f64)>,
    p: Option<f64>,
}

/// The lines of `summary`, of as many cells as its metrics have; nothing for a run without any of the three.
pub(super) fn lines(summary: &Summary<'_>) -> String {
    let provenance = match summary.run.manifest.machine {
        MachineKind::Kernel => "timed",
        MachineKind::Sim => "simulated",
    };
    let (victims, parallel, churn) =
        (tandem::of_run(summary).map(|(_, rows)| rows), company::parallel(summary), company::churn(summary));
    let victims = victims.iter().flat_map(|rows| of_victim(rows));
    let figures = victims.chain(parallel.iter().flat_map(of_cpus)).chain(churn.iter().flat_map(of_churn));
    figures.filter(|figure| figure.value.is_some()).map(|figure| cells(&figure, provenance)).collect()
}

fn of_victim(rows: &[tandem::Row]) -> Vec<Figure<'_>> {
    let between = tandem::between(rows);
    let mut figures = Vec::new();
    for row in rows {
        let figure = |name: String, unit, value| plain(&row.case, name, unit, row.trials, value);
        for (company, ms) in Company::ALL.iter().zip(&row.cpu_ms) {
            figures.push(figure(format!("victim_{}", company.name()), "ms", *ms));
        }
        let against = |company: Company| {
            let found = between.iter().find(|against| against.case == row.case && against.company == company);
            found.map_or_else(Against::default, |found| Against {
                ratio: Some(found.ratio),
                interval: found.interval,
                p: found.p,
            })
        };
        figures.push(Figure {
            interval: row.interval,
            against: against(Company::Programs),
            ..figure("victim_beside_over_interrupted".to_owned(), "ratio", row.ratio)
        });
        figures.push(Figure {
            interval: row.hooked_interval,
            against: against(Company::Hooked),
            ..figure("victim_hooked_over_alone".to_owned(), "ratio", row.hooked)
        });
        figures.push(figure("victim_hooked_executions".to_owned(), "executions", row.hooked_executions));
        figures.push(figure("victim_load".to_owned(), "%", row.busy_percent));
    }
    figures
}

fn of_cpus(row: &company::ParallelRow) -> Vec<Figure<'_>> {
    let figure = |name: String, unit, value| plain(&row.case, name, unit, row.trials, value);
    let mut figures = vec![
        figure("alone_before_at_once".to_owned(), "ns", Some(row.alone_ns)),
        Figure { interval: row.interval, ..figure("at_once_over_alone".to_owned(), "ratio", Some(row.ratio)) },
    ];
    for (at, cpu) in row.cpus.iter().enumerate() {
        figures.push(figure(format!("at_once_cpu{cpu}"), "ns", row.ns.get(at).copied()));
        let misses = row.itlb_misses.get(at).copied().flatten();
        figures.push(figure(format!("at_once_cpu{cpu}_itlb_load_misses"), "1/1000 exec", misses));
    }
    figures
}

fn of_churn(row: &company::ChurnRow) -> Vec<Figure<'_>> {
    let figure = |name: &str, unit, value| plain(&row.case, name.to_owned(), unit, row.trials, value);
    let mut figures = vec![
        figure("churn_loads", "1/s", Some(row.loads_per_s)),
        figure("before_churn", "ns", Some(row.before_ns)),
        figure("while_churn", "ns", Some(row.while_ns)),
        Figure { interval: row.interval, ..figure("churn_over_before", "ratio", Some(row.ratio)) },
        figure("churn_direct_map_splits", "1/s", row.splits_per_s),
    ];
    for (what, latencies) in [("load", row.load_us), ("close", row.unload_us)] {
        for (at, quantile) in ["p50", "p99", "most"].iter().enumerate() {
            figures.push(figure(&format!("churn_{what}_{quantile}"), "us", latencies.map(|all| all[at])));
        }
    }
    figures
}

fn plain<'a>(case: &'a Case, name: String, unit: &'static str, trials: usize, value: Option<f64>) -> Figure<'a> {
    Figure { case, name, unit, trials, value, interval: None, against: Against::default() }
}

fn cells(figure: &Figure<'_>, provenance: &str) -> String {
    let (low, high) = figure.interval.unzip();
    let mut cells = columns::case(figure.case).to_vec();
    cells.extend([figure.name.clone(), figure.unit.to_owned(), provenance.to_owned(), figure.trials.to_string()]);
    cells.extend([String::new(), String::new()]);
    cells.extend([figure.value, low, high].map(number));
    // Quantiles of windows and the footprint are of metrics.
    cells.extend(std::iter::repeat_n(String::new(), 6));
    let Against { ratio, interval, p } = figure.against;
    let (low, high) = interval.unzip();
    cells.extend([ratio, low, high, p].map(number));
    cells.push(String::new());
    line(&cells)
}
