//! What the model counted when an emulator showed it every fetch of a guest: the lines that `plugin/` writes, one a window.
//!
//! The plugin writes by the types of this file and the tool reads by them; the file leans on nothing else of the crate. What it
//! says is *modelled (emulated fetch)*: the fetches are those of a real kernel, the iTLB is not.

use serde::{Deserialize, Serialize};

/// Version of the format.
pub const FORMAT: u32 = 1;

/// What the plugin says, in one line, where it is asked only whether it would work. `api` is the newest version of the plugin API that the
/// emulator has.
pub fn ready(api: i32) -> String {
    format!("{READY}{FORMAT}, plugin API {api}")
}

const READY: &str = "itlbench plugin: ready, format ";

/// Whether `said` is that of a plugin whose counts this build reads.
pub fn is_ready(said: &str) -> Result<bool, Malformed> {
    let mut formats = said.lines().filter_map(|line| line.strip_prefix(READY)?.split(',').next()?.parse().ok());
    match formats.next_back() {
        Some(format) if format != FORMAT => Err(Malformed::Format { format }),
        found => Ok(found.is_some()),
    }
}

/// What the counts are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// The iTLB, as `--model` takes it.
    pub model: String,
    /// Fetches from here count as JIT text, where a window's mark does not tell where the guest's kernel ends; hexadecimal.
    pub jit_from: String,
    /// First address behind it.
    pub jit_to: String,
    /// Newest version of the plugin API that the emulator has.
    pub api: i32,
}

/// Lookups of one kind of code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Lookups: one for every block of code that was run, two where it reaches into the next page.
    pub fetches: u64,
    /// Those that the first level missed, walks included.
    pub l1_misses: u64,
    /// Those that both levels missed.
    pub walks: u64,
}

/// Distinct mappings that were fetched from, by size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// Of 4 KiB.
    pub small: u64,
    /// Of 2 MiB.
    pub huge: u64,
    /// Of 1 GiB; the model takes them for as many of 2 MiB as are touched.
    pub giant: u64,
}

/// What happened between two marks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The number that the guest gave it.
    pub tag: u64,
    /// Instructions that were run.
    pub instructions: u64,
    pub user: Counts,
    /// Code of the kernel but JIT text.
    pub kernel: Counts,
    /// Code where modules and BPF programs lie.
    pub jit: Counts,
    pub user_pages: Pages,
    pub kernel_pages: Pages,
    pub jit_pages: Pages,
    /// How often the guest's page tables were read for the size of a page: once for every page in every window.
    pub tables_read: u64,
    /// How often that failed; the page was taken to be of 4 KiB.
    pub tables_failed: u64,
    /// The window has no end: another began, or the emulator ended.
    pub cut: bool,
}

/// The last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    pub windows: u64,
    /// Ends of windows that had not begun, or not on the same CPU.
    pub stray_ends: u64,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
pub enum Record {
    Header(Header),
    Window(Window),
    End(End),
}

/// Why a window counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("the window was cut short")]
    Cut,
    #[error("no page table was read: the sizes of pages are not known (did the guest find its direct map?)")]
    NoTables,
    #[error("the page tables could not be read for {failed} of {pages} pages")]
    Failed { failed: u64, pages: u64 },
}

impl Window {
    /// Whether its counts can be believed.
    pub fn check(&self) -> Result<(), Unusable> {
        let failed = self.tables_failed;
        match self.tables_read.checked_sub(failed) {
            _ if self.cut => Err(Unusable::Cut),
            None | Some(0) => Err(Unusable::NoTables),
            Some(_) if failed > 0 => Err(Unusable::Failed { failed, pages: self.tables_read }),
            Some(_) => Ok(()),
        }
    }

    /// What cannot be of any window.
    fn contradiction(&self) -> Option<&'static str> {
        let ordered = |counts: &Counts| counts.fetches >= counts.l1_misses && counts.l1_misses >= counts.walks;
        if ![self.user, self.kernel, self.jit].iter().all(ordered) {
            return Some("more misses than lookups");
        }
        (self.tables_failed > self.tables_read).then_some("more failures than page tables read")
    }
}

/// All that one emulator wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub header: Header,
    pub windows: Vec<Window>,
    /// `None`: the emulator was killed or could not write; the windows before it are whole.
    pub end: Option<End>,
}

/// Output that cannot be the plugin's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the plugin wrote nothing")]
    Empty,
    #[error("line {line} is no record of the plugin: {why}")]
    Line { line: usize, why: String },
    #[error("the plugin wrote format {format}, this build reads {FORMAT}; build both from the same sources")]
    Format { format: u32 },
    #[error("the last line tells of {told} windows, there are {found}")]
    Lost { told: u64, found: u64 },
}

impl Output {
    /// Reads the whole file. Bytes behind the last line feed are a line that was being written, and are left out.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let mut lines = bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate();
        let header = match lines.next() {
            None => return Err(Malformed::Empty),
            Some((at, line)) => header(at, line)?,
        };
        let mut output = Self { header, windows: Vec::new(), end: None };
        for (at, line) in lines {
            output.take(at, line)?;
        }
        match output.end {
            Some(End { windows, .. }) if windows != output.windows.len() as u64 => {
                Err(Malformed::Lost { told: windows, found: output.windows.len() as u64 })
            }
            _ => Ok(output),
        }
    }

    fn take(&mut self, at: usize, line: &[u8]) -> Result<(), Malformed> {
        let malformed = |why: &str| Err(Malformed::Line { line: at + 1, why: why.to_owned() });
        if self.end.is_some() {
            return malformed("it stands behind the end");
        }
        match record(at, line)? {
            Record::Header(_) => return malformed("a second header"),
            Record::End(end) => self.end = Some(end),
            Record::Window(window) => match window.contradiction() {
                Some(why) => return malformed(why),
                None => self.windows.push(window),
            },
        }
        Ok(())
    }
}

fn header(at: usize, line: &[u8]) -> Result<Header, Malformed> {
    // Of another format nothing is known but its number.
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    if let Ok(Versioned { format }) = serde_json::from_slice(line)
        && format != FORMAT
    {
        return Err(Malformed::Format { format });
    }
    match record(at, line)? {
        Record::Header(header) => Ok(header),
        _ => Err(Malformed::Line { line: at + 1, why: "the header is missing".to_owned() }),
    }
}

fn record(at: usize, line: &[u8]) -> Result<Record, Malformed> {
    serde_json::from_slice(line).map_err(|error| Malformed::Line { line: at + 1, why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(fetches: u64, l1_misses: u64, walks: u64) -> Counts {
        Counts { fetches, l1_misses, walks }
    }

    fn window(tag: u64) -> Window {
        let jit_pages = Pages { small: 512, huge: 1, giant: 0 };
        Window { tag, instructions: 70, jit: counts(9, 7, 5), jit_pages, tables_read: 513, ..Window::default() }
    }

    fn good() -> Vec<Record> {
        let (jit_from, jit_to) = ("0xffffffffc0000000".to_owned(), "0xffffffffff000000".to_owned());
        let header = Header { format: FORMAT, model: "zen3".to_owned(), jit_from, jit_to, api: 4 };
        let end = End { windows: 2, stray_ends: 0 };
        vec![Record::Header(header), Record::Window(window(0)), Record::Window(window(1)), Record::End(end)]
    }

    fn text(records: &[Record]) -> String {
        records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect()
    }

    fn refused(text: &str) -> String {
        Output::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_plugin_that_answers_is_ready_unless_it_writes_another_format() {
        assert_eq!(is_ready(&format!("a warning\n{}\n", ready(4))), Ok(true));
        assert_eq!(is_ready("QEMU 10.0.2 monitor\n"), Ok(false));
        assert_eq!(is_ready("itlbench plugin: ready, format 2, of more\n"), Err(Malformed::Format { format: 2 }));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let output = Output::parse(text(&good()).as_bytes()).unwrap();
        assert_eq!(output.windows, [window(0), window(1)]);
        assert_eq!((output.header.model.as_str(), output.end), ("zen3", Some(End { windows: 2, stray_ends: 0 })));
        let line = r#"{"record":"window","tag":0,"instructions":70,"user":{"fetches":0,"#;
        assert!(text(&good()).contains(line), "{}", text(&good()));
    }

    #[test]
    fn a_torn_line_costs_itself_and_the_end() {
        let whole = text(&good());
        let second = whole.match_indices('\n').nth(2).unwrap().0;
        for cut in [second, second - 1, second - 60] {
            let output = Output::parse(&whole.as_bytes()[..cut]).unwrap();
            assert_eq!((output.windows, output.end), (vec![window(0)], None), "{cut}");
        }
    }

    #[test]
    fn what_the_plugin_does_not_write_is_refused_by_line() {
        let good = good();
        let lines: Vec<String> = good.iter().map(|record| text(std::slice::from_ref(record))).collect();
        assert_eq!(refused(""), "the plugin wrote nothing");
        assert_eq!(refused("{\"record\":\"header\""), "the plugin wrote nothing");
        assert!(refused("\n").starts_with("line 1 is no record of the plugin: EOF"));
        assert!(refused("qemu: oops\n").starts_with("line 1 is no record of the plugin: expected value"));
        assert_eq!(refused(&lines[1]), "line 1 is no record of the plugin: the header is missing");
        assert_eq!(
            refused(&lines[0].replace("\"format\":1", "\"format\":2,\"more\":[]")),
            "the plugin wrote format 2, this build reads 1; build both from the same sources"
        );
        let join = |parts: &[&str]| parts.concat();
        assert_eq!(refused(&join(&[&lines[0], &lines[0]])), "line 2 is no record of the plugin: a second header");
        assert_eq!(refused(&join(&[&lines[0], &lines[1], &lines[3]])), "the last line tells of 2 windows, there are 1");
        assert_eq!(
            refused(&join(&[&lines[0], &lines[1], &lines[2], &lines[3], &lines[1]])),
            "line 5 is no record of the plugin: it stands behind the end"
        );
        for (from, to) in
            [("\"tag\":0", "\"tag\":-1"), ("\"tag\":0", "\"tag\":1e3"), ("\"tag\":0", "\"tag\":0,\"x\":1")]
        {
            assert!(
                refused(&join(&[&lines[0], &lines[1].replace(from, to)])).starts_with("line 2 is no record"),
                "{to}"
            );
        }
        let more = lines[1].replace("\"l1_misses\":7", "\"l1_misses\":10");
        assert_eq!(refused(&join(&[&lines[0], &more])), "line 2 is no record of the plugin: more misses than lookups");
        let deep = format!("{}{}\n", lines[0], "[".repeat(100_000));
        assert!(refused(&deep).contains("line 2"));
        let latin = [lines[0].as_bytes(), b"{\"record\":\"window\xff\"}\n"].concat();
        assert!(Output::parse(&latin).is_err());
    }

    #[test]
    fn a_window_whose_page_sizes_are_not_known_is_unusable() {
        assert_eq!(window(3).check(), Ok(()));
        assert_eq!(Window { tables_read: 0, ..window(3) }.check(), Err(Unusable::NoTables));
        assert_eq!(Window { tables_failed: 513, ..window(3) }.check(), Err(Unusable::NoTables));
        let failed = Window { tables_failed: 2, ..window(3) }.check().unwrap_err();
        assert_eq!(failed.to_string(), "the page tables could not be read for 2 of 513 pages");
        assert_eq!(Window { cut: true, ..window(3) }.check(), Err(Unusable::Cut));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fall(at in 0usize..2000, byte: u8, cut in 0usize..2000) {
            let mut bytes = text(&good()).into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Output::parse(&bytes);
            let _ = Output::parse(&bytes[cut % bytes.len()..]);
        }
    }
}
