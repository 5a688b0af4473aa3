//! `itlbench kernels`: the same workload in several kernel images, each booted in qemu.
//! In: images by name. Out: one run file for each boot, and all kernels in one table. Apart because it runs itself again: as the
//! guest's init, and as the leash that no guest outlives.

mod driver;
mod fetches;
pub mod guest;
pub mod leash;
mod plan;
mod plugin;
mod publish;
mod selftest;

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::SystemTime;

use super::Failure;
use super::counting::Counting;
use super::run::{make_stamped, stop_on_signals};
use super::shape::Shape;
use crate::runfile::manifest::Accelerator;
use plan::Plan;

/// Arguments of `itlbench kernels`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Kernel images (bzImage, vmlinuz-*), each under the name it shall have
    #[arg(required = true, value_name = "NAME=IMAGE")]
    images: Vec<NamedImage>,
    /// Built-in workloads or paths of .toml files; see `itlbench list`
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',', default_value = "chain")]
    workload: Vec<String>,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    counting: Counting,
    #[command(flatten)]
    testing: selftest::Testing,
    /// Boots of each image; each draws KASLR and all else from a seed of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    boots: u32,
    /// Words for the command line of every kernel, or of one: NAME:WORDS; may be given again
    #[arg(long, value_name = "[NAME:]WORDS", allow_hyphen_values = true)]
    append: Vec<String>,
    /// Memory of a guest in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=1 << 20))]
    memory: u32,
    /// qemu's name of the guest's CPU: by default `max,erms=off,fsrm=off` under emulation, the host's own with KVM
    #[arg(long, value_name = "NAME")]
    cpu_model: Option<String>,
    /// CPUs of a guest: 1, or 2 for a selftest; under emulation more than one are not the same twice
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: Option<u32>,
    /// What runs the guest's instructions; `auto`: the CPU if it can count them in a guest (KVM and a PMU), else the emulator
    #[arg(long, value_enum, default_value = "auto")]
    accel: Accel,
    /// Seconds that a boot may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Guests at a time; by default as many as the host has CPUs for under emulation, and one with KVM
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: Option<u32>,
    /// qemu-system-x86_64, 10 or later; by default the one that scripts/kernels.sh fetches, else the one on PATH
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
    /// The plugin that models an iTLB from the guest's own fetches; by default the one that `make plugin` builds
    #[arg(long, value_name = "PATH")]
    plugin: Option<PathBuf>,
    /// Whose iTLB it models; `itlbench list models` names them
    #[arg(long, value_name = "NAME", default_value = "zen3")]
    model: String,
    /// The static binary that becomes init; by default this one
    #[arg(long, value_name = "PATH")]
    init: Option<PathBuf>,
    /// Directory in which the directory of this matrix is made
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
}

/// What may run the instructions of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Accel {
    Auto,
    Kvm,
    Tcg,
}

/// An image and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedImage {
    name: String,
    path: PathBuf,
}

impl FromStr for NamedImage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("write NAME=IMAGE, for instance base=/boot/vmlinuz")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
        if name.is_empty() || name.len() > 40 || name.starts_with(['.', '-']) || !name.chars().all(plain) {
            return Err(format!("`{name}` is no name: letters, digits and . _ + - are, 40 at most"));
        }
        if path.is_empty() {
            return Err(format!("`{name}` has no image"));
        }
        Ok(Self { name: name.to_owned(), path: PathBuf::from(path) })
    }
}

/// Boots, measures and reports, the directory of the matrix last; or tests, and prints the results of all as KTAP.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let plan = Plan::of(args)?;
    if let Some(why) = &plan.emulating {
        eprintln!("itlbench: the guests are emulated, and no time of theirs is shown: {why}");
    }
    if let Some(warning) = plan.accelerators.contains(&Accelerator::Tcg).then(|| plan.qemu.warning()).flatten() {
        eprintln!("itlbench: {warning}");
    }
    let stop = stop_on_signals()?;
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let dir = make_stamped(&args.out, &started, "kernels")?;
    let outcomes = driver::boot_all(&plan, &dir, &stop);
    match plan.selftest {
        Some(_) => selftest::show(&dir, &outcomes, out),
        None => publish::show(&dir, &outcomes, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_name_that_can_be_a_directory() {
        let image: NamedImage = "7.3-rc7+deb14=/boot/vmlinuz-a=b".parse().unwrap();
        assert_eq!((image.name.as_str(), image.path.to_str()), ("7.3-rc7+deb14", Some("/boot/vmlinuz-a=b")));
        for bad in ["vmlinuz", "=x", "a=", "../a=x", "a/b=x", ".a=x", "a b=x"] {
            assert!(bad.parse::<NamedImage>().is_err(), "{bad}");
        }
    }
}
