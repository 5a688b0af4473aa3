//! The workloads embedded in the binary, so that one copied file is enough.

/// Name and text of each, in the order in which they are listed.
pub const WORKLOADS: [(&str, &str); 6] = [
    ("chain", include_str!("../../workloads/chain.toml")),
    ("walk", include_str!("../../workloads/walk.toml")),
    ("sizes", include_str!("../../workloads/sizes.toml")),
    ("zipf", include_str!("../../workloads/zipf.toml")),
    ("inline", include_str!("../../workloads/inline.toml")),
    ("sweep", include_str!("../../workloads/sweep.toml")),
];
