//! Which windows something else disturbed: the rule of METHODOLOGY.md, applied when the windows of a trial are complete.

use crate::counters::{Group, Meter, Role, Unusable};

use super::record::Sample;

/// Meters whose excess over the trial's median window tells of an interruption. Timer interrupts are not among them: at any HZ
/// most windows hold one.
const INTERRUPTIONS: [Meter; 4] =
    [Meter::CpuInterrupts, Meter::DeviceInterrupts, Meter::OtherInterrupts, Meter::OtherSoftirqs];

/// An effective frequency farther off the trial's median than this share is another frequency.
const MOST_OFF: f64 = 0.05;

/// Marks the disturbed among `windows`, all of one trial and one target. A window that is unusable already stays so.
pub fn mark(meters: &[Meter], groups: &[Group], windows: &mut [Sample]) {
    let trial = Trial::of(meters, groups, windows);
    for window in windows.iter_mut().filter(|window| window.discarded.is_none()) {
        window.discarded = trial.disturbance(window);
    }
}

/// What a window is compared with.
struct Trial<'a> {
    meters: &'a [Meter],
    groups: &'a [Group],
    /// Medians of the interruptions, by the place of their meter.
    typical: Vec<(usize, u64)>,
    /// Median of the effective frequencies.
    frequency: Option<f64>,
}

impl<'a> Trial<'a> {
    fn of(meters: &'a [Meter], groups: &'a [Group], windows: &[Sample]) -> Self {
        let typical = INTERRUPTIONS
            .iter()
            .filter_map(|meter| meters.iter().position(|known| known == meter))
            .map(|at| (at, median(windows.iter().filter_map(|window| window.meters.get(at).copied()))))
            .collect();
        let mut frequencies: Vec<f64> = windows.iter().filter_map(|window| frequency(meters, window)).collect();
        frequencies.sort_by(f64::total_cmp);
        let frequency = frequencies.get(frequencies.len().saturating_sub(1) / 2).copied();
        Self { meters, groups, typical, frequency }
    }

    fn disturbance(&self, window: &Sample) -> Option<Unusable> {
        let moved = |meter| metered(self.meters, window, meter).is_some_and(|share| share > 0);
        let happened = |role| counted(self.groups, window, role).is_some_and(|count| count > 0);
        if moved(Meter::Smis) || happened(Role::Smis) {
            Some(Unusable::ManagementInterrupt)
        } else if moved(Meter::Switches) || happened(Role::ContextSwitches) || happened(Role::Migrations) {
            Some(Unusable::Preempted)
        } else if moved(Meter::StealTicks) {
            Some(Unusable::Stolen)
        } else if happened(Role::PageFaults) {
            Some(Unusable::Faulted)
        } else if self.is_interrupted(window) {
            Some(Unusable::Interrupted)
        } else {
            self.is_off_frequency(window).then_some(Unusable::OffFrequency)
        }
    }

    /// One an undisturbed millisecond more than the median window.
    fn is_interrupted(&self, window: &Sample) -> bool {
        let spare = (window.wall_ns / 1_000_000).max(1);
        self.typical.iter().any(|&(at, median)| window.meters.get(at).is_some_and(|share| *share > median + spare))
    }

    fn is_off_frequency(&self, window: &Sample) -> bool {
        let own = frequency(self.meters, window);
        own.zip(self.frequency).is_some_and(|(own, median)| (own - median).abs() > MOST_OFF * median)
    }
}

/// The effective frequency over the nominal one (aperf over mperf); `None` where the host tells neither.
fn frequency(meters: &[Meter], window: &Sample) -> Option<f64> {
    let (actual, nominal) = (metered(meters, window, Meter::Aperf)?, metered(meters, window, Meter::Mperf)?);
    (nominal > 0).then(|| actual as f64 / nominal as f64)
}

fn metered(meters: &[Meter], window: &Sample, meter: Meter) -> Option<u64> {
    window.meters.get(meters.iter().position(|known| *known == meter)?).copied()
}

fn counted(groups: &[Group], window: &Sample, role: Role) -> Option<u64> {
    groups.iter().zip(&window.readings).find_map(|(group, reading)| {
        let at = group.events.iter().position(|event| event.role == role)?;
        reading.counts.get(at).copied()
    })
}

/// The lower of two middle values; 0 of nothing.
fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Event, EventCode, Reading};

    const METERS: [Meter; 6] = [
        Meter::Switches,
        Meter::TimerInterrupts,
        Meter::DeviceInterrupts,
        Meter::StealTicks,
        Meter::Smis,
        Meter::OtherSoftirqs,
    ];

    /// Windows of 3.1 ms with these meters and this many page faults.
    fn marked(rows: &[([u64; 6], u64)]) -> Vec<Option<Unusable>> {
        let event = Event { role: Role::PageFaults, name: "page-faults".to_owned(), code: EventCode::new(1, 2) };
        let groups = [Group { name: "software".to_owned(), events: vec![event], pinned: false, ..Group::default() }];
        let window = |&(meters, faults): &([u64; 6], u64)| Sample {
            runs: 1,
            executions: 33,
            wall_ns: 3_100_000,
            readings: vec![Reading { counts: vec![faults], enabled_ns: 1, running_ns: 1 }],
            meters: meters.to_vec(),
            discarded: None,
        };
        let mut windows: Vec<Sample> = rows.iter().map(window).collect();
        mark(&METERS, &groups, &mut windows);
        windows.into_iter().map(|window| window.discarded).collect()
    }

    #[test]
    fn each_disturbance_has_its_name() {
        let rows = [
            ([0, 1, 0, 0, 0, 0], 0),
            ([0, 9, 0, 0, 0, 0], 0),
            ([1, 1, 0, 0, 0, 0], 0),
            ([0, 1, 4, 0, 0, 0], 0),
            ([0, 1, 3, 0, 0, 0], 0),
            ([0, 1, 0, 1, 0, 0], 0),
            ([1, 1, 0, 0, 1, 0], 0),
            ([0, 1, 0, 0, 0, 0], 1),
            ([0, 1, 0, 0, 0, 5], 0),
        ];
        let expected = [
            None,
            None, // ticks alone disturb no window
            Some(Unusable::Preempted),
            Some(Unusable::Interrupted),
            None, // 3 interrupts in 3.1 ms are one a millisecond
            Some(Unusable::Stolen),
            Some(Unusable::ManagementInterrupt),
            Some(Unusable::Faulted),
            Some(Unusable::Interrupted),
        ];
        assert_eq!(marked(&rows), expected);
    }

    #[test]
    fn interrupts_that_every_window_has_are_the_normal_state() {
        let busy = marked(&[([0, 1, 20, 0, 0, 0], 0), ([0, 1, 22, 0, 0, 0], 0), ([0, 1, 26, 0, 0, 0], 0)]);
        assert_eq!(busy, [None, None, Some(Unusable::Interrupted)]);
    }

    fn with_meters(meters: &[u64]) -> Sample {
        Sample {
            runs: 1,
            executions: 33,
            wall_ns: 3_100_000,
            readings: Vec::new(),
            meters: meters.to_vec(),
            discarded: None,
        }
    }

    /// AMD has no `msr/smi/`, but an event of the core.
    #[test]
    fn a_management_interrupt_is_known_by_meter_or_by_event() {
        let event = Event { role: Role::Smis, name: "ls_smi_rx".to_owned(), code: EventCode::new(4, 0x2b) };
        let groups = [Group { name: "hardware".to_owned(), events: vec![event], pinned: true, ..Group::default() }];
        let counting = |count| Sample {
            readings: vec![Reading { counts: vec![count], enabled_ns: 1, running_ns: 1 }],
            ..with_meters(&[])
        };
        let other_pass = Sample { readings: vec![Reading::default()], ..with_meters(&[]) };
        let mut windows = [counting(0), counting(1), other_pass];
        mark(&[], &groups, &mut windows);
        let found = windows.map(|window| window.discarded);
        assert_eq!(found, [None, Some(Unusable::ManagementInterrupt), None]);
    }

    #[test]
    fn a_window_at_another_frequency_than_the_median_of_its_trial_is_marked() {
        let off = |rows: &[[u64; 3]]| {
            let mut windows: Vec<Sample> = rows.iter().map(|row| with_meters(row)).collect();
            mark(&[Meter::Switches, Meter::Aperf, Meter::Mperf], &[], &mut windows);
            windows.into_iter().map(|window| window.discarded).collect::<Vec<_>>()
        };
        let rows =
            [[0, 1300, 1000], [0, 1360, 1000], [0, 1366, 1000], [0, 1240, 1000], [0, 1230, 1000], [0, 2600, 2000]];
        let other = Some(Unusable::OffFrequency);
        assert_eq!(off(&rows), [None, None, other, None, other, None], "5 % of 1.3 are 0.065");
        assert_eq!(off(&[[1, 900, 1000], [0, 1300, 1000], [0, 1300, 1000]])[0], Some(Unusable::Preempted), "the cause");
        assert_eq!(off(&[[0, 1300, 1000], [0, 0, 0], [0, 1300, 1000]]), [None; 3], "a halted core has none");
        let mut windows = [with_meters(&[0]), with_meters(&[0])];
        mark(&[Meter::Switches], &[], &mut windows);
        assert!(windows.iter().all(|window| window.discarded.is_none()), "no aperf, no rule");
    }

    #[test]
    fn a_window_that_is_unusable_already_keeps_its_reason() {
        let mut windows = [Sample {
            runs: 1,
            executions: 1,
            wall_ns: 1,
            readings: Vec::new(),
            meters: vec![1],
            discarded: Some(Unusable::Multiplexed),
        }];
        mark(&[Meter::Switches], &[], &mut windows);
        assert_eq!(windows[0].discarded, Some(Unusable::Multiplexed));
        windows[0] = Sample { meters: Vec::new(), discarded: None, ..windows[0].clone() };
        mark(&[Meter::Switches], &[], &mut windows);
        assert_eq!(windows[0].discarded, None, "without meters nothing is known");
    }
}
