//! What the reader makes of whole, torn, later and lying files.

use std::io;

use super::small::{read, small, small_text, write};
use crate::caveat::Caveat;
use crate::runfile::{ReadError, Run};

#[test]
fn the_head_says_what_the_columns_are_and_addresses_are_hexadecimal() {
    let text = small_text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(r#"{"record":"run","schema":1,"tool_version":"0.1.0","#), "{}", lines[0]);
    assert!(lines[0].contains(r#""sample":["runs","executions","wall_ns","discarded","readings"]"#), "{}", lines[0]);
    assert!(lines[1].starts_with(r#"{"record":"placement","case":0,"trial":0,"sequence":0,"placed":true,"#));
    assert!(lines[1].ends_with(r#""images":[["0xffffffffffffefff",64]]}"#), "{}", lines[1]);
    assert!(lines[2].contains(r#""samples":[[1,33,9,null,[[5,5,18446744073709551615]]]],"#), "{}", lines[2]);
    assert_eq!(lines.len(), 8);
}

#[test]
fn the_checksum_is_the_crc_32_of_all_bytes_before_it() {
    let text = small_text();
    let (before, tail) = text.split_at(text.len() - "01234567\"}\n".len());
    assert_eq!(tail, format!("{:08x}\"}}\n", crc32fast::hash(before.as_bytes())));
}

#[test]
fn a_run_without_end_is_interrupted_and_a_torn_line_is_left_out() {
    let text = small_text();
    let lines: Vec<&str> = text.lines().collect();
    let interrupted = |trials| Caveat::Interrupted { trials, planned: 3 };
    for (kept, torn, expected) in [
        (7, "", vec![interrupted(3)]),
        (6, "", vec![interrupted(2)]),
        (5, "", vec![interrupted(2)]),
        (5, "{\"record\":\"pl", vec![Caveat::TornTail, interrupted(2)]),
        (6, &lines[6][..99], vec![Caveat::TornTail, interrupted(2)]),
        (1, "\0\0\0\0", vec![Caveat::TornTail, interrupted(0)]),
        (1, "\u{fffd}", vec![Caveat::TornTail, interrupted(0)]),
    ] {
        let run = read(&format!("{}\n{torn}", lines[..kept].join("\n"))).expect("reads");
        assert_eq!((run.complete, run.caveats), (false, expected), "{kept} lines and {torn:?}");
    }
}

#[test]
fn an_end_that_admits_an_interruption_is_believed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    let mut run = small();
    run.trials.pop();
    write(&path, &run, true);
    let run = Run::read(&path).expect("reads");
    assert_eq!((run.complete, run.caveats), (false, vec![Caveat::Interrupted { trials: 2, planned: 3 }]));
}

#[test]
fn an_end_with_trials_missing_is_no_complete_run_whatever_it_says() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    let mut run = small();
    run.trials.pop();
    write(&path, &run, false);
    assert!(!Run::read(&path).expect("reads").complete);
}

#[test]
fn fields_of_a_later_version_are_ignored_within_a_schema() {
    let text = small_text();
    let mut text = text[..text.rfind("{\"record\":\"end\"").expect("end")].to_owned();
    text = text.replace("{\"record\":", "{\"later\":[1,{\"x\":null}],\"record\":");
    text = text.replace("\"question\":", "\"colour\":\"blue\",\"question\":");
    text = text.replace("\"histograms\":{", "\"histograms\":{\"page-faults\":\"AAAA\",");
    let run = read(&text).expect("reads");
    assert_eq!((run.trials, run.histograms), (small().trials, small().histograms));
}

#[test]
fn a_later_schema_is_refused_before_anything_else_is_looked_at() {
    for (schema, found) in [("2", 2), ("99999999999", u32::MAX)] {
        let text = format!("{{\"record\":\"run\",\"schema\":{schema},\"planned_trials\":\"many\"}}\n");
        match read(&text) {
            Err(ReadError::Newer { found: said, known: 1, .. }) => assert_eq!(said, found),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn other_files_are_not_run_files() {
    for (text, expected) in [
        ("", "it is empty"),
        ("\n", "its first line is torn, or no JSON"),
        ("hello\n", "its first line is torn, or no JSON"),
        ("hello\nworld\n", "first line: the line is broken"),
        ("[1]\n", "first line: "),
        ("{\"record\":\"trial\"}\n", "its first record is no `run`"),
        ("{\"record\":\"run\"}\n", "its `run` record has no schema number"),
        ("{\"record\":\"run\",\"schema\":0}\n", "its `run` record has no schema number"),
    ] {
        let error = read(text).expect_err(text).to_string();
        assert!(error.starts_with("`run.jsonl` is not an itlbench run file: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_line() {
    let mut bytes = small_text().into_bytes();
    let at = bytes.iter().position(|&byte| byte == b'\n').expect("line feed") + 20;
    bytes[at] = 0xff;
    let error = Run::from_reader("run.jsonl", &bytes[..]).expect_err("refused").to_string();
    assert_eq!(error, "run file `run.jsonl`, line 2: the line is not UTF-8");
}

#[test]
fn a_line_without_end_is_refused_and_not_kept_in_memory() {
    let endless = io::BufReader::new(io::repeat(b'x'));
    let error = Run::from_reader("zero", endless).expect_err("refused").to_string();
    assert_eq!(error, "run file `zero`, line 1: the line is longer than 64 MiB");
}

#[test]
fn a_missing_file_is_named() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let error = Run::read(directory.path()).expect_err("no file").to_string();
    assert!(error.contains("run.jsonl`: No such file"), "{error}");
}
