//! In: a kernel image and what a guest is to measure. Out: what the guest said until it ended, or why it did not.
//! Apart because it alone names qemu, and boots what may hang, panic or be no kernel at all.

pub mod boot;
pub mod console;
pub mod image;
pub mod initramfs;
pub mod leash;
pub mod memory_file;
pub mod port;
mod probe;
pub mod qemu;
mod running;
