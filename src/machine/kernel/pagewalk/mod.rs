//! In: addresses of JITed code. Out: how the running kernel maps them, by every source this host offers.
//! Apart because each source opens something of the kernel's: a BPF program, /proc/kcore, debugfs.

mod bpf;
mod direct_map;
mod kcore;
mod marker;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use self::bpf::BpfWalk;
use self::kcore::KcoreWalk;
use crate::placement::Addr;
use crate::placement::image::PAGE_BYTES;
use crate::placement::mapping::look::{Look, Looks};
use crate::placement::mapping::ptdump::Ptdump;
use crate::placement::mapping::walk::{Root, Tables, Walker};
use crate::placement::mapping::{Leaf, Source};

const KCORE: &str = "/proc/kcore";

/// Where the kernel maps all of its memory, as /proc/kcore tells, else as a BPF program finds it; the error says why neither does. The
/// program is gone when this returns, its place in the packs a little later: ask before a layout is built.
pub fn direct_map() -> Result<u64, String> {
    kcore::direct_map(Path::new(KCORE)).or_else(|reason| {
        let base = BpfWalk::open(None).map(|walk| walk.base());
        base.map_err(|other| format!("{reason}; {}: {other}", Source::BpfWalk))
    })
}

/// First address behind the kernel's image, as /proc/kcore tells or, in a text as long as the kernel has symbols, /proc/kallsyms.
pub fn kernel_end() -> Option<u64> {
    kcore::kernel_end(Path::new(KCORE)).or_else(|| {
        let symbols = BufReader::new(File::open("/proc/kallsyms").ok()?);
        symbol(symbols, &["_end"]).map(|addr| addr.0)
    })
}

/// Opens every source. The BPF programs among them take a place in the packs: open before a layout is built, and keep open.
pub fn open() -> Looks {
    let mut looks = Looks::new(kernel_text());
    let (bpf, kcore) = walks();
    looks.add(Source::BpfWalk, bpf.map(boxed));
    looks.add(Source::KcoreWalk, kcore.map(boxed));
    looks.add(Source::Ptdump, PtdumpFile::open(Path::new("/sys/kernel/debug/page_tables/kernel")).map(boxed));
    looks
}

/// The first source that works, for a thread of its own.
pub fn open_one() -> Result<Box<dyn Look>, String> {
    let (bpf, kcore) = walks();
    bpf.map(boxed).or_else(|reason| {
        let kcore = kcore.map(boxed);
        kcore.map_err(|other| format!("{}: {reason}; {}: {other}", Source::BpfWalk, Source::KcoreWalk))
    })
}

/// Both ways to walk. What /proc/kcore tells spares the other its search.
fn walks() -> (Result<BpfWalk, String>, Result<KcoreWalk, String>) {
    let kcore = KcoreWalk::open(Path::new(KCORE));
    let anchor = kcore.as_ref().ok().and_then(KcoreWalk::anchor);
    (BpfWalk::open(anchor), kcore)
}

/// Where the kernel maps all memory, and where its page tables begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    base: u64,
    root: Root,
}

fn boxed(look: impl Look + 'static) -> Box<dyn Look> {
    Box::new(look)
}

/// A file of debugfs.
#[derive(Debug)]
struct PtdumpFile<'a> {
    path: &'a Path,
}

impl<'a> PtdumpFile<'a> {
    fn open(path: &'a Path) -> Result<Self, String> {
        let mut first = String::new();
        let file = File::open(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
        BufReader::new(file).read_line(&mut first).map_err(|error| format!("`{}`: {error}", path.display()))?;
        Ok(Self { path })
    }
}

impl Look for PtdumpFile<'_> {
    fn source(&self) -> Source {
        Source::Ptdump
    }

    fn look(&mut self, pages: &[u64]) -> Result<BTreeMap<u64, Leaf>, String> {
        let text = fs::read_to_string(self.path).map_err(|error| format!("`{}`: {error}", self.path.display()))?;
        let dump = Ptdump::parse(&text).ok_or_else(|| format!("`{}` is no page-table dump", self.path.display()))?;
        Ok(pages.iter().filter_map(|page| Some((*page, dump.lookup(page * PAGE_BYTES)?))).collect())
    }
}

/// Walks to each of `pages` with fresh eyes.
fn walk_all<T: Tables>(tables: &mut T, root: Root, pages: &[u64]) -> Result<BTreeMap<u64, Leaf>, String> {
    let mut walker = Walker::new(tables, root);
    let mut leaves = BTreeMap::new();
    for page in pages {
        if let Some(leaf) = walker.walk(page * PAGE_BYTES).map_err(|error| error.to_string())? {
            leaves.insert(*page, leaf);
        }
    }
    Ok(leaves)
}

/// Bits of a physical address: encryption bits of SME and SEV are above them.
fn physical_bits() -> u32 {
    physical_bits_in(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn physical_bits_in(cpuinfo: &str) -> u32 {
    /// What the architecture allows, for want of better knowledge.
    const MOST: u32 = 52;
    let line = cpuinfo.lines().find(|line| line.starts_with("address sizes"));
    let bits = line.and_then(|line| line.split_once(':')?.1.split_whitespace().next()?.parse().ok());
    bits.unwrap_or(MOST)
}

/// Where the kernel's text begins; `None` if the kernel does not show it.
fn kernel_text() -> Option<Addr> {
    symbol(BufReader::new(File::open("/proc/kallsyms").ok()?), &["_text", "_stext"])
}

/// The address of the first symbol that has one of the names, unless the kernel hides it.
fn symbol(symbols: impl BufRead, names: &[&str]) -> Option<Addr> {
    let addr = |line: String| {
        let (addr, rest) = line.split_once(' ')?;
        let (_, name) = rest.split_once(' ')?;
        names.contains(&name).then_some(Addr(u64::from_str_radix(addr, 16).ok()?))
    };
    symbols.lines().map_while(Result::ok).find_map(addr).filter(|addr| addr.0 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn physical_bits_are_those_the_kernel_reports() {
        assert_eq!(physical_bits_in("flags\t: fpu\naddress sizes\t: 43 bits physical, 48 bits virtual\n"), 43);
        assert_eq!(physical_bits_in("processor\t: 0\n"), 52);
    }

    #[test]
    fn a_symbol_is_told_from_others_and_from_one_that_is_hidden() {
        let shown = "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text_of_others\nffffffff81000200 T _stext\n\
                     ffffffff82e00000 B _end\nffffffffc0000000 t _end\t[module]\n";
        assert_eq!(symbol(shown.as_bytes(), &["_text", "_stext"]), Some(Addr(0xffff_ffff_8100_0200)));
        assert_eq!(symbol(shown.as_bytes(), &["_end"]), Some(Addr(0xffff_ffff_82e0_0000)));
        assert_eq!(symbol(shown.as_bytes(), &["_text"]), None);
        assert_eq!(symbol(&b"0000000000000000 B _end\n"[..], &["_end"]), None);
    }

    #[test]
    fn a_dump_in_a_file_is_a_source_and_its_absence_a_reason() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("kernel");
        let reason = PtdumpFile::open(&path).expect_err("there is none");
        assert!(reason.contains("No such file"), "{reason}");
        std::fs::write(&path, "0xffffffffc0000000-0xffffffffc0002000           8K     ro                     x  pte\n")
            .expect("write");
        let leaves = PtdumpFile::open(&path).expect("a dump").look(&[0xf_ffff_fffc_0001, 1]).expect("a look");
        assert!(leaves[&0xf_ffff_fffc_0001].executable && leaves.len() == 1);
    }
}
