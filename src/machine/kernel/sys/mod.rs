//! In: plain values and descriptors. Out: what the kernel answers. The bpf(2) calls that libbpf-rs has no safe wrapper for: load
//! own instructions, ask a program where it is, test-run a bare descriptor; CPUID, and marks for an emulator. Apart because every unsafe call of the
//! kernel machine is in this folder.
#![allow(unsafe_code)]

pub mod attach;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_sys::{bpf_insn, bpf_prog_info, bpf_prog_load_opts, bpf_test_run_opts};

use crate::counters::layout::CpuidWords;
use crate::placement::{Addr, Image};

/// The time stamp counter, as `msr/tsc/` counts it.
#[allow(unused_unsafe)]
pub fn time_stamp() -> u64 {
    // SAFETY: every x86_64 CPU has RDTSC, and Linux lets user space use it unless a process asks otherwise.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Lets the process that `command` starts be killed when the thread that starts it ends, however it ends.
pub fn dies_with_us(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;

    let parent = std::process::id();
    let tie = move || -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // The parent may have ended before.
        let orphan = rustix::process::getppid().is_none_or(|pid| pid.as_raw_nonzero().get() as u32 != parent);
        if orphan { Err(io::Error::other("the parent ended")) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing unless it fails.
    unsafe { command.pre_exec(tie) };
}

/// Lets the process that `command` starts be in a control group before it is what it is to be. `members` is the group's list of
/// processes.
pub fn enters(command: &mut std::process::Command, members: OwnedFd) {
    use std::os::unix::process::CommandExt;

    let enter = move || -> io::Result<()> {
        rustix::io::write(&members, b"0")?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(enter) };
}

/// Tells an emulator with `plugin/` that a window begins: a NOP of eight bytes that no compiler emits, with the base of the
/// kernel's direct map, the window's number and the end of the kernel's image in RDI, RSI and RDX. A CPU does nothing at it.
pub fn mark_begin(direct_map: u64, tag: u64, kernel_end: u64) {
    // SAFETY: a NOP with an unused memory operand, which is not accessed; registers are only read.
    unsafe {
        std::arch::asm!(".byte 0x0f, 0x1f, 0x84, 0x00, 0x01, 0x00, 0xb1, 0x5a",
            in("rdi") direct_map, in("rsi") tag, in("rdx") kernel_end, options(nostack, preserves_flags));
    }
}

/// Tells it that the window ends.
pub fn mark_end() {
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(".byte 0x0f, 0x1f, 0x84, 0x00, 0x02, 0x00, 0xb1, 0x5a", options(nostack, preserves_flags));
    }
}

/// What CPUID says of the counters of the core this thread is on.
#[allow(unused_unsafe)] // Safe from Rust 1.94 on; the oldest supported one wants the blocks.
pub fn counter_words() -> CpuidWords {
    use std::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};

    // SAFETY: every x86_64 CPU has the CPUID instruction, and leaves 0 and 0x80000000.
    let (basic, extended) = unsafe { (__cpuid(0).eax, __cpuid(0x8000_0000).eax) };
    let leaf = |number: u32, most: u32| {
        if number > most {
            return [0; 4];
        }
        // SAFETY: the leaf is not above the highest that the CPU names.
        let CpuidResult { eax, ebx, ecx, edx } = unsafe { __cpuid_count(number, 0) };
        [eax, ebx, ecx, edx]
    };
    CpuidWords {
        architectural: leaf(0xa, basic),
        extended_features: leaf(0x8000_0001, extended)[2],
        amd: leaf(0x8000_0022, extended),
    }
}

/// As what instructions are loaded.
#[derive(Clone, Copy, Debug)]
pub struct LoadAs<'a> {
    /// `BPF_PROG_TYPE_*`.
    pub program: u32,
    /// `BPF_*` of enum bpf_attach_type, as expected_attach_type.
    pub attach: u32,
    /// For tracing programs: the program they trace, and the BTF id of the function in it.
    pub target: Option<(BorrowedFd<'a>, u32)>,
}

impl LoadAs<'_> {
    /// A classifier, as for BPF_PROG_TEST_RUN with a packet.
    pub const SCHED_CLS: LoadAs<'static> =
        LoadAs { program: libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, attach: 0, target: None };
}

/// What every program we load is called, but for those of the selftest.
const PROGRAM_NAME: &CStr = c"itlbench";

/// Kinds of programs that are loaded from own instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramType {
    SchedCls,
    RawTracepoint,
}

/// Loads `insns` as a sched_cls program.
pub fn load_sched_cls(insns: &[bpf_insn]) -> io::Result<OwnedFd> {
    load(insns, LoadAs::SCHED_CLS)
}

/// Loads `insns` as a program of `kind` called `name`, of which the kernel keeps 15 bytes.
pub fn load_program(kind: ProgramType, name: &CStr, insns: &[bpf_insn]) -> io::Result<OwnedFd> {
    let load_as = match kind {
        ProgramType::SchedCls => LoadAs::SCHED_CLS,
        ProgramType::RawTracepoint => {
            LoadAs { program: libbpf_sys::BPF_PROG_TYPE_RAW_TRACEPOINT, attach: 0, target: None }
        }
    };
    load_named(name, insns, load_as)
}

/// Loads `insns` as a program of a type.
pub fn load(insns: &[bpf_insn], load_as: LoadAs<'_>) -> io::Result<OwnedFd> {
    load_named(PROGRAM_NAME, insns, load_as)
}

fn load_named(name: &CStr, insns: &[bpf_insn], load_as: LoadAs<'_>) -> io::Result<OwnedFd> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut opts: bpf_prog_load_opts = unsafe { std::mem::zeroed() };
    opts.sz = size_of::<bpf_prog_load_opts>() as _;
    opts.expected_attach_type = load_as.attach;
    if let Some((program, function)) = load_as.target {
        opts.attach_prog_fd = program.as_raw_fd() as u32;
        opts.attach_btf_id = function;
    }
    // SAFETY: name and licence are NUL-terminated, `insns` and `opts` outlive the call, which keeps no pointer.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            load_as.program,
            name.as_ptr(),
            c"Dual BSD/GPL".as_ptr(),
            insns.as_ptr(),
            insns.len() as _,
            &mut opts,
        )
    };
    descriptor(fd)
}

/// A descriptor, or the error that libbpf returned in its place.
fn descriptor(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: a non-negative result is a descriptor that is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Where the kernel put a program of one function: `bpf_prog_info.jited_ksyms[0]` and `.jited_func_lens[0]`.
/// The address is 0 if the kernel will not show it (kptr_restrict).
pub fn image(program: BorrowedFd<'_>) -> io::Result<Image> {
    let (mut ksym, mut length) = (0u64, 0u32);
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    info.nr_jited_ksyms = 1;
    info.jited_ksyms = (&raw mut ksym) as u64;
    info.nr_jited_func_lens = 1;
    info.jited_func_lens = (&raw mut length) as u64;
    let mut size = size_of::<bpf_prog_info>() as u32;
    // SAFETY: `info` is writable for `size` bytes, and the two buffers it names hold the one element each it claims.
    let result = unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut size) };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // The kernel answers with the number there is, whatever was asked for.
    match info.nr_jited_func_lens {
        0 | 1 => Ok(Image { addr: Addr(ksym), len: length }),
        functions => Err(io::Error::other(format!("it has {functions} functions, each with an image of its own"))),
    }
}

/// Lets the kernel count and time every execution of every program, as long as the descriptor is open. It slows them all down.
pub fn run_statistics() -> io::Result<OwnedFd> {
    // SAFETY: plain system call without pointers.
    descriptor(unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) })
}

/// The number by which the kernel lists a program.
pub fn id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut size = size_of::<bpf_prog_info>() as u32;
    // SAFETY: `info` is writable for `size` bytes and names no buffer.
    let result = unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut size) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(info.id) }
}

/// Where the kernel put each function of a program.
pub fn images(program: BorrowedFd<'_>) -> io::Result<Vec<Image>> {
    /// `BPF_MAX_SUBPROGS`.
    const MOST: usize = 256;
    let (mut ksyms, mut lengths) = ([0u64; MOST], [0u32; MOST]);
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    info.nr_jited_ksyms = MOST as u32;
    info.jited_ksyms = ksyms.as_mut_ptr() as u64;
    info.nr_jited_func_lens = MOST as u32;
    info.jited_func_lens = lengths.as_mut_ptr() as u64;
    prog_info(program, &mut info)?;
    let count = (info.nr_jited_ksyms.min(info.nr_jited_func_lens) as usize).min(MOST);
    Ok(ksyms.iter().zip(lengths).take(count).map(|(ksym, len)| Image { addr: Addr(*ksym), len }).collect())
}

/// The machine code of a program as the kernel reports it: that of all its functions, one behind the other.
pub fn jited(program: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    prog_info(program, &mut info)?;
    let mut bytes = vec![0u8; info.jited_prog_len as usize];
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    info.jited_prog_len = bytes.len() as u32;
    info.jited_prog_insns = bytes.as_mut_ptr() as u64;
    prog_info(program, &mut info)?;
    Ok(bytes)
}

/// Asks for `info`; every buffer it names must be as long as it says.
fn prog_info(program: BorrowedFd<'_>, info: &mut bpf_prog_info) -> io::Result<()> {
    let mut size = size_of::<bpf_prog_info>() as u32;
    // SAFETY: `info` is writable for `size` bytes, and our callers keep buffers of the lengths it claims.
    let result = unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), info, &mut size) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

/// Runs a raw_tracepoint program once on `context`; what it returned.
pub fn run_raw(program: BorrowedFd<'_>, context: [u64; 2]) -> io::Result<u32> {
    let mut opts = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>() as _,
        ctx_in: context.as_ptr().cast(),
        ctx_size_in: size_of_val(&context) as u32,
        ..Default::default()
    };
    // SAFETY: the one buffer in `opts` has the size given and outlives the call.
    let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut opts) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(opts.retval) }
}

/// Runs a sched_cls program once with `value` as `skb->cb[0]`; what it returned.
pub fn run_skb(program: BorrowedFd<'_>, value: u32) -> io::Result<u32> {
    let (packet, mut context) = ([0u8; 64], [0u32; SKB_WORDS]);
    context[CB_WORD] = value;
    let mut opts = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>() as _,
        data_in: packet.as_ptr().cast(),
        data_size_in: packet.len() as u32,
        ctx_in: context.as_ptr().cast(),
        ctx_size_in: size_of_val(&context) as u32,
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: every buffer in `opts` has the size given and outlives the call.
    let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut opts) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(opts.retval) }
}

/// `struct __sk_buff` of include/uapi/linux/bpf.h as an array of u32, with room for members to come.
const SKB_WORDS: usize = 64;
/// First word of `cb[]`.
const CB_WORD: usize = 12;

/// A prepared BPF_PROG_TEST_RUN of a sched_cls program. The kernel runs all repetitions on one skb, so what the programs
/// leave in `cb[]` is there in the next repetition, and is handed on to the next call here.
#[derive(Debug)]
pub struct TestRun {
    program: OwnedFd,
    packet: [u8; 64],
    context_in: [u32; SKB_WORDS],
    context_out: [u32; SKB_WORDS],
}

impl TestRun {
    /// Prepares `program` with `cb` as the first words of `skb->cb`.
    pub fn new(program: OwnedFd, cb: [u32; 5]) -> Self {
        let mut context_in = [0; SKB_WORDS];
        context_in[CB_WORD..CB_WORD + 5].copy_from_slice(&cb);
        Self { program, packet: [0; 64], context_in, context_out: [0; SKB_WORDS] }
    }

    /// The same once more, with a skb of its own.
    pub fn again(&self) -> io::Result<Self> {
        let program = self.program.try_clone()?;
        Ok(Self { program, packet: self.packet, context_in: self.context_in, context_out: self.context_out })
    }

    /// Words of `skb->cb` the next call begins with.
    pub fn cb(&mut self) -> &mut [u32] {
        &mut self.context_in[CB_WORD..CB_WORD + 5]
    }

    /// Runs the program `repeat` times in one system call; returns its return value of the last repetition.
    pub fn run(&mut self, repeat: u32) -> io::Result<u32> {
        let mut opts = bpf_test_run_opts {
            sz: size_of::<bpf_test_run_opts>() as _,
            data_in: self.packet.as_ptr().cast(),
            data_size_in: self.packet.len() as u32,
            ctx_in: self.context_in.as_ptr().cast(),
            ctx_size_in: size_of_val(&self.context_in) as u32,
            ctx_out: self.context_out.as_mut_ptr().cast(),
            ctx_size_out: size_of_val(&self.context_out) as u32,
            repeat: repeat as _,
            ..Default::default()
        };
        // SAFETY: every buffer in `opts` belongs to `self`, has the size given, and outlives the call.
        let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(self.program.as_fd().as_raw_fd(), &mut opts) };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        self.context_in[CB_WORD..CB_WORD + 5].copy_from_slice(&self.context_out[CB_WORD..CB_WORD + 5]);
        Ok(opts.retval)
    }
}

/// Runs a raw tracepoint program once, on this CPU, without arguments.
pub fn test_run_raw(program: BorrowedFd<'_>) -> io::Result<()> {
    let mut opts = bpf_test_run_opts { sz: size_of::<bpf_test_run_opts>() as _, ..Default::default() };
    // SAFETY: `opts` names no buffer and outlives the call.
    match unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut opts) } {
        result if result < 0 => Err(io::Error::from_raw_os_error(-result)),
        _ => Ok(()),
    }
}
