//! Files that exist in memory only and vanish with this process, however it ends: what is handed to qemu and what it leaves.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

/// A file without a name in any directory.
#[derive(Debug)]
pub struct MemoryFile {
    file: File,
}

impl MemoryFile {
    /// A file that holds `bytes`.
    pub fn holding(name: &str, bytes: &[u8]) -> std::io::Result<Self> {
        let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { file })
    }

    /// By which other processes of the same user can open it as long as this one lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    /// What it holds now.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_read_and_write_it_by_its_path() {
        let file = MemoryFile::holding("itlbench", b"given").unwrap();
        assert_eq!(file.read().unwrap(), b"given");
        std::fs::write(file.path(), b"left").unwrap();
        assert_eq!(file.read().unwrap(), b"left");
    }
}
