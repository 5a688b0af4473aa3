//! In: slices of figures. Out: medians, intervals, p-values.
//! Apart because it is pure arithmetic that knows no trial and no metric, and can be checked against R and SciPy.

pub mod beta;
pub mod holm;
pub mod knee;
pub mod order;
pub mod rank;
pub mod student;
pub mod welch;

pub use beta::proportion_interval;
pub use holm::holm;
pub use knee::{Knee, knees};
pub use order::{median, median_interval, quantile};
pub use rank::{MannWhitney, Shift, hodges_lehmann, mann_whitney};
pub use welch::{Welch, detectable, welch};

/// Share of the intervals that are to hold the true value.
pub const CONFIDENCE: f64 = 0.95;
/// Below this a p-value counts.
pub const ALPHA: f64 = 1.0 - CONFIDENCE;
