//! In: addresses and lengths of JITed images as the kernel reports them. Out: chunk arithmetic, the footprint, what to load
//! next to get a placement, and by which pages it is mapped. Apart because it is pure: the kernel adapter only executes what
//! is decided here.

pub mod allocator;
pub mod footprint;
pub mod image;
pub mod mapping;
pub mod pack;
pub mod planner;

pub use footprint::Footprint;
pub use image::{Addr, Image};
pub use mapping::{Mapping, Observed};
