//! A network namespace that lives as long as a descriptor of it: a socket, or a link on one of its devices.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use crate::machine::kernel::sys::attach;

/// The loopback device is the first of every namespace.
pub const LOOPBACK: i32 = 1;
/// Nobody listens there; packets are dropped before they arrive.
const DISCARD: u16 = 9;

/// Does `work` in a new namespace with its loopback device up. Only a thread of its own enters the namespace, so there is no way
/// back to be missed; what `work` returns keeps the namespace, and nothing else does.
pub fn inside<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let thread = || {
        attach::unshare_network()?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        attach::bring_up(socket.as_fd(), c"lo")?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(thread).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread in the network namespace panicked")))
}

/// A socket whose packets go to the loopback device of this thread's namespace.
pub fn sender() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, DISCARD))?;
    Ok(socket)
}
