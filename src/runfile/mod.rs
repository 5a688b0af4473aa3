//! In: trials as they end. Out: an append-only file that survives a crash, and the same trials read back years later.
//! Apart because compare and report see nothing but run files: a file from another box is first class.

mod hex;
mod ledger;
mod lines;
pub mod manifest;
mod noise;
pub mod reader;
mod reading;
mod seal;
pub mod wire;
pub mod writer;

pub use manifest::Manifest;
pub use reader::{Head, ReadError, Run};
pub use writer::{WriteError, Writer};

#[cfg(test)]
mod tests;
