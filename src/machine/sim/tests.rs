use super::*;
use crate::counters::{CountSide, Events, Reading};
use crate::machine::{ErrorKind, Target};
use crate::placement::Footprint;
use crate::workload::{Body, FillerRule, OffsetRule, Order, PackMode, Stride, TriggerKind};

fn case(programs: u32, pack: PackMode) -> Case {
    Case {
        workload: "chain".to_owned(),
        trigger: TriggerKind::Chain,
        body: Body::B128,
        programs,
        pack,
        stride: Stride::PageAndGuard,
        offset: OffsetRule::Walk,
        fillers: FillerRule::Keep,
        fillers_of: PackMode::Off,
        order: None,
        loaded: None,
    }
}

/// Counts of one window of `runs` runs, after as many to warm up.
fn window(machine: &mut SimMachine, case: &Case, target: Target, runs: u32) -> (Reading, u64) {
    let mut counters = machine.counters(&Choice::default()).expect("counters");
    let mut loaded = machine.load(case, 9).expect("loads");
    loaded.fire(target, runs).expect("fires");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    loop {
        counters.read(&mut before).expect("reads");
        counters.enable().expect("enables");
        let fired = loaded.fire(target, runs).expect("fires");
        counters.disable().expect("disables");
        counters.read(&mut after).expect("reads");
        let reading = after[0].since(&before[0]);
        if reading.unusable().is_none() {
            loaded.unload().expect("unloads");
            return (reading, fired.wall_ns);
        }
    }
}

#[test]
fn spread_programs_miss_more_at_2048_and_not_at_8() {
    let mut machine = SimMachine::new(1);
    let mut misses = |programs, pack| window(&mut machine, &case(programs, pack), Target::Programs, 620).0.counts[2];
    let (on, off) = (misses(2048, PackMode::On), misses(2048, PackMode::Off));
    assert!(off > 20_000, "every one of 20460 executions misses: {off}");
    assert!(on < 400, "96 pages fit the L2 iTLB, interrupts aside: {on}");
    let (on, off) = (misses(8, PackMode::On), misses(8, PackMode::Off));
    assert!(on < 20 && off < 20, "{on} {off}");
}

#[test]
fn the_counted_cycles_are_the_wall_time_at_2500_megahertz() {
    let mut machine = SimMachine::new(1);
    let (reading, wall_ns) = window(&mut machine, &case(64, PackMode::On), Target::Programs, 300);
    assert!((reading.counts[0] * 2).abs_diff(wall_ns * 5) <= 5);
    assert_eq!(reading.enabled_ns, wall_ns + 60);
    assert_eq!(reading.counts[1], 300 * 120 + 300 * 33 * 32);
}

#[test]
fn the_empty_program_costs_the_trigger_alone() {
    let mut machine = SimMachine::new(1);
    let (reading, _) = window(&mut machine, &case(64, PackMode::Off), Target::Empty, 1000);
    assert!(reading.counts[0].abs_diff(75_000) < 3_000, "{reading:?}");
    assert_eq!(reading.counts[1..], [120_000, 0, 0, 0, 0]);
}

#[test]
fn both_arms_load_as_many_fillers_and_get_what_they_ask_for() {
    let mut machine = SimMachine::new(3);
    for programs in [8, 64, 512, 2048] {
        let on = machine.load(&case(programs, PackMode::On), 5).expect("loads");
        let (dense, on_fillers) = (Footprint::of(on.images()), on.load_cost().fillers);
        on.unload().expect("unloads");
        let off = machine.load(&case(programs, PackMode::Off), 5).expect("loads");
        let spread = Footprint::of(off.images());
        assert_eq!(on_fillers, programs);
        let more = off.load_cost().fillers - programs;
        assert!(more <= programs / 100 + 12, "the end of the first pack takes a few: {more}");
        assert_eq!(dense.pages_4k, dense.ideal_pages_4k, "{programs}");
        assert_eq!(spread.own_page_programs, programs);
        assert!(spread.line_offsets >= programs.min(62));
    }
}

#[test]
fn every_body_stride_and_offset_gets_its_own_pages() {
    let mut machine = SimMachine::new(4);
    for body in Body::all() {
        for stride in [Stride::Page, Stride::PageAndGuard] {
            for offset in [OffsetRule::Walk, OffsetRule::Random, OffsetRule::Fixed] {
                let case = Case { body, stride, offset, ..case(600, PackMode::Off) };
                let loaded = machine.load(&case, 5).expect("loads");
                let footprint = Footprint::of(loaded.images());
                assert_eq!(footprint.own_page_programs, 600, "{case:?}");
            }
        }
    }
}

#[test]
fn the_check_pass_counts_every_program_of_every_trigger() {
    let mut machine = SimMachine::new(5);
    for trigger in TriggerKind::ALL {
        for programs in [1, 8, 100, 2048] {
            let case = Case { trigger, ..case(programs, PackMode::Off) };
            let check = machine.load(&case, 5).expect("loads").check().expect("checks");
            let per_run = if trigger.is_tail_calls() { 33 } else { programs };
            assert_eq!((check.executed, check.executions_per_run), (programs, per_run), "{case:?}");
            assert!(check.fewest >= 1 && check.most >= check.fewest);
            assert!(trigger.is_tail_calls() || check.fewest == check.most, "a hit runs all alike: {check:?}");
        }
    }
}

#[test]
fn some_windows_are_multiplexed_and_lose_counts() {
    let mut machine = SimMachine::new(6);
    let mut counters = machine.counters(&Choice::default()).expect("counters");
    let mut loaded = machine.load(&case(8, PackMode::On), 5).expect("loads");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut lost = 0;
    for _ in 0..4000 {
        counters.read(&mut before).expect("reads");
        counters.enable().expect("enables");
        loaded.fire(Target::Programs, 2).expect("fires");
        counters.disable().expect("disables");
        counters.read(&mut after).expect("reads");
        assert_eq!(after[1].since(&before[1]).unusable(), None);
        lost += u32::from(after[0].since(&before[0]).unusable().is_some());
    }
    assert!((5..60).contains(&lost), "{lost} of 4000");
}

#[test]
fn nothing_is_counted_outside_enable_and_disable() {
    let mut machine = SimMachine::new(6);
    let mut counters = machine.counters(&Choice::default()).expect("counters");
    machine.load(&case(8, PackMode::On), 5).expect("loads").fire(Target::Programs, 100).expect("fires");
    let mut readings = Vec::new();
    counters.read(&mut readings).expect("reads");
    assert!(readings.iter().all(|reading| reading.enabled_ns == 0 && reading.counts.iter().all(|&count| count == 0)));
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let trace = |seed| {
        let mut machine = SimMachine::new(seed);
        let case = case(512, PackMode::Off);
        let images = machine.load(&case, 11).expect("loads").images().to_vec();
        (images, window(&mut machine, &case, Target::Programs, 50))
    };
    assert_eq!(trace(8), trace(8));
    assert_ne!(trace(8).1, trace(9).1);
}

#[test]
fn unloading_leaves_the_packs_as_they_were() {
    let mut machine = SimMachine::new(2);
    let first = machine.load(&case(512, PackMode::Off), 3).expect("loads").images().to_vec();
    let again = machine.load(&case(512, PackMode::Off), 3).expect("loads").images().to_vec();
    assert_eq!(first, again);
}

#[test]
fn too_many_programs_are_told_as_the_kernel_tells_it() {
    let mut machine = SimMachine::new(2);
    let error = machine.load(&case(200_000, PackMode::Off), 3).expect_err("the module area is full");
    assert_eq!(error.kind, ErrorKind::HostCannot);
    assert!(error.to_string().contains("error 524 (ENOTSUPP)"), "{error}");
    let small = machine.load(&case(8, PackMode::Off), 3).expect("the failed load left nothing behind");
    assert_eq!(small.images().len(), 8);
}

#[test]
fn a_simulated_machine_says_so() {
    assert!(SimMachine::new(0).caveats().contains(&Caveat::Simulated));
}

#[test]
fn the_neighbours_cost_time_that_the_meters_see_and_no_cycles() {
    let mut machine = SimMachine::new(1);
    let mut meters = machine.meters().expect("meters");
    let mut counters = machine.counters(&Choice::default()).expect("counters");
    let mut loaded = machine.load(&case(64, PackMode::On), 9).expect("loads");
    let (mut before, mut after, mut readings) = (Vec::new(), Vec::new(), Vec::new());
    let mut preempted = 0;
    for _ in 0..300 {
        meters.read(&mut before).expect("reads");
        counters.read(&mut readings).expect("reads");
        let enabled_ns = readings[1].enabled_ns;
        counters.enable().expect("enables");
        let wall_ns = loaded.fire(Target::Programs, 300).expect("fires").wall_ns;
        counters.disable().expect("disables");
        counters.read(&mut readings).expect("reads");
        meters.read(&mut after).expect("reads");
        let [switches, waited_ns] = [after[0] - before[0], after[1] - before[1]];
        assert_eq!(wall_ns - waited_ns + 60, readings[1].enabled_ns - enabled_ns);
        assert_eq!(switches > 0, waited_ns > 0);
        preempted += switches;
    }
    assert!((1..=10).contains(&preempted), "one in 100: {preempted}");
}

#[test]
fn the_simulated_cpu_counts_what_a_list_names_and_refuses_the_rest_with_what_it_has() {
    let mut machine = SimMachine::new(1);
    let mut ask = |text: &str, side| {
        let choice = Choice { events: Events::List(text.to_owned()), side };
        machine.counters(&choice).map(|counters| counters.groups()[0].events.clone())
    };
    let names = |events: Vec<crate::counters::Event>| events.into_iter().map(|event| event.name).collect::<Vec<_>>();
    assert_eq!(names(ask("itlb-misses,cycles", CountSide::Both).expect("known")), ["iTLB-load-misses", "cycles"]);
    let error = ask("r0e85", CountSide::Kernel).expect_err("no raw codes");
    assert_eq!(error.kind, ErrorKind::BadRequest);
    assert!(error.to_string().contains("`r0e85`") && error.to_string().contains("iTLB-load-misses"), "{error}");
    assert!(ask("cycles", CountSide::User).expect_err("no user code").to_string().contains("--count user"));
}

#[test]
fn the_placebo_lies_on_the_same_pages_in_another_order() {
    let mut machine = SimMachine::new(5);
    let mut place = |pack| machine.load(&case(512, pack), 5).expect("loads").images().to_vec();
    let (mut on, mut placebo) = (place(PackMode::On), place(PackMode::Placebo));
    assert_ne!(on, placebo);
    on.sort_unstable();
    placebo.sort_unstable();
    assert_eq!(on, placebo);
}

#[test]
fn regions_of_their_own_miss_like_pages_of_their_own() {
    let mut machine = SimMachine::new(1);
    let two_meg = Case { fillers_of: PackMode::OffTwoMeg, ..case(200, PackMode::OffTwoMeg) };
    let loaded = machine.load(&two_meg, 5).expect("loads");
    assert_eq!(Footprint::of(loaded.images()).own_region_programs, 200);
    loaded.unload().expect("unloads");
    let misses = window(&mut machine, &two_meg, Target::Programs, 620).0.counts[2];
    assert!(misses > 10_000, "200 pages in an L2 iTLB of 128: {misses}");
}

#[test]
fn released_fillers_leave_the_programs_where_they_are() {
    let mut machine = SimMachine::new(1);
    let released = Case { fillers: FillerRule::Release, ..case(512, PackMode::Off) };
    let kept = machine.load(&case(512, PackMode::Off), 5).expect("loads").images().to_vec();
    let loaded = machine.load(&released, 5).expect("loads");
    assert_eq!((loaded.images(), loaded.load_cost().fillers >= 512), (&kept[..], true));
}

#[test]
fn every_order_runs_every_program_and_only_those_asked_for() {
    let mut machine = SimMachine::new(3);
    let walk = |order: &str| (TriggerKind::Walk, order.parse::<Order>().expect("an order"));
    for (trigger, order) in [
        (TriggerKind::Chain, Order::Sequential),
        (TriggerKind::Chain, Order::Permuted),
        walk("random"),
        walk("zipf(0.99)"),
        walk("zipf(3)"),
    ] {
        for pack in [PackMode::On, PackMode::Off] {
            let case = Case { trigger, order: Some(order), loaded: Some(600), ..case(100, pack) };
            let mut loaded = machine.load(&case, 5).expect("loads");
            assert_eq!((loaded.images().len(), loaded.beside().len()), (100, 500));
            assert_eq!(loaded.load_cost().programs, 600);
            let check = loaded.check().expect("checks");
            assert_eq!((check.executed, check.executions_per_run), (100, 33), "{case:?}");
            let ahead = loaded.images().windows(2).filter(|pair| pair[0].addr < pair[1].addr).count();
            assert_eq!(ahead == 99, order == Order::Sequential, "{case:?}: {ahead} of 99 lie behind the one before");
        }
    }
}

#[test]
fn hot_programs_of_a_zipf_order_stay_in_the_itlb() {
    let mut machine = SimMachine::new(2);
    let mut misses = |order: &str| {
        let order = Some(order.parse().expect("an order"));
        let case = Case { trigger: TriggerKind::Walk, order, ..case(1024, PackMode::Off) };
        window(&mut machine, &case, Target::Programs, 620).0.counts[2]
    };
    let (random, zipf) = (misses("random"), misses("zipf(1.2)"));
    assert!(zipf * 2 < random, "{zipf} {random}");
}

#[test]
fn the_pages_of_a_few_of_many_decide_and_not_the_many() {
    let mut machine = SimMachine::new(2);
    let mut misses = |programs| {
        let case = Case { loaded: Some(2048), ..case(programs, PackMode::Off) };
        window(&mut machine, &case, Target::Programs, 620).0.counts[2]
    };
    assert!(misses(16) < 100 && misses(1024) > 15_000);
}
