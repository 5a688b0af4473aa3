//! Run files that crashes, disks and enemies made: one clear line each, no panic, no endless work.
//!
//! Deterministic mutations of a recorded file; every other one gets a fresh checksum, so that what is behind the checksum must stand too.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use itlbench::compare::{Comparison, Digest, Force};
use itlbench::report::{Summary, comparison, export, mail, table};
use itlbench::runfile::Run;

fn recorded() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/run-v1.jsonl")).unwrap()
}

/// The file with the checksum that it would have if it had been written so.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let digits = file.len().saturating_sub("01234567\"}\n".len());
    if !file[..digits].ends_with(b",\"checksum\":\"") {
        return file;
    }
    let sum = format!("{:08x}", crc32fast::hash(&file[..digits]));
    file[digits..digits + 8].copy_from_slice(sum.as_bytes());
    file
}

/// Reads `file` and everything that can be made of it; says whether it was readable.
fn survives(what: &str, file: &[u8]) -> bool {
    let began = Instant::now();
    let read = std::panic::catch_unwind(|| match Run::from_reader("hostile", file) {
        Ok(run) => {
            let summary = Summary::of(&run);
            let (mut csv, mut json) = (Vec::new(), Vec::new());
            export::csv(&run, &mut csv).unwrap();
            export::json(&run, &mut json).unwrap();
            assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
            let mut other = Digest::of("other", &run);
            other.manifest.seed ^= 1;
            let compared = Comparison::of(vec![Digest::of("hostile", &run)], vec![vec![other]], Force::Yes);
            let text = compared
                .map(|compared| comparison::table::table(&comparison::View::of(&compared)))
                .unwrap_or_else(|error| error.to_string());
            (true, [table::table(&summary), mail::mail(&summary), text].concat())
        }
        Err(error) => (false, error.to_string()),
    });
    let Ok((readable, text)) = read else { panic!("{what}: panicked") };
    assert!(began.elapsed() < Duration::from_secs(20), "{what}: took {:?}", began.elapsed());
    assert!(readable || (text.lines().count() == 1 && text.len() < 1000 && text.contains("hostile")), "{what}: {text}");
    assert!(!text.contains("NaN") && !text.contains("inf "), "{what}: {text}");
    readable
}

struct Random(u64);

impl Random {
    /// Splitmix.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

#[test]
fn a_file_cut_anywhere_is_an_interrupted_run_or_no_run() {
    let file = recorded();
    let head = file.iter().position(|&byte| byte == b'\n').unwrap();
    let ends = (0..file.len()).filter(|&at| file[at] == b'\n').flat_map(|at| [at, at + 1, at + 2]);
    let cuts: std::collections::BTreeSet<usize> = ends.chain((0..file.len()).step_by(997)).collect();
    for cut in cuts.into_iter().filter(|&cut| cut < file.len()) {
        let readable = survives(&format!("cut at {cut}"), &file[..cut]);
        assert_eq!(readable, cut >= head, "cut at {cut}");
    }
}

#[test]
fn no_flipped_bit_passes() {
    let file = recorded();
    let mut random = Random(1);
    for _ in 0..300 {
        let (at, bit) = (random.below(file.len()), random.below(8));
        let mut flipped = file.clone();
        flipped[at] ^= 1 << bit;
        let readable = survives(&format!("bit {bit} of byte {at}"), &flipped);
        // Damage to the last line may look like a torn end, which is forgiven and said.
        let last_line = file[..file.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap();
        assert!(!readable || at > last_line, "bit {bit} of byte {at} went unnoticed");
        survives(&format!("bit {bit} of byte {at}, sealed"), &sealed(flipped));
    }
}

/// Byte ranges of the numbers of `file` that stand as JSON values.
fn numbers(file: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let starts = file[at].is_ascii_digit() && matches!(file[at - 1], b':' | b'[' | b',');
        let length = file[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if starts && matches!(file[at + length], b',' | b']' | b'}') {
            found.push(at..at + length);
        }
        at += length.max(1);
    }
    found
}

#[test]
fn giant_numbers_and_wrong_types_in_any_place_are_survived() {
    let file = recorded();
    let numbers = numbers(&file);
    assert!(numbers.len() > 1000, "{}", numbers.len());
    let wrong =
        ["18446744073709551615", "4294967295", "4294967296", "0", "-1", "1e308", "1.5", "null", "\"8\"", "[]", "{}"];
    let mut random = Random(2);
    for round in 0..400 {
        let place = &numbers[random.below(if round % 2 == 0 { 200 } else { numbers.len() })];
        let with = wrong[random.below(wrong.len())];
        let hostile = [&file[..place.start], with.as_bytes(), &file[place.end..]].concat();
        survives(&format!("{with} at {place:?}"), &sealed(hostile));
    }
}

#[test]
fn lines_in_another_order_or_twice_are_survived() {
    let file = String::from_utf8(recorded()).unwrap();
    let lines: Vec<&str> = file.lines().collect();
    let mut random = Random(3);
    for _ in 0..100 {
        let mut lines = lines.clone();
        let (a, b) = (random.below(lines.len()), random.below(lines.len()));
        match random.below(3) {
            0 => lines.swap(a, b),
            1 => lines.insert(a, lines[b]),
            _ => drop(lines.remove(a)),
        }
        let hostile = lines.iter().flat_map(|line| [line, "\n"]).collect::<String>();
        survives(&format!("lines {a} and {b}"), &sealed(hostile.into_bytes()));
    }
}

#[test]
fn an_image_of_four_gibibytes_is_refused_before_its_pages_are_counted() {
    let file = String::from_utf8(recorded()).unwrap();
    let at = file.find(",\"images\":[[\"0x").unwrap();
    let comma = at + file[at + 1..].find("\",").unwrap() + 3;
    let end = comma + file[comma..].find(']').unwrap();
    let hostile = format!("{}4294967295{}", &file[..comma], &file[end..]);
    let error = Run::from_reader("hostile", &sealed(hostile.into_bytes())[..]).unwrap_err().to_string();
    assert!(error.contains("an image of 4294967295 bytes") && error.contains("longer than any program"), "{error}");
}

#[test]
fn a_line_of_a_gigabyte_costs_no_gigabyte() {
    let endless = std::io::Read::take(std::io::repeat(b'x'), 1 << 30);
    let file = std::io::Read::chain(&b"{\"record\":\"run\",\"schema\":1,\"tool_version\":\""[..], endless);
    let error = Run::from_reader("hostile", std::io::BufReader::new(file)).unwrap_err().to_string();
    assert!(error.contains("the line is longer than 64 MiB"), "{error}");
}

#[test]
fn two_schemas_in_one_file_are_refused() {
    let file = String::from_utf8(recorded()).unwrap();
    let head = file.lines().next().unwrap().replace("\"schema\":1,", "\"schema\":2,");
    let lines: Vec<&str> = file.lines().collect();
    let hostile = [&lines[..3], &[head.as_str()], &lines[3..]].concat().join("\n") + "\n";
    let error = Run::from_reader("hostile", hostile.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("line 4: a second `run` record"), "{error}");
}

#[test]
fn caveats_of_a_later_version_are_kept_by_name() {
    let file = String::from_utf8(recorded()).unwrap();
    let hostile = file.replacen("\"caveats\":[{", "\"caveats\":[{\"kind\":\"moon_phase\",\"phase\":3},{", 1);
    let run = Run::from_reader("hostile", &sealed(hostile.into_bytes())[..]).unwrap();
    let said: Vec<String> = run.manifest.caveats.iter().map(ToString::to_string).collect();
    assert!(said[0].starts_with("`moon_phase`: recorded by a later version"), "{said:?}");
}
