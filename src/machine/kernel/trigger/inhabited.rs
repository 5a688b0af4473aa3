//! Control groups that a victim lives in: its own packets run the programs attached there, and nobody else's.
//!
//! Unlike those of the trigger they must have a name as long as there is somebody in them. They are removed when this process is
//! through, and by a process of its own that waits for nothing else if this one is killed.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::cgroup::{Groups, MEMBERS, Membership, end_inhabitants, is_alive, remove_abandoned};

/// Who was killed is out of its group as soon as a CPU has switched away from it.
const BOUNDED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(2);

/// Control groups with programs. Dropping them ends whoever is still inside.
#[derive(Debug)]
pub struct Inhabited {
    links: Vec<OwnedFd>,
    groups: Groups,
    _remover: Remover,
}

impl Inhabited {
    /// Attaches `programs`.
    pub fn open(programs: &[OwnedFd]) -> io::Result<Self> {
        let remover = Remover::start()?;
        let own = Membership::read()?;
        let mut links = Vec::new();
        let mut groups = Groups::under(&own.mount)?;
        groups.fill(programs, &mut links)?;
        Ok(Self { links, groups, _remover: remover })
    }

    /// The file to which a process writes in order to live here.
    pub fn entrance(&self) -> io::Result<PathBuf> {
        Ok(self.groups.innermost()?.join(MEMBERS))
    }
}

impl Drop for Inhabited {
    fn drop(&mut self) {
        self.links.clear();
        let Some(outermost) = self.groups.outermost() else { return };
        // What the victim started and left behind.
        end_inhabitants(outermost);
        let began = Instant::now();
        while fs::read_to_string(outermost.join("cgroup.events")).is_ok_and(|text| text.contains("populated 1"))
            && began.elapsed() < BOUNDED
        {
            std::thread::sleep(LOOK);
        }
    }
}

/// A process that removes the groups of the dead once this one lets go of it or is killed.
#[derive(Debug)]
struct Remover {
    child: Child,
}

impl Remover {
    fn start() -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        // A process group of its own: what kills ours must not kill it.
        command.args(["victim", "--remove-abandoned", &std::process::id().to_string()]).process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // It runs on the victim's CPU: it is to wait before the victim begins.
        if let Some(mut stdout) = child.stdout.take() {
            let _ = stdout.read(&mut [0])?;
        }
        Ok(Self { child })
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(DONE.as_bytes());
        }
        let _ = self.child.wait();
    }
}

/// Told to that process if there is nothing left for it to do.
const DONE: &str = "done\n";

/// What that process does: it says that it is there and waits for the end of stdin; if nobody said that all is done, also for the end
/// of its parent, whose descriptors are closed some time before it is dead. Whether nothing is left.
pub fn remove_for_the_dead(parent: u32) -> bool {
    let _ = io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush());
    let mut told = String::new();
    if io::stdin().read_to_string(&mut told).is_ok() && told.ends_with(DONE) {
        return true;
    }
    let began = Instant::now();
    while began.elapsed() < BOUNDED {
        // Whoever was inside may take a moment to be gone too.
        if !is_alive(parent) && remove_abandoned() {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
}
