//! A case: one point of a workload's matrix.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::body::Body;
use super::order::Order;
use super::trigger::TriggerKind;

/// Where the programs of a case are to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PackMode {
    /// The kernel's packing, holes plugged first.
    On,
    /// Every program on a page of its own.
    Off,
    /// Every program in a 2 MiB region of its own, for kernels that map packs by 2 MiB pages.
    #[serde(rename = "off-2m")]
    #[value(name = "off-2m")]
    OffTwoMeg,
    /// As on, in another order: must show no effect.
    Placebo,
}

impl PackMode {
    /// How much an arm loads beside its programs: the arms of a workload all load as many fillers as the one with most.
    pub fn with_most_fillers(arms: &[Self]) -> Self {
        if arms.contains(&Self::OffTwoMeg) { Self::OffTwoMeg } else { Self::Off }
    }

    /// Whether its programs lie one behind the other.
    pub fn is_dense(self) -> bool {
        matches!(self, Self::On | Self::Placebo)
    }
}

/// What becomes of the fillers once every program is in its place.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum FillerRule {
    /// They stay loaded until the programs go.
    #[default]
    Keep,
    /// They are unloaded before anything is measured.
    Release,
    /// They stay, but no arm loads any for the sake of the others: loads differ, and with them what is timed.
    Needed,
}

impl FillerRule {
    /// For fields that older run files lack.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Distance between two programs of `pack off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
pub enum Stride {
    /// A page each, as tight as own pages allow.
    #[serde(rename = "4k")]
    #[value(name = "4k")]
    Page,
    /// A page and its guard page, as `bpf_jit_binary_alloc` placed programs before 5.18.
    #[serde(rename = "8k")]
    #[value(name = "8k")]
    PageAndGuard,
}

impl Stride {
    /// Bytes from one program's page to the next one's.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Page => 4096,
            Self::PageAndGuard => 8192,
        }
    }
}

/// Offset of a program inside its page in `pack off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OffsetRule {
    /// One cache line further on every page: all cache sets are used evenly.
    Walk,
    /// A random one in every page, drawn from the seed, as `bpf_jit_binary_alloc` did before 5.18.
    Random,
    /// The same offset on every page: shows L1I and BTB aliasing for what it is.
    Fixed,
}

/// One point of the matrix: all that decides what is loaded, where, and what runs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Case {
    pub workload: String,
    pub trigger: TriggerKind,
    pub body: Body,
    pub programs: u32,
    pub pack: PackMode,
    pub stride: Stride,
    pub offset: OffsetRule,
    #[serde(default, skip_serializing_if = "FillerRule::is_default")]
    pub fillers: FillerRule,
    /// The arm whose number of fillers this one loads too: `off`, or `off-2m` where the workload has that arm.
    #[serde(default = "off", skip_serializing_if = "is_off")]
    pub fillers_of: PackMode,
    /// The order of visits; `None` for the trigger's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Programs loaded, of which only `programs` are run; `None` if all of them are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<u32>,
}

fn off() -> PackMode {
    PackMode::Off
}

fn is_off(arm: &PackMode) -> bool {
    *arm == PackMode::Off
}

macro_rules! display_as_value {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                use clap::ValueEnum;
                match self.to_possible_value() {
                    Some(value) => f.pad(value.get_name()),
                    None => Err(fmt::Error),
                }
            }
        }
    )*};
}

impl Case {
    /// The case without its arm: what stands against each other in the arms.
    pub fn point(&self) -> String {
        match self.loaded {
            Some(loaded) => format!("{} n={} of {loaded}", self.workload, self.programs),
            None => format!("{} n={}", self.workload, self.programs),
        }
    }

    /// The order of visits.
    pub fn order(&self) -> Order {
        self.order.unwrap_or_else(|| Order::of(self.trigger))
    }

    /// Programs that are loaded: those that are run, and with `loaded` others beside them.
    pub fn loaded(&self) -> u32 {
        self.loaded.unwrap_or(self.programs)
    }
}

display_as_value!(PackMode, TriggerKind, Stride, OffsetRule, FillerRule, Body);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pack={}", self.point(), self.pack)
    }
}
