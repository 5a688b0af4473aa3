//! Samples added up: by owner, by page, and what IBS tells besides.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ibs::Page;
use super::owner::{ByAddress, Owner, Symbols};
use super::record::{Mode, Record, Sampled};
use crate::counters::Event;
use crate::placement::Image;

/// How well the address of a sample is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Of the instruction that missed (PEBS).
    Exact,
    /// Of the fetch that missed (IBS).
    Fetch,
    /// Where the interrupt came, some instructions later: often in the next program.
    Skid,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "address of the instruction",
            Self::Fetch => "address of the fetch",
            Self::Skid => "address with skid: some instructions late, often in the next program",
        })
    }
}

/// What is sampled, once for a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    pub event: Event,
    /// Events, or fetches, from one sample to the next.
    pub period: u64,
    pub precision: Precision,
}

/// Samples of one program or function in one page of 4 KiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    #[serde(flatten)]
    pub owner: Owner,
    /// Address of the page, hexadecimal.
    pub page: String,
    pub samples: u64,
}

/// The samples of one trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misses {
    /// Misses sampled.
    pub samples: u64,
    /// Records that did not fit the buffer, and times the kernel stopped sampling.
    pub lost: u64,
    pub throttled: u64,
    /// Samples by [`Owner::kind`].
    pub by_kind: BTreeMap<String, u64>,
    /// The spots with most samples, most first.
    pub top: Vec<Spot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetches: Option<Fetches>,
}

/// What IBS tells besides the address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetches {
    /// Fetches sampled, misses among them.
    pub sampled: u64,
    /// Misses of both levels.
    pub walks: u64,
    /// Misses by the size of the page.
    pub by_page: BTreeMap<Page, u64>,
    /// Median cycles from a miss to its refill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refill_cycles: Option<u16>,
}

/// Spots kept in a run file.
const TOP: usize = 16;

impl Misses {
    /// Adds up `records`. Fetches without a miss count as fetches only.
    pub fn of(records: &[Record], images: &[Image], symbols: &Symbols) -> Self {
        let images = ByAddress::new(images);
        let mut misses = Self::default();
        let mut spots: BTreeMap<(Owner, u64), u64> = BTreeMap::new();
        let mut refills = Vec::new();
        for record in records {
            match record {
                Record::Lost(records) => misses.lost += records,
                Record::Throttled => misses.throttled += 1,
                Record::Other => {}
                Record::Sample(sampled) => {
                    if misses.is_miss(sampled, &mut refills) {
                        *spots.entry((owner(sampled, &images, symbols), sampled.addr >> 12)).or_default() += 1;
                    }
                }
            }
        }
        refills.sort_unstable();
        if let Some(fetches) = &mut misses.fetches {
            fetches.refill_cycles = refills.get(refills.len().saturating_sub(1) / 2).copied();
        }
        misses.settle(spots);
        misses
    }

    fn is_miss(&mut self, sampled: &Sampled, refills: &mut Vec<u16>) -> bool {
        let Some(fetch) = sampled.fetch else { return true };
        let fetches = self.fetches.get_or_insert_default();
        fetches.sampled += 1;
        if !fetch.l1_itlb_miss {
            return false;
        }
        fetches.walks += u64::from(fetch.l2_itlb_miss);
        if let Some(page) = fetch.page {
            *fetches.by_page.entry(page).or_default() += 1;
        }
        refills.extend(fetch.refill_cycles);
        true
    }

    fn settle(&mut self, spots: BTreeMap<(Owner, u64), u64>) {
        for ((owner, _), samples) in &spots {
            self.samples += samples;
            *self.by_kind.entry(owner.kind().to_owned()).or_default() += samples;
        }
        let spot =
            |((owner, page), samples): ((Owner, u64), u64)| Spot { owner, page: format!("{:#x}", page << 12), samples };
        self.top = spots.into_iter().map(spot).collect();
        // Stable: equal counts stay in the order of owner and page.
        self.top.sort_by_key(|spot| std::cmp::Reverse(spot.samples));
        self.top.truncate(TOP);
    }
}

/// User code is known by its mode alone.
fn owner(sampled: &Sampled, images: &ByAddress, symbols: &Symbols) -> Owner {
    match sampled.mode {
        Mode::User => Owner::User,
        _ => symbols.owner(sampled.addr, images),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Addr;
    use crate::sampling::ibs::Fetch;

    const PROGRAM: u64 = 0xffff_ffff_c004_8040;

    fn at(addr: u64, fetch: Option<Fetch>) -> Record {
        Record::Sample(Sampled { addr, exact: false, mode: Mode::Kernel, fetch })
    }

    fn tally(records: &[Record]) -> Misses {
        let symbols = Symbols::parse("ffffffff81000000 T entry\n");
        Misses::of(records, &[Image { addr: Addr(PROGRAM), len: 121 }], &symbols)
    }

    #[test]
    fn samples_are_added_up_by_owner_and_page_with_most_first() {
        let found = tally(&[
            at(0xffff_ffff_8100_0010, None),
            at(PROGRAM, None),
            at(PROGRAM + 120, None),
            at(PROGRAM, None),
            Record::Lost(5),
            Record::Throttled,
            Record::Other,
        ]);
        assert_eq!((found.samples, found.lost, found.throttled), (4, 5, 1));
        let kinds: Vec<(&str, u64)> = found.by_kind.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(kinds, [("kernel text", 1), ("measured programs", 3)]);
        let first = Spot { owner: Owner::Measured(0), page: "0xffffffffc0048000".to_owned(), samples: 3 };
        assert_eq!(found.top[0], first);
        assert_eq!(found.top.len(), 2);
        assert_eq!(found.fetches, None);
    }

    #[test]
    fn ibs_fetches_without_a_miss_are_no_misses() {
        let fetch = |l1_itlb_miss, l2_itlb_miss, page, refill_cycles| Fetch {
            addr: PROGRAM,
            complete: true,
            l1_itlb_miss,
            l2_itlb_miss,
            page: Some(page),
            latency_cycles: 9,
            refill_cycles,
            icache_miss: None,
            l2_cache_miss: false,
            op_cache_miss: None,
            l3_miss: None,
        };
        let records = [
            at(PROGRAM, Some(fetch(false, false, Page::Small, None))),
            at(PROGRAM, Some(fetch(true, false, Page::Coalesced, Some(8)))),
            at(PROGRAM, Some(fetch(true, true, Page::Small, Some(40)))),
            at(PROGRAM, Some(fetch(true, true, Page::Small, Some(60)))),
        ];
        let found = tally(&records);
        let fetches = found.fetches.expect("IBS");
        assert_eq!((found.samples, fetches.sampled, fetches.walks, fetches.refill_cycles), (3, 4, 2, Some(40)));
        assert_eq!(fetches.by_page, BTreeMap::from([(Page::Small, 2), (Page::Coalesced, 1)]));
    }

    #[test]
    fn only_the_top_spots_are_kept_and_all_are_counted() {
        let many: Vec<Record> = (0..40).map(|page| at(0xffff_ffff_8100_0000 + (page << 12), None)).collect();
        let found = tally(&many);
        assert_eq!((found.top.len(), found.samples), (TOP, 40));
    }
}
