//! A run's difference in time, split into what its modelled iTLB misses cost by a calibration, and the rest.

use serde::Serialize;

use super::modelled::Row;
use super::summary::CaseSummary;
use super::units::{figure, percent, with_interval};
use crate::counters::cost::{Cost, MissCosts};
use crate::host::Facts;
use crate::samples::Metric;
use crate::twin::Calibration;
use crate::twin::findings::Comparison;
use crate::workload::PackMode;

/// A pair of arms, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Split {
    Pair(Pair),
    None { reason: String },
}

/// Nanoseconds an execution that pack off takes more than pack on, and whose they are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    pub workload: String,
    pub programs: u32,
    pub timed_ns: f64,
    /// Modelled misses at what they cost by the calibration on as many pages, and its interval.
    pub itlb_ns: f64,
    pub itlb_interval_ns: (f64, f64),
    pub unexplained_ns: f64,
}

/// The splits of every pair of arms, or the one reason why there is none.
pub fn splits(calibration: &Calibration, model: &str, host: &Facts, rows: &[Row], cases: &[CaseSummary]) -> Vec<Split> {
    match unusable(calibration, model, host) {
        Some(reason) => vec![Split::None { reason }],
        None => rows.iter().filter_map(|off| pair(calibration, off, rows, cases)).map(Split::Pair).collect(),
    }
}

fn unusable(calibration: &Calibration, model: &str, host: &Facts) -> Option<String> {
    let findings = &calibration.findings;
    let cpu = |facts: &Facts| facts.cpu_model.clone().unwrap_or_else(|| "an unknown CPU".to_owned());
    match &findings.comparison {
        Comparison::Void { reason } => return Some(format!("the calibration is void: {reason}")),
        Comparison::Absent { reason } => return Some(format!("the calibration compares nothing: {reason}")),
        Comparison::Holds => {}
    }
    if calibration.model.as_deref() != Some(model) {
        let other = calibration.model.as_deref().unwrap_or("no model");
        return Some(format!("the calibration is for {other}, this is {model}"));
    }
    if cpu(&calibration.host) != cpu(host) {
        return Some(format!("calibrated on {}, run on {}", cpu(&calibration.host), cpu(host)));
    }
    (findings.l1_miss.is_none() && findings.walk.is_none())
        .then(|| "the calibration found no cost of a miss".to_owned())
}

/// Costs in cycles for the split of counted cycles; `None` if the calibration is void or of another CPU.
pub fn miss_costs(calibration: &Calibration, host: &Facts) -> Option<MissCosts> {
    let model = calibration.model.as_deref()?;
    if unusable(calibration, model, host).is_some() {
        return None;
    }
    let cost = |cost: crate::twin::findings::Cost| Cost {
        cycles: cost.ns * calibration.ghz(),
        source: "itlbench calibrate".to_owned(),
    };
    let findings = &calibration.findings;
    Some(MissCosts {
        second_level_hit: findings.l1_miss.map(cost),
        walk: findings.walk.map(cost),
        ..MissCosts::default()
    })
}

/// `pack off` at `off` against `pack on` at the same point.
fn pair(calibration: &Calibration, off: &Row, rows: &[Row], cases: &[CaseSummary]) -> Option<Pair> {
    let partner = |row: &&Row| {
        let same = row.case.workload == off.case.workload && row.case.programs == off.case.programs;
        same && row.case.pack == PackMode::On
    };
    let on = rows.iter().find(partner).filter(|_| off.case.pack == PackMode::Off)?;
    let of = |row: &Row| cases.iter().find(|case| case.case == row.case);
    let wall = |row: &Row| Some(of(row)?.metrics.get(&Metric::WallNs)?.median);
    let timed_ns = wall(off)? - wall(on)?;
    let [dear, cheap] =
        [off, on].map(|row| cost_ns(calibration, row, of(row).map_or(1, |case| case.footprint.pages_4k)));
    let more = |part: fn((f64, f64, f64)) -> f64| part(dear) - part(cheap);
    let itlb_ns = more(|cost| cost.0);
    Some(Pair {
        workload: off.case.workload.clone(),
        programs: off.case.programs,
        timed_ns,
        itlb_ns,
        itlb_interval_ns: (more(|cost| cost.1), more(|cost| cost.2)),
        unexplained_ns: timed_ns - itlb_ns,
    })
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Pair { workload, programs, timed_ns, itlb_ns, itlb_interval_ns, unexplained_ns } = match self {
            Self::Pair(pair) => pair,
            Self::None { reason } => return write!(f, "time is not split: {reason}"),
        };
        let (more, rest) = (figure(timed_ns.abs()), figure(*unexplained_ns));
        let itlb = with_interval(*itlb_ns, Some(*itlb_interval_ns), figure);
        if *timed_ns <= 0.0 {
            write!(f, "{workload}, {programs} programs: pack off takes no more time ({more} ns/exec less, timed); ")?;
            return write!(f, "its modelled misses would cost {itlb} ns by the calibration");
        }
        let share = percent(100.0 * itlb_ns / timed_ns);
        write!(
            f,
            "{workload}, {programs} programs: pack off takes {more} ns/exec more (timed); {itlb} ns are the iTLB's "
        )?;
        write!(f, "(modelled misses, calibrated cost), {share} % of it; {rest} ns are not explained by it")
    }
}

/// Nanoseconds an execution that the row's misses cost on so many pages, and the interval of the walks' part.
fn cost_ns(calibration: &Calibration, row: &Row, pages: u32) -> (f64, f64, f64) {
    let findings = &calibration.findings;
    let hits = (row.l1 - row.walks) / 1000.0 * findings.l1_miss.map_or(0.0, |cost| cost.ns);
    let walk = findings.walk_at(pages).map_or((0.0, 0.0, 0.0), |cost| (cost.ns, cost.low_ns, cost.high_ns));
    let whole = |ns: f64| hits + row.walks / 1000.0 * ns;
    (whole(walk.0), whole(walk.1), whole(walk.2))
}

#[cfg(test)]
mod tests {
    use super::{Pair, Split};
    use crate::report::{Summary, fixture};
    use crate::twin::Calibration;
    use crate::twin::calibration::tests::sample;
    use crate::twin::findings::Comparison;

    fn sentences(change: impl Fn(&mut Calibration)) -> Vec<String> {
        let run = fixture::timed_run();
        let mut calibration = sample();
        calibration.host = run.manifest.host.clone();
        change(&mut calibration);
        let summary = Summary::with_models(&run, &[], Some(&calibration));
        summary.modelled[0].split.iter().map(Split::to_string).collect()
    }

    #[test]
    fn an_arm_that_takes_no_more_time_has_nothing_to_split() {
        let pair = |timed_ns: f64| {
            let workload = "chain".to_owned();
            Split::Pair(Pair {
                workload,
                programs: 64,
                timed_ns,
                itlb_ns: 0.5,
                itlb_interval_ns: (0.25, 0.75),
                unexplained_ns: timed_ns - 0.5,
            })
            .to_string()
        };
        assert!(
            pair(-2.0).ends_with(
                "no more time (2.00 ns/exec less, timed); its modelled misses would cost 0.50 [0.25, 0.75] ns by the calibration"
            ),
            "{}",
            pair(-2.0)
        );
        assert!(
            pair(2.0).contains(
                "0.50 [0.25, 0.75] ns are the iTLB's (modelled misses, calibrated cost), 25.0 % of it; 1.50 ns"
            ),
            "{}",
            pair(2.0)
        );
    }

    #[test]
    fn the_difference_is_split_for_every_pair() {
        let lines = sentences(|_| {});
        assert_eq!(lines.len(), 3, "{lines:?}");
        // 1004 walks at 10 ns and 6 hits of the second level at 2 ns an execution.
        assert!(
            lines[1].starts_with("chain, 512 programs:") && lines[1].contains("10.05 [9.05, 11.05] ns are the iTLB's"),
            "{lines:?}"
        );
    }

    #[test]
    fn its_costs_in_cycles_serve_the_split_of_counted_cycles() {
        let run = fixture::pmu_run();
        let mut calibration = sample();
        calibration.host = run.manifest.host.clone();
        let costs = Summary::with_models(&run, &[], Some(&calibration)).calibrated.unwrap();
        let cycles = |cost: Option<crate::counters::cost::Cost>| cost.unwrap().cycles;
        assert_eq!((cycles(costs.second_level_hit), cycles(costs.walk)), (5.0, 25.0));
        calibration.host.cpu_model = None;
        assert_eq!(Summary::with_models(&run, &[], Some(&calibration)).calibrated, None);
    }

    #[test]
    fn a_calibration_that_does_not_fit_is_refused_with_its_reason() {
        let only = |change: fn(&mut Calibration)| {
            let lines = sentences(change);
            assert_eq!(lines.len(), 1, "{lines:?}");
            lines[0].clone()
        };
        assert!(
            only(|c| c.findings.comparison = Comparison::Void { reason: "why".to_owned() }).contains("is void: why")
        );
        assert!(only(|c| c.model = Some("zen5".to_owned())).contains("is for zen5, this is zen3"));
        assert!(only(|c| c.host.cpu_model = Some("Other".to_owned())).contains("calibrated on Other, run on"));
        assert!(only(|c| (c.findings.l1_miss, c.findings.walk) = (None, None)).contains("no cost of a miss"));
    }
}
