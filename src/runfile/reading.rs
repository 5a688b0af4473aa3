//! A reading on the wire: an array, taken apart without a stop between the text and the counts.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::counters::Reading;

/// `enabled_ns`, `running_ns`, then the counts in the order of the group's events.
#[derive(Clone, Debug)]
pub(super) struct ReadingRow(pub Reading);

impl Serialize for ReadingRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Reading { counts, enabled_ns, running_ns } = &self.0;
        serializer.collect_seq([enabled_ns, running_ns].into_iter().chain(counts))
    }
}

impl<'de> Deserialize<'de> for ReadingRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReadingVisitor)
    }
}

/// Straight into the reading: a run of a million windows has several million of them.
struct ReadingVisitor;

impl<'de> Visitor<'de> for ReadingVisitor {
    type Value = ReadingRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reading: two times and the counts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<ReadingRow, A::Error> {
        let lacking = || A::Error::custom("a reading lacks its two times");
        let enabled_ns = row.next_element()?.ok_or_else(lacking)?;
        let running_ns = row.next_element()?.ok_or_else(lacking)?;
        let mut counts = Vec::with_capacity(EVENTS_EXPECTED);
        while let Some(count) = row.next_element()? {
            counts.push(count);
        }
        Ok(ReadingRow(Reading { counts, enabled_ns, running_ns }))
    }
}

/// Groups are rarely larger; a larger one costs a second allocation.
const EVENTS_EXPECTED: usize = 4;
