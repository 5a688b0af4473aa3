//! Why a command ends early, and with which exit code.

use crate::compare::CompareError;
use crate::machine::{ErrorKind, MachineError};
use crate::report::chart::ChartError;
use crate::report::html::HtmlError;
use crate::runfile::ReadError;
use crate::runfile::writer::WriteError;
use crate::samples::histogram::HistogramError;
use crate::workload::SpecError;

/// One clear line and an exit code: 1 failed, 2 usage, 3 this host cannot, 4 a gate tripped, 130 interrupted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Workload(#[from] SpecError),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    HostCannot(String),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error("{0}")]
    Gate(String),
    #[error("failed to write `{path}`: {source}; {}", remedy(source))]
    Output { path: String, source: std::io::Error },
    #[error(transparent)]
    Chart(#[from] ChartError),
    #[error(transparent)]
    Html(#[from] HtmlError),
    #[error(transparent)]
    Histogram(#[from] HistogramError),
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// Exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Workload(SpecError::Read { .. }) => 1,
            Self::Workload(_) | Self::Usage(_) | Self::Compare(CompareError::Twice { .. }) => 2,
            Self::HostCannot(_) => 3,
            Self::Gate(_) => 4,
            Self::Machine(error) => match error.kind {
                ErrorKind::HostCannot => 3,
                ErrorKind::BadRequest => 2,
                ErrorKind::Interrupted => 130,
                ErrorKind::Failed => 1,
            },
            _ => 1,
        }
    }

    /// Writing to stdout or to a file of the report failed.
    pub fn output(path: impl std::fmt::Display, source: std::io::Error) -> Self {
        Self::Output { path: path.to_string(), source }
    }
}

fn remedy(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::BrokenPipe => "its reader ended before it had read all",
        _ => "free some space or choose another --out",
    }
}
