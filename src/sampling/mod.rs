//! In: bytes of perf's ring buffer. Out: whose code missed the iTLB, by program and page.
//! Apart from the syscalls, so that recorded and hand-made bytes of any CPU can be decoded anywhere.

pub mod ibs;
pub mod owner;
pub mod record;
pub mod tally;

pub use owner::{Owner, Symbols};
pub use record::{Body, Record, Sampled};
pub use tally::{Misses, Precision, Sampling, Spot};
