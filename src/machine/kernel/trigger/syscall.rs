//! Trigger `syscall`: a system call for each program. Most of a window is spent in the call and not in the program: kept to show
//! what a measurement by BPF_PROG_TEST_RUN alone can see.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::attached::Point;
use crate::machine::kernel::sys;

/// Programs to call one after the other.
#[derive(Debug)]
pub struct Calls {
    programs: Arc<Vec<OwnedFd>>,
    /// Calls of each in a row.
    each: usize,
}

impl Calls {
    /// Calls every program `each` times.
    pub fn new(programs: Arc<Vec<OwnedFd>>, each: usize) -> Self {
        Self { programs, each }
    }
}

impl Point for Calls {
    fn hit(&mut self, times: u32) -> io::Result<()> {
        for _ in 0..times {
            for program in self.programs.iter() {
                for _ in 0..self.each {
                    sys::test_run_raw(program.as_fd())?;
                }
            }
        }
        Ok(())
    }

    fn again(&self) -> io::Result<Self> {
        Ok(Self { programs: Arc::clone(&self.programs), each: self.each })
    }
}
