//! Trigger `uprobe`: multi-uprobes on a function of this process that does nothing, for this process alone. One call runs all.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::Firing;
use super::attached::Hook;
use crate::machine::Target;
use crate::machine::kernel::sys::attach;

const OWN_FILE: &CStr = c"/proc/self/exe";

/// Programs on one function, the empty program on another.
#[derive(Debug)]
pub struct Uprobes {
    _links: Vec<OwnedFd>,
}

/// Attaches.
pub fn open(programs: &[OwnedFd], empty: &OwnedFd) -> io::Result<Uprobes> {
    let pid = std::process::id();
    let maps = fs::read_to_string("/proc/self/maps")?;
    let offset = |function: extern "C" fn()| {
        let address = function as usize as u64;
        file_offset(&maps, address).ok_or_else(|| io::Error::other("the probed function is in no mapped file"))
    };
    let (probed, probed_empty) = (offset(attach::probed)?, offset(attach::probed_empty)?);
    // The kernel puts a new consumer in front of the others: the last one runs first.
    let links = programs.iter().rev().map(|program| attach::uprobe(program.as_fd(), OWN_FILE, probed, pid));
    let mut links = links.collect::<io::Result<Vec<_>>>()?;
    links.push(attach::uprobe(empty.as_fd(), OWN_FILE, probed_empty, pid)?);
    Ok(Uprobes { _links: links })
}

/// Offset in its file of what is mapped at `address`, from the text of /proc/self/maps.
fn file_offset(maps: &str, address: u64) -> Option<u64> {
    maps.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end, offset) = (hex(start)?, hex(end)?, hex(words.nth(1)?)?);
        (start..end).contains(&address).then(|| address - start + offset)
    })
}

impl Hook for Uprobes {
    fn hit(&mut self, target: Target, times: u32) -> io::Result<()> {
        Call.hit(target, times)
    }

    fn again(&self) -> io::Result<Box<dyn Firing>> {
        Ok(Box::new(Call))
    }
}

/// Calls the function; the probes are on it for every thread of this process.
#[derive(Debug)]
struct Call;

impl Firing for Call {
    fn hit(&mut self, target: Target, times: u32) -> io::Result<()> {
        let probed: extern "C" fn() = match target {
            Target::Programs => attach::probed,
            Target::Empty => attach::probed_empty,
        };
        for _ in 0..times {
            probed();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_the_file_it_is_mapped_from() {
        let maps = "55d0a000-55d0b000 r--p 00000000 fe:00 12 /x\n55d0b000-55d0f000 r-xp 00001000 fe:00 12 /x\n";
        assert_eq!(file_offset(maps, 0x55d0_b123), Some(0x1123));
        assert_eq!(file_offset(maps, 0x55d0_f000), None);
    }
}
