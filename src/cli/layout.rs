//! `itlbench layout`: all JITed code on this host now, own and foreign.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Failure, machines};
use crate::host::Facts;
use crate::model::WhatIf;
use crate::model::cpuid::Reported;
use crate::model::geometry::Core;
use crate::placement::{Addr, Observed};
use crate::report::chart::pack_maps;
use crate::report::survey::{Sheet, json, text};
use crate::report::wording::counted;
use crate::survey::vmalloc::{self, Packs};
use crate::survey::{Area, Elsewhere, Program, Reach, Survey, Symbols, area};

/// Arguments of `itlbench layout`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Sums, a table and a map in letters for people, or every piece of code as JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Also draw the map of each pack to DIR, as SVG and PNG
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Programs whose name begins with PREFIX are own, all others foreign
    #[arg(long, value_name = "PREFIX", default_value = "itlbench")]
    pub own: String,
    /// Rows of the table
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub rows: usize,
    /// Also say how many translations the same code would need under another mapping or placement
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORLD")]
    pub what_if: Vec<WhatIf>,
    /// Also list trampolines, dispatchers and subprograms by name where that takes seconds: on a host with more than 3000 pieces of
    /// JITed code
    #[arg(long)]
    pub kallsyms: bool,
    /// Also read from the page tables by which pages the code is mapped. Without it nothing is loaded into the kernel
    #[arg(long)]
    pub observe_mapping: bool,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// /proc/kallsyms is read up to so many pieces of BPF code. For each of them the kernel walks the list of all (`bpf_get_kallsym`):
/// at 10 000 that takes seconds.
const MOST_SYMBOLS: usize = 3000;

/// Whether /proc/kallsyms is read whatever it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kallsyms {
    Always,
    UnlessMany,
}

/// What was asked of the host.
#[derive(Debug)]
struct Asked {
    survey: Survey,
    kallsyms_read: bool,
    areas: Vec<Area>,
    packs: Option<Packs>,
    notes: Vec<String>,
}

/// Writes the layout; returns the exit code.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let root = Path::new("/");
    let kallsyms = if args.kallsyms { Kallsyms::Always } else { Kallsyms::UnlessMany };
    let asked = Asked::of(root, machines::jited_programs(), &args.own, kallsyms)?;
    let totals = asked.survey.totals();
    let mapping = (args.observe_mapping && totals.codes > 0).then(|| machines::observe_mapping(&asked.survey.images()));
    let seen = mapping.as_ref().and_then(|observed| match observed {
        Observed::Seen(mapping) => Some(mapping),
        Observed::Unknown { .. } => None,
    });
    let core = Core::of(Reported::here().cpu_id());
    let reach = core.map(|core| Reach::of(core, totals.pages_4k, seen));
    let images = asked.survey.images();
    let elsewhere: Vec<Elsewhere> = args.what_if.iter().map(|&world| Elsewhere::of(world, &images, core)).collect();
    let sheet = Sheet {
        survey: &asked.survey,
        areas: &asked.areas,
        packs: asked.packs.as_ref(),
        reach: reach.as_ref(),
        mapping: mapping.as_ref(),
        own: &args.own,
        kallsyms_read: asked.kallsyms_read,
        elsewhere: &elsewhere,
        notes: &asked.notes,
        most_rows: args.rows,
    };
    let written = match args.format {
        Format::Text => text(&sheet),
        Format::Json => json(&sheet).map_err(anyhow::Error::from)?,
    };
    out.write_all(written.as_bytes()).map_err(|error| Failure::output("stdout", error))?;
    if let Some(dir) = &args.out {
        draw(dir, &asked, root)?;
    }
    Ok(0)
}

impl Asked {
    /// Reads `/proc` below `root` and puts it together with the kernel's list of programs, or with why it could not be had.
    fn of(root: &Path, programs: Result<Vec<Program>, String>, own: &str, kallsyms: Kallsyms) -> Result<Self, Failure> {
        let read =
            |name: &str| std::fs::read(root.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let mut notes = Vec::new();
        let programs = programs.unwrap_or_else(|reason| {
            notes.push(format!("lengths, ids and types are unknown: {reason}"));
            Vec::new()
        });
        let pieces = programs.iter().map(|program| program.images.len()).sum::<usize>();
        let kallsyms_read = kallsyms == Kallsyms::Always || pieces <= MOST_SYMBOLS;
        let symbols = match kallsyms_read {
            true => Symbols::parse(&read("proc/kallsyms").unwrap_or_default()),
            false => {
                notes.push(format!(
                    "with {pieces} pieces of code /proc/kallsyms takes seconds and is not read: addresses are those of the kernel's list of \
                     programs, trampolines and dispatchers are not seen, subprograms have no names; --kallsyms reads it"
                ));
                Symbols::default()
            }
        };
        let survey = Survey::of(&symbols.symbols, &programs, own);
        let hidden = symbols.hidden.max(survey.hidden);
        if survey.codes.is_empty() && hidden > 0 {
            return Err(Failure::HostCannot(format!(
                "failed to lay out {hidden} pieces of JITed code: the kernel hides their addresses; run with CAP_SYSLOG and \
                 set `sysctl kernel.kptr_restrict=1` or 0"
            )));
        }
        if hidden > 0 {
            notes.push(format!("{hidden} pieces of code are left out: the kernel hides their addresses"));
        }
        notes.push("not seen: classic filters (sockets, seccomp), which have neither a symbol nor an id".to_owned());
        let known: Vec<Addr> = survey.codes.iter().map(|code| code.addr).collect();
        let packs = read("proc/vmallocinfo").ok().and_then(|text| Packs::of(&vmalloc::parse(&text), &known));
        let areas = area::areas(&survey, packs.as_ref());
        Ok(Self { survey, kallsyms_read, areas, packs, notes })
    }
}

fn draw(dir: &Path, asked: &Asked, root: &Path) -> Result<(), Failure> {
    let facts = Facts::read(root);
    let totals = asked.survey.totals();
    let line = format!(
        "{} ({} own), {} bytes of code on {} in {} of 2 MiB; {} if packed densely",
        counted(totals.programs, "program"),
        totals.own_programs,
        totals.bytes,
        counted(totals.pages_4k, "page"),
        counted(totals.regions_2m, "region"),
        counted(totals.dense_pages_4k, "page")
    );
    let known = [facts.cpu_model, facts.kernel_release.map(|release| format!("Linux {release}"))];
    let tool = format!("itlbench {}", env!("CARGO_PKG_VERSION"));
    let source: Vec<String> = known.into_iter().flatten().chain([tool]).collect();
    std::fs::create_dir_all(dir).map_err(|error| Failure::output(dir.display(), error))?;
    for drawing in pack_maps(&asked.areas, &line, &source.join(", "))? {
        for (kind, bytes) in [("svg", drawing.svg.as_bytes()), ("png", &drawing.png)] {
            let path = dir.join(format!("{}.{kind}", drawing.stem));
            std::fs::write(&path, bytes).map_err(|error| Failure::output(path.display(), error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Image;

    const CODE: &str = "ffffffffc0000008 t bpf_prog_0123456789abcdef_one\t[bpf]\n";
    const HIDDEN: &str = "0000000000000000 t bpf_prog_0123456789abcdef_one\t[bpf]\n";

    fn host(kallsyms: &str, programs: Result<Vec<Program>, String>) -> Result<Asked, Failure> {
        let root = tempfile::tempdir().expect("directory");
        std::fs::create_dir(root.path().join("proc")).expect("proc");
        std::fs::write(root.path().join("proc/kallsyms"), kallsyms).expect("kallsyms");
        Asked::of(root.path(), programs, "itlbench", Kallsyms::UnlessMany)
    }

    fn many(count: u64) -> Vec<Program> {
        let image = |at| Image { addr: Addr(0xffff_ffff_c000_0008 + at * 64), len: 30 };
        let one =
            |at| Program { id: at as u32, name: "many".to_owned(), kind: "xdp".to_owned(), images: vec![image(at)] };
        (0..count).map(one).collect()
    }

    #[test]
    fn symbols_of_thousands_of_programs_are_read_only_if_asked_for() {
        let with = |programs, kallsyms| {
            let root = tempfile::tempdir().expect("directory");
            std::fs::create_dir(root.path().join("proc")).expect("proc");
            let text = "ffffffffd0000008 t bpf_trampoline_1\t[bpf]\n";
            std::fs::write(root.path().join("proc/kallsyms"), text).expect("kallsyms");
            Asked::of(root.path(), Ok(many(programs)), "itlbench", kallsyms).expect("laid out")
        };
        let few = with(3000, Kallsyms::UnlessMany);
        assert_eq!((few.kallsyms_read, few.survey.totals().trampolines), (true, 1));
        let skipped = with(3001, Kallsyms::UnlessMany);
        assert_eq!((skipped.kallsyms_read, skipped.survey.totals().trampolines), (false, 0));
        assert!(
            skipped.notes[0].contains("3001 pieces") && skipped.notes[0].contains("--kallsyms"),
            "{:?}",
            skipped.notes
        );
        assert_eq!(with(3001, Kallsyms::Always).survey.totals().trampolines, 1);
    }

    #[test]
    fn kallsyms_alone_gives_places_without_lengths() {
        let asked = host(CODE, Err("CAP_SYS_ADMIN is needed".to_owned())).expect("laid out");
        assert_eq!((asked.survey.totals().programs, asked.survey.totals().without_length), (1, 1));
        assert_eq!(asked.notes[0], "lengths, ids and types are unknown: CAP_SYS_ADMIN is needed");
        assert!(asked.packs.is_none() && asked.areas.len() == 1);
    }

    #[test]
    fn hidden_addresses_are_an_error_with_a_remedy_and_exit_code_3() {
        let images = vec![Image { addr: Addr(0), len: 0 }];
        let program = Program { id: 1, name: "one".to_owned(), kind: "xdp".to_owned(), images };
        let error = host(HIDDEN, Ok(vec![program.clone(), program])).expect_err("nothing to see");
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("CAP_SYSLOG") && error.to_string().contains("2 pieces"), "{error}");
    }

    #[test]
    fn the_list_alone_is_enough_where_kallsyms_shows_no_code() {
        let images = vec![Image { addr: Addr(0xffff_ffff_c000_0008), len: 100 }];
        let program = Program { id: 1, name: "one".to_owned(), kind: "xdp".to_owned(), images };
        let totals = host("", Ok(vec![program])).expect("laid out").survey.totals();
        assert_eq!((totals.programs, totals.bytes, totals.pages_4k), (1, 100, 1));
    }

    #[test]
    fn a_host_without_code_is_no_error() {
        assert_eq!(host("", Ok(Vec::new())).expect("laid out").survey.totals().codes, 0);
    }
}
