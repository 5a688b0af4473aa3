//! In: a workload file. Out: the cases of its matrix and the seeded order of their trials.
//! Apart because nothing here knows a kernel: a plan can be read and tested anywhere.

mod as_text;
pub mod body;
pub mod builtin;
pub mod case;
pub mod cpus;
pub mod order;
pub mod plan;
pub mod source;
pub mod spec;
pub mod trigger;

pub use body::Body;
pub use case::{Case, FillerRule, OffsetRule, PackMode, Stride};
pub use cpus::Cpus;
pub use order::Order;
pub use plan::{Plan, Slot};
pub use spec::{Spec, SpecError};
pub use trigger::TriggerKind;
