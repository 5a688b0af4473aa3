//! The PMUs of a host and how they lay out their terms, read from sysfs under a root.
//!
//! As tools/perf/util/pmu.c has it: `type`, `format/*` (which bits of which config word a term fills), `events/*` (names for
//! terms; their `.scale`, `.unit` and `.per-pkg` are for printing and are left out), `cpus` on hybrid parts, `cpumask` where
//! a PMU counts for more than one CPU.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The word of `perf_event_attr` that a term goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Config,
    Config1,
    Config2,
    Config3,
}

/// Where the value of a term goes: its lowest bit to the lowest bit of the mask, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub word: Word,
    pub mask: u64,
}

impl Format {
    /// `config:0-7,32-35`.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, bits) = text.trim().split_once(':')?;
        let word = match word {
            "config" => Word::Config,
            "config1" => Word::Config1,
            "config2" => Word::Config2,
            "config3" => Word::Config3,
            _ => return None,
        };
        let mask = bits.split(',').try_fold(0, |mask, span| Some(mask | span_mask(span)?))?;
        Some(Self { word, mask })
    }

    /// The largest value that fits.
    pub fn most(self) -> u64 {
        u64::MAX.checked_shr(64 - self.mask.count_ones()).unwrap_or(0)
    }

    /// `value` in the bits of the mask (`pmu_format_value`).
    pub fn spread(self, value: u64) -> u64 {
        let places = (0..64).filter(|place| self.mask >> place & 1 == 1);
        places.enumerate().fold(0, |word, (bit, place)| word | (value >> bit & 1) << place)
    }
}

fn span_mask(span: &str) -> Option<u64> {
    let (from, to) = span.split_once('-').unwrap_or((span, span));
    let (from, to): (u32, u32) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (from <= to && to < 64).then(|| (u64::MAX >> (63 - (to - from))) << from)
}

/// One event source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pmu {
    pub name: String,
    pub pmu_type: u32,
    pub formats: BTreeMap<String, Format>,
    /// Names of events, and the terms they stand for.
    pub aliases: BTreeMap<String, String>,
    /// Counts for a package or a die, and knows no task.
    pub system_wide: bool,
    /// Of a hybrid part: the CPUs of this kind of core.
    cpus: Option<String>,
}

impl Pmu {
    /// Whether this is a PMU of the CPU cores.
    pub fn is_core(&self) -> bool {
        self.name == "cpu" || self.cpus.is_some() && self.name.starts_with("cpu_")
    }

    /// Bits of `config` that no term of the PMU fills. The kernel drops such bits without a word (`x86_pmu_get_event_config`),
    /// and counts another event.
    pub fn without_place(&self, config: u64) -> u64 {
        let terms = self.formats.values().filter(|format| format.word == Word::Config);
        match terms.fold(0, |mask, format| mask | format.mask) {
            0 => 0,
            known => config & !known,
        }
    }

    /// What may stand between its slashes, for a message.
    pub fn offers(&self) -> String {
        let list = |names: Vec<&String>| names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let terms = list(self.formats.keys().collect());
        match self.aliases.is_empty() {
            true => format!("terms {terms}"),
            false => format!("terms {terms}; events {}", list(self.aliases.keys().collect())),
        }
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pmus {
    pmus: Vec<Pmu>,
    /// `events` of tracefs.
    tracing: PathBuf,
}

impl Pmus {
    /// Reads `bus/event_source/devices` under `sysfs`; what cannot be read is absent.
    pub fn read(sysfs: &Path) -> Self {
        let devices = sysfs.join("bus/event_source/devices");
        let pmus = names(&devices).into_iter().filter_map(|name| pmu(&devices.join(&name), name)).collect();
        // Where tracefs is, or was before 4.1.
        let mounts = ["kernel/tracing/events", "kernel/debug/tracing/events"].map(|path| sysfs.join(path));
        let tracing = mounts.iter().find(|path| path.exists()).unwrap_or(&mounts[0]).clone();
        Self { pmus, tracing }
    }

    /// The PMU of that name.
    pub fn named(&self, name: &str) -> Option<&Pmu> {
        self.pmus.iter().find(|pmu| pmu.name == name)
    }

    /// Every name, for a message.
    pub fn names(&self) -> String {
        self.pmus.iter().map(|pmu| pmu.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The PMU of the core `cpu`: `cpu`, or on a hybrid part the one that lists it.
    pub fn core(&self, cpu: u32) -> Option<&Pmu> {
        let has = |pmu: &&Pmu| pmu.is_core() && pmu.cpus.as_deref().is_none_or(|cpus| contains(cpus, cpu));
        self.pmus.iter().find(has)
    }

    /// Whether tracefs is there to be read.
    pub fn has_tracing(&self) -> bool {
        self.tracing.exists()
    }

    /// The number of a tracepoint, `perf_event_attr.config` of its type.
    pub fn tracepoint(&self, system: &str, name: &str) -> Option<u64> {
        let file = self.tracing.join(system).join(name).join("id");
        fs::read_to_string(file).ok()?.trim().parse().ok()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn pmu(dir: &Path, name: String) -> Option<Pmu> {
    let formats = dir.join("format");
    let format = |name: String| Some((name.clone(), Format::parse(&text(&formats.join(name))?)?));
    let events = dir.join("events");
    // A dot sets off what belongs to an event: `.unit`, `.scale`, `.per-pkg`, `.snapshot`.
    let alias = |name: String| Some((name.clone(), text(&events.join(name))?));
    Some(Pmu {
        pmu_type: text(&dir.join("type"))?.parse().ok()?,
        formats: names(&formats).into_iter().filter_map(format).collect(),
        aliases: names(&events).into_iter().filter(|name| !name.contains('.')).filter_map(alias).collect(),
        system_wide: dir.join("cpumask").exists(),
        cpus: text(&dir.join("cpus")),
        name,
    })
}

/// Whether a list such as `0-7,16` holds `cpu`.
fn contains(list: &str, cpu: u32) -> bool {
    list.split(',').any(|span| {
        let (from, to) = span.split_once('-').unwrap_or((span, span));
        matches!((from.parse::<u32>(), to.parse::<u32>()), (Ok(from), Ok(to)) if (from..=to).contains(&cpu))
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A `sys` with the given files.
    pub fn sysfs(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_format_says_which_bits_of_which_word() {
        for (text, word, mask) in [
            ("config:0-7", Word::Config, 0xff),
            ("config:0-7,32-35\n", Word::Config, 0xf_0000_00ff),
            ("config:18", Word::Config, 1 << 18),
            ("config1:0-23", Word::Config1, 0xff_ffff),
            ("config2:0-63", Word::Config2, u64::MAX),
            ("config3:63", Word::Config3, 1 << 63),
        ] {
            assert_eq!(Format::parse(text), Some(Format { word, mask }), "{text}");
        }
        for bad in ["config", "config4:0", "config:", "config:7-0", "config:64", "config:a"] {
            assert_eq!(Format::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_value_fills_the_mask_from_below() {
        let split = Format::parse("config:0-7,32-35").unwrap();
        assert_eq!((split.spread(0x18e), split.most()), (0x1_0000_008e, 0xfff));
        assert_eq!(Format::parse("config:24-31").unwrap().spread(1), 0x100_0000);
        assert_eq!(Format::parse("config1:0-63").unwrap().most(), u64::MAX);
        assert_eq!(Format::parse("config:5").unwrap().most(), 1);
    }

    #[test]
    fn pmus_are_read_with_formats_and_events_and_without_what_is_for_printing() {
        let root = sysfs(&[
            ("bus/event_source/devices/power/type", "12\n"),
            ("bus/event_source/devices/power/cpumask", "0\n"),
            ("bus/event_source/devices/power/format/event", "config:0-7\n"),
            ("bus/event_source/devices/power/events/energy-pkg", "event=0x02\n"),
            ("bus/event_source/devices/power/events/energy-pkg.unit", "Joules\n"),
            ("bus/event_source/devices/power/events/energy-pkg.scale", "2.3e-10\n"),
            ("bus/event_source/devices/broken/format/event", "config:0-7\n"),
            ("kernel/tracing/events/tlb/tlb_flush/id", "77\n"),
        ]);
        let pmus = Pmus::read(root.path());
        assert_eq!(pmus.names(), "power");
        let power = pmus.named("power").unwrap();
        assert!(power.system_wide && !power.is_core());
        assert_eq!(power.offers(), "terms event; events energy-pkg");
        assert_eq!((pmus.tracepoint("tlb", "tlb_flush"), pmus.tracepoint("tlb", "none")), (Some(77), None));
        assert_eq!(Pmus::read(Path::new("/no/such/sys")).names(), "");
    }

    #[test]
    fn on_a_hybrid_part_the_cpu_decides_which_pmu_it_is() {
        let root = sysfs(&[
            ("bus/event_source/devices/cpu_core/type", "4"),
            ("bus/event_source/devices/cpu_core/cpus", "0-7"),
            ("bus/event_source/devices/cpu_atom/type", "10"),
            ("bus/event_source/devices/cpu_atom/cpus", "8-10,15"),
        ]);
        let pmus = Pmus::read(root.path());
        let core = |cpu| pmus.core(cpu).map(|pmu| pmu.name.as_str());
        assert_eq!(
            (core(0), core(9), core(15), core(12)),
            (Some("cpu_core"), Some("cpu_atom"), Some("cpu_atom"), None)
        );
    }
}
