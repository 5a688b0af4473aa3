//! The rules that a trial must obey inside its run. Writer and reader share them, so that nothing is written that would
//! be refused years later.

use std::collections::BTreeSet;

use crate::placement::Image;
use crate::trial::{Sample, Trial};

use super::manifest::Manifest;

/// No image is longer: the verifier takes a million instructions, and ours have a few hundred.
const MOST_IMAGE_BYTES: u32 = 1 << 20;
/// All images of a trial lie in the module area, which has 1 GiB at most (`MODULES_LEN`).
const MOST_BYTES: u64 = 1 << 30;

/// Which trials a file holds so far, and what the next one must look like.
#[derive(Debug)]
pub(super) struct Ledger {
    cases: usize,
    planned: u32,
    /// Events of each group.
    shape: Vec<usize>,
    /// Noise meters.
    meters: usize,
    seen: BTreeSet<(usize, u32)>,
}

impl Ledger {
    /// Rules of `manifest`, whose matrix has `cases` cases.
    pub fn new(manifest: &Manifest, cases: usize) -> Self {
        let shape = manifest.groups.iter().map(|group| group.events.len()).collect();
        let meters = manifest.meters.len();
        Self { cases, planned: manifest.planned_trials, shape, meters, seen: BTreeSet::new() }
    }

    /// Trials noted.
    pub fn trials(&self) -> u32 {
        u32::try_from(self.seen.len()).unwrap_or(u32::MAX)
    }

    /// Trials planned.
    pub fn planned(&self) -> u32 {
        self.planned
    }

    /// Whether `trial` of case number `case` may come next; otherwise why not.
    pub fn check(&self, case: usize, trial: &Trial) -> Result<(), String> {
        if case >= self.cases {
            return Err(format!("case number {case} of {} is unknown", self.cases));
        }
        if self.seen.contains(&(case, trial.trial)) {
            return Err(format!("trial {} of case `{}` is there twice", trial.trial, trial.case));
        }
        if self.trials() >= self.planned {
            return Err(format!("there are more trials than the {} planned", self.planned));
        }
        check_images(trial)?;
        let windows = trial.baseline.iter().chain(&trial.samples);
        windows.into_iter().try_for_each(|sample| self.check_readings(sample))
    }

    /// Notes a trial that was checked.
    pub fn note(&mut self, case: usize, trial: u32) {
        self.seen.insert((case, trial));
    }

    /// A reading has one count per event of its group, or none if the group lost its counters; meters are all there or none is.
    fn check_readings(&self, sample: &Sample) -> Result<(), String> {
        if sample.readings.len() != self.shape.len() {
            return Err(format!("a window has {} readings for {} groups", sample.readings.len(), self.shape.len()));
        }
        if !sample.meters.is_empty() && sample.meters.len() != self.meters {
            return Err(format!("a window has {} values for {} meters", sample.meters.len(), self.meters));
        }
        for (reading, &events) in sample.readings.iter().zip(&self.shape) {
            if !reading.counts.is_empty() && reading.counts.len() != events {
                return Err(format!("a reading has {} counts for {events} events", reading.counts.len()));
            }
        }
        Ok(())
    }
}

/// The images may be walked page by page: none is endless, and they are as many and as long as the footprint says.
fn check_images(trial: &Trial) -> Result<(), String> {
    let too_long =
        |image: &&Image| image.len > MOST_IMAGE_BYTES || image.addr.0.checked_add(u64::from(image.len)).is_none();
    if let Some(image) = trial.images.iter().find(too_long) {
        return Err(format!("an image of {} bytes at {:#x} is longer than any program", image.len, image.addr.0));
    }
    let bytes: u64 = trial.images.iter().map(|image| u64::from(image.len)).sum();
    if bytes > MOST_BYTES {
        return Err(format!("images of {bytes} bytes do not fit the module area"));
    }
    let (programs, said) = (trial.images.len(), &trial.footprint);
    if (programs as u64, bytes) != (u64::from(said.programs), said.jited_bytes) {
        return Err(format!(
            "the footprint counts {} programs of {} bytes; there are {programs} of {bytes}",
            said.programs, said.jited_bytes
        ));
    }
    Ok(())
}
