//! This binary as the init of a guest. It mounts what it needs, measures, tells the host through the second serial port, and powers
//! off. It changes sysctls, which on a host it never does: the guest is its own and lasts no longer.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, getpid, setrlimit};
use rustix::system::{RebootCommand, reboot};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::cli::measure::{Task, measure};
use crate::cli::session::Progress;
use crate::cli::{Failure, selftest};
use crate::runfile::Writer;
use crate::runfile::manifest::{Design, MachineKind};
use crate::vm::initramfs;
use crate::vm::port::{Job, Port, Said, Selftest};
use crate::workload::Case;

const PORT: &str = "/dev/ttyS1";
/// Fillers are descriptors: one for each program of pack off.
const DESCRIPTORS: u64 = 1 << 17;

/// Whether this process is init of a guest that `itlbench kernels` boots. Its arguments do not say: a kernel hands init every word of its
/// command line that it does not know itself, as `nokaslr`, which is the decompressor's.
pub fn is_here() -> bool {
    getpid().is_init() && Path::new("/").join(initramfs::JOB).exists()
}

/// Measures and powers off; returns only where that fails.
pub fn run() -> Result<u8, Failure> {
    if let Err(failure) = prepare().and_then(|()| serve()) {
        // Nobody hears it but the console.
        eprintln!("itlbench: {failure}");
    }
    reboot(RebootCommand::PowerOff).map_err(|error| Failure::Other(error.into()))?;
    Ok(1)
}

fn prepare() -> Result<(), Failure> {
    let none = MountFlags::empty();
    for (kind, target) in [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("debugfs", "/sys/kernel/debug"),
        ("securityfs", "/sys/kernel/security"),
        ("tmpfs", "/tmp"),
    ] {
        let mounted = mount(kind, target, kind, none, None);
        // Without debugfs one source of page tables is missing, without securityfs the reason why another is; without devtmpfs the
        // archive has the ports.
        if let (Err(error), "proc" | "sysfs") = (mounted, kind) {
            return Err(Failure::HostCannot(format!("failed to mount {kind}: {error}")));
        }
    }
    for (resource, limit) in [(Resource::Nofile, Some(DESCRIPTORS)), (Resource::Memlock, None)] {
        let _ = setrlimit(resource, Rlimit { current: limit, maximum: limit });
    }
    for (sysctl, wanted) in [("net/core/bpf_jit_enable", "1"), ("kernel/kptr_restrict", "1")] {
        // A kernel that lacks them says so where it matters. At 1 root sees all addresses, those of /proc/vmallocinfo too.
        let _ = fs::write(Path::new("/proc/sys").join(sysctl), wanted);
    }
    Ok(())
}

/// The port that the run file and all else goes through.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Port<File>>>);

impl Shared {
    fn port(&self) -> MutexGuard<'_, Port<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, said: &Said) -> Result<(), Failure> {
        self.port().say(said).map_err(|error| Failure::output(PORT, error))
    }
}

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.port().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.port().flush()
    }
}

impl Progress for Shared {
    fn next(&mut self, case: &Case, done: u32, of: u32) {
        // What cannot be said here will not be heard later either.
        let _ = self.say(&Said::Progress(format!("trial {} of {of}, {case}", done + 1)));
    }

    fn over(&mut self) {}
}

fn serve() -> Result<(), Failure> {
    let port = open_port().map_err(|error| {
        let remedy = "build the kernel with CONFIG_SERIAL_8250_CONSOLE and two ports (CONFIG_SERIAL_8250_RUNTIME_UARTS, 8250.nr_uarts)";
        Failure::HostCannot(format!("failed to open the second serial port, `{PORT}`: {error}; {remedy}"))
    })?;
    let port = Shared(Arc::new(Mutex::new(Port::new(port))));
    port.say(&Said::Hello)?;
    let last = match job().and_then(|job| obey(job, &port)) {
        Ok(()) => Said::Done,
        Err(failure) => Said::Failed { code: failure.exit_code(), message: failure.to_string() },
    };
    port.say(&last)?;
    let _ = rustix::termios::tcdrain(port.port().get_ref());
    Ok(())
}

/// A line discipline would turn line ends into two bytes.
fn open_port() -> std::io::Result<File> {
    let port = OpenOptions::new().read(true).write(true).open(PORT)?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    Ok(port)
}

fn job() -> Result<Job, Failure> {
    let bytes = fs::read(Path::new("/").join(initramfs::JOB)).map_err(anyhow::Error::new)?;
    let job: Job = serde_json::from_slice(&bytes).map_err(anyhow::Error::new)?;
    if job.tool_version != env!("CARGO_PKG_VERSION") {
        let (own, asked) = (env!("CARGO_PKG_VERSION"), &job.tool_version);
        return Err(Failure::Usage(format!("the binary in the guest is itlbench {own}, the one that asks is {asked}")));
    }
    Ok(job)
}

/// What the selftest may do in a guest, that lasts no longer than it.
const PRESSURE_PERCENT: u32 = 50;

/// The selftest's own verb, heard through the port.
fn test(asked: &Selftest, seed: u64, port: &Shared) -> Result<(), Failure> {
    let args = selftest::Args {
        seconds: asked.seconds,
        seed: Some(seed),
        only: asked.only.clone(),
        list: false,
        machine: MachineKind::Kernel,
        change_sysctls: true,
        pressure: PRESSURE_PERCENT,
        // Minutes under emulation, and gigabytes: only where it is asked for by name.
        fill_area: asked.only.iter().any(|name| name == "area-end"),
        restore: None,
    };
    port.port().write_ktap();
    match selftest::run(&args, &mut port.clone())? {
        0 => Ok(()),
        code => port.say(&Said::Code(code)),
    }
}

fn obey(job: Job, port: &Shared) -> Result<(), Failure> {
    if let Some(asked) = &job.selftest {
        return test(asked, job.seed, port);
    }
    let task = Task {
        machine: MachineKind::Kernel,
        cpu: None,
        seed: job.seed,
        design: Design::Arms,
        workloads: job.workloads,
        choice: job.choice,
        attribute: false,
        argv: job.argv,
        victim: None,
        rounds: 0,
        hooked: false,
        guest: Some(job.guest),
        marks: job.marks,
    };
    let stop = Arc::new(AtomicBool::new(false));
    measure(task, &stop, &mut port.clone(), |manifest| Ok(Writer::stream(PORT, port.clone(), manifest)?))?;
    Ok(())
}
