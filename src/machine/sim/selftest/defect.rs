//! Deliberate defects, one for each subtest. Each is as narrow as it can be, so that it breaks the promise of that subtest alone.

/// What the simulated kernel does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A program is put where another one is.
    SharedChunk,
    /// A header says fewer bytes than the image has.
    ShortHeader,
    /// An image lies in no area.
    OutsideArea,
    /// A result is wrong once many programs have been loaded.
    WrongAfterMany,
    /// A result is wrong once memory was freed.
    WrongAfterFree,
    /// Results are wrong on one CPU.
    WrongOnOneCpu,
    WrongSubprograms,
    WrongTailCalls,
    /// Images larger than a pack compute nonsense.
    WrongOverPack,
    WrongExtables,
    WrongClassic,
    /// Constants are blinded wrongly at level 2.
    WrongBlinding,
    /// A byte in memory is not the program's.
    FlippedByte,
    /// Freeing writes over the chunk behind.
    ScribbledNeighbour,
    /// Some freed text stays as it was.
    StaleText,
    /// Packs that become empty are neither given back nor used again.
    LostPacks,
    /// A page is lost with every load.
    LostPages,
    /// Text is writable.
    WritableText,
    /// Text is writable and executable while a program is copied into it.
    WritableWhileLoading,
    /// The second hole is used.
    SecondFit,
    /// Chunks of programs of a few pages are never used again.
    LostChunks,
    /// Results are wrong while several CPUs load.
    WrongWhenConcurrent,
    /// Under pressure the kernel says EIO.
    OddErrorUnderPressure,
    /// A load that failed half-way stays listed.
    HalfLoaded,
    /// Some of what a load counts against the limit is never given back.
    LostCharge,
    /// Without descriptors the kernel says ENOMEM.
    OddErrorWithoutDescriptors,
    /// At the end of the module area the kernel says EFAULT.
    OddErrorAtAreaEnd,
}

impl Defect {
    /// Every defect, with the name of the subtest that must fail.
    pub const ALL: [(Self, &'static str); 27] = [
        (Self::SharedChunk, "overlap"),
        (Self::ShortHeader, "header"),
        (Self::OutsideArea, "inside-pack"),
        (Self::WrongAfterMany, "results"),
        (Self::WrongAfterFree, "results-after-reuse"),
        (Self::WrongOnOneCpu, "results-every-cpu"),
        (Self::WrongSubprograms, "results-subprograms"),
        (Self::WrongTailCalls, "results-tail-calls"),
        (Self::WrongOverPack, "results-large"),
        (Self::WrongExtables, "results-extables"),
        (Self::WrongClassic, "results-classic"),
        (Self::WrongBlinding, "results-harden"),
        (Self::FlippedByte, "bytes"),
        (Self::ScribbledNeighbour, "neighbours"),
        (Self::StaleText, "freed-text"),
        (Self::LostPacks, "packs-released"),
        (Self::LostPages, "leaks"),
        (Self::WritableText, "protection"),
        (Self::WritableWhileLoading, "write-xor-execute"),
        (Self::SecondFit, "reuse"),
        (Self::LostChunks, "fragmentation"),
        (Self::WrongWhenConcurrent, "concurrency"),
        (Self::OddErrorUnderPressure, "memory-pressure"),
        (Self::HalfLoaded, "failing-allocations"),
        (Self::LostCharge, "jit-limit"),
        (Self::OddErrorWithoutDescriptors, "descriptor-limit"),
        (Self::OddErrorAtAreaEnd, "area-end"),
    ];
}
