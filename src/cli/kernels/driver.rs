//! Boots every kernel as often as asked, several at a time, and keeps what each says.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::fetches::{self, NotAdded};
use super::plan::{Kernel, Plan};
use crate::runfile::Run;
use crate::runfile::manifest::{Accelerator, Fetches};
use crate::runfile::reader::FILE_NAME;
use crate::vm::boot::{self, BootError, Booted};
use crate::vm::initramfs;
use crate::vm::memory_file::MemoryFile;
use crate::vm::port::{Job, Said};
use crate::vm::qemu::{Boot, Hardware, Plugin};

/// Where the results of a selftest are kept.
pub const KTAP: &str = "selftest.ktap";
/// Where the console of a guest is kept that did not end as it should.
const CONSOLE: &str = "console.txt";

/// What can be done where KVM does not carry a guest.
const NO_KVM: &str = "; where KVM does not carry a guest, --accel tcg does";

/// What became of one boot.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `6.12`, or `6.12, boot 2`.
    pub name: String,
    /// Where its run file is, or the results of its selftest, if it left any.
    pub dir: Option<PathBuf>,
    pub failure: Option<String>,
    /// How earlier tries ended, oldest first.
    pub deaths: Vec<String>,
    /// What its selftest came to.
    pub code: u8,
    pub interrupted: bool,
}

impl Outcome {
    /// `what` under the name of the boot.
    pub fn named(&self, what: &str) -> String {
        format!("{}: {what}", self.name)
    }
}

/// What the tries of one boot have come to so far.
#[derive(Debug, Default)]
struct Tries {
    /// Of the last one.
    wall: Duration,
    code: u8,
    /// How those before it ended.
    deaths: Vec<String>,
}

/// Boots all; the outcomes are in the order of the command line.
pub fn boot_all(plan: &Plan, dir: &Path, stop: &AtomicBool) -> Vec<Outcome> {
    let boots: Vec<(&Kernel, u32)> =
        plan.kernels.iter().flat_map(|kernel| (1..=plan.boots).map(move |boot| (kernel, boot))).collect();
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
    // A thread stays until its guests are gone: the leash is tied to the thread that made it.
    thread::scope(|scope| {
        for _ in 0..plan.jobs.min(boots.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((kernel, boot)) = boots.get(at) else { return };
                    let outcome = One { plan, kernel, boot: *boot, dir, stop }.run();
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// One boot of one kernel, with its tries.
struct One<'a> {
    plan: &'a Plan,
    kernel: &'a Kernel,
    boot: u32,
    dir: &'a Path,
    stop: &'a AtomicBool,
}

impl One<'_> {
    fn run(&self) -> Outcome {
        let mut tries = Tries::default();
        let result = self.try_all(&mut tries);
        let own = self.own_dir();
        let interrupted = matches!(result, Err(Trouble::Interrupted));
        let failure = match result {
            Ok(()) => None,
            Err(Trouble::Interrupted) => Some("interrupted".to_owned()),
            Err(Trouble::Failed(message)) => Some(message),
        };
        match &failure {
            Some(message) if !interrupted => self.say(&format!("{message}{}", self.whole_console())),
            Some(_) => {}
            None => self.say(&format!("{} in {:.1} s", self.did(), tries.wall.as_secs_f64())),
        }
        let kept = own.join(self.file_name()).exists().then_some(own);
        let Tries { code, deaths, .. } = tries;
        Outcome { name: self.name(), dir: kept, failure, deaths, code, interrupted }
    }

    fn did(&self) -> &'static str {
        if self.plan.selftest.is_some() { "tested" } else { "measured" }
    }

    /// What its guest leaves.
    fn file_name(&self) -> &'static str {
        if self.plan.selftest.is_some() { KTAP } else { FILE_NAME }
    }

    fn try_all(&self, tries: &mut Tries) -> Result<(), Trouble> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Trouble::Interrupted);
        }
        self.kernel.image.as_ref().map_err(|reason| Trouble::Failed(reason.clone()))?;
        let own = self.own_dir();
        fs::create_dir_all(&own).map_err(|error| cannot_write(&own, &error))?;
        let mut accelerators = self.plan.accelerators.iter().peekable();
        while let Some(accelerator) = accelerators.next() {
            let (booted, counts) = self.try_once(*accelerator, tries)?;
            tries.wall = booted.wall;
            let error = match booted.result {
                Ok(()) => {
                    let verified = self.verify(counts);
                    if verified.is_err() {
                        self.keep_console(&booted.console);
                    }
                    return verified;
                }
                Err(BootError::Interrupted) => return Err(Trouble::Interrupted),
                Err(error) => error,
            };
            self.keep_console(&booted.console);
            match accelerators.peek() {
                Some(next) if self.may_try_again(&error, *accelerator) => {
                    let how = if **next == *accelerator { "trying again" } else { "going on under emulation" };
                    self.say(&format!("{error}; {how}"));
                    tries.deaths.push(error.to_string());
                    let _ = fs::remove_file(own.join(self.file_name()));
                }
                _ => {
                    let remedy = if *accelerator == Accelerator::Kvm { NO_KVM } else { "" };
                    return Err(Trouble::Failed(format!("{error}{remedy}")));
                }
            }
        }
        Err(Trouble::Failed("nothing to run it on".to_owned()))
    }

    /// Whether another try may end otherwise: the emulator, or KVM, may be to blame. What kills a kernel while its allocator is
    /// tested is what that was to find.
    fn may_try_again(&self, error: &BootError, accelerator: Accelerator) -> bool {
        match self.plan.selftest {
            Some(_) => error.is_of_the_boot() && error.is_death(),
            None => error.is_death() || (accelerator == Accelerator::Kvm && error.is_of_the_boot()),
        }
    }

    /// Where more of it is.
    fn whole_console(&self) -> String {
        let path = self.own_dir().join(CONSOLE);
        if path.exists() { format!("; more of it in `{}`", path.display()) } else { String::new() }
    }

    /// What a guest said that did not end as it should; of several tries the last.
    fn keep_console(&self, text: &str) {
        if !text.is_empty() {
            let _ = fs::write(self.own_dir().join(CONSOLE), text);
        }
    }

    /// One boot, and what the plugin is to leave of it.
    fn try_once(&self, accelerator: Accelerator, tries: &mut Tries) -> Result<(Booted, Option<MemoryFile>), Trouble> {
        let hardware = self.plan.hardware(accelerator, self.boot);
        let initramfs = self.initramfs(&hardware, &tries.deaths)?;
        let counts = self.plan.plugin.as_ref().ok().filter(|_| accelerator == Accelerator::Tcg);
        let counts = counts.map(|path| Ok((path, memory_file("itlbench-counts", &[])?))).transpose()?;
        let boot = Boot {
            kernel: self.kernel.path.clone(),
            initramfs: initramfs.path(),
            append: self.kernel.append.clone(),
            plugin: counts.as_ref().map(|(path, file)| Plugin {
                path: (*path).clone(),
                model: self.plan.model.clone(),
                out: file.path(),
            }),
        };
        let mut keeper = Keeper { path: self.own_dir().join(self.file_name()), file: None, code: 0 };
        let limits = self.plan.limits(accelerator);
        let booted = boot::boot(&self.plan.qemu, &hardware, &boot, limits, self.stop, &mut |said| keeper.take(said));
        tries.code = keeper.code;
        Ok((booted, counts.map(|(_, file)| file)))
    }

    fn initramfs(&self, hardware: &Hardware, deaths: &[String]) -> Result<MemoryFile, Trouble> {
        let guest = self.plan.guest(self.kernel, self.boot, hardware, deaths);
        let job = Job {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            marks: guest.is_emulated() && matches!(guest.fetches, Fetches::Modelled { .. }),
            guest,
            workloads: self.plan.workloads(hardware.accelerator).to_vec(),
            seed: self.plan.seed.wrapping_add(u64::from(self.boot) - 1),
            choice: self.plan.choice.clone(),
            argv: self.plan.argv.clone(),
            selftest: self.plan.selftest.clone(),
        };
        let job = serde_json::to_vec(&job).map_err(|error| Trouble::Failed(error.to_string()))?;
        memory_file("itlbench-initramfs", &initramfs::archive(&self.plan.init, &job))
    }

    /// What the guest sent must be a whole run; the plugin's counts are added to it.
    fn verify(&self, counts: Option<MemoryFile>) -> Result<(), Trouble> {
        if self.plan.selftest.is_some() {
            return Ok(());
        }
        let run = Run::read(&self.own_dir()).map_err(|error| Trouble::Failed(error.to_string()))?;
        if !run.complete {
            let (sent, planned) = (run.trials.len(), run.manifest.planned_trials);
            return Err(Trouble::Failed(format!("the guest sent {sent} of {planned} trials")));
        }
        let Some(counts) = counts else { return Ok(()) };
        let added = counts.read().map_err(NotAdded::from);
        let added = added.and_then(|written| fetches::add(&self.own_dir(), &self.plan.model, &written));
        added.map_err(|why| Trouble::Failed(why.to_string()))
    }

    fn own_dir(&self) -> PathBuf {
        match self.plan.boots {
            1 => self.dir.join(&self.kernel.name),
            _ => self.dir.join(format!("{}-boot{}", self.kernel.name, self.boot)),
        }
    }

    fn name(&self) -> String {
        match self.plan.boots {
            1 => self.kernel.name.clone(),
            _ => format!("{}, boot {}", self.kernel.name, self.boot),
        }
    }

    fn say(&self, message: &str) {
        eprintln!("itlbench: {}: {message}", self.name());
    }
}

/// Why there is no whole run.
#[derive(Debug)]
enum Trouble {
    Interrupted,
    Failed(String),
}

fn memory_file(name: &str, bytes: &[u8]) -> Result<MemoryFile, Trouble> {
    MemoryFile::holding(name, bytes)
        .map_err(|error| Trouble::Failed(format!("failed to make a file in memory: {error}")))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble::Failed(unwritable(path, error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> String {
    format!("failed to write `{}`: {error}; free some space or choose another --out", path.display())
}

/// Takes down the file that a guest sends.
struct Keeper {
    path: PathBuf,
    file: Option<File>,
    code: u8,
}

impl Keeper {
    fn take(&mut self, said: Said) -> Result<(), String> {
        let mut line = match said {
            Said::Record(line) | Said::Ktap(line) => line,
            Said::Code(code) => {
                self.code = code;
                return Ok(());
            }
            _ => return Ok(()),
        };
        line.push(b'\n');
        self.write(&line).map_err(|error| unwritable(&self.path, &error))
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.file.is_none() {
            self.file = Some(OpenOptions::new().append(true).create_new(true).open(&self.path)?);
        }
        match &mut self.file {
            Some(file) => file.write_all(line).and_then(|()| file.sync_data()),
            None => Ok(()),
        }
    }
}
