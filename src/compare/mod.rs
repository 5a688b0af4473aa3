//! In: the trials of two arms or two runs. Out: effects with intervals, and verdicts.
//! Apart because it sees only what a run file holds.

pub mod attribution;
pub mod effect;
pub mod pairing;
pub mod verdict;

pub use effect::Effect;
pub use pairing::effects;
pub use verdict::Verdict;
