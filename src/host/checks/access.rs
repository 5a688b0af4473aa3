//! May this process load BPF programs, have them JITed, run them and learn where they lie?

use super::Check;
use crate::host::live::{Capability, Limit};
use crate::host::{Facts, Live, kernel};

/// Programs that a host should be able to hold apart from each other.
const PROGRAMS: u64 = 10_000;
/// Everything but fillers: objects, maps, plugs of the holes in the packs, counters, the run file.
const OTHER_FILES: u64 = 512;
/// One filler per program spaced out, and each filler is a classic filter on a socket of its own.
const FILES: u64 = PROGRAMS + OTHER_FILES;

const AS_ROOT: &str = "run as root (`sudo itlbench ...`)";

/// `net.core.bpf_jit_enable`: mode 0600 and only in the initial network namespace, so it may not be readable.
pub(super) fn jit(facts: &Facts) -> Check {
    let name = "JIT";
    let enable = "sysctl net.core.bpf_jit_enable=1";
    match facts.sysctl("net.core.bpf_jit_enable") {
        Some("1") => Check::ok(name, "`net.core.bpf_jit_enable` is 1"),
        None => Check::warn(
            name,
            "`net.core.bpf_jit_enable` cannot be read: not root, or in a network namespace of its own, or a kernel without \
             JIT",
        )
        .remedy("run as root in the initial network namespace to know"),
        Some("0") => Check::block(
            name,
            "`net.core.bpf_jit_enable` is 0: programs are interpreted and have no text to place (kernels with \
             CONFIG_BPF_JIT_ALWAYS_ON hold it at 1)",
        )
        .remedy(enable),
        Some(other) => Check::block(
            name,
            format!("`net.core.bpf_jit_enable` is {other}: the JIT dumps every image to the kernel log"),
        )
        .remedy(enable),
    }
}

/// `bpf_jit_blinding_enabled` and `bpf_jit_kallsyms_enabled`: 1 spares callers with `CAP_BPF` the blinding, but hides
/// symbols all the same.
pub(super) fn hardening(facts: &Facts, live: &Live) -> Check {
    let name = "JIT hardening";
    let value = match facts.sysctl("net.core.bpf_jit_harden") {
        Some("0") => return Check::ok(name, "`net.core.bpf_jit_harden` is 0: images are as the compiler made them"),
        None => return Check::warn(name, "`net.core.bpf_jit_harden` cannot be read").remedy(AS_ROOT),
        Some(value) => value,
    };
    let hidden = "images of others do not show in /proc/kallsyms";
    let finding = if value == "1" && live.holds_or_admin(Capability::Bpf) {
        format!("`net.core.bpf_jit_harden` is 1: no constant blinding for this process, but {hidden}")
    } else {
        format!(
            "`net.core.bpf_jit_harden` is {value}: constant blinding makes images longer, no direct tail calls are \
             emitted, and {hidden}"
        )
    };
    Check::warn(name, finding).remedy("sysctl net.core.bpf_jit_harden=0")
}

/// Loading `sched_cls` programs asks for `CAP_BPF` and `CAP_NET_ADMIN`; kernel-side counting for `CAP_PERFMON`.
pub(super) fn capabilities(live: &Live) -> Check {
    let name = "capabilities";
    if live.in_user_namespace {
        let finding = "in a user namespace of its own: the kernel asks for capabilities in the initial one";
        return Check::block(name, finding).remedy("run outside the container, as root");
    }
    if live.capabilities.is_none() && live.euid.is_none() {
        return Check::warn(name, "cannot be read from /proc/self/status").remedy("mount /proc");
    }
    let needed = [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];
    let missing: Vec<&str> =
        needed.into_iter().filter(|one| !live.holds_or_admin(*one)).map(Capability::name).collect();
    let user = live.euid.map_or("this process".to_owned(), |euid| format!("user id {euid}"));
    if !missing.is_empty() {
        let finding = format!("{user} lacks {} (CAP_SYS_ADMIN would do for them)", missing.join(", "));
        return Check::block(name, finding).remedy(AS_ROOT);
    }
    if !live.holds(Capability::SysAdmin) {
        let finding = format!("{user} lacks CAP_SYS_ADMIN: programs of others can be neither listed nor told apart");
        return Check::warn(name, finding).remedy(AS_ROOT);
    }
    Check::ok(name, format!("{user} may load BPF programs, run them, count in the kernel and list those of others"))
}

/// `kallsyms_show_value`, which `bpf_dump_raw_ok` asks: without it `jited_ksyms` come back as 0.
pub(super) fn addresses(facts: &Facts, live: &Live) -> Check {
    let name = "image addresses";
    let number = |key| facts.sysctl(key).and_then(|text| text.parse::<i32>().ok());
    let Some(restrict) = number("kernel.kptr_restrict") else {
        return Check::warn(name, "`kernel.kptr_restrict` cannot be read").remedy("mount /proc");
    };
    let setting = format!("`kernel.kptr_restrict` is {restrict}");
    let unseen = "`jited_ksyms` read 0, placement cannot be verified";
    if !(0..=1).contains(&restrict) {
        return Check::block(name, format!("{setting}, which holds for root too: {unseen}"))
            .remedy("sysctl kernel.kptr_restrict=1");
    }
    if live.holds(Capability::Syslog) {
        return Check::ok(name, format!("{setting} and CAP_SYSLOG is held: placement can be verified"));
    }
    if restrict == 0 && number("kernel.perf_event_paranoid").is_some_and(|level| level <= 1) {
        let finding = format!("{setting} and `kernel.perf_event_paranoid` at most 1: placement can be verified");
        return Check::ok(name, finding);
    }
    Check::block(name, format!("{setting} and CAP_SYSLOG is missing: {unseen}")).remedy(AS_ROOT)
}

pub(super) fn test_run(live: &Live) -> Option<Check> {
    let name = "test run";
    Some(match live.test_run.as_ref()? {
        Ok(()) => Check::ok(name, "BPF_PROG_TEST_RUN with repeat works"),
        Err(reason) => Check::block(name, format!("BPF_PROG_TEST_RUN failed: {reason}")).remedy(
            "use a kernel with BPF_PROG_TEST_RUN for `sched_cls` programs (4.12 or later), and lift seccomp filters",
        ),
    })
}

/// Lockdown of confidentiality takes `bpf_probe_read_kernel` and /proc/kcore, but neither BPF loading nor counting:
/// `perf_event_open` refuses only samples of interrupted registers then.
pub(super) fn lockdown(facts: &Facts) -> Check {
    let name = "lockdown";
    match facts.lockdown.as_deref() {
        None => Check::ok(name, "not in this kernel, or securityfs is not mounted"),
        Some("none") => Check::ok(name, "none"),
        Some("confidentiality") => Check::warn(
            name,
            "confidentiality: programs load and count, but `bpf_probe_read_kernel` and /proc/kcore are refused, so whether \
             images are mapped by 4 KiB or 2 MiB pages cannot be observed",
        )
        .remedy("boot without `lockdown=confidentiality` (`lockdown=integrity` is enough)"),
        Some(level) => {
            Check::ok(name, format!("{level}: kernel text cannot be written from user space; loading and counting work"))
        }
    }
}

/// `RLIMIT_NOFILE`. Measured programs are held by a prog array; fillers are not, while they are being placed.
pub(super) fn open_files(live: &Live) -> Check {
    let name = "open files";
    let Some(Limit { soft, hard }) = live.nofile else {
        return Check::warn(name, "RLIMIT_NOFILE cannot be read from /proc/self/limits").remedy("mount /proc");
    };
    let limits = format!("soft limit {}, hard limit {}", count(soft), count(hard));
    if hard >= FILES {
        return Check::ok(name, format!("{limits}: enough for the fillers of {PROGRAMS} programs"));
    }
    let room = hard.saturating_sub(OTHER_FILES);
    Check::warn(
        name,
        format!("{limits}: room for the fillers of about {room} programs; spacing {PROGRAMS} needs {FILES} files"),
    )
    .remedy(format!("as root `ulimit -n {FILES}` before the run, or LimitNOFILE={FILES} in the unit"))
}

/// Before 5.11 BPF memory was charged to `RLIMIT_MEMLOCK`; since then to the memory cgroup.
pub(super) fn locked_memory(facts: &Facts, live: &Live) -> Option<Check> {
    let name = "locked memory";
    if kernel::at_least(facts.kernel_release.as_deref()?, (5, 11))? {
        return None;
    }
    let limit = live.memlock?;
    if limit.hard == u64::MAX || live.holds(Capability::SysResource) {
        return Some(Check::ok(name, "RLIMIT_MEMLOCK can be lifted, as kernels before 5.11 need"));
    }
    let finding =
        format!("kernels before 5.11 charge programs to RLIMIT_MEMLOCK, here at most {} KiB", limit.hard / 1024);
    Some(Check::warn(name, finding).remedy("ulimit -l unlimited"))
}

fn count(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Level::{self, Block, Ok as Fine, Warn};

    fn with(sysctls: &[(&str, &str)]) -> Facts {
        let sysctls = sysctls.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Facts { sysctls, ..Facts::default() }
    }

    fn holding(held: &[Capability]) -> Live {
        let mask = held.iter().fold(0, |mask, one| mask | 1 << *one as u32);
        Live { euid: Some(1000), capabilities: Some(mask), ..Live::default() }
    }

    #[test]
    fn the_jit_must_be_on_and_quiet() {
        for (value, want) in [("1", Fine), ("0", Block), ("2", Block)] {
            assert_eq!(jit(&with(&[("net.core.bpf_jit_enable", value)])).level, want, "{value}");
        }
        assert_eq!(jit(&Facts::default()).level, Warn);
        let off = jit(&with(&[("net.core.bpf_jit_enable", "0")]));
        assert_eq!(off.remedy.as_deref(), Some("sysctl net.core.bpf_jit_enable=1"));
    }

    #[test]
    fn hardening_blinds_all_at_2_and_only_the_unprivileged_at_1() {
        let privileged = holding(&[Capability::Bpf]);
        let harden = |value| with(&[("net.core.bpf_jit_harden", value)]);
        assert_eq!(hardening(&harden("0"), &privileged).level, Fine);
        assert_eq!(hardening(&Facts::default(), &privileged).level, Warn);
        for (value, live, blinded) in [("1", &privileged, false), ("1", &holding(&[]), true), ("2", &privileged, true)]
        {
            let check = hardening(&harden(value), live);
            assert_eq!(check.level, Warn);
            assert_eq!(check.finding.contains("no direct tail calls"), blinded, "{value}: {}", check.finding);
            assert!(check.finding.contains("kallsyms"));
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        use Capability::{Bpf, NetAdmin, Perfmon, SysAdmin};
        let cases: [(&[Capability], Level, &[&str]); 5] = [
            (&[SysAdmin], Fine, &[]),
            (&[Bpf, NetAdmin, Perfmon], Warn, &["CAP_SYS_ADMIN"]),
            (&[Bpf, Perfmon], Block, &["lacks CAP_NET_ADMIN "]),
            (&[NetAdmin], Block, &["lacks CAP_BPF, CAP_PERFMON "]),
            (&[], Block, &["lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON "]),
        ];
        for (held, want, named) in cases {
            let check = capabilities(&holding(held));
            assert_eq!(check.level, want, "{held:?}");
            assert!(named.iter().all(|name| check.finding.contains(name)), "{held:?}: {}", check.finding);
        }
        assert_eq!(capabilities(&Live::default()).level, Warn, "unknown is not missing");
    }

    #[test]
    fn root_in_a_container_of_its_own_user_namespace_is_blocked() {
        let live = Live { euid: Some(0), capabilities: Some(u64::MAX), in_user_namespace: true, ..Live::default() };
        assert_eq!(capabilities(&live).level, Block);
    }

    #[test]
    fn addresses_follow_kallsyms_show_value() {
        use Capability::{SysAdmin, Syslog};
        let cases: [(&str, &str, &[Capability], Level); 9] = [
            ("0", "1", &[], Fine),
            ("0", "-1", &[], Fine),
            ("0", "2", &[], Block),
            ("0", "2", &[Syslog], Fine),
            ("0", "2", &[SysAdmin], Block),
            ("1", "-1", &[], Block),
            ("1", "4", &[Syslog], Fine),
            ("2", "-1", &[Syslog, SysAdmin], Block),
            ("4", "1", &[Syslog], Block),
        ];
        for (kptr, paranoid, held, want) in cases {
            let facts = with(&[("kernel.kptr_restrict", kptr), ("kernel.perf_event_paranoid", paranoid)]);
            assert_eq!(addresses(&facts, &holding(held)).level, want, "{kptr} {paranoid} {held:?}");
        }
        assert_eq!(addresses(&Facts::default(), &holding(&[Syslog])).level, Warn);
        let restricted = addresses(&with(&[("kernel.kptr_restrict", "2")]), &holding(&[Syslog]));
        assert_eq!(restricted.remedy.as_deref(), Some("sysctl kernel.kptr_restrict=1"));
    }

    #[test]
    fn a_refused_test_run_blocks_and_says_why() {
        let refused = Live { test_run: Some(Err("ENOTSUPP".to_owned())), ..Live::default() };
        let check = test_run(&refused).unwrap();
        assert_eq!(check.level, Block);
        assert!(check.finding.contains("ENOTSUPP"));
        assert_eq!(test_run(&Live { test_run: Some(Ok(())), ..Live::default() }).unwrap().level, Fine);
    }

    #[test]
    fn only_confidentiality_takes_something_away() {
        for (value, want) in
            [(None, Fine), (Some("none"), Fine), (Some("integrity"), Fine), (Some("confidentiality"), Warn)]
        {
            let facts = Facts { lockdown: value.map(str::to_owned), ..Facts::default() };
            assert_eq!(lockdown(&facts).level, want, "{value:?}");
        }
    }

    #[test]
    fn a_low_hard_limit_says_how_many_programs_fit() {
        let live = |hard| Live { nofile: Some(Limit { soft: 1024, hard }), ..Live::default() };
        assert_eq!(open_files(&live(FILES)).level, Fine);
        assert!(open_files(&live(u64::MAX)).finding.contains("hard limit unlimited"));
        let low = open_files(&live(4096));
        assert_eq!(low.level, Warn);
        assert!(low.finding.contains("about 3584 programs") && low.finding.contains("10512"), "{}", low.finding);
        assert_eq!(open_files(&live(FILES - 1)).level, Warn);
        assert_eq!(open_files(&Live::default()).level, Warn);
    }

    #[test]
    fn locked_memory_matters_only_before_5_11() {
        let facts = |release: &str| Facts { kernel_release: Some(release.to_owned()), ..Facts::default() };
        let live = |hard, held| Live { memlock: Some(Limit { soft: 65_536, hard }), ..holding(held) };
        assert_eq!(locked_memory(&facts("5.11.0"), &live(65_536, &[])), None);
        assert_eq!(locked_memory(&facts("5.10.1"), &live(65_536, &[])).unwrap().level, Warn);
        assert_eq!(locked_memory(&facts("5.10.1"), &live(u64::MAX, &[])).unwrap().level, Fine);
        assert_eq!(locked_memory(&facts("5.10.1"), &live(65_536, &[Capability::SysResource])).unwrap().level, Fine);
    }
}
