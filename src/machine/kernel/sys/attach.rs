//! Calls that attach programs, and that make what they are attached to.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use libbpf_sys::{bpf_attach_type, bpf_link_create_opts};

use super::descriptor;

/// Attaches to a raw tracepoint; the link goes with its descriptor.
pub fn raw_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated and outlives the call.
    descriptor(unsafe { libbpf_sys::bpf_raw_tracepoint_open(name.as_ptr(), program.as_raw_fd()) })
}

/// Attaches to `target`: the descriptor of a cgroup, the index of a network device, or 0 where the program itself says to what.
pub fn link(program: BorrowedFd<'_>, target: i32, kind: bpf_attach_type, flags: u32) -> io::Result<OwnedFd> {
    let opts = bpf_link_create_opts { sz: size_of::<bpf_link_create_opts>() as _, flags, ..Default::default() };
    // SAFETY: `opts` names no buffer and outlives the call.
    descriptor(unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), target, kind, &opts) })
}

/// Attaches to the function at `offset` in the file `path`, for process `pid` alone.
pub fn uprobe(program: BorrowedFd<'_>, path: &CStr, offset: u64, pid: u32) -> io::Result<OwnedFd> {
    let offsets: [c_ulong; 1] = [offset];
    let mut opts = bpf_link_create_opts { sz: size_of::<bpf_link_create_opts>() as _, ..Default::default() };
    opts.__bindgen_anon_1.uprobe_multi.path = path.as_ptr();
    opts.__bindgen_anon_1.uprobe_multi.offsets = offsets.as_ptr();
    opts.__bindgen_anon_1.uprobe_multi.cnt = 1;
    opts.__bindgen_anon_1.uprobe_multi.pid = pid;
    // SAFETY: path and offsets outlive the call, which keeps no pointer; there is one offset, as `cnt` says.
    descriptor(unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), 0, libbpf_sys::BPF_TRACE_UPROBE_MULTI, &opts)
    })
}

/// Attaches to a function of the kernel by name.
pub fn kprobe(program: BorrowedFd<'_>, function: &CStr) -> io::Result<OwnedFd> {
    let mut names = [function.as_ptr()];
    let mut opts = bpf_link_create_opts { sz: size_of::<bpf_link_create_opts>() as _, ..Default::default() };
    opts.__bindgen_anon_1.kprobe_multi.syms = names.as_mut_ptr();
    opts.__bindgen_anon_1.kprobe_multi.cnt = 1;
    // SAFETY: the name is NUL-terminated; it and the list outlive the call, which keeps no pointer; there is one, as `cnt` says.
    descriptor(unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), 0, libbpf_sys::BPF_TRACE_KPROBE_MULTI, &opts)
    })
}

/// Makes `program` the filter of a socket (SO_ATTACH_BPF).
pub fn socket_filter(socket: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let fd: i32 = program.as_raw_fd();
    // SAFETY: the option's value is one int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            (&raw const fd).cast(),
            size_of::<i32>() as _,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts the calling thread into a network namespace of its own.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: plain system call; of what threads share, nothing but the network namespace is given up, and only by this thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Brings network device `name` of the calling thread's namespace up. `socket` is any socket of that namespace.
pub fn bring_up(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()).take(libc::IFNAMSIZ - 1) {
        *to = *from as _;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
    // SAFETY: the name ends in NUL because the struct began zeroed; the kernel reads no more than the struct.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Does nothing, behind the five bytes of a no-operation that the kernel can turn into a call: where uprobes are attached.
#[unsafe(naked)]
pub extern "C" fn probed() {
    std::arch::naked_asm!(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00", "ret")
}

/// The same again, so that the empty program hangs on a function of its own; one byte longer, lest the linker make them one.
#[unsafe(naked)]
pub extern "C" fn probed_empty() {
    std::arch::naked_asm!(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00", "nop", "ret")
}
