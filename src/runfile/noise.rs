//! Noise meters of a trial on the wire, beside its windows: older files have none.

use std::fmt;

use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::trial::{Sample, Trial};

/// The noise meters of every window, in the order of the `run` record's `meters`; empty if none was read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct MeterRows {
    #[serde(deserialize_with = "rows")]
    baseline: Vec<Vec<u64>>,
    #[serde(deserialize_with = "rows")]
    samples: Vec<Vec<u64>>,
}

/// Rows, each with room for as many values as the one before had: there are as many rows as windows.
fn rows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u64>>, D::Error> {
    deserializer.deserialize_seq(Rows)
}

struct Rows;

impl<'de> Visitor<'de> for Rows {
    type Value = Vec<Vec<u64>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row of values for each window")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut rows: Vec<Vec<u64>> = Vec::new();
        while let Some(row) = seq.next_element_seed(Row { room: rows.last().map_or(0, Vec::len) })? {
            rows.push(row);
        }
        Ok(rows)
    }
}

struct Row {
    room: usize,
}

impl<'de> DeserializeSeed<'de> for Row {
    type Value = Vec<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row {
    type Value = Vec<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the values of the meters")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut row = Vec::with_capacity(self.room);
        while let Some(value) = seq.next_element()? {
            row.push(value);
        }
        Ok(row)
    }
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
