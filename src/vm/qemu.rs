//! The emulator: where it is, what it can do, and its command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::runfile::manifest::Accelerator;

/// Name of the program on PATH and in the cache.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// Names the program, before the cache and PATH are looked at.
pub const VARIABLE: &str = "ITLBENCH_QEMU";
/// File name of the plugin that `make plugin` builds.
pub const PLUGIN: &str = "libitlbench_plugin.so";
/// Older ones let guests panic that have done nothing wrong.
const OLDEST: (u32, u32) = (10, 0);
/// What every guest's kernel is told. Its crypto layer would test itself in threads of its own while init already measures
/// (crypto/testmgr.c), which has nothing to do with BPF and takes longer.
const OWN_WORDS: &str = "console=ttyS0 panic=-1 quiet cryptomgr.notests";
/// The guest's CPU under emulation, where none is asked for. Of an instruction that repeats, qemu executes one step at a time where it
/// counts instructions, and goes through its main loop for each (target/i386/tcg/translate.c, do_gen_rep). A kernel whose CPU has
/// fast byte strings clears and copies memory by single bytes with them; else by eight.
pub const EMULATED_CPU: &str = "max,erms=off,fsrm=off";
/// The time that a guest under emulation begins at: everything that could differ between two boots is fixed.
const CLOCK: &str = "base=2024-01-01T00:00:00,clock=vm";

/// A program that was asked for its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    pub path: PathBuf,
    pub version: String,
    /// Whether it can be told to watch the guest's instructions.
    pub plugins: bool,
    /// Too old to be trusted with a kernel.
    pub flaky: bool,
}

/// Why no guest can be booted on this host.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error(
        "failed to find `{PROGRAM}`: not at --qemu, in ${VARIABLE}, in `{cache}` or on PATH; run `bash scripts/kernels.sh` or install qemu 10 or later"
    )]
    Missing { cache: String },
    #[error("failed to run `{path}`: {source}; give qemu 10 or later with --qemu")]
    Run { path: String, source: std::io::Error },
    #[error("`{path}` is no qemu-system-x86_64: it says `{said}`; give qemu 10 or later with --qemu")]
    Other { path: String, said: String },
    #[error("`{path}` does not start ({status}): {said}; give another qemu, 10 or later, with --qemu")]
    Fails { path: String, status: String, said: String },
}

impl QemuError {
    /// Of a program that was asked for its version and gave something else.
    fn of(path: String, output: &Output) -> Self {
        let first = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().find_map(said);
        match (first(&output.stdout), first(&output.stderr)) {
            (Some(said), _) if output.status.success() => Self::Other { path, said },
            (stdout, stderr) => {
                let said = stderr.or(stdout).unwrap_or_else(|| "it says nothing".to_owned());
                Self::Fails { path, status: output.status.to_string(), said }
            }
        }
    }
}

/// What can be quoted of a line, if there is anything in it.
pub(super) fn said(line: &str) -> Option<String> {
    const MOST_QUOTED: usize = 240;
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then(|| words.chars().take(MOST_QUOTED).collect())
}

/// Where `scripts/kernels.sh` keeps what it fetches; `None` without a home.
pub fn cache() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Some(variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?.join("itlbench"))
}

impl Qemu {
    /// The one asked for, or the first there is.
    pub fn find(asked: Option<&Path>) -> Result<Self, QemuError> {
        let cached = cache().map(|cache| cache.join("qemu").join(PROGRAM));
        let named = asked.map(Path::to_owned).or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
        let on_path = || {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|dir| dir.join(PROGRAM)).find(|file| file.is_file())
        };
        let found = named.or_else(|| cached.clone().filter(|file| file.is_file())).or_else(on_path);
        let missing = || QemuError::Missing { cache: cached.unwrap_or_default().display().to_string() };
        Self::ask(found.ok_or_else(missing)?)
    }

    fn ask(path: PathBuf) -> Result<Self, QemuError> {
        let name = path.display().to_string();
        let say = |option: &str| {
            let output = Command::new(&path).arg(option).stdin(Stdio::null()).output();
            output.map_err(|source| QemuError::Run { path: name.clone(), source })
        };
        let output = say("--version")?;
        let Some(version) = version(&String::from_utf8_lossy(&output.stdout)) else {
            return Err(QemuError::of(name, &output));
        };
        let help = say("-help")?.stdout;
        let plugins = String::from_utf8_lossy(&help).lines().any(|line| line.starts_with("-plugin "));
        Ok(Self { plugins, flaky: is_older(&version, OLDEST), version, path })
    }

    /// What whoever emulates guests with it must know.
    pub fn warning(&self) -> Option<String> {
        let (version, (major, minor)) = (&self.version, OLDEST);
        self.flaky.then(|| {
            format!(
                "qemu {version} is older than {major}.{minor}, and under such kernels have panicked that did nothing wrong: believe no guest's \
                 death before another qemu has shown it; `bash scripts/kernels.sh qemu` fetches one"
            )
        })
    }
}

/// `10.0.2` of `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)`.
fn version(said: &str) -> Option<String> {
    let rest = said.lines().next()?.strip_prefix("QEMU emulator version ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

fn is_older(version: &str, than: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < than
}

/// The plugin that models an iTLB, and where it leaves its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    pub path: PathBuf,
    pub model: String,
    pub out: PathBuf,
}

/// The machine that a guest gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    pub accelerator: Accelerator,
    pub cpu_model: String,
    pub cpus: u32,
    pub memory_mib: u32,
    pub seed: u64,
    pub clock: Clock,
}

/// By what the time of a guest passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's.
    Host,
    /// The guest's own instructions, where an emulator runs them on one CPU: two boots are alike to the bit.
    Instructions,
}

impl Hardware {
    fn is_deterministic(&self) -> bool {
        self.clock == Clock::Instructions && self.accelerator == Accelerator::Tcg && self.cpus == 1
    }
}

/// What is booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    /// Added to the kernel's command line.
    pub append: String,
    pub plugin: Option<Plugin>,
}

/// The first serial port is the console, on stderr; the second is the guest's port, on stdout.
pub fn arguments(hardware: &Hardware, boot: &Boot) -> Vec<OsString> {
    let accelerator = match hardware.accelerator {
        Accelerator::Tcg => "tcg",
        Accelerator::Kvm => "kvm",
    };
    let mut arguments: Vec<OsString> = Vec::new();
    let mut put = |option: &str, value: OsString| arguments.extend([OsString::from(option), value]);
    put("-accel", accelerator.into());
    put("-M", "q35".into());
    put("-cpu", hardware.cpu_model.clone().into());
    put("-m", hardware.memory_mib.to_string().into());
    put("-smp", hardware.cpus.to_string().into());
    put("-chardev", "file,id=console,path=/dev/stderr".into());
    put("-serial", "chardev:console".into());
    put("-chardev", "file,id=port,path=/dev/stdout".into());
    put("-serial", "chardev:port".into());
    put("-display", "none".into());
    put("-seed", hardware.seed.to_string().into());
    if hardware.is_deterministic() {
        put("-icount", "shift=0,sleep=off".into());
        put("-rtc", CLOCK.into());
    }
    if let Some(Plugin { path, model, out }) = &boot.plugin {
        put(
            "-plugin",
            [escaped(path), ",out=".into(), escaped(out), format!(",model={model}").into()].into_iter().collect(),
        );
    }
    put("-kernel", boot.kernel.clone().into());
    put("-initrd", boot.initramfs.clone().into());
    put("-append", command_line(&boot.append).into());
    arguments.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from));
    arguments
}

/// No machine, and a plugin that is only to say whether it would work here.
pub fn probe(plugin: &Path, model: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["-accel", "tcg", "-M", "none", "-display", "none", "-nodefaults", "-no-user-config"]
            .map(OsString::from)
            .to_vec();
    let value = [escaped(plugin), format!(",probe=on,model={model}").into()];
    arguments.extend(["-plugin".into(), value.into_iter().collect()]);
    arguments
}

fn command_line(append: &str) -> String {
    let words: Vec<&str> = [OWN_WORDS, append].iter().flat_map(|part| part.split_whitespace()).collect();
    words.join(" ")
}

/// qemu ends a value at a comma, and takes two for one.
fn escaped(path: &Path) -> OsString {
    path.as_os_str().to_string_lossy().replace(',', ",,").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware(accelerator: Accelerator, cpus: u32) -> Hardware {
        Hardware {
            accelerator,
            cpu_model: "max".to_owned(),
            cpus,
            memory_mib: 256,
            seed: 7,
            clock: Clock::Instructions,
        }
    }

    fn boot(plugin: Option<Plugin>) -> Boot {
        Boot { kernel: "vmlinuz".into(), initramfs: "/proc/1/fd/3".into(), append: " nokaslr  x=1 ".to_owned(), plugin }
    }

    fn line(hardware: &Hardware, boot: &Boot) -> String {
        let words: Vec<String> =
            arguments(hardware, boot).iter().map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn one_emulated_cpu_is_deterministic_and_hands_the_kernel_its_words() {
        let line = line(&hardware(Accelerator::Tcg, 1), &boot(None));
        assert!(line.contains("-icount shift=0,sleep=off -rtc base=2024-01-01T00:00:00,clock=vm"), "{line}");
        assert!(
            line.contains("-append console=ttyS0 panic=-1 quiet cryptomgr.notests nokaslr x=1 -nodefaults"),
            "{line}"
        );
        assert!(line.contains("-seed 7") && !line.contains("-plugin"), "{line}");
    }

    #[test]
    fn real_and_several_cpus_keep_their_clocks() {
        let waking = Hardware { clock: Clock::Host, ..hardware(Accelerator::Tcg, 1) };
        for hardware in [hardware(Accelerator::Kvm, 1), hardware(Accelerator::Tcg, 2), waking] {
            assert!(!line(&hardware, &boot(None)).contains("-icount"));
        }
    }

    #[test]
    fn commas_in_the_path_of_the_plugin_do_not_end_it() {
        let plugin = Plugin { path: "/a,b/p.so".into(), model: "skylake".to_owned(), out: "/o".into() };
        let line = line(&hardware(Accelerator::Tcg, 1), &boot(Some(plugin)));
        assert!(line.contains("-plugin /a,,b/p.so,out=/o,model=skylake"), "{line}");
    }

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        assert_eq!(
            version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright").as_deref(),
            Some("10.0.2")
        );
        assert_eq!(version("busybox"), None);
        for (found, older) in [("7.2.0", true), ("9.2", true), ("10.0.2", false), ("11.1.3", false), ("", true)] {
            assert_eq!(is_older(found, OLDEST), older, "{found}");
        }
    }

    #[test]
    fn a_qemu_that_cannot_start_is_quoted_by_its_first_words() {
        use std::os::unix::process::ExitStatusExt;

        let said = |stdout: &str, stderr: &str| {
            let status = std::process::ExitStatus::from_raw(127 << 8);
            let output = Output { status, stdout: stdout.into(), stderr: stderr.into() };
            QemuError::of("q".to_owned(), &output).to_string()
        };
        let library = "q: error while loading shared libraries: libx.so.1: cannot open";
        let line =
            format!("`q` does not start (exit status: 127): {library}; give another qemu, 10 or later, with --qemu");
        assert_eq!(said("", &format!(" \n{library}\nmore\n")), line);
        assert!(said("no\n", "").contains("): no; give") && said("", "").contains("): it says nothing; give"));
        assert!(said("", &"x".repeat(1000)).len() < 400, "a line can be read");
    }

    #[test]
    fn what_is_no_qemu_is_told_so() {
        let error = Qemu::find(Some(Path::new("/bin/echo"))).unwrap_err().to_string();
        assert!(error.starts_with("`/bin/echo` is no qemu-system-x86_64: it says `"), "{error}");
        let error = Qemu::find(Some(Path::new("/no/such/qemu"))).unwrap_err().to_string();
        assert!(error.starts_with("failed to run `/no/such/qemu`: No such file"), "{error}");
    }
}
