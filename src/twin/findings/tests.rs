use super::*;
use crate::counters::{CountSide, Event, EventCode, Reading};
use crate::model::geometry::Named;

/// A CPU with the geometry of zen4 whose L1 misses cost 2 ns and whose walks 9, and where spread code costs 5 more.
fn points(miss_ns: f64, walk_ns: f64) -> Vec<Point> {
    let geometry = Named::find("zen4").unwrap().geometry;
    let mut points = Vec::new();
    for layout in [Layout::Packed, Layout::Spread] {
        for pages in [Pages::Small, Pages::Huge] {
            for stubs in crate::twin::sweep::Plan::numbers(8192) {
                let mut point = Point::new(layout, pages, stubs);
                let size = if pages == Pages::Small { PageSize::Small } else { PageSize::Huge };
                let (hits, walks) = misses(&point, &geometry, size);
                let ns = 1.0 + hits * miss_ns + walks * walk_ns + if layout == Layout::Spread { 5.0 } else { 0.0 };
                point.ns = (0..8).map(|i| ns * (1.0 + 0.002 * f64::from(i * 7 % 8))).collect();
                points.push(point);
            }
        }
    }
    points
}

#[test]
fn costs_and_knees_of_an_invented_cpu_are_found_again() {
    let geometry = Named::find("zen4").unwrap().geometry;
    let findings = Findings::of(&points(2.0, 9.0), &[], Some(&geometry), None);
    assert_eq!(findings.comparison, Comparison::Holds);
    assert_eq!((findings.knee, findings.model_l1_knee), (Some(96), Some(96)));
    // The cache line by which spread stubs move on makes even and odd pages take turns: every set of L2 is used.
    assert_eq!(findings.model_l2_knee, Some(768));
    let l1 = findings.l1_miss.unwrap();
    assert!((l1.ns - 2.0).abs() < 0.1, "{l1:?}");
    let walk = findings.walk.unwrap();
    assert!((walk.ns - 9.0).abs() < 0.3 && walk.steps >= 5, "{walk:?}");
}

#[test]
fn a_walk_costs_what_it_cost_on_as_many_pages() {
    let geometry = Named::find("zen4").unwrap().geometry;
    let mut findings = Findings::of(&points(2.0, 9.0), &[], Some(&geometry), None);
    let steps = findings.steps.iter_mut().filter(|step| step.layout == Layout::Spread && step.stubs >= 4096);
    for (step, ns) in steps.zip([18.0, 25.0, 36.0]) {
        (step.more_ns, step.low_ns, step.high_ns, step.walks) = (ns, ns - 1.0, ns + 2.0, Some(1.0));
    }
    let at = |pages: u32| findings.walk_at(pages).unwrap();
    assert_eq!((at(4096).ns, at(6144).ns, at(8192).ns), (18.0, 25.0, 36.0));
    assert_eq!((at(8192).low_ns, at(8192).high_ns), (35.0, 38.0));
    // Half way between 6144 and 8192 by their logarithms.
    assert!((at(7094).ns - 30.5).abs() < 0.01, "{:?}", at(7094));
    assert_eq!((at(1 << 20).ns, at(0)), (36.0, at(768)));
    findings.steps.clear();
    assert_eq!(findings.walk_at(4096), findings.walk);
    assert_eq!(Findings { walk: None, ..findings }.walk_at(4096), None);
}

#[test]
fn a_guest_whose_host_maps_by_4_kib_is_found_out() {
    let geometry = Named::find("zen4").unwrap().geometry;
    let mut points = points(2.0, 9.0);
    let small: Vec<Point> = points.iter().filter(|point| point.pages == Pages::Small).cloned().collect();
    for point in points.iter_mut().filter(|point| point.pages == Pages::Huge) {
        let twin = small.iter().find(|small| small.layout == point.layout && small.stubs == point.stubs).unwrap();
        point.ns = twin.ns.iter().rev().copied().collect();
    }
    let findings = Findings::of(&points, &[], Some(&geometry), None);
    assert!(matches!(&findings.comparison, Comparison::Void { reason } if reason.contains("0 of 8")), "{findings:?}");
    assert_eq!((findings.l1_miss, findings.walk, findings.knee), (None, None, None));
}

#[test]
fn without_pages_of_2_mib_there_is_nothing_to_compare() {
    let points: Vec<Point> = points(2.0, 9.0).into_iter().filter(|point| point.pages == Pages::Small).collect();
    let findings = Findings::of(&points, &[], None, Some("never"));
    assert!(matches!(&findings.comparison, Comparison::Absent { reason } if reason.contains("never")));
    assert!(findings.steps.is_empty() && findings.walk.is_none());
}

#[test]
fn an_unknown_cpu_gets_its_knee_and_no_costs() {
    let findings = Findings::of(&points(2.0, 9.0), &[], None, None);
    assert_eq!((&findings.comparison, findings.knee), (&Comparison::Holds, Some(96)));
    assert_eq!((findings.l1_miss, findings.walk), (None, None));
}

#[test]
fn a_sweep_that_ends_too_soon_says_so() {
    let geometry = Named::find("golden-cove").unwrap().geometry;
    let few: Vec<Point> = points(2.0, 9.0).into_iter().filter(|point| point.stubs <= 128).collect();
    let findings = Findings::of(&few, &[], Some(&geometry), None);
    assert!(matches!(&findings.comparison, Comparison::Absent { reason } if reason.contains("--most")), "{findings:?}");
}

fn event(role: Role, code: u64) -> Event {
    Event { role, name: role.to_string(), code: EventCode::new(EventCode::RAW, code) }
}

/// The points of [`points`] with counts: `factor` times what the model has, in pages of 2 MiB `huge` times that of 4 KiB.
fn with_counts(factor: f64, huge: Option<f64>) -> (Vec<Point>, Vec<Group>) {
    let geometry = Named::find("zen4").unwrap().geometry;
    let events = vec![event(Role::StlbHits, 0x84), event(Role::WalksCompleted, 0xf85)];
    let group = Group { events, pinned: true, side: Some(CountSide::User), ..Group::default() };
    let mut points = points(2.0, 9.0);
    for point in &mut points {
        let (size, share) = match (point.pages, huge) {
            (Pages::Small, _) => (PageSize::Small, 1.0),
            (Pages::Huge, Some(share)) => (PageSize::Small, share),
            (Pages::Huge, None) => (PageSize::Huge, 1.0),
        };
        let (hits, walks) = misses(point, &geometry, size);
        let count = |misses: f64| (misses * factor * share * 100_000.0) as u64;
        let reading = Reading { counts: vec![count(hits), count(walks)], enabled_ns: 9, running_ns: 9 };
        // One allocation of eight was multiplexed and says nothing.
        let torn = Reading { counts: vec![1 << 40, 1 << 40], enabled_ns: 9, running_ns: 8 };
        let readings = std::iter::repeat_n(reading, 7).chain([torn]);
        point.counted = readings.map(|reading| Counted { jumps: 100_000, readings: vec![reading] }).collect();
    }
    (points, vec![group])
}

#[test]
fn counted_misses_go_before_modelled_ones() {
    let geometry = Named::find("zen4").unwrap().geometry;
    let (points, groups) = with_counts(0.96, None);
    let findings = Findings::of(&points, &groups, Some(&geometry), None);
    assert_eq!((findings.counted_l1_knee, findings.counted_l2_knee), (Some(96), Some(768)));
    let (l1, walk) = (findings.l1_miss.unwrap(), findings.walk.unwrap());
    assert_eq!((l1.misses, walk.misses), (Misses::Counted, Misses::Counted));
    assert!((l1.ns - 2.0 / 0.96).abs() < 0.1 && (walk.ns - 9.0 / 0.96).abs() < 0.3, "{l1:?} {walk:?}");
    assert!((findings.counted_over_modelled().unwrap() - 0.96).abs() < 0.01);
    let unknown = Findings::of(&points, &groups, None, None);
    assert_eq!(unknown.walk.map(|walk| walk.misses), Some(Misses::Counted), "counts need no table");
}

#[test]
fn pages_of_2_mib_with_as_many_walks_are_none_whatever_the_times_say() {
    let geometry = Named::find("zen4").unwrap().geometry;
    let (points, groups) = with_counts(1.0, Some(0.99));
    let findings = Findings::of(&points, &groups, Some(&geometry), None);
    assert!(
        matches!(&findings.comparison, Comparison::Void { reason } if reason.contains("walks were counted")),
        "{:?}",
        findings.comparison
    );
    assert_eq!(findings.walk, None);
}

#[test]
fn a_sweep_that_other_work_spoilt_compares_nothing() {
    let disturbed = |from: u32, lost: u32| {
        let mut points = points(2.0, 9.0);
        points.iter_mut().filter(|point| point.stubs >= from).for_each(|point| {
            point.ns.truncate(8 - lost as usize);
            point.disturbed = lost;
        });
        let findings = Findings::of(&points, &[], None, None);
        matches!(&findings.comparison, Comparison::Absent { reason } if reason.contains("other work on this CPU"))
    };
    assert!(!disturbed(4096, 2), "a quarter");
    assert!(disturbed(4096, 3) && disturbed(6144, 6), "what lies beyond the knee decides, at whatever number");
    assert!(disturbed(4096, 8), "and none is left to compare");
}
