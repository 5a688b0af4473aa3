//! The catalogue: which event of which CPU plays which role, under which raw code.
//!
//! `data/cpus.tsv` and `data/events.tsv` are derived from the kernel's own event lists by `scripts/events.py`;
//! `data/generic.tsv` says what the kernel's generic names are on each CPU, `data/roles.tsv` what a role counts.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use super::{EventCode, Role};

/// What the kernel says in `/proc/cpuinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuId {
    pub vendor: String,
    pub family: u32,
    pub model: u32,
    pub stepping: u32,
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} family {} model {} stepping {}", self.vendor, self.family, self.model, self.stepping)
    }
}

/// The kind of core on a CPU that has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Core {
    /// The CPU has one kind.
    Only,
    /// A P-core, PMU `cpu_core`.
    Performance,
    /// An E-core, PMU `cpu_atom`.
    Efficient,
}

impl Core {
    /// The PMU's name in `/sys/bus/event_source/devices`.
    pub fn pmu(self) -> &'static str {
        match self {
            Self::Only => "cpu",
            Self::Performance => "cpu_core",
            Self::Efficient => "cpu_atom",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [("-", Self::Only), ("core", Self::Performance), ("atom", Self::Efficient)]
            .into_iter()
            .find_map(|(name, core)| (name == text).then_some(core))
    }
}

/// A CPU of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The kernel's name for its event list, as in `skylakex`.
    pub name: &'static str,
    pub vendor: &'static str,
    family: u32,
    models: Vec<(u32, u32)>,
    /// Empty for any.
    steppings: Vec<(u32, u32)>,
    pub cores: Vec<Core>,
    /// Of the event list.
    pub version: &'static str,
}

impl Cpu {
    fn is(&self, id: &CpuId) -> bool {
        let within = |spans: &[(u32, u32)], n| spans.iter().any(|&(from, to)| (from..=to).contains(&n));
        self.vendor == id.vendor
            && self.family == id.family
            && within(&self.models, id.model)
            && (self.steppings.is_empty() || within(&self.steppings, id.stepping))
    }
}

/// One line of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub role: Role,
    /// The vendor's name.
    pub name: &'static str,
    pub config: u64,
    /// `MSR_PEBS_FRONTEND`, the kernel's format field `frontend`.
    pub config1: u64,
    /// Bit n: general-purpose counter n can hold it. All ones where the list does not say.
    pub counters: u64,
    /// The vendor's numbers of its errata, or empty.
    pub errata: &'static str,
}

impl Entry {
    /// As perf would be given it, for the eye.
    pub fn raw(&self) -> String {
        match self.config1 {
            0 => format!("r{:04x}", self.config),
            frontend => format!("r{:04x},frontend={frontend:#x}", self.config),
        }
    }

    /// The code under the PMU of type `pmu_type`.
    pub fn code(&self, pmu_type: u32) -> EventCode {
        EventCode { config1: self.config1, ..EventCode::new(pmu_type, self.config) }
    }
}

/// The generic names on one core: the raw codes behind them, `None` where the kernel has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generic {
    pub loads: Option<u64>,
    pub misses: Option<u64>,
}

/// What a role counts, and what one might think it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    pub counts: &'static str,
    pub not: &'static str,
}

/// Every CPU and event known.
#[derive(Debug)]
pub struct Catalog {
    cpus: Vec<Cpu>,
    entries: Vec<(&'static str, Core, Entry)>,
    generic: Vec<(&'static str, Core, Generic)>,
    meanings: Vec<(Role, &'static str, Meaning)>,
}

/// A line of an embedded table that does not fit; only a change of the tables can bring it about.
#[derive(Debug, PartialEq, Eq)]
struct BadLine(String);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to read a line of the catalogue: `{}`", self.0)
    }
}

impl Catalog {
    /// The catalogue in the binary; read once, at start-up.
    pub fn get() -> &'static Self {
        static CATALOG: OnceLock<Catalog> = OnceLock::new();
        CATALOG.get_or_init(|| Self {
            cpus: lines(include_str!("data/cpus.tsv"), cpu),
            entries: lines(include_str!("data/events.tsv"), entry),
            generic: lines(include_str!("data/generic.tsv"), generic),
            meanings: lines(include_str!("data/roles.tsv"), meaning),
        })
    }

    /// The CPU with that identity; `None` for a model the catalogue does not know, which has the generic events only.
    pub fn identify(&self, id: &CpuId) -> Option<&Cpu> {
        self.cpus.iter().find(|cpu| cpu.is(id))
    }

    /// The CPU of that name.
    pub fn named(&self, name: &str) -> Option<&Cpu> {
        self.cpus.iter().find(|cpu| cpu.name == name)
    }

    /// Every CPU, by name.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// The events of one core type of a CPU, in the order of roles.
    pub fn entries(&self, cpu: &Cpu, core: Core) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |(name, kind, _)| *name == cpu.name && *kind == core).map(|(.., entry)| entry)
    }

    /// The event that plays `role`.
    pub fn entry(&self, cpu: &Cpu, core: Core, role: Role) -> Option<&Entry> {
        self.entries(cpu, core).find(|entry| entry.role == role)
    }

    /// What the generic names are there.
    pub fn generic(&self, cpu: &Cpu, core: Core) -> Option<Generic> {
        self.generic.iter().find(|(name, kind, _)| *name == cpu.name && *kind == core).map(|(.., generic)| *generic)
    }

    /// What `role` counts on CPUs of `vendor`.
    pub fn meaning(&self, role: Role, vendor: &str) -> Option<Meaning> {
        let short = match vendor {
            "GenuineIntel" => "intel",
            "AuthenticAMD" => "amd",
            other => other,
        };
        let fits = |&&(known, of, _): &&(Role, &str, Meaning)| known == role && (of == "any" || of == short);
        self.meanings.iter().find(fits).map(|(.., meaning)| *meaning)
    }
}

/// Every line that `read` understands; a line that it does not is a mistake in the table, which the tests find.
fn lines<T>(text: &'static str, read: impl Fn(&[&'static str]) -> Option<T>) -> Vec<T> {
    checked(text, read).into_iter().flatten().collect()
}

fn checked<T>(text: &'static str, read: impl Fn(&[&'static str]) -> Option<T>) -> Vec<Result<T, BadLine>> {
    let body = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    body.map(|line| read(&line.split('\t').collect::<Vec<_>>()).ok_or_else(|| BadLine(line.to_owned()))).collect()
}

fn cpu(columns: &[&'static str]) -> Option<Cpu> {
    let &[name, vendor, family, models, steppings, cores, version] = columns else { return None };
    Some(Cpu {
        name,
        vendor,
        family: family.parse().ok()?,
        models: spans(models)?,
        steppings: if steppings == "*" { Vec::new() } else { spans(steppings)? },
        cores: cores.split('/').map(Core::parse).collect::<Option<_>>()?,
        version,
    })
}

/// `0-2f,a5` in hexadecimal.
fn spans(text: &str) -> Option<Vec<(u32, u32)>> {
    let number = |digits: &str| u32::from_str_radix(digits, 16).ok();
    let span = |part: &str| match part.split_once('-') {
        Some((from, to)) => Some((number(from)?, number(to)?)),
        None => number(part).map(|only| (only, only)),
    };
    text.split(',').map(span).collect()
}

fn entry(columns: &[&'static str]) -> Option<(&'static str, Core, Entry)> {
    let &[cpu, core, role, name, config, config1, counters, errata] = columns else { return None };
    let entry = Entry {
        role: Role::named(role)?,
        name,
        config: hexadecimal(config)?,
        config1: hexadecimal(config1)?,
        counters: mask(counters)?,
        errata: errata.trim_matches('-'),
    };
    Some((cpu, Core::parse(core)?, entry))
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn mask(counters: &str) -> Option<u64> {
    if counters == "-" {
        return Some(u64::MAX);
    }
    let bit = |text: &str| u32::from_str(text).ok().filter(|&n| n < 32).map(|n| 1u64 << n);
    counters.split(',').try_fold(0, |mask, counter| Some(mask | bit(counter)?))
}

fn generic(columns: &[&'static str]) -> Option<(&'static str, Core, Generic)> {
    let &[cpu, core, loads, misses] = columns else { return None };
    let code = |text: &str| if text == "EINVAL" { Some(None) } else { hexadecimal(text).map(Some) };
    Some((cpu, Core::parse(core)?, Generic { loads: code(loads)?, misses: code(misses)? }))
}

fn meaning(columns: &[&'static str]) -> Option<(Role, &'static str, Meaning)> {
    let &[role, _, vendor, counts, not] = columns else { return None };
    Some((Role::named(role)?, vendor, Meaning { counts, not }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn id(vendor: &str, family: u32, model: u32, stepping: u32) -> CpuId {
        CpuId { vendor: vendor.to_owned(), family, model, stepping }
    }

    fn code(cpu: &str, core: Core, role: Role) -> Option<(u64, u64)> {
        let catalog = Catalog::get();
        catalog.entry(catalog.named(cpu).unwrap(), core, role).map(|entry| (entry.config, entry.config1))
    }

    #[test]
    fn every_line_of_the_tables_is_understood() {
        let bad = |text, read: fn(&[&'static str]) -> bool| {
            checked(text, move |line| read(line).then_some(())).into_iter().find_map(Result::err)
        };
        assert_eq!(bad(include_str!("data/cpus.tsv"), |line| cpu(line).is_some()), None);
        assert_eq!(bad(include_str!("data/events.tsv"), |line| entry(line).is_some()), None);
        assert_eq!(bad(include_str!("data/generic.tsv"), |line| generic(line).is_some()), None);
        assert_eq!(bad(include_str!("data/roles.tsv"), |line| meaning(line).is_some()), None);
    }

    #[test]
    fn a_cpu_is_found_by_vendor_family_model_and_where_it_matters_stepping() {
        let name = |id: &CpuId| Catalog::get().identify(id).map(|cpu| cpu.name);
        let intel = |model, stepping| name(&id("GenuineIntel", 6, model, stepping));
        assert_eq!(intel(0x3c, 3), Some("haswell"));
        assert_eq!(intel(0x55, 4), Some("skylakex"));
        assert_eq!(intel(0x55, 7), Some("cascadelakex"));
        assert_eq!(intel(0x97, 2), Some("alderlake"));
        assert_eq!(intel(0xad, 1), Some("graniterapids"));
        assert_eq!(intel(0xcc, 0), None, "Panther Lake is younger than the list");
        assert_eq!(intel(0x2a, 7), None, "Sandy Bridge is older than the list");
        for (family, model, cpu) in
            [(23, 0x01, "amdzen1"), (23, 0x31, "amdzen2"), (25, 0x01, "amdzen3"), (25, 0x11, "amdzen4")]
        {
            assert_eq!(name(&id("AuthenticAMD", family, model, 0)), Some(cpu));
        }
        assert_eq!(name(&id("AuthenticAMD", 26, 0x02, 1)), Some("amdzen5"));
        assert_eq!(name(&id("HygonGenuine", 24, 0, 0)), None);
    }

    #[test]
    fn no_model_is_two_cpus() {
        for (at, cpu) in Catalog::get().cpus.iter().enumerate() {
            for model in 0..256 {
                for stepping in 0..16 {
                    let id = id(cpu.vendor, cpu.family, model, stepping);
                    let also = Catalog::get().cpus[at + 1..].iter().find(|other| cpu.is(&id) && other.is(&id));
                    assert_eq!(also, None, "{} and {id:?}", cpu.name);
                }
            }
        }
    }

    #[test]
    fn the_codes_are_those_of_the_vendors_manuals() {
        for (cpu, core, role, expected) in [
            ("haswell", Core::Only, Role::WalkCycles, Some((0x1085, 0))),
            ("skylake", Core::Only, Role::WalksCompleted, Some((0xe85, 0))),
            ("skylake", Core::Only, Role::WalkCycles, Some((0x100_1085, 0))),
            ("skylake", Core::Only, Role::RetiredStlbMisses, Some((0x1c6, 0x15))),
            ("icelakex", Core::Only, Role::WalksStarted, None),
            ("alderlake", Core::Performance, Role::WalksCompleted, Some((0xe11, 0))),
            ("alderlake", Core::Efficient, Role::WalksCompleted, Some((0xe85, 0))),
            ("graniterapids", Core::Only, Role::RetiredItlbMisses, Some((0x3c6, 0x14))),
            ("sierraforest", Core::Only, Role::SlotsLostItlb, Some((0x1071, 0))),
            ("amdzen1", Core::Only, Role::WalksCompleted, Some((0x85, 0))),
            ("amdzen3", Core::Only, Role::WalksCompleted, Some((0xff85, 0))),
            ("amdzen3", Core::Only, Role::L1iMisses, Some((0x1_0000_188e, 0))),
            ("amdzen5", Core::Only, Role::WalksCoalesced4k, Some((0x885, 0))),
            ("amdzen2", Core::Only, Role::WalksCoalesced4k, None),
        ] {
            assert_eq!(code(cpu, core, role), expected, "{cpu} {role}");
        }
    }

    #[test]
    fn every_core_has_walks_generic_names_and_the_rivals() {
        let catalog = Catalog::get();
        for cpu in catalog.cpus() {
            for &core in &cpu.cores {
                let roles: BTreeSet<Role> = catalog.entries(cpu, core).map(|entry| entry.role).collect();
                assert_eq!(roles.len(), catalog.entries(cpu, core).count(), "{} has a role twice", cpu.name);
                let walks = [Role::WalksCompleted, Role::WalksCompleted4k];
                assert!(walks.iter().any(|role| roles.contains(role)), "{}", cpu.name);
                assert!(roles.contains(&Role::BranchMisses), "{}", cpu.name);
                assert!(roles.contains(&Role::L1iMisses) || cpu.name == "lunarlake", "{}", cpu.name);
                assert!(catalog.generic(cpu, core).is_some(), "{} {core:?}", cpu.name);
            }
        }
    }

    #[test]
    fn the_generic_names_are_events_of_the_catalogue_wherever_it_has_the_code() {
        let catalog = Catalog::get();
        let role = |cpu: &str, code: Option<u64>| {
            let cpu = catalog.named(cpu).unwrap();
            catalog.entries(cpu, cpu.cores[0]).find(|entry| Some(entry.config) == code).map(|entry| entry.role)
        };
        for (cpu, loads, misses) in [
            ("haswell", Some(Role::StlbHits), Some(Role::WalksStarted)),
            ("skylake", Some(Role::StlbHits), Some(Role::WalksCompleted)),
            ("icelake", None, Some(Role::WalksCompleted)),
            ("snowridgex", None, Some(Role::ItlbFills)),
            ("amdzen2", Some(Role::StlbHits), Some(Role::WalksCompleted)),
        ] {
            let generic = catalog.generic(catalog.named(cpu).unwrap(), Core::Only).unwrap();
            assert_eq!((role(cpu, generic.loads), role(cpu, generic.misses)), (loads, misses), "{cpu}");
        }
    }

    #[test]
    fn every_role_says_what_it_counts_for_every_vendor_that_has_it() {
        let catalog = Catalog::get();
        for cpu in catalog.cpus() {
            for entry in cpu.cores.iter().flat_map(|&core| catalog.entries(cpu, core)) {
                let meaning = catalog.meaning(entry.role, cpu.vendor);
                assert!(meaning.is_some_and(|m| !m.counts.is_empty() && !m.not.is_empty()), "{}", entry.role);
            }
        }
        for &role in Role::ALL {
            let known = ["GenuineIntel", "AuthenticAMD"].iter().any(|vendor| catalog.meaning(role, vendor).is_some());
            assert!(known, "{role}");
        }
    }

    #[test]
    fn counters_an_event_is_bound_to_are_a_mask() {
        let catalog = Catalog::get();
        let skylake = catalog.named("skylake").unwrap();
        assert_eq!(catalog.entry(skylake, Core::Only, Role::WalksCompleted).unwrap().counters, 0xf);
        assert_eq!((mask("0,1,7"), mask("-"), mask("x"), mask("64")), (Some(0x83), Some(u64::MAX), None, None));
    }
}
