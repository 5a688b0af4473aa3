//! The catalogue: which event of which CPU plays which role, under which raw code.
//!
//! `data/cpus.tsv` and `data/events.tsv` are derived from the kernel's own event lists by `scripts/events.py`;
//! `data/generic.tsv` says what the kernel's generic names are on each CPU, `data/roles.tsv` what a role counts.

use std::fmt;
use std::sync::OnceLock;

use super::{EventCode, Role};

mod tables;

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

impl Catalog {
    /// The catalogue in the binary; read once, at start-up.
    pub fn get() -> &'static Self {
        static CATALOG: OnceLock<Catalog> = OnceLock::new();
        CATALOG.get_or_init(|| Self {
            cpus: tables::lines(tables::CPUS, tables::cpu),
            entries: tables::lines(tables::EVENTS, tables::entry),
            generic: tables::lines(tables::GENERIC, tables::generic),
            meanings: tables::lines(tables::ROLES, tables::meaning),
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

#[cfg(test)]
mod tests;
