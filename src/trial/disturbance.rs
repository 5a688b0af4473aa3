//! Which windows something else disturbed: the rule of METHODOLOGY.md, applied when the windows of a trial are complete.

use crate::counters::{Group, Meter, Role, Unusable};

use super::record::Sample;

/// Meters whose excess over the trial's median window tells of an interruption. Timer interrupts are not among them: at any HZ
/// most windows hold one.
const INTERRUPTIONS: [Meter; 4] =
    [Meter::CpuInterrupts, Meter::DeviceInterrupts, Meter::OtherInterrupts, Meter::OtherSoftirqs];

/// Marks the disturbed among `windows`, all of one trial and one target. A window that is unusable already stays so.
pub fn mark(meters: &[Meter], groups: &[Group], windows: &mut [Sample]) {
    let typical: Vec<(usize, u64)> = INTERRUPTIONS
        .iter()
        .filter_map(|meter| meters.iter().position(|known| known == meter))
        .map(|at| (at, median(windows.iter().filter_map(|window| window.meters.get(at).copied()))))
        .collect();
    for window in windows.iter_mut().filter(|window| window.discarded.is_none()) {
        window.discarded = disturbance(meters, groups, window, &typical);
    }
}

fn disturbance(meters: &[Meter], groups: &[Group], window: &Sample, typical: &[(usize, u64)]) -> Option<Unusable> {
    let metered = |meter| meters.iter().position(|known| *known == meter).and_then(|at| window.meters.get(at));
    let moved = |meter| metered(meter).is_some_and(|share| *share > 0);
    let happened = |role| counted(groups, window, role).is_some_and(|count| count > 0);
    // One an undisturbed millisecond more than the median window.
    let spare = (window.wall_ns / 1_000_000).max(1);
    let excess = |&(at, median): &(usize, u64)| window.meters.get(at).is_some_and(|share| *share > median + spare);
    if moved(Meter::Smis) {
        Some(Unusable::ManagementInterrupt)
    } else if moved(Meter::Switches) || happened(Role::ContextSwitches) || happened(Role::Migrations) {
        Some(Unusable::Preempted)
    } else if moved(Meter::StealTicks) {
        Some(Unusable::Stolen)
    } else if happened(Role::PageFaults) {
        Some(Unusable::Faulted)
    } else {
        typical.iter().any(excess).then_some(Unusable::Interrupted)
    }
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
