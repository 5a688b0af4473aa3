//! Windows in company, behind the counted ones of a trial: on several CPUs at once, and while other programs come and go.

use crate::counters::Choice;
use crate::machine::{Churn, Loaded, Result, Target};
use crate::samples::histogram;
use crate::workload::Case;

use super::bracket::Bracket;
use super::company::{self, CpuWindow, Parallel};
use super::disturbance;
use super::protocol::Protocol;
use super::record::{Check, Repetition};
use super::runner::Instruments;
use super::tandem::{self, Turns};

/// Other CPUs to run the same programs on, and what to count there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherCpus {
    /// The CPU of the run.
    pub own: u32,
    pub cpus: Vec<u32>,
    pub choice: Choice,
}

/// What a trial has beside its counted windows.
#[derive(Debug, Default)]
pub struct Company {
    pub tandem: Vec<Repetition>,
    pub parallel: Option<Parallel>,
    pub churn: Option<company::Churn>,
}

/// All that is asked for, one after the other.
pub fn all(
    loaded: &mut dyn Loaded,
    instruments: &mut Instruments<'_>,
    protocol: &Protocol,
    check: &Check,
    runs: u32,
    case: &Case,
    seed: u64,
) -> Result<Company> {
    let parallel = parallel(loaded, instruments, protocol, check, runs)?;
    let mut churn = instruments.churn.take();
    let churned = churn.as_mut().map(|churn| churned(loaded, instruments, churn.as_mut(), protocol, check, runs));
    instruments.churn = churn;
    let churn = churned.transpose()?;
    let mut company = Company { tandem: Vec::new(), parallel, churn };
    if let Some(tandem) = &mut instruments.tandem {
        let churn = &mut instruments.churn;
        let turns = Turns { programs: case.programs, rounds: protocol.rounds, seed, hooked: instruments.hooked };
        company.tandem = tandem::repeat(loaded, *tandem, churn.as_deref_mut(), check, turns)?;
    }
    Ok(company)
}

/// Windows that are run and not kept, to warm up the other CPUs.
const WARM_UPS: u32 = 3;

/// As many windows of `runs` runs as the trial counts, begun on all CPUs at once; `None` if no other CPU is asked for.
pub fn parallel(
    loaded: &mut dyn Loaded,
    instruments: &mut Instruments<'_>,
    protocol: &Protocol,
    check: &Check,
    runs: u32,
) -> Result<Option<Parallel>> {
    let Some(others) = instruments.others.clone() else { return Ok(None) };
    loaded.prepare(Target::Programs)?;
    let mut peers = loaded.peers(&others.cpus, &others.choice, instruments.counters.groups())?;
    let mut bracket = Bracket::new(loaded, instruments, check.executions_per_run);
    bracket.enter(0)?;
    let mut windows = Vec::with_capacity(protocol.samples as usize);
    for number in 0..WARM_UPS + protocol.samples {
        peers.begin(Target::Programs, runs)?;
        let own = bracket.window(Target::Programs, runs);
        let all = peers.end()?;
        let own = own?;
        if number >= WARM_UPS {
            let own = CpuWindow { wall_ns: own.wall_ns, readings: own.readings };
            windows.push([own].into_iter().chain(all).collect());
        }
    }
    let executions = u64::from(runs) * u64::from(check.executions_per_run);
    let cpus = [others.own].into_iter().chain(others.cpus).collect();
    Ok(Some(Parallel { cpus, runs: runs.into(), executions, windows }))
}

/// As many windows of `runs` runs as the trial counts, while programs are loaded and unloaded; `None` if no churn is asked for.
pub fn churned(
    loaded: &mut dyn Loaded,
    instruments: &mut Instruments<'_>,
    churn: &mut dyn Churn,
    protocol: &Protocol,
    check: &Check,
    runs: u32,
) -> Result<company::Churn> {
    let mut windows = Vec::with_capacity(protocol.samples as usize);
    churn.start()?;
    let counted = {
        let mut bracket = Bracket::new(loaded, instruments, check.executions_per_run);
        bracket.enter(0).and_then(|()| bracket.windows(Target::Programs, runs, protocol.samples, &mut windows))
    };
    let churned = churn.stop()?;
    counted?;
    disturbance::mark(instruments.meters.meters(), instruments.counters.groups(), &mut windows);
    let encode = |values: &[u64]| histogram::of_values(values).and_then(|all| histogram::encode(&all)).ok();
    Ok(company::Churn {
        per_s: churn.per_s(),
        loads: churned.loads,
        elapsed_ns: churned.elapsed_ns,
        load_latency: encode(&churned.load_ns).filter(|_| !churned.load_ns.is_empty()),
        unload_latency: encode(&churned.unload_ns).filter(|_| !churned.unload_ns.is_empty()),
        splits: churned.splits,
        windows,
    })
}
