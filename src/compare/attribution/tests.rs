use super::*;
use crate::counters::{Event, EventCode, Group, Reading};
use crate::report::fixture;
use crate::workload::PackMode;

const ROLES: [Role; 5] = [Role::Cycles, Role::WalkCycles, Role::StlbHits, Role::BranchMisses, Role::FetchStallsData];

/// Eight trials an arm; per execution pack off costs 20 walk cycles, half a second-level hit, 0.01 branch misses and 3 stalled
/// cycles more, and `other` cycles that nothing tells of.
fn run(roles: &[Role], other: f64) -> Run {
    let mut run = fixture::sim_run();
    let event = |&role: &Role| Event { role, name: role.to_string(), code: EventCode::new(4, 1) };
    run.manifest.groups = vec![Group {
        name: "core".to_owned(),
        events: roles.iter().map(event).collect(),
        pinned: true,
        ..Group::default()
    }];
    for trial in &mut run.trials {
        let off = if trial.case.pack == PackMode::Off { 1.0 } else { 0.0 };
        let scatter = f64::from(trial.trial) * 0.1;
        let figure = |role: &Role| match role {
            Role::Cycles => 50.0 + scatter + off * (20.0 + 3.5 + 3.0 + other),
            Role::WalkCycles => 2.0 + off * 20.0,
            Role::StlbHits => 0.1 + off * 0.5,
            Role::BranchMisses => 0.02 + off * 0.01,
            _ => 1.0 + off * 3.0,
        };
        for sample in &mut trial.samples {
            let count = |role| (figure(role) * sample.executions as f64).round() as u64;
            let counts = roles.iter().map(count).collect();
            sample.readings = vec![Reading { counts, enabled_ns: 1, running_ns: 1 }];
        }
        for sample in &mut trial.baseline {
            sample.readings = vec![Reading { counts: vec![0; roles.len()], enabled_ns: 1, running_ns: 1 }];
        }
    }
    run
}

fn cycles(term: &Term) -> f64 {
    let Amount::Cycles(delta) = &term.amount else { panic!("{term:?}") };
    let (low, high) = delta.interval.expect("eight trials an arm");
    assert!(low <= delta.value && delta.value <= high);
    (delta.value * 100.0).round() / 100.0
}

#[test]
fn cycles_are_split_into_what_was_counted_and_the_rest() {
    let found = attributions(&run(&ROLES, 4.0), None).expect("cycles are counted");
    assert_eq!(found.len(), 3, "one for each number of programs");
    let first = &found[0];
    assert!((first.cycles.value - 30.5).abs() < 0.01, "{first:?}");
    assert_eq!(cycles(&first.terms[0]), 20.0);
    assert_eq!(
        (cycles(&first.terms[1]), first.terms[1].name.as_str()),
        (3.5, "second-level hits x 7 cycles (as the simulation is made)")
    );
    assert_eq!(cycles(&first.terms[2]), 3.0);
    let rest = first.unexplained.expect("walks were counted");
    assert!((rest.value - 4.0).abs() < 0.01 && rest.interval.is_some(), "{rest:?}");
    assert_eq!(first.trials, (8, 8));
}

#[test]
fn events_without_a_cost_are_shown_and_not_subtracted() {
    let found = attributions(&run(&ROLES, 0.0), None).expect("cycles are counted");
    let misses = found[0].terms.iter().find(|term| term.name == "branch misses").expect("a rival");
    let Amount::Events(delta) = &misses.amount else { panic!("{misses:?}") };
    assert!((delta.value - 10.0).abs() < 0.1, "per 1000 executions: {delta:?}");
    assert!(found[0].unexplained.expect("walks").value.abs() < 0.01);
}

#[test]
fn what_was_not_counted_says_so_and_nothing_is_explained_without_the_itlb() {
    let found = attributions(&run(&[Role::Cycles], 0.0), None).expect("cycles are counted");
    assert!(found[0].terms.iter().all(|term| matches!(&term.amount, Amount::Absent(why) if why == "not counted")));
    assert_eq!(found[0].unexplained, None);
    let none = attributions(&fixture::timed_run(), None);
    assert_eq!(none, Err("no attribution to iTLB or rivals: cycles were not counted".to_owned()));
}

#[test]
fn a_calibrated_cost_goes_before_a_published_one_and_serves_where_walks_have_no_cycles() {
    let cost = |cycles| Some(Cost { cycles, source: "calibrated".to_owned() });
    let costs = MissCosts { second_level_hit: cost(9.0), walk: cost(30.0), ..MissCosts::default() };
    let found = attributions(&run(&ROLES, 0.0), Some(&costs)).expect("cycles are counted");
    assert_eq!(cycles(&found[0].terms[1]), 4.5);
    let mut amd = run(&[Role::Cycles, Role::StlbHits, Role::WalksCompleted], 0.0);
    amd.manifest.machine = MachineKind::Kernel;
    let found = attributions(&amd, Some(&costs)).expect("cycles are counted");
    assert_eq!((cycles(&found[0].terms[0]), found[0].terms[0].name.as_str()), (90.0, "walks x 30 cycles (calibrated)"));
    let found = attributions(&amd, None).expect("cycles are counted");
    assert!(matches!(found[0].terms[0].amount, Amount::Events(_)), "nobody vouches for a cost: {found:?}");
    assert_eq!(found[0].unexplained, None);
}

/// As if the run had been made on a CPU of Intel's family 6; a role that the run does not scatter grows by 3.
fn on(model: u32, roles: &[Role]) -> Attribution {
    let mut run = run(roles, 0.0);
    run.manifest.machine = MachineKind::Kernel;
    let host = &mut run.manifest.host;
    host.cpu_vendor = Some("GenuineIntel".to_owned());
    (host.cpu_family, host.cpu_model_number, host.cpu_stepping) = (Some(6), Some(model), Some(1));
    attributions(&run, None).expect("cycles are counted").remove(0)
}

fn in_cycles(found: &Attribution) -> Vec<(&str, f64)> {
    let counted = found.terms.iter().filter(|term| matches!(term.amount, Amount::Cycles(_)));
    counted.map(|term| (term.name.as_str(), cycles(term))).collect()
}

#[test]
fn broadwell_has_seven_cycles_a_walk_beside_the_walk_cycles() {
    let roles = [Role::Cycles, Role::WalkCycles, Role::StlbHits, Role::WalksCompleted, Role::BranchMisses];
    let found = on(0x4f, &roles);
    let expected = [
        ("walk cycles", 20.0),
        ("walks x 7 cycles beside (Intel's ITLB_Misses metric)", 21.0),
        ("second-level hits x 14 cycles (Intel's ITLB_Misses metric)", 7.0),
        ("branch misses x 12 cycles (Intel's Branch_Resteers metric)", 0.12),
    ];
    assert_eq!(in_cycles(&found), expected);
    assert!((found.unexplained.expect("walks").value - (26.5 - 48.12)).abs() < 0.01, "{found:?}");
}

#[test]
fn from_skylake_on_second_level_hits_are_the_stalls_on_tags_beyond_the_walks() {
    let roles = [Role::Cycles, Role::WalksPending, Role::FetchStallsTag, Role::StlbHits, Role::Resteers];
    let without = ("front-end resteers x 9 cycles (Intel's Branch_Resteers metric)", 27.0);
    assert_eq!(in_cycles(&on(0x55, &roles)), [without], "without walk cycles the stalls cannot be split");
    let swapped = |sample: &mut crate::trial::Sample| sample.readings[0].counts.swap(1, 2);
    let mut run = run(&[Role::Cycles, Role::FetchStallsTag, Role::WalkCycles, Role::StlbHits], 0.0);
    run.trials.iter_mut().flat_map(|trial| &mut trial.samples).for_each(swapped);
    run.manifest.machine = MachineKind::Kernel;
    let host = &mut run.manifest.host;
    host.cpu_vendor = Some("GenuineIntel".to_owned());
    (host.cpu_family, host.cpu_model_number, host.cpu_stepping) = (Some(6), Some(0x55), Some(4));
    let found = attributions(&run, None).expect("cycles are counted").remove(0);
    // 20 cycles more stalled, 3 of them walking.
    let expected = [
        ("walk cycles", 3.0),
        ("second-level hits: fetch stalled on tags beyond the walk cycles (Intel's ITLB_Misses metric)", 17.0),
    ];
    assert_eq!(in_cycles(&found), expected);
    assert!((found.unexplained.expect("walks").value - 6.5).abs() < 0.01, "{found:?}");
}

#[test]
fn e_cores_tell_slots_lost_and_their_walks_are_within_them() {
    let roles = [Role::Cycles, Role::SlotsLostItlb, Role::SlotsLostL1i, Role::WalksCompleted, Role::StlbHits];
    let found = on(0xaf, &roles);
    let expected = [
        ("issue slots lost to iTLB misses / 6 (Intel's ITLB_Misses metric)", 0.5),
        ("issue slots lost to L1I misses / 6", 0.5),
    ];
    assert_eq!(in_cycles(&found), expected);
    assert!(found.terms[1..3].iter().all(|term| matches!(term.amount, Amount::Within(_))), "{found:?}");
    assert!((found.unexplained.expect("slots").value - 25.5).abs() < 0.01, "{found:?}");
}

#[test]
fn too_few_trials_leave_the_interval_open() {
    let mut few = run(&ROLES, 0.0);
    few.trials.retain(|trial| trial.trial < 2);
    let found = attributions(&few, None).expect("cycles are counted");
    assert_eq!((found[0].cycles.interval, found[0].trials), (None, (2, 2)));
}
