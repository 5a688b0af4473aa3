//! The planner against the model of the allocator: each arm by itself here, with others who load in `properties` and `in_step`.

mod host;
mod in_step;
mod properties;

use super::*;
use crate::placement::allocator::PackChoice;
use crate::placement::{Addr, Footprint};
use crate::workload::Spec;
use host::{Churn, Host, PACK, RULES, wanted};

#[test]
fn a_quiet_pack_needs_one_filler_a_program() {
    let placed = Host::quiet().place(wanted(PackMode::Off, 4096), 121);
    let footprint = placed.footprint();
    assert_eq!((footprint.own_page_programs, footprint.pages_4k), (4096, 4096));
    assert_eq!(footprint.line_offsets, 62, "every line at which a 3-chunk program does not cross the page's end");
    // 17 plugs, and what it takes to find the end of the first pack.
    assert!(placed.loads <= 2 * 4096 + 17 + 30, "{} loads", placed.loads);
}

#[test]
fn known_packs_are_filled_to_their_end() {
    for (nodes, shift) in [(1, 0), (1, 513), (2, 77)] {
        let mut host = Host::new(PackChoice::First, shift, nodes, Vec::new());
        let placed = host.place(wanted(PackMode::Off, 8192), 1029);
        assert_eq!(placed.footprint().own_page_programs, 8192);
        assert!(placed.loads <= 2 * 8192 + 120, "{nodes} nodes: {} loads", placed.loads);
    }
}

#[test]
fn fixed_offset_puts_every_program_at_the_same_line() {
    let fixed = Wanted { stride: Stride::Page, offset: OffsetRule::Fixed, ..wanted(PackMode::Off, 2048) };
    let footprint = Host::quiet().with_holes(40, 7).place(fixed, 121).footprint();
    assert_eq!((footprint.own_page_programs, footprint.line_offsets), (2048, 1));
}

#[test]
fn random_offsets_follow_the_seed_and_cover_the_page() {
    let lines = |seed| {
        let random = Wanted { offset: OffsetRule::Random, seed, ..wanted(PackMode::Off, 1024) };
        let placed = Host::quiet().place(random, 121);
        assert_eq!((placed.footprint().own_page_programs, placed.footprint().line_offsets), (1024, 62));
        placed.images.iter().map(|image| image.addr.line_in_page()).collect::<Vec<_>>()
    };
    assert_eq!(lines(1), lines(1));
    assert_ne!(lines(1), lines(2));
    let steps: std::collections::BTreeSet<u32> = lines(1).windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect();
    assert!(steps.len() > 40, "no walk: {steps:?}");
}

#[test]
fn strides_are_what_they_say() {
    for (stride, bytes) in [(Stride::Page, 4096), (Stride::PageAndGuard, 8192)] {
        let wanted = Wanted { stride, offset: OffsetRule::Fixed, ..wanted(PackMode::Off, 100) };
        let images = Host::quiet().place(wanted, 121).images;
        let pages =
            images.windows(2).filter(|pair| (pair[1].addr.page() - pair[0].addr.page()) * 4096 == bytes).count();
        assert_eq!(pages, 99, "{stride}");
    }
}

#[test]
fn bodies_of_almost_a_page_and_more_get_pages_of_their_own() {
    // 59, 63, 64, 65, 127, 128, 141 and 192 chunks.
    for len in [3717, 4000, 4072, 4073, 8100, 8168, 9000, 12_264] {
        for offset in [OffsetRule::Walk, OffsetRule::Random, OffsetRule::Fixed] {
            for stride in [Stride::Page, Stride::PageAndGuard] {
                let wanted = Wanted { offset, stride, ..wanted(PackMode::Off, 256) };
                let placed = Host::quiet().with_holes(9, 40).place(wanted, len);
                assert_eq!(placed.footprint().own_page_programs, 256, "{len} bytes, {offset}, {stride}");
                assert!(placed.loads <= 4 * 256, "{len} bytes, {offset}, {stride}: {} loads", placed.loads);
            }
        }
    }
}

#[test]
fn bodies_of_whole_pages_begin_a_page_in_every_arm() {
    for (len, pages) in [(4072, 1), (8168, 2)] {
        for arm in [PackMode::On, PackMode::Off] {
            let images = Host::quiet().with_holes(9, 40).place(wanted(arm, 128), len).images;
            assert!(images.iter().all(|image| image.addr.line_in_page() == 0), "{arm}");
            assert_eq!(Footprint::of(&images).pages_4k, 128 * pages, "{arm}");
        }
    }
}

#[test]
fn programs_of_several_functions_are_placed_in_one_piece() {
    for lens in [vec![300, 40], vec![20, 700, 90, 90], vec![1500, 1500, 1500]] {
        for (holes, chunks) in [(1, 1), (40, 3), (9, 40)] {
            for arm in [PackMode::On, PackMode::Off] {
                let placed = Host::quiet().with_holes(holes, chunks).place_functions(wanted(arm, 256), lens.clone());
                let print = placed.footprint();
                assert_eq!((print.programs, print.missed(arm)), (256, None), "{lens:?}, {arm}: {print:?}");
                // Three functions of one chunk fit into each of twenty holes.
                assert!(placed.apart <= 80, "{lens:?}, holes of {chunks}, {arm}: {} lay apart", placed.apart);
            }
        }
    }
}

#[test]
fn others_in_step_who_part_every_program_end_the_plan() {
    let mut plan = Planner::new(wanted(PackMode::On, 64), RULES, &[]);
    let (mut steps, mut worth) = (0u32, true);
    while worth && plan.next_step().is_some() {
        (steps, worth) = (steps + 1, plan.apart());
    }
    assert!(!worth && steps < 10_000, "{steps} steps");
}

#[test]
fn every_program_gets_a_region_of_its_own_wherever_the_packs_lie() {
    for (nodes, shift) in [(1, 0), (1, 1), (1, 511), (1, 700), (2, 300)] {
        let mut host = Host::new(PackChoice::First, shift, nodes, Vec::new());
        let placed = host.place(wanted(PackMode::OffTwoMeg, 150), 121);
        assert_eq!(placed.footprint().regions_2m, 150, "{nodes} nodes, shifted by {shift} pages");
        assert_eq!(placed.footprint().own_region_programs, 150);
        let pages: std::collections::BTreeSet<u64> =
            placed.images.iter().map(|image| image.addr.page() % 512).collect();
        assert!(pages.len() > 16, "an iTLB for 4 KiB pages would see one set: {pages:?}");
        assert!(placed.fillers <= 150 * 38 + 60, "{} fillers", placed.fillers);
    }
}

#[test]
fn all_arms_of_a_case_load_as_many_fillers() {
    for fillers_of in [PackMode::Off, PackMode::OffTwoMeg] {
        let arms = [PackMode::On, PackMode::Placebo, PackMode::Off, PackMode::OffTwoMeg];
        let arms = arms.into_iter().filter(|arm| *arm != PackMode::OffTwoMeg || fillers_of == PackMode::OffTwoMeg);
        let fillers: Vec<u32> =
            arms.map(|arm| Host::quiet().place(Wanted { fillers_of, ..wanted(arm, 64) }, 121).fillers).collect();
        let (least, most) = (*fillers.iter().min().unwrap(), *fillers.iter().max().unwrap());
        assert!(most - least <= 12, "{fillers_of}: {fillers:?}");
    }
}

#[test]
fn where_only_needed_fillers_are_loaded_pack_on_has_none() {
    let of = |fillers| {
        let mut case = Spec::find("chain").unwrap().case(64, PackMode::On);
        case.fillers = fillers;
        Host::quiet().place(Wanted::of(&case, 7), 121)
    };
    let (all, needed) = (of(FillerRule::Keep), of(FillerRule::Needed));
    assert_eq!((all.fillers, needed.fillers), (64, 0));
    assert_eq!(needed.footprint().pages_4k, 3, "the programs lie as they did");
}

#[test]
fn a_hole_that_is_too_small_is_left_behind() {
    let placed = Host::quiet().with_holes(20, 600).place(wanted(PackMode::On, 2048), 121);
    let footprint = placed.footprint();
    assert_eq!((footprint.programs, footprint.pages_4k), (2048, footprint.ideal_pages_4k));
    assert!(placed.restarts.iter().all(|from| *from == 0) && placed.restarts.len() <= 16, "{:?}", placed.restarts);
}

#[test]
fn dense_programs_begin_a_page_even_where_small_holes_are_left() {
    for hole in [2, 7, 40] {
        let placed = Host::quiet().with_holes(9, hole).place(wanted(PackMode::Placebo, 64), 121);
        assert_eq!(placed.footprint().pages_4k, 3, "holes of {hole}");
    }
}

#[test]
fn more_programs_than_a_pack_holds_are_placed_in_several() {
    for (len, programs) in [(3717, 700), (121, 16_384)] {
        let footprint = Host::quiet().place(wanted(PackMode::On, programs), len).footprint();
        assert_eq!(footprint.programs, programs);
        assert!(footprint.pages_4k <= footprint.ideal_pages_4k * 102 / 100, "{footprint:?}");
    }
}

#[test]
fn others_between_two_programs_cost_their_chunks_and_no_restart() {
    let churn = [Churn::Nothing; 40].into_iter().chain([Churn::Load(5)]).collect();
    let placed = Host::new(PackChoice::First, 0, 1, churn).place(wanted(PackMode::On, 2048), 121);
    let footprint = placed.footprint();
    assert!(placed.restarts.is_empty(), "{:?}", placed.restarts);
    assert!(footprint.pages_4k <= footprint.ideal_pages_4k * 106 / 100, "{footprint:?}");
}

#[test]
fn pages_of_foreign_programs_are_left_to_them() {
    let mut host = Host::quiet();
    let theirs: Vec<Image> = (0..3)
        .map(|_| {
            let (_, image) = host.packs.load(300, &mut host.random).unwrap();
            host.reserve(57, FillerKind::Extended);
            image
        })
        .collect();
    let mut plan = Planner::new(wanted(PackMode::Off, 1), RULES, &theirs);
    while plan.next_step() == Some(Step::Plug) {
        plan.landed(&host.packs.load(121, &mut host.random).unwrap().1);
    }
    let beside = Image { addr: Addr(theirs[2].addr.0 + 512), len: 121 };
    assert_eq!(plan.landed(&beside), Landing::Hold);
}

#[test]
fn a_hopeless_host_ends_the_plan_all_the_same() {
    // Every program lands on the same page, whatever is loaded.
    let mut plan = Planner::new(wanted(PackMode::Off, 8), RULES, &[]);
    let (mut steps, mut kept) = (0u32, 0);
    while let Some(step) = plan.next_step() {
        steps += 1;
        if !matches!(step, Step::Filler { .. }) {
            let image = Image { addr: Addr(0x10_0000 + u64::from(steps) % 20 * 192 + 8), len: 121 };
            kept += u32::from(plan.landed(&image) == Landing::Keep);
        }
    }
    assert_eq!(kept, 8);
}

#[test]
fn where_packs_are_dirty_or_clean_both_arms_still_find_their_places() {
    let mut host = Host::new(PackChoice::DirtyOrClean, 9, 1, Vec::new());
    // An old pack with room for thousands of programs, dirty once something in it goes.
    let old = host.reserve(20, FillerKind::Extended);
    host.reserve(PACK / 2, FillerKind::Classic);
    host.reserve(PACK / 2 + 1, FillerKind::Classic);
    host.packs.free(old);
    let placed = host.place(wanted(PackMode::Off, 2048), 121);
    assert_eq!(placed.footprint().own_page_programs, 2048);
    assert!(placed.loads <= 2 * 2048 + 400, "{} loads", placed.loads);
}
