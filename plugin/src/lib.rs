//! A TCG plugin for qemu: between two marks of the guest it shows a model of an iTLB every fetch, and writes what the model
//! counted, a line for each window.
//!
//! `qemu` declares the few functions of qemu's plugin API, `hooks` are the callbacks; everything else is pure. README.md says how
//! to run it and what the counts are worth.

pub mod arguments;
pub mod block;
pub mod model;
pub mod paging;
pub mod recorder;
pub mod sizes;
#[allow(unsafe_code)]
mod hooks;
#[allow(unsafe_code)]
mod qemu;
