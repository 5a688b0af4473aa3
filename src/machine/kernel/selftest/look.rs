//! Kernel memory by address, through a program that is never attached.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::{Object, ObjectBuilder};
use libbpf_sys::bpf_insn;

use crate::machine::kernel::sys::{self, ProgramType};
use crate::machine::{MachineError, Result};
use crate::placement::{Image, pack};
use crate::selftest::trace::Left;

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/selftest.bpf.o"));
/// What freed text is filled with.
const INT3: u8 = 0xcc;

/// Reads kernel memory. One for all loaders: it keeps nothing between two reads.
#[derive(Debug)]
pub struct Look {
    program: OwnedFd,
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
    let look = insns("look").map_err(|error| cannot(&error))?;
    let program = sys::load_program(ProgramType::RawTracepoint, c"itlbench", &look).map_err(|error| cannot(&error))?;
    // A kernel that does not know the helper refuses it: the loader says so when it is asked for it.
    Ok((Look { program }, insns("extable").unwrap_or_default()))
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

    /// What lies where `image` was; `live` are the images that are there now.
    pub fn left(&self, image: &Image, live: &[Image]) -> Left {
        let (base, end) = (pack::base(image), pack::end(image));
        if !self.is_mapped(base) {
            return Left::Unmapped;
        }
        if live.iter().any(|other| pack::base(other) < end && base < pack::end(other)) {
            return Left::Taken;
        }
        let bytes = self.bytes(base, (end - base) as usize);
        match bytes.iter().filter(|byte| **byte != INT3).count() as u32 {
            0 => Left::Filled,
            // A header of whole chunks in front: somebody has loaded there.
            differing if is_header(&bytes) && differing > 0 && !self.is_own_header(image, &bytes) => Left::Taken,
            bytes => Left::Stale { bytes },
        }
    }

    /// Whether the header is still that of `image` itself, whose memory ought to be free.
    fn is_own_header(&self, image: &Image, bytes: &[u8]) -> bool {
        let size = u64::from(header(bytes));
        let at = (image.addr.0 - pack::base(image)) as usize;
        // Between header and code is INT3, so the code of another program begins elsewhere, most of the time.
        size == pack::end(image) - pack::base(image)
            && bytes[8..at].iter().all(|byte| *byte == INT3)
            && bytes[at] != INT3
    }
}

fn header(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |chunk| u32::from_ne_bytes(*chunk))
}

fn is_header(bytes: &[u8]) -> bool {
    let size = u64::from(header(bytes));
    size > 0 && size.is_multiple_of(pack::CHUNK_BYTES) && size <= 1 << 24
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_whole_chunks() {
        assert!(is_header(&[0x40, 0, 0, 0, 0xcc]));
        assert!(!is_header(&[0xcc; 8]) && !is_header(&[0x41, 0, 0, 0]) && !is_header(&[0; 8]));
    }
}
