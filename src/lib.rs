//! itlbench measures what the placement of JITed BPF code costs in iTLB misses and cycles on Linux x86_64.
//!
//! The modules follow the flow of data: a [`workload`] becomes a plan of cases; [`placement`] decides where programs go and
//! says what their footprint is; [`counters`] and [`samples`] are what is counted; a [`trial`] puts them together on a
//! [`machine`] and leaves a record in the [`runfile`]; [`compare`] and [`report`] read run files and nothing else.

pub mod workload;
pub mod placement;
pub mod model;
pub mod twin;
pub mod victim;
pub mod counters;
pub mod samples;
pub mod sampling;
pub mod trial;
pub mod runfile;
pub mod stats;
pub mod compare;
pub mod survey;
pub mod vm;
pub mod report;
pub mod host;
pub mod caveat;
pub mod machine;
pub mod selftest;
pub mod cli;
