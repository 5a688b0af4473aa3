//! Which iTLB a CPU has: a table as data, looked up by CPUID numbers or by name.

use std::sync::OnceLock;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::itlb::{Array, Geometry, Index, Level};

const TABLE: &str = include_str!("geometry.toml");

/// The suffix of a name that asks for coalesced entries.
pub const COALESCING: &str = "+coalescing";

/// Which of the two kinds of core of a hybrid CPU; CPUID leaf 0x1a, EAX[31:24].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum CoreKind {
    /// 0x40, "core".
    #[serde(rename = "p")]
    Performance,
    /// 0x20, "atom".
    #[serde(rename = "e")]
    Efficient,
}

/// CPUID's numbers of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuId<'a> {
    pub vendor: &'a str,
    pub family: u32,
    pub model: u32,
    /// `None` if unknown, or if the CPU has one kind only.
    pub core: Option<CoreKind>,
}

/// One core design.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// As `--model` takes it.
    pub name: String,
    pub title: String,
    pub vendor: String,
    pub family: u32,
    models: Vec<String>,
    #[serde(rename = "core")]
    pub kind: Option<CoreKind>,
    #[serde(deserialize_with = "array")]
    l1_4k: Array,
    #[serde(default, deserialize_with = "own_array")]
    l1_2m: Option<Array>,
    #[serde(deserialize_with = "array")]
    l2: Array,
    #[serde(default, deserialize_with = "own_array")]
    l2_2m: Option<Array>,
    /// The second level also holds data translations: data pushes out code.
    #[serde(default)]
    pub l2_holds_data: bool,
    /// CPUID leaf 2 gives half of the L1 entries where SMT is on.
    #[serde(default)]
    pub cpuid_halves_l1: bool,
    #[serde(default = "one")]
    pub coalesces: u32,
    pub sources: Vec<String>,
    pub uncertain: Option<String>,
}

/// An [`Array`] as the table spells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    entries: u32,
    ways: u32,
    #[serde(default)]
    index: IndexName,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum IndexName {
    #[default]
    Low,
    Folded,
}

fn array<'de, D: Deserializer<'de>>(from: D) -> Result<Array, D::Error> {
    let Entries { entries, ways, index } = Entries::deserialize(from)?;
    let index = match index {
        IndexName::Low => Index::Low,
        IndexName::Folded => Index::Folded,
    };
    Array::new(entries, ways, index).map_err(D::Error::custom)
}

fn own_array<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Array>, D::Error> {
    array(from).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    core: Vec<Core>,
}

fn one() -> u32 {
    1
}

/// Every core of the table, in its order. Empty only if the table in this build is broken, which the tests rule out.
pub fn cores() -> &'static [Core] {
    static CORES: OnceLock<Vec<Core>> = OnceLock::new();
    CORES.get_or_init(|| toml::from_str::<Table>(TABLE).map(|table| table.core).unwrap_or_default())
}

impl Core {
    /// The core of a CPU. Where a hybrid's kind of core is not known it is taken to be a performance core.
    pub fn of(cpu: CpuId<'_>) -> Option<&'static Self> {
        let fits = |core: &&Self| {
            let kind = cpu.core.is_none() || core.kind.is_none() || core.kind == cpu.core;
            core.vendor == cpu.vendor && core.family == cpu.family && core.has_model(cpu.model) && kind
        };
        cores().iter().find(fits)
    }

    fn has_model(&self, model: u32) -> bool {
        self.models.iter().filter_map(|range| parse_range(range)).any(|(low, high)| (low..=high).contains(&model))
    }

    /// The iTLB, each 4 KiB page with an entry of its own.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            l1: Level { small: self.l1_4k, huge: self.l1_2m },
            l2: Level { small: self.l2, huge: self.l2_2m },
            coalesced: 1,
        }
    }
}

/// A geometry with the name it goes by in outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub core: &'static Core,
    pub geometry: Geometry,
}

impl From<&'static Core> for Named {
    fn from(core: &'static Core) -> Self {
        Self { name: core.name.clone(), core, geometry: core.geometry() }
    }
}

/// A name that no core has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownModel {
    #[error("no iTLB model is called `{name}`; `itlbench list models` names them")]
    Name { name: String },
    #[error("`{name}` does not coalesce entries; leave `{COALESCING}` out")]
    Coalescing { name: String },
}

impl Named {
    /// The model called `name`, with [`COALESCING`] behind it if all neighbouring pages are to be contiguous in memory.
    pub fn find(name: &str) -> Result<Self, UnknownModel> {
        let (base, coalescing) = match name.strip_suffix(COALESCING) {
            Some(base) => (base, true),
            None => (name, false),
        };
        let core = cores().iter().find(|core| core.name == base);
        let core = core.ok_or_else(|| UnknownModel::Name { name: name.to_owned() })?;
        let mut named = Self::from(core);
        if coalescing {
            if core.coalesces == 1 {
                return Err(UnknownModel::Coalescing { name: base.to_owned() });
            }
            named.geometry.coalesced = core.coalesces;
            named.name = name.to_owned();
        }
        Ok(named)
    }
}

/// `0x3c` or `0x10-0x1f`.
fn parse_range(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Some((number(low)?, number(high)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vendor: &str, family: u32, model: u32, core: Option<CoreKind>) -> Option<&'static str> {
        Core::of(CpuId { vendor, family, model, core }).map(|core| core.name.as_str())
    }

    #[test]
    fn every_core_of_the_table_can_be_read_and_says_where_it_comes_from() {
        toml::from_str::<Table>(TABLE).unwrap();
        assert!(cores().len() >= 20);
        for core in cores() {
            assert!(!core.sources.is_empty() && !core.models.is_empty(), "{}", core.name);
            assert!(core.models.iter().all(|range| parse_range(range).is_some_and(|(low, high)| low <= high)));
            assert_eq!(cores().iter().filter(|other| other.name == core.name).count(), 1, "{}", core.name);
            assert_eq!(Named::find(&core.name).unwrap().geometry, core.geometry());
        }
    }

    #[test]
    fn no_two_cores_claim_one_cpu() {
        for (at, a) in cores().iter().enumerate() {
            for b in &cores()[at + 1..] {
                let apart = a.vendor != b.vendor || a.family != b.family || (a.kind != b.kind && a.kind.is_some());
                let both = (0..=0xff).find(|&model| a.has_model(model) && b.has_model(model));
                assert!(apart || both.is_none(), "{} and {} both claim {both:x?}", a.name, b.name);
            }
        }
    }

    #[test]
    fn cpus_are_found_by_their_numbers() {
        use CoreKind::{Efficient, Performance};
        for (vendor, family, model, core, expected) in [
            ("GenuineIntel", 6, 0x3f, None, Some("haswell")),
            ("GenuineIntel", 6, 0x55, None, Some("skylake")),
            ("GenuineIntel", 6, 0x6a, None, Some("sunny-cove")),
            ("GenuineIntel", 6, 0x8f, None, Some("golden-cove")),
            ("GenuineIntel", 6, 0x97, Some(Performance), Some("golden-cove")),
            ("GenuineIntel", 6, 0x97, Some(Efficient), Some("gracemont")),
            ("GenuineIntel", 6, 0x97, None, Some("golden-cove")),
            ("GenuineIntel", 6, 0xaf, None, Some("crestmont")),
            ("GenuineIntel", 6, 0x01, None, None),
            ("AuthenticAMD", 0x17, 0x31, None, Some("zen2")),
            ("AuthenticAMD", 0x19, 0x01, None, Some("zen3")),
            ("AuthenticAMD", 0x19, 0x11, None, Some("zen4")),
            ("AuthenticAMD", 0x1a, 0x02, None, Some("zen5")),
            ("HygonGenuine", 0x18, 0x00, None, None),
        ] {
            assert_eq!(of(vendor, family, model, core), expected, "{vendor} {family:#x} {model:#x}");
        }
    }

    #[test]
    fn coalescing_is_asked_for_by_name_and_only_where_it_exists() {
        assert_eq!(Named::find("zen3+coalescing").unwrap().geometry.coalesced, 4);
        assert_eq!(Named::find("zen3").unwrap().geometry.coalesced, 1);
        let error = |name| Named::find(name).unwrap_err().to_string();
        assert_eq!(error("skylake+coalescing"), "`skylake` does not coalesce entries; leave `+coalescing` out");
        assert_eq!(error("zen9"), "no iTLB model is called `zen9`; `itlbench list models` names them");
    }
}
