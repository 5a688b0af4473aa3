//! What of the triggers this host offers, found out by trying each with one program.

use std::os::fd::AsFd;

use super::{Trigger, attached, load_failed, most_programs, tail_calls};
use crate::machine::kernel::pace::Pace;
use crate::machine::kernel::programs::{Maps, Programs};
use crate::machine::{Result, Target};
use crate::trial::Check;
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
    let (_maps, mut trigger, _) = checked(&objects, 1)?;
    trigger.prepare(Target::Empty)?;
    let mut least = u64::MAX;
    for _ in 0..LOOKS {
        least = least.min(trigger.fire(Target::Empty, RUNS)?.wall_ns);
    }
    trigger.release(&mut Pace::blind());
    Ok(Offer { empty_ns: least as f64 / f64::from(RUNS), most_programs: most_programs(kind) })
}

/// Runs so many programs with `body`, wherever the kernel puts them, and lets them count their executions.
pub fn run(kind: TriggerKind, body: Body, programs: u32) -> Result<Check> {
    let objects = Programs::open(kind, body)?;
    let (mut maps, mut trigger, check) = checked(&objects, programs)?;
    let retired = maps.retire(trigger.empty_program());
    trigger.release(&mut Pace::blind());
    maps.unpublish(&mut Pace::blind());
    drop(retired);
    Ok(check)
}

fn checked(objects: &Programs, programs: u32) -> Result<(Maps, Box<dyn Trigger>, Check)> {
    let kind = objects.trigger();
    let failed = |error: std::io::Error| load_failed(kind, "a program", &error);
    let maps = objects.maps(programs)?;
    for position in 0..programs {
        let program = objects.load_body(&maps, position, programs).map_err(failed)?;
        maps.publish(position, program.as_fd()).map_err(failed)?;
    }
    let mut trigger: Box<dyn Trigger> = match kind.is_tail_calls() {
        true => Box::new(tail_calls::TailCalls::new(kind, 0, objects, &maps)?),
        false => Box::new(attached::Attached::new(kind, objects, maps.attachable())?),
    };
    let check = trigger.check(&maps)?;
    Ok((maps, trigger, check))
}
