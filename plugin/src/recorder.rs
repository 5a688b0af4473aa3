//! From marks and blocks to windows: what the plugin does, without qemu.

use std::io::{self, Write};
use std::ops::Range;

use crate::arguments::{Arguments, jit_text};
use crate::block::{Block, Told};
use crate::model::fetched::{Counts, End, FORMAT, Header, Pages, Record, Window};
use crate::model::geometry::Named;
use crate::model::itlb::{Found, Itlb};
use crate::sizes::{Guest, Sizes};

/// First address of the upper half: kernel from here on.
const KERNEL: u64 = 1 << 63;

/// One CPU of the guest. Its iTLB stays as it is between windows.
#[derive(Debug)]
struct Cpu {
    itlb: Itlb,
    open: Option<Window>,
    sizes: Sizes,
    /// Fetches from here are of JIT text.
    jit: Range<u64>,
}

/// Follows the windows of all CPUs and writes each when it ends.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    out: W,
    model: Named,
    /// What was asked for to be JIT text.
    jit: Option<Range<u64>>,
    cpus: Vec<Cpu>,
    end: End,
    /// The first failure to write; nothing is written behind it.
    failure: Option<io::Error>,
}

impl<W: Write> Recorder<W> {
    /// A recorder that has written its header. `api` is the newest version of the plugin API that qemu knows.
    pub fn new(mut out: W, arguments: Arguments, api: i32) -> io::Result<Self> {
        let Arguments { model, jit, .. } = arguments;
        let hexadecimal = |addr: u64| format!("{addr:#x}");
        let told_nothing = jit_text(jit.as_ref(), 0);
        let header = Header {
            format: FORMAT,
            model: model.name.clone(),
            jit_from: hexadecimal(told_nothing.start),
            jit_to: hexadecimal(told_nothing.end),
            api,
        };
        write_line(&mut out, &Record::Header(header))?;
        Ok(Self { out, model, jit, cpus: Vec::new(), end: End { windows: 0, stray_ends: 0 }, failure: None })
    }

    /// A window begins on `cpu`. One that is open there is written as cut.
    pub fn begin(&mut self, cpu: usize, told: Told) {
        self.close(cpu, true);
        while self.cpus.len() <= cpu {
            let itlb = Itlb::new(&self.model.geometry);
            self.cpus.push(Cpu { itlb, open: None, sizes: Sizes::default(), jit: 0..0 });
        }
        let cpu = &mut self.cpus[cpu];
        cpu.sizes.begin(told.direct_map);
        cpu.jit = jit_text(self.jit.as_ref(), told.kernel_end);
        cpu.open = Some(Window { tag: told.tag, ..Window::default() });
    }

    /// The window on `cpu` ends.
    pub fn end(&mut self, cpu: usize) {
        if !self.close(cpu, false) {
            self.end.stray_ends += 1;
        }
    }

    /// `cpu` runs a block; outside a window that means nothing.
    pub fn run(&mut self, cpu: usize, block: &Block, guest: &mut impl Guest) {
        let Some(Cpu { itlb, open: Some(window), sizes, jit }) = self.cpus.get_mut(cpu) else { return };
        window.instructions += u64::from(block.instructions());
        for addr in block.pages() {
            let seen = sizes.of(addr, guest);
            let found = itlb.fetch(addr, seen.size.modelled());
            let Window { tables_read, tables_failed, .. } = window;
            let (mut read, mut failed) = (*tables_read, *tables_failed);
            let (counts, pages) = kind(window, addr, jit);
            counts.fetches += 1;
            counts.l1_misses += u64::from(found != Found::L1);
            counts.walks += u64::from(found == Found::Walk);
            if let Some(news) = seen.news {
                news.count(seen.size, &mut read, &mut failed, pages);
                (window.tables_read, window.tables_failed) = (read, failed);
            }
        }
    }

    /// qemu ends: writes what is open, and the last line. Gives the failure to write, if there was one.
    pub fn finish(&mut self) -> io::Result<()> {
        for cpu in 0..self.cpus.len() {
            self.close(cpu, true);
        }
        self.write(&Record::End(self.end));
        self.failure.take().map_or(Ok(()), Err)
    }

    fn close(&mut self, cpu: usize, cut: bool) -> bool {
        let Some(mut window) = self.cpus.get_mut(cpu).and_then(|cpu| cpu.open.take()) else { return false };
        window.cut = cut;
        self.end.windows += 1;
        self.write(&Record::Window(window));
        true
    }

    fn write(&mut self, record: &Record) {
        if self.failure.is_none() {
            self.failure = write_line(&mut self.out, record).err();
        }
    }
}

/// The counts that a fetch from `addr` belongs to.
fn kind<'w>(window: &'w mut Window, addr: u64, jit: &Range<u64>) -> (&'w mut Counts, &'w mut Pages) {
    if jit.contains(&addr) {
        (&mut window.jit, &mut window.jit_pages)
    } else if addr >= KERNEL {
        (&mut window.kernel, &mut window.kernel_pages)
    } else {
        (&mut window.user, &mut window.user_pages)
    }
}

/// One write for each line, so that no reader sees half of one unless the disk is full.
fn write_line(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

#[cfg(test)]
mod tests;
