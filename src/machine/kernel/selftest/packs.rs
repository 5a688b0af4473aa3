//! In which pack an address lies, found by what is mapped around it: every area is followed by a guard page.

use std::sync::{Mutex, PoisonError};

use super::look::Look;
use crate::placement::Addr;
use crate::placement::image::PAGE_BYTES;

/// Stretches found so far. They are forgotten when memory is freed: a pack can go and come back elsewhere.
#[derive(Debug, Default)]
pub struct Packs {
    /// First page, and the last one known to belong to it.
    found: Mutex<Vec<(u64, u64)>>,
}

/// Pages of the largest pack that is looked for: 2 MiB for each of 64 nodes.
const MOST_PAGES: u64 = 512 * 64;

impl Packs {
    /// First address of the mapped stretch around `addr`.
    pub fn of(&self, addr: Addr, look: &Look) -> Option<Addr> {
        let page = addr.page();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, _)) = found.iter().find(|(first, last)| (*first..=*last).contains(&page)) {
            return Some(Addr(first * PAGE_BYTES));
        }
        let mut first = page;
        while page - first < MOST_PAGES && look.is_mapped((first - 1) * PAGE_BYTES) {
            first -= 1;
            // Two looks met: the stretch is known from here on.
            if let Some(known) = found.iter_mut().find(|(_, last)| *last == first) {
                known.1 = page;
                return Some(Addr(known.0 * PAGE_BYTES));
            }
        }
        found.push((first, page));
        Some(Addr(first * PAGE_BYTES))
    }

    /// Forgets all of it.
    pub fn forget(&self) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
