//! A page of our own whose frame the kernel tells: what is found there shows that a way of reading is right.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::placement::image::PAGE_BYTES;

/// Bits of an entry of /proc/self/pagemap that hold the frame, and the one that says it is there (Documentation/admin-guide/mm/pagemap.rst).
const FRAME: u64 = (1 << 55) - 1;
const PRESENT: u64 = 1 << 63;

/// A page that holds bytes nobody else has.
#[derive(Debug)]
pub struct Marker {
    memory: Vec<u8>,
    start: usize,
}

impl Marker {
    /// A page filled from `seed`.
    pub fn new(seed: u64) -> Self {
        let page = PAGE_BYTES as usize;
        let mut memory = vec![0u8; 2 * page];
        let start = memory.as_ptr().align_offset(page);
        let mut random = oorandom::Rand64::new(u128::from(seed));
        for word in memory[start..start + page].chunks_exact_mut(8) {
            word.copy_from_slice(&random.rand_u64().to_ne_bytes());
        }
        Self { memory, start }
    }

    /// Its address.
    pub fn addr(&self) -> u64 {
        self.bytes().as_ptr() as u64
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + PAGE_BYTES as usize]
    }

    /// The frame it is in now; the kernel hides it (0) from processes without CAP_SYS_ADMIN.
    pub fn frame(&self) -> Result<u64, String> {
        let mut entry = [0; 8];
        let read = File::open("/proc/self/pagemap")
            .and_then(|pagemap| pagemap.read_exact_at(&mut entry, self.addr() / PAGE_BYTES * 8));
        read.map_err(|error| format!("`/proc/self/pagemap`: {error}"))?;
        let entry = u64::from_ne_bytes(entry);
        match (entry & PRESENT != 0, entry & FRAME) {
            (true, 0) => Err("`/proc/self/pagemap` hides frame numbers; CAP_SYS_ADMIN is needed".to_owned()),
            (true, frame) => Ok(frame),
            (false, _) => Err("a page of our own is swapped out".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_a_whole_page_and_unlike_others() {
        let (one, other) = (Marker::new(1), Marker::new(2));
        assert_eq!((one.addr() % PAGE_BYTES, one.bytes().len() as u64), (0, PAGE_BYTES));
        assert_ne!(one.bytes(), other.bytes());
    }
}
