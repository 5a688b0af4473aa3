//! In: a case, a machine and its counters. Out: one recorded trial.
//! The protocol of DESIGN: load fresh, verify, check pass, warm up, calibrate, baseline, windows, unload.

pub mod beside;
mod bracket;
pub mod company;
pub mod disturbance;
pub mod in_company;
pub mod freed;
mod mapping;
pub mod protocol;
pub mod record;
pub mod runner;
pub mod tandem;
pub mod victim;

pub use protocol::Protocol;
pub use record::{Beside, Check, DirectMap, Freed, LoadCost, Sample, Trial};
pub use victim::VictimRun;
