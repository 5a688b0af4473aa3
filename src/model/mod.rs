//! In: the geometry of an iTLB, addresses in the order in which they are fetched. Out: what should hit and what should miss.
//! Apart because it is a prediction: nothing it says was measured, and every figure from here is marked *modelled*.

pub mod cpuid;
pub mod fetched;
pub mod geometry;
pub mod itlb;
pub mod predict;
pub mod visits;
pub mod what_if;

pub use geometry::Core;
pub use itlb::{Geometry, Itlb, PageSize};
pub use predict::{Load, Prediction, predict};
pub use what_if::WhatIf;
