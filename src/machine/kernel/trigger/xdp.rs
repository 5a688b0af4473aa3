//! Trigger `xdp`: programs behind the entries of a device map. A program on the loopback device of a namespace of its own sends
//! every packet to all entries; each runs its program on its copy, which that drops.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use libbpf_sys::{BPF_PROG_TYPE_XDP, BPF_XDP};

use super::attached::Point;
use super::{attach_failed, hits, netns};
use crate::machine::kernel::fillers::load_failed;
use crate::machine::kernel::programs::{map, point_to_map};
use crate::machine::kernel::sys::{self, LoadAs, attach};
use crate::machine::{MachineError, Result};
use crate::workload::TriggerKind;

const NAME: &str = "hit_outlets";
/// `XDP_FLAGS_SKB_MODE`: the loopback device has no driver hook.
const GENERIC: u32 = 2;

/// A namespace whose packets run programs.
#[derive(Debug)]
pub struct Xdp {
    socket: UdpSocket,
    _link: OwnedFd,
}

impl Xdp {
    /// Puts `programs` behind the entries of a map, in their order.
    pub fn open(programs: &[OwnedFd]) -> Result<Self> {
        let outlets = map(MapType::Devmap, "outlets", 8, programs.len() as u32)?;
        let broadcast = load(&outlets)?;
        let opened = netns::inside(|| {
            for (at, program) in programs.iter().enumerate() {
                let mut outlet = netns::LOOPBACK.to_ne_bytes().to_vec();
                outlet.extend(program.as_raw_fd().to_ne_bytes());
                outlets.update(&(at as u32).to_ne_bytes(), &outlet, MapFlags::ANY).map_err(io::Error::other)?;
            }
            let link = attach::link(broadcast.as_fd(), netns::LOOPBACK, BPF_XDP, GENERIC)?;
            Ok(Self { socket: netns::sender()?, _link: link })
        });
        opened.map_err(|error| attach_failed(TriggerKind::Xdp, "attach programs", &error))
    }
}

/// The program that sends a packet to every entry of `outlets`.
fn load(outlets: &MapHandle) -> Result<OwnedFd> {
    let object = hits::load(NAME)?;
    let missing = || MachineError::failed(format!("failed to find `{NAME}` and its map in the BPF object"));
    let program = object.progs().find(|program| program.name() == NAME).ok_or_else(missing)?;
    let own = object.maps().find(|map| map.name() == "outlets").ok_or_else(missing)?;
    let mut insns = program.insns().to_vec();
    point_to_map(&mut insns, own.as_fd().as_raw_fd(), outlets.as_fd().as_raw_fd());
    let load_as = LoadAs { program: BPF_PROG_TYPE_XDP, attach: 0, target: None };
    sys::load(&insns, load_as).map_err(|error| load_failed("trigger program", &error))
}

/// The socket whose packets run the programs.
impl AsFd for Xdp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Point for Xdp {
    fn hit(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            self.socket.send(&[0])?;
        }
        Ok(())
    }

    fn again(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, _link: self._link.try_clone()? })
    }
}
