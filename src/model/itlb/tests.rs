use super::*;
use proptest::prelude::*;

/// Base of the module area, where packs lie.
const BASE: u64 = 0xffff_ffff_c000_0000;

fn array(entries: u32, ways: u32) -> Array {
    Array::new(entries, ways, Index::Low).unwrap()
}

/// Only 4 KiB entries matter: both sizes share the arrays.
fn geometry(l1: Array, l2: Array) -> Geometry {
    Geometry { l1: Level { small: l1, huge: None }, l2: Level { small: l2, huge: None }, coalesced: 1 }
}

fn itlb(l1: Array, l2: Array) -> Itlb {
    Itlb::new(&geometry(l1, l2))
}

/// Misses of L1 and of both levels over 4 KiB pages.
fn misses(itlb: &mut Itlb, addrs: impl Iterator<Item = u64>) -> (u64, u64) {
    addrs.fold((0, 0), |(l1, walks), addr| match itlb.fetch(addr, PageSize::Small) {
        Found::L1 => (l1, walks),
        Found::L2 => (l1 + 1, walks),
        Found::Walk => (l1 + 1, walks + 1),
    })
}

/// Uniform draws of pages, high bits of a 64-bit congruential generator.
fn random_pages(pages: u64, count: usize) -> impl Iterator<Item = u64> {
    let mut state = 1u64;
    (0..count).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        BASE + ((u128::from(state) * u128::from(pages)) >> 64) as u64 * 4096
    })
}

#[test]
fn random_pages_hit_as_often_as_entries_hold_them() {
    for entries in [64, 128, 256] {
        for pages in [300u64, 512, 2048, 16384] {
            let mut itlb = itlb(array(entries, entries), array(4096, 8));
            misses(&mut itlb, random_pages(pages, 50_000));
            let (l1, _) = misses(&mut itlb, random_pages(pages, 400_000).skip(1));
            let (share, expected) = (l1 as f64 / 399_999.0, 1.0 - f64::from(entries) / pages as f64);
            assert!((share / expected - 1.0).abs() < 0.01, "{entries} {pages}: {share} {expected}");
        }
    }
}

#[test]
fn random_pages_miss_a_second_level_of_sets_as_often() {
    // Random pages spread over the sets like a larger array of their own: 1 - E/N holds for set-associative arrays too
    // if every set gets as many pages.
    let mut itlb = itlb(array(64, 64), array(1536, 12));
    misses(&mut itlb, random_pages(4096, 100_000));
    let (_, walks) = misses(&mut itlb, random_pages(4096, 400_000));
    // L2 sees only what missed L1, so it holds what L1 lacks as well as not: the union is at most E1 + E2.
    let (low, high) = (1.0 - (1536.0 + 64.0) / 4096.0, 1.0 - 1536.0 / 4096.0);
    let share = walks as f64 / 400_000.0;
    assert!((low * 0.99..high * 1.01).contains(&share), "{share} {low} {high}");
}

#[test]
fn a_cycle_of_more_pages_than_entries_misses_always_and_of_fewer_never() {
    for (l1, l2) in [(array(64, 64), array(512, 4)), (array(128, 8), array(1536, 12)), (array(16, 4), array(128, 8))] {
        let cycle = |pages: u64| (0..pages).map(|page| BASE + page * 4096);
        let (e1, e2) = (u64::from(l1.entries), u64::from(l2.entries));
        for (pages, expected) in [(e1, (0, 0)), (2 * e1, (2 * e1, 0)), (e2, (e2, 0)), (2 * e2, (2 * e2, 2 * e2))] {
            let mut itlb = itlb(l1, l2);
            assert_eq!(misses(&mut itlb, cycle(pages)), (pages, pages), "cold, {pages} pages");
            assert_eq!(misses(&mut itlb, cycle(pages)), expected, "{pages} pages over {l1:?} {l2:?}");
        }
    }
}

#[test]
fn what_fits_misses_once() {
    let mut itlb = itlb(array(64, 64), array(512, 8));
    assert_eq!(misses(&mut itlb, random_pages(60, 100_000)), (60, 60));
    assert_eq!(misses(&mut itlb, random_pages(60, 100_000)), (0, 0));
}

#[test]
fn a_2_mib_entry_covers_its_region_and_none_beyond() {
    let mut itlb = itlb(array(64, 64), array(512, 8));
    assert_eq!(itlb.fetch(BASE, PageSize::Huge), Found::Walk);
    assert_eq!(itlb.fetch(BASE + 0x1f_ffff, PageSize::Huge), Found::L1);
    assert_eq!(itlb.fetch(BASE + 0x20_0000, PageSize::Huge), Found::Walk);
    // The same number in the other size is another page.
    assert_eq!(itlb.fetch(BASE >> 9, PageSize::Small), Found::Walk);
}

#[test]
fn an_array_of_its_own_keeps_2_mib_entries_from_4_kib_ones() {
    let own = Level { small: array(16, 16), huge: Some(array(8, 8)) };
    let shared = Level { small: array(16, 16), huge: None };
    let l2 = Level { small: array(64, 4), huge: None };
    for (l1, expected) in [(own, Found::L1), (shared, Found::L2)] {
        let mut itlb = Itlb::new(&Geometry { l1, l2, coalesced: 1 });
        itlb.fetch(BASE, PageSize::Huge);
        misses(&mut itlb, (0..16).map(|page| BASE + (512 + page) * 4096));
        assert_eq!(itlb.fetch(BASE, PageSize::Huge), expected);
    }
}

#[test]
fn coalescing_makes_one_entry_of_four_pages() {
    let mut itlb = Itlb::new(&Geometry { coalesced: 4, ..geometry(array(64, 64), array(512, 8)) });
    assert_eq!(misses(&mut itlb, (0..256).map(|page| BASE + page * 4096)), (64, 64));
    assert_eq!(misses(&mut itlb, (0..256).map(|page| BASE + page * 4096)), (0, 0));
}

#[test]
fn folding_lets_a_stride_of_two_pages_use_every_set() {
    let strided = |index| {
        let mut itlb = itlb(array(16, 16), Array::new(128, 8, index).unwrap());
        let pages = || (0..128).map(|page| BASE + page * 8192);
        misses(&mut itlb, pages());
        misses(&mut itlb, pages()).1
    };
    assert_eq!((strided(Index::Low), strided(Index::Folded)), (128, 0));
}

#[test]
fn what_cannot_be_built_is_refused() {
    for (entries, ways) in [(0, 1), (64, 0), (96, 8), (64, 7), (64, 128), (65_535, 65_535), (512, 32)] {
        let error = Array::new(entries, ways, Index::Low).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{entries} entries in {ways} ways")), "{error}");
    }
    for (entries, ways) in [(3072, 6), (48, 48), (8, 8), (1, 1), (65_534, 65_534)] {
        assert!(Array::new(entries, ways, Index::Low).is_ok(), "{entries} {ways}");
    }
}

#[test]
fn a_round_that_leaves_everything_as_it_was_is_seen_to() {
    for (l1, l2) in [(array(64, 64), array(512, 4)), (array(128, 8), array(1536, 12)), (array(16, 4), array(128, 8))] {
        // Each set is passed by one page more than it has ways: the keys change places, their order does not.
        let pages = u64::from(l2.entries + l2.entries / l2.ways);
        let cycle = || (0..pages).map(|page| BASE + page * 4096);
        let mut itlb = itlb(l1, l2);
        misses(&mut itlb, cycle());
        let before = itlb.clone();
        assert_eq!(misses(&mut itlb, cycle()), (pages, pages));
        assert_eq!(itlb, before, "{l1:?} {l2:?}");
        misses(&mut itlb, cycle().take(1));
        assert_ne!(itlb, before, "{l1:?} {l2:?}");
    }
}

#[test]
fn pages_of_equal_low_halves_are_told_apart() {
    // 2^31 pages apart, the least distance at which the low 32 bits of their keys are equal.
    let pages = || (0..6u64).map(|nth| (nth << 43) | 0x7000);
    for ways in [4, 8, 16] {
        let mut itlb = itlb(array(ways, ways), array(8 * ways, ways));
        let fit = pages().take(ways.min(6) as usize);
        let count = fit.clone().count() as u64;
        assert_eq!(misses(&mut itlb, fit.clone()), (count, count), "{ways}");
        assert_eq!(misses(&mut itlb, fit), (0, 0), "{ways}");
    }
}

/// The model written as one would explain it: a list per set, searched from the front.
struct Naive {
    geometry: Geometry,
    levels: [Vec<Vec<(bool, u64)>>; 4],
}

impl Naive {
    fn new(geometry: Geometry) -> Self {
        let sets = |array: Option<Array>| array.map_or(0, |array| array.entries / array.ways) as usize;
        let Geometry { l1, l2, .. } = geometry;
        let levels = [Some(l1.small), l1.huge, Some(l2.small), l2.huge].map(|array| vec![Vec::new(); sets(array)]);
        Self { geometry, levels }
    }

    fn fetch(&mut self, addr: u64, size: PageSize) -> Found {
        if self.touch(0, addr, size) {
            Found::L1
        } else if self.touch(2, addr, size) {
            Found::L2
        } else {
            Found::Walk
        }
    }

    fn touch(&mut self, first: usize, addr: u64, size: PageSize) -> bool {
        let level = if first == 0 { self.geometry.l1 } else { self.geometry.l2 };
        let (at, array) = match (size, level.huge) {
            (PageSize::Huge, Some(huge)) => (first + 1, huge),
            _ => (first, level.small),
        };
        let page = match size {
            PageSize::Small => addr / 4096 / u64::from(self.geometry.coalesced),
            PageSize::Huge => addr / (2 << 20),
        };
        let sets = u64::from(array.entries / array.ways);
        let number = if array.index == Index::Folded { page ^ (page / sets) } else { page };
        let set = &mut self.levels[at][(number % sets) as usize];
        let key = (size == PageSize::Huge, page);
        let found = set.iter().position(|held| *held == key);
        if let Some(found) = found {
            set.remove(found);
        }
        set.insert(0, key);
        set.truncate(array.ways as usize);
        found.is_some()
    }
}

prop_compose! {
    fn any_array()(sets in 0u32..5, ways in 1u32..17, whole in any::<bool>(), folded in any::<bool>(), entries in 1u32..80)
        -> Array {
        let index = if folded { Index::Folded } else { Index::Low };
        match whole {
            // A folded index of a single set shifts by no bits; no CPU has that.
            true => Array::new(entries, entries, Index::Low).unwrap(),
            false => Array::new(ways << (sets + 1), ways, index).unwrap(),
        }
    }
}

prop_compose! {
    fn any_level()(small in any_array(), huge in proptest::option::of(any_array())) -> Level {
        Level { small, huge }
    }
}

proptest! {
    #[test]
    fn every_access_is_answered_as_the_naive_model_answers(
        l1 in any_level(),
        l2 in any_level(),
        coalesced in prop_oneof![Just(1u32), Just(4)],
        accesses in proptest::collection::vec((0u64..200, any::<bool>(), 0u64..40), 1..600),
    ) {
        let geometry = Geometry { l1, l2, coalesced };
        let (mut fast, mut naive) = (Itlb::new(&geometry), Naive::new(geometry));
        for (page, huge, far) in accesses {
            let (addr, size) = match huge {
                true => (BASE + (page % 40) * (2 << 20), PageSize::Huge),
                // Some share the low half of their key with another.
                false => (BASE - ((far / 38) << 43) + page * 4096, PageSize::Small),
            };
            prop_assert_eq!(fast.fetch(addr, size), naive.fetch(addr, size));
        }
    }
}
