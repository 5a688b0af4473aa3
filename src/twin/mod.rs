//! In: a CPU and numbers of stubs. Out: what a jump costs in a user-space twin of `chain`, by layout and page size, and what
//! follows for a miss of the iTLB. Apart because it needs neither kernel nor privileges, and times code of its own making.
//!
//! Between two arms of one layout only the page size differs: same stubs, same distances, same order of visits. What differs in
//! time is then the iTLB's (and the page walks' use of caches). Packed against spread on 2 MiB pages shows what else spreading costs.

pub mod calibration;
pub mod code;
pub mod findings;
pub mod loops;
pub mod pages;
pub mod stubs;
pub mod sweep;

pub use calibration::Calibration;
pub use findings::Findings;
