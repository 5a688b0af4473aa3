//! In: what page tables hold. Out: by which page sizes and with which rights the pages of a placement are mapped, observed and
//! never assumed. Apart because it is pure: decoding, walking and counting need no kernel, only something that reads tables.

pub mod entry;
pub mod look;
pub mod observed;
pub mod ptdump;
pub mod walk;

pub use entry::{Leaf, PageSize};
pub use look::Looks;
pub use observed::{Frames, Mapping, Observed, Source};
