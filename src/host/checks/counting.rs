//! What can this host count?

use super::Check;
use crate::host::live::Capability;
use crate::host::{Facts, Live};

/// The core PMUs: `cpu`, or one per kind of core on hybrid parts.
const CORE_PMUS: [&str; 3] = ["cpu", "cpu_core", "cpu_atom"];

pub(super) fn pmu(facts: &Facts) -> Check {
    let name = "PMU";
    let present: Vec<String> = CORE_PMUS
        .iter()
        .filter_map(|pmu| facts.pmus.get(*pmu).map(|pmu_type| format!("`{pmu}` (type {pmu_type})")))
        .collect();
    if present.is_empty() {
        let finding = "no core PMU: results are timed only, cycles and iTLB misses stay empty";
        let remedy = if facts.hypervisor.is_some() {
            "run on bare metal, or give the guest a virtual PMU"
        } else {
            "enable the PMU in the firmware, or boot a kernel that knows this CPU"
        };
        return Check::warn(name, finding).remedy(remedy);
    }
    if present.len() > 1 {
        let finding =
            format!("{}: one event name counts different things on the two kinds of core", present.join(", "));
        return Check::warn(name, finding).remedy("keep to one kind of core with `--cpu`");
    }
    Check::ok(name, present.join(", "))
}

/// Events that were opened to see whether they can be; refusals are put together by their reason.
pub(super) fn events(live: &Live) -> Option<Check> {
    let name = "events";
    if live.events.is_empty() {
        return None;
    }
    let opened: Vec<&str> =
        live.events.iter().filter(|(_, result)| result.is_ok()).map(|(event, _)| event.as_str()).collect();
    let opens = if opened.is_empty() { "none opens".to_owned() } else { format!("{} open", opened.join(", ")) };
    let refusals = refusals(&live.events);
    if refusals.is_empty() {
        return Some(Check::ok(name, opens));
    }
    Some(Check::warn(name, format!("{opens}; refused: {}", refusals.join("; "))))
}

fn refusals(events: &[(String, Result<(), String>)]) -> Vec<String> {
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    for (event, result) in events {
        let Err(reason) = result else { continue };
        match by_reason.iter_mut().find(|(known, _)| known == reason) {
            Some((_, names)) => names.push(event),
            None => by_reason.push((reason, vec![event])),
        }
    }
    by_reason.into_iter().map(|(reason, names)| format!("{} ({reason})", names.join(", "))).collect()
}

/// `perf_allow_kernel` asks for `CAP_PERFMON` from level 2 on, `perf_allow_cpu` from level 1 on. Debian and Ubuntu added
/// levels from 3 on, which ask for `CAP_SYS_ADMIN`.
pub(super) fn paranoid(facts: &Facts, live: &Live) -> Check {
    let name = "perf events";
    let Some(level) = facts.sysctl("kernel.perf_event_paranoid").and_then(|text| text.parse::<i32>().ok()) else {
        return Check::warn(
            name,
            "`kernel.perf_event_paranoid` cannot be read: a kernel without perf events counts nothing",
        )
        .remedy("use a kernel with CONFIG_PERF_EVENTS");
    };
    let allowed = match level {
        ..=0 => true,
        1 | 2 => live.holds_or_admin(Capability::Perfmon),
        _ => live.holds(Capability::SysAdmin),
    };
    let setting = format!("`kernel.perf_event_paranoid` is {level}");
    if allowed {
        return Check::ok(name, format!("{setting}: this process may count on the kernel side"));
    }
    let denied = match level {
        1 => "counting a whole CPU needs CAP_PERFMON",
        2 => "counting on the kernel side, where BPF runs, needs CAP_PERFMON",
        _ => "any counting needs CAP_SYS_ADMIN (a level that distributions add)",
    };
    Check::warn(name, format!("{setting}: {denied}")).remedy("run as root, or `sysctl kernel.perf_event_paranoid=0`")
}

/// The hard lockup detector pins one `cycles` event per CPU; `validate_group` does not see it, so that a group opens and
/// then never counts.
pub(super) fn watchdog(facts: &Facts) -> Check {
    let name = "NMI watchdog";
    match facts.sysctl("kernel.nmi_watchdog") {
        None => Check::ok(name, "not seen on this host"),
        Some("0") => Check::ok(name, "off"),
        Some(_) => Check::warn(name, "on: it holds one counter of every CPU, so that a full group never gets to count")
            .remedy("sysctl kernel.nmi_watchdog=0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Level::{self, Ok as Fine, Warn};

    fn with_pmus(pmus: &[(&str, u32)]) -> Facts {
        Facts { pmus: pmus.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(), ..Facts::default() }
    }

    fn with_sysctl(key: &str, value: &str) -> Facts {
        Facts { sysctls: [(key.to_owned(), value.to_owned())].into(), ..Facts::default() }
    }

    #[test]
    fn one_core_pmu_is_right_none_or_two_are_warned_of() {
        let cases: [(&[(&str, u32)], Level); 4] = [
            (&[("cpu", 4), ("msr", 9)], Fine),
            (&[("cpu_core", 4)], Fine),
            (&[("cpu_core", 4), ("cpu_atom", 10)], Warn),
            (&[("msr", 9), ("uncore_imc_0", 14)], Warn),
        ];
        for (pmus, want) in cases {
            assert_eq!(pmu(&with_pmus(pmus)).level, want, "{pmus:?}");
        }
        let guest = Facts { hypervisor: Some("KVM".to_owned()), ..Facts::default() };
        assert!(pmu(&guest).remedy.unwrap().contains("virtual PMU"));
    }

    #[test]
    fn refused_events_are_put_together_by_reason() {
        let event = |name: &str, result: Result<(), &str>| (name.to_owned(), result.map_err(str::to_owned));
        let all = Live { events: vec![event("cycles", Ok(())), event("msr/tsc/", Ok(()))], ..Live::default() };
        assert_eq!(events(&all), Some(Check::ok("events", "cycles, msr/tsc/ open")));
        let some = vec![
            event("cycles", Err("ENOENT")),
            event("iTLB-loads", Err("EINVAL")),
            event("instructions", Err("ENOENT")),
            event("msr/tsc/", Ok(())),
        ];
        let check = events(&Live { events: some, ..Live::default() }).unwrap();
        assert_eq!(check.level, Warn);
        assert_eq!(check.finding, "msr/tsc/ open; refused: cycles, instructions (ENOENT); iTLB-loads (EINVAL)");
        let none = Live { events: vec![event("cycles", Err("ENOENT"))], ..Live::default() };
        assert_eq!(events(&none).unwrap().finding, "none opens; refused: cycles (ENOENT)");
    }

    #[test]
    fn each_paranoid_level_asks_for_its_capability() {
        use Capability::{Perfmon, SysAdmin};
        let cases: [(&str, &[Capability], Level); 9] = [
            ("-1", &[], Fine),
            ("0", &[], Fine),
            ("1", &[], Warn),
            ("2", &[], Warn),
            ("2", &[Perfmon], Fine),
            ("2", &[SysAdmin], Fine),
            ("3", &[Perfmon], Warn),
            ("4", &[SysAdmin], Fine),
            ("gibberish", &[SysAdmin], Warn),
        ];
        for (level, held, want) in cases {
            let mask = held.iter().fold(0, |mask, one| mask | 1 << *one as u32);
            let live = Live { capabilities: Some(mask), ..Live::default() };
            let check = paranoid(&with_sysctl("kernel.perf_event_paranoid", level), &live);
            assert_eq!(check.level, want, "{level} {held:?}");
        }
    }

    #[test]
    fn the_watchdog_takes_a_counter_only_when_on() {
        assert_eq!(watchdog(&with_sysctl("kernel.nmi_watchdog", "1")).level, Warn);
        assert_eq!(watchdog(&with_sysctl("kernel.nmi_watchdog", "0")).level, Fine);
        assert_eq!(watchdog(&Facts::default()).level, Fine);
    }
}
