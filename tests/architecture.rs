//! The rules of ARCHITECTURE.md that the compiler does not know: who may name whom, and how large a file may grow.
//!
//! Read from the sources as text. Paths are resolved as far as `crate`, `self`, `super`, `itlbench` and nested `use` braces
//! go, which is all this crate uses. Code from the first `#[cfg(test)]` on is exempt: a test may name what it likes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a file, and of its code before the tests.
const MOST_LINES: usize = 450;
/// Files aim at 300; beyond this one must be split.
const MOST_CODE_LINES: usize = 400;

/// Files that may be longer, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 9] =
    ["util", "utils", "helper", "helpers", "manager", "managers", "common", "misc", "support"];

/// Crates that touch the kernel, and the only place that may name them.
const KERNEL_CRATES: [&str; 6] = ["libbpf_rs", "libbpf_sys", "libc", "nix", "perf_event_open", "socket2"];
const KERNEL_ADAPTER: &str = "src/machine/kernel";

struct Source {
    /// Path from the root of the package.
    path: String,
    /// Module path: `["report", "chart"]` for `src/report/chart/mod.rs`, empty for `src/lib.rs`.
    module: Vec<String>,
    text: String,
}

impl Source {
    fn is_under(&self, dirs: &[&str]) -> bool {
        dirs.iter().any(|dir| self.path.starts_with(&format!("{dir}/")) || self.path == format!("{dir}.rs"))
    }

    /// A file or folder of tests that its module takes in under `cfg(test)`.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    fn code(&self) -> &str {
        if self.is_test() {
            return "";
        }
        self.text.split("#[cfg(test)]").next().unwrap_or_default()
    }

    /// Every path its code names, resolved to the root of the crate (`crate::a::b`) where it leads there.
    fn paths(&self) -> Vec<Vec<String>> {
        let tokens = tokens(self.code());
        let mut paths = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            if !is_name(&tokens[at]) {
                at += 1;
                continue;
            }
            at = expand(&tokens, at, &[], &mut paths);
        }
        paths.into_iter().map(|path| self.resolve(path)).collect()
    }

    fn resolve(&self, path: Vec<String>) -> Vec<String> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        let base = match path[0].as_str() {
            "itlbench" => return [vec!["crate".to_owned()], path[1..].to_vec()].concat(),
            "self" if path.len() > 1 => return self.absolute(0, &path[1..]),
            _ if supers > 0 => supers,
            _ => return path,
        };
        self.absolute(base, &path[supers..])
    }

    fn absolute(&self, up: usize, rest: &[String]) -> Vec<String> {
        let kept = self.module.len().saturating_sub(up);
        [&["crate".to_owned()], &self.module[..kept], rest].concat()
    }
}

/// Reads one path from `at`, with the groups in its braces, and returns where it ends.
fn expand(tokens: &[String], mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while let Some(token) = tokens.get(at).map(String::as_str) {
                    match token {
                        "}" => return at + 1,
                        "," => at += 1,
                        _ => at = expand(tokens, at, &path, paths).max(at + 1),
                    }
                }
                return at;
            }
            Some(name) if is_name(name) || name == "*" => path.push(name.to_owned()),
            _ => {
                paths.push(path);
                return at;
            }
        }
        at += 1;
        if tokens.get(at).map(String::as_str) != Some("::") {
            paths.push(path);
            return at + alias_length(&tokens[at..]);
        }
        at += 1;
    }
}

/// The tokens of `as name`; a cast to a path (`as crate::X`) is no alias.
fn alias_length(tokens: &[String]) -> usize {
    match tokens {
        [keyword, _, after, ..] if keyword == "as" && after != "::" => 2,
        _ => 0,
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names and punctuation, without comments, strings and characters.
fn tokens(code: &str) -> Vec<String> {
    let code: Vec<char> = code.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        at += match rest {
            ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => length_until(rest, 2, &['*', '/']),
            ['r', '#', '"', ..] => length_until(rest, 3, &['"', '#']),
            ['r', '"', ..] => length_until(rest, 2, &['"']),
            ['"', ..] => string_length(rest),
            ['\'', '\\', ..] => length_until(rest, 3, &['\'']),
            ['\'', _, '\'', ..] => 3,
            [':', ':', ..] => {
                tokens.push("::".to_owned());
                2
            }
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                let name: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                let length = name.chars().count();
                tokens.push(name);
                length
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                1
            }
            [] => break,
        };
    }
    tokens
}

fn length_until(code: &[char], from: usize, end: &[char]) -> usize {
    let found = code[from.min(code.len())..].windows(end.len()).position(|window| window == end);
    found.map_or(code.len(), |position| from + position + end.len())
}

fn string_length(code: &[char]) -> usize {
    let mut at = 1;
    while at < code.len() && code[at] != '"' {
        at += if code[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(code.len())
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    files.sort();
    assert!(files.len() > 20, "only {} sources found under `src`", files.len());
    files.iter().map(|file| source(root, file)).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn source(root: &Path, file: &Path) -> Source {
    let path = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let module = inner.split('/').map(str::to_owned).filter(|name| !["mod", "lib", "main"].contains(&name.as_str()));
    Source { module: module.collect(), text: fs::read_to_string(file).unwrap(), path }
}

/// Fails with every path that `breaks` says is not allowed in its file.
fn assert_no_path(rule: &str, breaks: impl Fn(&Source, &[String]) -> bool) {
    let mut offences = BTreeSet::new();
    for source in sources() {
        for path in source.paths() {
            if breaks(&source, &path) {
                offences.insert(format!("{} names `{}`", source.path, path.join("::")));
            }
        }
    }
    assert!(offences.is_empty(), "{rule}:{}", listed(&offences));
}

fn listed(offences: &BTreeSet<String>) -> String {
    offences.iter().fold(String::new(), |mut text, offence| {
        let _ = write!(text, "\n  {offence}");
        text
    })
}

fn starts(path: &[String], prefix: &[&str]) -> bool {
    path.len() >= prefix.len() && path.iter().zip(prefix).all(|(name, wanted)| name == wanted)
}

/// What `src/{module}/mod.rs` takes from its submodule `part` and offers as its own.
fn offered(module: &str, part: &str) -> BTreeSet<String> {
    let all = sources();
    let file = all.iter().find(|source| source.path == format!("src/{module}/mod.rs")).unwrap();
    file.paths().into_iter().filter(|path| path.len() > 1 && path[0] == part).map(|path| path[1].clone()).collect()
}

/// `crate::{module}` may be named only through `part` or what `mod.rs` offers of it.
fn is_other_than_data(path: &[String], module: &str, part: &str, offered: &BTreeSet<String>) -> bool {
    starts(path, &["crate", module]) && path.get(2).is_none_or(|name| name != part && !offered.contains(name))
}

#[test]
fn only_the_command_line_names_a_concrete_machine() {
    assert_no_path("a machine is chosen in `src/cli` and nowhere else", |source, path| {
        let is_concrete = |name: &str| name == "kernel" || name == "sim";
        let named = path.windows(2).any(|pair| pair[0] == "machine" && is_concrete(&pair[1]));
        let offered = source.path == "src/machine/mod.rs" && path.len() > 1 && is_concrete(&path[0]);
        (named || offered) && !source.is_under(&["src/cli", "src/machine/kernel", "src/machine/sim"])
    });
}

#[test]
fn only_the_kernel_machine_names_the_crates_that_touch_the_kernel() {
    assert_no_path("libbpf, perf_event_open and raw sockets stay behind the seam", |source, path| {
        path.iter().any(|name| KERNEL_CRATES.contains(&name.as_str())) && !source.is_under(&[KERNEL_ADAPTER])
    });
}

#[test]
fn the_two_machines_do_not_know_each_other() {
    assert_no_path("the simulation must not lean on the kernel, nor the kernel on it", |source, path| {
        (source.is_under(&["src/machine/sim"]) && starts(path, &["crate", "machine", "kernel"]))
            || (source.is_under(&["src/machine/kernel"]) && starts(path, &["crate", "machine", "sim"]))
    });
}

#[test]
fn compare_and_report_see_only_what_a_run_file_holds() {
    let records = offered("trial", "record");
    let facts = offered("host", "facts");
    assert!(records.contains("Trial") && facts.contains("Facts"), "{records:?} {facts:?}");
    assert_no_path("a run file from another box must be first class", |source, path| {
        source.is_under(&["src/compare", "src/report"])
            && (starts(path, &["crate", "machine"])
                || is_other_than_data(path, "trial", "record", &records)
                || is_other_than_data(path, "host", "facts", &facts))
    });
}

#[test]
fn stats_knows_numbers_only() {
    assert_no_path("`stats` takes slices and returns numbers", |source, path| {
        source.is_under(&["src/stats"]) && starts(path, &["crate"]) && !starts(path, &["crate", "stats"])
    });
}

#[test]
fn nothing_but_the_binary_looks_up_to_the_command_line() {
    assert_no_path("dependencies point down from `cli`", |source, path| {
        starts(path, &["crate", "cli"]) && !source.is_under(&["src/cli", "src/main"])
    });
}

#[test]
fn what_is_measured_does_not_depend_on_how_it_is_shown() {
    assert_no_path("only `cli` asks for a report", |source, path| {
        starts(path, &["crate", "report"]) && !source.is_under(&["src/cli", "src/report"])
    });
}

#[test]
fn every_name_says_what_is_inside() {
    let offences: BTreeSet<String> = sources()
        .iter()
        .filter(|source| source.module.iter().any(|name| EMPTY_NAMES.contains(&name.as_str())))
        .map(|source| source.path.clone())
        .collect();
    assert!(offences.is_empty(), "these names say nothing:{}", listed(&offences));
}

#[test]
fn every_module_opens_with_what_it_is_for() {
    let offences: BTreeSet<String> = sources()
        .iter()
        .filter(|source| source.path.ends_with("/mod.rs") && !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect();
    assert!(offences.is_empty(), "no `//!` with what goes in, what comes out, why it is apart:{}", listed(&offences));
}

#[test]
fn no_file_is_a_giant() {
    let mut offences = BTreeSet::new();
    for source in sources() {
        let (lines, code) = (source.text.lines().count(), source.code().lines().count());
        let long = !source.is_test() && (lines > MOST_LINES || code > MOST_CODE_LINES);
        let allowed = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        if long && !allowed {
            offences.insert(format!("{}: {lines} lines, {code} before its tests", source.path));
        }
        if allowed && !long {
            offences.insert(format!("{}: no longer long; take it off the list", source.path));
        }
    }
    assert!(offences.is_empty(), "at most {MOST_LINES} lines, {MOST_CODE_LINES} before tests:{}", listed(&offences));
}

#[test]
fn paths_are_found_wherever_rust_lets_them_stand() {
    let source = Source {
        path: "src/report/chart/mod.rs".to_owned(),
        module: vec!["report".to_owned(), "chart".to_owned()],
        text: r##"
            use crate::machine::{self, kernel::{Load, perf as p}, sim::*};
            use super::{units, super::host::checks};
            // use crate::comment::line; /* */
            const TEXT: &str = "crate::string \" crate::again"; const RAW: &str = r#"crate::raw " crate::raw"#;
            fn f<'a>(x: &'a crate::trial::Trial, c: char) -> Vec<self::axis::Axis> { let q = '"'; itlbench::cli::run::<u8>(x) }
            #[cfg(test)]
            mod tests { use crate::machine::sim; }
        "##
        .to_owned(),
    };
    let found: BTreeSet<String> =
        source.paths().iter().map(|path| path.join("::")).filter(|path| path.contains("::")).collect();
    let expected = [
        "crate::cli::run",
        "crate::host::checks",
        "crate::machine::kernel::Load",
        "crate::machine::kernel::perf",
        "crate::machine::self",
        "crate::machine::sim::*",
        "crate::report::chart::axis::Axis",
        "crate::report::units",
        "crate::trial::Trial",
    ];
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
