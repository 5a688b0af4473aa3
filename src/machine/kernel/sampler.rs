//! Samples of iTLB misses through perf's ring buffer.

use std::fmt;
use std::path::Path;

use perf_event_open::config::{Cpu, Opts, Proc, SampleOn, SampleSkid};
use perf_event_open::count::Counter;
use perf_event_open::event::dp::DynamicPmu;
use perf_event_open::sample::Sampler;

use crate::counters::host::Host;
use crate::counters::layout::Layout;
use crate::counters::{Event, EventCode, Role};
use crate::host::Facts;
use crate::machine::{MachineError, MissSampler, Result};
use crate::sampling::ibs::Revision;
use crate::sampling::record::decode;
use crate::sampling::{Body, Precision, Record, Sampling, Symbols};

/// Pages of the ring buffer, as a power of two: 256 KiB hold some 10 000 plain samples.
const BUFFER_PAGES_EXP: u8 = 6;
/// Misses from one sample to the next: a prime, so that a loop over the programs does not fall in step.
const MISS_PERIOD: u64 = 1009;
/// Fetches from one sample to the next; the kernel wants a multiple of 16. The hardware scatters it (`IBS_RAND_EN`).
const FETCH_PERIOD: u64 = 16 * 2000;
/// `rand_en` of `ibs_fetch`.
const IBS_RAND_EN: u64 = 1 << 57;

/// A way of sampling misses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub sampling: Sampling,
    pub body: Body,
    /// Only code of the kernel; `ibs_fetch` refuses to be asked that.
    pub kernel_only: bool,
    /// All tasks on this CPU, where the PMU knows no tasks; else the calling thread.
    pub cpu: Option<u32>,
}

/// The ways this host may offer, the most exact first.
pub fn candidates(root: &Path, facts: &Facts, cpu: u32) -> Vec<Candidate> {
    let devices = root.join("sys/bus/event_source/devices");
    let pmu = |name: &str| std::fs::read_to_string(devices.join(name).join("type")).ok()?.trim().parse::<u32>().ok();
    // On a hybrid part an event of the other kind of core opens too, and never counts on this one.
    let host = Host::read(&root.join("sys"), facts.cpu_id().as_ref(), cpu, Layout::UNKNOWN);
    let precise = host.role(Role::RetiredItlbMisses).filter(|_| host.pmus.core(cpu).is_some());
    let mut ways: Vec<Candidate> = precise.iter().map(|wanted| per_thread(wanted.event(), Precision::Exact)).collect();
    let revision = facts.cpu_family.zip(facts.cpu_model_number).map(|(family, model)| Revision { family, model });
    if let (Some(pmu_type), Some(revision)) = (pmu("ibs_fetch"), revision) {
        let code = EventCode::new(pmu_type, IBS_RAND_EN);
        let event = Event { role: Role::Other, name: "ibs_fetch/rand_en=1/".to_owned(), code };
        let sampling = Sampling { event, period: FETCH_PERIOD, precision: Precision::Fetch };
        ways.push(Candidate { sampling, body: Body::IbsFetch(revision), kernel_only: false, cpu: Some(cpu) });
    }
    let code = host.generic_code(EventCode::HW_CACHE, 0x1_0004);
    let generic = Event { role: Role::ItlbMisses, name: "iTLB-load-misses".to_owned(), code };
    ways.push(per_thread(generic, Precision::Skid));
    ways
}

fn per_thread(event: Event, precision: Precision) -> Candidate {
    let sampling = Sampling { event, period: MISS_PERIOD, precision };
    Candidate { sampling, body: Body::Address, kernel_only: true, cpu: None }
}

/// An event that is sampled while it is started.
pub struct KernelSampler {
    counter: Counter,
    buffer: Sampler,
    way: Candidate,
}

impl fmt::Debug for KernelSampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSampler").field("way", &self.way).finish_non_exhaustive()
    }
}

impl KernelSampler {
    /// Takes the first of `ways` that opens; otherwise says what each was answered.
    pub fn open(ways: Vec<Candidate>) -> std::result::Result<Self, String> {
        let mut refusals = Vec::new();
        for way in ways {
            let Event { name, code, .. } = way.sampling.event.clone();
            match Self::try_open(way) {
                Ok(sampler) => return Ok(sampler),
                Err(error) => refusals.push(format!("{name} ({code}): {error}")),
            }
        }
        Err(refusals.join("; "))
    }

    fn try_open(way: Candidate) -> std::io::Result<Self> {
        let code = way.sampling.event.code;
        let event = DynamicPmu {
            ty: code.pmu_type,
            config: code.config,
            config1: code.config1,
            config2: code.config2,
            config3: code.config3,
        };
        let mut opts = Opts { sample_on: SampleOn::Count(way.sampling.period), ..Opts::default() };
        opts.sample_format.code_addr = true;
        opts.sample_format.raw = matches!(way.body, Body::IbsFetch(_));
        opts.exclude.user = way.kernel_only;
        opts.exclude.hv = way.kernel_only;
        if way.sampling.precision == Precision::Exact {
            opts.sample_skid = SampleSkid::ReqZero;
        }
        let counter = match way.cpu {
            Some(cpu) => Counter::new(event, (Proc::ALL, Cpu(cpu)), opts)?,
            None => Counter::new(event, (Proc::CURRENT, Cpu::ALL), opts)?,
        };
        let buffer = counter.sampler(BUFFER_PAGES_EXP)?;
        Ok(Self { counter, buffer, way })
    }
}

impl MissSampler for KernelSampler {
    fn sampling(&self) -> &Sampling {
        &self.way.sampling
    }

    fn start(&mut self) -> Result<()> {
        self.counter.enable().map_err(|error| failed("start", &error))
    }

    fn stop(&mut self) -> Result<()> {
        self.counter.disable().map_err(|error| failed("stop", &error))
    }

    fn drain(&mut self, into: &mut Vec<Record>) -> Result<()> {
        let Some(records) = self.buffer.iter() else {
            return Err(MachineError::failed("failed to read samples: the ring buffer is in use"));
        };
        let mut records = records.into_cow();
        while let Some(record) = records.lending_next() {
            let decoded = decode(record.as_raw().as_bytes(), self.way.body)
                .map_err(|error| MachineError::failed(format!("failed to decode a sample: {error}")))?;
            into.push(decoded);
        }
        Ok(())
    }

    fn symbols(&self) -> Symbols {
        // Without the file every kernel address is unknown, and the report says so.
        Symbols::parse(&std::fs::read_to_string("/proc/kallsyms").unwrap_or_default())
    }
}

fn failed(verb: &str, error: &std::io::Error) -> MachineError {
    MachineError::failed(format!("failed to {verb} sampling: {error}"))
}
