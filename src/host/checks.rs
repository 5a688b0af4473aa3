//! What spoils or blocks a measurement on this host, each with a remedy. Nothing here changes the host.

use serde::Serialize;

use super::{Facts, Live};

mod access;
mod counting;
mod noise;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// A run works, but its numbers are fewer or noisier.
    Warn,
    /// `itlbench run` cannot give a result worth having.
    Block,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub level: Level,
    pub finding: String,
    /// What the user can do about it, if anything.
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, finding: finding.into(), remedy: None }
    }

    fn warn(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, finding: finding.into(), remedy: None }
    }

    fn block(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, level: Level::Block, finding: finding.into(), remedy: None }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// Every check, in a fixed order: may we, can we count, will it be quiet. What `live` has not probed is left out.
pub fn checks(facts: &Facts, live: &Live) -> Vec<Check> {
    let access = [
        Some(access::jit(facts)),
        Some(access::hardening(facts, live)),
        Some(access::capabilities(live)),
        Some(access::addresses(facts, live)),
        access::test_run(live),
        Some(access::lockdown(facts)),
        Some(access::open_files(live)),
        access::locked_memory(facts, live),
    ];
    let counting = [
        Some(counting::pmu(facts)),
        counting::events(live),
        Some(counting::paranoid(facts, live)),
        Some(counting::watchdog(facts)),
    ];
    let noise = [
        Some(noise::virtual_machine(facts)),
        noise::foreign(live),
        Some(noise::statistics(facts)),
        Some(noise::cpus(facts)),
        noise::load(facts, live),
        Some(noise::clock(facts)),
        Some(noise::governor(facts)),
        Some(noise::smt(facts)),
        Some(noise::thp(facts)),
        Some(noise::mitigations(facts)),
        Some(noise::build(facts)),
    ];
    access.into_iter().chain(counting).chain(noise).flatten().collect()
}

/// The first check that forbids a run.
pub fn blocking(checks: &[Check]) -> Option<&Check> {
    checks.iter().find(|check| check.level == Level::Block)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn host(name: &str) -> Vec<Check> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hosts").join(name);
        checks(&Facts::read(&root), &Live::read(&root))
    }

    #[test]
    fn a_tuned_box_has_nothing_to_remedy() {
        let found = host("intel-bare-metal");
        assert!(found.iter().all(|check| check.level == Level::Ok && check.remedy.is_none()), "{found:#?}");
        assert_eq!(blocking(&found), None);
    }

    #[test]
    fn the_first_block_is_the_one_reported() {
        let found = host("locked-laptop");
        assert_eq!(blocking(&found).map(|check| check.name), Some("capabilities"));
        assert!(found.iter().any(|check| check.name == "image addresses" && check.level == Level::Block));
    }

    #[test]
    fn names_are_distinct_and_every_block_has_a_remedy() {
        for name in ["intel-bare-metal", "amd-vm", "locked-laptop", "almost-empty"] {
            let found = host(name);
            let names: std::collections::BTreeSet<_> = found.iter().map(|check| check.name).collect();
            assert_eq!(names.len(), found.len(), "{name}");
            for check in found.iter().filter(|check| check.level == Level::Block) {
                assert!(check.remedy.is_some(), "{name}: {check:?}");
            }
        }
    }

    #[test]
    fn what_was_not_probed_is_not_judged() {
        let found = checks(&Facts::default(), &Live::default());
        for name in ["test run", "events", "foreign programs", "load", "locked memory"] {
            assert!(found.iter().all(|check| check.name != name), "{name}");
        }
    }
}
