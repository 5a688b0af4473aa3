//! What holds whatever others do, as long as they do not do it in step with the plan: the clocks of two processes do not. What can be
//! done about others in step is in `in_step`.

use proptest::prelude::*;

use super::super::*;
use super::host::{Churn, Host, PACK, wanted};
use crate::placement::allocator::PackChoice;

fn churn() -> impl Strategy<Value = Vec<Churn>> {
    // The last entry loads no more than an oversize image now and then.
    let one = prop_oneof![
        6 => Just(Churn::Nothing),
        3 => (1u32..80).prop_map(Churn::Load),
        1 => (1u32..80).prop_map(Churn::LoadClassic),
        4 => Just(Churn::Unload),
        1 => (PACK + 1..PACK + 300).prop_map(Churn::Load),
    ];
    proptest::collection::vec(one, 8..60).prop_map(|mut churn| {
        // As many go as come, and oversize images only once: the area would fill up.
        let large = |churn: &Churn| matches!(churn, Churn::Load(chunks) if *chunks > PACK);
        let mut seen = false;
        churn.retain(|churn| !large(churn) || !std::mem::replace(&mut seen, true));
        let loads = churn.iter().filter(|churn| matches!(churn, Churn::Load(_) | Churn::LoadClassic(_))).count();
        churn.extend(std::iter::repeat_n(Churn::Unload, loads));
        churn
    })
}

/// Others load once in ten of our loads.
fn one_in_ten(churn: Vec<Churn>) -> Vec<Churn> {
    churn.into_iter().flat_map(|churn| [Churn::Nothing; 9].into_iter().chain([churn])).collect()
}

fn choice() -> impl Strategy<Value = PackChoice> {
    prop_oneof![Just(PackChoice::First), Just(PackChoice::DirtyOrClean)]
}

fn offset() -> impl Strategy<Value = OffsetRule> {
    prop_oneof![Just(OffsetRule::Walk), Just(OffsetRule::Random), Just(OffsetRule::Fixed)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_others_load_every_spread_program_has_its_own_page(
        len in 20u32..9000,
        programs in 1u32..200,
        offset in offset(),
        choice in choice(),
        shift in 0u64..1025,
        nodes in 1u32..3,
        holes in (0usize..40, 1u32..200),
        churn in churn(),
    ) {
        let mut host = Host::new(choice, shift, nodes, churn).out_of_step().with_holes(holes.0, holes.1);
        let placed = host.place(Wanted { offset, ..wanted(PackMode::Off, programs) }, len);
        prop_assert_eq!(placed.images.len() as u32, programs);
        prop_assert_eq!(placed.footprint().own_page_programs, programs);
        // Others who load as often as we do spoil page after page, most of all where every program has the same offset.
        prop_assert!(placed.loads < 200 * programs + 100_000, "{} loads", placed.loads);
    }

    #[test]
    fn spread_programs_take_few_loads_where_others_load_once_in_ten_of_ours(
        len in 20u32..9000,
        programs in 1u32..200,
        offset in offset(),
        choice in choice(),
        shift in 0u64..1025,
        holes in (0usize..40, 1u32..200),
        churn in churn(),
    ) {
        let mut host = Host::new(choice, shift, 1, one_in_ten(churn)).out_of_step().with_holes(holes.0, holes.1);
        let placed = host.place(Wanted { offset, ..wanted(PackMode::Off, programs) }, len);
        prop_assert!(placed.loads < 200 * programs + 2500, "{} loads", placed.loads);
    }

    #[test]
    fn whatever_others_load_every_program_gets_its_own_region(
        programs in 1u32..40,
        choice in choice(),
        shift in 0u64..1025,
        nodes in 1u32..3,
        churn in churn(),
    ) {
        let mut host = Host::new(choice, shift, nodes, churn).out_of_step();
        let placed = host.place(wanted(PackMode::OffTwoMeg, programs), 121);
        prop_assert_eq!(placed.footprint().own_region_programs, programs);
        prop_assert_eq!(placed.footprint().regions_2m, programs);
    }

    #[test]
    fn whatever_others_load_dense_programs_stay_dense(
        len in 20u32..3900,
        programs in 64u32..600,
        choice in choice(),
        shift in 0u64..1025,
        holes in (0usize..40, 1u32..200),
        churn in churn(),
    ) {
        let mut host = Host::new(choice, shift, 1, one_in_ten(churn)).out_of_step().with_holes(holes.0, holes.1);
        let placed = host.place(wanted(PackMode::On, programs), len);
        prop_assert_eq!(placed.images.len() as u32, programs);
        let footprint = placed.footprint();
        let between = host.foreign_chunks.div_ceil(CHUNKS_PER_PAGE);
        let most = footprint.ideal_pages_4k * 106 / 100 + between + 2;
        prop_assert!(footprint.pages_4k <= most, "{footprint:?} after {:?}", placed.restarts);
    }
}
