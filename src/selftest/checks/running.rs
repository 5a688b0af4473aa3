//! Whether programs do what their code says.

use std::collections::{BTreeSet, HashMap};

use super::Findings;
use crate::selftest::body::{Body, Kind};
use crate::selftest::operation::Op;
use crate::selftest::subject::Facts;
use crate::selftest::trace::{Event, Step, cannot};

/// Every run returned what the program's code says, and every load succeeded.
pub fn results(facts: &Facts, steps: &[Step]) -> Findings {
    let mut found = right_results(steps);
    found.add(refusals(facts, steps, &[]));
    found.needs("runs", cannot(steps).unwrap_or("no program ran"))
}

/// The same where the kernel may refuse loads with one of `allowed`.
pub fn right_results(steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    let mut loaded: HashMap<(u16, u16), Body> = HashMap::new();
    for step in steps {
        match (step.op, &step.event) {
            (Op::Load { slot, body }, Event::Loaded(_)) => {
                loaded.insert((step.lane, slot), body);
            }
            (Op::Run { slot, input, .. }, Event::Returned(value)) => {
                let Some(body) = loaded.get(&(step.lane, slot)) else { continue };
                found.count("runs", 1);
                let expected = body.result(input);
                if *value != expected {
                    found.problem(format!("{} returned {value} and not {expected} ({body})", step.op));
                }
            }
            (Op::Run { .. }, Event::RunFailed(errno)) => {
                found.problem(format!("{} failed with error {errno}", step.op))
            }
            _ => {}
        }
    }
    found
}

/// Loads that the kernel refused with an error that is not among `allowed`.
pub fn refusals(_: &Facts, steps: &[Step], allowed: &[i32]) -> Findings {
    let mut found = Findings::default();
    for step in steps {
        if let Event::Refused(errno) = step.event {
            found.count("refusals", 1);
            if !allowed.contains(&errno) {
                found.problem(format!("{} was refused with error {errno}", step.op));
            }
        }
    }
    found
}

/// Right results on each CPU.
pub fn every_cpu(facts: &Facts, steps: &[Step]) -> Findings {
    let on = |step: &Step| match (step.op, &step.event) {
        (Op::Run { cpu, .. }, Event::Returned(_)) => cpu,
        _ => None,
    };
    let cpus: BTreeSet<u32> = steps.iter().filter_map(on).collect();
    let mut found = results(facts, steps);
    found.notes = vec![format!("on {} of {} CPUs", cpus.len(), facts.cpus.len())];
    found
}

/// Right results of images over a page, near a pack, and over a pack.
pub fn large(facts: &Facts, steps: &[Step]) -> Findings {
    let mut found = results(facts, steps);
    let lens = steps.iter().filter_map(Step::loaded).flat_map(|(_, _, places)| places).map(|place| place.image.len);
    found.notes = vec![format!("images of {} bytes", lens.map(|len| len.to_string()).collect::<Vec<_>>().join(", "))];
    found
}

/// Right results under each value of bpf_jit_harden that was set.
pub fn harden(facts: &Facts, steps: &[Step]) -> Findings {
    let mut found = results(facts, steps);
    let set: BTreeSet<u8> = steps
        .iter()
        .filter_map(|step| match (step.op, &step.event) {
            (Op::Harden(Some(level)), Event::Done) => Some(level),
            _ => None,
        })
        .collect();
    found.notes = vec![match set.is_empty() {
        true => format!("net.core.bpf_jit_harden as found, {}; --change-sysctls tries 0, 1 and 2", facts.harden),
        false => format!("net.core.bpf_jit_harden {set:?}, restored to {}", facts.harden),
    }];
    found
}

/// Right results of classic filters and programs mixed.
pub fn classic(facts: &Facts, steps: &[Step]) -> Findings {
    let mut found = results(facts, steps);
    let filters = steps.iter().filter_map(Step::loaded).filter(|(_, body, _)| body.kind == Kind::Classic);
    found.count("classic filters", filters.count() as u64);
    found
}

/// While all CPUs load at once: no overlap, right results, no refusals, bytes and headers as they should be.
pub fn concurrency(facts: &Facts, steps: &[Step]) -> Findings {
    let lanes: BTreeSet<u16> = steps.iter().map(|step| step.lane).collect();
    let mut found = results(facts, steps);
    found.add(super::layout::overlap(facts, steps));
    // Where memory cannot be read all the rest still holds.
    for looked_at in [
        super::layout::header(facts, steps),
        super::memory::bytes(facts, steps),
        super::memory::neighbours(facts, steps),
    ] {
        found.add(Findings { skip: None, ..looked_at });
    }
    found.notes = vec![format!("{} loaders at once", lanes.len())];
    found
}
