//! A run's difference in time, split into what its modelled iTLB misses cost by a calibration, and the rest.

use super::modelled::Row;
use super::summary::CaseSummary;
use super::units::{figure, percent};
use crate::counters::cost::{Cost, MissCosts};
use crate::host::Facts;
use crate::samples::Metric;
use crate::twin::Calibration;
use crate::twin::findings::Comparison;
use crate::workload::PackMode;

/// One sentence for each pair of arms, or one on why there is none.
pub fn sentences(
    calibration: &Calibration,
    model: &str,
    host: &Facts,
    rows: &[Row],
    cases: &[CaseSummary],
) -> Vec<String> {
    match unusable(calibration, model, host) {
        Some(reason) => vec![format!("time is not split: {reason}")],
        None => rows.iter().filter_map(|off| pair(calibration, off, rows, cases)).collect(),
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
fn pair(calibration: &Calibration, off: &Row, rows: &[Row], cases: &[CaseSummary]) -> Option<String> {
    let partner = |row: &&Row| {
        let same = row.case.workload == off.case.workload && row.case.programs == off.case.programs;
        same && row.case.pack == PackMode::On
    };
    let on = rows.iter().find(partner).filter(|_| off.case.pack == PackMode::Off)?;
    let wall = |row: &Row| {
        let case = cases.iter().find(|case| case.case == row.case)?;
        Some(case.metrics.get(&Metric::WallNs)?.median)
    };
    let timed = wall(off)? - wall(on)?;
    let itlb = cost_ns(calibration, off) - cost_ns(calibration, on);
    let share = if timed > 0.0 { format!(", {} % of it", percent(100.0 * itlb / timed)) } else { String::new() };
    Some(format!(
        "{}, {} programs: pack off takes {} ns/exec more (timed); {} ns are the iTLB's (modelled misses, calibrated cost){share}; \
         {} ns are not explained by it",
        off.case.workload,
        off.case.programs,
        figure(timed),
        figure(itlb),
        figure(timed - itlb)
    ))
}

/// Nanoseconds an execution that the row's misses cost.
fn cost_ns(calibration: &Calibration, row: &Row) -> f64 {
    let ns = |cost: Option<crate::twin::findings::Cost>| cost.map_or(0.0, |cost| cost.ns);
    let findings = &calibration.findings;
    ((row.l1 - row.walks) * ns(findings.l1_miss) + row.walks * ns(findings.walk)) / 1000.0
}

#[cfg(test)]
mod tests {
    use crate::report::{Summary, fixture};
    use crate::twin::Calibration;
    use crate::twin::calibration::tests::sample;
    use crate::twin::findings::Comparison;

    fn sentences(change: impl Fn(&mut Calibration)) -> Vec<String> {
        let run = fixture::timed_run();
        let mut calibration = sample();
        calibration.host = run.manifest.host.clone();
        change(&mut calibration);
        Summary::with_models(&run, &[], Some(&calibration)).modelled[0].split.clone()
    }

    #[test]
    fn the_difference_is_split_for_every_pair() {
        let lines = sentences(|_| {});
        assert_eq!(lines.len(), 3, "{lines:?}");
        // 1004 walks at 10 ns and 6 hits of the second level at 2 ns an execution.
        assert!(
            lines[1].starts_with("chain, 512 programs:") && lines[1].contains("10.05 ns are the iTLB's"),
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
