//! What the kernel counts against net.core.bpf_jit_limit. It shows that nowhere, but refuses whoever has no CAP_BPF beyond the limit: so the
//! limit is lowered for the moment of a load, again and again, until it is known where loads begin to fail.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use socket2::{SockFilter, SockRef};

pub const LIMIT: &str = "/proc/sys/net/core/bpf_jit_limit";
const ENOTSUPP: i32 = 524;

/// This thread without the right to go beyond the limit, until dropped.
#[derive(Debug)]
pub struct Unprivileged(CapabilitySets);

impl Unprivileged {
    /// Gives it up.
    pub fn new() -> io::Result<Self> {
        let sets = capabilities(None)?;
        let effective = sets.effective - (CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
        set_capabilities(None, CapabilitySets { effective, ..sets })?;
        Ok(Self(sets))
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        // They are still permitted: this does not fail.
        let _ = set_capabilities(None, self.0);
    }
}

/// The limit now.
pub fn limit() -> io::Result<u64> {
    fs::read_to_string(LIMIT)?.trim().parse().map_err(io::Error::other)
}

/// Sets it.
pub fn set_limit(bytes: u64) -> io::Result<()> {
    fs::write(LIMIT, format!("{bytes}\n"))
}

/// The lowest limit at which a small filter is loaded; `freed` waits until the one that was loaded last is gone again. `None` if it is
/// loaded at any: then it is interpreted.
pub fn charged(mut freed: impl FnMut() -> io::Result<()>) -> io::Result<Option<u64>> {
    let found = limit()?;
    let (mut refused, mut loaded) = (0, found);
    while loaded - refused > 1 {
        let middle = refused + (loaded - refused) / 2;
        if loads_at(middle, found)? {
            loaded = middle;
            freed()?;
        } else {
            refused = middle;
        }
    }
    Ok((loaded > 1).then_some(loaded))
}

/// Whether a filter is loaded under this limit, which stands for no longer than that takes.
fn loads_at(bytes: u64, found: u64) -> io::Result<bool> {
    let (_one, other) = UnixDatagram::pair()?;
    set_limit(bytes)?;
    let attached = Unprivileged::new().and_then(|unprivileged| {
        let attached = SockRef::from(&other).attach_filter(&[SockFilter::new(0x06, 0, 0, 1)]);
        drop(unprivileged);
        attached
    });
    set_limit(found)?;
    match attached {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(ENOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}
