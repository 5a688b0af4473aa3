//! In: a root directory with `proc` and `sys` in it. Out: the host's fingerprint, and what spoils or blocks a measurement.
//! Apart because everything is read under a `root: &Path`, so that tests lay out hosts of any kind.

pub mod facts;

pub use facts::Facts;
