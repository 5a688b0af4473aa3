//! Whether a file is a kernel that qemu can boot here, before anything is booted.
//!
//! The header of a bzImage is that of Documentation/arch/x86/boot.rst.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes that are looked at.
const HEAD_BYTES: usize = 4096;
const SETUP_SECTORS: usize = 0x1f1;
const SYSTEM_PARAGRAPHS: usize = 0x1f4;
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const PROTOCOL: usize = 0x206;
const BANNER: usize = 0x20e;
const LOAD_FLAGS: usize = 0x236;
/// `XLF_KERNEL_64`: the kernel has a 64-bit entry.
const KERNEL_64: usize = 1;
/// The protocol that has the flag.
const PROTOCOL_WITH_FLAG: usize = 0x20c;
const SECTOR_BYTES: u64 = 512;

/// A bzImage of x86_64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `6.12.1-amd64 (builder) #1 SMP ...`.
    pub banner: String,
}

/// Why a file is not booted.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("failed to read kernel image `{path}`: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("`{path}` is {found}; give a bzImage of x86_64 (arch/x86/boot/bzImage, or /boot/vmlinuz-*)")]
    Other { path: String, found: String },
    #[error("kernel image `{path}` is cut off: {found} bytes of {expected}; copy it again")]
    Truncated { path: String, found: u64, expected: u64 },
}

impl Image {
    /// Reads the header of the image at `path`.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let name = path.display().to_string();
        let failed = |source| ImageError::Read { path: name.clone(), source };
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(ImageError::Other { path: name, found: "a directory".to_owned() });
        }
        let mut head = Vec::new();
        (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(failed)?;
        if let Some(found) = other_than_bzimage(&head) {
            return Err(ImageError::Other { path: name, found });
        }
        // 0 stands for 4, as it did in the first kernels.
        let sectors = if head[SETUP_SECTORS] == 0 { 4 } else { u64::from(head[SETUP_SECTORS]) };
        let expected = (sectors + 1) * SECTOR_BYTES + 16 * number(&head, SYSTEM_PARAGRAPHS, 4) as u64;
        if metadata.len() < expected {
            return Err(ImageError::Truncated { path: name, found: metadata.len(), expected });
        }
        Ok(Self { banner: banner(&file, &head) })
    }
}

/// What `head` begins, if it is no bzImage of x86_64.
fn other_than_bzimage(head: &[u8]) -> Option<String> {
    if head.is_empty() {
        return Some("an empty file".to_owned());
    }
    if number(head, BOOT_FLAG, 2) != 0xaa55 || head.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        return Some(foreign(head).unwrap_or("no kernel image").to_owned());
    }
    let protocol = number(head, PROTOCOL, 2);
    let is_64 = protocol >= PROTOCOL_WITH_FLAG && number(head, LOAD_FLAGS, 2) & KERNEL_64 != 0;
    (!is_64).then(|| "a kernel for 32-bit x86, or one before 3.8".to_owned())
}

/// Kernels of other architectures and other forms, by their magic numbers.
fn foreign(head: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
    if at(0x38, b"ARM\x64") {
        return Some("a kernel for arm64");
    }
    if at(0x38, b"RSC\x05") {
        return Some("a kernel for riscv");
    }
    if at(0x24, &[0x18, 0x28, 0x6f, 0x01]) {
        return Some("a kernel for 32-bit arm");
    }
    if at(0, b"\x7fELF") {
        return Some(match (number(head, 18, 2), number(head, 16, 2)) {
            (62, 2 | 3) => "an ELF file, perhaps the vmlinux beside the bzImage",
            (183, _) => "an ELF file for arm64",
            (243, _) => "an ELF file for riscv",
            (3, _) => "an ELF file for 32-bit x86",
            _ => "an ELF file",
        });
    }
    if at(0, b"MZ") && at(4, b"zimg") {
        return Some("a compressed EFI kernel of another architecture (arm64, riscv or loongarch)");
    }
    if at(0, &[0x1f, 0x8b]) {
        return Some("gzip data, perhaps an Image.gz of another architecture");
    }
    let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    head.iter().take(512).all(printable).then_some("a text file")
}

/// The text that the header points at.
fn banner(file: &File, head: &[u8]) -> String {
    let mut bytes = [0; 256];
    let read = match number(head, BANNER, 2) {
        0 => 0,
        offset => file.read_at(&mut bytes, offset as u64 + 0x200).unwrap_or(0),
    };
    let text = bytes[..read].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).trim().to_owned()
}

/// A little-endian number of `bytes` bytes; 0 behind the end.
fn number(head: &[u8], offset: usize, bytes: usize) -> usize {
    let found = head.get(offset..offset + bytes).unwrap_or_default();
    found.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A header as of a bzImage of one setup sector and `paragraphs` of 16 bytes.
    pub fn bzimage(paragraphs: u32) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16 * paragraphs as usize];
        image[SETUP_SECTORS] = 1;
        image[SYSTEM_PARAGRAPHS..SYSTEM_PARAGRAPHS + 4].copy_from_slice(&paragraphs.to_le_bytes());
        image[BOOT_FLAG..BOOT_FLAG + 2].copy_from_slice(&[0x55, 0xaa]);
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[PROTOCOL..PROTOCOL + 2].copy_from_slice(&0x20fu16.to_le_bytes());
        image[BANNER..BANNER + 2].copy_from_slice(&0x100u16.to_le_bytes());
        image[LOAD_FLAGS] = 0x7f;
        image[0x300..0x306].copy_from_slice(b"6.99.1");
        image
    }

    fn read(bytes: &[u8]) -> Result<Image, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, bytes).unwrap();
        Image::read(&path).map_err(|error| error.to_string().replace(directory.path().to_str().unwrap(), ""))
    }

    #[test]
    fn a_bzimage_gives_its_banner() {
        assert_eq!(read(&bzimage(100)).unwrap().banner, "6.99.1");
        let mut nameless = bzimage(100);
        nameless[BANNER] = 0;
        nameless[BANNER + 1] = 0;
        assert_eq!(read(&nameless).unwrap().banner, "");
    }

    #[test]
    fn what_is_cut_off_is_told_from_what_is_no_kernel() {
        let image = bzimage(100);
        let error = read(&image[..1500]).unwrap_err();
        assert_eq!(error, "kernel image `/image` is cut off: 1500 bytes of 2624; copy it again");
        assert!(read(&image[..300]).unwrap_err().starts_with("`/image` is no kernel image; give a bzImage"));
    }

    #[test]
    fn other_architectures_and_forms_are_named() {
        let with = |offset: usize, magic: &[u8]| {
            let mut head = vec![0; 1024];
            head[offset..offset + magic.len()].copy_from_slice(magic);
            head
        };
        let mut bits_32 = bzimage(10);
        bits_32[LOAD_FLAGS] = 0;
        for (bytes, found) in [
            (with(0x38, b"ARM\x64"), "a kernel for arm64"),
            (with(0x38, b"RSC\x05"), "a kernel for riscv"),
            (with(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0"), "an ELF file, perhaps the vmlinux"),
            (with(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0"), "an ELF file for arm64"),
            (with(0, b"MZ\0\0zimg"), "a compressed EFI kernel of another architecture"),
            (with(0, b"\x1f\x8b\x08"), "gzip data"),
            (b"just words\n".to_vec(), "a text file"),
            (Vec::new(), "an empty file"),
            (vec![0; 2000], "no kernel image"),
            (bits_32, "a kernel for 32-bit x86"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.starts_with(&format!("`/image` is {found}")), "{error}");
        }
        let missing = Image::read(Path::new("/no/such/image")).unwrap_err().to_string();
        assert!(missing.starts_with("failed to read kernel image `/no/such/image`: No such file"), "{missing}");
    }
}
