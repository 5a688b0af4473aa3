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
        let (name, file) = open(path)?;
        Self::from_reader(&name, file)
    }

    /// Reads a run from `input`; `name` stands in errors.
    pub fn from_reader(name: &str, input: impl BufRead) -> Result<Self, ReadError> {
        let (mut trials, mut histograms) = (Vec::new(), Vec::new());
        let head = each_trial(name, input, |_, trial, of_trial| {
            trials.push(trial);
            histograms.push(of_trial);
        })?;
        let Head { manifest, complete, caveats } = head;
        Ok(Self { manifest, trials, complete, caveats, histograms })
    }
}

/// A run without its trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub manifest: Manifest,
    pub complete: bool,
    pub caveats: Vec<Caveat>,
}

/// Opens a run file, or the one in the directory of a run; with its name for messages.
pub fn open(path: &Path) -> Result<(String, BufReader<File>), ReadError> {
    let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let name = path.display().to_string();
    match File::open(&path) {
        Ok(file) => Ok((name, BufReader::with_capacity(BUFFER_BYTES, file))),
        Err(source) => Err(ReadError::Io { path: name, source }),
    }
}

const BUFFER_BYTES: usize = 1 << 20;

/// Reads a run from `input` and hands each trial on as it comes, so that none but the one in hand is in memory.
/// Whether the whole file holds what it claims is known only at its end: on an error, what was handed on counts for nothing.
pub fn each_trial(
    name: &str,
    input: impl BufRead,
    mut take: impl FnMut(&Manifest, Trial, BTreeMap<Metric, String>),
) -> Result<Head, ReadError> {
    let mut lines = Lines::new(name, input);
    let mut reading = Reading::head(&mut lines)?;
    while reading.end.is_none() && !reading.torn && lines.advance()? {
        if let Some((trial, histograms)) = reading.take(&lines)? {
            take(&reading.manifest, trial, histograms);
        }
    }
    if reading.end.is_some() && lines.advance()? {
        return Err(lines.lies("the file goes on behind its end record"));
    }
    Ok(reading.close())
}

/// A trial and its histograms.
type Found = (Trial, BTreeMap<Metric, String>);

/// A file being read.
#[derive(Debug)]
struct Reading {
    manifest: Manifest,
    cases: Vec<Case>,
    ledger: Ledger,
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
        check_matrix(&manifest, &cases).map_err(|message| lines.lies(message))?;
        let ledger = Ledger::new(&manifest, cases.len());
        Ok(Self { manifest, cases, ledger, pending: None, end: None, torn: false })
    }

    /// Takes the line in hand; a trial is handed back.
    fn take(&mut self, lines: &Lines<impl BufRead>) -> Result<Option<Found>, ReadError> {
        let tags = ["placement", "trial"];
        let tag = match tags.into_iter().find(|tag| lines.is_tagged(tag)) {
            Some(tag) => tag.to_owned(),
            None => match lines.parse::<Tag>()? {
                Some(tag) => tag.record,
                None => return self.tear(),
            },
        };
        match tag.as_str() {
            "placement" => match lines.parse()? {
                Some(placement) => self.placement(placement, lines).map(|()| None),
                None => self.tear(),
            },
            "trial" => match lines.parse()? {
                Some(trial) => self.trial(trial, lines).map(Some),
                None => self.tear(),
            },
            "end" => match lines.parse()? {
                Some(end) => self.end(end, lines).map(|()| None),
                None => self.tear(),
            },
            "run" => Err(lines.lies("a second `run` record")),
            other => Err(lines.syntax(format!("unknown record `{other}`"))),
        }
    }

    fn tear(&mut self) -> Result<Option<Found>, ReadError> {
        self.torn = true;
        Ok(None)
    }

    fn placement(&mut self, placement: PlacementRecord, lines: &Lines<impl BufRead>) -> Result<(), ReadError> {
        match self.pending.replace(placement) {
            None => Ok(()),
            Some(_) => Err(lines.lies("a placement follows a placement; the trial between them is missing")),
        }
    }

    fn trial(&mut self, record: TrialRecord, lines: &Lines<impl BufRead>) -> Result<Found, ReadError> {
        let key = record.key();
        let placement = self.pending.take().filter(|placement| placement.key() == key);
        let placement = placement.ok_or_else(|| lines.lies("the trial does not follow its own placement"))?;
        let unknown = || lines.lies(format!("case number {} of {} is unknown", key.case, self.cases.len()));
        let case = self.cases.get(key.case).cloned().ok_or_else(unknown)?;
        let (trial, histograms) = record.join(case, placement);
        self.ledger.check(key.case, &trial).map_err(|message| lines.lies(message))?;
        self.ledger.note(key.case, key.trial);
        Ok((trial, histograms))
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
    fn close(self) -> Head {
        let (trials, planned) = (self.ledger.trials(), self.ledger.planned());
        let complete = self.end.is_some_and(|end| !end.interrupted) && trials == planned;
        let mut caveats = Vec::new();
        if self.torn {
            caveats.push(Caveat::TornTail);
        }
        if !complete {
            caveats.push(Caveat::Interrupted { trials, planned });
        }
        Head { manifest: self.manifest, complete, caveats }
    }
}

/// Most workloads, and numbers of programs in one: every table and chart has a row for each.
const MOST_POINTS: usize = 4096;

/// The matrix has a bounded number of cases, and no workload asks for what none can be.
fn check_matrix(manifest: &Manifest, cases: &[Case]) -> Result<(), String> {
    let points: usize = manifest.workloads.iter().map(|spec| spec.programs.len()).sum();
    if manifest.workloads.len().max(points).max(cases.len() / 2) > MOST_POINTS {
        return Err(format!("the matrix has more than {MOST_POINTS} points"));
    }
    manifest.workloads.iter().try_for_each(|spec| spec.check(&spec.name).map_err(|error| error.to_string()))
}
