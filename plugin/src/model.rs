//! The model and the format of the counts, shared with the tool as source files: they lean on nothing else of it.

#[path = "../../src/model/fetched.rs"]
pub mod fetched;
#[path = "../../src/model/geometry.rs"]
pub mod geometry;
#[path = "../../src/model/itlb.rs"]
pub mod itlb;
