//! The host's fingerprint: what two runs must share to be compared.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tree::Tree;
use super::{cpu, kernel};
use crate::counters::CpuId;

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
    /// Drawn anew at each boot: trials of one boot share its random state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// `/sys/devices/system/cpu/vulnerabilities/*`.
    pub mitigations: BTreeMap<String, String>,
    /// `/sys/devices/system/cpu/smt/control`, or that no sibling is online.
    pub smt: Option<String>,
    /// Of cpu0.
    pub governor: Option<String>,
    pub thp: Option<String>,
    pub lockdown: Option<String>,
    pub numa_possible: Option<String>,
    /// What the kernel tells the time by; anything but `tsc` makes short windows dear to time.
    pub clocksource: Option<String>,
    /// `net.core.bpf_jit_*`, `kernel.kptr_restrict`, `kernel.perf_event_paranoid`, `kernel.nmi_watchdog`, ...
    pub sysctls: BTreeMap<String, String>,
    /// `/proc/meminfo` lines `MemTotal`, `DirectMap*`, in KiB.
    pub memory_kib: BTreeMap<String, u64>,
    /// The options of the kernel's build that matter, without `CONFIG_`; one that is not set is not here. Empty if no configuration
    /// could be read.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kernel_config: BTreeMap<String, String>,
    /// Event sources in `/sys/bus/event_source/devices`, with their types.
    pub pmus: BTreeMap<String, u32>,
}

impl Facts {
    /// Reads `proc` and `sys` under `root`, which is `/` on a real host. Never fails: what cannot be read is absent.
    pub fn read(root: &Path) -> Self {
        let tree = Tree::new(root);
        let mut facts = Self::default();
        cpu::read(tree, &mut facts);
        kernel::read(tree, &mut facts);
        facts
    }

    /// The processor's identity, as far as the catalogue of events asks; `None` where `/proc/cpuinfo` did not say.
    pub fn cpu_id(&self) -> Option<CpuId> {
        Some(CpuId {
            vendor: self.cpu_vendor.clone()?,
            family: self.cpu_family?,
            model: self.cpu_model_number?,
            stepping: self.cpu_stepping.unwrap_or(0),
        })
    }

    /// An option of the kernel's build, without `CONFIG_`: `n` where it is not set, `None` where no configuration could be read.
    pub fn option(&self, name: &str) -> Option<&str> {
        super::config::value(&self.kernel_config, name)
    }

    /// The options of the kernel's build that slow everything, sorted.
    pub fn costly_options(&self) -> Vec<&str> {
        super::config::costly(&self.kernel_config)
    }

    /// A sysctl by its name, trimmed; `None` if it could not be read.
    pub fn sysctl(&self, name: &str) -> Option<&str> {
        self.sysctls.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Facts {
        Facts::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hosts").join(name))
    }

    #[test]
    fn an_intel_box_is_read_in_full() {
        let facts = host("intel-bare-metal");
        assert_eq!(facts.hypervisor, None, "DMI strings do not make a virtual machine");
        assert_eq!(facts.pmus["cpu"], 4);
        insta::assert_snapshot!("intel_bare_metal", serde_json::to_string_pretty(&facts).unwrap());
    }

    #[test]
    fn an_amd_guest_without_dmi_or_pmu_is_read_in_full() {
        let facts = host("amd-vm");
        assert_eq!(facts.hypervisor.as_deref(), Some("KVM"));
        assert!(!facts.pmus.contains_key("cpu"));
        insta::assert_snapshot!("amd_vm", serde_json::to_string_pretty(&facts).unwrap());
    }

    #[test]
    fn an_almost_empty_root_leaves_everything_else_absent() {
        let want = Facts {
            kernel_release: Some("5.10.0-28-amd64".to_owned()),
            kernel_version: Some("#1 SMP Debian 5.10.209-2 (2024-01-31)".to_owned()),
            ..Facts::default()
        };
        assert_eq!(host("almost-empty"), want);
        assert_eq!(host("no-such-host"), Facts::default());
    }

    #[test]
    fn facts_survive_a_round_trip_and_old_records_without_a_field_are_read() {
        let facts = host("intel-bare-metal");
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
        assert_eq!(serde_json::from_str::<Facts>("{}").unwrap(), Facts::default());
    }
}
