//! Small text files under a root; what cannot be read is absent.

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A directory that holds `proc` and `sys`: `/`, or a host laid out by a test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a> {
    root: &'a Path,
}

/// A kernel's configuration has some 300 kB; a file that unfolds to more than this is none.
const MOST_UNZIPPED: u64 = 16 << 20;

impl<'a> Tree<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        Self { root }
    }

    fn path(self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The file as text, trimmed. `None` if it cannot be read or is empty; bytes that are no UTF-8 (a boot line may hold
    /// any) are replaced.
    pub(super) fn text(self, relative: &str) -> Option<String> {
        let bytes = std::fs::read(self.path(relative)).ok()?;
        let text = String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// What a gzipped file holds, as text; `None` if it cannot be read.
    pub(super) fn unzipped(self, relative: &str) -> Option<String> {
        let file = std::fs::File::open(self.path(relative)).ok()?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).take(MOST_UNZIPPED).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The word in brackets of a file such as `always [madvise] never`, or the whole text if none is bracketed.
    pub(super) fn selected(self, relative: &str) -> Option<String> {
        let text = self.text(relative)?;
        let bracketed =
            text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word.to_owned());
        Some(bracketed.unwrap_or(text))
    }

    /// The names in a directory, sorted.
    pub(super) fn names(self, relative: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(relative)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// The value of the first `key: value` line of a file such as `/proc/cpuinfo`.
pub(super) fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim_end() == key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_word_is_the_one_in_brackets() {
        let root = tempfile::tempdir().unwrap();
        let cases = [
            ("always [madvise] never\n", Some("madvise")),
            ("[none] integrity confidentiality", Some("none")),
            ("performance\n", Some("performance")),
            ("\n", None),
        ];
        for (text, want) in cases {
            std::fs::write(root.path().join("file"), text).unwrap();
            assert_eq!(Tree::new(root.path()).selected("file").as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn absent_files_and_directories_are_absent_and_odd_bytes_survive() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::new(root.path());
        assert_eq!(tree.text("file"), None);
        assert!(tree.names("directory").is_empty());
        std::fs::write(root.path().join("file"), b"root=\xff quiet\n\0").unwrap();
        assert_eq!(tree.text("file").as_deref(), Some("root=\u{fffd} quiet"));
    }

    #[test]
    fn a_value_belongs_to_its_whole_key() {
        let text = "model\t\t: 17\nmodel name\t: AMD EPYC\npower management:\n";
        assert_eq!(value(text, "model"), Some("17"));
        assert_eq!(value(text, "model name"), Some("AMD EPYC"));
        assert_eq!(value(text, "power management"), Some(""));
        assert_eq!(value(text, "mode"), None);
    }
}
