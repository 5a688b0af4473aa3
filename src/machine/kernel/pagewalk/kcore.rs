//! Reads page tables through /proc/kcore (CONFIG_PROC_KCORE; CAP_SYS_RAWIO; not under lockdown=confidentiality): an ELF image
//! of kernel memory, whose segments say where physical memory is and whose notes say where the top table is.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Anchor, physical_bits, walk_all};
use crate::placement::image::PAGE_BYTES;
use crate::placement::mapping::look::Look;
use crate::placement::mapping::walk::{ENTRIES, Root, Table, Tables, WalkError, Walker};
use crate::placement::mapping::{Leaf, Source};

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// `Elf64_Phdr`.
const HEADER_BYTES: usize = 56;
/// `__START_KERNEL_map`: nothing else that is memory in one piece is mapped from here on but the kernel's image.
const IMAGE: u64 = 0xffff_ffff_8000_0000;
/// A kernel has some dozens of segments and a few KiB of notes; more is no kcore.
const MOST_HEADERS: usize = 4096;
const MOST_NOTE_BYTES: u64 = 1 << 20;

/// A stretch of kernel memory in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    kind: u32,
    offset: u64,
    virt: u64,
    /// All ones where the memory is not one piece, as in the vmalloc area (`get_kcore_size`, fs/proc/kcore.c).
    phys: u64,
    bytes: u64,
}

/// Kernel memory by physical address.
#[derive(Debug)]
struct Kcore {
    file: File,
    segments: Vec<Segment>,
}

/// Where the map of all memory begins: the largest piece of physical memory lies in it.
pub(super) fn direct_map(path: &Path) -> Result<u64, String> {
    let file = File::open(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    Kcore::new(file)?.direct_map().ok_or_else(|| "`/proc/kcore` does not show where memory is mapped".to_owned())
}

/// First address behind the kernel's image (`_end`: `proc_kcore_text_init`, fs/proc/kcore.c).
pub(super) fn kernel_end(path: &Path) -> Option<u64> {
    let kcore = Kcore::new(File::open(path).ok()?).ok()?;
    let image = kcore.segments.iter().find(|segment| segment.is_memory() && segment.virt >= IMAGE);
    image.map(Segment::end)
}

/// Page tables, checked to be what they seem.
#[derive(Debug)]
pub struct KcoreWalk {
    kcore: Kcore,
    root: Root,
}

impl KcoreWalk {
    /// Finds the top table and checks the walk against places whose frames the file itself tells.
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
        let mut kcore = Kcore::new(file)?;
        let notes = kcore.notes()?;
        let number = |key: &str, radix| {
            let line = notes.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.and_then(|value| u64::from_str_radix(value.trim(), radix).ok())
        };
        let top = number("SYMBOL(init_top_pgt)", 16).or_else(|| number("SYMBOL(swapper_pg_dir)", 16));
        let top = top.ok_or("its notes do not tell where the top page table is")?;
        let levels = if number("NUMBER(pgtable_l5_enabled)", 10) == Some(1) { 5 } else { 4 };
        let frame = kcore.phys(top).ok_or("no segment holds the top page table")? / PAGE_BYTES;
        let root = Root { frame, levels, physical_bits: physical_bits() };
        kcore.check(root, top)?;
        Ok(Self { kcore, root })
    }

    /// What another way of reading the same tables can begin with.
    pub fn anchor(&self) -> Option<Anchor> {
        Some(Anchor { base: self.kcore.direct_map()?, root: self.root })
    }
}

impl Look for KcoreWalk {
    fn source(&self) -> Source {
        Source::KcoreWalk
    }

    fn look(&mut self, pages: &[u64]) -> Result<BTreeMap<u64, Leaf>, String> {
        walk_all(&mut self.kcore, self.root, pages)
    }

    fn alias(&self, frame: u64) -> Option<u64> {
        self.kcore.alias(frame)
    }
}

impl Tables for Kcore {
    fn table(&mut self, frame: u64) -> Result<Table, WalkError> {
        let unreadable = |reason: String| WalkError::Unreadable { frame, reason };
        let addr = frame * PAGE_BYTES;
        let segment = self.segments.iter().find(|segment| segment.holds_phys(addr));
        let segment = segment.ok_or_else(|| unreadable("no segment of `/proc/kcore` holds it".to_owned()))?;
        let mut bytes = [0u8; PAGE_BYTES as usize];
        let read = self.file.read_exact_at(&mut bytes, segment.offset + (addr - segment.phys));
        read.map_err(|error| unreadable(error.to_string()))?;
        let mut table = [0; ENTRIES];
        for (entry, bytes) in table.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        Ok(table)
    }
}

impl Kcore {
    fn new(file: File) -> Result<Self, String> {
        let mut head = [0u8; 64];
        file.read_exact_at(&mut head, 0).map_err(|error| format!("`/proc/kcore`: {error}"))?;
        if !head.starts_with(b"\x7fELF\x02\x01") {
            return Err("`/proc/kcore` is no 64-bit ELF file".to_owned());
        }
        let (start, size, count) = (word(&head, 32), half(&head, 54), half(&head, 56));
        if size != HEADER_BYTES || count > MOST_HEADERS {
            return Err("`/proc/kcore` has program headers of an unknown form".to_owned());
        }
        let mut headers = vec![0u8; size * count];
        file.read_exact_at(&mut headers, start).map_err(|error| format!("`/proc/kcore`: {error}"))?;
        Ok(Self { segments: headers.chunks_exact(HEADER_BYTES).map(Segment::of).collect(), file })
    }

    /// The text of the note VMCOREINFO (Documentation/admin-guide/kdump/vmcoreinfo.rst).
    fn notes(&self) -> Result<String, String> {
        let notes = self.segments.iter().filter(|segment| segment.kind == PT_NOTE && segment.bytes <= MOST_NOTE_BYTES);
        for segment in notes {
            let mut bytes = vec![0; segment.bytes as usize];
            let read = self.file.read_exact_at(&mut bytes, segment.offset);
            read.map_err(|error| format!("`/proc/kcore`: {error}"))?;
            if let Some(text) = note(&bytes, b"VMCOREINFO") {
                return Ok(String::from_utf8_lossy(text).into_owned());
            }
        }
        Err("`/proc/kcore` has no note VMCOREINFO (it came with Linux 4.19)".to_owned())
    }

    /// Kernel text is in a segment too; the direct map is the largest of all.
    fn alias(&self, frame: u64) -> Option<u64> {
        let segments = self.segments.iter().filter(|segment| segment.holds_phys(frame * PAGE_BYTES));
        let largest = segments.max_by_key(|segment| segment.bytes)?;
        Some((largest.virt + frame * PAGE_BYTES - largest.phys) / PAGE_BYTES)
    }

    fn phys(&self, virt: u64) -> Option<u64> {
        let holds = |segment: &&Segment| segment.is_memory() && (segment.virt..segment.end()).contains(&virt);
        self.segments.iter().find(holds).map(|segment| segment.phys + (virt - segment.virt))
    }

    fn direct_map(&self) -> Option<u64> {
        self.largest().and_then(|segment| segment.virt.checked_sub(segment.phys))
    }

    fn largest(&self) -> Option<&Segment> {
        self.segments.iter().filter(|segment| segment.is_memory()).max_by_key(|segment| segment.bytes)
    }

    /// The top table must map itself, and the largest segment of physical memory, to the frames that the file tells.
    fn check(&mut self, root: Root, top: u64) -> Result<(), String> {
        let known = self.largest().map(|segment| (segment.virt, segment.phys / PAGE_BYTES));
        let mut walker = Walker::new(self, root);
        for (addr, frame) in [Some((top, root.frame)), known].into_iter().flatten() {
            walker.expect(addr, frame).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Segment {
    fn of(header: &[u8]) -> Self {
        Self {
            kind: half(header, 0) as u32 | (half(header, 2) as u32) << 16,
            offset: word(header, 8),
            virt: word(header, 16),
            phys: word(header, 24),
            bytes: word(header, 32),
        }
    }

    /// Whether it shows physical memory in one piece.
    fn is_memory(&self) -> bool {
        self.kind == PT_LOAD && self.phys != u64::MAX && self.virt.checked_add(self.bytes).is_some()
    }

    fn holds_phys(&self, addr: u64) -> bool {
        self.is_memory() && addr >= self.phys && addr - self.phys < self.bytes
    }

    fn end(&self) -> u64 {
        self.virt.saturating_add(self.bytes)
    }
}

/// The content of the note called `name`: each is two lengths and a type, the name, the content, the last two padded to 4 bytes.
fn note<'a>(mut notes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    while notes.len() >= 12 {
        let length = |at: usize| half(notes, at) | half(notes, at + 2) << 16;
        let (name_bytes, content_bytes) = (length(0), length(4));
        let content = 12 + name_bytes.next_multiple_of(4);
        let end = content.checked_add(content_bytes)?;
        let own_name = notes.get(12..12 + name_bytes)?;
        let own_content = notes.get(content..end)?;
        if own_name.strip_suffix(b"\0").unwrap_or(own_name) == name {
            return Some(own_content);
        }
        notes = notes.get(end.next_multiple_of(4)..)?;
    }
    None
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

fn half(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| usize::from(u16::from_le_bytes(*chunk)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::placement::mapping::PageSize;

    const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
    const TEXT: u64 = 0xffff_ffff_8100_0000;
    const PACK: u64 = 0xffff_ffff_c000_0000;
    /// Where the frames of the made-up machine lie in the file.
    const MEMORY_AT: u64 = 0x2000;

    /// A machine of 16 frames, whose kernel text begins in frame 8 and whose top table is the second page of it.
    struct Made {
        frames: Vec<[u64; ENTRIES]>,
        notes: String,
    }

    impl Made {
        /// Top table in frame 9; the direct map by 1 GiB, the text by 2 MiB, one pack page by 4 KiB.
        fn new() -> Self {
            let mut frames = vec![[0; ENTRIES]; 16];
            let at = |addr: u64, level: u32| (addr >> (12 + 9 * (level - 1))) as usize % ENTRIES;
            let table = |frame: u64| frame << 12 | 0x63;
            frames[9][at(DIRECT_MAP, 4)] = table(1);
            frames[1][at(DIRECT_MAP, 3)] = 1 << 63 | 0x1e3;
            frames[9][at(TEXT, 4)] = table(2);
            frames[2][at(TEXT, 3)] = table(3);
            frames[3][at(TEXT, 2)] = 0x1e1;
            frames[2][at(PACK, 3)] = table(4);
            frames[4][at(PACK, 2)] = table(5);
            frames[5][at(PACK, 1)] = 0xd << 12 | 0x161;
            let notes =
                format!("OSRELEASE=6.1.0\nSYMBOL(swapper_pg_dir)={:x}\nNUMBER(pgtable_l5_enabled)=0\n", TEXT + 0x9000);
            Self { frames, notes }
        }

        fn write(&self, directory: &Path) -> PathBuf {
            let pad = |text: &[u8]| {
                let mut text = text.to_vec();
                text.resize(text.len().next_multiple_of(4), 0);
                text
            };
            let mut notes = Vec::new();
            for (name, content) in [(&b"CORE\0"[..], &b"xyz"[..]), (b"VMCOREINFO\0", self.notes.as_bytes())] {
                notes.extend([name.len() as u32, content.len() as u32, 0].iter().flat_map(|word| word.to_le_bytes()));
                notes.extend(pad(name));
                notes.extend(pad(content));
            }
            let memory = self.frames.len() as u64 * PAGE_BYTES;
            let segments = [
                (PT_NOTE, 0x1000, 0, 0, notes.len() as u64),
                // The vmalloc area covers anything and must not be taken for memory.
                (PT_LOAD, 0x80_0000, 0xffff_c900_0000_0000, u64::MAX, 1 << 40),
                // As does that of modules.
                (PT_LOAD, 0x80_0000, PACK, u64::MAX, 0x3f00_0000),
                (PT_LOAD, MEMORY_AT, TEXT, 0, memory / 2 + 0x8000),
                (PT_LOAD, MEMORY_AT, DIRECT_MAP, 0, memory),
            ];
            let mut file = vec![0u8; MEMORY_AT as usize];
            file[..6].copy_from_slice(b"\x7fELF\x02\x01");
            file[32..40].copy_from_slice(&64u64.to_le_bytes());
            file[54..56].copy_from_slice(&56u16.to_le_bytes());
            file[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
            for (i, (kind, offset, virt, phys, bytes)) in segments.into_iter().enumerate() {
                let header = &mut file[64 + 56 * i..64 + 56 * (i + 1)];
                header[..4].copy_from_slice(&kind.to_le_bytes());
                for (at, value) in [(8, offset), (16, virt), (24, phys), (32, bytes), (40, bytes)] {
                    header[at..at + 8].copy_from_slice(&value.to_le_bytes());
                }
            }
            file[0x1000..0x1000 + notes.len()].copy_from_slice(&notes);
            file.extend(self.frames.iter().flatten().flat_map(|entry| entry.to_le_bytes()));
            let path = directory.join("kcore");
            std::fs::write(&path, file).expect("write");
            path
        }
    }

    fn open(made: &Made) -> Result<KcoreWalk, String> {
        let directory = tempfile::tempdir().expect("directory");
        KcoreWalk::open(&made.write(directory.path()))
    }

    #[test]
    fn sizes_and_rights_are_found_through_the_segments_of_the_file() {
        let mut walk = open(&Made::new()).expect("a kcore");
        let page = |addr: u64| addr / PAGE_BYTES;
        let leaves = walk.look(&[page(PACK), page(PACK) + 1, page(TEXT) + 3, page(DIRECT_MAP) + 2]).expect("a look");
        let pack = leaves[&page(PACK)];
        assert_eq!((pack.size, pack.writable, pack.executable, pack.frame), (PageSize::Small, false, true, Some(0xd)));
        assert_eq!(leaves[&(page(TEXT) + 3)].size, PageSize::Large);
        let alias = leaves[&(page(DIRECT_MAP) + 2)];
        assert_eq!((alias.size, alias.executable, alias.frame), (PageSize::Huge, false, Some(2)));
        assert!(!leaves.contains_key(&(page(PACK) + 1)), "not mapped");
    }

    #[test]
    fn the_direct_map_is_where_most_memory_is() {
        let directory = tempfile::tempdir().expect("directory");
        assert_eq!(direct_map(&Made::new().write(directory.path())), Ok(DIRECT_MAP));
        assert_eq!(kernel_end(&Made::new().write(directory.path())), Some(TEXT + 0x1_0000), "not of the modules' area");
        let anchor = open(&Made::new()).expect("a kcore").anchor().expect("an anchor");
        assert_eq!((anchor.base, anchor.root.frame, anchor.root.levels), (DIRECT_MAP, 9, 4));
    }

    #[test]
    fn tables_that_do_not_map_themselves_are_not_believed() {
        let mut made = Made::new();
        made.frames[3][TEXT as usize >> 21 & 511] = 0x20_0000 | 0x1e1;
        let reason = open(&made).expect_err("text is mapped elsewhere");
        assert!(reason.contains("is known to lie"), "{reason}");
        let mut made = Made::new();
        made.frames[1][0] = 0;
        assert!(open(&made).is_err(), "the direct map is not mapped");
    }

    #[test]
    fn a_file_without_the_notes_or_of_another_kind_is_a_reason() {
        let mut made = Made::new();
        made.notes = "OSRELEASE=6.1.0\n".to_owned();
        assert_eq!(open(&made).expect_err("no symbol"), "its notes do not tell where the top page table is");
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("kcore");
        assert!(KcoreWalk::open(&path).expect_err("no file").contains("No such file"));
        std::fs::write(&path, [0u8; 128]).expect("write");
        assert_eq!(KcoreWalk::open(&path).expect_err("zeros"), "`/proc/kcore` is no 64-bit ELF file");
    }

    #[test]
    fn torn_notes_end_the_search_and_do_not_panic() {
        let whole =
            [8u32, 4, 0].iter().flat_map(|word| word.to_le_bytes()).chain(*b"CORE\0\0\0\0abcd").collect::<Vec<u8>>();
        assert_eq!(note(&whole, b"CORE\0\0\0"), Some(&b"abcd"[..]));
        for cut in 0..whole.len() {
            assert_eq!(note(&whole[..cut], b"CORE\0\0\0"), None);
        }
        assert_eq!(note(&[0xff; 40], b"CORE"), None);
    }
}
