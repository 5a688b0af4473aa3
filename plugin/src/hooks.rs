//! What qemu calls: at loading, for each virtual CPU, for each block it translates, at each block run inside a window, at the
//! marks, and at the end. Panics in callbacks abort qemu, which is what one wants of a measurement.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::arguments::{Arguments, Asked};
use crate::block::{Block, MARK_BYTES, Mark, Told};
use crate::model::fetched;
use crate::paging::Control;
use crate::qemu::{self, Api, Bytes, Info, NOT_EQUAL, PerCpu, READS_REGISTERS, RegisterDescriptor, VERSION};
use crate::recorder::Recorder;
use crate::sizes::Guest;

/// Read by qemu before anything else; it refuses a plugin that is newer than itself.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: c_int = VERSION;

/// All there is, once the plugin is loaded.
struct Plugin {
    api: Api,
    /// 1 inside a window: blocks call [`block_runs`] only then.
    inside: PerCpu,
    state: Mutex<State>,
}

struct State {
    recorder: Recorder<File>,
    registers: Registers,
    buffer: *mut Bytes,
}

/// Handles of the registers that are read; null until the first CPU is there.
#[derive(Clone, Copy)]
struct Registers {
    cr3: *mut c_void,
    cr4: *mut c_void,
    rdi: *mut c_void,
    rsi: *mut c_void,
    rdx: *mut c_void,
}

const NO_REGISTERS: Registers = {
    let null = std::ptr::null_mut();
    Registers { cr3: null, cr4: null, rdi: null, rsi: null, rdx: null }
};

// SAFETY: qemu's handles and glib's array may be used by any thread; `State` is behind a mutex, `PerCpu` is qemu's to guard.
unsafe impl Send for Plugin {}
// SAFETY: as above.
unsafe impl Sync for Plugin {}

static PLUGIN: OnceLock<Plugin> = OnceLock::new();

impl Plugin {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// qemu calls this once. Anything but 0 makes it refuse to start.
///
/// # Safety
/// `info` and `argv` are as qemu gives them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: qemu hands over a valid `qemu_info_t` and `argc` strings, all of which outlive this call.
    let (info, arguments) = unsafe {
        let given = (0..argc.max(0) as usize).map(|at| CStr::from_ptr(*argv.add(at)).to_string_lossy().into_owned());
        (&*info, given.collect::<Vec<String>>())
    };
    match install(id, info, &arguments) {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("itlbench plugin: {why}");
            -1
        }
    }
}

fn install(id: u64, info: &Info, arguments: &[String]) -> Result<(), String> {
    // SAFETY: a C string of qemu's.
    let target = unsafe { CStr::from_ptr(info.target_name) }.to_string_lossy();
    if target != "x86_64" || !info.system_emulation {
        return Err(format!("it follows the kernel of an x86_64 machine, this qemu emulates {target}"));
    }
    qemu::fits(info.version_min, info.version_cur)?;
    let api = Api::find().map_err(|name| format!("this qemu has no `{name}`; qemu 9.2 or later is needed"))?;
    match Asked::parse(arguments.iter().map(String::as_str)).map_err(|error| error.to_string())? {
        Asked::Probe => answer(info.version_cur),
        Asked::Count(arguments) => follow(id, api, info.version_cur, arguments),
    }
}

/// Says that the plugin works here. There is no machine to run, and so the emulator ends.
fn answer(version: c_int) -> ! {
    let mut out = std::io::stdout();
    let said = writeln!(out, "{}", fetched::ready(version)).and_then(|()| out.flush());
    qemu::end(said.is_err().into())
}

fn follow(id: u64, api: Api, version: c_int, arguments: Arguments) -> Result<(), String> {
    let failed = |error| format!("failed to write `{}`: {error}", arguments.out.display());
    let out = File::create(&arguments.out).map_err(failed)?;
    let recorder = Recorder::new(out, arguments.clone(), version).map_err(failed)?;
    // SAFETY: the API is there; a scoreboard of one number each, and an empty array, both kept for good.
    let (scoreboard, buffer) = unsafe { ((api.scoreboard)(size_of::<u64>()), (api.bytes_new)()) };
    let state = Mutex::new(State { recorder, registers: NO_REGISTERS, buffer });
    let plugin = PLUGIN.get_or_init(|| Plugin { api, inside: PerCpu { scoreboard, offset: 0 }, state });
    // SAFETY: the callbacks have the types that qemu calls them by, and live as long as the process.
    unsafe {
        (plugin.api.on_vcpu)(id, vcpu_begins);
        (plugin.api.on_translation)(id, block_is_translated);
        (plugin.api.on_exit)(id, qemu_ends, std::ptr::null_mut());
    }
    Ok(())
}

extern "C" fn vcpu_begins(_id: u64, _vcpu: c_uint) {
    let Some(plugin) = PLUGIN.get() else { return };
    // SAFETY: called in the context of a CPU.
    plugin.state().registers = unsafe { registers(&plugin.api) };
}

/// Handles of the registers that the emulated CPU has.
///
/// # Safety
/// In the context of a CPU only, as `qemu_plugin_get_registers` wants.
unsafe fn registers(api: &Api) -> Registers {
    let mut found = NO_REGISTERS;
    // SAFETY: the array holds `len` descriptors, each with at least the members declared and as far from the next as glib says, with
    // names that qemu keeps for good; it is ours to free.
    unsafe {
        let list = (api.registers)();
        let (data, bytes) = ((*list).data, (api.element_bytes)(list) as usize);
        for at in 0..(*list).len as usize {
            let descriptor = data.add(at * bytes).cast::<RegisterDescriptor>().read_unaligned();
            match CStr::from_ptr(descriptor.name).to_bytes() {
                b"cr3" => found.cr3 = descriptor.handle,
                b"cr4" => found.cr4 = descriptor.handle,
                b"rdi" => found.rdi = descriptor.handle,
                b"rsi" => found.rsi = descriptor.handle,
                b"rdx" => found.rdx = descriptor.handle,
                _ => {}
            }
        }
        (api.array_free)(list, 1);
    }
    found
}

extern "C" fn block_is_translated(_id: u64, handle: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    let api = &plugin.api;
    // SAFETY: handles of blocks and instructions are valid inside this callback, which is all they are used in.
    unsafe {
        let count = (api.block_len)(handle);
        let Some(last_at) = count.checked_sub(1) else { return };
        let (first, last) = ((api.block_instruction)(handle, 0), (api.block_instruction)(handle, last_at));
        let (begin, last_addr) = ((api.instruction_addr)(first), (api.instruction_addr)(last));
        let block = Block::new(begin, last_addr, (api.instruction_size)(last) as u64, count as u32);
        // qemu keeps the pointer in the code it makes of the block, and does not say when that is gone.
        let data = Box::into_raw(Box::new(block)).cast();
        (api.on_block_if)(handle, block_runs, READS_REGISTERS, NOT_EQUAL, plugin.inside, 0, data);
        for at in 0..count {
            let instruction = (api.block_instruction)(handle, at);
            let callback = match mark(api, instruction) {
                Some(Mark::Begin) => window_begins,
                Some(Mark::End) => window_ends,
                None => continue,
            };
            (api.on_instruction)(instruction, callback, READS_REGISTERS, std::ptr::null_mut());
        }
    }
}

fn mark(api: &Api, instruction: *const c_void) -> Option<Mark> {
    let mut bytes = [0; MARK_BYTES];
    // SAFETY: the handle is valid, and the buffer has the size given.
    let copied = unsafe {
        if (api.instruction_size)(instruction) != MARK_BYTES {
            return None;
        }
        (api.instruction_bytes)(instruction, bytes.as_mut_ptr(), MARK_BYTES)
    };
    Mark::of(&bytes[..copied.min(MARK_BYTES)])
}

extern "C" fn block_runs(vcpu: c_uint, data: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    // SAFETY: `data` is the block that was left behind when the code was translated, and is never freed.
    let block = unsafe { &*data.cast::<Block>() };
    let State { recorder, registers, buffer } = &mut *plugin.state();
    recorder.run(vcpu as usize, block, &mut Vcpu { api: &plugin.api, registers, buffer: *buffer });
}

extern "C" fn window_begins(vcpu: c_uint, _data: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    let State { recorder, registers, buffer } = &mut *plugin.state();
    let mut guest = Vcpu { api: &plugin.api, registers, buffer: *buffer };
    let mut register = |handle| guest.register(handle).unwrap_or(0);
    let (direct_map, tag) = (register(registers.rdi), register(registers.rsi));
    recorder.begin(vcpu as usize, Told { direct_map, tag, kernel_end: register(registers.rdx) });
    // SAFETY: the scoreboard has one number for each CPU.
    unsafe { (plugin.api.set)(plugin.inside, vcpu, 1) };
}

extern "C" fn window_ends(vcpu: c_uint, _data: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    // SAFETY: as above.
    unsafe { (plugin.api.set)(plugin.inside, vcpu, 0) };
    plugin.state().recorder.end(vcpu as usize);
}

extern "C" fn qemu_ends(_id: u64, _data: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    if let Err(error) = plugin.state().recorder.finish() {
        eprintln!("itlbench plugin: failed to write what was counted: {error}");
    }
}

/// A CPU inside a callback that reads registers.
struct Vcpu<'a> {
    api: &'a Api,
    registers: &'a Registers,
    buffer: *mut Bytes,
}

impl Vcpu<'_> {
    fn register(&mut self, handle: *mut c_void) -> Option<u64> {
        if handle.is_null() {
            return None;
        }
        // SAFETY: the handle is qemu's, the buffer is glib's and ours alone; qemu appends the register to it, or nothing.
        unsafe {
            (self.api.bytes_resize)(self.buffer, 0);
            (self.api.read_register)(handle, self.buffer);
        }
        self.word()
    }

    /// The bytes in the buffer, if they are eight.
    fn word(&self) -> Option<u64> {
        // SAFETY: glib's array holds `len` bytes at `data`, which nobody else touches meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts((*self.buffer).data, (*self.buffer).len as usize) };
        bytes.try_into().ok().map(u64::from_le_bytes)
    }
}

impl Guest for Vcpu<'_> {
    fn control(&mut self) -> Option<Control> {
        Some(Control { cr3: self.register(self.registers.cr3)?, cr4: self.register(self.registers.cr4)? })
    }

    fn read(&mut self, addr: u64) -> Option<u64> {
        // SAFETY: called from a callback of a CPU; qemu resizes the buffer to what it reads.
        let read = unsafe { (self.api.read_memory)(addr, self.buffer, size_of::<u64>()) };
        read.then(|| self.word()).flatten()
    }
}

#[cfg(test)]
mod tests;
