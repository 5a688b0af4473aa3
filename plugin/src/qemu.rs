//! The functions of qemu's plugin API that are used, as `include/qemu/qemu-plugin.h` documents them. They are looked up when the
//! plugin is loaded: an older qemu lacks some, and is told so instead of failing to resolve a symbol.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// The version of the API this plugin speaks: the first with `qemu_plugin_read_memory_vaddr`, qemu 9.2.
pub const VERSION: c_int = 4;

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

/// `qemu_plugin_reg_descriptor`.
#[repr(C)]
#[derive(Debug)]
pub struct RegisterDescriptor {
    pub handle: *mut c_void,
    pub name: *const c_char,
    pub feature: *const c_char,
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
    read_register = c"qemu_plugin_read_register": fn(*mut c_void, *mut Bytes) -> c_int;
    read_memory = c"qemu_plugin_read_memory_vaddr": fn(u64, *mut Bytes, usize) -> bool;
    scoreboard = c"qemu_plugin_scoreboard_new": fn(usize) -> *mut c_void;
    set = c"qemu_plugin_u64_set": fn(PerCpu, c_uint, u64);
    bytes_new = c"g_byte_array_new": fn() -> *mut Bytes;
    bytes_resize = c"g_byte_array_set_size": fn(*mut Bytes, c_uint) -> *mut Bytes;
    array_free = c"g_array_free": fn(*mut Bytes, c_int) -> *mut c_char;
}

fn find(symbol: &CStr) -> Option<*mut c_void> {
    // SAFETY: a null handle is RTLD_DEFAULT, and the name ends in NUL.
    let found = unsafe { dlsym(std::ptr::null_mut(), symbol.as_ptr()) };
    (!found.is_null()).then_some(found)
}
