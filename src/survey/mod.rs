//! In: what /proc/kallsyms and the kernel's program list say. Out: all JITed code of this host, page by page, with who shares
//! what. Apart because it loads nothing and needs no run: pure, so that a production host can be laid out in a test.

pub mod area;
pub mod kallsyms;
pub mod reach;
pub mod vmalloc;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::placement::image::PAGE_BYTES;
use crate::placement::{Addr, Image, pack};

pub use area::{Area, Cell};
pub use kallsyms::{Symbol, Symbols};
pub use reach::{Elsewhere, Reach};

/// A program as the kernel's list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub id: u32,
    pub name: String,
    /// `sched_cls`, `kprobe`, ...
    pub kind: String,
    /// Its functions; none if the kernel does not show where they are.
    pub images: Vec<Image>,
}

/// What a piece of code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A function of a program.
    Program,
    /// Calls programs around a kernel function (`bpf_trampoline_`).
    Trampoline,
    /// Calls one of several programs directly (`bpf_dispatcher_`).
    Dispatcher,
    /// Anything else that kallsyms calls `[bpf]`.
    Other,
}

/// One piece of JITed code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Code {
    #[serde(serialize_with = "hex")]
    pub addr: Addr,
    /// Absent where only kallsyms knows of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub len: Option<u32>,
    pub what: What,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Type of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its name begins with the prefix asked for.
    pub own: bool,
}

/// Addresses as readers of JSON in any language can hold them.
pub fn hex<S: serde::Serializer>(addr: &Addr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(addr)
}

impl Code {
    /// What of it is known to be code: one byte where the length is not known.
    pub fn image(&self) -> Image {
        Image { addr: self.addr, len: self.len.unwrap_or(1) }
    }
}

/// All JITed code, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    pub codes: Vec<Code>,
    /// Programs of the kernel's list that it gives no address for.
    pub hidden: u32,
    /// Page number to the codes (by index) that lie in it.
    users: BTreeMap<u64, Vec<u32>>,
}

/// Others on the pages of a code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Indices of the other codes, each once, by address.
    pub with: Vec<u32>,
    pub own: u32,
    pub foreign: u32,
}

/// What all of it amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub programs: u32,
    pub own_programs: u32,
    pub trampolines: u32,
    pub dispatchers: u32,
    pub other: u32,
    /// Pieces of code: a program has one for each of its functions.
    pub codes: u32,
    pub without_length: u32,
    pub bytes: u64,
    pub pages_4k: u32,
    pub regions_2m: u32,
    /// Pages that more than one piece of code lies in, and those that own and foreign code share.
    pub shared_pages: u32,
    pub mixed_pages: u32,
    /// Pages that the same chunks would take one behind the other.
    pub dense_pages_4k: u32,
}

impl Survey {
    /// Puts `symbols` and `programs` together; a program whose name begins with `own` is own.
    pub fn of(symbols: &[Symbol], programs: &[Program], own: &str) -> Self {
        let names: HashMap<u64, &Symbol> = symbols.iter().map(|symbol| (symbol.addr.0, symbol)).collect();
        let mut codes: BTreeMap<u64, Code> = BTreeMap::new();
        for program in programs {
            for image in program.images.iter().filter(|image| image.addr.0 != 0) {
                let symbol = names.get(&image.addr.0);
                codes.insert(image.addr.0, function(program, *image, symbol.map(|symbol| symbol.name.as_str()), own));
            }
        }
        for symbol in symbols {
            codes.entry(symbol.addr.0).or_insert_with(|| symbol.code(own));
        }
        let hidden = programs.iter().filter(|program| program.images.iter().all(|image| image.addr.0 == 0)).count();
        Self::from_codes(codes.into_values().collect(), hidden as u32)
    }

    fn from_codes(codes: Vec<Code>, hidden: u32) -> Self {
        let mut users: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (at, code) in codes.iter().enumerate() {
            code.image().pages().for_each(|page| users.entry(page).or_default().push(at as u32));
        }
        Self { codes, hidden, users }
    }

    /// Every piece of code, as far as its length is known.
    pub fn images(&self) -> Vec<Image> {
        self.codes.iter().map(Code::image).collect()
    }

    /// The pages that hold code, with the codes in each.
    pub fn pages(&self) -> &BTreeMap<u64, Vec<u32>> {
        &self.users
    }

    /// Who else is on the pages of code number `at`.
    pub fn shared(&self, at: usize) -> Shared {
        let own_index = at as u32;
        let pages = self.codes[at].image().pages();
        let with: BTreeSet<u32> = pages.filter_map(|page| self.users.get(&page)).flatten().copied().collect();
        let with: Vec<u32> = with.into_iter().filter(|other| *other != own_index).collect();
        let own = with.iter().filter(|other| self.codes[**other as usize].own).count() as u32;
        Shared { own, foreign: with.len() as u32 - own, with }
    }

    /// Sums it up.
    pub fn totals(&self) -> Totals {
        let count = |wanted: What| self.codes.iter().filter(|code| code.what == wanted).count() as u32;
        let programs = |own_only: bool| {
            let of = |code: &&Code| code.what == What::Program && (code.own || !own_only);
            // A function without an id is counted as a program of its own: nothing tells whose it is.
            let keys = self.codes.iter().filter(of).map(|code| code.id.map_or((0, code.addr.0), |id| (id, 0)));
            keys.collect::<BTreeSet<_>>().len() as u32
        };
        let regions: BTreeSet<u64> = self.codes.iter().flat_map(|code| code.image().regions()).collect();
        let is_mixed = |users: &Vec<u32>| {
            let own = users.iter().filter(|user| self.codes[**user as usize].own).count();
            own > 0 && own < users.len()
        };
        let chunks: u64 = self.codes.iter().map(|code| u64::from(pack::chunks(code.image().len))).sum();
        Totals {
            programs: programs(false),
            own_programs: programs(true),
            trampolines: count(What::Trampoline),
            dispatchers: count(What::Dispatcher),
            other: count(What::Other),
            codes: self.codes.len() as u32,
            without_length: self.codes.iter().filter(|code| code.len.is_none()).count() as u32,
            bytes: self.codes.iter().filter_map(|code| code.len).map(u64::from).sum(),
            pages_4k: self.users.len() as u32,
            regions_2m: regions.len() as u32,
            shared_pages: self.users.values().filter(|users| users.len() > 1).count() as u32,
            mixed_pages: self.users.values().filter(|users| is_mixed(users)).count() as u32,
            dense_pages_4k: (chunks * pack::CHUNK_BYTES).div_ceil(PAGE_BYTES) as u32,
        }
    }
}

/// A function of `program`: kallsyms knows the names of subprograms, the list only that of the whole, cut to 15 bytes.
fn function(program: &Program, image: Image, symbol: Option<&str>, own: &str) -> Code {
    let name = symbol.map_or_else(|| program.name.clone(), |name| kallsyms::program_name(name).to_owned());
    Code {
        addr: image.addr,
        len: Some(image.len).filter(|len| *len > 0),
        what: What::Program,
        own: !own.is_empty() && (program.name.starts_with(own) || name.starts_with(own)),
        name,
        id: Some(program.id),
        kind: Some(program.kind.clone()),
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// A pack with six foreign programs in a page, an own one across the border to the next, a trampoline and a dispatcher.
    pub fn survey() -> Survey {
        let base = 0xffff_ffff_c000_0000u64;
        let mut programs: Vec<Program> = (0..6u32)
            .map(|at| Program {
                id: 10 + at,
                name: format!("filter_{at}"),
                kind: "sched_cls".to_owned(),
                images: vec![Image { addr: Addr(base + 8 + u64::from(at) * 640), len: 600 }],
            })
            .collect();
        let images =
            vec![Image { addr: Addr(base + 3912), len: 300 }, Image { addr: Addr(base + 0x40_0048), len: 4000 }];
        programs.push(Program { id: 99, name: "itlbench".to_owned(), kind: "sched_cls".to_owned(), images });
        let text = format!(
            "{:x} t bpf_prog_0123456789abcdef_itlbench\t[bpf]\n{:x} t bpf_trampoline_6442460352\t[bpf]\n\
             {:x} t bpf_dispatcher_xdp\t[bpf]\n{:x} T schedule\n",
            base + 3912,
            base + 0x3010,
            base + 0x5000,
            0xffff_ffff_8100_0000u64,
        );
        Survey::of(&Symbols::parse(&text).symbols, &programs, "itlbench")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_and_the_list_are_put_together_by_address() {
        let survey = fixture::survey();
        let totals = survey.totals();
        assert_eq!((totals.programs, totals.own_programs, totals.codes), (7, 1, 10));
        assert_eq!((totals.trampolines, totals.dispatchers, totals.other, totals.without_length), (1, 1, 0, 2));
        assert_eq!(totals.bytes, 6 * 600 + 300 + 4000);
        assert_eq!((totals.pages_4k, totals.regions_2m), (5, 2), "{totals:?}");
        assert_eq!((totals.shared_pages, totals.mixed_pages), (1, 1));
    }

    #[test]
    fn a_program_knows_with_whom_it_shares_its_pages() {
        let survey = fixture::survey();
        let own = survey.codes.iter().position(|code| code.own).unwrap();
        assert_eq!((survey.shared(own).own, survey.shared(own).foreign), (0, 6));
        assert_eq!((survey.shared(0).own, survey.shared(0).foreign), (1, 5));
        let last = survey.codes.len() - 1;
        assert_eq!(survey.shared(last), Shared::default(), "alone");
    }

    #[test]
    fn dense_packing_counts_chunks_and_not_bytes() {
        // 600 bytes take ten chunks, 300 six, 4000 sixty-three, one byte one.
        assert_eq!(fixture::survey().totals().dense_pages_4k, (6 * 10 + 6 + 63 + 2u32).div_ceil(64));
    }

    #[test]
    fn a_program_without_an_address_is_counted_and_not_drawn() {
        let images = vec![Image { addr: Addr(0), len: 0 }];
        let program = Program { id: 1, name: "hidden".to_owned(), kind: "xdp".to_owned(), images };
        let survey = Survey::of(&[], &[program], "itlbench");
        assert_eq!((survey.hidden, survey.codes.len()), (1, 0));
        assert_eq!(survey.totals(), Totals::default());
    }

    #[test]
    fn nothing_is_own_with_an_empty_prefix() {
        let image = Image { addr: Addr(0x1000), len: 10 };
        let program = Program { id: 1, name: "x".to_owned(), kind: "xdp".to_owned(), images: vec![image] };
        assert!(!Survey::of(&[], &[program], "").codes[0].own);
    }
}
