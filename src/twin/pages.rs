//! By which pages memory of this process is mapped: asked of the kernel, never assumed.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::placement::image::{PAGE_BYTES, REGION_BYTES};

/// Bit 63 of an entry of /proc/self/pagemap: present. Bits 0 to 54: the frame, 0 without CAP_SYS_ADMIN.
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// What is known of one range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Bytes that the kernel maps by 2 MiB, of the mappings that hold the range.
    pub huge_bytes: u64,
    /// Bytes that are there at all.
    pub resident_bytes: u64,
    /// Regions of 2 MiB whose frames lie in a row from an aligned one; `None` if frames are not shown.
    pub contiguous_regions: Option<u64>,
}

impl Seen {
    /// Of this process, from /proc/self/smaps and /proc/self/pagemap; `None` if the former cannot be read.
    pub fn of((from, to): (u64, u64)) -> Option<Self> {
        let mut seen = smaps(&std::fs::read_to_string("/proc/self/smaps").ok()?, from, to);
        seen.contiguous_regions = File::open("/proc/self/pagemap").ok().and_then(|file| contiguous(&file, from, to));
        Some(seen)
    }

    /// Whether the whole range of `bytes` is mapped by pages of 2 MiB.
    pub fn is_huge(&self, bytes: u64) -> bool {
        let frames = self.contiguous_regions.is_none_or(|regions| regions * REGION_BYTES == bytes);
        self.huge_bytes >= bytes && frames
    }

    /// Whether nothing of it is.
    pub fn is_small(&self) -> bool {
        self.huge_bytes == 0 && self.resident_bytes > 0
    }
}

/// Sums `AnonHugePages` and `Private_Hugetlb`, and `Rss`, of the mappings that lie in the range.
fn smaps(text: &str, from: u64, to: u64) -> Seen {
    let mut seen = Seen::default();
    let mut inside = false;
    for line in text.lines() {
        if let Some((start, end)) = header(line) {
            inside = start < to && end > from;
        } else if inside {
            let kib: Option<(&str, u64)> = line
                .split_once(':')
                .and_then(|(name, rest)| Some((name, rest.split_whitespace().next()?.parse().ok()?)));
            match kib {
                Some(("AnonHugePages", kib)) => seen.huge_bytes += kib << 10,
                Some(("Private_Hugetlb", kib)) => {
                    // hugetlbfs pages are no part of Rss.
                    seen.huge_bytes += kib << 10;
                    seen.resident_bytes += kib << 10;
                }
                Some(("Rss", kib)) => seen.resident_bytes += kib << 10,
                _ => {}
            }
        }
    }
    seen
}

/// `7f0000000000-7f0000200000 r-xp ...`
fn header(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

fn contiguous(pagemap: &File, from: u64, to: u64) -> Option<u64> {
    let mut regions = 0;
    for region in (from..to).step_by(REGION_BYTES as usize) {
        let mut entries = vec![0; 512 * 8];
        pagemap.read_exact_at(&mut entries, region / PAGE_BYTES * 8).ok()?;
        let entries: Vec<u64> = entries
            .chunks_exact(8)
            .map(|bytes| bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
            .collect();
        if entries.iter().any(|entry| entry & PRESENT != 0 && entry & FRAME == 0) {
            return None;
        }
        let first = entries[0] & FRAME;
        let row =
            entries.iter().enumerate().all(|(at, entry)| entry & PRESENT != 0 && entry & FRAME == first + at as u64);
        regions += u64::from(first.is_multiple_of(512) && row);
    }
    Some(regions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "7f0000000000-7f0000200000 r-xp 00000000 00:00 0 \n\
                         Rss:                2048 kB\nAnonHugePages:      2048 kB\nPrivate_Hugetlb:       0 kB\n\
                         7f0000200000-7f0000400000 rw-p 00000000 00:00 0 \n\
                         Rss:                   8 kB\nAnonHugePages:         0 kB\n\
                         7f0000400000-7f0000600000 r-xp 00000000 00:0f 1 /anon_hugepage\n\
                         Rss:                   0 kB\nPrivate_Hugetlb:    2048 kB\n";

    #[test]
    fn only_mappings_of_the_range_are_counted() {
        let seen = smaps(SMAPS, 0x7f00_0000_0000, 0x7f00_0020_0000);
        assert_eq!((seen.huge_bytes, seen.resident_bytes), (2 << 20, 2 << 20));
        assert!(seen.is_huge(2 << 20) && !seen.is_huge(4 << 20) && !seen.is_small());
        assert!(smaps(SMAPS, 0x7f00_0020_0000, 0x7f00_0040_0000).is_small());
        assert!(smaps(SMAPS, 0x7f00_0040_0000, 0x7f00_0060_0000).is_huge(2 << 20));
        assert!(!smaps(SMAPS, 0x1000, 0x2000).is_small(), "nothing is there");
    }

    #[test]
    fn frames_that_are_shown_must_lie_in_a_row() {
        let seen = Seen { huge_bytes: 4 << 20, resident_bytes: 4 << 20, contiguous_regions: Some(1) };
        assert!(!seen.is_huge(4 << 20));
        assert!(Seen { contiguous_regions: Some(2), ..seen }.is_huge(4 << 20));
        assert!(Seen { contiguous_regions: None, ..seen }.is_huge(4 << 20));
    }

    #[test]
    fn this_process_sees_its_own_memory() {
        let memory = vec![1u8; 1 << 20];
        let from = memory.as_ptr() as u64;
        let seen = Seen::of((from, from + (1 << 20))).expect("smaps");
        assert!(seen.resident_bytes >= 1 << 20, "{seen:?}");
    }
}
