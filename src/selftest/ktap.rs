//! The Kernel Test Anything Protocol, version 1 (Documentation/dev-tools/ktap.rst), as the kernel's selftests print it.

use std::io::{self, Write};

/// How a subtest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    Fail,
    Skip(String),
}

/// Writes results as they come.
pub struct Ktap<'a> {
    out: &'a mut dyn Write,
    number: u32,
    pub totals: Totals,
}

impl std::fmt::Debug for Ktap<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ktap").field("totals", &self.totals).finish_non_exhaustive()
    }
}

/// How many ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub pass: u32,
    pub fail: u32,
    pub skip: u32,
}

impl<'a> Ktap<'a> {
    /// Announces `plan` results.
    pub fn begin(out: &'a mut dyn Write, plan: usize) -> io::Result<Self> {
        write!(out, "KTAP version 1\n1..{plan}\n")?;
        out.flush()?;
        Ok(Self { out, number: 0, totals: Totals::default() })
    }

    /// A line of diagnostics; those of a result come before it.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines() {
            // "# Subtest: " announces results of its own.
            let apart = if line.trim_start().starts_with("Subtest:") { ". " } else { "" };
            writeln!(self.out, "# {apart}{}", on_one_line(line))?;
        }
        self.out.flush()
    }

    /// The next result.
    pub fn result(&mut self, name: &str, outcome: &Outcome) -> io::Result<()> {
        self.number += 1;
        let number = self.number;
        match outcome {
            Outcome::Pass => {
                self.totals.pass += 1;
                writeln!(self.out, "ok {number} {name}")?;
            }
            Outcome::Fail => {
                self.totals.fail += 1;
                writeln!(self.out, "not ok {number} {name}")?;
            }
            Outcome::Skip(reason) => {
                self.totals.skip += 1;
                // A second hash would begin another directive.
                writeln!(self.out, "ok {number} {name} # SKIP {}", on_one_line(&reason.replace('#', " ")))?;
            }
        }
        self.out.flush()
    }

    /// The sums, in the words of kselftest.h.
    pub fn end(&mut self) -> io::Result<Totals> {
        let Totals { pass, fail, skip } = self.totals;
        writeln!(self.out, "# Totals: pass:{pass} fail:{fail} xfail:0 xpass:0 skip:{skip} error:0")?;
        self.out.flush()?;
        Ok(self.totals)
    }
}

/// Without what a reader of lines may take for the end of one.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || ['\u{2028}', '\u{2029}'].contains(&c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::selftest::reading;

    #[test]
    fn results_are_numbered_and_reasons_stay_on_their_line() {
        let mut out = Vec::new();
        let mut ktap = Ktap::begin(&mut out, 3).expect("written");
        ktap.note("two\nlines").expect("written");
        ktap.result("one", &Outcome::Pass).expect("written");
        ktap.result("two", &Outcome::Fail).expect("written");
        ktap.result("three", &Outcome::Skip("no #7\nhere".to_owned())).expect("written");
        let totals = ktap.end().expect("written");
        assert_eq!(totals, Totals { pass: 1, fail: 1, skip: 1 });
        let expected = "KTAP version 1\n1..3\n# two\n# lines\nok 1 one\nnot ok 2 two\nok 3 three # SKIP no  7 here\n\
                        # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    proptest! {
        /// Whatever a kernel, a file name or an error puts into a text, a parser finds the results that were given and no others.
        #[test]
        fn no_text_makes_or_hides_a_result(
            notes in prop::collection::vec("(\\PC|[\r\n\u{b}\u{85}\u{2028}#]|not ok 1 |ok 2 |1\\.\\.9|KTAP version 1|Subtest: ){0,12}", 0..6),
            reason in "(\\PC|[\r\n#]|# SKIP ){1,12}",
            failed in any::<bool>(),
        ) {
            let mut out = Vec::new();
            let mut ktap = Ktap::begin(&mut out, 2).expect("written");
            for note in &notes {
                ktap.note(note).expect("written");
            }
            let outcome = if failed { Outcome::Fail } else { Outcome::Pass };
            ktap.result("one", &outcome).expect("written");
            ktap.result("two", &Outcome::Skip(reason)).expect("written");
            ktap.end().expect("written");
            let text = String::from_utf8(out).expect("text");
            let results = reading::read(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            let states: Vec<reading::State> = results.iter().map(|result| result.state).collect();
            let first = if failed { reading::State::Failed } else { reading::State::Passed };
            prop_assert_eq!(states, vec![first, reading::State::Skipped]);
        }
    }
}
