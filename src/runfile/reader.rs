//! Reads a run file of any version back. Forgives what a crash does (a torn last line, no end record), and nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::caveat::Caveat;
use crate::samples::Metric;
use crate::trial::Trial;
use crate::workload::Case;

use super::ledger::Ledger;
use super::lines::Lines;
use super::manifest::Manifest;
use super::wire::{self, Columns, EndRecord, PlacementRecord, RunRecord, Tag, TrialRecord};

/// Name of the run file inside the directory of a run.
pub const FILE_NAME: &str = "run.jsonl";

/// A run as read back: the manifest, its trials in the order they ran, and whether it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub manifest: Manifest,
    pub trials: Vec<Trial>,
    /// False for an interrupted run.
    pub complete: bool,
    /// What reading found (torn tail, interruption), beside the manifest's own caveats.
    pub caveats: Vec<Caveat>,
    /// base64 of HDR V2 by metric, as written; one entry per trial.
    pub histograms: Vec<BTreeMap<Metric, String>>,
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

impl Run {
    /// Reads a run file, or the one in the directory of a run.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        let name = path.display().to_string();
        match File::open(&path) {
            Ok(file) => Self::from_reader(&name, BufReader::new(file)),
            Err(source) => Err(ReadError::Io { path: name, source }),
        }
    }

    /// Reads a run from `input`; `name` stands in errors.
    pub fn from_reader(name: &str, input: impl BufRead) -> Result<Self, ReadError> {
        let mut lines = Lines::new(name, input);
        let mut reading = Reading::head(&mut lines)?;
        while reading.end.is_none() && !reading.torn && lines.advance()? {
            reading.take(&lines)?;
        }
        if reading.end.is_some() && lines.advance()? {
            return Err(lines.lies("the file goes on behind its end record"));
        }
        Ok(reading.close())
    }
}

/// A file being read.
#[derive(Debug)]
struct Reading {
    manifest: Manifest,
    cases: Vec<Case>,
    ledger: Ledger,
    trials: Vec<Trial>,
    histograms: Vec<BTreeMap<Metric, String>>,
    /// A placement whose trial has not come yet.
    pending: Option<PlacementRecord>,
    end: Option<EndRecord>,
    torn: bool,
}

impl Reading {
    /// The first record. Its schema is looked at before anything else in it.
    fn head(lines: &mut Lines<impl BufRead>) -> Result<Self, ReadError> {
        if !lines.advance()? {
            return Err(lines.not_a_run("it is empty"));
        }
        let tag: Tag = match lines.parse() {
            Ok(Some(tag)) => tag,
            Ok(None) => return Err(lines.not_a_run("its first line is torn, or no JSON")),
            Err(ReadError::Syntax { message, .. }) => return Err(lines.not_a_run(format!("first line: {message}"))),
            Err(error) => return Err(error),
        };
        match tag.schema {
            _ if tag.record != "run" => return Err(lines.not_a_run("its first record is no `run`")),
            None | Some(0) => return Err(lines.not_a_run("its `run` record has no schema number")),
            Some(found) if found > u64::from(wire::SCHEMA) => {
                return Err(lines.newer(u32::try_from(found).unwrap_or(u32::MAX)));
            }
            Some(_) => {}
        }
        let torn = || lines.not_a_run("its first line is torn");
        let record: RunRecord = lines.parse()?.ok_or_else(torn)?;
        if record.columns != Columns::known() {
            return Err(lines.syntax(format!("the columns are not those of schema {}", wire::SCHEMA)));
        }
        let (manifest, cases) = record.into_parts();
        let ledger = Ledger::new(&manifest, cases.len());
        let (trials, histograms) = (Vec::new(), Vec::new());
        Ok(Self { manifest, cases, ledger, trials, histograms, pending: None, end: None, torn: false })
    }

    /// Takes the line in hand.
    fn take(&mut self, lines: &Lines<impl BufRead>) -> Result<(), ReadError> {
        let Some(tag) = lines.parse::<Tag>()? else {
            self.torn = true;
            return Ok(());
        };
        match tag.record.as_str() {
            "placement" => match lines.parse()? {
                Some(placement) => self.placement(placement, lines),
                None => self.tear(),
            },
            "trial" => match lines.parse()? {
                Some(trial) => self.trial(trial, lines),
                None => self.tear(),
            },
            "end" => match lines.parse()? {
                Some(end) => self.end(end, lines),
                None => self.tear(),
            },
            "run" => Err(lines.lies("a second `run` record")),
            other => Err(lines.syntax(format!("unknown record `{other}`"))),
        }
    }

    fn tear(&mut self) -> Result<(), ReadError> {
        self.torn = true;
        Ok(())
    }

    fn placement(&mut self, placement: PlacementRecord, lines: &Lines<impl BufRead>) -> Result<(), ReadError> {
        match self.pending.replace(placement) {
            None => Ok(()),
            Some(_) => Err(lines.lies("a placement follows a placement; the trial between them is missing")),
        }
    }

    fn trial(&mut self, record: TrialRecord, lines: &Lines<impl BufRead>) -> Result<(), ReadError> {
        let key = record.key();
        let placement = self.pending.take().filter(|placement| placement.key() == key);
        let placement = placement.ok_or_else(|| lines.lies("the trial does not follow its own placement"))?;
        let unknown = || lines.lies(format!("case number {} of {} is unknown", key.case, self.cases.len()));
        let case = self.cases.get(key.case).cloned().ok_or_else(unknown)?;
        let (trial, histograms) = record.join(case, placement);
        self.ledger.check(key.case, &trial).map_err(|message| lines.lies(message))?;
        self.ledger.note(key.case, key.trial);
        self.trials.push(trial);
        self.histograms.push(histograms);
        Ok(())
    }

    fn end(&mut self, end: EndRecord, lines: &Lines<impl BufRead>) -> Result<(), ReadError> {
        if self.pending.is_some() {
            return Err(lines.lies("the last placement has no trial"));
        }
        let (trials, planned) = (self.ledger.trials(), self.ledger.planned());
        let found = EndRecord { placements: trials, trials, planned, interrupted: end.interrupted };
        if end != found {
            return Err(lines.lies(format!(
                "the end record counts {} placements, {} trials and {} planned; there are {trials}, {trials} and {planned}",
                end.placements, end.trials, end.planned
            )));
        }
        if !wire::seal_holds(lines.bytes(), lines.sum_before()) {
            return Err(lines.lies("the checksum does not match: the file was damaged or changed after it was written"));
        }
        self.end = Some(end);
        Ok(())
    }

    /// The run. Complete only if its end says so and no planned trial is missing.
    fn close(self) -> Run {
        let (trials, planned) = (self.ledger.trials(), self.ledger.planned());
        let complete = self.end.is_some_and(|end| !end.interrupted) && trials == planned;
        let mut caveats = Vec::new();
        if self.torn {
            caveats.push(Caveat::TornTail);
        }
        if !complete {
            caveats.push(Caveat::Interrupted { trials, planned });
        }
        Run { manifest: self.manifest, trials: self.trials, complete, caveats, histograms: self.histograms }
    }
}
