//! In: the events we want. Out: which of them this host counts, under which raw code, and readings of them.
//! Apart from the syscalls, which live in `machine::kernel::perf`.

pub mod catalog;
pub mod cost;
pub mod event;
pub mod meter;
pub mod reading;
pub mod role;

pub use catalog::{Catalog, Core, CpuId};
pub use event::{Event, EventCode, Group, Refusal};
pub use meter::{Meter, MeterAbsence};
pub use reading::{Reading, Unusable};
pub use role::Role;
