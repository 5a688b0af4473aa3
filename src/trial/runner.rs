//! Runs one trial: load, verify, check pass, warm up, calibrate, baseline, windows, baseline, unload.

use crate::caveat::Caveat;
use crate::counters::Unusable;
use crate::machine::{Churn, Counters, Loaded, Machine, MachineError, Meters, MissSampler, Result, Tandem, Target};
use crate::placement::{Footprint, Observed};
use crate::sampling::Misses;
use crate::workload::{Case, Slot};

use super::beside::Beside;
use super::bracket::Bracket;
use super::disturbance;
use super::in_company::{self, OtherCpus};
use super::mapping;
use super::protocol::{self, Clock, Protocol};
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

/// What stands around the windows of a run.
#[derive(Debug)]
pub struct Instruments<'a> {
    pub counters: &'a mut dyn Counters,
    pub meters: &'a mut dyn Meters,
    /// Asked for with `--attribute`, and there.
    pub sampler: Option<&'a mut dyn MissSampler>,
    /// A victim, to be run beside the programs.
    pub tandem: Option<&'a mut dyn Tandem>,
    /// CPUs to run the same windows on at once.
    pub others: Option<OtherCpus>,
    /// Programs that come and go meanwhile.
    pub churn: Option<Box<dyn Churn>>,
    /// Whether the victim is also run with the programs on a hook that it hits.
    pub hooked: bool,
}

/// Measures `case` once on `machine`.
pub fn run_trial(
    start: Start,
    case: &Case,
    machine: &mut dyn Machine,
    instruments: &mut Instruments<'_>,
    protocol: &Protocol,
) -> Result<Trial> {
    let before = machine.settled();
    let mut loaded = machine.load(case, start.slot.seed)?;
    let memory = loaded.memory();
    let check = loaded.check()?;
    if check.executions_per_run == 0 {
        return Err(MachineError::failed(format!("failed to run `{case}`: the trigger executed no program")));
    }
    let facts = LoadFacts::of(loaded.as_mut(), case, &check);
    let windows = measure(loaded.as_mut(), instruments, protocol, &check)?;
    let mut caveats = facts.caveats;
    caveats.extend(loaded.caveats());
    caveats.extend(windows.caveat);
    caveats.extend(mapping::changed(&facts.mapping, &loaded.observe_mapping()));
    let misses = sample_misses(loaded.as_mut(), instruments, windows.runs)?;
    let company = in_company::all(loaded.as_mut(), instruments, protocol, &check, windows.runs, case, start.slot.seed)?;
    let unload_ns = loaded.unload()?;
    let after = machine.settled();
    let freed = machine.freed(&facts.images);
    let beside = before.zip(memory).zip(after).map(|((before, memory), after)| Beside::of(before, memory, after));
    Ok(Trial {
        case: case.clone(),
        trial: start.slot.trial,
        sequence: start.sequence,
        seed: start.slot.seed,
        started_ms: start.started_ms,
        placed: facts.placed,
        footprint: facts.footprint,
        mapping: Some(facts.mapping),
        beside,
        images: facts.images,
        load: facts.cost,
        check,
        baseline: windows.baseline,
        samples: windows.samples,
        misses,
        tandem: company.tandem,
        parallel: company.parallel,
        churn: company.churn,
        fetched: Vec::new(),
        freed,
        unload_ns,
        caveats,
    })
}

/// What is known of a load before anything is measured.
struct LoadFacts {
    images: Vec<crate::placement::Image>,
    footprint: Footprint,
    mapping: Observed,
    cost: LoadCost,
    placed: bool,
    caveats: Vec<Caveat>,
}

impl LoadFacts {
    fn of(loaded: &mut dyn Loaded, case: &Case, check: &Check) -> Self {
        let images = loaded.images().to_vec();
        let footprint = Footprint::of(&images);
        let mut caveats = Vec::new();
        // The placement of all is its goal's, whether or not all are run.
        let all = [images.as_slice(), loaded.beside()].concat();
        let missed = Footprint::of(&all).missed(case.pack);
        if let Some(missed) = &missed {
            caveats.push(Caveat::PlacementMissed { goal: missed.goal.clone(), reached: missed.reached.clone() });
        }
        if check.executed < case.programs {
            caveats.push(Caveat::NotAllExecuted { executed: check.executed, programs: case.programs });
        }
        let mapping = loaded.observe_mapping();
        Self { images, footprint, mapping, cost: loaded.load_cost().clone(), placed: missed.is_none(), caveats }
    }
}

/// The windows of a trial.
struct Windows {
    baseline: Vec<Sample>,
    samples: Vec<Sample>,
    /// Runs of the trigger in one window.
    runs: u32,
    caveat: Option<Caveat>,
}

fn measure(
    loaded: &mut dyn Loaded,
    instruments: &mut Instruments<'_>,
    protocol: &Protocol,
    check: &Check,
) -> Result<Windows> {
    let (runs, caveat) = calibrate(loaded, protocol, check)?;
    let mut bracket = Bracket::new(loaded, instruments, check.executions_per_run);
    let passes = bracket.counters.passes();
    let mut baseline = Vec::with_capacity((2 * protocol.baseline * passes) as usize);
    let mut samples = Vec::with_capacity((protocol.samples * passes) as usize);
    // What does not fit the counters at once is counted in further windows over the same placement, never multiplexed.
    for pass in 0..passes {
        bracket.enter(pass)?;
        bracket.windows(Target::Empty, runs, protocol.baseline, &mut baseline)?;
        bracket.windows(Target::Programs, runs, protocol.samples, &mut samples)?;
        bracket.windows(Target::Empty, runs, protocol.baseline, &mut baseline)?;
    }
    if protocol.clock == Clock::Emulated {
        baseline.iter_mut().chain(&mut samples).for_each(|window| window.discarded = Some(Unusable::Emulated));
    }
    for windows in [&mut baseline, &mut samples] {
        disturbance::mark(instruments.meters.meters(), instruments.counters.groups(), windows);
    }
    Ok(Windows { baseline, samples, runs, caveat })
}

/// Windows of their own behind the counted ones, in which misses are sampled; `None` if nothing samples.
fn sample_misses(loaded: &mut dyn Loaded, instruments: &mut Instruments<'_>, runs: u32) -> Result<Option<Misses>> {
    let Some(sampler) = &mut instruments.sampler else { return Ok(None) };
    loaded.prepare(Target::Programs)?;
    let mut records = Vec::new();
    for _ in 0..protocol::SAMPLED_WINDOWS {
        sampler.start()?;
        let fired = loaded.fire(Target::Programs, runs);
        sampler.stop()?;
        fired?;
        sampler.drain(&mut records)?;
    }
    Ok(Some(Misses::of(&records, loaded.images(), &sampler.symbols())))
}

/// Warms up and finds the window: long enough, steady, and twice as long when doubled. What disturbed the warm-up made it look
/// longer than it is, so the window is sized once more by the shortest look at it.
fn calibrate(loaded: &mut dyn Loaded, protocol: &Protocol, check: &Check) -> Result<(u32, Option<Caveat>)> {
    const PROBE: u32 = 64;
    if protocol.clock == Clock::Emulated {
        let runs = protocol.runs(check.executions_per_run, 1, 1);
        loaded.fire(Target::Programs, runs)?;
        return Ok((runs, None));
    }
    loaded.fire(Target::Programs, PROBE)?;
    let probed_ns = loaded.fire(Target::Programs, PROBE)?.wall_ns;
    let mut runs = protocol.runs(check.executions_per_run, PROBE, probed_ns);
    let steady_ns = warm_up(loaded, runs)?;
    runs = protocol.runs(check.executions_per_run, runs, steady_ns);
    let mut looked = Linearity::default();
    for _ in 0..=protocol::MOST_DOUBLINGS {
        looked = linearity(loaded, runs)?;
        if looked.holds() {
            return Ok((protocol.runs(check.executions_per_run, runs, looked.once_ns), None));
        }
        runs = runs.saturating_mul(2);
    }
    Ok((runs / 2, Some(Caveat::WindowNotLinear { ratio_percent: looked.percent })))
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

/// Shortest times of N and of 2N executions.
#[derive(Clone, Copy, Debug, Default)]
struct Linearity {
    once_ns: u64,
    percent: u32,
}

impl Linearity {
    fn holds(self) -> bool {
        (protocol::LINEAR_PERCENT.0..=protocol::LINEAR_PERCENT.1).contains(&self.percent)
    }
}

/// The shortest of three looks at N and at 2N: what delays one of them is not what is asked for.
fn linearity(loaded: &mut dyn Loaded, runs: u32) -> Result<Linearity> {
    let (mut once, mut twice) = (u64::MAX, u64::MAX);
    for _ in 0..3 {
        once = once.min(loaded.fire(Target::Programs, runs)?.wall_ns);
        twice = twice.min(loaded.fire(Target::Programs, runs.saturating_mul(2))?.wall_ns);
    }
    Ok(Linearity { once_ns: once, percent: protocol::doubling_percent(once, twice) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Group, Meter, MeterAbsence, Reading, Refusal};
    use crate::machine::Fired;
    use crate::placement::Image;

    /// A microsecond a run, but the first firings take twice as long: something else ran beside them.
    #[derive(Debug, Default)]
    struct DisturbedAtFirst {
        fired: u32,
        cost: LoadCost,
    }

    impl Loaded for DisturbedAtFirst {
        fn images(&self) -> &[Image] {
            &[]
        }
        fn observe_mapping(&mut self) -> Observed {
            Observed::Unknown { reason: "nothing is mapped".to_owned() }
        }
        fn load_cost(&self) -> &LoadCost {
            &self.cost
        }
        fn check(&mut self) -> Result<Check> {
            Ok(Check { executions_per_run: 33, ..Check::default() })
        }
        fn fire(&mut self, _target: Target, runs: u32) -> Result<Fired> {
            self.fired += 1;
            let slowdown = if self.fired <= 4 { 2 } else { 1 };
            Ok(Fired { wall_ns: u64::from(runs) * 1000 * slowdown })
        }
        fn caveats(&self) -> Vec<Caveat> {
            Vec::new()
        }
        fn unload(self: Box<Self>) -> Result<u64> {
            Ok(0)
        }
    }

    #[test]
    fn a_disturbed_warm_up_does_not_make_the_windows_short() {
        let mut loaded = DisturbedAtFirst::default();
        let check = loaded.check().expect("check");
        let (runs, caveat) = calibrate(&mut loaded, &Protocol::new(1), &check).expect("calibrates");
        assert_eq!((runs, caveat), (3000, None));
    }

    /// Three groups: one of each pass and one of both. `lost` is a group that gives no counts.
    #[derive(Debug)]
    struct TwoPasses {
        groups: Vec<Group>,
        pass: u32,
        reads: u64,
        lost: Option<usize>,
    }

    impl TwoPasses {
        fn new(lost: Option<usize>) -> Self {
            let group = |pass| Group { pass, ..Group::default() };
            Self { groups: [Some(0), Some(1), None].map(group).to_vec(), pass: 0, reads: 0, lost }
        }
    }

    impl Counters for TwoPasses {
        fn groups(&self) -> &[Group] {
            &self.groups
        }
        fn refused(&self) -> &[Refusal] {
            &[]
        }
        fn passes(&self) -> u32 {
            2
        }
        fn select(&mut self, pass: u32) {
            self.pass = pass;
        }
        fn enable(&mut self) -> Result<()> {
            Ok(())
        }
        fn disable(&mut self) -> Result<()> {
            Ok(())
        }
        fn read(&mut self, into: &mut Vec<Reading>) -> Result<()> {
            self.reads += 1;
            into.clear();
            into.extend(self.groups.iter().enumerate().map(|(at, group)| {
                match group.is_in(self.pass) && self.lost != Some(at) {
                    true => Reading { counts: vec![self.reads * 10], enabled_ns: self.reads, running_ns: self.reads },
                    false => Reading::default(),
                }
            }));
            Ok(())
        }
    }

    #[derive(Debug)]
    struct NoMeters;

    impl Meters for NoMeters {
        fn meters(&self) -> &[Meter] {
            &[]
        }
        fn absent(&self) -> &[MeterAbsence] {
            &[]
        }
        fn read(&mut self, into: &mut Vec<u64>) -> Result<()> {
            into.clear();
            Ok(())
        }
    }

    fn windows(lost: Option<usize>) -> Windows {
        let mut loaded = DisturbedAtFirst::default();
        let check = loaded.check().expect("check");
        let protocol = Protocol { samples: 3, baseline: 1, ..Protocol::new(3) };
        let mut instruments = Instruments {
            counters: &mut TwoPasses::new(lost),
            meters: &mut NoMeters,
            sampler: None,
            tandem: None,
            others: None,
            churn: None,
            hooked: false,
        };
        measure(&mut loaded, &mut instruments, &protocol, &check).expect("measures")
    }

    #[test]
    fn every_pass_has_its_own_windows_and_a_group_counts_in_its_own_pass_only() {
        let windows = windows(None);
        assert_eq!((windows.samples.len(), windows.baseline.len()), (6, 4));
        for (at, sample) in windows.samples.iter().enumerate() {
            let counted: Vec<bool> = sample.readings.iter().map(|reading| !reading.counts.is_empty()).collect();
            assert_eq!(counted, [at < 3, at >= 3, true], "window {at}");
            assert_eq!(sample.discarded, None);
            assert_eq!(sample.readings[2].counts, [10], "one window is one read from the last, across passes too");
        }
    }

    #[test]
    fn a_group_that_lost_its_counters_spoils_the_windows_of_its_pass_and_no_others() {
        let discarded: Vec<_> = windows(Some(1)).samples.iter().map(|sample| sample.discarded).collect();
        let empty = Some(Unusable::Empty);
        assert_eq!(discarded, [None, None, None, empty, empty, empty]);
    }
}
