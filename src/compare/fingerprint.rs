//! How the hosts of two sides differ, and what each difference does to a comparison of kernels.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::side::Side;
use crate::counters::EventCode;
use crate::host::Facts;

/// What a fact does to the comparison, from harmless to fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The same in all runs of both sides.
    Equal,
    /// Differs, and cannot move the figures; or is what the comparison is about.
    Harmless,
    /// Differs, and may by itself move the figures.
    Confounds,
    /// Differs so that the figures are not of one kind.
    Incomparable,
}

/// One fact about the hosts of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactDiff {
    /// `microcode`, `mitigation retbleed`, `sysctl net.core.bpf_jit_harden`, ...
    pub fact: String,
    /// Distinct values over the runs of a side, sorted; a run that did not record it leaves `not recorded`.
    pub baseline: Vec<String>,
    pub candidate: Vec<String>,
    pub class: Class,
    /// Why it is of this class; empty for equal facts.
    pub why: &'static str,
}

/// Stands for a fact that a run file does not hold.
pub const NOT_RECORDED: &str = "not recorded";

/// Every fact, sorted by name.
pub fn diff(baseline: &Side, candidate: &Side) -> Vec<FactDiff> {
    let of_side = |side: &Side| side.runs.iter().map(facts).collect::<Vec<BTreeMap<String, String>>>();
    let (base, new) = (of_side(baseline), of_side(candidate));
    let names: BTreeSet<&String> = base.iter().chain(&new).flat_map(BTreeMap::keys).collect();
    let configured = base.iter().chain(&new).all(|run| run.contains_key(CONFIG_AT_ALL));
    let one = |name: &String| {
        let (baseline, candidate) = (values(&base, name), values(&new, name));
        let (class, why) = judge(name, &baseline, &candidate);
        FactDiff { fact: name.clone(), baseline, candidate, class, why }
    };
    // Without a configuration on one side, one line says so, and not one for each option.
    names.into_iter().filter(|name| configured || !name.starts_with(CONFIG)).map(one).collect()
}

fn values(runs: &[BTreeMap<String, String>], name: &str) -> Vec<String> {
    let absent = if name.starts_with(CONFIG) { "n" } else { NOT_RECORDED };
    let value = |run: &BTreeMap<String, String>| run.get(name).map_or(absent, String::as_str).to_owned();
    runs.iter().map(value).collect::<BTreeSet<String>>().into_iter().collect()
}

/// Every fact of a run under its name.
fn facts(run: &Digest) -> BTreeMap<String, String> {
    let (manifest, host) = (&run.manifest, &run.manifest.host);
    let mut all = BTreeMap::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            all.insert(name.to_owned(), value);
        }
    };
    put("machine", Some(format!("{:?}", manifest.machine).to_lowercase()));
    put("tool version", Some(manifest.tool_version.clone()));
    put("measuring CPU", Some(manifest.cpu.to_string()));
    put("CPU", cpu(host));
    put("CPU stepping", host.cpu_stepping.map(|stepping| stepping.to_string()));
    put("microcode", host.microcode.clone());
    put("CPUs online", host.cpus_online.clone());
    put("hypervisor", Some(host.hypervisor.clone().unwrap_or_else(|| "none (bare metal)".to_owned())));
    put("kernel release", host.kernel_release.clone());
    put("kernel version", host.kernel_version.clone());
    put("boot line", host.cmdline.as_deref().map(|line| boot_line(line, Measured::Yes)));
    put("boot line, rest", host.cmdline.as_deref().map(|line| boot_line(line, Measured::No)));
    put("SMT", host.smt.clone());
    put("governor", host.governor.clone());
    put("transparent huge pages", host.thp.clone());
    put("lockdown", host.lockdown.clone());
    put("NUMA nodes", host.numa_possible.clone());
    put("clock source", host.clocksource.clone());
    put("memory", host.memory_kib.get("MemTotal").map(|kib| format!("{:.1} GiB", *kib as f64 / 1048576.0)));
    put("direct map in 4 KiB pages", direct_map(host));
    all.extend(host.mitigations.iter().map(|(name, value)| (format!("{MITIGATION}{name}"), value.clone())));
    all.extend(host.sysctls.iter().map(|(name, value)| (format!("sysctl {name}"), value.clone())));
    all.extend(host.kernel_config.iter().map(|(name, value)| (format!("{CONFIG}{name}"), value.clone())));
    if !host.kernel_config.is_empty() {
        all.insert(CONFIG_AT_ALL.to_owned(), "recorded".to_owned());
    }
    for spec in &manifest.workloads {
        let matrix = format!("{}, {}, stride {}, offset {}", spec.trigger, spec.body.text(), spec.stride, spec.offset);
        all.insert(format!("workload {}", spec.name), matrix);
        all.insert(
            format!("workload {}, length", spec.name),
            format!("{} trials of {} windows", spec.trials, spec.samples),
        );
    }
    for event in manifest.groups.iter().flat_map(|group| &group.events) {
        all.insert(format!("event {}", event.name), code(event.code));
    }
    all
}

/// Types above the fixed ones (`PERF_TYPE_MAX`) are numbered as the kernel registers its PMUs, and differ between kernels.
fn code(code: EventCode) -> String {
    if code.pmu_type < 6 { code.to_string() } else { format!("config {:#x}", code.config) }
}

const MITIGATION: &str = "mitigation ";
/// An option of the kernel's build.
const CONFIG: &str = "config ";
/// Whether the build's options were read.
const CONFIG_AT_ALL: &str = "kernel's configuration";

fn cpu(host: &Facts) -> Option<String> {
    let number = |value: Option<u32>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    let model = host.cpu_model.as_ref().or(host.cpu_vendor.as_ref())?;
    Some(format!("{model}, family {} model {}", number(host.cpu_family), number(host.cpu_model_number)))
}

/// Share of the direct map, rounded to steps of 5 %: it shrinks and grows with every boot, and matters when it is split.
fn direct_map(host: &Facts) -> Option<String> {
    let sizes = host.memory_kib.iter().filter(|(name, _)| name.starts_with("DirectMap"));
    let all: u128 = sizes.map(|(_, kib)| u128::from(*kib)).sum();
    let small = u128::from(*host.memory_kib.get("DirectMap4k")?);
    (all > 0).then(|| format!("about {} %", (small * 20 + all / 2) / all * 5))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Measured {
    Yes,
    No,
}

/// Parameters that say where the kernel and its root are, or what it prints.
const ELSEWHERE: [&str; 16] = [
    "BOOT_IMAGE",
    "root",
    "rootfstype",
    "rootflags",
    "rootwait",
    "ro",
    "rw",
    "initrd",
    "init",
    "rdinit",
    "console",
    "quiet",
    "splash",
    "loglevel",
    "panic",
    "reboot",
];

/// The parameters that may change what is measured, or the rest, sorted; what stands behind `--` belongs to init.
fn boot_line(line: &str, measured: Measured) -> String {
    let kernel = line.split(" -- ").next().unwrap_or_default();
    let is_elsewhere = |word: &str| ELSEWHERE.contains(&word.split('=').next().unwrap_or(word));
    let mut words: Vec<&str> =
        kernel.split_whitespace().filter(|word| is_elsewhere(word) == (measured == Measured::No)).collect();
    words.sort_unstable();
    if words.is_empty() { "nothing".to_owned() } else { words.join(" ") }
}

const PART_OF_THE_KERNEL: &str = "the kernel's source decides it, and that is what is compared";

/// What a difference in a fact means, by its name or the beginning of it; the first that fits decides.
const RULES: [(&str, Class, &str); 28] = [
    ("machine", Class::Incomparable, "a simulation is no measurement"),
    ("CPU stepping", Class::Confounds, "steppings differ in errata and their cures"),
    ("CPUs online", Class::Confounds, "other CPUs share clock, caches and power"),
    ("CPU", Class::Incomparable, "another CPU has other TLBs, caches and clocks"),
    ("hypervisor", Class::Incomparable, "nested paging changes what a TLB entry maps and what a miss costs"),
    ("event ", Class::Incomparable, "the same name counts something else"),
    ("workload ", Class::Confounds, "other programs or another placement were measured"),
    ("kernel ", Class::Harmless, "this is what is compared"),
    (CONFIG_AT_ALL, Class::Confounds, "one side does not say, so that it cannot be checked"),
    ("config HAVE_", Class::Harmless, PART_OF_THE_KERNEL),
    ("config ARCH_HAS_", Class::Harmless, PART_OF_THE_KERNEL),
    ("config EXECMEM", Class::Harmless, PART_OF_THE_KERNEL),
    ("config CC_VERSION_TEXT", Class::Confounds, "another compiler makes other code of the same kernel"),
    (CONFIG, Class::Confounds, "kernels built with other options differ by those too"),
    ("boot line, rest", Class::Harmless, "it says where the kernel is and what it prints"),
    ("boot line", Class::Confounds, "a boot parameter may change the code and the noise"),
    ("tool version", Class::Confounds, "another version may measure differently"),
    ("measuring CPU", Class::Confounds, "cores differ in clock, neighbours and kind"),
    ("microcode", Class::Confounds, "microcode changes the cost of branches, fences and misses"),
    (MITIGATION, Class::Confounds, "a mitigation changes the JITed code or the cost of branches"),
    ("SMT", Class::Confounds, "a sibling shares the iTLB"),
    ("governor", Class::Confounds, "the clock moves with it"),
    ("sysctl kernel.kptr_restrict", Class::Harmless, "it decides who sees addresses"),
    ("sysctl kernel.perf_event_paranoid", Class::Harmless, "it decides who may count"),
    ("sysctl kernel.unprivileged_bpf_disabled", Class::Harmless, "it decides who may load"),
    ("sysctl net.core.bpf_jit_limit", Class::Harmless, "it limits users without privileges"),
    ("lockdown", Class::Harmless, "it decides what may be read"),
    ("", Class::Confounds, "it may move the figures"),
];

fn judge(name: &str, baseline: &[String], candidate: &[String]) -> (Class, &'static str) {
    if baseline.len() == 1 && baseline == candidate {
        return (Class::Equal, "");
    }
    if name.starts_with("workload ") && name.ends_with(", length") {
        return (Class::Harmless, "n is printed with every result");
    }
    let all = || baseline.iter().chain(candidate);
    if name.starts_with(MITIGATION) && all().all(|value| value == NOT_RECORDED || value == "Not affected") {
        return (Class::Harmless, "one kernel does not know a vulnerability that this CPU does not have");
    }
    let rule = RULES.iter().find(|(prefix, _, _)| name.starts_with(prefix));
    let (class, why) = rule.map_or((Class::Confounds, "it may move the figures"), |&(_, class, why)| (class, why));
    let unrecorded = all().any(|value| value == NOT_RECORDED);
    match class {
        // An event counted on one side only leaves its metric unpaired; a workload run on one side only its cases.
        Class::Incomparable | Class::Confounds
            if unrecorded && (name.starts_with("event ") || name.starts_with("workload ")) =>
        {
            (Class::Harmless, "one side has it alone, so that nothing of it is compared")
        }
        Class::Incomparable if unrecorded => (Class::Confounds, "one side does not say, so that it cannot be checked"),
        _ => (class, why),
    }
}
