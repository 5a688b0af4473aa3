//! What else ran on the CPU of the windows: how many windows were left out and why, and what the meters showed.

use std::collections::BTreeMap;

use crate::caveat::Caveat;
use crate::counters::{Meter, Unusable};
use crate::runfile::Run;
use crate::trial::Sample;
use crate::workload::PackMode;

/// From this share of windows left out on, the caveat says what to do about it.
const MANY_PERCENT: usize = 10;

/// One meter over all windows of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metered {
    pub meter: Meter,
    /// Windows in which it moved, in percent.
    pub moved_percent: u64,
    pub median: u64,
    pub p99: u64,
    pub most: u64,
}

/// Windows left out, one caveat for each reason, with the arms apart: a reason that hits one arm alone biases the effect.
pub fn left_out(run: &Run) -> Vec<Caveat> {
    let of: usize = run.trials.iter().map(|trial| trial.samples.len()).sum();
    let mut by_reason: BTreeMap<Unusable, BTreeMap<PackMode, usize>> = BTreeMap::new();
    for trial in &run.trials {
        for reason in trial.samples.iter().filter_map(|sample| sample.discarded) {
            *by_reason.entry(reason).or_default().entry(trial.case.pack).or_default() += 1;
        }
    }
    let all: usize = by_reason.values().flat_map(BTreeMap::values).sum();
    let advice =
        if all * 100 >= of * MANY_PERCENT { "; a quieter CPU helps: --cpu, isolcpus=, irqaffinity=" } else { "" };
    let caveat = |(reason, arms): (Unusable, BTreeMap<PackMode, usize>)| {
        let each: Vec<String> = arms.iter().map(|(pack, windows)| format!("pack {pack} {windows}")).collect();
        Caveat::WindowsDiscarded {
            discarded: arms.values().sum::<usize>() as u32,
            of: of as u32,
            reason: format!("{reason} ({}){advice}", each.join(", ")),
        }
    };
    by_reason.into_iter().map(caveat).collect()
}

/// Every meter of the run over the windows of the measured programs, the left-out ones included. Registers that run all the
/// time are not shown here; see [`effective_frequency_percent`].
pub fn metered(run: &Run) -> Vec<Metered> {
    let shown = |meter: &Meter| !matches!(meter, Meter::Aperf | Meter::Mperf);
    let meters = run.manifest.meters.iter().enumerate().filter(|(_, meter)| shown(meter));
    meters
        .filter_map(|(at, &meter)| {
            let mut shares: Vec<u64> = windows(run).filter_map(|window| window.meters.get(at).copied()).collect();
            shares.sort_unstable();
            let moved = shares.iter().filter(|share| **share > 0).count();
            let rank = |percent: usize| shares.get((shares.len().max(1) - 1) * percent / 100).copied();
            Some(Metered {
                meter,
                moved_percent: (moved * 100 / shares.len().max(1)) as u64,
                median: rank(50)?,
                p99: rank(99)?,
                most: rank(100)?,
            })
        })
        .collect()
}

/// Lowest, median and highest effective frequency of a window, in percent of the nominal one; `None` without aperf and mperf.
pub fn effective_frequency_percent(run: &Run) -> Option<(f64, f64, f64)> {
    let at = |meter| run.manifest.meters.iter().position(|known| *known == meter);
    let (aperf, mperf) = (at(Meter::Aperf)?, at(Meter::Mperf)?);
    let share = |window: &Sample| {
        let (actual, nominal) = (*window.meters.get(aperf)?, *window.meters.get(mperf)?);
        (nominal > 0).then(|| 100.0 * actual as f64 / nominal as f64)
    };
    let mut shares: Vec<f64> = windows(run).filter_map(share).collect();
    shares.sort_by(f64::total_cmp);
    Some((*shares.first()?, shares[(shares.len() - 1) / 2], *shares.last()?))
}

/// Lines for a text: what moved, what never did, and the frequency.
pub fn lines(run: &Run) -> Vec<String> {
    let (moved, still): (Vec<Metered>, Vec<Metered>) = metered(run).into_iter().partition(|meter| meter.most > 0);
    let words = |found: &Metered| {
        let Metered { meter, moved_percent, median, p99, most } = found;
        format!("{}: in {moved_percent} % of windows; median {median}, p99 {p99}, most {most}", meter.words())
    };
    let mut lines: Vec<String> = moved.iter().map(words).collect();
    if !still.is_empty() {
        let names: Vec<&str> = still.iter().map(|found| found.meter.words()).collect();
        lines.push(format!("none in any window: {}", names.join(", ")));
    }
    if let Some((low, median, high)) = effective_frequency_percent(run) {
        lines.push(format!("effective frequency: {median:.1} % of the nominal, {low:.1} to {high:.1} %"));
    }
    lines
}

fn windows(run: &Run) -> impl Iterator<Item = &Sample> {
    run.trials.iter().flat_map(|trial| &trial.samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn noisy() -> Run {
        let mut run = fixture::timed_run();
        run.manifest.meters = vec![Meter::Switches, Meter::DeviceInterrupts, Meter::Aperf, Meter::Mperf];
        for (number, trial) in run.trials.iter_mut().enumerate() {
            for (at, sample) in trial.samples.iter_mut().enumerate() {
                let switched = number < 3 && at == 0;
                sample.meters = vec![u64::from(switched), 0, 90 + number as u64, 100];
                sample.discarded = switched.then_some(Unusable::Preempted);
            }
        }
        run
    }

    #[test]
    fn windows_left_out_are_counted_by_reason_and_arm() {
        let mut run = noisy();
        let arms = |pack| run.trials[..3].iter().filter(|trial| trial.case.pack == pack).count();
        let (on, off) = (arms(PackMode::On), arms(PackMode::Off));
        assert!(on + off == 3 && on > 0 && off > 0);
        let text: Vec<String> = left_out(&run).iter().map(ToString::to_string).collect();
        let expected = format!("3 of 480 windows discarded: preempted by another task (pack on {on}, pack off {off})");
        assert_eq!(text, [expected]);
        run.trials
            .iter_mut()
            .flat_map(|trial| &mut trial.samples)
            .for_each(|s| s.discarded = Some(Unusable::Preempted));
        assert!(left_out(&run)[0].to_string().contains("a quieter CPU helps"));
    }

    #[test]
    fn meters_are_boiled_down_over_all_windows() {
        let run = noisy();
        assert_eq!(
            lines(&run),
            [
                "context switches: in 0 % of windows; median 0, p99 0, most 1",
                "none in any window: device interrupts",
                "effective frequency: 113.0 % of the nominal, 90.0 to 137.0 %",
            ]
        );
        assert_eq!(lines(&fixture::timed_run()), Vec::<String>::new(), "an older run has no meters");
    }
}
