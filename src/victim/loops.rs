//! What each victim does. A unit takes about a millisecond or less.

use std::hint::black_box;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};

use super::VictimKind;
use crate::placement::image::PAGE_BYTES;
use crate::twin::code::{Code, Pages, Supply};
use crate::twin::stubs::{self, Layout};
use crate::workload::plan::shuffle;

/// Stubs of 128 bytes: 1 MiB.
const STUBS: u32 = 8192;
const CALLS: u32 = 4000;
const ROUND_TRIPS: u32 = 100;
/// Sent in one unit.
pub const DATAGRAMS: u32 = 400;
const COPIED_BYTES: usize = 16 << 20;
const TOUCHED_PAGES: usize = 4096;
/// The order of jumps and touches is the same in every run.
const SEED: u64 = 0x6c6f_6164;

/// Does `units` units of work.
pub fn work(kind: VictimKind, units: u32) -> io::Result<()> {
    match kind {
        VictimKind::Code => code(units),
        VictimKind::Syscall => {
            for _ in 0..u64::from(units) * u64::from(CALLS) {
                black_box(rustix::process::getppid());
            }
            Ok(())
        }
        VictimKind::Pipe => pipe(units),
        VictimKind::Datagram => datagram(units),
        VictimKind::Memory => {
            memory(units);
            Ok(())
        }
    }
}

fn code(units: u32) -> io::Result<()> {
    let stubs = stubs::code(Layout::Packed, &stubs::order(STUBS, SEED));
    let parts: Vec<(usize, &[u8])> = stubs.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
    let code = Code::new(&parts, Pages::Small, Supply::Transparent)?;
    (0..units).for_each(|_| code.run(STUBS));
    Ok(())
}

/// The other end is a thread, on the same CPU where the process may use only one.
fn pipe(units: u32) -> io::Result<()> {
    let (mut there, mut to) = io::pipe()?;
    let (mut from, mut back) = io::pipe()?;
    let echo = std::thread::spawn(move || -> io::Result<()> {
        let mut byte = [0u8];
        while there.read(&mut byte)? == 1 {
            back.write_all(&byte)?;
        }
        Ok(())
    });
    let mut byte = [7u8];
    for _ in 0..u64::from(units) * u64::from(ROUND_TRIPS) {
        to.write_all(&byte)?;
        from.read_exact(&mut byte)?;
    }
    drop(to);
    echo.join().map_err(|_| io::Error::other("the other end of the pipe died"))?
}

fn datagram(units: u32) -> io::Result<()> {
    let (from, to) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    from.connect(to.local_addr()?)?;
    let mut byte = [7u8];
    for _ in 0..u64::from(units) * u64::from(DATAGRAMS) {
        from.send(&byte)?;
        to.recv(&mut byte)?;
    }
    Ok(())
}

fn memory(units: u32) {
    let page = PAGE_BYTES as usize;
    let from = vec![1u8; COPIED_BYTES];
    let mut to = vec![0u8; COPIED_BYTES];
    let mut order: Vec<usize> = (0..TOUCHED_PAGES).collect();
    shuffle(&mut order, &mut oorandom::Rand64::new(u128::from(SEED)));
    // A unit copies a sixteenth, and touches all.
    let part = COPIED_BYTES / 16;
    for unit in 0..units as usize {
        let at = unit % 16 * part;
        to[at..at + part].copy_from_slice(black_box(&from[at..at + part]));
        let touched = order.iter().fold(0u64, |sum, at| sum + u64::from(to[at * page + at % 61 * 64]));
        black_box(touched);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;
    use std::time::{Duration, Instant};

    #[test]
    fn every_victim_does_its_work_and_more_of_it_takes_longer() {
        for kind in VictimKind::value_variants().iter().copied() {
            let time = |units| {
                let began = Instant::now();
                work(kind, units).expect("works");
                began.elapsed()
            };
            // In turns, and again where other work on the CPU fell upon one of the two.
            let times = |_| {
                let (mut few, mut many) = (Duration::MAX, Duration::MAX);
                for _ in 0..6 {
                    few = few.min(time(4));
                    many = many.min(time(100));
                }
                (few, many)
            };
            let tries: Vec<_> = (0..4).map(times).take_while(|(few, many)| *many < *few * 3 / 2).collect();
            assert!(tries.len() < 4, "{kind}: {tries:?}");
        }
    }
}
