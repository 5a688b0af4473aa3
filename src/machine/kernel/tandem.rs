//! Victims on the running kernel: a process on the CPU of the windows, its time from the kernel's accounting, its events from perf.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::victim_events::{self, VictimCounters};
use crate::counters::CountSide;
use crate::machine::{MachineError, Result, Tandem};
use crate::trial::tandem::RHYTHM;
use crate::trial::victim::{Victim, VictimRun};
use crate::victim::Asked;

/// How long the tool's own victims are to run.
const AIM_NS: u64 = 150_000_000;
/// Work tried first, to see how much is needed.
const FIRST_UNITS: u32 = 64;
const MOST_UNITS: u32 = 1 << 22;
/// Between two looks at whether a signal came.
const LOOK: Duration = Duration::from_millis(100);
/// What a process gets to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// Runs one victim.
#[derive(Debug)]
pub struct KernelTandem {
    victim: Victim,
    path: PathBuf,
    stop: Arc<AtomicBool>,
}

impl KernelTandem {
    /// Finds the command, sizes the work of an own victim, and asks what can be counted.
    pub fn open(asked: &Asked, stop: Arc<AtomicBool>) -> Result<Self> {
        let (events, refused) = victim_events::offered();
        let rhythm_ns = RHYTHM.as_nanos() as u64;
        let victim = |name: String, argv| Victim { name, argv, events, refused, rhythm_ns, hook: None };
        match asked {
            Asked::Command(argv) => {
                let name = argv.first().ok_or_else(|| MachineError::bad_request("no command behind `--`"))?;
                Ok(Self { path: find(name)?, victim: victim(name.clone(), argv.clone()), stop })
            }
            Asked::BuiltIn(kind) => {
                let path = std::env::current_exe()
                    .map_err(|error| MachineError::failed(format!("failed to find the own executable: {error}")))?;
                let argv = ["itlbench", "victim", &kind.to_string(), "--units", ""].map(str::to_owned).to_vec();
                let mut tandem = Self { path, victim: victim(kind.to_string(), argv), stop };
                tandem.size()?;
                Ok(tandem)
            }
        }
    }

    /// Finds the work that takes as long as it should.
    fn size(&mut self) -> Result<()> {
        let mut units = FIRST_UNITS;
        loop {
            self.set_units(units);
            let cpu_ns = self.run(CountSide::User, None)?.cpu_ns.max(1);
            if cpu_ns > AIM_NS / 4 || units >= MOST_UNITS {
                self.set_units(
                    (u128::from(units) * u128::from(AIM_NS) / u128::from(cpu_ns)).clamp(1, MOST_UNITS.into()) as u32,
                );
                return Ok(());
            }
            units *= 4;
        }
    }

    fn set_units(&mut self, units: u32) {
        if let Some(last) = self.victim.argv.last_mut() {
            *last = units.to_string();
        }
    }

    fn spawn(&self, entrance: Option<&Path>) -> Result<Running> {
        let mut command = Command::new(&self.path);
        command.args(&self.victim.argv[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        // A group of its own: an interrupt from the terminal reaches the tool, which ends the group.
        command.process_group(0);
        super::sys::dies_with_us(&mut command);
        if let Some(entrance) = entrance {
            let members = std::fs::File::options().write(true).open(entrance).map_err(|error| {
                MachineError::failed(format!("failed to open control group `{}`: {error}", entrance.display()))
            })?;
            super::sys::enters(&mut command, members.into());
        }
        let child = command
            .spawn()
            .map_err(|error| MachineError::failed(format!("failed to start `{}`: {error}", self.path.display())))?;
        Ok(Running(child))
    }

    /// Waits for the end; bursts at the rhythm meanwhile.
    fn accompany(
        &self,
        running: &mut Running,
        mut burst: Option<&mut dyn FnMut() -> Result<()>>,
    ) -> Result<ExitStatus> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            MachineError::failed(format!("failed to {what} `{}`: {error}", self.victim.name))
        };
        let pidfd = running.pidfd().map_err(|error| failed("watch", &error))?;
        let mut due = Instant::now() + RHYTHM;
        loop {
            let now = Instant::now();
            let wait = if burst.is_some() { due.saturating_duration_since(now) } else { LOOK };
            let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
            let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
            let ended = match poll(&mut watched, Some(&timeout)) {
                Ok(ready) => ready > 0,
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => return Err(failed("watch", &error)),
            };
            if ended {
                return running.0.wait().map_err(|error| failed("wait for", &error));
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(MachineError::interrupted());
            }
            if let Some(burst) = burst.as_mut().filter(|_| Instant::now() >= due) {
                burst()?;
                // A burst that takes longer than the rhythm leaves the victim as long again.
                due = Instant::now().max(due + RHYTHM).max(now + RHYTHM);
            }
        }
    }
}

impl Tandem for KernelTandem {
    fn victim(&self) -> &Victim {
        &self.victim
    }

    fn run(&mut self, side: CountSide, burst: Option<&mut dyn FnMut() -> Result<()>>) -> Result<VictimRun> {
        self.counted(side, None, burst)
    }

    fn run_inside(&mut self, side: CountSide, entrance: &Path) -> Result<VictimRun> {
        self.counted(side, Some(entrance), None)
    }
}

impl KernelTandem {
    fn counted(
        &self,
        side: CountSide,
        entrance: Option<&Path>,
        burst: Option<&mut dyn FnMut() -> Result<()>>,
    ) -> Result<VictimRun> {
        let counters = VictimCounters::open(&self.victim.events, side);
        let before = children_ns()?;
        let began = Instant::now();
        let mut running = self.spawn(entrance)?;
        let status = self.accompany(&mut running, burst)?;
        let wall_ns = began.elapsed().as_nanos() as u64;
        let cpu_ns = children_ns()?.saturating_sub(before);
        Ok(VictimRun { wall_ns, cpu_ns, exit_code: self.code(status)?, counts: counters.read() })
    }

    fn code(&self, status: ExitStatus) -> Result<i32> {
        use std::os::unix::process::ExitStatusExt;

        let command = self.victim.argv.join(" ");
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(0),
            (Some(code), _) => Err(MachineError::failed(format!(
                "victim `{command}` ended with exit code {code}: what fails does not do the same work twice; try it by itself"
            ))),
            (None, signal) => Err(MachineError::failed(format!(
                "victim `{command}` was killed by signal {}; try it by itself",
                signal.unwrap_or_default()
            ))),
        }
    }
}

/// A victim under way. Dropping it before its end ends it and its group.
#[derive(Debug)]
struct Running(Child);

impl Running {
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.0.id() as i32)
    }

    fn pidfd(&self) -> rustix::io::Result<impl AsFd + use<>> {
        pidfd_open(self.pid().ok_or(rustix::io::Errno::SRCH)?, PidfdFlags::empty())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        let Some(pid) = self.pid() else { return };
        let _ = kill_process_group(pid, Signal::TERM);
        let began = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && began.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.0.wait();
    }
}

/// User and system time of all children that ended.
fn children_ns() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)
        .map_err(|error| MachineError::failed(format!("failed to read the time of victims: {error}")))?;
    let ns = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000_000 + time.tv_usec() as u64 * 1000;
    Ok(ns(usage.user_time()) + ns(usage.system_time()))
}

/// The executable that a shell would start.
fn find(name: &str) -> Result<PathBuf> {
    let executable =
        |path: &Path| path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match executable(&path) {
            true => Ok(path),
            false => {
                Err(MachineError::bad_request(format!("failed to run `{name}`: there is no such executable file")))
            }
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| executable(path));
    found.ok_or_else(|| {
        MachineError::bad_request(format!("failed to run `{name}`: it is in no directory of PATH; give its path"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tandem(argv: &[&str]) -> Result<KernelTandem> {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        KernelTandem::open(&Asked::Command(argv), Arc::default())
    }

    #[test]
    fn a_command_is_timed_and_bursts_come_meanwhile() {
        let mut tandem = tandem(&["sleep", "0.05"]).expect("found");
        let mut bursts = 0;
        let mut burst = || {
            bursts += 1;
            Ok(())
        };
        let run = tandem.run(CountSide::User, Some(&mut burst)).expect("runs");
        assert!(run.wall_ns > 50_000_000 && run.cpu_ns < run.wall_ns, "{run:?}");
        // No more than the rhythm allows, and as few as a busy host leaves time for.
        let most = run.wall_ns / RHYTHM.as_nanos() as u64 + 1;
        assert!((2..=most).contains(&bursts), "{bursts} in {} ns", run.wall_ns);
    }

    #[test]
    fn what_is_not_there_fails_or_is_killed_says_so() {
        let error = |argv: &[&str]| match tandem(argv) {
            Ok(mut tandem) => tandem.run(CountSide::User, None).expect_err("fails").to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error(&["no-such-command-anywhere"]).contains("in no directory of PATH"));
        assert!(error(&["/etc/passwd"]).contains("no such executable file"));
        assert!(error(&["sh", "-c", "exit 7"]).contains("exit code 7"));
        assert!(error(&["sh", "-c", "kill -9 $$"]).contains("signal 9"));
    }

    #[test]
    fn a_stop_ends_the_command_and_what_it_started() {
        let stop: Arc<AtomicBool> = Arc::default();
        let argv = ["sh", "-c", "sleep 300 & sleep 300"].map(str::to_owned).to_vec();
        let mut tandem = KernelTandem::open(&Asked::Command(argv), Arc::clone(&stop)).expect("found");
        stop.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let error = tandem.run(CountSide::User, None).expect_err("stopped");
        assert_eq!(error.kind, crate::machine::ErrorKind::Interrupted);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
