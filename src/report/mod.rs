//! In: run files and what compare says of them. Out: tables, mail, HTML, charts.
//! Apart because nothing here may measure: identical input gives identical bytes.

pub mod chart;
pub mod html;
pub mod mail;
pub mod summary;
pub mod table;
pub mod units;

pub use summary::Summary;
