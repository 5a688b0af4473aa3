//! With functions in place of qemu's that end as those of its versions do.

use std::mem::transmute;

use super::*;

static CONTENT: [u8; 8] = 0xffff_8880_0000_0000_u64.to_le_bytes();

extern "C" fn resized(bytes: *mut Bytes, len: c_uint) -> *mut Bytes {
    // SAFETY: the tests' own.
    unsafe { (*bytes).len = len };
    bytes
}

fn append(bytes: *mut Bytes) {
    // SAFETY: the tests' own; only read from afterwards.
    unsafe { *bytes = Bytes { data: CONTENT.as_ptr().cast_mut(), len: CONTENT.len() as c_uint } };
}

extern "C" fn reads_size(_: *mut c_void, bytes: *mut Bytes) -> c_int {
    append(bytes);
    CONTENT.len() as c_int
}

extern "C" fn reads_bool(_: *mut c_void, bytes: *mut Bytes) -> bool {
    append(bytes);
    true
}

extern "C" fn fails_size(_: *mut c_void, _: *mut Bytes) -> c_int {
    -1
}

extern "C" fn fails_bool(_: *mut c_void, _: *mut Bytes) -> bool {
    false
}

/// An API of which nothing may be called but what is put in its place.
fn api() -> Api {
    // SAFETY: the tests call nothing that they have not replaced.
    unsafe { Api::of_one(resized as *mut c_void) }
}

#[test]
fn a_register_is_what_the_buffer_holds_whatever_the_version_returns() {
    let read = |function: *const ()| {
        let mut bytes = Bytes { data: CONTENT.as_ptr().cast_mut(), len: 3 };
        // SAFETY: C functions with these arguments, whose result is left where it is.
        let read_register = unsafe { transmute::<*const (), unsafe extern "C" fn(*mut c_void, *mut Bytes)>(function) };
        let api = Api { read_register, bytes_resize: resized, ..api() };
        let handle = std::ptr::dangling_mut();
        Vcpu { api: &api, registers: &NO_REGISTERS, buffer: &mut bytes }.register(handle)
    };
    let content = Some(u64::from_le_bytes(CONTENT));
    assert_eq!((read(reads_size as *const ()), read(reads_bool as *const ())), (content, content));
    assert_eq!((read(fails_size as *const ()), read(fails_bool as *const ())), (None, None));
}

/// A descriptor as qemu 11.0 has it.
#[repr(C)]
struct Longer {
    first: RegisterDescriptor,
    feature: *const c_char,
    read_only: bool,
}

extern "C" fn listed() -> *mut Bytes {
    let names = [c"rax", c"rdi", c"rsi", c"rdx", c"cr3", c"cr4"];
    let list: Vec<Longer> = (1..)
        .zip(names)
        .map(|(number, name)| Longer {
            first: RegisterDescriptor { handle: number as *mut c_void, name: name.as_ptr() },
            feature: std::ptr::null(),
            read_only: true,
        })
        .collect();
    let bytes = Bytes { len: list.len() as c_uint, data: list.leak().as_mut_ptr().cast() };
    Box::into_raw(Box::new(bytes))
}

extern "C" fn longer(_: *mut Bytes) -> c_uint {
    size_of::<Longer>() as c_uint
}

extern "C" fn kept(_: *mut Bytes, _: c_int) -> *mut c_char {
    std::ptr::null_mut()
}

#[test]
fn registers_are_found_in_a_list_whose_elements_have_grown() {
    let api = Api { registers: listed, element_bytes: longer, array_free: kept, ..api() };
    // SAFETY: no emulator, and so no context that could be another.
    let found = unsafe { registers(&api) };
    let handles = [found.rdi, found.rsi, found.rdx, found.cr3, found.cr4].map(|handle| handle as usize);
    assert_eq!(handles, [2, 3, 4, 5, 6]);
}
