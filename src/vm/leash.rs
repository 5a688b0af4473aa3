//! A process that becomes qemu, but only for as long as the one that started it lives.
//!
//! `PR_SET_PDEATHSIG` outlives execve(2) and has to be set in the child. The child is this binary once more: it binds itself to
//! its parent and then becomes the program, so that a killed itlbench leaves no guest behind.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The hidden verb of the binary.
pub const VERB: &str = "leash";

/// The command that becomes `program` and dies with this thread.
pub fn command(program: &Path, arguments: &[OsString]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(VERB).arg(std::process::id().to_string()).arg(program).args(arguments);
    command
}

/// Becomes `program`; returns only if that failed, or if `parent` is gone already.
pub fn become_program(parent: i32, program: &OsString, arguments: &[OsString]) -> std::io::Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    if getppid().is_none_or(|found| found.as_raw_nonzero().get() != parent) {
        return std::io::Error::other("the process that started it is gone");
    }
    Command::new(program).args(arguments).exec()
}
