//! In: a root directory with `proc` and `sys` in it. Out: the host's fingerprint ([`Facts`]), what this process may do on it
//! ([`Live`]), and what spoils or blocks a measurement ([`checks`](checks::checks)).
//! Apart because everything is read under a `root: &Path`, so that tests lay out hosts of any kind, and because a check is a
//! pure function of what was read: it changes nothing and asks the kernel nothing.

pub mod checks;
mod config;
mod cpu;
pub mod facts;
mod kernel;
pub mod live;
pub mod per_cpu;
mod tree;

pub use checks::{Check, Level, blocking};
pub use facts::Facts;
pub use live::Live;
