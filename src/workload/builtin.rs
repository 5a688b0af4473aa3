//! The workloads embedded in the binary, so that one copied file is enough.

/// Name and text of each, in the order in which they are listed.
pub const WORKLOADS: [(&str, &str); 17] = [
    ("chain", include_str!("../../workloads/chain.toml")),
    ("walk", include_str!("../../workloads/walk.toml")),
    ("sizes", include_str!("../../workloads/sizes.toml")),
    ("zipf", include_str!("../../workloads/zipf.toml")),
    ("inline", include_str!("../../workloads/inline.toml")),
    ("sweep", include_str!("../../workloads/sweep.toml")),
    ("tracepoint", include_str!("../../workloads/tracepoint.toml")),
    ("cls", include_str!("../../workloads/cls.toml")),
    ("cgroup", include_str!("../../workloads/cgroup.toml")),
    ("uprobe", include_str!("../../workloads/uprobe.toml")),
    ("xdp", include_str!("../../workloads/xdp.toml")),
    ("socket", include_str!("../../workloads/socket.toml")),
    ("syscall", include_str!("../../workloads/syscall.toml")),
    ("fentry", include_str!("../../workloads/fentry.toml")),
    ("kprobe", include_str!("../../workloads/kprobe.toml")),
    ("fleet", include_str!("../../workloads/fleet.toml")),
    ("tools", include_str!("../../workloads/tools.toml")),
];
