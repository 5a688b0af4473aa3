//! What is true of this process now, and so no part of the fingerprint.

use std::path::Path;

use super::tree::{Tree, value};

/// A capability by its bit, as `linux/capability.h` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    NetAdmin = 12,
    SysAdmin = 21,
    SysResource = 24,
    Syslog = 34,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    /// As capabilities(7) spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Syslog => "CAP_SYSLOG",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// A soft and a hard resource limit; `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

/// What this process may do, and what asking the kernel gave. [`Live::read`] fills what `/proc` answers; the rest stays
/// empty until a machine probes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    pub euid: Option<u32>,
    /// `CapEff` of `/proc/self/status`.
    pub capabilities: Option<u64>,
    /// In a user namespace of its own a capability says nothing about BPF and perf, which ask the initial one.
    pub in_user_namespace: bool,
    /// `RLIMIT_NOFILE`.
    pub nofile: Option<Limit>,
    /// `RLIMIT_MEMLOCK`, bytes.
    pub memlock: Option<Limit>,
    /// Load average of the last minute, runnable tasks.
    pub load: Option<f64>,
    /// BPF programs of others; `None` if they were not or could not be listed.
    pub foreign_programs: Option<u32>,
    /// Events that were opened to see whether they can be, by name.
    pub events: Vec<(String, Result<(), String>)>,
    /// Whether `BPF_PROG_TEST_RUN` works; `None` if it was not tried.
    pub test_run: Option<Result<(), String>>,
}

impl Live {
    /// Reads `/proc/self` and the load average under `root`. Never fails: what cannot be read is absent.
    pub fn read(root: &Path) -> Self {
        let tree = Tree::new(root);
        let status = tree.text("proc/self/status").unwrap_or_default();
        let limits = tree.text("proc/self/limits").unwrap_or_default();
        Self {
            euid: value(&status, "Uid").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok()),
            capabilities: value(&status, "CapEff").and_then(|mask| u64::from_str_radix(mask, 16).ok()),
            in_user_namespace: tree.text("proc/self/uid_map").is_some_and(|map| !is_initial(&map)),
            nofile: limit(&limits, "Max open files"),
            memlock: limit(&limits, "Max locked memory"),
            load: tree.text("proc/loadavg").and_then(|text| first_number(&text)),
            ..Self::default()
        }
    }

    /// Whether `capability` holds in the initial user namespace. Without a mask, root is taken to hold them all.
    pub fn holds(&self, capability: Capability) -> bool {
        let held = self.capabilities.map_or(self.euid == Some(0), |mask| mask & (1 << capability as u32) != 0);
        held && !self.in_user_namespace
    }

    /// As the kernel's `bpf_token_capable` and `perfmon_capable` do: `CAP_SYS_ADMIN` stands in for the narrower ones.
    pub fn holds_or_admin(&self, capability: Capability) -> bool {
        self.holds(capability) || self.holds(Capability::SysAdmin)
    }
}

/// Only the initial user namespace maps all ids onto themselves.
fn is_initial(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// A finite first word, so that no output ever holds a NaN.
fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok().filter(|number: &f64| number.is_finite())
}

fn limit(limits: &str, name: &str) -> Option<Limit> {
    let mut words = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
    let mut next = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some(Limit { soft: next()?, hard: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_by_name_and_may_be_unlimited() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 20000                files     \n\
                    Max locked memory         8388608              unlimited            bytes     \n";
        assert_eq!(limit(text, "Max open files"), Some(Limit { soft: 1024, hard: 20_000 }));
        assert_eq!(limit(text, "Max locked memory"), Some(Limit { soft: 8_388_608, hard: u64::MAX }));
        assert_eq!(limit(text, "Max pending signals"), None);
    }

    #[test]
    fn capabilities_count_only_in_the_initial_user_namespace() {
        let root = Live { capabilities: Some(1 << 39), ..Live::default() };
        assert!(root.holds(Capability::Bpf));
        assert!(!root.holds(Capability::Perfmon));
        assert!(!Live { in_user_namespace: true, ..root }.holds(Capability::Bpf));
        assert!(is_initial("         0          0 4294967295"));
        assert!(!is_initial("         0       1000          1"));
    }

    #[test]
    fn admin_stands_in_for_narrower_capabilities_and_root_for_an_unreadable_mask() {
        let admin = Live { capabilities: Some(1 << 21), ..Live::default() };
        assert!(admin.holds_or_admin(Capability::NetAdmin));
        assert!(!admin.holds(Capability::NetAdmin));
        assert!(Live { euid: Some(0), ..Live::default() }.holds(Capability::Syslog));
        assert!(!Live::default().holds(Capability::Syslog));
    }

    #[test]
    fn this_process_reads_itself() {
        let live = Live::read(Path::new("/"));
        assert!(live.euid.is_some() && live.capabilities.is_some() && live.load.is_some());
        assert!(live.nofile.is_some_and(|limit| limit.soft > 0 && limit.soft <= limit.hard));
    }

    #[test]
    fn a_load_that_is_no_number_is_absent() {
        assert_eq!(first_number("0.11 0.18 0.12 1/97 7566"), Some(0.11));
        assert_eq!(first_number("nan 0 0"), None);
        assert_eq!(first_number(""), None);
    }
}
