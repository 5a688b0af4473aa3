//! The grid of the 0-day robot's mails, which maintainers read at sight: base, change, candidate, key; spread beside the mean.
//!
//! Widths and rules are those of `lkp ncompare`: two decimals below 1000, none above, the spread only where it exceeds 2 % of
//! the mean. `+-` stands for its sign beyond 7 bits. What it lacks is added behind the key: `~` where no difference was shown,
//! with the number of the column it is about if there are several.

use super::Summary;
use super::wording::{ascii, wrap};
use crate::compare::Effect;
use crate::runfile::Manifest;
use crate::samples::Metric;
use crate::workload::Spec;

/// Widest line of prose; rows are as long as their keys make them.
const COLUMNS: usize = 72;
/// Spread at or below this share of the mean, in percent, is not worth its ink.
const SPREAD_FROM_PERCENT: f64 = 2.0;

/// One side's column.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// At most 16 columns of it are shown over the figures.
    pub name: String,
    /// What it is, in words.
    pub subject: String,
}

/// One row: the same figure on every side.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub key: String,
    pub baseline: Vec<f64>,
    /// Values of each candidate, and whether a difference from the baseline was shown; `None` where it lacks the figure.
    pub candidates: Vec<Option<(Vec<f64>, Shown)>>,
}

/// Whether the comparison holds a change for shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Yes,
    No,
}

/// The grid under its axes and sides.
pub fn grid(axes: &[(String, String)], sides: &[Side], unit: &str, rows: &[Row]) -> String {
    let mut lines = vec!["=".repeat(COLUMNS)];
    lines.extend(axis_lines(axes));
    lines.push(String::new());
    lines.push("sides:".to_owned());
    lines.extend(sides.iter().map(|side| format!("  {} ({})", ascii(&side.name), ascii(&side.subject))));
    lines.push(String::new());
    lines.extend(head(sides));
    lines.extend(rows.iter().map(row));
    lines.push(String::new());
    let which = if sides.len() > 2 { ", with the number of the column it is about" } else { "" };
    let legend = format!(
        "mean over {unit}, %stddev over {unit} where above {SPREAD_FROM_PERCENT:.0} %; less is better; ~ behind a key: no \
         difference shown{which}"
    );
    lines.extend(wrap(&legend, COLUMNS, "", ""));
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Names of the axes joined by slashes, then their values.
fn axis_lines(axes: &[(String, String)]) -> Vec<String> {
    let joined =
        |parts: Vec<String>| parts.iter().map(|part| ascii(part).replace('/', "|")).collect::<Vec<_>>().join("/");
    let names = joined(axes.iter().map(|(name, _)| name.clone()).collect());
    let values = joined(axes.iter().map(|(_, value)| ascii(value).replace(' ', "_")).collect());
    vec![format!("{names}:"), format!("  {values}")]
}

fn head(sides: &[Side]) -> Vec<String> {
    let mut names = String::new();
    let mut rules = String::new();
    let mut titles = String::new();
    let mut arrows = String::new();
    for (at, side) in sides.iter().enumerate() {
        let wide = if at == 0 { 16 } else { 27 };
        let name: String = ascii(&side.name).chars().take(wide).collect();
        names += &format!("{}{name:>wide$}", if at == 0 { "" } else { " " });
        rules += &format!("{}{}", if at == 0 { "" } else { " " }, "-".repeat(wide));
        titles += if at == 0 { "         %stddev" } else { "     %change         %stddev" };
        arrows += if at == 0 { "             \\  " } else { "        |                \\  " };
    }
    vec![names, rules, titles, arrows]
}

fn row(row: &Row) -> String {
    let mut line = stat(&row.baseline);
    let mut marks = String::new();
    for (at, candidate) in row.candidates.iter().enumerate() {
        match candidate {
            Some((values, was)) => {
                line += &format!(" {:>10} {}", change(&row.baseline, values), stat(values));
                if *was == Shown::No {
                    marks += " ~";
                    marks += &if row.candidates.len() > 1 { (at + 1).to_string() } else { String::new() };
                }
            }
            None => line += &" ".repeat(28),
        }
    }
    format!("{line}  {}{marks}", ascii(&row.key))
}

/// `      6672 +- 4%`: sixteen columns.
fn stat(values: &[f64]) -> String {
    let Some((mean, spread)) = moments(values) else { return " ".repeat(16) };
    let spread = match spread {
        Some(percent) if percent > SPREAD_FROM_PERCENT => format!(" +-{:>2.0}%", percent.min(999.0)),
        _ => String::new(),
    };
    format!("{:>10}{spread:<6}", number(mean))
}

/// Mean, and the sample's standard deviation in percent of it; that is `None` for one value or a mean of zero.
fn moments(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if !mean.is_finite() {
        return None;
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let percent = 100.0 * variance.sqrt() / mean.abs();
    Some((mean, Some(percent).filter(|percent| percent.is_finite())))
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size < 1e3 => super::units::figure(value),
        size if size < 1e8 => format!("{value:.0}"),
        _ => format!("{value:.3e}"),
    }
}

/// Change of the mean in percent; a baseline of nothing has none.
fn change(baseline: &[f64], candidate: &[f64]) -> String {
    match (moments(baseline), moments(candidate)) {
        (Some((base, _)), Some((new, _))) if base > 0.0 => {
            let percent = 100.0 * (new / base - 1.0);
            if percent.abs() < 1e4 { format!("{percent:+.1}%") } else { format!("{percent:+.2e}%") }
        }
        _ => String::new(),
    }
}

/// `wall_ns_per_exec`: what a metric is called in a key.
pub fn key(metric: Metric) -> &'static str {
    match metric {
        Metric::WallNs => "wall_ns_per_exec",
        Metric::TaskClockNs => "task_ns_per_exec",
        Metric::TscTicks => "tsc_per_exec",
        Metric::Cycles => "cycles_per_exec",
        Metric::Instructions => "instructions_per_exec",
        Metric::ItlbMissesPer1000 => "iTLB-load-misses_per_1000",
        Metric::DtlbMissesPer1000 => "dTLB-load-misses_per_1000",
        Metric::L1iMissesPer1000 => "L1-icache-load-misses_per_1000",
        Metric::BranchMissesPer1000 => "branch-misses_per_1000",
    }
}

/// What a run was made of, as axes.
pub fn axes(manifest: &Manifest, spec: &Spec) -> Vec<(String, String)> {
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let machine = match &manifest.host.hypervisor {
        _ if manifest.machine == crate::runfile::manifest::MachineKind::Sim => "SIMULATED".to_owned(),
        Some(hypervisor) => format!("{} ({hypervisor} guest)", known(&manifest.host.cpu_model)),
        None => known(&manifest.host.cpu_model),
    };
    [
        ("cpufreq_governor", known(&manifest.host.governor)),
        ("tbox_group", machine),
        ("trigger", spec.trigger.to_string()),
        ("body", spec.body.to_string()),
        ("stride", spec.stride.to_string()),
        ("offset", spec.offset.to_string()),
        ("testcase", format!("itlbench-{}", spec.name)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// The grids of a run, pack on as the base: one for each workload.
pub fn lkp(summary: &Summary<'_>) -> String {
    let manifest = &summary.run.manifest;
    let kernel = manifest.host.kernel_release.as_deref().unwrap_or("unknown kernel");
    let sides = [("pack on", "the kernel's packing"), ("pack off", "every program on a page of its own")]
        .map(|(name, what)| Side { name: name.to_owned(), subject: format!("{kernel}, {what}") });
    let grids = manifest.workloads.iter().map(|spec| {
        let mut axes = axes(manifest, spec);
        axes.insert(0, ("kernel".to_owned(), kernel.to_owned()));
        grid(&axes, &sides, "trials", &rows(summary, &spec.name))
    });
    grids.collect::<Vec<_>>().join("\n")
}

/// The leading metric first, as the robot puts what it was sent to look at.
fn rows(summary: &Summary<'_>, workload: &str) -> Vec<Row> {
    let of = |metric: Metric| {
        summary.effects.iter().filter(move |effect| effect.metric == metric && effect.case.workload == workload)
    };
    let row = |effect: &Effect| Row {
        key: format!("{}.{}.{}", effect.case.workload, effect.case.programs, key(effect.metric)),
        baseline: effect.baseline.units.clone(),
        candidates: vec![Some(candidate(effect))],
    };
    summary.shown().into_iter().flat_map(of).map(row).collect()
}

/// The candidate's place in a row.
pub(super) fn candidate(effect: &Effect) -> (Vec<f64>, Shown) {
    let shown = if effect.verdict.is_different() { Shown::Yes } else { Shown::No };
    (effect.candidate.units.clone(), shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn grid_of_a_host_without_a_pmu() {
        insta::assert_snapshot!(lkp(&Summary::of(&fixture::timed_run())));
    }

    #[test]
    fn grid_with_a_pmu() {
        insta::assert_snapshot!(lkp(&Summary::of(&fixture::pmu_run())));
    }

    /// Rows from the robot's mail on ad3836e30e (2019), with `+-` for its sign.
    #[test]
    fn rows_stand_where_the_robots_rows_stand() {
        let base = [6672.0 * 0.96, 6672.0, 6672.0 * 1.04];
        let new = [11574.0 * 0.98, 11574.0, 11574.0 * 1.02];
        let found = row(&Row {
            key: "will-it-scale.per_thread_ops".to_owned(),
            baseline: base.to_vec(),
            candidates: vec![Some((new.to_vec(), Shown::Yes))],
        });
        assert_eq!(found, "      6672 +- 4%     +73.5%      11574        will-it-scale.per_thread_ops");
    }

    #[test]
    fn figures_without_a_base_or_a_spread_leave_their_places_blank() {
        assert_eq!(stat(&[3.0]), format!("{:>10}{:6}", "3.00", ""));
        assert_eq!(stat(&[]), " ".repeat(16));
        assert_eq!(change(&[0.0], &[3.0]), "");
        assert_eq!(number(123_456_789.0), "1.235e8");
    }
}
