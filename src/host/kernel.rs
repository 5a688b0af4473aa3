//! The kernel: its release, its boot line, its knobs, its memory and its event sources.

use std::collections::BTreeMap;

use super::facts::Facts;
use super::tree::Tree;

/// The sysctls that change what is measured, or whether it can be.
const SYSCTLS: [&str; 10] = [
    "kernel.bpf_stats_enabled",
    "kernel.kptr_restrict",
    "kernel.nmi_watchdog",
    "kernel.perf_event_paranoid",
    "kernel.randomize_va_space",
    "kernel.unprivileged_bpf_disabled",
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
    "net.core.bpf_jit_kallsyms",
    "net.core.bpf_jit_limit",
];

/// Fills the fields that the kernel answers.
pub(super) fn read(tree: Tree<'_>, facts: &mut Facts) {
    let banner = tree.text("proc/version");
    facts.kernel_release =
        tree.text("proc/sys/kernel/osrelease").or_else(|| banner.as_deref().and_then(banner_release));
    facts.kernel_version = tree.text("proc/sys/kernel/version").or_else(|| banner.as_deref().and_then(banner_version));
    facts.cmdline = tree.text("proc/cmdline");
    facts.boot_id = tree.text("proc/sys/kernel/random/boot_id");
    facts.thp = tree.selected("sys/kernel/mm/transparent_hugepage/enabled");
    facts.lockdown = tree.selected("sys/kernel/security/lockdown");
    facts.numa_possible = tree.text("sys/devices/system/node/possible");
    facts.clocksource = tree.text("sys/devices/system/clocksource/clocksource0/current_clocksource");
    facts.sysctls = SYSCTLS.iter().filter_map(|key| Some(((*key).to_owned(), sysctl(tree, key)?))).collect();
    facts.memory_kib = memory(&tree.text("proc/meminfo").unwrap_or_default());
    facts.kernel_config = super::config::read(tree, facts.kernel_release.as_deref());
    facts.pmus = pmus(tree);
}

fn sysctl(tree: Tree<'_>, key: &str) -> Option<String> {
    tree.text(&format!("proc/sys/{}", key.replace('.', "/")))
}

/// `6.12.1` of `Linux version 6.12.1 (builder) (compiler) #1 SMP ...`.
fn banner_release(banner: &str) -> Option<String> {
    banner.strip_prefix("Linux version ")?.split_whitespace().next().map(str::to_owned)
}

/// `#1 SMP ...` of the same line.
fn banner_version(banner: &str) -> Option<String> {
    banner.find(" #").map(|at| banner[at + 1..].to_owned())
}

fn memory(meminfo: &str) -> BTreeMap<String, u64> {
    let entry = |line: &str| {
        let (key, value) = line.split_once(':')?;
        let wanted = key == "MemTotal" || key.starts_with("DirectMap");
        let kib = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        wanted.then(|| (key.to_owned(), kib))
    };
    meminfo.lines().filter_map(entry).collect()
}

fn pmus(tree: Tree<'_>) -> BTreeMap<String, u32> {
    let directory = "sys/bus/event_source/devices";
    let pmu = |name: String| {
        let pmu_type = tree.text(&format!("{directory}/{name}/type"))?.parse().ok()?;
        Some((name, pmu_type))
    };
    tree.names(directory).into_iter().filter_map(pmu).collect()
}

/// Whether a release such as `6.1.0-13-amd64` is at least `major.minor`; `None` if it does not begin with two numbers.
pub(super) fn at_least(release: &str, wanted: (u32, u32)) -> Option<bool> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let found: (u32, u32) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(found >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        let cases = [
            ("5.10.0-28-amd64", Some(false)),
            ("5.11.0", Some(true)),
            ("5.9.16", Some(false)),
            ("6.1-rc3", Some(true)),
            ("7.3.0-rc7+", Some(true)),
            ("mainline", None),
            ("6", None),
        ];
        for (release, want) in cases {
            assert_eq!(at_least(release, (5, 11)), want, "{release}");
        }
    }

    #[test]
    fn the_banner_gives_release_and_version() {
        let banner = "Linux version 6.12.1 (root@build) (gcc 14, ld 2.43) #2 SMP PREEMPT_DYNAMIC Tue Mar 4";
        assert_eq!(banner_release(banner).as_deref(), Some("6.12.1"));
        assert_eq!(banner_version(banner).as_deref(), Some("#2 SMP PREEMPT_DYNAMIC Tue Mar 4"));
        assert_eq!(banner_release("gibberish"), None);
        assert_eq!(banner_version("gibberish"), None);
    }

    #[test]
    fn meminfo_keeps_the_direct_map_and_the_total() {
        let text = "MemTotal:  24684084 kB\nMemFree: 1 kB\nDirectMap4k:   30720 kB\nHugePages_Total:  0\nDirectMap2M: odd kB\n";
        let want = BTreeMap::from([("DirectMap4k".to_owned(), 30_720), ("MemTotal".to_owned(), 24_684_084)]);
        assert_eq!(memory(text), want);
    }
}
