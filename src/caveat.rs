//! What a reader must know before believing a number, carried as data from where it is found to every output.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing the reader must know. Travels in the run file and is printed beside the results it concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Caveat {
    /// The numbers come from `--machine sim`.
    Simulated,
    /// Both arms have the same placement, to see how often the tool calls equal things different.
    AgainstItself,
    /// The run was made in a virtual machine; nested paging may hold smaller TLB entries than the guest maps.
    VirtualMachine { hypervisor: String },
    /// The run was made in a guest whose instructions an emulator ran.
    Emulated { by: String },
    /// A guest died, and what is shown is of another try.
    TriedAgain { boot: String, death: String },
    /// This kernel gives every program pages of its own; there is no pack on.
    PackOffNative,
    /// No hardware event could be opened: iTLB and cycle columns stay empty.
    NoHardwareCounters { reason: String },
    /// The catalogue of events does not know the cores of this CPU: what the generic names count on it is not known.
    UnknownCpu { cpu: String },
    /// Programs of others were loaded before the run began.
    ForeignPrograms { programs: u32 },
    /// `pack off` was made with filler programs on a kernel that packs.
    PackOffEmulated,
    /// The placement of a trial missed its goal; the trial is kept and left out of the effect.
    PlacementMissed { goal: String, reached: String },
    /// The pages of a trial were not mapped after its windows as before them.
    MappingChanged { before: String, after: String },
    /// Not every program ran in the check pass.
    NotAllExecuted { executed: u32, programs: u32 },
    /// Some windows were discarded by rule.
    WindowsDiscarded { discarded: u32, of: u32, reason: String },
    /// Doubling the window did not double its time.
    WindowNotLinear { ratio_percent: u32 },
    /// The run was interrupted; what was measured is kept.
    Interrupted { trials: u32, planned: u32 },
    /// The last line of the run file is torn and was left out.
    TornTail,
    /// `--attribute` was asked for and nothing here samples iTLB misses.
    NoMissSamples { reason: String },
    /// Direct tail calls were not to be had; the chain jumps through the prog array.
    ChainIndirect { reason: String },
    /// A later version of the tool recorded something that this build has no words for.
    Unknown { name: String },
    /// Facts about the hosts of two sides differ that may by themselves move the figures.
    Confounded { facts: String },
    /// Facts differ that make the figures incomparable, and they are shown because it was forced.
    Forced { facts: String },
    /// Some run files do not say in which boot they were made; those of one side count as one boot.
    BootUnknown { runs: u32 },
    /// Both sides have runs from the same boot.
    SharedBoot,
    /// Every run of one side is older than every run of the other.
    NotInterleaved,
    /// The kernels JIT the same programs to other lengths.
    JitedLengthDiffers { case: String, baseline: u64, candidate: u64 },
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simulated => write!(f, "SIMULATED: no kernel and no CPU was measured"),
            Self::AgainstItself => {
                write!(
                    f,
                    "A/A RUN: both halves of a case have the same placement, so that any difference shown is a false alarm"
                )
            }
            Self::VirtualMachine { hypervisor } => write!(
                f,
                "virtual machine ({hypervisor}): a TLB entry is the smaller of guest and host page; bare metal may differ"
            ),
            Self::Emulated { by } => write!(
                f,
                "guest under emulation ({by}): placement, page tables and modelled counts are the kernel's; its times are not shown, \
                 they are the emulator's"
            ),
            Self::TriedAgain { boot, death } => write!(f, "{boot}: what is shown is of another try; before, {death}"),
            Self::PackOffNative => {
                write!(
                    f,
                    "this kernel does not pack BPF programs (before 5.18): pack off is its own allocator's placement"
                )
            }
            Self::NoHardwareCounters { reason } => {
                write!(f, "no hardware counters ({reason}): cycles and iTLB misses were not measured")
            }
            Self::UnknownCpu { cpu } => write!(
                f,
                "this CPU ({cpu}) is not in the catalogue of events: what the generic names count on it is not known here"
            ),
            Self::ForeignPrograms { programs } => {
                write!(f, "{programs} BPF programs of others were loaded; they share the packs")
            }
            Self::PackOffEmulated => write!(
                f,
                "pack off is emulated by filler programs; data-side cost of the old allocator is not reproduced"
            ),
            Self::PlacementMissed { goal, reached } => {
                write!(f, "placement missed its goal ({goal}; reached {reached}): left out of the effect")
            }
            Self::MappingChanged { before, after } => {
                write!(f, "the code was mapped by {before} before the windows and by {after} after them")
            }
            Self::NotAllExecuted { executed, programs } => {
                write!(f, "only {executed} of {programs} programs ran in the check pass")
            }
            Self::WindowsDiscarded { discarded, of, reason } => {
                write!(f, "{discarded} of {of} windows discarded: {reason}")
            }
            Self::WindowNotLinear { ratio_percent } => {
                write!(f, "twice the executions took {ratio_percent} % of the time, not 200 %")
            }
            Self::Interrupted { trials, planned } => {
                write!(f, "interrupted after {trials} of {planned} trials")
            }
            Self::TornTail => write!(f, "the run file ends in a torn line, which was left out"),
            Self::NoMissSamples { reason } => write!(f, "no iTLB misses were sampled: {reason}"),
            Self::ChainIndirect { reason } => write!(f, "chain uses indirect tail calls: {reason}"),
            Self::Unknown { name } => {
                write!(f, "`{name}`: recorded by a later version of the tool, which can say more")
            }
            Self::Confounded { facts } => write!(f, "the hosts differ in what may move the figures: {facts}"),
            Self::Forced { facts } => write!(f, "the hosts cannot be compared ({facts}): no verdict"),
            Self::BootUnknown { runs: 1 } => write!(f, "1 run does not say in which boot it was made"),
            Self::BootUnknown { runs } => {
                write!(f, "{runs} runs do not say in which boot they were made; those of a side count as one boot")
            }
            Self::SharedBoot => {
                write!(f, "both sides have runs of the same boot: the kernel did not change between them")
            }
            Self::NotInterleaved => {
                write!(f, "all runs of one side are older than those of the other: boot the kernels in turns, A B B A")
            }
            Self::JitedLengthDiffers { case, baseline, candidate } => {
                write!(
                    f,
                    "{case}: the JITed programs have {baseline} bytes on the baseline, {candidate} on the candidate"
                )
            }
        }
    }
}
