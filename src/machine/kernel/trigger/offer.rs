//! What of the triggers this host offers, found out by trying each with one program.

use std::os::fd::AsFd;

use super::{attached, load_failed, most_programs, tail_calls};
use crate::machine::kernel::pace::Pace;
use crate::machine::kernel::programs::Programs;
use crate::machine::{Result, Target};
use crate::workload::{Body, TriggerKind};

/// What a trigger costs here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// Nanoseconds of a run that reaches the empty program alone.
    pub empty_ns: f64,
    /// Most programs, where something other than memory bounds them.
    pub most_programs: Option<u32>,
}

/// Runs in one look at the clock, and looks.
const RUNS: u32 = 256;
const LOOKS: u32 = 9;

/// Attaches one program, checks that it runs, and times the empty one.
pub fn try_out(kind: TriggerKind) -> Result<Offer> {
    let objects = Programs::open(kind, Body::B128)?;
    let maps = objects.maps(1)?;
    let program = objects.load_body(&maps, 0, 1).map_err(|error| load_failed(kind, "a program", &error))?;
    maps.publish(0, program.as_fd()).map_err(|error| load_failed(kind, "a program", &error))?;
    let mut trigger: Box<dyn super::Trigger> = if kind.is_tail_calls() {
        Box::new(tail_calls::TailCalls::new(kind, 0, &objects, &maps)?)
    } else {
        Box::new(attached::Attached::new(kind, &objects, maps.attachable())?)
    };
    trigger.check(&maps)?;
    trigger.prepare(Target::Empty)?;
    let mut least = u64::MAX;
    for _ in 0..LOOKS {
        least = least.min(trigger.fire(Target::Empty, RUNS)?.wall_ns);
    }
    trigger.release(&mut Pace::blind());
    Ok(Offer { empty_ns: least as f64 / f64::from(RUNS), most_programs: most_programs(kind) })
}
