//! Trigger `cgroup`: egress filters of nested control groups. A control group takes few programs, so they are spread over levels;
//! a packet of a socket in the innermost runs the programs of all.
//!
//! The directories are gone before the first window. A socket belongs to the group its process was in when it was made, and keeps
//! the group's programs in effect after `rmdir`; so this process enters the innermost group only to make the socket, leaves, and
//! removes what it made. From then on all hangs on descriptors. What a kill within those milliseconds leaves is removed by the next
//! start, by the name of its dead owner. Groups that a victim is to live in stay as long as it does; see `inhabited.rs`.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use libbpf_sys::BPF_CGROUP_INET_EGRESS;

use super::attached::Point;
use super::netns;
use crate::machine::kernel::sys::attach;

/// What the last program returns: the packet is not sent.
pub const DROP: i32 = 0;
/// `BPF_CGROUP_MAX_PROGS`.
const PROGRAMS_PER_GROUP: usize = 64;
const NAME: &str = "itlbench";
pub const MEMBERS: &str = "cgroup.procs";

/// A socket in control groups that have no name any more.
#[derive(Debug)]
pub struct Cgroup {
    socket: UdpSocket,
    _links: Vec<OwnedFd>,
}

impl Cgroup {
    /// Attaches `programs`, and `drop` to a group around them all.
    pub fn open(programs: &[OwnedFd], drop: &OwnedFd) -> io::Result<Self> {
        remove_abandoned();
        let own = Membership::read()?;
        let mut links = Vec::new();
        let mut groups = Groups::under(&own.mount)?;
        groups.attach(drop, &mut links)?;
        groups.fill(programs, &mut links)?;
        let socket = own.socket_in(groups.innermost()?)?;
        Ok(Self { socket, _links: links })
    }
}

/// The socket whose packets run the programs.
impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Point for Cgroup {
    fn hit(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            match self.socket.send(&[0]) {
                // The last program forbids it, as it should.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
                Ok(_) => return Err(io::Error::other("a packet passed the program that drops all")),
            }
        }
        Ok(())
    }

    /// The links stay with the one that made them.
    fn again(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, _links: Vec::new() })
    }
}

/// Nested directories, outermost first; removed when dropped.
#[derive(Debug, Default)]
pub struct Groups {
    made: Vec<(PathBuf, fs::File)>,
}

impl Groups {
    /// The outermost, where control groups are mounted.
    pub fn under(mount: &Path) -> io::Result<Self> {
        let mut groups = Self::default();
        groups.descend(&mount.join(unique_name()))?;
        Ok(groups)
    }

    /// Attaches `programs` to levels within. The innermost group's programs run first, in the order in which they were attached.
    pub fn fill(&mut self, programs: &[OwnedFd], links: &mut Vec<OwnedFd>) -> io::Result<()> {
        for level in programs.chunks(PROGRAMS_PER_GROUP).rev() {
            let inner = self.innermost()?.join(NAME);
            self.descend(&inner)?;
            for program in level {
                self.attach(program, links)?;
            }
        }
        Ok(())
    }

    /// The outermost directory.
    pub fn outermost(&self) -> Option<&Path> {
        self.made.first().map(|(path, _)| path.as_path())
    }

    fn descend(&mut self, path: &Path) -> io::Result<()> {
        fs::create_dir(path).map_err(|error| named(&error, "make", path))?;
        let directory = fs::File::open(path).inspect_err(|_| drop(fs::remove_dir(path)))?;
        self.made.push((path.to_owned(), directory));
        Ok(())
    }

    /// The innermost directory.
    pub fn innermost(&self) -> io::Result<&Path> {
        let (path, _) = self.made.last().ok_or_else(|| io::Error::other("no control group was made"))?;
        Ok(path)
    }

    fn attach(&self, program: &OwnedFd, links: &mut Vec<OwnedFd>) -> io::Result<()> {
        if let Some((_, directory)) = self.made.last() {
            links.push(attach::link(program.as_fd(), directory.as_raw_fd(), BPF_CGROUP_INET_EGRESS, 0)?);
        }
        Ok(())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for (path, _) in self.made.iter().rev() {
            // If it fails the next start removes it.
            let _ = fs::remove_dir(path);
        }
    }
}

/// Where control groups are mounted, and which one this process is in.
#[derive(Debug)]
pub struct Membership {
    pub mount: PathBuf,
    group: PathBuf,
}

impl Membership {
    /// Of this process.
    pub fn read() -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let mount = mount_point(&mounts).ok_or_else(|| io::Error::other("no cgroup2 file system is mounted"))?;
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        Ok(Self { group: mount.join(group), mount })
    }

    /// A socket that belongs to the group `inner` and to a network namespace of its own.
    fn socket_in(&self, inner: &Path) -> io::Result<UdpSocket> {
        netns::inside(|| {
            enter(inner)?;
            let socket = netns::sender();
            enter(&self.group)?;
            socket
        })
    }
}

/// Moves this process.
fn enter(group: &Path) -> io::Result<()> {
    fs::write(group.join(MEMBERS), "0").map_err(|error| named(&error, "enter", group))
}

fn named(error: &io::Error, verb: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {verb} control group `{}`: {error}", path.display()))
}

/// The first cgroup2 mount in the text of /proc/self/mountinfo.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    let line = mounts.lines().find(|line| line.split(" - ").nth(1).is_some_and(|kind| kind.starts_with("cgroup2 ")))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// No two groups of one process share a name, so that one need not wait for the other's end.
fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{NAME}.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Removes the groups whose owner was killed while it needed them; whether all that there were are gone.
pub fn remove_abandoned() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(Ok(entries)) = mount_point(&mounts).map(fs::read_dir) else { return true };
    let mut all = true;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(&format!("{NAME}.")).and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !is_alive(owner)) {
            remove_nested(&entry.path());
            all &= !entry.path().exists();
        }
    }
    all
}

/// Ends who lives in a group or below. Kernels before 5.14 cannot; nobody is left there as a rule.
pub fn end_inhabitants(group: &Path) {
    let _ = fs::write(group.join("cgroup.kill"), "1");
}

/// A process that has ended and was not yet waited for owns nothing any more.
pub fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn remove_nested(path: &Path) {
    end_inhabitants(path);
    let mut paths = vec![path.to_owned()];
    while let Some(inner) = paths.last().map(|path| path.join(NAME)).filter(|inner| inner.is_dir()) {
        paths.push(inner);
    }
    for path in paths.iter().rev() {
        let _ = fs::remove_dir(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_control_groups_is_found_beside_those_of_version_1() {
        let mounts = "31 24 0:27 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw\n\
            32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            33 31 0:29 / /sys/fs/cgroup/unified rw,relatime shared:11 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("31 24 0:27 / /sys/fs/cgroup rw - cgroup cgroup rw\n"), None);
    }

    #[test]
    fn a_process_that_ended_owns_nothing_also_before_it_was_waited_for() {
        let mut child = std::process::Command::new("true").spawn().expect("starts");
        let began = std::time::Instant::now();
        while is_alive(child.id()) && began.elapsed().as_secs() < 20 {}
        assert!(!is_alive(child.id()), "a zombie");
        child.wait().expect("waited for");
        assert!(is_alive(std::process::id()) && !is_alive(4_194_305), "one that runs, one that cannot be");
    }

    #[test]
    fn no_two_groups_share_a_name() {
        assert_ne!(unique_name(), unique_name());
    }
}
