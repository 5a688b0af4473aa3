//! What an event is for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Spells every role once: the variant, and its name in files, options and tables.
macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident = $name:literal,)+) => {
        /// What an event is for; reports find their columns by role, never by name. `data/roles.tsv` says of each what it
        /// counts and what it does not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Role {
            $($(#[$doc])* #[serde(rename = $name)] $role,)+
        }

        impl Role {
            /// Every role, in the order in which they are listed.
            pub const ALL: &[Self] = &[$(Self::$role,)+];

            /// The name in files and options.
            pub fn name(self) -> &'static str {
                match self { $(Self::$role => $name,)+ }
            }
        }
    };
}

roles! {
    Cycles = "cycles",
    Instructions = "instructions",
    /// The generic `iTLB-load-misses`; what it counts differs by CPU.
    ItlbMisses = "itlb-misses",
    ItlbLoads = "itlb-loads",
    WalksStarted = "walks-started",
    WalksCompleted = "walks-completed",
    WalksCompleted4k = "walks-completed-4k",
    WalksCompleted2m = "walks-completed-2m",
    WalksCompleted1g = "walks-completed-1g",
    /// AMD: four neighbouring 4 KiB pages in one entry.
    WalksCoalesced4k = "walks-coalesced-4k",
    WalkCycles = "walk-cycles",
    WalksPending = "walks-pending",
    /// First level missed, second level hit; on AMD the second level is an iTLB of its own.
    StlbHits = "stlb-hits",
    StlbHits4k = "stlb-hits-4k",
    StlbHits2m = "stlb-hits-2m",
    FetchStallsTag = "fetch-stalls-tag",
    SlotsLostItlb = "slots-lost-itlb",
    ItlbFills = "itlb-fills",
    FetchHits = "fetch-hits",
    FetchHits4k = "fetch-hits-4k",
    FetchHits2m = "fetch-hits-2m",
    FetchHits1g = "fetch-hits-1g",
    ItlbReloads = "itlb-reloads",
    ItlbFlushes = "itlb-flushes",
    StlbFlushes = "stlb-flushes",
    TlbFlushes = "tlb-flushes",
    RetiredItlbMisses = "retired-itlb-misses",
    RetiredStlbMisses = "retired-stlb-misses",
    DtlbMisses = "dtlb-misses",
    L1iMisses = "l1i-misses",
    FetchStallsData = "fetch-stalls-data",
    SlotsLostL1i = "slots-lost-l1i",
    L2CodeMisses = "l2-code-misses",
    Resteers = "resteers",
    ResteerCycles = "resteer-cycles",
    UnknownBranchCycles = "unknown-branch-cycles",
    SlotsLostResteer = "slots-lost-resteer",
    L1BtbCorrections = "l1-btb-corrections",
    L2BtbCorrections = "l2-btb-corrections",
    DecoderOverrides = "decoder-overrides",
    BranchMisses = "branch-misses",
    Interrupts = "interrupts",
    Smis = "smis",
    /// `msr/tsc/`: time stamp counter ticks, wall time and not core cycles.
    Tsc = "tsc",
    Aperf = "aperf",
    Mperf = "mperf",
    TaskClock = "task-clock",
    ContextSwitches = "context-switches",
    Migrations = "migrations",
    PageFaults = "page-faults",
    /// Named on the command line; no column of its own.
    Other = "other",
}

impl Role {
    /// The role of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_written_and_read_back_by_its_name() {
        for &role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(role));
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
        }
        assert_eq!(Role::named("walks"), None);
    }
}
