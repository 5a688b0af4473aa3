//! Several who load in step: after each of our loads one of another loader, or always the same program of somebody else. Each plan
//! ends; spread programs have their pages all the same.

use super::super::*;
use super::host::{Churn, Host, Loader, Placed, wanted};
use crate::placement::allocator::PackChoice;

/// Whatever others do, a plan ends after so many loads; plugs come on top.
fn most_loads(programs: u32) -> u32 {
    4 * programs + 4096 + 1024 + 100
}

/// All load in turn until the last is done.
fn in_step(arms: &[(PackMode, u32)], programs: u32) -> Vec<Placed> {
    let mut host = Host::quiet();
    let new = |(arm, len): &(PackMode, u32)| Loader::new(wanted(*arm, programs), host.rules(), *len);
    let mut loaders: Vec<Loader> = arms.iter().map(new).collect();
    for _ in 0..4 * most_loads(programs) {
        // Each of them, not the first who still does.
        let going = loaders.iter_mut().map(|loader| loader.step(&mut host)).filter(|loaded| *loaded).count();
        if going == 0 {
            return loaders.into_iter().map(|loader| loader.placed).collect();
        }
    }
    panic!("{arms:?} of {programs} programs load for ever");
}

#[test]
fn two_spread_plans_both_get_their_pages_at_little_cost() {
    for programs in [64, 512, 2048] {
        for len in [121, 1029] {
            for placed in in_step(&[(PackMode::Off, len), (PackMode::Off, 121)], programs) {
                assert_eq!(placed.footprint().own_page_programs, programs);
                assert!(placed.loads <= 3 * programs + 1400, "{programs} of {len} bytes: {} loads", placed.loads);
            }
        }
    }
}

#[test]
fn two_dense_plans_end_with_all_their_programs() {
    for programs in [64, 512, 2048] {
        for len in [121, 1029] {
            for placed in in_step(&[(PackMode::On, len), (PackMode::Placebo, 121)], programs) {
                assert_eq!(placed.images.len() as u32, programs);
                assert!(placed.loads <= most_loads(programs), "{programs} of {len} bytes: {} loads", placed.loads);
            }
        }
    }
}

#[test]
fn a_dense_plan_outlasts_a_spread_one() {
    for programs in [64, 512] {
        let placed = in_step(&[(PackMode::On, 121), (PackMode::Off, 121)], programs);
        assert_eq!(placed[0].footprint().missed(PackMode::On), None, "{programs}: {:?}", placed[0].footprint());
        assert_eq!(placed[1].footprint().own_page_programs, programs);
    }
}

#[test]
fn a_spread_plan_beside_programs_of_one_size_gets_its_pages_at_little_cost() {
    for chunks in [1, 2, 3, 7, 30, 61, 62, 63, 64, 100, 126, 128, 300] {
        for churn in [Churn::Load(chunks), Churn::LoadClassic(chunks)] {
            for offset in [OffsetRule::Walk, OffsetRule::Fixed] {
                let mut host = Host::new(PackChoice::First, 0, 1, vec![churn]);
                let placed = host.place(Wanted { offset, ..wanted(PackMode::Off, 512) }, 121);
                assert_eq!(placed.footprint().own_page_programs, 512, "{churn:?}, {offset}");
                assert!(placed.loads <= 3 * 512 + 1400, "{churn:?}, {offset}: {} loads", placed.loads);
            }
        }
    }
}

#[test]
fn a_dense_plan_beside_programs_of_one_size_ends_and_says_what_it_missed() {
    for chunks in [1, 3, 30, 61, 126, 300] {
        let mut host = Host::new(PackChoice::First, 0, 1, vec![Churn::Load(chunks)]);
        let placed = host.place(wanted(PackMode::On, 512), 121);
        assert_eq!(placed.images.len(), 512);
        assert!(placed.loads <= most_loads(512), "{chunks} chunks: {} loads", placed.loads);
        let missed = placed.footprint().missed(PackMode::On).expect("no two of ours are neighbours");
        assert_eq!(missed.goal, "at most 26 pages");
    }
}
