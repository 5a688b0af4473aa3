//! Kernel memory by address, through a program that is never attached.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::{Object, ObjectBuilder};
use libbpf_sys::bpf_insn;

use crate::machine::kernel::maps::{lacks_bpf, load_error};
use crate::machine::kernel::sys::{self, ProgramType};
use crate::machine::{MachineError, Result};
use crate::placement::image::PAGE_BYTES;
use crate::placement::{Image, pack};
use crate::selftest::trace::Left;

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/selftest.bpf.o"));
/// What freed text is filled with.
const INT3: u8 = 0xcc;

/// Reads kernel memory. One for all loaders: it keeps nothing between two reads.
#[derive(Debug)]
pub struct Look {
    program: OwnedFd,
    /// Before 5.18 a program has pages of its own, and its header counts them; since then it has chunks of a pack.
    pub own_pages: bool,
}

/// Opens it, and takes the instructions of the program with an exception table.
pub fn open() -> Result<(Look, Vec<bpf_insn>)> {
    let cannot = |error: &dyn std::fmt::Display| {
        MachineError::host_cannot(
            format!("failed to load the program that reads kernel memory: {error}"),
            "run as root, with the kernel's BTF (CONFIG_DEBUG_INFO_BTF) and without lockdown=confidentiality",
        )
    };
    let insns = |wanted: &str| -> std::result::Result<Vec<bpf_insn>, libbpf_rs::Error> {
        let mut open = ObjectBuilder::default().open_memory(OBJECT)?;
        open.progs_mut().for_each(|mut program| {
            let loads = program.name() == wanted;
            program.set_autoload(loads);
        });
        let object: Object = open.load()?;
        Ok(object
            .progs()
            .find(|program| program.name() == wanted)
            .map(|program| program.insns().to_vec())
            .unwrap_or_default())
    };
    let look = insns("look").map_err(|error| match lacks_bpf(&error) {
        true => load_error("the program that reads kernel memory", &error),
        false => cannot(&error),
    })?;
    let program = sys::load_program(ProgramType::RawTracepoint, c"itlbench", &look).map_err(|error| cannot(&error))?;
    // A kernel that does not know the helper refuses it: the loader says so when it is asked for it.
    Ok((Look { program, own_pages: false }, insns("extable").unwrap_or_default()))
}

impl Look {
    /// The word at `addr`; 0xcccccccc if nothing is mapped there.
    pub fn word(&self, addr: u64) -> io::Result<u32> {
        sys::run_raw(self.program.as_fd(), [addr, 0])
    }

    /// Whether anything is mapped at `addr`.
    pub fn is_mapped(&self, addr: u64) -> bool {
        sys::run_raw(self.program.as_fd(), [addr, 1]).is_ok_and(|mapped| mapped == 1)
    }

    /// `len` bytes from `addr`.
    pub fn bytes(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 4);
        while bytes.len() < len {
            bytes.extend(self.word(addr + bytes.len() as u64).unwrap_or(0).to_ne_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// What `image` takes, with its header.
    fn extent(&self, image: &Image) -> Range<u64> {
        match self.own_pages {
            false => pack::base(image)..pack::end(image),
            true => image.addr.page() * PAGE_BYTES..image.end().0.next_multiple_of(PAGE_BYTES),
        }
    }

    /// What lies where `image` was; `live` are the images that are there now.
    pub fn left(&self, image: &Image, live: &[Image]) -> Left {
        let extent = self.extent(image);
        if !self.is_mapped(extent.start) {
            return Left::Unmapped;
        }
        let meets = |other: Range<u64>| other.start < extent.end && extent.start < other.end;
        if live.iter().any(|other| meets(self.extent(other))) {
            return Left::Taken;
        }
        let bytes = self.bytes(extent.start, (extent.end - extent.start) as usize);
        match bytes.iter().filter(|byte| **byte != INT3).count() as u32 {
            0 => Left::Filled,
            // A header in front that is not ours: somebody has loaded there.
            differing if self.is_header(&bytes) && differing > 0 && !self.is_own_header(image, &bytes) => Left::Taken,
            bytes => Left::Stale { bytes },
        }
    }

    fn is_header(&self, bytes: &[u8]) -> bool {
        let size = u64::from(header(bytes));
        let grain = if self.own_pages { 1 } else { pack::CHUNK_BYTES };
        size > 0 && size.is_multiple_of(grain) && size <= 1 << 24
    }

    /// Whether the header is still that of `image` itself, whose memory ought to be free.
    fn is_own_header(&self, image: &Image, bytes: &[u8]) -> bool {
        let (extent, size) = (self.extent(image), u64::from(header(bytes)));
        let size = if self.own_pages { size * PAGE_BYTES } else { size };
        let at = (image.addr.0 - extent.start) as usize;
        // Between header and code is INT3, so the code of another program begins elsewhere, most of the time.
        size == extent.end - extent.start && bytes[8..at].iter().all(|byte| *byte == INT3) && bytes[at] != INT3
    }
}

fn header(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |chunk| u32::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::placement::Addr;

    fn look(own_pages: bool) -> Look {
        let program = OwnedFd::from(std::fs::File::open("/dev/null").expect("a descriptor"));
        Look { program, own_pages }
    }

    #[test]
    fn headers_are_whole_chunks_or_a_number_of_pages() {
        let packs = look(false);
        assert!(packs.is_header(&[0x40, 0, 0, 0, 0xcc]));
        assert!(!packs.is_header(&[0xcc; 8]) && !packs.is_header(&[0x41, 0, 0, 0]) && !packs.is_header(&[0; 8]));
        let pages = look(true);
        assert!(pages.is_header(&[1, 0, 0, 0, 0xcc]) && !pages.is_header(&[0xcc; 8]) && !pages.is_header(&[0; 8]));
    }

    #[test]
    fn what_an_image_takes_is_chunks_or_pages() {
        let image = Image { addr: Addr(0xffff_ffff_c000_1234), len: 0x100 };
        assert_eq!(look(false).extent(&image), 0xffff_ffff_c000_1200..0xffff_ffff_c000_1340);
        assert_eq!(look(true).extent(&image), 0xffff_ffff_c000_1000..0xffff_ffff_c000_2000);
    }

    #[test]
    fn a_program_at_another_offset_of_the_page_is_another_program() {
        let image = Image { addr: Addr(0x1010), len: 16 };
        let page = |at: usize| {
            let mut bytes = vec![INT3; PAGE_BYTES as usize];
            bytes[..4].copy_from_slice(&1u32.to_ne_bytes());
            bytes[at] = 0x0f;
            bytes
        };
        let look = look(true);
        assert!(look.is_own_header(&image, &page(0x10)));
        assert!(!look.is_own_header(&image, &page(0x0c)) && !look.is_own_header(&image, &page(0x40)));
    }
}
