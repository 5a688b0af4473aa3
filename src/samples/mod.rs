//! In: recorded trials. Out: series of per-execution figures, and their HDR histograms.
//! Apart because rates are derived on read: the run file holds raw counts only.

pub mod derived;
pub mod histogram;
pub mod metric;
pub mod series;

pub use derived::Derived;
pub use metric::{Metric, Provenance};
