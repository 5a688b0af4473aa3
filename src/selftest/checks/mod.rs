//! In: what was seen. Out: what is wrong with it. Apart because no check knows where its material comes from: each is shown to
//! fail on material with the very defect it looks for.

pub mod freeing;
pub mod layout;
pub mod limits;
pub mod memory;
pub mod packs;
pub mod rights;
pub mod running;

use std::collections::BTreeMap;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is wrong; one line each.
    pub problems: Vec<String>,
    /// What was looked at, summed over all rounds.
    pub counts: BTreeMap<&'static str, u64>,
    /// What a reader should know of this round.
    pub notes: Vec<String>,
    /// Why nothing can be said.
    pub skip: Option<String>,
}

impl Findings {
    /// Nothing can be said, for this reason.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self { skip: Some(reason.into()), ..Self::default() }
    }

    /// Counts `by` more of `what`.
    pub fn count(&mut self, what: &'static str, by: u64) {
        *self.counts.entry(what).or_default() += by;
    }

    /// Remembers a problem.
    pub fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// Skips for `reason` if nothing of `what` was looked at: a check that saw nothing has not passed.
    pub fn needs(mut self, what: &'static str, reason: &str) -> Self {
        if self.problems.is_empty() && self.skip.is_none() && self.counts.get(what).is_none_or(|count| *count == 0) {
            self.skip = Some(reason.to_owned());
        }
        self
    }

    /// Takes in what another check, or another round of the same, found.
    pub fn add(&mut self, other: Self) {
        self.problems.extend(other.problems);
        for (what, by) in other.counts {
            self.count(what, by);
        }
        if !other.notes.is_empty() {
            self.notes = other.notes;
        }
        self.skip = self.skip.take().or(other.skip);
    }
}
