//! Runs one trial: load, verify, check pass, warm up, calibrate, baseline, windows, baseline, unload.

use crate::caveat::Caveat;
use crate::counters::Reading;
use crate::machine::{Counters, Loaded, Machine, MachineError, Result, Target};
use crate::placement::Footprint;
use crate::workload::{Case, Slot};

use super::protocol::{self, Protocol};
use super::record::{Check, LoadCost, Sample, Trial};

/// Which trial this is, and when it began.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub slot: Slot,
    /// 0-based position in the run.
    pub sequence: u32,
    /// Milliseconds since the run began.
    pub started_ms: u64,
}

/// Measures `case` once on `machine`.
pub fn run_trial(
    start: Start,
    case: &Case,
    machine: &mut dyn Machine,
    counters: &mut dyn Counters,
    protocol: &Protocol,
) -> Result<Trial> {
    let mut loaded = machine.load(case, start.slot.seed)?;
    let check = loaded.check()?;
    if check.executions_per_run == 0 {
        return Err(MachineError::failed(format!("failed to run `{case}`: the trigger executed no program")));
    }
    let facts = LoadFacts::of(loaded.as_ref(), case, &check);
    let windows = measure(loaded.as_mut(), counters, protocol, &check)?;
    let mut caveats = facts.caveats;
    caveats.extend(loaded.caveats());
    caveats.extend(windows.caveat);
    let unload_ns = loaded.unload()?;
    Ok(Trial {
        case: case.clone(),
        trial: start.slot.trial,
        sequence: start.sequence,
        seed: start.slot.seed,
        started_ms: start.started_ms,
        placed: facts.placed,
        footprint: facts.footprint,
        images: facts.images,
        load: facts.cost,
        check,
        baseline: windows.baseline,
        samples: windows.samples,
        unload_ns,
        caveats,
    })
}

/// What is known of a load before anything is measured.
struct LoadFacts {
    images: Vec<crate::placement::Image>,
    footprint: Footprint,
    cost: LoadCost,
    placed: bool,
    caveats: Vec<Caveat>,
}

impl LoadFacts {
    fn of(loaded: &dyn Loaded, case: &Case, check: &Check) -> Self {
        let images = loaded.images().to_vec();
        let footprint = Footprint::of(&images);
        let mut caveats = Vec::new();
        let missed = footprint.missed(case.pack);
        if let Some(missed) = &missed {
            caveats.push(Caveat::PlacementMissed { goal: missed.goal.clone(), reached: missed.reached.clone() });
        }
        if check.executed < case.programs {
            caveats.push(Caveat::NotAllExecuted { executed: check.executed, programs: case.programs });
        }
        Self { images, footprint, cost: loaded.load_cost().clone(), placed: missed.is_none(), caveats }
    }
}

/// The windows of a trial.
struct Windows {
    baseline: Vec<Sample>,
    samples: Vec<Sample>,
    caveat: Option<Caveat>,
}

fn measure(
    loaded: &mut dyn Loaded,
    counters: &mut dyn Counters,
    protocol: &Protocol,
    check: &Check,
) -> Result<Windows> {
    let (runs, caveat) = calibrate(loaded, protocol, check)?;
    let mut bracket = Bracket { counters, loaded, last: Vec::new(), executions_per_run: check.executions_per_run };
    bracket.counters.read(&mut bracket.last)?;
    let mut baseline = Vec::with_capacity(2 * protocol.baseline as usize);
    let mut samples = Vec::with_capacity(protocol.samples as usize);
    bracket.windows(Target::Empty, runs, protocol.baseline, &mut baseline)?;
    bracket.windows(Target::Programs, runs, protocol.samples, &mut samples)?;
    bracket.windows(Target::Empty, runs, protocol.baseline, &mut baseline)?;
    Ok(Windows { baseline, samples, caveat })
}

/// Warms up and finds the window: long enough, steady, and twice as long when doubled.
fn calibrate(loaded: &mut dyn Loaded, protocol: &Protocol, check: &Check) -> Result<(u32, Option<Caveat>)> {
    const PROBE: u32 = 64;
    loaded.fire(Target::Programs, PROBE)?;
    let probed_ns = loaded.fire(Target::Programs, PROBE)?.wall_ns;
    let mut runs = protocol.runs(check.executions_per_run, PROBE, probed_ns);
    let steady_ns = warm_up(loaded, runs)?;
    runs = protocol.runs(check.executions_per_run, runs, steady_ns);
    let mut percent = 0;
    for _ in 0..=protocol::MOST_DOUBLINGS {
        percent = linearity(loaded, runs)?;
        if (protocol::LINEAR_PERCENT.0..=protocol::LINEAR_PERCENT.1).contains(&percent) {
            return Ok((runs, None));
        }
        runs = runs.saturating_mul(2);
    }
    Ok((runs / 2, Some(Caveat::WindowNotLinear { ratio_percent: percent })))
}

fn warm_up(loaded: &mut dyn Loaded, runs: u32) -> Result<u64> {
    let mut before = loaded.fire(Target::Programs, runs)?.wall_ns;
    for _ in 0..protocol::MOST_WARM_UPS {
        let now = loaded.fire(Target::Programs, runs)?.wall_ns;
        if protocol::is_steady(before, now) {
            return Ok(now);
        }
        before = now;
    }
    Ok(before)
}

/// The shortest of three looks at N and at 2N: what delays one of them is not what is asked for.
fn linearity(loaded: &mut dyn Loaded, runs: u32) -> Result<u32> {
    let (mut once, mut twice) = (u64::MAX, u64::MAX);
    for _ in 0..3 {
        once = once.min(loaded.fire(Target::Programs, runs)?.wall_ns);
        twice = twice.min(loaded.fire(Target::Programs, runs.saturating_mul(2))?.wall_ns);
    }
    Ok(protocol::doubling_percent(once, twice))
}

/// Counters around the trigger.
struct Bracket<'a> {
    counters: &'a mut dyn Counters,
    loaded: &'a mut dyn Loaded,
    last: Vec<Reading>,
    executions_per_run: u32,
}

impl Bracket<'_> {
    fn windows(&mut self, target: Target, runs: u32, count: u32, into: &mut Vec<Sample>) -> Result<()> {
        for _ in 0..count {
            into.push(self.window(target, runs)?);
        }
        Ok(())
    }

    /// One window. Between enable and disable there is nothing but the trigger.
    fn window(&mut self, target: Target, runs: u32) -> Result<Sample> {
        let mut now = Vec::with_capacity(self.last.len());
        self.counters.enable()?;
        let fired = self.loaded.fire(target, runs);
        self.counters.disable()?;
        let fired = fired?;
        self.counters.read(&mut now)?;
        let readings: Vec<Reading> = now.iter().zip(&self.last).map(|(now, last)| now.since(last)).collect();
        self.last = now;
        let executions = match target {
            Target::Programs => u64::from(runs) * u64::from(self.executions_per_run),
            Target::Empty => 0,
        };
        let discarded = readings.iter().find_map(Reading::unusable);
        Ok(Sample { runs: runs.into(), executions, wall_ns: fired.wall_ns, readings, discarded })
    }
}
