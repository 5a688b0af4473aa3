//! What a guest costs beyond its kernel: CPU time from boot to result against a guest of the same kernel, seed and options whose init
//! powers off at once, and what the plugin costs while nothing is measured. In turns within this run; of each the least counts, since a
//! guest of one seed executes the same instructions every time, and all else is the host's.
#![allow(clippy::unwrap_used)]

mod figures;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use figures::say;
use itlbench::runfile::manifest::Accelerator;
use itlbench::vm::initramfs;
use itlbench::vm::qemu::{self, Boot, Clock, EMULATED_CPU, Hardware, PLUGIN, Plugin, Qemu};
use nix::sys::resource::{UsageWho, getrusage};

const KERNELS: [&str; 3] = ["5.10", "6.12", "newest"];
const ROUNDS: u32 = 4;
const SEED: u64 = 7;
const MOST: f64 = 1.3;
/// An init that does nothing: less than a busybox.
const NOTHING: &str = "#include <sys/reboot.h>\nint main(void) { return reboot(RB_POWER_OFF); }\n";

fn main() {
    let bench = match Bench::new() {
        Ok(bench) => bench,
        Err(reason) => return println!("SKIP guests: {reason}"),
    };
    for kernel in KERNELS {
        let mut least = [f64::INFINITY; 4];
        for _ in 0..ROUNDS {
            let (bare, with_plugin) = (bench.bare(kernel, false), bench.bare(kernel, true));
            let (native, both) = (bench.measured(kernel, &["--pack", "on"]), bench.measured(kernel, &[]));
            for (least, now) in least.iter_mut().zip([bare, with_plugin, native, both]) {
                *least = least.min(now);
            }
        }
        let [bare, with_plugin, native, both] = least;
        for (what, this) in [
            ("boot to result, the kernel's own arm", native),
            ("boot to result, both arms", both),
            ("the plugin while nothing is measured", with_plugin),
        ] {
            let detail = format!("{this:.1} and {bare:.1} s of CPU time, the least of {ROUNDS}");
            let ratio = this / bare;
            say(&format!("guests: {kernel}: {what}: of a bare guest's"), ratio, "at most 1.3", ratio <= MOST, &detail);
        }
    }
}

struct Bench {
    qemu: Qemu,
    cache: PathBuf,
    init: PathBuf,
    plugin: PathBuf,
    /// The initramfs of the bare guest, and what is written beside it.
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Result<Self, String> {
        let cache = qemu::cache().unwrap_or_default();
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let (init, plugin) = (target.join("static/itlbench"), target.join("release").join(PLUGIN));
        let images = KERNELS.map(|kernel| image(&cache, kernel));
        if let Some(missing) = images.iter().chain([&init, &plugin]).find(|file| !file.exists()) {
            return Err(format!("`{}` is missing; run `make kernels` first", missing.display()));
        }
        let qemu = Qemu::find(None).map_err(|error| error.to_string())?;
        let dir = tempfile::tempdir().unwrap();
        let nothing = compiled(dir.path())?;
        fs::write(dir.path().join("bare.img"), initramfs::archive(&nothing, b"{}")).unwrap();
        Ok(Self { qemu, cache, init, plugin, dir })
    }

    /// CPU seconds of a guest that does nothing.
    fn bare(&self, kernel: &str, watched: bool) -> f64 {
        let hardware = Hardware {
            accelerator: Accelerator::Tcg,
            cpu_model: EMULATED_CPU.to_owned(),
            cpus: 1,
            memory_mib: 256,
            seed: SEED,
            clock: Clock::Instructions,
        };
        let plugin =
            Plugin { path: self.plugin.clone(), model: "zen3".to_owned(), out: self.dir.path().join("counts") };
        let boot = Boot {
            kernel: image(&self.cache, kernel),
            initramfs: self.dir.path().join("bare.img"),
            append: String::new(),
            plugin: watched.then_some(plugin),
        };
        seconds(Command::new(&self.qemu.path).args(qemu::arguments(&hardware, &boot)))
    }

    /// CPU seconds of `itlbench kernels` with one image.
    fn measured(&self, kernel: &str, more: &[&str]) -> f64 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
        command.args(["kernels", "--accel", "tcg", "--programs", "64", "--seed", &SEED.to_string()]).args(more);
        command.arg("--init").arg(&self.init).arg("--plugin").arg(&self.plugin).arg("--out").arg(self.dir.path());
        seconds(command.arg(format!("kernel={}", image(&self.cache, kernel).display())))
    }
}

fn image(cache: &Path, kernel: &str) -> PathBuf {
    cache.join("kernels").join(kernel).join("vmlinuz")
}

/// The bytes of the init that does nothing.
fn compiled(dir: &Path) -> Result<Vec<u8>, String> {
    let program = dir.join("nothing");
    let mut compiler = Command::new("gcc");
    compiler.args(["-O2", "-static", "-s", "-x", "c", "-", "-o"]).arg(&program).stdin(Stdio::piped());
    let mut running = compiler.spawn().map_err(|error| format!("failed to run gcc: {error}"))?;
    running.stdin.take().unwrap().write_all(NOTHING.as_bytes()).unwrap();
    match running.wait().unwrap().success() {
        true => Ok(fs::read(&program).unwrap()),
        false => Err("gcc did not compile a static program".to_owned()),
    }
}

/// User and system time of a command and all that it waited for.
fn seconds(command: &mut Command) -> f64 {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        [usage.user_time(), usage.system_time()]
            .iter()
            .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
            .sum::<f64>()
    };
    let before = used();
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    used() - before
}
