//! The CPU the windows run on, and the claim that keeps a second run off it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::machine::{MachineError, Result};
use crate::workload::Cpus;

/// A claim on one CPU, given up when dropped and also when the process is killed: it is an abstract socket, not a file.
#[derive(Debug)]
pub struct Pinned {
    cpu: u32,
    /// CPUs that this process might use before it was pinned.
    allowed: Vec<u32>,
    others: Vec<UnixDatagram>,
    _claim: UnixDatagram,
}

impl Pinned {
    /// Pins the calling thread to `cpu`, or to the highest CPU it may run on: the lowest ones take most interrupts.
    pub fn to(cpu: Option<u32>) -> Result<Self> {
        let allowed = sched_getaffinity(None)
            .map_err(|error| MachineError::failed(format!("failed to read CPU affinity: {error}")))?;
        let usable: Vec<u32> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).map(|cpu| cpu as u32).collect();
        let highest = usable.last().copied().unwrap_or(0);
        let cpu = cpu.unwrap_or(highest);
        if !usable.contains(&cpu) {
            return Err(MachineError::host_cannot(
                format!("failed to pin to CPU {cpu}: not among the CPUs this process may use"),
                format!("use --cpu with one of {}", list(&usable)),
            ));
        }
        let claim = claim(cpu)?;
        let mut only = CpuSet::new();
        only.set(cpu as usize);
        sched_setaffinity(None, &only)
            .map_err(|error| MachineError::failed(format!("failed to pin to CPU {cpu}: {error}")))?;
        Ok(Self { cpu, allowed: usable, others: Vec::new(), _claim: claim })
    }

    /// CPUs that this process might use before it was pinned.
    pub fn allowed(&self) -> &[u32] {
        &self.allowed
    }

    /// Claims other CPUs, all or those listed, without this one.
    pub fn reserve(&mut self, cpus: &Cpus) -> Result<Vec<u32>> {
        let wanted = match cpus {
            Cpus::All => self.allowed.clone(),
            Cpus::List(listed) => listed.clone(),
        };
        if let Some(missing) = wanted.iter().find(|cpu| !self.allowed.contains(cpu)) {
            return Err(MachineError::host_cannot(
                format!("failed to use CPU {missing}: not among the CPUs this process may use"),
                format!("use --cpus with some of {}", list(&self.allowed)),
            ));
        }
        let others: Vec<u32> = wanted.into_iter().filter(|cpu| *cpu != self.cpu).collect();
        if others.is_empty() {
            return Err(MachineError::host_cannot(
                format!("failed to run on several CPUs: there is none but CPU {}", self.cpu),
                "leave --cpus out, or name others",
            ));
        }
        self.others = others.iter().map(|&cpu| claim(cpu)).collect::<Result<_>>()?;
        Ok(others)
    }

    /// The CPU.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }
}

fn claim(cpu: u32) -> Result<UnixDatagram> {
    let name = format!("itlbench/cpu{cpu}");
    let address = SocketAddr::from_abstract_name(name.as_bytes())
        .map_err(|error| MachineError::failed(format!("failed to name the claim on CPU {cpu}: {error}")))?;
    UnixDatagram::bind_addr(&address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => MachineError::host_cannot(
            format!("CPU {cpu} is in use by another itlbench run"),
            "wait for it to end, or choose another with --cpu",
        ),
        _ => MachineError::failed(format!("failed to claim CPU {cpu}: {error}")),
    })
}

fn list(cpus: &[u32]) -> String {
    cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
