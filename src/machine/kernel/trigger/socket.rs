//! Trigger `socket`: a filter on each of many sockets. A datagram to each runs all; the filters keep nothing of it, so there is
//! nothing to receive.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use super::attached::Point;
use crate::machine::kernel::sys::attach;

/// Pairs of sockets: the second of each has the filter.
#[derive(Debug)]
pub struct Sockets {
    pairs: Arc<Vec<(UnixDatagram, UnixDatagram)>>,
}

impl Sockets {
    /// A pair for each of `programs`.
    pub fn open<'a>(programs: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<Self> {
        let pair = |program: BorrowedFd<'_>| {
            let pair = UnixDatagram::pair()?;
            attach::socket_filter(pair.1.as_fd(), program)?;
            Ok(pair)
        };
        Ok(Self { pairs: Arc::new(programs.map(pair).collect::<io::Result<_>>()?) })
    }
}

impl Sockets {
    /// Where datagrams are sent from.
    pub fn senders(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pairs.iter().map(|(from, _)| from.as_fd())
    }
}

impl Point for Sockets {
    fn hit(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            for (from, _) in self.pairs.iter() {
                from.send(&[0])?;
            }
        }
        Ok(())
    }

    fn again(&self) -> io::Result<Self> {
        Ok(Self { pairs: Arc::clone(&self.pairs) })
    }
}
