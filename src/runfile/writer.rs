//! Appends records, synced as each trial ends.

/// An open run file.
#[derive(Debug)]
pub struct Writer {}
