//! Arrays of sets with few ways.

use super::{Array, Index, MOST_ROW_WAYS, NOBODY};

/// Bits that name a way in the order of a set.
const WAY_BITS: u32 = u64::BITS / MOST_ROW_WAYS;
/// One in each place of an order.
const EACH_PLACE: u64 = u64::MAX / ((1 << WAY_BITS) - 1);
/// Shifts every page number away.
const ALL_AWAY: u32 = u64::BITS - 1;

/// A set of at most `ROOM` ways, but for its keys.
#[derive(Clone, Copy, Debug)]
struct Row<const ROOM: usize> {
    /// The low halves of the keys, narrow enough for all to be compared at once.
    tags: [u32; ROOM],
    /// The ways, the most recent in the lowest bits.
    order: u64,
}

impl<const ROOM: usize> Row<ROOM> {
    /// A bit for each way that has this tag.
    #[inline(always)]
    fn alike(&self, tag: u32) -> u32 {
        let mut lanes = [0; 4];
        for (i, four) in self.tags.chunks_exact(4).enumerate() {
            for (j, held) in four.iter().enumerate() {
                lanes[j] |= if *held == tag { 1 << (4 * i + j) } else { 0 };
            }
        }
        lanes[0] | lanes[1] | lanes[2] | lanes[3]
    }

    /// Puts `way` first, and those before it one place later.
    #[inline(always)]
    fn put_first(&mut self, way: u64) {
        // The lowest place that differs in nothing from the way; borrows go to places above it only.
        let differs = self.order ^ (way * EACH_PLACE);
        let same = differs.wrapping_sub(EACH_PLACE) & !differs & (EACH_PLACE << (WAY_BITS - 1));
        let through = same ^ same.wrapping_sub(1);
        self.order = (self.order & !through) | ((self.order << WAY_BITS) & through) | way;
    }

    fn way(&self, place: u32) -> usize {
        (self.order >> place) as usize % (1 << WAY_BITS)
    }
}

/// Sets of few ways.
#[derive(Clone, Debug)]
pub(super) struct Rows<const ROOM: usize> {
    rows: Box<[Row<ROOM>]>,
    keys: Box<[u64]>,
    ways: usize,
    /// Where the order has the oldest way.
    oldest_place: u32,
    fold: u32,
}

impl<const ROOM: usize> Rows<ROOM> {
    pub(super) fn new(array: &Array) -> Self {
        let Array { entries, ways, index } = *array;
        let sets = entries / ways;
        let order = (0..u64::from(ways)).fold(0, |order, way| order | (way << (way as u32 * WAY_BITS)));
        let row = Row { tags: [NOBODY as u32; ROOM], order };
        Self {
            rows: vec![row; sets as usize].into_boxed_slice(),
            keys: vec![NOBODY; entries as usize].into_boxed_slice(),
            ways: ways as usize,
            oldest_place: (ways - 1) * WAY_BITS,
            fold: if index == Index::Folded { sets.ilog2() } else { ALL_AWAY },
        }
    }

    /// Whether `key` is there; it is the most recent afterwards. Which way holds it can't be foretold: it is reckoned, not searched.
    #[inline]
    pub(super) fn touch(&mut self, key: u64) -> bool {
        let number = key >> 1;
        let set = (number ^ (number >> self.fold)) as usize & (self.rows.len() - 1);
        let row = &mut self.rows[set];
        let keys = &mut self.keys[set * self.ways..][..self.ways];
        let alike = row.alike(key as u32);
        let mut found = (alike != 0).then_some(alike.trailing_zeros() as usize);
        // Pages 8 TiB apart have one tag.
        if found.is_some_and(|way| keys.get(way) != Some(&key)) {
            found = keys.iter().position(|held| *held == key);
        }
        let way = found.unwrap_or(row.way(self.oldest_place));
        row.tags[way] = key as u32;
        keys[way] = key;
        row.put_first(way as u64);
        found.is_some()
    }

    /// The keys of each set, the most recent first.
    fn by_age(&self) -> impl Iterator<Item = u64> {
        let key = |set: usize, way: usize| self.keys[set * self.ways + way];
        let ways =
            move |row: Row<ROOM>| (0..=self.oldest_place).step_by(WAY_BITS as usize).map(move |place| row.way(place));
        self.rows.iter().enumerate().flat_map(move |(set, row)| ways(*row).map(move |way| key(set, way)))
    }
}

/// What is held, and in which order it would go: which way holds a key has no consequence.
impl<const ROOM: usize> PartialEq for Rows<ROOM> {
    fn eq(&self, other: &Self) -> bool {
        let shape = |rows: &Self| (rows.rows.len(), rows.ways, rows.fold);
        shape(self) == shape(other) && self.by_age().eq(other.by_age())
    }
}

impl<const ROOM: usize> Eq for Rows<ROOM> {}
