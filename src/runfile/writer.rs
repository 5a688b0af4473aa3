//! Appends records, synced as each trial ends.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::samples::Metric;
use crate::trial::Trial;
use crate::workload::Case;

use super::ledger::Ledger;
use super::manifest::Manifest;
use super::wire::{self, EndRecord, PlacementRecord, RunRecord, TrialRecord};

/// Why a run file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(
        "failed to create run file `{path}`: it exists, and a run file is never overwritten; choose another `--out`"
    )]
    Exists { path: String },
    #[error("failed to {verb} run file `{path}`: {source}; {remedy}")]
    Io { verb: &'static str, path: String, source: io::Error, remedy: String },
    #[error("failed to record a trial in `{path}`: {message}")]
    Refused { path: String, message: String },
    #[error("failed to encode a record for `{path}`: {source}")]
    Encode { path: String, source: serde_json::Error },
}

/// What the writer needs of a file.
pub(super) trait Sink: Write + std::fmt::Debug {
    /// Returns once the bytes would survive a crash.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts everything behind `bytes` off.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

/// What somebody else takes down.
#[derive(Debug)]
struct Stream<W>(W);

impl<W: Write> Write for Stream<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write + std::fmt::Debug> Sink for Stream<W> {
    fn sync(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn cut(&mut self, _bytes: u64) -> io::Result<()> {
        Err(io::Error::other("what is sent cannot be taken back"))
    }
}

/// An open run file.
#[derive(Debug)]
pub struct Writer {
    path: String,
    sink: Box<dyn Sink>,
    cases: Vec<Case>,
    ledger: Ledger,
    /// Bytes of whole, synced records.
    good: u64,
    sum: crc32fast::Hasher,
    /// A failed write could not be cut off: whatever is appended now would stand behind a torn line.
    torn: bool,
    spent: Duration,
}

impl Writer {
    /// Creates the file, which must not exist, and writes its head.
    pub fn create(path: &Path, manifest: &Manifest) -> Result<Self, WriteError> {
        let name = path.display().to_string();
        let file = OpenOptions::new().append(true).create_new(true).open(path).map_err(|source| {
            let path = name.clone();
            match source.kind() {
                ErrorKind::AlreadyExists => WriteError::Exists { path },
                _ => WriteError::Io { verb: "create", path, remedy: remedy(&source), source },
            }
        })?;
        let writer = Self::start(name, Box::new(file), manifest)?;
        sync_directory(path);
        Ok(writer)
    }

    /// Sends the same to `stream`, which takes no byte back: on failure the file ends torn there.
    pub fn stream(
        name: &str,
        stream: impl Write + std::fmt::Debug + 'static,
        manifest: &Manifest,
    ) -> Result<Self, WriteError> {
        Self::start(name.to_owned(), Box::new(Stream(stream)), manifest)
    }

    pub(super) fn start(path: String, sink: Box<dyn Sink>, manifest: &Manifest) -> Result<Self, WriteError> {
        let head = RunRecord::new(manifest);
        let line = wire::line("run", &head).map_err(|source| WriteError::Encode { path: path.clone(), source })?;
        let ledger = Ledger::new(manifest, head.cases.len());
        let (sum, spent) = (crc32fast::Hasher::new(), Duration::ZERO);
        let mut writer = Self { path, sink, cases: head.cases, ledger, good: 0, sum, torn: false, spent };
        writer.append_lines(&[line])?;
        Ok(writer)
    }

    /// Appends a trial; when this returns, the trial survives a crash. After an error the file ends with the trial before.
    pub fn append(&mut self, trial: &Trial, histograms: &BTreeMap<Metric, String>) -> Result<(), WriteError> {
        let begun = Instant::now();
        let result = self.append_trial(trial, histograms);
        self.spent += begun.elapsed();
        result
    }

    /// Writes the end record. `interrupted`: the run was stopped before all planned trials were done.
    pub fn finish(mut self, interrupted: bool) -> Result<Duration, WriteError> {
        let begun = Instant::now();
        let (trials, planned) = (self.ledger.trials(), self.ledger.planned());
        let end = EndRecord { placements: trials, trials, planned, interrupted };
        let line = wire::seal(&end, self.sum.clone()).map_err(|source| self.encode(source))?;
        self.append_lines(&[line])?;
        Ok(self.spent + begun.elapsed())
    }

    /// Time spent on encoding, writing and syncing trials so far.
    pub fn spent(&self) -> Duration {
        self.spent
    }

    fn append_trial(&mut self, trial: &Trial, histograms: &BTreeMap<Metric, String>) -> Result<(), WriteError> {
        let refused = |message| WriteError::Refused { path: self.path.clone(), message };
        let case = self.cases.iter().position(|case| *case == trial.case);
        let case = case.ok_or_else(|| refused(format!("case `{}` is not one of the run's workloads", trial.case)))?;
        self.ledger.check(case, trial).map_err(refused)?;
        let placement = wire::line("placement", &PlacementRecord::new(case, trial));
        let counts = TrialRecord::new(case, trial, histograms).and_then(|record| wire::line("trial", &record));
        let lines = [placement, counts].into_iter().collect::<Result<Vec<_>, _>>();
        self.append_lines(&lines.map_err(|source| self.encode(source))?)?;
        self.ledger.note(case, trial.trial);
        Ok(())
    }

    /// Writes `lines` in one go and syncs them; on failure cuts the file back to the last good record.
    fn append_lines(&mut self, lines: &[Vec<u8>]) -> Result<(), WriteError> {
        let mut bytes = lines.join(&b'\n');
        bytes.push(b'\n');
        if self.torn {
            return Err(self.failed("write", io::Error::other("an earlier write left a torn line")));
        }
        match self.sink.write_all(&bytes).map_err(|error| ("write", error)) {
            Ok(()) => self.sink.sync().map_err(|error| ("sync", error)),
            failed => failed,
        }
        .map_err(|(verb, source)| {
            self.torn = self.sink.cut(self.good).is_err();
            self.failed(verb, source)
        })?;
        self.good += bytes.len() as u64;
        self.sum.update(&bytes);
        Ok(())
    }

    fn failed(&self, verb: &'static str, source: io::Error) -> WriteError {
        let kept = match self.ledger.trials() {
            0 => String::new(),
            1 => "; the trial written before it stays readable".to_owned(),
            n => format!("; the {n} trials written before it stay readable"),
        };
        WriteError::Io { verb, path: self.path.clone(), remedy: format!("{}{kept}", remedy(&source)), source }
    }

    fn encode(&self, source: serde_json::Error) -> WriteError {
        WriteError::Encode { path: self.path.clone(), source }
    }
}

/// What the user can do about `error`.
fn remedy(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "free some space, or choose a directory on another disk with `--out`"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "choose a directory that you may write to with `--out`"
        }
        ErrorKind::NotFound | ErrorKind::NotADirectory => "create the directory, or choose another with `--out`",
        _ => "check the disk, or choose a directory on another with `--out`",
    }
    .to_owned()
}

/// Makes the new name survive a crash. Best effort: not every file system can sync a directory.
fn sync_directory(path: &Path) {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let _ = File::open(parent).and_then(|directory| directory.sync_all());
}
