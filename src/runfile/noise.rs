//! Noise meters of a trial on the wire, beside its windows: older files have none.

use serde::{Deserialize, Serialize};

use crate::trial::{Sample, Trial};

/// The noise meters of every window, in the order of the `run` record's `meters`; empty if none was read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct MeterRows {
    baseline: Vec<Vec<u64>>,
    samples: Vec<Vec<u64>>,
}

impl MeterRows {
    /// Of a trial about to be written.
    pub fn of(trial: &Trial) -> Self {
        let rows = |windows: &[Sample]| match windows.iter().all(|window| window.meters.is_empty()) {
            true => Vec::new(),
            false => windows.iter().map(|window| window.meters.clone()).collect(),
        };
        Self { baseline: rows(&trial.baseline), samples: rows(&trial.samples) }
    }

    /// Nothing was read.
    pub fn is_empty(&self) -> bool {
        self.baseline.is_empty() && self.samples.is_empty()
    }

    /// Back to the windows; those beyond the rows stay without.
    pub fn give_to(self, trial: &mut Trial) {
        let windows = trial.baseline.iter_mut().zip(self.baseline).chain(trial.samples.iter_mut().zip(self.samples));
        windows.for_each(|(window, row)| window.meters = row);
    }
}
