//! Fillers: programs that are never run and take an exact number of chunks.
//!
//! A classic BPF filter on a socket needs no verifier and is the cheapest large image; its length cannot be asked for, so
//! it is calibrated by the distance between two programs loaded around it. eBPF fillers take over where a descriptor each
//! would be too many, and where the filter would be too large for a small gap; their length is asked for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use libbpf_rs::{MapCore, MapHandle};
use libbpf_sys::bpf_insn;
use socket2::{Domain, SockFilter, Socket, Type};

use super::pace::Pace;
use super::programs::{prog_array, set_program};
use super::settle::Extent;
use super::sys;
use crate::machine::{MachineError, Result};
use crate::placement::planner::FillerKind;
use crate::placement::{Image, pack};

/// `A /= K`, with a K that is no power of two: among the most bytes of JITed code per classic instruction.
const CBPF_DIV: SockFilter = SockFilter::new(0x34, 0, 0, 0x3039);
/// `return 0`.
const CBPF_RET: SockFilter = SockFilter::new(0x06, 0, 0, 0);
/// Chunks of the longest eBPF filler.
const LONGEST_EBPF: u32 = 512;
/// Most instructions in a classic filter (`BPF_MAXINSNS`).
const CBPF_MOST: u32 = 4096;

/// `BPF_ALU64 | BPF_DIV | BPF_K`, `BPF_ALU64 | BPF_MOV | BPF_K`, `BPF_JMP | BPF_EXIT`.
const DIV64: u8 = 0x37;
const MOV64: u8 = 0xb7;
const EXIT: u8 = 0x95;

/// Slots of the prog array that holds eBPF fillers and plugs.
const HOLD_SLOTS: u32 = 1 << 16;

/// Observations, of 20, that a line must explain: at least four of each kind.
const LEAST_EXPLAINED: usize = 14;

/// Length of a filler as a line: `fixed + steps * step`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Length {
    fixed: u32,
    step: u32,
}

impl Length {
    /// Steps that fill exactly `chunks`; `None` if the smallest filler is larger, or no whole number of steps fits.
    fn steps_for(self, chunks: u32) -> Option<u32> {
        let steps = pack::jited_bytes_for(chunks).checked_sub(self.fixed)? / self.step;
        (pack::chunks(self.fixed + steps * self.step) == chunks).then_some(steps)
    }
}

/// Makes fillers of a wanted size.
#[derive(Debug)]
pub struct Fillers {
    ebpf: Length,
    cbpf: Option<Length>,
}

/// What one load of a case holds besides the measured programs: fillers and plugs.
#[derive(Debug)]
pub struct Held {
    sockets: Vec<Socket>,
    most_sockets: usize,
    arrays: Arrays,
    /// Plugs: of the measured programs' type, which may be another one. A prog array takes programs of one type only.
    plugs: Arrays,
}

/// Prog arrays that hold programs without a descriptor each.
#[derive(Debug, Default)]
struct Arrays {
    arrays: Vec<MapHandle>,
    slots_used: u32,
}

impl Arrays {
    /// Unloads what they hold.
    fn release(&mut self, pace: &mut Pace<'_>) {
        for array in self.arrays.drain(..) {
            for slot in 0..HOLD_SLOTS {
                // Slots are filled from the first on.
                if array.delete(&slot.to_ne_bytes()).is_err() {
                    break;
                }
                pace.step();
            }
        }
        self.slots_used = 0;
    }

    fn keep(&mut self, program: &OwnedFd) -> Result<()> {
        if self.arrays.is_empty() || self.slots_used == HOLD_SLOTS {
            self.arrays.push(prog_array(HOLD_SLOTS)?);
            self.slots_used = 0;
        }
        if let Some(array) = self.arrays.last() {
            set_program(array, self.slots_used, program.as_fd())
                .map_err(|error| MachineError::failed(format!("failed to hold a filler in a prog array: {error}")))?;
        }
        self.slots_used += 1;
        Ok(())
    }
}

impl Held {
    /// Holds nothing yet, and at most `most_sockets` descriptors.
    pub fn new(most_sockets: usize) -> Self {
        Self { sockets: Vec::new(), most_sockets, arrays: Arrays::default(), plugs: Arrays::default() }
    }

    /// Unloads all of it.
    pub fn release(&mut self, pace: &mut Pace<'_>) {
        for socket in self.sockets.drain(..) {
            drop(socket);
            pace.step();
        }
        self.arrays.release(pace);
        self.plugs.release(pace);
    }

    /// Keeps a filler loaded without a descriptor.
    pub fn keep(&mut self, program: &OwnedFd) -> Result<()> {
        self.arrays.keep(program)
    }

    /// Keeps a program like the measured ones loaded without a descriptor.
    pub fn keep_plug(&mut self, program: &OwnedFd) -> Result<()> {
        self.plugs.keep(program)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release(&mut Pace::blind());
    }
}

impl Fillers {
    /// Calibrates both kinds; `probe` loads a measured program and says where it landed.
    pub fn calibrate(probe: &mut dyn FnMut() -> Result<(OwnedFd, Image)>) -> Result<Self> {
        let (short, long) = (ebpf_length(8)?, ebpf_length(40)?);
        let step = (long - short) / 32;
        let ebpf = Length { fixed: short - 8 * step, step };
        Ok(Self { ebpf, cbpf: calibrate_cbpf(probe)? })
    }

    /// Chunks of the longest filler that loads cheaply: a classic filter of almost as many instructions as one may have. An eBPF
    /// filler of that size passes the verifier too.
    pub fn longest(&self) -> u32 {
        match self.cbpf {
            Some(length) => (length.fixed + (CBPF_MOST - 2) * length.step) / pack::CHUNK_BYTES as u32 - 1,
            None => LONGEST_EBPF,
        }
    }

    /// Loads a filler of exactly `chunks` chunks, or of several programs that add up to them; of `kind` if it can be.
    pub fn load(&self, chunks: u32, kind: FillerKind, held: &mut Held) -> Result<()> {
        let classic = self.cbpf.filter(|_| kind == FillerKind::Classic && held.sockets.len() < held.most_sockets);
        let steps = classic.and_then(|length| length.steps_for(chunks)).filter(|steps| *steps < CBPF_MOST - 1);
        if let Some(steps) = steps {
            held.sockets.push(cbpf_filler(steps).map_err(|error| load_failed("filler", &error))?);
            return Ok(());
        }
        match self.ebpf.steps_for(chunks) {
            Some(steps) => held.keep(&ebpf_filler(steps).map_err(|error| load_failed("filler", &error))?),
            None if chunks > 1 => {
                self.load(chunks - 1, kind, held)?;
                self.load(1, kind, held)
            }
            None => Err(MachineError::failed("failed to make a filler of one chunk: the smallest program is larger")),
        }
    }

    /// A bare classic filler of `chunks`, for comparison; `None` if no filter has that size.
    pub fn bare(&self, chunks: u32) -> Option<io::Result<Socket>> {
        Some(cbpf_filler(self.cbpf?.steps_for(chunks)?))
    }
}

/// Explains why the kernel would not load a program.
pub fn load_failed(what: &str, error: &io::Error) -> MachineError {
    /// `ENOTSUPP`, internal to the kernel: `bpf_prog_select_runtime` when no JIT memory was to be had.
    const ENOTSUPP: i32 = 524;
    match error.raw_os_error() {
        Some(ENOTSUPP) => MachineError::host_cannot(
            format!("failed to load {what}: error 524 (ENOTSUPP), the kernel's memory for JITed code is full"),
            "use fewer programs or --stride 4k, or raise net.core.bpf_jit_limit; the module area holds 1 GiB at most",
        ),
        Some(code) if code == rustix::io::Errno::MFILE.raw_os_error() => MachineError::host_cannot(
            format!("failed to load {what}: EMFILE, too many open descriptors"),
            "raise the hard limit of RLIMIT_NOFILE (`ulimit -Hn`)",
        ),
        Some(code) if code == rustix::io::Errno::PERM.raw_os_error() => MachineError::host_cannot(
            format!("failed to load {what}: EPERM"),
            "run as root, or with CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYSLOG",
        ),
        _ => MachineError::failed(format!("failed to load {what}: {error}")),
    }
}

fn cbpf_filler(steps: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    let filter: Vec<SockFilter> = (0..steps).map(|_| CBPF_DIV).chain([CBPF_RET]).collect();
    socket.attach_filter(&filter)?;
    Ok(socket)
}

fn ebpf_filler(steps: u32) -> io::Result<OwnedFd> {
    let insn = |code: u8, imm: i32| {
        let mut insn = bpf_insn { code, imm, ..Default::default() };
        insn.set_dst_reg(0);
        insn
    };
    let mut insns = vec![insn(MOV64, 0)];
    insns.extend(std::iter::repeat_n(insn(DIV64, 0x3039), steps as usize));
    insns.push(insn(EXIT, 0));
    sys::load_sched_cls(&insns)
}

/// The smallest program, and where it lies.
pub fn smallest() -> Result<(OwnedFd, Extent)> {
    let program = ebpf_filler(0).map_err(|error| load_failed("filler", &error))?;
    let image = sys::image(program.as_fd())
        .map_err(|error| MachineError::failed(format!("failed to query filler: {error}")))?;
    Ok((program, Extent::of(&image)))
}

fn ebpf_length(steps: u32) -> Result<u32> {
    let program = ebpf_filler(steps).map_err(|error| load_failed("filler", &error))?;
    let image = sys::image(program.as_fd())
        .map_err(|error| MachineError::failed(format!("failed to query filler: {error}")))?;
    Ok(image.len)
}

/// Finds the length of classic fillers from the chunks they take between two programs. `None` if others keep loading in
/// between, so that no line fits what was seen; eBPF fillers do the work then.
fn calibrate_cbpf(probe: &mut dyn FnMut() -> Result<(OwnedFd, Image)>) -> Result<Option<Length>> {
    const ATTEMPTS: u32 = 8;
    /// Programs of an earlier run are freed on a work queue; while they are, holes open below.
    const BETWEEN: Duration = Duration::from_millis(150);
    let steps = calibration_steps();
    // Held over all attempts: what an attempt has filled stays filled.
    let (mut programs, mut sockets) = (Held::new(0), Vec::new());
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(BETWEEN);
        }
        plug(probe, &mut programs)?;
        let mut seen = Vec::new();
        for &steps in &steps {
            let (before_fd, before) = probe()?;
            sockets.push(cbpf_filler(steps).map_err(|error| load_failed("filler", &error))?);
            let (after_fd, after) = probe()?;
            if let Some(gap) = pack::chunk_base(after.addr).0.checked_sub(end(&before)) {
                seen.push((steps, (gap / pack::CHUNK_BYTES) as u32));
            }
            programs.keep_plug(&before_fd)?;
            programs.keep_plug(&after_fd)?;
        }
        if let Some(length) = fit(&seen) {
            return Ok(Some(length));
        }
    }
    Ok(None)
}

/// Loads programs until many lie one behind the other. In a host's fragmented packs a small program falls into a hole that the
/// filler before it was too large for, and the distance between them says nothing.
fn plug(probe: &mut dyn FnMut() -> Result<(OwnedFd, Image)>, programs: &mut Held) -> Result<()> {
    const IN_A_ROW: u32 = 64;
    const MOST: u32 = 4096;
    let (mut in_a_row, mut last) = (0, None);
    for _ in 0..MOST {
        let (program, image) = probe()?;
        programs.keep_plug(&program)?;
        in_a_row = if last == Some(pack::chunk_base(image.addr).0) { in_a_row + 1 } else { 0 };
        last = Some(end(&image));
        if in_a_row == IN_A_ROW {
            break;
        }
    }
    Ok(())
}

/// First address behind the chunks of a program.
fn end(image: &Image) -> u64 {
    pack::chunk_base(image.addr).0 + u64::from(pack::chunks(image.len)) * pack::CHUNK_BYTES
}

/// Short fillers for the fixed part, long ones for the step; several of each, since others may disturb some.
fn calibration_steps() -> Vec<u32> {
    (16..=52).step_by(4).chain((200..=560).step_by(40)).collect()
}

/// The line through observed (steps, chunks): of those that explain most observations the one in the middle. Others may have
/// loaded or unloaded within a few of them.
fn fit(seen: &[(u32, u32)]) -> Option<Length> {
    let explained = |length: &Length| {
        seen.iter().filter(|&&(steps, chunks)| pack::chunks(length.fixed + steps * length.step) == chunks).count()
    };
    let lines = (4..40).flat_map(|step| (8..160).map(move |fixed| Length { fixed, step }));
    let scored: Vec<(usize, Length)> = lines.map(|line| (explained(&line), line)).collect();
    let most = scored.iter().map(|(count, _)| *count).max().filter(|count| *count >= LEAST_EXPLAINED)?;
    let best: Vec<Length> = scored.into_iter().filter(|(count, _)| *count == most).map(|(_, line)| line).collect();
    best.get(best.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(truth: Length) -> Vec<(u32, u32)> {
        let chunks = |steps| pack::chunks(truth.fixed + steps * truth.step);
        calibration_steps().into_iter().map(|steps| (steps, chunks(steps))).collect()
    }

    #[test]
    fn a_line_is_found_from_chunk_counts() {
        let truth = Length { fixed: 43, step: 14 };
        let found = fit(&observed(truth)).expect("a line");
        for chunks in 10..800 {
            let steps = found.steps_for(chunks).expect("steps");
            assert_eq!(pack::chunks(truth.fixed + steps * truth.step), chunks);
        }
    }

    #[test]
    fn a_foreign_load_in_between_is_left_out_and_many_are_noticed() {
        let clean = observed(Length { fixed: 43, step: 14 });
        let mut seen = clean.clone();
        (seen[3].1, seen[9].1, seen[15].1, seen[17].1) = (seen[3].1 + 7, 0, seen[15].1 + 2, seen[17].1 + 31);
        assert_eq!(fit(&seen), fit(&clean));
        seen.iter_mut().step_by(2).for_each(|(steps, chunks)| *chunks += *steps % 13 + 1);
        assert_eq!(fit(&seen), None);
    }

    #[test]
    fn the_smallest_filler_bounds_what_can_be_filled() {
        let length = Length { fixed: 43, step: 14 };
        assert_eq!(length.steps_for(1), None);
        assert_eq!(length.steps_for(2), Some(4));
    }

    #[test]
    fn full_jit_memory_is_named_with_its_remedy() {
        let error = load_failed("program 17", &io::Error::from_raw_os_error(524));
        assert_eq!(error.kind, crate::machine::ErrorKind::HostCannot);
        assert!(error.to_string().contains("error 524") && error.to_string().contains("bpf_jit_limit"), "{error}");
    }
}
