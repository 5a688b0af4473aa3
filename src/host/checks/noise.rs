//! What makes the numbers noisier, or other than on the machine they are meant for?

use super::Check;
use crate::host::{Facts, Live};

pub(super) fn virtual_machine(facts: &Facts) -> Check {
    let name = "virtual machine";
    match &facts.hypervisor {
        None if facts.cpu_vendor.is_none() => {
            Check::warn(name, "/proc/cpuinfo cannot be read, so it cannot be told").remedy("mount /proc")
        }
        None => Check::ok(name, "no: bare metal"),
        Some(hypervisor) => Check::warn(
            name,
            format!(
                "yes ({hypervisor}): a TLB entry is the smaller of guest and host page and walks are nested, so results do \
                 not predict bare metal"
            ),
        )
        .remedy("run on bare metal for results to publish"),
    }
}

/// Programs of others share the packs and may load, unload and run meanwhile.
pub(super) fn foreign(live: &Live) -> Option<Check> {
    let name = "foreign programs";
    Some(match live.foreign_programs? {
        0 => Check::ok(name, "no BPF programs of others are loaded"),
        loaded => Check::warn(name, format!("{loaded} BPF programs of others are loaded; they share the packs"))
            .remedy("`bpftool prog show` names them; stop their owners"),
    })
}

/// `bpf_stats_enabled_key` makes `bpf_prog_run` read the clock twice around every program entered from the kernel.
pub(super) fn statistics(facts: &Facts) -> Check {
    let name = "BPF statistics";
    match facts.sysctl("kernel.bpf_stats_enabled") {
        None => Check::ok(name, "not seen on this host"),
        Some("0") => Check::ok(name, "off"),
        Some(_) => {
            Check::warn(name, "on: every program entered from the kernel reads the clock twice, and is slower by that")
                .remedy("sysctl kernel.bpf_stats_enabled=0")
        }
    }
}

pub(super) fn cpus(facts: &Facts) -> Check {
    let name = "CPUs";
    match online(facts) {
        None => Check::warn(name, "the number of CPUs online cannot be read").remedy("mount /sys"),
        Some(1) => Check::warn(name, "1 online: everything else on this host runs between the windows, or in them")
            .remedy("give the host at least 2 CPUs"),
        Some(count) => Check::ok(name, format!("{count} online")),
    }
}

/// CPUs in a list such as `0-3,6`.
fn online(facts: &Facts) -> Option<u32> {
    let span = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    facts.cpus_online.as_deref()?.split(',').map(|part| span(part.trim())).sum()
}

/// High is half of the CPUs: from there on a task is likely to be put beside the pinned one, on its core or its caches.
pub(super) fn load(facts: &Facts, live: &Live) -> Option<Check> {
    let name = "load";
    let (load, cpus) = (live.load?, online(facts)?);
    let finding = format!("{load:.2} runnable tasks in the last minute on {cpus} CPUs");
    Some(if load < f64::from(cpus) / 2.0 {
        Check::ok(name, finding)
    } else {
        Check::warn(name, format!("{finding}: others compete for cores and caches"))
            .remedy("wait until the host is idle")
    })
}

pub(super) fn clock(facts: &Facts) -> Check {
    let name = "clock source";
    match facts.clocksource.as_deref() {
        Some("tsc") => Check::ok(name, "tsc"),
        Some(other) => Check::warn(name, format!("{other}: reading the time is slow and coarse against a window"))
            .remedy("find in dmesg why tsc was left, then boot with `clocksource=tsc` if it is stable"),
        None => Check::warn(name, "cannot be read").remedy("mount /sys"),
    }
}

pub(super) fn governor(facts: &Facts) -> Check {
    let name = "governor";
    match (facts.governor.as_deref(), &facts.hypervisor) {
        (Some("performance"), _) => Check::ok(name, "performance"),
        (Some(other), _) => Check::warn(name, format!("{other}: the frequency follows the load, and time with it"))
            .remedy("cpupower frequency-set -g performance"),
        (None, Some(_)) => Check::ok(name, "not offered in this virtual machine"),
        (None, None) => Check::warn(name, "no cpufreq driver seen: the firmware sets the frequency, unseen")
            .remedy("load `intel_pstate`, `amd_pstate` or `acpi-cpufreq`, or set the firmware to maximum performance"),
    }
}

/// Siblings share the 4 KiB entries of the L1 iTLB, the STLB and the caches.
pub(super) fn smt(facts: &Facts) -> Check {
    let name = "SMT";
    match facts.smt.as_deref() {
        None => Check::ok(name, "not seen on this host"),
        Some("on") => Check::warn(name, "on: a sibling shares the TLBs, the caches and the counters of the core")
            .remedy("`echo off > /sys/devices/system/cpu/smt/control`, or keep the sibling idle"),
        Some(state) => Check::ok(name, state),
    }
}

/// Transparent huge pages do not touch kernel text; collapsing and compaction cost time and TLB flushes.
pub(super) fn thp(facts: &Facts) -> Check {
    let name = "THP";
    match facts.thp.as_deref() {
        None => Check::ok(name, "not seen on this host"),
        Some("always") => {
            Check::warn(name, "always: khugepaged and compaction may run, and flush TLBs, inside a window")
                .remedy("echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
        }
        Some(mode) => Check::ok(name, format!("{mode}; kernel text is not concerned")),
    }
}

/// The mitigations that change the JITed code or the life of TLB entries; both kernels of a comparison need the same.
pub(super) fn mitigations(facts: &Facts) -> Check {
    let name = "mitigations";
    let relevant = ["spectre_v2", "retbleed", "itlb_multihit", "meltdown"];
    let mut states: Vec<String> =
        relevant.iter().filter_map(|key| facts.mitigations.get(*key).map(|state| format!("{key}: {state}"))).collect();
    if states.is_empty() {
        return Check::ok(name, "not reported by this kernel");
    }
    if facts.mitigations.get("meltdown").is_some_and(|state| state.contains("PTI")) {
        states.push("with PTI the TLB entries of kernel text are not global".to_owned());
    }
    Check::ok(name, states.join(" | "))
}

/// Options of the kernel's build that slow everything.
pub(super) fn build(facts: &Facts) -> Check {
    let name = "kernel build";
    if facts.kernel_config.is_empty() {
        return Check::ok(name, "not known: neither /proc/config.gz nor a config under /boot");
    }
    let costly = facts.costly_options();
    if costly.is_empty() {
        return Check::ok(name, "none of the costly debugging options");
    }
    Check::warn(name, format!("{}: slower than the kernels people run, and not evenly", costly.join(", "))).remedy(
        "measure under a kernel built without them; they stand in the run file, and `compare` says where sides differ",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Level::{Ok as Fine, Warn};

    fn facts() -> Facts {
        Facts::default()
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn a_virtual_machine_is_warned_of_by_name() {
        assert_eq!(virtual_machine(&Facts { cpu_vendor: text("GenuineIntel"), ..facts() }).level, Fine);
        assert_eq!(virtual_machine(&facts()).level, Warn, "unknown is not bare metal");
        let check = virtual_machine(&Facts { hypervisor: text("KVM"), ..facts() });
        assert_eq!(check.level, Warn);
        assert!(check.finding.contains("KVM"));
    }

    #[test]
    fn a_kernel_built_for_debugging_is_warned_of() {
        let built = |options: &[&str]| Facts {
            kernel_config: options.iter().map(|name| ((*name).to_owned(), "y".to_owned())).collect(),
            ..facts()
        };
        assert_eq!(build(&facts()).level, Fine);
        assert_eq!(build(&built(&["BPF_JIT", "DEBUG_LIST"])).level, Fine);
        let check = build(&built(&["BPF_JIT", "PROVE_LOCKING", "KASAN"]));
        assert_eq!(check.level, Warn);
        assert!(check.finding.starts_with("KASAN, PROVE_LOCKING: "), "{check:?}");
    }

    #[test]
    fn foreign_programs_are_counted() {
        let live = |foreign_programs| Live { foreign_programs, ..Live::default() };
        assert_eq!(foreign(&live(None)), None);
        assert_eq!(foreign(&live(Some(0))).unwrap().level, Fine);
        let check = foreign(&live(Some(7))).unwrap();
        assert_eq!(check.level, Warn);
        assert!(check.finding.starts_with("7 BPF programs"));
    }

    #[test]
    fn statistics_slow_each_execution() {
        let set = |value: &str| Facts {
            sysctls: [("kernel.bpf_stats_enabled".to_owned(), value.to_owned())].into(),
            ..facts()
        };
        assert_eq!(statistics(&facts()).level, Fine);
        assert_eq!(statistics(&set("0")).level, Fine);
        assert_eq!(statistics(&set("1")).level, Warn);
    }

    #[test]
    fn cpu_lists_are_counted_and_one_is_too_few() {
        let cases =
            [("0", Some(1)), ("0-1", Some(2)), ("0-3,6,8-9", Some(7)), ("3-1", None), ("", None), ("all", None)];
        for (list, want) in cases {
            assert_eq!(online(&Facts { cpus_online: text(list), ..facts() }), want, "{list:?}");
        }
        assert_eq!(cpus(&Facts { cpus_online: text("0"), ..facts() }).level, Warn);
        assert_eq!(cpus(&Facts { cpus_online: text("0-1"), ..facts() }).level, Fine);
        assert_eq!(cpus(&facts()).level, Warn);
    }

    #[test]
    fn half_of_the_cpus_busy_is_a_high_load() {
        let host = Facts { cpus_online: text("0-3"), ..facts() };
        for (runnable, want) in [(0.0, Fine), (1.99, Fine), (2.0, Warn), (12.0, Warn)] {
            let live = Live { load: Some(runnable), ..Live::default() };
            assert_eq!(load(&host, &live).unwrap().level, want, "{runnable}");
        }
        assert_eq!(load(&host, &Live::default()), None);
    }

    #[test]
    fn only_the_tsc_is_a_good_clock() {
        for (source, want) in [(text("tsc"), Fine), (text("hpet"), Warn), (text("kvm-clock"), Warn), (None, Warn)] {
            assert_eq!(clock(&Facts { clocksource: source.clone(), ..facts() }).level, want, "{source:?}");
        }
    }

    #[test]
    fn a_governor_may_be_absent_only_in_a_guest() {
        let cases = [
            (text("performance"), None, Fine),
            (text("powersave"), None, Warn),
            (text("schedutil"), text("KVM"), Warn),
            (None, text("KVM"), Fine),
            (None, None, Warn),
        ];
        for (policy, hypervisor, want) in cases {
            let host = Facts { governor: policy.clone(), hypervisor, ..facts() };
            assert_eq!(governor(&host).level, want, "{policy:?}");
        }
    }

    #[test]
    fn smt_is_warned_of_only_when_on() {
        for (state, want) in [("on", Warn), ("off", Fine), ("notsupported", Fine), ("on, no sibling online", Fine)] {
            assert_eq!(smt(&Facts { smt: text(state), ..facts() }).level, want, "{state}");
        }
        assert_eq!(smt(&facts()).level, Fine);
    }

    #[test]
    fn huge_pages_are_warned_of_only_when_always() {
        for (mode, want) in [("always", Warn), ("madvise", Fine), ("never", Fine)] {
            assert_eq!(thp(&Facts { thp: text(mode), ..facts() }).level, want, "{mode}");
        }
        assert_eq!(thp(&facts()).level, Fine);
    }

    #[test]
    fn the_mitigations_that_matter_are_listed_and_the_others_are_not() {
        let known = [("meltdown", "Mitigation: PTI"), ("spectre_v2", "Retpolines"), ("srbds", "Not affected")];
        let mitigations_of = known.iter().map(|(key, state)| ((*key).to_owned(), (*state).to_owned())).collect();
        let check = mitigations(&Facts { mitigations: mitigations_of, ..facts() });
        assert_eq!(check.level, Fine);
        let want = "spectre_v2: Retpolines | meltdown: Mitigation: PTI | with PTI the TLB entries of kernel text are not global";
        assert_eq!(check.finding, want);
        assert_eq!(mitigations(&facts()).finding, "not reported by this kernel");
    }
}
