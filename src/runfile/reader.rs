//! Reads a run file of any version back.

use crate::caveat::Caveat;
use crate::trial::Trial;

use super::manifest::Manifest;

/// A run as read back: the manifest, its trials in the order they ran, and whether it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub manifest: Manifest,
    pub trials: Vec<Trial>,
    /// False for an interrupted run.
    pub complete: bool,
    /// What reading found (torn tail, interruption), beside the manifest's own caveats.
    pub caveats: Vec<Caveat>,
}

/// Why a run file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("failed to read run file `{path}`: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("run file `{path}`, line {line}: {message}")]
    Syntax { path: String, line: usize, message: String },
    #[error("run file `{path}` is of schema {found}; this build reads up to {known}; use a newer itlbench")]
    Newer { path: String, found: u32, known: u32 },
    #[error("run file `{path}` does not hold what it claims: {message}")]
    Lies { path: String, message: String },
    #[error("`{path}` is not an itlbench run file: {message}")]
    NotARun { path: String, message: String },
}
