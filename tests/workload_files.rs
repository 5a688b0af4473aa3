//! Workload files: what `workloads/README.md` says of them is what the tool takes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use clap::ValueEnum;
use itlbench::workload::{Body, FillerRule, OffsetRule, PackMode, Spec, Stride, TriggerKind, builtin};

const REQUIRED: &str = "name='x'\nquestion='q'\nexpectation='e'\ntrigger='chain'\nprograms=[8]\n";

/// Rows of the table of keys: key, then type, default and meaning.
fn reference() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/README.md")).unwrap();
    let table = text.split("## Keys").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect());
    cells.map(|cells: Vec<String>| (cells[0].trim_matches('`').to_owned(), cells[1..].to_vec())).collect()
}

/// The keys that the tool takes, as it names them to who writes another.
fn known() -> Vec<String> {
    let error = Spec::parse("f", "no_such_key = 1\n").unwrap_err().to_string();
    let list = error.split("expected one of").nth(1).unwrap();
    let mut keys: Vec<String> = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let documented: Vec<String> = reference().into_keys().collect();
    assert_eq!(documented, known());
}

#[test]
fn the_reference_names_every_value() {
    fn names<T: ValueEnum>() -> Vec<String> {
        let name = |value: &T| format!("`\"{}\"`", value.to_possible_value().unwrap().get_name());
        T::value_variants().iter().map(name).collect()
    }
    let reference = reference();
    let enumerated = [
        ("trigger", names::<TriggerKind>()),
        ("body", names::<Body>()),
        ("pack", names::<PackMode>()),
        ("stride", names::<Stride>()),
        ("offset", names::<OffsetRule>()),
        ("fillers", names::<FillerRule>()),
    ];
    for (key, values) in enumerated {
        for value in values {
            assert!(reference[key][0].contains(&value), "{key} does not name {value}: {}", reference[key][0]);
        }
    }
}

#[test]
fn what_the_reference_calls_required_is_and_its_defaults_hold() {
    let short = Spec::parse("f", REQUIRED).unwrap();
    for (key, cells) in reference() {
        let without: String =
            REQUIRED.lines().filter(|line| !line.starts_with(&key)).map(|l| format!("{l}\n")).collect();
        let default = &cells[1];
        if default == "required" {
            assert!(Spec::parse("f", &without).is_err(), "{key} is not required");
        } else if let Some(value) = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
            let stated = Spec::parse("f", &format!("{without}{key} = {value}\n")).unwrap();
            assert_eq!(stated, short, "{key} = {value} is not the default");
        }
    }
}

#[test]
fn every_file_of_the_directory_is_built_in_and_in_its_table() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let readme = std::fs::read_to_string(directory.join("README.md")).unwrap();
    let mut files: Vec<String> = std::fs::read_dir(&directory)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".toml").map(str::to_owned))
        .collect();
    files.sort();
    let mut names: Vec<String> = builtin::WORKLOADS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(files, names);
    let (asked, showed) = readme.split_once("\n## What they showed on one machine\n").unwrap();
    for name in names {
        let row = format!("\n| `{name}` |");
        assert!(asked.contains(&row), "{name} is not in the table of questions of workloads/README.md");
        assert!(showed.contains(&row), "{name} is not in the table of what they showed");
    }
}
