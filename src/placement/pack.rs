//! Chunk arithmetic of `bpf_prog_pack_alloc` and `bpf_jit_binary_pack_alloc` (kernel/bpf/core.c).

use super::image::{Addr, Image};

/// Grain of a pack: `BPF_PROG_CHUNK_SIZE`.
pub const CHUNK_BYTES: u64 = 64;
/// Chunks in a 4 KiB page.
pub const CHUNKS_PER_PAGE: u32 = 64;
/// `struct bpf_binary_header`: u32 size, padded to 8 bytes.
pub const HEADER_BYTES: u64 = 8;
/// Room that `bpf_jit_binary_pack_alloc` adds for the random start hole.
pub const HOLE_BYTES: u64 = 16;

/// Chunks the kernel reserves for a program of `jited_bytes` with no exception table:
/// `round_up(proglen + sizeof(header) + 16, BPF_PROG_CHUNK_SIZE)`, proglen rounded up to 4.
pub fn chunks(jited_bytes: u32) -> u32 {
    let charged = u64::from(jited_bytes).next_multiple_of(4) + HEADER_BYTES + HOLE_BYTES;
    charged.div_ceil(CHUNK_BYTES) as u32
}

/// Most bytes of code that fit in `chunks` chunks.
pub fn jited_bytes_for(chunks: u32) -> u32 {
    (u64::from(chunks) * CHUNK_BYTES - HEADER_BYTES - HOLE_BYTES) as u32
}

/// First address of the chunk that holds `addr`. For a program this is where its header lies.
pub fn chunk_base(addr: Addr) -> Addr {
    Addr(addr.0 / CHUNK_BYTES * CHUNK_BYTES)
}

/// First address of the chunks that `image` takes.
pub fn base(image: &Image) -> u64 {
    chunk_base(image.addr).0
}

/// First address behind the chunks that `image` takes.
pub fn end(image: &Image) -> u64 {
    base(image) + u64::from(chunks(image.len)) * CHUNK_BYTES
}

/// The functions of a program as one piece, from the first one's code to the end of the last one's chunks; `None` if they do not lie one
/// behind the other. Every function has header and chunks of its own, so the piece has INT3 between them.
pub fn piece(functions: &[Image]) -> Option<Image> {
    let (first, last) = (functions.first()?, functions.last()?);
    if functions.len() == 1 {
        return Some(*first);
    }
    let one_behind_the_other = functions.windows(2).all(|pair| end(&pair[0]) == base(&pair[1]));
    one_behind_the_other.then(|| {
        let chunks = ((end(last) - base(first)) / CHUNK_BYTES) as u32;
        // As many bytes as take these chunks, and none behind them.
        let len = jited_bytes_for(chunks).min((end(last) - first.addr.0) as u32);
        Image { addr: first.addr, len }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_lie_one_behind_the_other_are_one_piece_with_all_their_chunks() {
        for start in [8, 24, 60] {
            let at = |chunk: u64, start: u64, len| Image { addr: Addr(0x10_0000 + chunk * CHUNK_BYTES + start), len };
            // Two, one and three chunks.
            let functions = [at(0, start, 60), at(2, 8, 20), at(3, 20, 150)];
            let piece = piece(&functions).expect("one behind the other");
            assert_eq!((base(&piece), end(&piece)), (0x10_0000, 0x10_0000 + 6 * CHUNK_BYTES), "starting at {start}");
            assert!(piece.addr == functions[0].addr && piece.end().0 <= end(&piece));
            assert!(functions[2].end() <= piece.end());
        }
        let (one, other) = (Image { addr: Addr(0x1008), len: 20 }, Image { addr: Addr(0x1088), len: 20 });
        assert_eq!((piece(&[one, other]), piece(&[other, one]), piece(&[one])), (None, None, Some(one)));
    }

    #[test]
    fn chunk_counts_follow_the_kernel_rule() {
        for (bytes, expected) in
            [(20, 1), (38, 1), (40, 1), (41, 2), (58, 2), (104, 2), (107, 3), (4072, 64), (4073, 65)]
        {
            assert_eq!(chunks(bytes), expected, "{bytes} bytes");
        }
    }

    #[test]
    fn capacity_is_the_inverse_of_the_charge() {
        for n in 1..400 {
            assert_eq!(chunks(jited_bytes_for(n)), n);
            assert_eq!(chunks(jited_bytes_for(n) + 1), n + 1);
        }
    }
}
