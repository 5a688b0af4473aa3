//! The host's fingerprint: what two runs must share to be compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Facts about the host at the start of a run. Absent is absent: a file that cannot be read leaves `None` or no entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub cpu_vendor: Option<String>,
    pub cpu_model: Option<String>,
    pub cpu_family: Option<u32>,
    pub cpu_model_number: Option<u32>,
    pub cpu_stepping: Option<u32>,
    pub microcode: Option<String>,
    pub cpus_online: Option<String>,
    /// `None` on bare metal; otherwise what `/proc/cpuinfo`, DMI and sysfs say of the hypervisor.
    pub hypervisor: Option<String>,
    pub kernel_release: Option<String>,
    pub kernel_version: Option<String>,
    pub cmdline: Option<String>,
    /// `/sys/devices/system/cpu/vulnerabilities/*`.
    pub mitigations: BTreeMap<String, String>,
    pub smt: Option<String>,
    pub governor: Option<String>,
    pub thp: Option<String>,
    pub lockdown: Option<String>,
    pub numa_possible: Option<String>,
    /// `net.core.bpf_jit_*`, `kernel.kptr_restrict`, `kernel.perf_event_paranoid`, `kernel.nmi_watchdog`, ...
    pub sysctls: BTreeMap<String, String>,
    /// `/proc/meminfo` lines `MemTotal`, `DirectMap*`, in KiB.
    pub memory_kib: BTreeMap<String, u64>,
    /// Event sources in `/sys/bus/event_source/devices`, with their types.
    pub pmus: BTreeMap<String, u32>,
}
