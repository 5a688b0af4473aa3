//! A process with all that it started: qemu, or a wrapper around it.

use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// A process group that does not outlive this value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Once it was waited for, another process may have its number.
    is_gone: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Running {
    /// Starts `command` in a group of its own: Ctrl-C reaches this process alone, which then ends the others in order.
    pub fn start(command: &mut Command) -> std::io::Result<Self> {
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self { child: command.spawn()?, is_gone: false })
    }

    /// What it prints; for the first who asks.
    pub fn pipes(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Whether it has ended by itself. It is not waited for yet, so that its number is still its own.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let look = |pid| waitid(WaitId::Pid(pid), options).is_ok_and(|status| status.is_some());
        self.is_gone || self.pid().is_some_and(look)
    }

    /// Ends all of its group, since qemu may be the child of a wrapper that has ended; how it ended, if it did by itself.
    pub fn end(&mut self) -> Option<ExitStatus> {
        if self.is_gone {
            return None;
        }
        let by_itself = self.has_ended();
        if let Some(group) = self.pid() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = self.child.wait();
        self.is_gone = true;
        status.ok().filter(|_| by_itself)
    }

    /// The number of its group.
    #[cfg(test)]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}
