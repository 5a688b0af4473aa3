//! The functions of qemu's plugin API that are used, as `include/qemu/qemu-plugin.h` documents them. They are looked up when the
//! plugin is loaded: an older qemu lacks some, and is told so instead of failing to resolve a symbol.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// The version of the API this plugin speaks: the first with `qemu_plugin_read_memory_vaddr`, qemu 9.2.
pub const VERSION: c_int = 4;
/// The last whose declarations are known here to be those below or to end alike: qemu 11.0. Version 7 calls back with other arguments,
/// and still takes plugins that name an older one.
const NEWEST: c_int = 6;

/// Whether an emulator that knows versions `min` to `cur` calls as this plugin is called; the error says why not.
pub fn fits(min: c_int, cur: c_int) -> Result<(), String> {
    if (min..=cur).contains(&VERSION) && cur <= NEWEST {
        return Ok(());
    }
    Err(format!(
        "it knows versions {VERSION} to {NEWEST} of the plugin API, qemu 9.2 to 11.0; this qemu has {min} to {cur}"
    ))
}

/// `qemu_info_t`.
#[repr(C)]
#[derive(Debug)]
pub struct Info {
    pub target_name: *const c_char,
    pub version_min: c_int,
    pub version_cur: c_int,
    pub system_emulation: bool,
    pub smp_vcpus: c_int,
    pub max_vcpus: c_int,
}

/// `GByteArray` and `GArray` of glib, which qemu is linked to: only ever made and resized by glib.
#[repr(C)]
#[derive(Debug)]
pub struct Bytes {
    pub data: *mut u8,
    pub len: c_uint,
}

/// `qemu_plugin_reg_descriptor` as far as it is used: qemu 11.0 appended to it, so that how far it is to the next is the array's to tell.
#[repr(C)]
#[derive(Debug)]
pub struct RegisterDescriptor {
    pub handle: *mut c_void,
    pub name: *const c_char,
}

/// `qemu_plugin_u64`: a number for each virtual CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PerCpu {
    pub scoreboard: *mut c_void,
    pub offset: usize,
}

/// `enum qemu_plugin_cb_flags`.
pub const READS_REGISTERS: c_int = 1;
/// `enum qemu_plugin_cond`.
pub const NOT_EQUAL: c_int = 3;

pub type VcpuCallback = extern "C" fn(id: u64, vcpu: c_uint);
pub type ExecCallback = extern "C" fn(vcpu: c_uint, data: *mut c_void);
pub type TranslateCallback = extern "C" fn(id: u64, block: *mut c_void);
pub type ExitCallback = extern "C" fn(id: u64, data: *mut c_void);

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn _exit(code: c_int) -> !;
}

/// Ends the process here and now: what the emulator would do at its end is of a machine that there is not yet.
pub fn end(code: c_int) -> ! {
    // SAFETY: it takes any code, and does not return.
    unsafe { _exit(code) }
}

/// Declares [`Api`] with a member for each function, and how to fill it.
macro_rules! api {
    ($($(#[$about:meta])* $member:ident = $symbol:literal: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions, found.
        #[derive(Debug)]
        pub struct Api {
            $($(#[$about])* pub $member: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Api {
            /// Looks all of them up in the process; the name of the first that is not there otherwise.
            pub fn find() -> Result<Self, &'static str> {
                Ok(Self {$(
                    $member: {
                        let found = find($symbol).ok_or($symbol.to_str().unwrap_or_default())?;
                        // SAFETY: the symbol is the C function of this name, whose declaration is given above.
                        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(found) }
                    },
                )*})
            }

            /// All of them are the function at `address`, for tests that put others in place of those they call.
            ///
            /// # Safety
            /// None that is left may be called.
            #[cfg(test)]
            pub unsafe fn of_one(address: *mut c_void) -> Self {
                Self {$(
                    // SAFETY: the caller does not call it.
                    $member: unsafe {
                        std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(address)
                    },
                )*}
            }
        }
    };
}

api! {
    on_vcpu = c"qemu_plugin_register_vcpu_init_cb": fn(u64, VcpuCallback);
    on_translation = c"qemu_plugin_register_vcpu_tb_trans_cb": fn(u64, TranslateCallback);
    on_exit = c"qemu_plugin_register_atexit_cb": fn(u64, ExitCallback, *mut c_void);
    on_block_if = c"qemu_plugin_register_vcpu_tb_exec_cond_cb":
        fn(*mut c_void, ExecCallback, c_int, c_int, PerCpu, u64, *mut c_void);
    on_instruction = c"qemu_plugin_register_vcpu_insn_exec_cb": fn(*mut c_void, ExecCallback, c_int, *mut c_void);
    block_len = c"qemu_plugin_tb_n_insns": fn(*const c_void) -> usize;
    block_instruction = c"qemu_plugin_tb_get_insn": fn(*const c_void, usize) -> *mut c_void;
    instruction_addr = c"qemu_plugin_insn_vaddr": fn(*const c_void) -> u64;
    instruction_size = c"qemu_plugin_insn_size": fn(*const c_void) -> usize;
    instruction_bytes = c"qemu_plugin_insn_data": fn(*const c_void, *mut u8, usize) -> usize;
    registers = c"qemu_plugin_get_registers": fn() -> *mut Bytes;
    /// Its result was the size of the register, and is whether there is one since version 6. What is in the buffer says both.
    read_register = c"qemu_plugin_read_register": fn(*mut c_void, *mut Bytes);
    read_memory = c"qemu_plugin_read_memory_vaddr": fn(u64, *mut Bytes, usize) -> bool;
    scoreboard = c"qemu_plugin_scoreboard_new": fn(usize) -> *mut c_void;
    set = c"qemu_plugin_u64_set": fn(PerCpu, c_uint, u64);
    bytes_new = c"g_byte_array_new": fn() -> *mut Bytes;
    bytes_resize = c"g_byte_array_set_size": fn(*mut Bytes, c_uint) -> *mut Bytes;
    element_bytes = c"g_array_get_element_size": fn(*mut Bytes) -> c_uint;
    array_free = c"g_array_free": fn(*mut Bytes, c_int) -> *mut c_char;
}

fn find(symbol: &CStr) -> Option<*mut c_void> {
    // SAFETY: a null handle is RTLD_DEFAULT, and the name ends in NUL.
    let found = unsafe { dlsym(std::ptr::null_mut(), symbol.as_ptr()) };
    (!found.is_null()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulator_of_another_api_is_told_so_whether_it_is_older_or_newer() {
        for (min, cur) in [(2, 4), (2, 5), (2, 6), (4, 4)] {
            assert_eq!(fits(min, cur), Ok(()), "{min} to {cur}");
        }
        // qemu 7.2, 8.2 and 9.1; 11.1, which calls back with other arguments; one that has dropped version 4.
        for (min, cur) in [(0, 1), (0, 2), (2, 3), (2, 7), (5, 6)] {
            let why = fits(min, cur).unwrap_err();
            assert!(why.ends_with(&format!("qemu 9.2 to 11.0; this qemu has {min} to {cur}")), "{why}");
        }
    }
}
