//! Times the twin over numbers of stubs: four arms, each allocated anew many times, interleaved.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::code::{Code, Pages, Supply};
use super::loops::{Counted, Loops};
use super::pages::Seen;
use super::stubs::{self, Layout};
use crate::machine::MachineError;
use crate::workload::plan::shuffle;

/// Jumps in one timed loop, at least; a round over all stubs at least four times.
const JUMPS: u32 = 200_000;
/// Timed loops on one allocation; the least counts: what delays a loop is not what is asked for.
const LOOPS: u32 = 7;
/// Loops of the clock's multiplications, and how often they are looked at.
const CLOCK_LOOPS: u32 = 4000;
const CLOCK_LOOKS: u32 = 9;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub numbers: Vec<u32>,
    /// Fresh allocations of each arm: where they lie in memory decides as much as the loop does.
    pub allocations: u32,
    pub seed: u64,
    /// `None` leaves the arms of 2 MiB out.
    pub supply: Option<Supply>,
}

impl Plan {
    /// Numbers of stubs from 16 to `most`: powers of two and their halves in between.
    pub fn numbers(most: u32) -> Vec<u32> {
        let powers = (4..=20).flat_map(|power| [1u32 << power, (1 << power) + (1 << (power - 1))]);
        powers.filter(|&number| number <= most).collect()
    }
}

/// One number of stubs of one arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub layout: Layout,
    pub pages: Pages,
    pub stubs: u32,
    /// Nanoseconds a jump, the least of the loops; one for each allocation that was mapped as its arm wants it.
    pub ns: Vec<f64>,
    /// Allocations that were not, or of which the kernel would not say.
    pub left_out: u32,
    /// Allocations in whose loops the thread was switched out each time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub disturbed: u32,
    /// Core events, one for each allocation in `ns`, where there is a PMU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<Counted>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Point {
    /// Nothing timed yet.
    pub fn new(layout: Layout, pages: Pages, stubs: u32) -> Self {
        Self { layout, pages, stubs, ns: Vec::new(), left_out: 0, disturbed: 0, counted: Vec::new() }
    }
}

/// Why a sweep ended.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("failed to map or to run generated code: {0}")]
    Code(#[from] io::Error),
    #[error(transparent)]
    Counters(#[from] MachineError),
}

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sweep {
    pub points: Vec<Point>,
    pub interrupted: bool,
}

/// Carries out `plan` by `loops`; `progress` is told how many of how many arms are done.
pub fn sweep(
    plan: &Plan,
    loops: &mut Loops<'_>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Sweep, SweepError> {
    let pages: &[Pages] = if plan.supply.is_some() { &[Pages::Small, Pages::Huge] } else { &[Pages::Small] };
    let mut points = empty_points(plan, pages);
    let mut random = oorandom::Rand64::new(u128::from(plan.seed));
    let (mut done, of) = (0, points.len() as u64 * u64::from(plan.allocations));
    for round in 0..plan.allocations {
        let mut numbers = plan.numbers.clone();
        shuffle(&mut numbers, &mut random);
        for stubs in numbers {
            // The arms of one number and round share the order of visits, and take turns in who comes first.
            let seed = random.rand_u64();
            let mut arms: Vec<&mut Point> = points.iter_mut().filter(|point| point.stubs == stubs).collect();
            if round % 4 == 1 || round % 4 == 2 {
                arms.reverse();
            }
            for point in arms {
                if stop.load(Ordering::Relaxed) {
                    return Ok(Sweep { points, interrupted: true });
                }
                time_arm(point, loops, plan.supply.unwrap_or(Supply::Transparent), seed)?;
                done += 1;
                progress(done, of);
            }
        }
    }
    Ok(Sweep { points, interrupted: false })
}

fn empty_points(plan: &Plan, pages: &[Pages]) -> Vec<Point> {
    let mut points = Vec::new();
    for layout in [Layout::Packed, Layout::Spread] {
        for &pages in pages {
            points.extend(plan.numbers.iter().map(|&stubs| Point::new(layout, pages, stubs)));
        }
    }
    points
}

/// One allocation of one arm.
fn time_arm(point: &mut Point, loops: &mut Loops<'_>, supply: Supply, seed: u64) -> Result<(), SweepError> {
    let chain = stubs::code(point.layout, &stubs::order(point.stubs, seed));
    let parts: Vec<(usize, &[u8])> = chain.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
    let code = Code::new(&parts, point.pages, supply)?;
    let jumps = JUMPS.max(4 * point.stubs).next_multiple_of(point.stubs);
    let ns = loops.least_ns(&code, jumps, LOOPS);
    let counted = loops.counted(&code, jumps)?;
    // Asked afterwards: what counts is how it was mapped while it was timed, and khugepaged may change its mind.
    match ns.filter(|_| is_as_wanted(&code, point.pages)) {
        Some(ns) => {
            point.ns.push(ns / f64::from(jumps));
            point.counted.extend(counted);
        }
        None if ns.is_none() => point.disturbed += 1,
        None => point.left_out += 1,
    }
    Ok(())
}

fn is_as_wanted(code: &Code, pages: Pages) -> bool {
    let (from, to) = code.range();
    Seen::of((from, to)).is_some_and(|seen| match pages {
        Pages::Small => seen.is_small(),
        Pages::Huge => seen.is_huge(to - from),
    })
}

/// Where pages of 2 MiB can be had from; the error says why from nowhere.
pub fn supply() -> Result<Supply, String> {
    let chain = stubs::code(Layout::Packed, &stubs::order(2, 0));
    let parts: Vec<(usize, &[u8])> = chain.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
    let mut why = Vec::new();
    for (supply, name) in [(Supply::Transparent, "transparent huge pages"), (Supply::Pool, "hugetlbfs")] {
        match Code::new(&parts, Pages::Huge, supply) {
            Ok(code) if is_as_wanted(&code, Pages::Huge) => return Ok(supply),
            Ok(_) => why.push(format!("{name}: memory was mapped by 4 KiB all the same")),
            Err(error) => why.push(format!("{name}: {error}")),
        }
    }
    Err(why.join("; "))
}

/// Core cycles a nanosecond, from multiplications that wait for each other; `None` if other work ran all the time.
pub fn cycles_per_ns(loops: &mut Loops<'_>) -> io::Result<Option<f64>> {
    let bytes = stubs::clock_code();
    let code = Code::new(&[(0, &bytes)], Pages::Small, Supply::Transparent)?;
    let cycles = f64::from(CLOCK_LOOPS) * f64::from(stubs::MULTIPLICATIONS) * f64::from(stubs::MULTIPLICATION_CYCLES);
    Ok(loops.least_ns(&code, CLOCK_LOOPS, CLOCK_LOOKS).map(|ns| cycles / ns.max(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_powers_of_two_and_their_halves() {
        assert_eq!(Plan::numbers(128), [16, 24, 32, 48, 64, 96, 128]);
        assert_eq!(Plan::numbers(8192).len(), 19);
    }

    #[test]
    fn a_sweep_times_every_arm_once_an_allocation_and_verifies_its_pages() {
        let supply = supply().ok();
        let plan = Plan { numbers: vec![16, 64], allocations: 2, seed: 1, supply };
        let mut calls = 0;
        let mut loops = Loops::new(None, || None);
        let swept = sweep(&plan, &mut loops, &AtomicBool::new(false), &mut |_, _| calls += 1).expect("sweeps");
        let arms = if supply.is_some() { 8 } else { 4 };
        assert_eq!((swept.points.len(), calls, swept.interrupted), (arms, 2 * arms, false));
        for point in &swept.points {
            assert_eq!(point.ns.len() as u32 + point.left_out, 2, "{point:?}");
            assert!(point.ns.iter().all(|ns| (0.05..500.0).contains(ns)), "{point:?}");
        }
        assert!(swept.points.iter().filter(|point| point.pages == Pages::Small).all(|point| point.left_out == 0));
    }

    #[test]
    fn allocations_whose_loops_were_all_disturbed_are_left_out_and_counted() {
        let plan = Plan { numbers: vec![16], allocations: 3, seed: 1, supply: None };
        let mut times = 0;
        let mut loops = Loops::new(None, || {
            times += 1;
            Some(times)
        });
        let swept = sweep(&plan, &mut loops, &AtomicBool::new(false), &mut |_, _| {}).expect("sweeps");
        assert!(swept.points.iter().all(|point| point.ns.is_empty() && (point.disturbed, point.left_out) == (3, 0)));
    }

    #[test]
    fn a_signal_ends_it() {
        let plan = Plan { numbers: vec![16], allocations: 2, seed: 1, supply: None };
        let mut loops = Loops::new(None, || None);
        let swept = sweep(&plan, &mut loops, &AtomicBool::new(true), &mut |_, _| {}).expect("stops");
        assert!(swept.interrupted && swept.points.iter().all(|point| point.ns.is_empty()));
    }

    #[test]
    fn the_clock_ticks_at_some_gigahertz() {
        let ghz = cycles_per_ns(&mut Loops::new(None, || None)).expect("runs").expect("undisturbed");
        assert!((0.3..8.0).contains(&ghz), "{ghz}");
    }
}
