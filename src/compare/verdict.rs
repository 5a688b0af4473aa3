//! What may be said of an effect.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The verdict on one effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The candidate costs less.
    Lower,
    /// The candidate costs more.
    Higher,
    /// Nothing shown; an effect of `within_percent` or more would have been.
    NoDifference { within_percent: f64 },
    /// Too few trials to say anything.
    NotEnough,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lower => f.pad("lower"),
            Self::Higher => f.pad("higher"),
            Self::NoDifference { within_percent } => f.pad(&format!("~ (within {within_percent:.1} %)")),
            Self::NotEnough => f.pad("too few trials"),
        }
    }
}
