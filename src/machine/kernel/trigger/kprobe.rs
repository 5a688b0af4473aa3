//! Trigger `kprobe`: multi-kprobes on `bpf_modify_return_test_tp`, which nothing but a program of ours calls.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::tracepoint::{Calls, InTurn};
use crate::machine::Result;
use crate::machine::kernel::sys::attach;

/// Prepares the function.
pub fn open(programs: Arc<Vec<OwnedFd>>, empty: Vec<OwnedFd>) -> Result<InTurn> {
    let attach = |program: BorrowedFd<'_>| attach::kprobe(program, c"bpf_modify_return_test_tp");
    Ok(InTurn::new(Calls::load()?, attach, programs, empty))
}
