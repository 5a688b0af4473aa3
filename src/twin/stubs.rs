//! The machine code of the twin: stubs that count down and jump on, in a permuted cycle.

use crate::workload::plan::shuffle;

/// Bytes from one packed stub to the next: two cache lines, as small BPF programs have them.
const PACKED_BYTES: usize = 128;
/// Bytes from one spread stub to the next: two pages and a cache line, so that all cache sets are used evenly.
const SPREAD_BYTES: usize = 8256;
/// Bytes of one stub.
const STUB_BYTES: usize = 10;

/// How far apart stubs lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    Packed,
    Spread,
}

impl Layout {
    /// Distance between two stubs.
    pub fn stride(self) -> usize {
        match self {
            Self::Packed => PACKED_BYTES,
            Self::Spread => SPREAD_BYTES,
        }
    }

    /// Bytes that `stubs` stubs need.
    pub fn bytes(self, stubs: u32) -> usize {
        stubs as usize * self.stride()
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Packed => "packed",
            Self::Spread => "spread",
        })
    }
}

/// A cycle through all of `stubs` stubs: the order of visits, which begins at stub 0.
pub fn order(stubs: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..stubs).collect();
    if stubs > 1 {
        shuffle(&mut order[1..], &mut oorandom::Rand64::new(u128::from(seed)));
    }
    order
}

/// Offset and code of every stub: `dec edi; jz done; jmp next; done: ret`. Called with a count of jumps in `edi`, the first
/// stub passes it on, and the one that counts to zero returns.
pub fn code(layout: Layout, order: &[u32]) -> Vec<(usize, [u8; STUB_BYTES])> {
    let at = |stub: u32| stub as usize * layout.stride();
    let next = order.iter().cycle().skip(1);
    order.iter().zip(next).map(|(&stub, &next)| (at(stub), stub_code(at(stub), at(next)))).collect()
}

fn stub_code(at: usize, next: usize) -> [u8; STUB_BYTES] {
    // Relative to the end of the jump, nine bytes into the stub.
    let [a, b, c, d] = ((next as i64 - (at as i64 + 9)) as i32).to_le_bytes();
    [0xff, 0xcf, 0x74, 0x05, 0xe9, a, b, c, d, 0xc3]
}

/// Code that multiplies `edi` times [`MULTIPLICATIONS`] times, each waiting for the one before, and returns.
pub fn clock_code() -> Vec<u8> {
    let mut code = [0x0f, 0xaf, 0xc0].repeat(MULTIPLICATIONS as usize);
    // dec edi; jnz back to the begin; ret.
    let back = -(code.len() as i32 + 8);
    code.extend([0xff, 0xcf, 0x0f, 0x85]);
    code.extend(back.to_le_bytes());
    code.push(0xc3);
    code
}

/// Multiplications in a row in [`clock_code`].
pub const MULTIPLICATIONS: u32 = 500;
/// Cycles from one `imul r32, r32` to the next that needs its result: 3 on Intel from Nehalem and on AMD from Zen on.
pub const MULTIPLICATION_CYCLES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_stub_is_visited_once_a_round_in_a_seeded_order() {
        for stubs in [1, 2, 64, 1000] {
            let order = order(stubs, 7);
            assert_eq!(order.iter().copied().collect::<BTreeSet<_>>().len(), stubs as usize);
            assert_eq!(order[0], 0);
        }
        assert_eq!(order(64, 7), order(64, 7));
        assert_ne!(order(64, 7), order(64, 8));
    }

    #[test]
    fn jumps_lead_from_each_stub_to_the_next_of_the_order() {
        for layout in [Layout::Packed, Layout::Spread] {
            let order = order(50, 3);
            let code = code(layout, &order);
            for (at, (offset, bytes)) in code.iter().enumerate() {
                assert_eq!(*offset, order[at] as usize * layout.stride());
                let jump = i32::from_le_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
                let target = *offset as i64 + 9 + i64::from(jump);
                assert_eq!(target, i64::from(order[(at + 1) % 50]) * layout.stride() as i64);
            }
        }
    }

    #[test]
    fn spread_stubs_use_every_cache_line_of_a_page_and_a_page_each() {
        let lines: BTreeSet<usize> = (0..64).map(|i| i * SPREAD_BYTES % 4096 / 64).collect();
        let pages: BTreeSet<usize> = (0..64).map(|i| i * SPREAD_BYTES / 4096).collect();
        assert_eq!((lines.len(), pages.len()), (64, 64));
    }
}
