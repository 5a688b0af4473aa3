//! One run under way: every slot of the plan measured, recorded and synced before the next one begins.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;
use crate::machine::{ErrorKind, Machine};
use crate::runfile::{Manifest, Writer};
use crate::samples::histogram;
use crate::trial::Protocol;
use crate::trial::runner::{Instruments, Start, run_trial};
use crate::workload::{Case, Plan};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub trials: u32,
    pub interrupted: bool,
    /// Time spent writing and syncing.
    pub recording: Duration,
    pub wall: Duration,
}

/// A run file being written.
#[derive(Debug)]
pub struct Session<'a> {
    writer: Writer,
    manifest: &'a Manifest,
    began: Instant,
}

impl<'a> Session<'a> {
    /// Records in `writer`.
    pub fn new(writer: Writer, manifest: &'a Manifest) -> Self {
        Self { writer, manifest, began: Instant::now() }
    }

    /// Measures the plan. A signal ends it between trials or within one; what was recorded is kept.
    pub fn run(
        mut self,
        plan: &Plan,
        rounds: u32,
        machine: &mut dyn Machine,
        instruments: &mut Instruments<'_>,
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<Ended, Failure> {
        let (mut trials, mut interrupted) = (0, false);
        for (sequence, slot) in plan.slots.iter().enumerate() {
            let case = &plan.cases[slot.case];
            progress.next(case, trials, self.manifest.planned_trials);
            let start = Start { slot: *slot, sequence: sequence as u32, started_ms: self.elapsed_ms() };
            let protocol = Protocol { rounds, ..self.protocol(&case.workload) };
            let trial = match run_trial(start, case, machine, instruments, &protocol) {
                Ok(trial) => trial,
                Err(error) if error.kind == ErrorKind::Interrupted => {
                    interrupted = true;
                    break;
                }
                Err(error) => {
                    self.writer.finish(true)?;
                    return Err(error.into());
                }
            };
            let histograms = histogram::encode_trial(&trial, &self.manifest.groups)?;
            self.writer.append(&trial, &histograms)?;
            trials += 1;
            if stop.load(Ordering::Relaxed) && trials < self.manifest.planned_trials {
                interrupted = true;
                break;
            }
        }
        progress.over();
        let wall = self.began.elapsed();
        let recording = self.writer.finish(interrupted)?;
        Ok(Ended { trials, interrupted, recording, wall })
    }

    fn elapsed_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn protocol(&self, workload: &str) -> Protocol {
        let samples = self.manifest.workloads.iter().find(|spec| spec.name == workload).map_or(1, |spec| spec.samples);
        if self.manifest.is_emulated() { Protocol::emulated(samples) } else { Protocol::new(samples) }
    }
}

/// Hears which trial comes next.
pub trait Progress {
    /// `case` comes next; `done` trials of `of` are done.
    fn next(&mut self, case: &Case, done: u32, of: u32);
    /// No more trials come.
    fn over(&mut self);
}

/// A bar on stderr, redrawn between trials only: a ticking thread would disturb the windows. Hidden when stderr is no terminal.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Default for Bar {
    fn default() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:40} {pos}/{len} trials, {elapsed} of about {duration}  {msg}")
        {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Progress for Bar {
    fn next(&mut self, case: &Case, done: u32, of: u32) {
        self.0.set_length(of.into());
        self.0.set_message(case.to_string());
        self.0.set_position(done.into());
    }

    fn over(&mut self) {
        self.0.finish_and_clear();
    }
}
