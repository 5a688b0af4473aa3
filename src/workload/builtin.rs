//! The workloads embedded in the binary, so that one copied file is enough.

/// Name and text of each, in the order in which they are listed.
pub const WORKLOADS: [(&str, &str); 3] = [
    ("chain", include_str!("../../workloads/chain.toml")),
    ("walk", include_str!("../../workloads/walk.toml")),
    ("sizes", include_str!("../../workloads/sizes.toml")),
];
