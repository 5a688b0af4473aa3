//! The model: two levels of set-associative arrays with true LRU, entries of 4 KiB and of 2 MiB.
//!
//! Knows plain integers only and leans on nothing else of this crate, so that a plugin of an emulator can drive it. Memory
//! is taken once, when the model is made; an access allocates nothing. The same accesses give the same answers everywhere.
//!
//! What it leaves out: prefetches of translations, speculation, page-walk caches, flushes, data translations in a level that
//! holds both, and replacement that is not LRU (Intel's is a pseudo-LRU: Tatar et al., TLB;DR, USENIX Security 2022).

// By path, since the plugin takes this file by its path too.
#[path = "itlb/list.rs"]
mod list;
#[path = "itlb/rows.rs"]
mod rows;

use list::List;
use rows::Rows;

/// Bits below the number of a 4 KiB page and of a 2 MiB page.
const SMALL_SHIFT: u32 = 12;
const HUGE_SHIFT: u32 = 21;
/// The key of no page: keys are page numbers of at most 52 bits, and one bit for the size.
const NOBODY: u64 = u64::MAX;
/// Up to so many ways are compared all at once; beyond, a list with an index is faster.
const MOST_ROW_WAYS: u32 = 16;

/// Size of the mapping an address is fetched through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageSize {
    /// 4 KiB.
    Small,
    /// 2 MiB.
    Huge,
}

/// Where a translation was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    L1,
    /// Missed L1, found in the second level.
    L2,
    /// In neither: a page walk.
    Walk,
}

/// How an array chooses the set of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Index {
    /// The low bits of the page number: a stride of two pages leaves half of the sets empty.
    #[default]
    Low,
    /// The low bits, exclusive-or the bits above them.
    Folded,
}

/// One array of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Array {
    entries: u32,
    ways: u32,
    index: Index,
}

impl Array {
    /// `entries` in sets of `ways`; as many ways as entries: fully associative.
    pub const fn new(entries: u32, ways: u32, index: Index) -> Result<Self, BadArray> {
        let whole = entries > 0 && entries < u16::MAX as u32 && ways > 0 && entries.is_multiple_of(ways);
        if !whole || !(entries / ways).is_power_of_two() || (ways > MOST_ROW_WAYS && ways != entries) {
            return Err(BadArray { entries, ways });
        }
        Ok(Self { entries, ways, index })
    }

    /// How many translations it holds.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// How many of them in a set.
    pub fn ways(&self) -> u32 {
        self.ways
    }
}

/// An array that the model cannot be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadArray {
    entries: u32,
    ways: u32,
}

impl std::fmt::Display for BadArray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { entries, ways } = self;
        write!(f, "{entries} entries in {ways} ways: wanted are 1 to 65534 entries, a power of two of sets, and ")?;
        write!(f, "at most {MOST_ROW_WAYS} ways or full associativity")
    }
}

impl std::error::Error for BadArray {}

/// One level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level {
    /// Holds translations of 4 KiB.
    pub small: Array,
    /// Holds those of 2 MiB; `None`: they share the array of the 4 KiB ones.
    pub huge: Option<Array>,
}

/// A whole iTLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Geometry {
    pub l1: Level,
    pub l2: Level,
    /// Adjacent 4 KiB pages that one entry can hold: 1, or on AMD 4 if they are contiguous in memory too. A power of two.
    pub coalesced: u32,
}

/// The iTLB, and what it holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Itlb {
    l1: Store,
    l2: Store,
    coalesce_bits: u32,
    /// Key of the last access: it is in L1 and the most recent there, so another access changes nothing.
    last: u64,
}

impl Itlb {
    /// An empty iTLB.
    pub fn new(geometry: &Geometry) -> Self {
        let coalesce_bits = geometry.coalesced.max(1).ilog2();
        Self { l1: Store::new(&geometry.l1), l2: Store::new(&geometry.l2), coalesce_bits, last: NOBODY }
    }

    /// Looks up the page of `addr`, and fills the levels that lacked it.
    #[inline]
    pub fn fetch(&mut self, addr: u64, size: PageSize) -> Found {
        let key = match size {
            PageSize::Small => (addr >> SMALL_SHIFT >> self.coalesce_bits) << 1,
            PageSize::Huge => (addr >> HUGE_SHIFT) << 1 | 1,
        };
        if key == self.last {
            return Found::L1;
        }
        self.last = key;
        if self.l1.touch(key, size) {
            Found::L1
        } else if self.l2.touch(key, size) {
            Found::L2
        } else {
            Found::Walk
        }
    }
}

/// The arrays of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Store {
    small: Entries,
    huge: Option<Entries>,
}

impl Store {
    fn new(level: &Level) -> Self {
        Self { small: Entries::new(&level.small), huge: level.huge.as_ref().map(Entries::new) }
    }

    #[inline]
    fn touch(&mut self, key: u64, size: PageSize) -> bool {
        match (&mut self.huge, size) {
            (Some(huge), PageSize::Huge) => huge.touch(key),
            _ => self.small.touch(key),
        }
    }
}

/// An array in the form that suits its associativity.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entries {
    /// Two sizes: a set of four takes a third of the memory of one of sixteen.
    Few(Rows<4>),
    More(Rows<{ MOST_ROW_WAYS as usize }>),
    All(List),
}

impl Entries {
    fn new(array: &Array) -> Self {
        match array.ways {
            0..=4 => Self::Few(Rows::new(array)),
            5..=MOST_ROW_WAYS => Self::More(Rows::new(array)),
            _ => Self::All(List::new(array.entries as u16)),
        }
    }

    /// Whether `key` is there; it is the most recent afterwards.
    #[inline]
    fn touch(&mut self, key: u64) -> bool {
        match self {
            Self::Few(rows) => rows.touch(key),
            Self::More(rows) => rows.touch(key),
            Self::All(list) => list.touch(key),
        }
    }
}

#[cfg(test)]
#[path = "itlb/tests.rs"]
mod tests;
