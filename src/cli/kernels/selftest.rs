//! `itlbench kernels --selftest`: the results of every guest, as the subtests of one KTAP document.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use super::driver::{KTAP, Outcome};
use crate::cli::Failure;
use crate::cli::selftest::{ALL_SKIPPED, chosen};
use crate::vm::port::Selftest;

/// CPUs of a guest by default: what loads at the same time on several needs several.
pub const CPUS: u32 = 2;
/// Where the results of all guests are kept.
const ALL: &str = "results.ktap";

/// Options of the selftest in guests.
#[derive(Clone, Debug, clap::Args)]
pub struct Testing {
    /// Test each kernel's allocator of BPF text instead of measuring: `itlbench selftest` in every guest, with what it may do there to
    /// sysctls and memory; prints KTAP
    #[arg(long, conflicts_with_all = ["workload", "pack", "programs", "body", "stride", "offset", "fillers", "order", "loaded", "trials",
        "samples", "counters", "count", "plugin", "model"])]
    pub selftest: bool,
    /// How long a guest tests, about; every subtest runs at least once
    #[arg(long, value_name = "N", default_value_t = 20, requires = "selftest", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    seconds: u32,
    /// Only these subtests; `itlbench selftest --list` names them
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "selftest")]
    only: Vec<String>,
}

impl Testing {
    /// What guests are asked to do, if it is that.
    pub fn asked(&self) -> Result<Option<Selftest>, Failure> {
        chosen(&self.only)?;
        Ok(self.selftest.then(|| Selftest { seconds: self.seconds, only: self.only.clone() }))
    }
}

/// Prints the results of all guests and keeps them in `dir`. Returns the exit code: that of `itlbench selftest`, over all guests.
pub fn show(dir: &Path, outcomes: &[Outcome], out: &mut dyn Write) -> Result<u8, Failure> {
    let results = outcomes.iter().map(|outcome| {
        let kept = outcome.dir.as_ref().map(|dir| std::fs::read_to_string(dir.join(KTAP))).transpose();
        kept.map(Option::unwrap_or_default).map_err(|error| Failure::Other(anyhow::Error::new(error)))
    });
    let results = results.collect::<Result<Vec<String>, Failure>>()?;
    let text = document(outcomes, &results);
    let path = dir.join(ALL);
    std::fs::write(&path, &text).map_err(|error| Failure::output(path.display(), error))?;
    out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))?;
    eprintln!("itlbench: the results of each boot are in {}", dir.display());
    let failed = |outcome: &Outcome| outcome.failure.is_some() || !matches!(outcome.code, 0 | ALL_SKIPPED);
    Ok(match outcomes {
        _ if outcomes.iter().any(|outcome| outcome.interrupted) => 130,
        _ if outcomes.iter().any(failed) => 1,
        _ if outcomes.iter().all(|outcome| outcome.code == ALL_SKIPPED) => ALL_SKIPPED,
        _ => 0,
    })
}

/// KTAP with a subtest for each guest, whose own results are indented under it.
fn document(outcomes: &[Outcome], results: &[String]) -> String {
    let mut text = format!("KTAP version 1\n1..{}\n", outcomes.len());
    for (number, (outcome, result)) in (1..).zip(outcomes.iter().zip(results)) {
        for line in result.lines() {
            let _ = writeln!(text, "  {line}");
        }
        for death in &outcome.deaths {
            let _ = writeln!(text, "# {}; tried again", outcome.named(death));
        }
        if let Some(failure) = &outcome.failure {
            let _ = writeln!(text, "# {}", outcome.named(failure));
        }
        let verdict = match (&outcome.failure, outcome.code) {
            (None, 0) => format!("ok {number} {}", outcome.name),
            (None, ALL_SKIPPED) => format!("ok {number} {} # SKIP every subtest was skipped", outcome.name),
            _ => format!("not ok {number} {}", outcome.name),
        };
        let _ = writeln!(text, "{verdict}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, code: u8, failure: Option<&str>) -> Outcome {
        let failure = failure.map(str::to_owned);
        Outcome { name: name.to_owned(), dir: None, failure, deaths: Vec::new(), code, interrupted: false }
    }

    #[test]
    fn every_guest_is_a_subtest_with_its_own_results_under_it() {
        let outcomes = [
            outcome("5.10", 0, None),
            outcome("6.12", 1, None),
            Outcome { deaths: vec!["died".to_owned()], ..outcome("7.2", 4, None) },
            outcome("7.3", 0, Some("hung")),
        ];
        let results = [
            "KTAP version 1\n1..1\nok 1 bytes\n",
            "KTAP version 1\n1..1\nnot ok 1 bytes\n",
            "",
            "KTAP version 1\n1..2\n",
        ];
        let text = document(&outcomes, &results.map(str::to_owned));
        let expected = "KTAP version 1\n1..4\n  KTAP version 1\n  1..1\n  ok 1 bytes\nok 1 5.10\n  KTAP version 1\n  1..1\n  not ok 1 bytes\n\
                        not ok 2 6.12\n# 7.2: died; tried again\nok 3 7.2 # SKIP every subtest was skipped\n  KTAP version 1\n  1..2\n# 7.3: hung\nnot ok 4 7.3\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_worst_guest_decides_the_exit_code() {
        let directory = tempfile::tempdir().expect("directory");
        let code = |outcomes: &[Outcome]| show(directory.path(), outcomes, &mut Vec::new()).expect("shown");
        let (good, skipped, bad) = (outcome("a", 0, None), outcome("b", 4, None), outcome("c", 1, None));
        assert_eq!(code(&[good.clone(), skipped.clone()]), 0);
        assert_eq!(code(&[skipped.clone(), skipped]), 4);
        assert_eq!(code(&[good.clone(), bad]), 1);
        assert_eq!(code(&[good, outcome("d", 0, Some("died"))]), 1);
        assert_eq!(code(&[Outcome { interrupted: true, ..outcome("e", 0, Some("interrupted")) }]), 130);
    }
}
