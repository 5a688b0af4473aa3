//! In: the events we want. Out: which of them this host counts, under which raw code, in which pass, and readings of them.
//! Apart from the syscalls, which live in `machine::kernel::perf` behind [`source::Source`]: every rule here is tested on replays.

pub mod catalog;
pub mod choice;
pub mod cost;
pub mod errno;
pub mod event;
pub mod host;
pub mod layout;
pub mod meter;
pub mod names;
pub mod opening;
pub mod pmu;
pub mod reading;
#[cfg(test)]
pub(crate) mod replay;
pub mod role;
pub mod set;
pub mod source;
pub mod stream;
pub mod syntax;

pub use catalog::{Catalog, Core, CpuId};
pub use choice::{Choice, Events};
pub use event::{CountSide, Event, EventCode, Group, Refusal};
pub use meter::{Meter, MeterAbsence};
pub use reading::{Reading, Unusable};
pub use role::Role;
