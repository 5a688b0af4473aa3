//! What the writer refuses, and what is left on a disk that fills up.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::small::{small, small_text};
use crate::caveat::Caveat;
use crate::runfile::writer::Sink;
use crate::runfile::{Run, WriteError, Writer};
use crate::trial::Trial;

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    std::fs::write(&path, "mine").expect("writes");
    let error = Writer::create(&path, &small().manifest).expect_err("exists");
    assert!(matches!(error, WriteError::Exists { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "mine");
    let error = Writer::create(&directory.path().join("no/run.jsonl"), &small().manifest).expect_err("no directory");
    assert!(error.to_string().ends_with("create the directory, or choose another with `--out`"), "{error}");
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let run = small();
    let mut writer = Writer::create(&directory.path().join("run.jsonl"), &run.manifest).expect("creates");
    let mut refuse = |trial: &Trial| writer.append(trial, &BTreeMap::new()).expect_err("refused").to_string();
    let mut strange = run.trials[0].clone();
    strange.case.programs = 9;
    assert!(refuse(&strange).ends_with("case `chain n=9 pack=on` is not one of the run's workloads"));
    let mut short = run.trials[0].clone();
    short.samples[0].readings.clear();
    assert!(refuse(&short).ends_with("a window has 0 readings for 1 groups"));
    writer.append(&run.trials[0], &BTreeMap::new()).expect("appends");
    let twice = writer.append(&run.trials[0], &BTreeMap::new()).expect_err("refused").to_string();
    assert!(twice.ends_with("trial 0 of case `chain n=8 pack=on` is there twice"), "{twice}");
}

#[test]
fn a_new_run_can_be_read_before_it_ends() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    let run = small();
    let mut writer = Writer::create(&path, &run.manifest).expect("creates");
    for done in 0..3 {
        assert_eq!(Run::read(&path).expect("reads").trials, run.trials[..done]);
        let spent = writer.spent();
        writer.append(&run.trials[done], &run.histograms[done]).expect("appends");
        assert!(writer.spent() > spent, "time spent on recording adds up");
    }
}

/// A file on a disk with room for a few bytes.
#[derive(Debug)]
struct SmallDisk {
    file: std::fs::File,
    room: usize,
    cuts: bool,
}

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = self.file.write(&bytes[..bytes.len().min(self.room)])?;
        self.room -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for SmallDisk {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        if self.cuts { self.file.set_len(bytes) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

/// What is readable after the disk filled up `room` bytes into a run, and what the writer said to the two trials behind.
fn on_a_small_disk(room: usize, cuts: bool) -> (Run, [String; 2]) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("run.jsonl");
    let file = std::fs::OpenOptions::new().append(true).create_new(true).open(&path).expect("creates");
    let run = small();
    let disk = Box::new(SmallDisk { file, room, cuts });
    let mut writer = Writer::start("run.jsonl".to_owned(), disk, &run.manifest).expect("the head fits");
    writer.append(&run.trials[0], &run.histograms[0]).expect("the first trial fits");
    let errors = [1, 2].map(|i| writer.append(&run.trials[i], &run.histograms[i]).expect_err("full").to_string());
    (Run::read(&path).expect("still readable"), errors)
}

#[test]
fn a_full_disk_keeps_what_was_written_before() {
    let text = small_text();
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    for room in [ends[2], ends[2] + 1, ends[3], ends[4] - 1] {
        let (run, [first, second]) = on_a_small_disk(room, true);
        assert_eq!(run.trials, small().trials[..1]);
        assert_eq!(run.caveats, [Caveat::Interrupted { trials: 1, planned: 3 }]);
        assert!(
            first.starts_with("failed to write run file `run.jsonl`: no storage space; free some space"),
            "{first}"
        );
        assert!(first.ends_with("the trial written before it stays readable"), "{first}");
        assert_eq!(first.lines().count(), 1);
        assert!(second.starts_with("failed to write run file"), "{second}");
    }
}

#[test]
fn nothing_is_written_behind_a_torn_line_that_cannot_be_cut_off() {
    let text = small_text();
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let (run, [_, second]) = on_a_small_disk(ends[2] + 7, false);
    assert_eq!(run.caveats, [Caveat::TornTail, Caveat::Interrupted { trials: 1, planned: 3 }]);
    assert!(second.contains("an earlier write left a torn line"), "{second}");
}

#[test]
fn a_device_that_is_always_full_is_told_in_one_line() {
    let Ok(file) = std::fs::OpenOptions::new().append(true).open("/dev/full") else { return };
    let error = Writer::start("/dev/full".to_owned(), Box::new(file), &small().manifest).expect_err("full").to_string();
    let expected = "failed to write run file `/dev/full`: No space left on device (os error 28); free some space, \
                    or choose a directory on another disk with `--out`";
    assert_eq!(error, expected);
}
