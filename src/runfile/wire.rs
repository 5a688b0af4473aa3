//! What stands in a run file, schema 1: JSON Lines, one record a line, tagged by its first field `record`.
//!
//! | record | once per | holds |
//! |---|---|---|
//! | `run` | file, first | schema number, the manifest, the table of cases, the order of the columns |
//! | `placement` | trial | where every program lies, the footprint, what loading cost |
//! | `trial` | trial, behind its `placement` | check pass, baseline and samples with raw counts, histograms, caveats |
//! | `end` | file, last | counts of records, whether the run was interrupted, the checksum |
//!
//! Windows and images are arrays, whose columns are named once in the `run` record. Addresses are hexadecimal strings,
//! since readers in other languages hold numbers as doubles. All other numbers are integers: NaN and infinity cannot be
//! written. A reader ignores fields it does not know; a change that needs more than that gets a new schema number.
//!
//! The types of the parts (`Facts`, `Group`, `Caveat`, ...) are the crate's own; `tests/data/run-v1.jsonl` keeps a change
//! in them from making old files unreadable.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::caveat::Caveat;
use crate::counters::{Group, Meter, MeterAbsence, Refusal, Unusable};
use crate::host::Facts;
use crate::model::fetched::Window;
use crate::placement::{Addr, Footprint, Image, Observed};
use crate::samples::Metric;
use crate::sampling::{Misses, Sampling};
use crate::trial::record::{Churn, Parallel, Repetition, Victim};
use crate::trial::{Beside, Check, Freed, LoadCost, Sample, Trial};
use crate::workload::{Body, Case, Cpus, FillerRule, OffsetRule, Order, PackMode, Spec, Stride, TriggerKind};

use super::hex::HexAddr;
use super::manifest::{Design, Guest, MachineKind, Manifest};
use super::noise::MeterRows;
use super::reading::ReadingRow;
pub(super) use super::seal::{EndRecord, seal, seal_holds};

/// The schema that this build writes, and the newest it reads.
pub const SCHEMA: u32 = 1;

/// Longest line that is read. The placement of the 1048576 programs a workload may ask for stays below 32 MiB.
pub const MOST_LINE_BYTES: usize = 64 << 20;

/// What every record has; enough to tell which it is.
#[derive(Debug, Deserialize)]
pub(super) struct Tag {
    pub record: String,
    /// Only in `run`.
    pub schema: Option<u64>,
}

/// A record with its tag in front.
#[derive(Debug, Serialize)]
struct Tagged<'a, T> {
    record: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

/// `body` as one line without its line feed, tagged `record`.
pub(super) fn line<T: Serialize>(record: &'static str, body: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Tagged { record, body })
}

/// The columns of the arrays.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Columns {
    image: Vec<String>,
    sample: Vec<String>,
    reading: Vec<String>,
}

impl Columns {
    /// The columns of schema 1.
    pub fn known() -> Self {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            image: own(&["addr", "len"]),
            sample: own(&["runs", "executions", "wall_ns", "discarded", "readings"]),
            reading: own(&["enabled_ns", "running_ns", "counts..."]),
        }
    }
}

/// The fields of [`Spec`], without its refusal of unknown keys: a file may name keys of a later version.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Spec")]
struct SpecFields {
    name: String,
    question: String,
    expectation: String,
    trigger: TriggerKind,
    programs: Vec<u32>,
    body: Body,
    pack: Vec<PackMode>,
    stride: Stride,
    offset: OffsetRule,
    #[serde(default, skip_serializing_if = "FillerRule::is_default")]
    fillers: FillerRule,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<Order>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loaded: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpus: Option<Cpus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    churn: Option<u32>,
    trials: u32,
    samples: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Workload(#[serde(with = "SpecFields")] Spec);

/// `run`: the manifest.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunRecord {
    schema: u32,
    tool_version: String,
    machine: MachineKind,
    started: String,
    argv: Vec<String>,
    seed: u64,
    #[serde(default, skip_serializing_if = "Design::is_arms")]
    design: Design,
    cpu: u32,
    planned_trials: u32,
    workloads: Vec<Workload>,
    groups: Vec<Group>,
    refused: Vec<Refusal>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    meters: Vec<Meter>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    meters_absent: Vec<MeterAbsence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sampling: Option<Sampling>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    victim: Option<Victim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guest: Option<Guest>,
    host: Facts,
    #[serde(deserialize_with = "caveats")]
    caveats: Vec<Caveat>,
    /// `case` in the records below is an index into this.
    pub cases: Vec<Case>,
    pub columns: Columns,
}

impl RunRecord {
    /// Record of `manifest`, with the cases that its workloads spell out.
    pub fn new(manifest: &Manifest) -> Self {
        let m = manifest.clone();
        Self {
            schema: SCHEMA,
            tool_version: m.tool_version,
            machine: m.machine,
            started: m.started,
            argv: m.argv,
            seed: m.seed,
            design: m.design,
            cpu: m.cpu,
            planned_trials: m.planned_trials,
            cases: m.workloads.iter().flat_map(cases).collect(),
            workloads: m.workloads.into_iter().map(Workload).collect(),
            groups: m.groups,
            refused: m.refused,
            meters: m.meters,
            meters_absent: m.meters_absent,
            sampling: m.sampling,
            victim: m.victim,
            guest: m.guest,
            host: m.host,
            caveats: m.caveats,
            columns: Columns::known(),
        }
    }

    /// The manifest and the table of cases.
    pub fn into_parts(self) -> (Manifest, Vec<Case>) {
        let manifest = Manifest {
            tool_version: self.tool_version,
            machine: self.machine,
            started: self.started,
            argv: self.argv,
            seed: self.seed,
            design: self.design,
            cpu: self.cpu,
            workloads: self.workloads.into_iter().map(|Workload(spec)| spec).collect(),
            planned_trials: self.planned_trials,
            groups: self.groups,
            refused: self.refused,
            meters: self.meters,
            meters_absent: self.meters_absent,
            sampling: self.sampling,
            victim: self.victim,
            guest: self.guest,
            host: self.host,
            caveats: self.caveats,
        };
        (manifest, self.cases)
    }
}

/// Caveats of a later version become [`Caveat::Unknown`]: the reader must hear of them even if this build has no words for them.
fn caveats<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Caveat>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry {
        Known(Caveat),
        Other { kind: String },
    }
    let entries: Vec<Entry> = Vec::deserialize(deserializer)?;
    let caveat = |entry| match entry {
        Entry::Known(caveat) => caveat,
        Entry::Other { kind } => Caveat::Unknown { name: kind },
    };
    Ok(entries.into_iter().map(caveat).collect())
}

/// The matrix of one workload.
fn cases(spec: &Spec) -> Vec<Case> {
    let arms = |&programs| spec.pack.iter().map(move |&pack| spec.case(programs, pack));
    spec.programs.iter().flat_map(arms).collect()
}

/// `addr`, `len`.
#[derive(Debug, Serialize, Deserialize)]
struct ImageRow(HexAddr, u32);

/// `runs`, `executions`, `wall_ns`, `discarded`, `readings`.
#[derive(Debug, Serialize, Deserialize)]
struct SampleRow(u64, u64, u64, Option<Unusable>, Vec<ReadingRow>);

impl From<&Sample> for SampleRow {
    fn from(sample: &Sample) -> Self {
        let readings = sample.readings.iter().cloned().map(ReadingRow).collect();
        Self(sample.runs, sample.executions, sample.wall_ns, sample.discarded, readings)
    }
}

impl From<SampleRow> for Sample {
    fn from(SampleRow(runs, executions, wall_ns, discarded, readings): SampleRow) -> Self {
        let readings = readings.into_iter().map(|ReadingRow(reading)| reading).collect();
        Self { runs, executions, wall_ns, readings, meters: Vec::new(), discarded }
    }
}

/// Which trial a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Index into the table of cases.
    pub case: usize,
    pub trial: u32,
    pub sequence: u32,
}

/// `placement`: where the programs of a trial lie.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PlacementRecord {
    case: usize,
    trial: u32,
    sequence: u32,
    placed: bool,
    footprint: Footprint,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mapping: Option<Observed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beside: Option<Beside>,
    load: LoadCost,
    images: Vec<ImageRow>,
}

impl PlacementRecord {
    /// Record of `trial`, whose case has number `case`.
    pub fn new(case: usize, trial: &Trial) -> Self {
        Self {
            case,
            trial: trial.trial,
            sequence: trial.sequence,
            placed: trial.placed,
            footprint: trial.footprint.clone(),
            mapping: trial.mapping.clone(),
            beside: trial.beside.clone(),
            load: trial.load.clone(),
            images: trial.images.iter().map(|image| ImageRow(HexAddr(image.addr.0), image.len)).collect(),
        }
    }

    /// Whose placement it is.
    pub fn key(&self) -> Key {
        Key { case: self.case, trial: self.trial, sequence: self.sequence }
    }
}

/// `trial`: what was counted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TrialRecord {
    case: usize,
    trial: u32,
    sequence: u32,
    seed: u64,
    started_ms: u64,
    unload_ns: u64,
    check: Check,
    baseline: Vec<SampleRow>,
    samples: Vec<SampleRow>,
    #[serde(default, skip_serializing_if = "MeterRows::is_empty")]
    meters: MeterRows,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    misses: Option<Misses>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tandem: Vec<Repetition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parallel: Option<Parallel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    churn: Option<Churn>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fetched: Vec<Window>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    freed: Option<Freed>,
    /// base64 of HDR V2, by metric.
    histograms: BTreeMap<String, String>,
    #[serde(deserialize_with = "caveats")]
    caveats: Vec<Caveat>,
}

impl TrialRecord {
    /// Record of `trial`, whose case has number `case`.
    pub fn new(case: usize, trial: &Trial, histograms: &BTreeMap<Metric, String>) -> serde_json::Result<Self> {
        Ok(Self {
            case,
            trial: trial.trial,
            sequence: trial.sequence,
            seed: trial.seed,
            started_ms: trial.started_ms,
            unload_ns: trial.unload_ns,
            check: trial.check.clone(),
            baseline: trial.baseline.iter().map(SampleRow::from).collect(),
            samples: trial.samples.iter().map(SampleRow::from).collect(),
            meters: MeterRows::of(trial),
            misses: trial.misses.clone(),
            tandem: trial.tandem.clone(),
            parallel: trial.parallel.clone(),
            churn: trial.churn.clone(),
            fetched: trial.fetched.clone(),
            freed: trial.freed,
            histograms: serde_json::from_value(serde_json::to_value(histograms)?)?,
            caveats: trial.caveats.clone(),
        })
    }

    /// Whose counts they are.
    pub fn key(&self) -> Key {
        Key { case: self.case, trial: self.trial, sequence: self.sequence }
    }

    /// The trial of `case`, put together with its placement; and its histograms, as far as this build knows the metric.
    pub fn join(self, case: Case, placement: PlacementRecord) -> (Trial, BTreeMap<Metric, String>) {
        let images = placement.images.into_iter().map(|ImageRow(addr, len)| Image { addr: Addr(addr.0), len });
        let mut trial = Trial {
            case,
            trial: self.trial,
            sequence: self.sequence,
            seed: self.seed,
            started_ms: self.started_ms,
            footprint: placement.footprint,
            mapping: placement.mapping,
            beside: placement.beside,
            images: images.collect(),
            placed: placement.placed,
            load: placement.load,
            check: self.check,
            baseline: self.baseline.into_iter().map(Sample::from).collect(),
            samples: self.samples.into_iter().map(Sample::from).collect(),
            misses: self.misses,
            tandem: self.tandem,
            parallel: self.parallel,
            churn: self.churn,
            fetched: self.fetched,
            freed: self.freed,
            unload_ns: self.unload_ns,
            caveats: self.caveats,
        };
        self.meters.give_to(&mut trial);
        let known = |(name, text)| Some((serde_json::from_value(serde_json::Value::String(name)).ok()?, text));
        (trial, self.histograms.into_iter().filter_map(known).collect())
    }
}
