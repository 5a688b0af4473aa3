//! In: the events we want. Out: which of them this host counts, under which raw code, and readings of them.
//! Apart from the syscalls, which live in `machine::kernel::perf`.

pub mod event;
pub mod reading;

pub use event::{Event, EventCode, Group, Refusal, Role};
pub use reading::{Reading, Unusable};
