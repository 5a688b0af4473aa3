//! How pages are mapped: once for all programs, or again and again while others load.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::machine::kernel::pagewalk;
use crate::placement::image::{PAGE_BYTES, REGION_BYTES};
use crate::placement::mapping::look::Looks;
use crate::placement::mapping::{Leaf, observed};
use crate::placement::{Addr, Image};
use crate::selftest::trace::{Event, Mapped, MappedPage, Watched};

/// Regions of 2 MiB that are watched from below the first program on.
const BEFORE: u64 = 2;
const REGIONS: u64 = 10;

fn mapped(leaf: &Leaf) -> Mapped {
    Mapped { size: leaf.size, writable: leaf.writable, executable: leaf.executable }
}

/// The pages of `images`, the first page of text of each kernel module, and the aliases of all in the direct map.
pub fn look_up(looks: &mut Looks, images: &[Image]) -> Event {
    let modules = module_pages(&fs::read_to_string("/proc/modules").unwrap_or_default());
    let mut pages = observed::pages_of(images);
    pages.extend(&modules);
    let text = match looks.leaves(&pages) {
        Ok(seen) => seen.leaves,
        Err(reason) => return Event::CannotHere(format!("page tables cannot be read: {reason}")),
    };
    let alias_of = |page: &u64, looks: &Looks| looks.alias(text.get(page)?.frame?);
    let aliases: BTreeSet<u64> = pages.iter().filter_map(|page| alias_of(page, looks)).collect();
    let alias_leaves =
        looks.leaves(&aliases.into_iter().collect::<Vec<_>>()).map(|seen| seen.leaves).unwrap_or_default();
    let page = |page: &u64| MappedPage {
        page: *page,
        of_module: modules.contains(page),
        text: text.get(page).map(mapped),
        alias: alias_of(page, looks).and_then(|alias| alias_leaves.get(&alias)).map(mapped),
    };
    Event::Mapped(pages.iter().map(page).collect())
}

/// First pages of modules, as /proc/modules shows them; a module begins with its text.
fn module_pages(text: &str) -> BTreeSet<u64> {
    let page = |line: &str| {
        let address = line.split_whitespace().nth(5)?.strip_prefix("0x")?;
        Some(Addr(u64::from_str_radix(address, 16).ok()?).page()).filter(|page| *page > 0)
    };
    text.lines().filter_map(page).collect()
}

/// A thread that walks the page tables of the module area without pause.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Watched, String>>,
}

impl Watcher {
    /// Watches from below `first` on.
    pub fn start(first: Addr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let (ready, opened) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || watch(first, &flag, &ready));
        // What is loaded before it looks would not be seen.
        let _ = opened.recv();
        Self { stop, thread }
    }

    /// Stops, and says what it saw.
    pub fn stop(self) -> Event {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(Ok(watched)) => Event::Watched(watched),
            Ok(Err(reason)) => Event::CannotHere(format!("page tables cannot be read: {reason}")),
            Err(_) => Event::CannotHere("the watcher came to grief".to_owned()),
        }
    }
}

fn watch(first: Addr, stop: &AtomicBool, ready: &std::sync::mpsc::Sender<()>) -> Result<Watched, String> {
    let mut look = pagewalk::open_one()?;
    let from = (first.region().saturating_sub(BEFORE)) * (REGION_BYTES / PAGE_BYTES);
    let pages: Vec<u64> = (from..from + REGIONS * REGION_BYTES / PAGE_BYTES).collect();
    let (mut seen, mut both) = (Watched::default(), BTreeSet::new());
    let _ = ready.send(());
    while !stop.load(Ordering::Relaxed) {
        // Tables come and go while they are read; such a look says nothing.
        let Ok(leaves) = look.look(&pages) else { continue };
        seen.looks += 1;
        seen.pages += leaves.len() as u64;
        both.extend(leaves.iter().filter(|(_, leaf)| leaf.writable && leaf.executable).map(|(page, _)| *page));
    }
    seen.writable_executable = both.into_iter().collect();
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_where_proc_says_unless_their_addresses_are_hidden() {
        let text = "tls 110592 0 - Live 0xffffffffc0401000\nvirtio_rng 16384 1 tls, Live 0xffffffffc0350000 (E)\nhidden 4096 0 - Live 0x0000000000000000\n";
        assert_eq!(module_pages(text), BTreeSet::from([0xf_ffff_fffc_0350, 0xf_ffff_fffc_0401]));
    }
}
