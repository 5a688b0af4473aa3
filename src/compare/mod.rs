//! In: what run files hold. Out: two sides, how their hosts differ, and what their cases show: effects with intervals, verdicts.
//! Apart because it sees only what a run file holds.

pub mod alarms;
pub mod attribution;
pub mod comparison;
pub mod digest;
pub mod effect;
pub mod fingerprint;
pub mod gate;
pub mod pairing;
pub mod side;
pub mod verdict;

pub use alarms::{AlarmCount, Alarms, Procedure};
pub use comparison::{Candidate, CompareError, Comparison, Force};
pub use digest::Digest;
pub use effect::{Effect, Method, SideValues, Unit};
pub use fingerprint::{Class, FactDiff};
pub use gate::Gate;
pub use pairing::effects;
pub use side::Side;
pub use verdict::Verdict;

#[cfg(test)]
mod tests;
