//! One boot: qemu started, listened to, and gone when this returns, whatever the guest does.

use std::io::{BufRead, BufReader, Read};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::console::Console;
use super::leash;
use super::port::Said;
use super::qemu::{Boot, Hardware, Qemu, arguments};
use super::running::Running;

/// How often signals and limits are looked at.
const TICK: Duration = Duration::from_millis(50);
/// A guest that is done powers off at once; one that cannot is switched off.
const TO_POWER_OFF: Duration = Duration::from_secs(5);

/// Said of a console without a line: a kernel without one, one that dies before it has it, or one that is quiet about why it hangs.
const EMPTY: &str = "its console stayed empty (a kernel without a serial console? too little --memory? \
                     --append loglevel=8 makes it talk)";

/// How long a guest may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until it says that it is in user space.
    pub to_user_space: Duration,
    /// Until it is done.
    pub whole: Duration,
}

/// How far a guest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Booting,
    UserSpace,
    /// In which trial, in its own words.
    Trial(String),
    /// Behind which result of the selftest.
    Behind(String),
}

impl Place {
    fn follow(&mut self, said: &Said) {
        match said {
            Said::Hello => *self = Self::UserSpace,
            Said::Progress(trial) => *self = Self::Trial(trial.clone()),
            Said::Ktap(line) if line.starts_with(b"ok ") || line.starts_with(b"not ok ") => {
                *self = Self::Behind(String::from_utf8_lossy(line).into_owned());
            }
            _ => {}
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Booting => f.write_str("before it reached user space"),
            Self::UserSpace => f.write_str("before its first result"),
            Self::Trial(trial) => write!(f, "in {trial}"),
            Self::Behind(result) => write!(f, "behind `{result}`"),
        }
    }
}

/// Why a guest did not end as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootError {
    /// qemu could not be started.
    Start(String),
    /// It ended without a word of farewell.
    Died {
        status: String,
        place: Place,
        console: String,
    },
    TimedOut {
        seconds: u64,
        place: Place,
        console: String,
    },
    /// It gave up, and says why; what its console tells of an error is empty if that tells of none.
    Failed {
        code: u8,
        message: String,
        console: String,
    },
    /// What it said could not be taken down.
    Refused(String),
    /// A signal asked us to stop.
    Interrupted,
}

impl BootError {
    /// Whether it ended by itself.
    pub fn is_death(&self) -> bool {
        matches!(self, Self::Died { .. })
    }

    /// Whether it ended, or did not go on, before it reached user space.
    pub fn is_of_the_boot(&self) -> bool {
        matches!(self, Self::Died { place: Place::Booting, .. } | Self::TimedOut { place: Place::Booting, .. })
    }
}

impl std::fmt::Display for BootError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let console = |gist: &String| match gist.is_empty() {
            true => EMPTY.to_owned(),
            false => format!("its console ends: {gist}"),
        };
        match self {
            Self::Start(reason) => write!(f, "failed to start qemu: {reason}"),
            Self::Died { status, place, console: gist } => {
                write!(f, "the guest died {place} (qemu: {status}); {}", console(gist))
            }
            Self::TimedOut { seconds, place, console: gist } => {
                let limit = format!("no end of it in {seconds} s (raise --timeout if it was only slow)");
                write!(f, "the guest hung {place}: {limit}; {}", console(gist))
            }
            Self::Failed { message, console: gist, .. } if gist.is_empty() => write!(f, "the guest gave up: {message}"),
            Self::Failed { message, console: gist, .. } => {
                write!(f, "the guest gave up: {message}; {}", console(gist))
            }
            Self::Refused(reason) => f.write_str(reason),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// What is left of a boot beside what the guest said.
#[derive(Debug)]
pub struct Booted {
    pub result: Result<(), BootError>,
    /// The tail of its console.
    pub console: String,
    pub wall: Duration,
}

/// Boots, hands on what the guest says, and returns when no process of the boot is left. An error of `take` ends the boot.
pub fn boot(
    qemu: &Qemu,
    hardware: &Hardware,
    what: &Boot,
    limits: Limits,
    stop: &AtomicBool,
    take: &mut dyn FnMut(Said) -> Result<(), String>,
) -> Booted {
    let began = Instant::now();
    let console = Arc::new(Mutex::new(Console::default()));
    let result = start(qemu, hardware, what).and_then(|running| {
        let mut watch = Watch { running, began, limits, stop, place: Place::Booting, console: Arc::clone(&console) };
        watch.until_the_end(take)
    });
    let console = console.lock().unwrap_or_else(PoisonError::into_inner);
    let result = result.map_err(|error| error.quoting(&console));
    Booted { result, console: console.text(), wall: began.elapsed() }
}

impl BootError {
    fn quoting(mut self, tail: &Console) -> Self {
        match &mut self {
            Self::Died { console, .. } | Self::TimedOut { console, .. } => {
                *console = match tail.remedy() {
                    Some(remedy) => format!("{}; {remedy}", tail.gist()),
                    None => tail.gist(),
                };
            }
            Self::Failed { console, .. } => *console = tail.telling().unwrap_or_default(),
            Self::Start(_) | Self::Refused(_) | Self::Interrupted => {}
        }
        self
    }
}

fn start(qemu: &Qemu, hardware: &Hardware, what: &Boot) -> Result<Running, BootError> {
    let mut command = leash::command(&qemu.path, &arguments(hardware, what));
    Running::start(&mut command).map_err(|error| BootError::Start(error.to_string()))
}

/// A boot under way.
struct Watch<'a> {
    running: Running,
    began: Instant,
    limits: Limits,
    stop: &'a AtomicBool,
    place: Place,
    console: Arc<Mutex<Console>>,
}

impl Watch<'_> {
    fn until_the_end(&mut self, take: &mut dyn FnMut(Said) -> Result<(), String>) -> Result<(), BootError> {
        let (sender, said) = channel();
        let (port, screen) = self.running.pipes();
        let listener = thread::spawn(move || listen(port, &sender));
        let console = Arc::clone(&self.console);
        let reader = thread::spawn(move || read_console(screen, &console));
        let result = self.listen(&said, take);
        if result.is_ok() {
            self.wait_for_power_off();
        }
        let status = self.end();
        let (_, _) = (listener.join(), reader.join());
        match (result, status) {
            (Err(BootError::Died { place, console, .. }), Some(status)) => {
                Err(BootError::Died { status: status.to_string(), place, console })
            }
            (result, _) => result,
        }
    }

    fn listen(
        &mut self,
        said: &Receiver<Said>,
        take: &mut dyn FnMut(Said) -> Result<(), String>,
    ) -> Result<(), BootError> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(BootError::Interrupted);
            }
            self.check_limits()?;
            match said.recv_timeout(TICK) {
                Ok(Said::Done) => return Ok(()),
                Ok(Said::Failed { code, message }) => {
                    return Err(BootError::Failed { code, message, console: String::new() });
                }
                Ok(said) => {
                    self.place.follow(&said);
                    take(said).map_err(BootError::Refused)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let (status, console) = ("ended".to_owned(), String::new());
                    return Err(BootError::Died { status, place: self.place.clone(), console });
                }
            }
        }
    }

    fn check_limits(&self) -> Result<(), BootError> {
        let limit = match self.place {
            Place::Booting => self.limits.to_user_space.min(self.limits.whole),
            _ => self.limits.whole,
        };
        if self.began.elapsed() < limit {
            return Ok(());
        }
        let (seconds, console) = (limit.as_secs(), String::new());
        Err(BootError::TimedOut { seconds, place: self.place.clone(), console })
    }

    fn wait_for_power_off(&mut self) {
        let began = Instant::now();
        while began.elapsed() < TO_POWER_OFF && !self.running.has_ended() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends what still runs; how it ended by itself if it did.
    fn end(&mut self) -> Option<ExitStatus> {
        // The pipes may close a moment before the process is gone.
        for _ in 0..20 {
            if self.running.has_ended() || self.stop.load(Ordering::Relaxed) {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.running.end()
    }
}

/// Hands every line on; a last one that does not end is dropped.
fn listen(port: Option<impl Read>, sender: &Sender<Said>) {
    let Some(port) = port else { return };
    let mut port = BufReader::new(port);
    let mut line = Vec::new();
    while port.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        if line.pop() != Some(b'\n') || sender.send(Said::parse(&line)).is_err() {
            return;
        }
        line.clear();
    }
}

fn read_console(screen: Option<impl Read>, console: &Mutex<Console>) {
    let Some(mut screen) = screen else { return };
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = screen.read(&mut bytes) {
        console.lock().unwrap_or_else(PoisonError::into_inner).take(&bytes[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_one_line_with_the_end_of_the_console() {
        let gist = "[ 1.0] Kernel panic - not syncing: VFS".to_owned();
        let died = |console: &str, place| BootError::Died {
            status: "exit status: 0".to_owned(),
            place,
            console: console.to_owned(),
        };
        let failed = |message: &str, console: &str| BootError::Failed {
            code: 3,
            message: message.to_owned(),
            console: console.to_owned(),
        };
        let trial = Place::Trial("trial 1 of 6, chain n=64 pack=on".to_owned());
        for (error, line) in [
            (
                died(&gist, Place::Booting),
                "the guest died before it reached user space (qemu: exit status: 0); its console ends: [ 1.0] Kernel panic - not \
                 syncing: VFS",
            ),
            (
                died("", trial),
                "the guest died in trial 1 of 6, chain n=64 pack=on (qemu: exit status: 0); its console stayed empty (a kernel \
                 without a serial console? too little --memory? --append loglevel=8 makes it talk)",
            ),
            (
                BootError::TimedOut { seconds: 9, place: Place::Booting, console: "x".to_owned() },
                "the guest hung before it reached user space: no end of it in 9 s (raise --timeout if it was only slow); its console \
                 ends: x",
            ),
            (failed("no JIT", ""), "the guest gave up: no JIT"),
            (failed("no room", "Out of memory"), "the guest gave up: no room; its console ends: Out of memory"),
        ] {
            assert_eq!(error.to_string(), line);
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_handed_on() {
        let (sender, said) = channel();
        listen(Some(&b"H\nP a\nR{\"torn\""[..]), &sender);
        drop(sender);
        assert_eq!(said.iter().collect::<Vec<_>>(), [Said::Hello, Said::Progress(" a".to_owned())]);
    }
}
