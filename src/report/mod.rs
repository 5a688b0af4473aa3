//! In: run files and what compare says of them. Out: tables, mail, HTML, charts.
//! Apart because nothing here may measure: identical input gives identical bytes.

pub mod attribution;
pub mod attach;
pub mod beside;
mod beyond_json;
pub mod calibration;
pub mod caveats;
pub mod chart;
pub mod columns;
pub mod company;
mod company_csv;
pub mod comparison;
pub mod csv;
pub mod document;
pub mod echo;
pub mod elsewhere;
pub mod export;
#[cfg(test)]
pub(crate) mod fixture;
pub mod html;
pub mod kernels;
pub mod json;
pub mod knees;
pub mod lkp;
pub mod mail;
pub mod modelled;
pub mod mapping;
pub mod misses;
pub mod noise;
pub mod markdown;
pub mod reach;
pub mod sheet;
pub mod split;
pub mod summary;
pub mod survey;
pub mod table;
pub mod tandem;
pub mod units;
pub mod wording;

pub use reach::Reach;
pub use summary::Summary;
