//! `--counters` and `--count`: what is to be counted, and in which order of importance.

use serde::{Deserialize, Serialize};

use super::host::Host;
use super::layout::{Fixed, Need};
use super::syntax::{self, BadEvent, Source, Wanted};
use super::{CountSide, Role, names};

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub events: Events,
    pub side: CountSide,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Events {
    /// The catalogue's for this CPU, or the generic ones for a model it does not know.
    #[default]
    Auto,
    /// The generic four.
    Generic,
    /// These, in perf's syntax or by the catalogue's names.
    List(String),
}

impl std::str::FromStr for Events {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "generic" => Self::Generic,
            list => Self::List(list.to_owned()),
        })
    }
}

/// After `cycles` and `instructions`, which are in every pass, the events of the first pass by importance: on every CPU of
/// the catalogue the first four that it has say most about the iTLB. Then its rivals, then page sizes and the rest.
const LADDER: [Role; 26] = [
    Role::WalksCompleted,
    Role::StlbHits,
    Role::FetchStallsTag,
    Role::WalkCycles,
    Role::SlotsLostItlb,
    Role::ItlbFills,
    Role::WalksCoalesced4k,
    Role::FetchHits,
    Role::L1iMisses,
    Role::L2CodeMisses,
    Role::Resteers,
    Role::L2BtbCorrections,
    Role::DecoderOverrides,
    Role::BranchMisses,
    Role::FetchStallsData,
    Role::SlotsLostL1i,
    Role::ResteerCycles,
    Role::UnknownBranchCycles,
    Role::SlotsLostResteer,
    Role::WalksCompleted4k,
    Role::WalksCompleted2m,
    Role::WalksPending,
    Role::DtlbMisses,
    Role::Interrupts,
    Role::Smis,
    Role::ItlbMisses,
];

/// For a model that is not in the catalogue.
const GENERIC_LADDER: [&str; 5] =
    ["iTLB-load-misses", "iTLB-loads", "L1-icache-load-misses", "dTLB-load-misses", "branch-misses"];

/// What there is to count, by what counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Core events that every pass holds.
    pub always: Vec<Wanted>,
    /// Core events, most wanted first.
    pub core: Vec<Wanted>,
    /// Software events and tracepoints beyond the usual.
    pub kernel: Vec<Wanted>,
    /// Events of other PMUs.
    pub other: Vec<Wanted>,
    /// Core events that this kernel would take for others, and why.
    pub lacking: Vec<(Wanted, String)>,
}

impl Choice {
    /// The events behind the choice on `host`.
    pub fn wish(&self, host: &Host) -> Result<Wish, BadEvent> {
        let generic = |names: &[&str]| syntax::parse(&names.join(","), host);
        let always = generic(&["cycles", "instructions"])?;
        match &self.events {
            Events::Generic => {
                Ok(Wish { always, core: generic(&["iTLB-load-misses", "iTLB-loads"])?, ..Wish::default() })
            }
            Events::Auto if host.is_known() => {
                Ok(Wish { always, core: ladder(host), lacking: host.lacking(&LADDER), ..Wish::default() })
            }
            Events::Auto => Ok(Wish { always, core: generic(&GENERIC_LADDER)?, ..Wish::default() }),
            Events::List(list) => Ok(sorted(syntax::parse(list, host)?)),
        }
    }
}

fn ladder(host: &Host) -> Vec<Wanted> {
    let generic_misses = || syntax::parse("iTLB-load-misses", host).ok()?.pop();
    let event = |&role: &Role| if role == Role::ItlbMisses { generic_misses() } else { host.role(role) };
    LADDER.iter().filter_map(event).collect()
}

fn sorted(list: Vec<Wanted>) -> Wish {
    let mut wish = Wish::default();
    for wanted in list {
        match wanted.source {
            Source::Core => wish.core.push(wanted),
            Source::Kernel => wish.kernel.push(wanted),
            Source::Other { .. } => wish.other.push(wanted),
        }
    }
    wish
}

impl Wanted {
    /// What it asks of the counters. The generic cycles and instructions, and their raw codes, have counters of their own.
    pub fn need(&self) -> Need {
        let generic = |name| names::known(name).map(|known| known.config);
        let is_generic = self.code.pmu_type == super::EventCode::HARDWARE;
        let config = Some(self.code.config & 0xffff_ffff);
        let fixed = match is_generic {
            true if config == generic("cycles") => Fixed::Cycles,
            true if config == generic("instructions") => Fixed::Instructions,
            _ => Fixed::None,
        };
        Need { fixed, counters: self.counters, frontend: self.code.config1 }
    }
}
