//! At the limits: clean errors, nothing half loaded, all of it usable and freed after.

use super::Findings;
use super::freeing::surveys;
use super::running::{refusals, right_results};
use crate::selftest::body::Kind;
use crate::selftest::operation::Op;
use crate::selftest::subject::Facts;
use crate::selftest::trace::{Event, Step, cannot};

/// Errors as <errno.h> has them, and the kernel's own ENOTSUPP: the JIT found no memory for its image.
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const ENOTSUPP: i32 = 524;

/// Programs held when `step` began, by the steps before it.
fn held(steps: &[Step]) -> u32 {
    let mut held = 0u32;
    for step in steps {
        match (step.op, &step.event) {
            (Op::Load { body, .. }, Event::Loaded(_)) => held += body.listed(),
            (Op::Unload { .. }, Event::Done) => held = held.saturating_sub(1),
            _ => {}
        }
    }
    held
}

fn nothing_half_loaded(steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    for (at, step) in steps.iter().enumerate() {
        let Event::Surveyed(survey) = &step.event else { continue };
        let expected = held(&steps[..at]);
        found.count("surveys", 1);
        if survey.own != expected {
            found.problem(format!("the kernel lists {} programs of ours, {expected} are loaded", survey.own));
        }
    }
    found
}

fn at_limit(facts: &Facts, steps: &[Step], allowed: &[i32], reason: &str) -> Findings {
    let mut found = right_results(steps);
    found.add(refusals(facts, steps, allowed));
    found.add(nothing_half_loaded(steps));
    found.needs("refusals", cannot(steps).unwrap_or(reason))
}

/// Without descriptors: EMFILE.
pub fn descriptors(facts: &Facts, steps: &[Step]) -> Findings {
    at_limit(facts, steps, &[EMFILE], "no load was refused")
}

/// At bpf_jit_limit: ENOTSUPP, and what counts against it is the same whenever nothing of ours is loaded.
pub fn jit_limit(facts: &Facts, steps: &[Step]) -> Findings {
    let mut found = right_results(steps);
    found.add(refusals(facts, steps, &[ENOTSUPP]));
    found.add(nothing_half_loaded(steps));
    let charged = |step: &Step| match step.event {
        Event::Charged(bytes) => Some(bytes),
        _ => None,
    };
    let charged: Vec<u64> = steps.iter().filter_map(charged).collect();
    let surveys = surveys(steps);
    if let (Some(before), Some(after), Some(first), Some(last)) =
        (charged.first(), charged.iter().max(), surveys.first(), surveys.last())
    {
        found.count("bytes lost", after - before);
        if after > before {
            let text = format!("{} bytes still count against bpf_jit_limit though nothing is loaded", after - before);
            found.problem_or_others(first, last, text);
        }
        found.notes = vec![format!("{before} bytes count against bpf_jit_limit")];
    }
    found.needs("refusals", cannot(steps).unwrap_or("no load was refused"))
}

/// At the end of the module area: ENOTSUPP or ENOMEM; or the program is interpreted, and its result is right all the same.
pub fn area_end(facts: &Facts, steps: &[Step]) -> Findings {
    let mut found = right_results(steps);
    found.add(refusals(facts, steps, &[ENOMEM, ENOTSUPP]));
    found.add(nothing_half_loaded(steps));
    let loaded = || steps.iter().filter_map(Step::loaded).filter(|(_, body, _)| body.kind != Kind::Classic);
    let interpreted = loaded().filter(|(_, _, places)| places.is_empty()).count() as u64;
    found.count("interpreted", interpreted);
    let full = interpreted + found.counts.get("refusals").copied().unwrap_or(0);
    found.count("loads at the end", full);
    found.needs("loads at the end", cannot(steps).unwrap_or("the module area did not fill up"))
}

/// While allocations fail one by one: ENOMEM, or a load that succeeds all the same.
pub fn failing_allocations(facts: &Facts, steps: &[Step]) -> Findings {
    at_limit(facts, steps, &[ENOMEM, ENOTSUPP], "no allocation was made to fail")
}

/// Under memory pressure: right results, and no error but ENOMEM.
pub fn pressure(facts: &Facts, steps: &[Step]) -> Findings {
    let mut found = right_results(steps);
    found.add(refusals(facts, steps, &[ENOMEM, ENOTSUPP]));
    let taken = steps.iter().any(|step| step.op == Op::Pressure(true) && step.event == Event::Done);
    found.count("times taken", u64::from(taken));
    found.needs("times taken", cannot(steps).unwrap_or("no memory was taken"))
}
