//! The programs that hit a hook, each loaded alone: what one of them lacks in this kernel says nothing of the others.

use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::{Object, ObjectBuilder};

use crate::machine::kernel::programs::load_error;
use crate::machine::{MachineError, Result};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hits.bpf.o"));

/// Loads `name` and nothing else of bpf/hits.bpf.c.
pub fn load(name: &str) -> Result<Object> {
    load_alone(OBJECT, name)
}

/// Loads `name` and nothing else of `object`.
pub fn load_alone(object: &[u8], name: &str) -> Result<Object> {
    let mut open = ObjectBuilder::default().open_memory(object).map_err(|error| load_error("BPF object", &error))?;
    for mut program in open.progs_mut() {
        let wanted = program.name() == name;
        program.set_autoload(wanted);
    }
    open.load().map_err(|error| load_error(&format!("BPF program `{name}`"), &error))
}

/// A descriptor of its own for program `name` of `object`.
pub fn descriptor(object: &Object, name: &str) -> Result<OwnedFd> {
    let failed = |error: String| MachineError::failed(format!("failed to find BPF program `{name}`: {error}"));
    let program = object.progs().find(|program| program.name() == name);
    let program = program.ok_or_else(|| failed("not in the object".to_owned()))?;
    program.as_fd().try_clone_to_owned().map_err(|error| failed(error.to_string()))
}

/// Loads `name` and returns its descriptor alone.
pub fn program(name: &str) -> Result<OwnedFd> {
    descriptor(&load(name)?, name)
}
