//! Noise meters of the running kernel: `/proc` texts of one CPU and the MSR counters that run all the time.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use perf_event_open::config::{Cpu, Opts, Proc};
use perf_event_open::count::Counter;
use perf_event_open::event::dp::DynamicPmu;

use crate::counters::{Meter, MeterAbsence};
use crate::host::per_cpu;
use crate::machine::{MachineError, Meters, Result};

/// A reading between windows may take this long: 2.5 % of a window of 3 ms, which is below 2 % of a run, since a fifth of a
/// trial at least is loading, warming up and calibrating.
const MOST_READ: Duration = Duration::from_micros(75);
/// Looks at the cost of a source before it is taken.
const LOOKS: usize = 9;

/// A text of `/proc`, the cheapest first: what does not fit [`MOST_READ`] together with those before it is left out.
struct Text {
    path: &'static str,
    meters: &'static [Meter],
    /// Appends one value for each of `meters`; `None` if the text lacks them.
    parse: fn(&[u8], u32, &mut Vec<u64>) -> Option<()>,
    /// Read in virtual machines only.
    guests_only: bool,
}

const TEXTS: [Text; 4] = [
    Text {
        path: "proc/thread-self/schedstat",
        meters: &[Meter::Switches, Meter::WaitedNs],
        parse: |text, _, into| {
            let scheduled = per_cpu::scheduled(text)?;
            into.extend([scheduled.times, scheduled.waited_ns]);
            Some(())
        },
        guests_only: false,
    },
    Text {
        path: "proc/softirqs",
        meters: &[Meter::TickSoftirqs, Meter::OtherSoftirqs],
        parse: |text, cpu, into| {
            let softirqs = per_cpu::softirqs(text, cpu)?;
            into.extend([softirqs.tick, softirqs.others]);
            Some(())
        },
        guests_only: false,
    },
    Text {
        path: "proc/stat",
        meters: &[Meter::StealTicks],
        parse: |text, cpu, into| {
            into.push(per_cpu::steal_ticks(text, cpu)?);
            Some(())
        },
        guests_only: true,
    },
    Text {
        path: "proc/interrupts",
        meters: &[Meter::TimerInterrupts, Meter::CpuInterrupts, Meter::DeviceInterrupts, Meter::OtherInterrupts],
        parse: |text, cpu, into| {
            let found = per_cpu::interrupts(text, cpu)?;
            into.extend([found.timer, found.cpus, found.devices, found.others]);
            Some(())
        },
        guests_only: false,
    },
];

/// Counters of `msr`, by the names sysfs gives them.
const MSRS: [(Meter, &str); 3] = [(Meter::Smis, "smi"), (Meter::Aperf, "aperf"), (Meter::Mperf, "mperf")];

/// What is read between windows, and what is not to be had.
pub struct KernelMeters {
    cpu: u32,
    texts: Vec<(File, &'static Text)>,
    msrs: Vec<Counter>,
    meters: Vec<Meter>,
    absent: Vec<MeterAbsence>,
    /// Holds one text at a time.
    buffer: Vec<u8>,
}

impl fmt::Debug for KernelMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelMeters").field("meters", &self.meters).finish_non_exhaustive()
    }
}

impl KernelMeters {
    /// Opens what `root` offers of CPU `cpu`, as long as reading all of it takes no longer than [`MOST_READ`].
    pub fn open(root: &Path, cpu: u32, guest: bool) -> Self {
        let mut meters = Self {
            cpu,
            texts: Vec::new(),
            msrs: Vec::new(),
            meters: Vec::new(),
            absent: Vec::new(),
            // A box of 2 CPUs fills 4 KiB; it grows once where more is needed.
            buffer: vec![0; 16 << 10],
        };
        meters.add_msrs(root);
        let mut spent = Duration::ZERO;
        for text in &TEXTS {
            match meters.try_text(root, text, guest, spent) {
                Ok(cost) => spent += cost,
                Err(reason) => meters.absent.push(MeterAbsence { meters: text.meters.to_vec(), reason }),
            }
        }
        meters
    }

    /// Takes a text if it can be read and is cheap enough; what it costs, or why not.
    fn try_text(
        &mut self,
        root: &Path,
        text: &'static Text,
        guest: bool,
        spent: Duration,
    ) -> std::result::Result<Duration, String> {
        if text.guests_only && !guest {
            return Err("no virtual machine".to_owned());
        }
        let path = root.join(text.path);
        let file = File::open(&path).map_err(|error| format!("failed to open `{}`: {error}", path.display()))?;
        let mut cost = Duration::MAX;
        for _ in 0..LOOKS {
            let began = Instant::now();
            let mut values = Vec::with_capacity(text.meters.len());
            let length = read_text(&file, &mut self.buffer)
                .map_err(|error| format!("failed to read `{}`: {error}", path.display()))?;
            (text.parse)(&self.buffer[..length], self.cpu, &mut values)
                .ok_or_else(|| format!("`{}` has no counts of CPU {}", path.display(), self.cpu))?;
            cost = cost.min(began.elapsed());
        }
        if spent + cost > MOST_READ {
            return Err(format!(
                "reading `{}` takes {} us on this host, too long between windows",
                path.display(),
                cost.as_micros()
            ));
        }
        self.texts.push((file, text));
        self.meters.extend(text.meters);
        Ok(cost)
    }

    /// MSR counters count on the CPU from now on; they are read, never stopped.
    fn add_msrs(&mut self, root: &Path) {
        let device = root.join("sys/bus/event_source/devices/msr");
        let pmu_type = std::fs::read_to_string(device.join("type")).ok().and_then(|text| text.trim().parse().ok());
        for (meter, name) in MSRS {
            let opened = match (pmu_type, event_config(&device, name)) {
                (Some(ty), Some(config)) => open_msr(ty, config, self.cpu).map_err(|error| error.to_string()),
                _ => Err(format!("this host has no `msr/{name}/`")),
            };
            match opened {
                Ok(counter) => {
                    self.msrs.push(counter);
                    self.meters.push(meter);
                }
                Err(reason) => self.absent.push(MeterAbsence { meters: vec![meter], reason }),
            }
        }
    }
}

impl Meters for KernelMeters {
    fn meters(&self) -> &[Meter] {
        &self.meters
    }

    fn absent(&self) -> &[MeterAbsence] {
        &self.absent
    }

    fn read(&mut self, into: &mut Vec<u64>) -> Result<()> {
        into.clear();
        let failed = |what: &str, why: String| MachineError::failed(format!("failed to read {what}: {why}"));
        for counter in &self.msrs {
            into.push(counter.stat().map_err(|error| failed("an MSR counter", error.to_string()))?.count);
        }
        for (file, text) in &self.texts {
            let length = read_text(file, &mut self.buffer).map_err(|error| failed(text.path, error.to_string()))?;
            (text.parse)(&self.buffer[..length], self.cpu, into)
                .ok_or_else(|| failed(text.path, format!("CPU {} is no longer in it", self.cpu)))?;
        }
        Ok(())
    }
}

fn open_msr(ty: u32, config: u64, cpu: u32) -> std::io::Result<Counter> {
    let event = DynamicPmu { ty, config, config1: 0, config2: 0, config3: 0 };
    let counter = Counter::new(event, (Proc::ALL, Cpu(cpu)), Opts::default())?;
    counter.enable()?;
    Ok(counter)
}

/// `event=0x04` of `events/<name>`, the only form the msr PMU uses.
fn event_config(device: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(device.join("events").join(name)).ok()?;
    u64::from_str_radix(text.trim().strip_prefix("event=0x")?, 16).ok()
}

/// Reads the whole text into `buffer`, which grows to what it needs; its length.
fn read_text(file: &File, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut length = 0;
    loop {
        if length == buffer.len() {
            buffer.resize(2 * length, 0);
        }
        match file.read_at(&mut buffer[length..], length as u64)? {
            0 => return Ok(length),
            read => length += read,
        }
    }
}
