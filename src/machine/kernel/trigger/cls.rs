//! Trigger `cls`: classifiers in direct-action mode on egress of the loopback device of a namespace of their own. One packet runs
//! all; the last one drops it, so that nothing behind is paid for.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libbpf_rs::{TC_EGRESS, TcHookBuilder};

use super::attached::Point;
use super::netns;

/// `TC_ACT_SHOT`.
pub const DROP: i32 = 2;

/// A namespace with classifiers. It goes with its socket, and its qdisc and classifiers with it.
#[derive(Debug)]
pub struct Cls {
    socket: UdpSocket,
}

impl Cls {
    /// Attaches `programs`, and `drop` behind them.
    pub fn open(programs: &[OwnedFd], drop: &OwnedFd) -> io::Result<Self> {
        let socket = netns::inside(|| {
            // The kernel puts a new classifier in front of those of its priority: the last one comes first.
            for (at, program) in std::iter::once(drop).chain(programs.iter().rev()).enumerate() {
                classifier(program.as_fd(), at as u32 + 1)?;
            }
            netns::sender()
        })?;
        Ok(Self { socket })
    }
}

fn classifier(program: BorrowedFd<'_>, handle: u32) -> io::Result<()> {
    let mut builder = TcHookBuilder::new(program);
    builder.ifindex(netns::LOOPBACK).replace(false).handle(handle).priority(1);
    let mut hook = builder.hook(TC_EGRESS);
    if handle == 1 {
        hook.create().map_err(io::Error::other)?;
    }
    hook.attach().map(drop).map_err(io::Error::other)
}

/// The socket whose packets run the programs.
impl AsFd for Cls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Point for Cls {
    fn hit(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            self.socket.send(&[0])?;
        }
        Ok(())
    }

    fn again(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()? })
    }
}
