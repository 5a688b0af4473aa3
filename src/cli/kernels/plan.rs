//! What is going to be booted, and on what; everything that can be refused is refused before the first boot.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Accel, Args, NamedImage, plugin, selftest};
use crate::cli::Failure;
use crate::cli::argv;
use crate::cli::shape::Shape;
use crate::counters::Choice;
use crate::model::geometry::Named;
use crate::runfile::manifest::{Accelerator, Fetches, Guest};
use crate::vm::boot::Limits;
use crate::vm::image::Image;
use crate::vm::initramfs;
use crate::vm::port::Selftest;
use crate::vm::qemu::{Clock, EMULATED_CPU, Hardware, Qemu};
use crate::workload::{FillerRule, Spec};

/// Under emulation everything is counted and nothing timed, so that more of the same says nothing new.
const EMULATED_TRIALS: u32 = 1;
const EMULATED_SAMPLES: u32 = 2;
/// A kernel that has not reached user space by then will not.
const TO_USER_SPACE: Duration = Duration::from_secs(180);
/// The same on a CPU of its own.
const TO_USER_SPACE_KVM: Duration = Duration::from_secs(30);
/// The emulator may be to blame for a death.
const TRIES: usize = 2;

/// Everything that a boot needs.
#[derive(Debug)]
pub struct Plan {
    pub kernels: Vec<Kernel>,
    pub boots: u32,
    pub seed: u64,
    workloads: Vec<Spec>,
    /// The same where nothing is timed.
    emulated_workloads: Vec<Spec>,
    /// The command line of all this.
    pub argv: Vec<String>,
    pub choice: Choice,
    pub qemu: Qemu,
    /// The bytes of the guest's init.
    pub init: Vec<u8>,
    /// What runs the guest's instructions: the first that serves.
    pub accelerators: Vec<Accelerator>,
    /// Why that is an emulator, where it was left to us.
    pub emulating: Option<String>,
    pub cpu_model: Option<String>,
    pub cpus: u32,
    pub memory_mib: u32,
    pub timeout: Duration,
    pub jobs: usize,
    /// The plugin that models an iTLB under emulation, or why none does.
    pub plugin: plugin::Chosen,
    /// Whose iTLB.
    pub model: String,
    /// Test the allocator instead of measuring.
    pub selftest: Option<Selftest>,
}

/// A kernel, or why it is not booted.
#[derive(Debug)]
pub struct Kernel {
    pub name: String,
    pub path: PathBuf,
    pub append: String,
    pub image: Result<Image, String>,
}

impl Plan {
    /// Reads images and programs, and decides what was left open.
    pub fn of(args: &Args) -> Result<Self, Failure> {
        refuse_doubles(&args.images)?;
        let no_kvm = no_counting_guests(Path::new("/"));
        let accelerators = accelerators(args.accel, no_kvm.is_none());
        let emulated = accelerators[0] == Accelerator::Tcg;
        let model = Named::find(&args.model).map_err(|error| Failure::Usage(error.to_string()))?;
        if let Some(plugin) = args.plugin.as_ref().filter(|plugin| !plugin.is_file()) {
            return Err(Failure::Usage(format!("there is no plugin at `{}`", plugin.display())));
        }
        let appended = appended(&args.append, &args.images)?;
        let workloads = args.shape.specs(&args.workload)?;
        let emulated_workloads = under_emulation(&args.shape).specs(&args.workload)?;
        if let (Accel::Kvm, Err(error)) = (args.accel, open_kvm(Path::new("/"))) {
            let remedy = "load kvm_intel or kvm_amd, or join the group `kvm`; --accel tcg emulates";
            return Err(Failure::HostCannot(format!("`/dev/kvm` cannot be opened: {error}; {remedy}")));
        }
        let qemu = Qemu::find(args.qemu.as_deref()).map_err(|error| Failure::HostCannot(error.to_string()))?;
        let own = Path::new("/proc/self/exe");
        let init = initramfs::init(args.init.as_deref().unwrap_or(own)).map_err(Failure::HostCannot)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let selftest = args.testing.asked()?;
        let cpus = args.smp.unwrap_or(if selftest.is_some() { selftest::CPUS } else { 1 });
        let at_once = if emulated { (processors / cpus as usize).max(1) } else { 1 };
        let kernels = args.images.iter().zip(appended).map(|(named, append)| Kernel {
            name: named.name.clone(),
            path: named.path.clone(),
            append,
            image: Image::read(&named.path).map_err(|error| error.to_string()),
        });
        Ok(Self {
            kernels: kernels.collect(),
            boots: args.boots,
            seed: args.shape.seed(),
            workloads,
            emulated_workloads,
            argv: argv(),
            choice: args.counting.choice(),
            plugin: plugin::choose(args, &qemu, cpus, &accelerators)?,
            model: model.name,
            selftest,
            qemu,
            init,
            emulating: no_kvm.filter(|_| args.accel == Accel::Auto),
            accelerators,
            cpu_model: args.cpu_model.clone(),
            cpus,
            memory_mib: args.memory,
            timeout: Duration::from_secs(args.timeout),
            jobs: args.jobs.map_or(at_once, |jobs| jobs as usize),
        })
    }

    /// What is measured there.
    pub fn workloads(&self, accelerator: Accelerator) -> &[Spec] {
        match accelerator {
            Accelerator::Tcg => &self.emulated_workloads,
            Accelerator::Kvm => &self.workloads,
        }
    }

    /// The machine of a boot, from 1.
    pub fn hardware(&self, accelerator: Accelerator, boot: u32) -> Hardware {
        let usual = match accelerator {
            Accelerator::Tcg => EMULATED_CPU,
            Accelerator::Kvm => "host,pmu=on",
        };
        Hardware {
            accelerator,
            cpu_model: self.cpu_model.clone().unwrap_or_else(|| usual.to_owned()),
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            seed: self.seed.wrapping_add(u64::from(boot) - 1),
            // A selftest waits for what the kernel does by its clock.
            clock: if self.selftest.is_some() { Clock::Host } else { Clock::Instructions },
        }
    }

    /// What the run file says of its guest.
    /// `deaths`: how earlier tries ended.
    pub fn guest(&self, kernel: &Kernel, boot: u32, hardware: &Hardware, deaths: &[String]) -> Guest {
        let accelerator = match hardware.accelerator {
            Accelerator::Tcg => "TCG",
            Accelerator::Kvm => "KVM",
        };
        Guest {
            kernel: kernel.name.clone(),
            banner: kernel.image.as_ref().map(|image| image.banner.clone()).unwrap_or_default(),
            boot,
            accelerator: hardware.accelerator,
            emulator: format!("qemu {}, {accelerator}", self.qemu.version),
            cpu_model: hardware.cpu_model.clone(),
            cpus: hardware.cpus,
            memory_mib: hardware.memory_mib,
            append: kernel.append.clone(),
            seed: hardware.seed,
            fetches: self.fetches(hardware.accelerator),
            deaths: deaths.to_vec(),
        }
    }

    fn fetches(&self, accelerator: Accelerator) -> Fetches {
        match (&self.plugin, accelerator) {
            (Ok(_), Accelerator::Tcg) => Fetches::Modelled { model: self.model.clone() },
            (Err(reason), Accelerator::Tcg) => Fetches::NotModelled { reason: reason.clone() },
            (_, Accelerator::Kvm) => Fetches::NotModelled { reason: "a CPU ran the guest, and no emulator".to_owned() },
        }
    }

    /// How long a boot may take.
    pub fn limits(&self, accelerator: Accelerator) -> Limits {
        // Who gives a slow guest more time gives it more until there, too.
        let to_user_space = match accelerator {
            Accelerator::Tcg => TO_USER_SPACE.max(self.timeout * 3 / 10),
            Accelerator::Kvm => TO_USER_SPACE_KVM.max(self.timeout / 20),
        };
        Limits { to_user_space, whole: self.timeout }
    }
}

/// What is left open in `shape` as it serves under emulation.
fn under_emulation(shape: &Shape) -> Shape {
    let mut shape = shape.clone();
    shape.trials = shape.trials.or(Some(EMULATED_TRIALS));
    shape.samples = shape.samples.or(Some(EMULATED_SAMPLES));
    // Nothing is timed: fillers in the kernel's own arm would only show in its direct map.
    shape.fillers = shape.fillers.or(Some(FillerRule::Needed));
    shape
}

fn refuse_doubles(images: &[NamedImage]) -> Result<(), Failure> {
    let mut names = BTreeSet::new();
    match images.iter().find(|image| !names.insert(&image.name)) {
        Some(twice) => Err(Failure::Usage(format!("two images are called `{}`; give each its own name", twice.name))),
        None => Ok(()),
    }
}

/// What each kernel's command line gets.
fn appended(given: &[String], images: &[NamedImage]) -> Result<Vec<String>, Failure> {
    let mut lines = vec![Vec::new(); images.len()];
    for words in given {
        if words.split_whitespace().any(|word| word == "--") {
            return Err(Failure::Usage("--append takes no `--`: what stands behind it is init's".to_owned()));
        }
        let named = images.iter().position(|image| words.starts_with(&format!("{}:", image.name)));
        match named {
            Some(at) => lines[at].push(words[images[at].name.len() + 1..].trim().to_owned()),
            None => lines.iter_mut().for_each(|line| line.push(words.trim().to_owned())),
        }
    }
    Ok(lines.into_iter().map(|words| words.join(" ")).collect())
}

/// What is tried, one after the other, until something carries the guest to user space.
fn accelerators(asked: Accel, counts_in_guests: bool) -> Vec<Accelerator> {
    let emulated = || vec![Accelerator::Tcg; TRIES];
    match asked {
        Accel::Tcg => emulated(),
        Accel::Kvm => vec![Accelerator::Kvm],
        Accel::Auto if counts_in_guests => [vec![Accelerator::Kvm], emulated()].concat(),
        Accel::Auto => emulated(),
    }
}

/// Why the CPU of the host under `root` does not run guests that count, if it does not: this process may not use KVM, or there is no PMU
/// that a guest could use.
fn no_counting_guests(root: &Path) -> Option<String> {
    if let Err(error) = open_kvm(root) {
        return Some(format!("`/dev/kvm` cannot be opened: {error}"));
    }
    // KVM gives guests no PMU on hybrid parts, whose core PMUs have other names, nor where it was told so (arch/x86/kvm/pmu.c,
    // kvm_init_pmu_capability).
    let counts = root.join("sys/bus/event_source/devices/cpu").exists();
    let told = std::fs::read_to_string(root.join("sys/module/kvm/parameters/enable_pmu"));
    match told.is_ok_and(|enabled| enabled.trim() == "N") {
        true => Some("kvm.enable_pmu is off: guests have no PMU".to_owned()),
        false => (!counts).then(|| "this host has no PMU that a guest could use".to_owned()),
    }
}

fn open_kvm(root: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(root.join("dev/kvm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[&str]) -> Vec<NamedImage> {
        names.iter().map(|name| NamedImage { name: (*name).to_owned(), path: PathBuf::new() }).collect()
    }

    #[test]
    fn words_go_to_every_kernel_or_to_the_one_they_name() {
        let given = ["quiet", "b: nohugevmalloc ", "c:x"].map(str::to_owned);
        let lines = appended(&given, &images(&["a", "b"])).unwrap();
        assert_eq!(lines, ["quiet c:x", "quiet nohugevmalloc c:x"]);
        assert!(appended(&["-- sh".to_owned()], &images(&["a"])).is_err());
    }

    #[test]
    fn one_name_for_two_images_is_refused() {
        assert!(refuse_doubles(&images(&["a", "b"])).is_ok());
        let error = refuse_doubles(&images(&["a", "b", "a"])).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().contains("`a`")), (2, true));
    }

    #[test]
    fn an_emulator_is_tried_twice_and_a_cpu_once() {
        assert_eq!(accelerators(Accel::Tcg, true), [Accelerator::Tcg; 2]);
        assert_eq!(accelerators(Accel::Kvm, false), [Accelerator::Kvm]);
        assert_eq!(accelerators(Accel::Auto, false), [Accelerator::Tcg; 2]);
        assert_eq!(accelerators(Accel::Auto, true)[..2], [Accelerator::Kvm, Accelerator::Tcg]);
    }

    #[test]
    fn guests_count_where_kvm_can_be_used_and_there_is_a_pmu() {
        let root = tempfile::tempdir().unwrap();
        let why = || no_counting_guests(root.path());
        assert!(why().unwrap().starts_with("`/dev/kvm` cannot be opened: No such file"), "{why:?}", why = why());
        std::fs::create_dir(root.path().join("dev")).unwrap();
        std::fs::write(root.path().join("dev/kvm"), "").unwrap();
        assert_eq!(why().unwrap(), "this host has no PMU that a guest could use");
        let devices = root.path().join("sys/bus/event_source/devices");
        std::fs::create_dir_all(devices.join("cpu_core")).unwrap();
        assert_eq!(why().unwrap(), "this host has no PMU that a guest could use", "a hybrid part");
        std::fs::create_dir_all(devices.join("cpu")).unwrap();
        assert_eq!(why(), None);
        let parameters = root.path().join("sys/module/kvm/parameters");
        std::fs::create_dir_all(&parameters).unwrap();
        for (enabled, counts) in [("Y\n", true), ("N\n", false)] {
            std::fs::write(parameters.join("enable_pmu"), enabled).unwrap();
            assert_eq!(why().is_none(), counts, "{enabled}");
        }
    }
}
