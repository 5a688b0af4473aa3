//! In: a seed, a time, and something that loads programs. Out: whether the kernel's allocator of BPF text is correct, as KTAP.
//! Apart because it is pure: sequences, their results, the checks over what was seen and the shrinking know neither the kernel nor the
//! simulated machine; both stand behind the trait [`Subject`], and every check is shown to fail on a defect of its own.

pub mod body;
pub mod checks;
pub mod ktap;
pub mod operation;
pub mod reading;
pub mod scripts;
pub mod session;
pub mod shrink;
pub mod subject;
pub mod suite;
pub mod trace;

pub use ktap::{Ktap, Outcome, Totals};
pub use session::{Plan, SessionError};
pub use subject::{Allowed, Facts, Subject, Tally};
pub use suite::Subtest;
