use super::*;
use crate::arguments::Asked;
use crate::model::fetched::{Output, Unusable};
use crate::paging::Control;

const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
const JIT: u64 = 0xffff_ffff_c020_0000;
const TEXT: u64 = 0xffff_ffff_8100_0000;
const USER: u64 = 0x0000_7f12_3456_7000;

/// A guest whose tables map the user half by 4 KiB, kernel text by 2 MiB, and JIT text as told. Every address holds itself.
struct Fake {
    jit_is_huge: bool,
    no_registers: bool,
    direct_map: u64,
    reads: u64,
}

fn fake() -> Fake {
    Fake { jit_is_huge: false, no_registers: false, direct_map: DIRECT_MAP, reads: 0 }
}

/// The table that an entry at the top, the second and the third level names.
const TABLE: [u64; 4] = [0x1000, 0x2000, 0x3000, 0x4000];

impl Guest for Fake {
    fn control(&mut self) -> Option<Control> {
        (!self.no_registers).then_some(Control { cr3: TABLE[0], cr4: 0 })
    }

    fn read(&mut self, addr: u64) -> Option<u64> {
        self.reads += 1;
        // Outside the direct map: code.
        let Some(phys) = addr.checked_sub(self.direct_map).filter(|phys| *phys < 1 << 40) else {
            return Some(0xc0de);
        };
        let slot = (phys & 0xfff) / 8;
        Some(match phys & !0xfff {
            0x1000 => TABLE[1] | 1,
            0x2000 => TABLE[2] | 1,
            // Kernel text lies in [-2 GiB, -1 GiB): its slots of 2 MiB begin at 8 of the table of the first gigabyte.
            0x3000 if slot == 8 || (slot == 1 && self.jit_is_huge) => 0x20_0000 | 0x81,
            0x3000 => TABLE[3] | 1,
            0x4000 => 0x10_0000 | slot << 12 | 1,
            _ => 0xc0de,
        })
    }
}

fn arguments() -> Arguments {
    match Asked::parse(["out=x", "model=zen3"]).unwrap() {
        Asked::Count(arguments) => arguments,
        Asked::Probe => panic!("a probe"),
    }
}

fn told(direct_map: u64, tag: u64) -> Told {
    Told { direct_map, tag, kernel_end: 0 }
}

fn recorder() -> Recorder<Vec<u8>> {
    Recorder::new(Vec::new(), arguments(), 4).unwrap()
}

fn block(addr: u64) -> Block {
    Block::new(addr, addr + 8, 4, 3)
}

/// Visits `pages` pages of JIT text, `times` over.
fn visit(recorder: &mut Recorder<Vec<u8>>, guest: &mut Fake, pages: u64, times: u64) {
    for at in (0..times).flat_map(|_| 0..pages) {
        recorder.run(0, &block(JIT + at * 4096), guest);
    }
}

fn output(mut recorder: Recorder<Vec<u8>>) -> Output {
    recorder.finish().unwrap();
    Output::parse(&recorder.out).unwrap()
}

#[test]
fn fetches_are_counted_by_kind_and_only_inside_windows() {
    let mut recorder = recorder();
    let guest = &mut fake();
    recorder.run(0, &block(JIT), guest);
    recorder.begin(0, told(DIRECT_MAP, 7));
    recorder.run(0, &block(USER), guest);
    recorder.run(0, &block(TEXT), guest);
    recorder.run(0, &block(TEXT + 0x1000), guest);
    recorder.run(0, &block(JIT), guest);
    recorder.run(0, &block(JIT), guest);
    recorder.end(0);
    recorder.run(0, &block(JIT), guest);
    let output = output(recorder);
    assert_eq!((output.header.model.as_str(), output.windows.len()), ("zen3", 1));
    let window = &output.windows[0];
    assert_eq!((window.tag, window.instructions, window.check()), (7, 15, Ok(())));
    let once = Counts { fetches: 1, l1_misses: 1, walks: 1 };
    assert_eq!(window.user, once);
    assert_eq!((window.kernel, window.jit), (Counts { fetches: 2, ..once }, Counts { fetches: 2, ..once }));
    assert_eq!(window.kernel_pages, Pages { huge: 1, ..Pages::default() });
    assert_eq!(window.jit_pages, Pages { small: 1, ..Pages::default() });
    assert_eq!((window.tables_read, window.tables_failed), (4, 0));
}

#[test]
fn a_kernel_that_cannot_move_has_its_jit_text_right_behind_its_image() {
    // Where modules and BPF programs begin without CONFIG_RANDOMIZE_BASE.
    const LOW: u64 = 0xffff_ffff_a000_0000;
    let counted = |kernel_end: u64, jit: Option<Range<u64>>| {
        let mut recorder = Recorder::new(Vec::new(), Arguments { jit, ..arguments() }, 4).unwrap();
        recorder.begin(0, Told { kernel_end, ..told(DIRECT_MAP, 0) });
        for addr in [TEXT, TEXT + 0x1000, LOW, JIT, JIT + 0x1000] {
            recorder.run(0, &block(addr), &mut fake());
        }
        recorder.end(0);
        let window = output(recorder).windows.remove(0);
        (window.kernel.fetches, window.jit.fetches)
    };
    assert_eq!(counted(TEXT + 0x280_0000, None), (2, 3));
    assert_eq!(counted(0, None), (3, 2), "an older guest tells nothing");
    assert_eq!(counted(TEXT + 0x280_0000, Some(JIT..JIT + 0x1000)), (4, 1), "what was asked for wins");
}

#[test]
fn a_round_over_more_pages_than_an_lru_holds_misses_at_every_page() {
    for (pages, misses) in [(64, 0), (65, 650), (512, 5120)] {
        let mut recorder = recorder();
        recorder.begin(0, told(DIRECT_MAP, 0));
        visit(&mut recorder, &mut fake(), pages, 1);
        recorder.end(0);
        recorder.begin(0, told(DIRECT_MAP, 1));
        visit(&mut recorder, &mut fake(), pages, 10);
        recorder.end(0);
        let output = output(recorder);
        let (cold, warm) = (output.windows[0].jit, output.windows[1].jit);
        assert_eq!((cold.l1_misses, cold.walks), (pages, pages), "nothing was there before");
        assert_eq!((warm.fetches, warm.l1_misses, warm.walks), (pages * 10, misses, 0), "{pages}");
    }
}

#[test]
fn one_large_page_is_one_entry() {
    let mut recorder = recorder();
    recorder.begin(0, told(DIRECT_MAP, 0));
    visit(&mut recorder, &mut Fake { jit_is_huge: true, ..fake() }, 512, 10);
    recorder.end(0);
    let output = output(recorder);
    let window = &output.windows[0];
    assert_eq!(window.jit, Counts { fetches: 5120, l1_misses: 1, walks: 1 });
    assert_eq!((window.jit_pages, window.tables_read), (Pages { huge: 1, ..Pages::default() }, 512));
}

#[test]
fn tables_are_read_once_for_a_page_in_a_window_and_again_in_the_next() {
    let mut recorder = recorder();
    let guest = &mut fake();
    recorder.begin(0, told(DIRECT_MAP, 0));
    visit(&mut recorder, guest, 3, 1);
    let first = guest.reads;
    visit(&mut recorder, guest, 3, 9);
    assert_eq!(guest.reads, first);
    recorder.begin(0, told(DIRECT_MAP, 1));
    visit(&mut recorder, guest, 3, 1);
    assert_eq!(guest.reads, 2 * first);
}

#[test]
fn without_tables_a_window_says_so() {
    let check = |direct_map: u64, mut guest: Fake| {
        let mut recorder = recorder();
        recorder.begin(0, told(direct_map, 0));
        visit(&mut recorder, &mut guest, 3, 2);
        recorder.end(0);
        let window = output(recorder).windows.remove(0);
        assert_eq!(window.jit_pages, Pages::default());
        (window.check(), window.tables_read, window.tables_failed)
    };
    assert_eq!(check(0, fake()), (Err(Unusable::NoTables), 0, 0));
    assert_eq!(check(DIRECT_MAP, Fake { no_registers: true, ..fake() }), (Err(Unusable::NoTables), 3, 3));
    // A base that is another one: it reads bytes, but no tables, or leads to bytes that are not the code's.
    assert_eq!(check(DIRECT_MAP + (1 << 30), fake()), (Err(Unusable::NoTables), 3, 3));
}

#[test]
fn marks_that_do_not_pair_are_told() {
    let mut recorder = recorder();
    recorder.end(0);
    recorder.begin(0, told(DIRECT_MAP, 1));
    recorder.begin(0, told(DIRECT_MAP, 2));
    recorder.end(1);
    recorder.end(0);
    recorder.begin(1, told(DIRECT_MAP, 3));
    let output = output(recorder);
    let windows: Vec<_> = output.windows.iter().map(|window| (window.tag, window.cut)).collect();
    assert_eq!(windows, [(1, true), (2, false), (3, true)]);
    assert_eq!(output.end, Some(End { windows: 3, stray_ends: 2 }));
}

#[test]
fn each_cpu_has_an_itlb_of_its_own() {
    let mut recorder = recorder();
    for cpu in [0, 1] {
        recorder.begin(cpu, told(DIRECT_MAP, 0));
        recorder.run(cpu, &block(JIT), &mut fake());
    }
    recorder.end(1);
    recorder.end(0);
    assert!(output(recorder).windows.iter().all(|window| window.jit.walks == 1));
}

/// Takes so many bytes and no more.
#[derive(Debug)]
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_at_the_end() {
    let mut recorder = Recorder::new(Full(200), arguments(), 4).unwrap();
    recorder.begin(0, told(DIRECT_MAP, 0));
    recorder.end(0);
    assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
}
