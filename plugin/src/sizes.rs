//! Which pages a window fetched from, and by which size they are mapped: the guest's tables are read once for each.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use crate::model::fetched::Pages;
use crate::paging::{Control, Size, walk};

/// The guest as a CPU sees it now.
pub trait Guest {
    /// CR3 and CR4.
    fn control(&mut self) -> Option<Control>;
    /// Eight bytes at a virtual address that is a multiple of eight.
    fn read(&mut self, addr: u64) -> Option<u64>;
}

/// What a page turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub size: Size,
    /// First fetch from this page in this window.
    pub news: Option<News>,
}

/// What the first fetch from a page brought to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// No direct map is known, so no table was read.
    NotRead,
    /// The tables led nowhere, or to other bytes.
    Failed,
    /// A page of a mapping that was seen already: another 4 KiB of a larger page.
    Known,
    /// A mapping not seen before.
    Mapping,
}

/// The pages of one window.
#[derive(Debug, Default)]
pub struct Sizes {
    direct_map: u64,
    by_page: HashMap<u64, Size, BuildHasherDefault<PageHasher>>,
    mappings: HashSet<u64, BuildHasherDefault<PageHasher>>,
    last: Option<(u64, Size)>,
}

impl Sizes {
    /// Forgets all: mappings may have changed since. `direct_map` is where the kernel maps all memory, 0 if not known.
    pub fn begin(&mut self, direct_map: u64) {
        self.direct_map = direct_map;
        self.by_page.clear();
        self.mappings.clear();
        self.last = None;
    }

    /// The size of the page of `addr`.
    pub fn of(&mut self, addr: u64, guest: &mut impl Guest) -> Seen {
        let page = addr >> Size::Small.shift();
        // Most blocks stay in the page of the one before.
        if let Some((last, size)) = self.last
            && last == page
        {
            return Seen { size, news: None };
        }
        let seen = match self.by_page.get(&page) {
            Some(&size) => Seen { size, news: None },
            None => self.look(addr, guest),
        };
        self.last = Some((page, seen.size));
        seen
    }

    fn look(&mut self, addr: u64, guest: &mut impl Guest) -> Seen {
        let (size, news) = match self.direct_map {
            0 => (Size::Small, News::NotRead),
            direct_map => match mapped(addr, direct_map, guest) {
                None => (Size::Small, News::Failed),
                Some(size) if self.mappings.insert(addr >> size.shift() << 2 | size as u64) => (size, News::Mapping),
                Some(size) => (size, News::Known),
            },
        };
        self.by_page.insert(addr >> Size::Small.shift(), size);
        Seen { size, news: Some(news) }
    }
}

/// The size of the page of `addr`, if the tables lead to the bytes that are there: a direct map that is another one leads elsewhere.
fn mapped(addr: u64, direct_map: u64, guest: &mut impl Guest) -> Option<Size> {
    let control = guest.control()?;
    let mapping = walk(control, addr, |phys| guest.read(direct_map.wrapping_add(phys)))?;
    let word = |addr: u64| addr & !7;
    let there = guest.read(word(direct_map.wrapping_add(mapping.phys)))?;
    (guest.read(word(addr))? == there).then_some(mapping.size)
}

impl News {
    /// Enters it into the counts of the window and of the kind of code.
    pub fn count(self, size: Size, read: &mut u64, failed: &mut u64, pages: &mut Pages) {
        *read += u64::from(self != Self::NotRead);
        *failed += u64::from(self == Self::Failed);
        if self == Self::Mapping {
            match size {
                Size::Small => pages.small += 1,
                Size::Huge => pages.huge += 1,
                Size::Giant => pages.giant += 1,
            }
        }
    }
}

/// Multiplicative hashing by the golden ratio: page numbers are no secret and nobody attacks this map.
#[derive(Clone, Copy, Debug, Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0 << 8 | u64::from(byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // The map takes the bucket from the low bits, which depend on the low bits of a product only.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(32);
    }
}
