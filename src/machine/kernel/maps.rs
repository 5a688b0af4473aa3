//! The maps one load of a case uses: prog arrays through which its programs jump, and what they count in.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use super::pace::Pace;
use crate::machine::{MachineError, Result};
use crate::model::visits::Deal;

/// Slots of one small prog array. The kernel walks all programs that jump through an array at each of its updates
/// (`prog_array_map_poke_run`), so many small arrays load in linear time where a large one takes quadratic time.
pub const SLOTS: u32 = 64;

/// The maps one load of a case uses.
#[derive(Debug)]
pub struct Maps {
    /// How many are run.
    pub programs: u32,
    /// Every program that is run, by slot, where tail calls reach them.
    pub by_position: Option<MapHandle>,
    /// Which position has which slots.
    pub deal: Deal,
    /// Every program that is run, by position, where they are attached.
    pub(super) descriptors: RefCell<Vec<Option<OwnedFd>>>,
    /// A u32 that is not 0 in the check pass, where programs are attached.
    pub(super) checking: MapHandle,
    /// The same programs in small arrays, for direct jumps; empty for `walk`.
    pub successors: Vec<MapHandle>,
    /// Slots of each of those.
    pub slots: u32,
    /// A u32 per position, counted in the check pass.
    pub executed: MapHandle,
}

impl Maps {
    /// Whether the program of a position is run; if not, nothing here holds it.
    pub fn runs(&self, position: u32) -> bool {
        !self.deal.of(position).is_empty()
    }

    /// Puts a program where its callers jump to, or keeps it to be attached. The maps hold it from now on; its descriptor may be
    /// closed.
    pub fn publish(&self, position: u32, program: BorrowedFd<'_>) -> io::Result<()> {
        let Some(by_position) = &self.by_position else {
            let own = program.try_clone_to_owned()?;
            if let Some(slot) = self.descriptors.borrow_mut().get_mut(position as usize) {
                *slot = Some(own);
            }
            return Ok(());
        };
        for slot in self.deal.of(position) {
            set_program(by_position, slot, program).map_err(io::Error::other)?;
        }
        match self.successors.get((position / self.slots) as usize) {
            Some(array) => set_program(array, position % self.slots, program).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    /// The programs to be attached, by position; empty where tail calls reach them.
    pub fn attachable(&self) -> Vec<OwnedFd> {
        self.descriptors.take().into_iter().flatten().collect()
    }

    /// Begins or ends the check pass of attached programs.
    pub fn set_checking(&self, checking: bool) -> Result<()> {
        self.checking
            .update(&0u32.to_ne_bytes(), &u32::from(checking).to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| MachineError::failed(format!("failed to switch counting: {error}")))
    }

    /// Lets go of the programs. Deleting the target of a direct jump waits for an RCU grace period each
    /// (`bpf_arch_poke_desc_update`), 11 ms a program on an idle box; replacing it does not. So every jump is led to `empty`, and
    /// the arrays are to be kept until the programs that jump through them are gone.
    pub fn retire(&mut self, empty: BorrowedFd<'_>) -> Vec<MapHandle> {
        for array in &self.successors {
            for slot in 0..self.slots {
                // If it cannot be replaced it is deleted when the array goes: slower, and as clean.
                let _ = set_program(array, slot, empty);
            }
        }
        std::mem::take(&mut self.successors)
    }

    /// Lets go of every program that is still here: all, if a load was broken off, and none the second time.
    pub fn unpublish(&mut self, pace: &mut Pace<'_>) {
        for program in self.descriptors.take().into_iter().flatten() {
            drop(program);
            pace.step();
        }
        let Some(by_position) = self.by_position.take() else { return };
        for position in 0..self.programs {
            let slots = self.deal.of(position);
            if slots.filter(|slot| by_position.delete(&slot.to_ne_bytes()).is_ok()).count() > 0 {
                pace.step();
            }
        }
    }

    /// Begins counting anew.
    pub fn clear_executed(&self) -> Result<()> {
        let zeros = vec![0; self.executed.value_size() as usize];
        self.executed
            .update(&0u32.to_ne_bytes(), &zeros, MapFlags::ANY)
            .map_err(|error| MachineError::failed(format!("failed to clear execution counts: {error}")))
    }

    /// Executions by position, as counted in the check pass.
    pub fn executed(&self, programs: u32) -> Result<Vec<u32>> {
        let bytes = self
            .executed
            .lookup(&0u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| MachineError::failed(format!("failed to read execution counts: {error}")))?
            .unwrap_or_default();
        let counts = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        Ok(counts.take(programs as usize).collect())
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        self.unpublish(&mut Pace::blind());
    }
}

/// Stores `program` in a slot of a prog array.
pub fn set_program(array: &MapHandle, slot: u32, program: BorrowedFd<'_>) -> libbpf_rs::Result<()> {
    array.update(&slot.to_ne_bytes(), &program.as_raw_fd().to_ne_bytes(), MapFlags::ANY)
}

/// A prog array: it holds its programs until its own descriptor is closed, so no program needs one.
pub fn prog_array(slots: u32) -> Result<MapHandle> {
    map(MapType::ProgArray, "itlbench_progs", 4, slots)
}

/// A map with keys of four bytes.
pub fn map(kind: MapType, name: &str, value_size: u32, entries: u32) -> Result<MapHandle> {
    let opts =
        libbpf_sys::bpf_map_create_opts { sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _, ..Default::default() };
    MapHandle::create(kind, Some(name), 4, value_size, entries, &opts)
        .map_err(|error| load_error(&format!("BPF map `{name}` of {entries} entries"), &error))
}

/// Explains why the kernel would not load `what`.
pub fn load_error(what: &str, error: &libbpf_rs::Error) -> MachineError {
    match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => MachineError::host_cannot(
            format!("failed to load {what}: permission denied"),
            "run as root, or with CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYSLOG",
        ),
        _ if lacks_bpf(error) => MachineError::host_cannot(
            format!("failed to load {what}: this kernel has no bpf(2)"),
            "build it with CONFIG_BPF_SYSCALL and CONFIG_BPF_JIT",
        ),
        _ => MachineError::failed(format!("failed to load {what}: {error:#}")),
    }
}

/// Whether the system call is missing: ENOSYS, and not EOPNOTSUPP, which is of the same kind.
pub fn lacks_bpf(error: &libbpf_rs::Error) -> bool {
    format!("{error:#}").contains("(os error 38)")
}

/// `doing` needs programs with code, and they are interpreted.
pub fn not_jited(doing: &str) -> MachineError {
    let remedy = match std::path::Path::new("/proc/sys/net/core/bpf_jit_enable").exists() {
        true => "set `sysctl net.core.bpf_jit_enable=1`",
        false => "build the kernel with CONFIG_BPF_JIT",
    };
    MachineError::host_cannot(format!("{doing}: programs are not JITed"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_system_call_is_told_from_one_that_lacks_a_feature() {
        let said = |errno| load_error("BPF object", &libbpf_rs::Error::from_raw_os_error(errno)).to_string();
        assert!(
            said(38).contains("this kernel has no bpf(2)") && said(38).contains("CONFIG_BPF_SYSCALL"),
            "{}",
            said(38)
        );
        assert!(!said(95).contains("CONFIG_BPF_SYSCALL"), "{}", said(95));
    }
}
