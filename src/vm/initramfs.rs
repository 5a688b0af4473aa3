//! The guest's only file system: this binary as init, what it is to do, and empty directories to mount on.
//!
//! The format is `newc` of Documentation/driver-api/early-userspace/buffer-format.rst, not compressed: a guest under emulation
//! takes longer to inflate it than to copy it.

use std::fs;
use std::path::Path;

/// Where the guest finds its job.
pub const JOB: &str = "itlbench-job.json";
const DIRECTORIES: [&str; 5] = ["dev", "proc", "sys", "tmp", "run"];
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFCHR: u32 = 0o020_000;
/// `/dev/console`, and the second serial port, for kernels without devtmpfs.
const DEVICES: [(&str, (u32, u32)); 2] = [("dev/console", (5, 1)), ("dev/ttyS1", (4, 65))];
/// A job takes a whole number of these: how long the names and paths in it are shall not show in what a guest executes.
const JOB_BYTES: usize = 64 << 10;
const PT_INTERP: u32 = 3;

/// The archive of `init` and `job`.
pub fn archive(init: &[u8], job: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(init.len() + job.len() + 4096);
    let mut number = 0;
    let mut put = |name: &str, mode: u32, device: (u32, u32), content: &[u8]| {
        number += 1;
        entry(&mut bytes, number, name, mode, device, content);
    };
    for name in DIRECTORIES {
        put(name, S_IFDIR | 0o755, (0, 0), &[]);
    }
    for (name, device) in DEVICES {
        put(name, S_IFCHR | 0o600, device, &[]);
    }
    put("init", S_IFREG | 0o755, (0, 0), init);
    // Blanks behind it are no part of JSON.
    let mut padded = job.to_vec();
    padded.resize(job.len().next_multiple_of(JOB_BYTES), b' ');
    put(JOB, S_IFREG | 0o644, (0, 0), &padded);
    put("TRAILER!!!", 0, (0, 0), &[]);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn entry(bytes: &mut Vec<u8>, number: u32, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
    let links = if mode & S_IFDIR == S_IFDIR { 2 } else { 1 };
    let (size, name_size) = (content.len() as u32, name.len() as u32 + 1);
    let fields = [number, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
    bytes.extend_from_slice(b"070701");
    bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The binary that becomes the guest's init; the error says why it cannot.
pub fn init(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::read(path).map_err(|error| format!("failed to read `{}`: {error}", path.display()))?;
    let problem = match interpreter(&bytes) {
        Ok(None) => return Ok(bytes),
        Ok(Some(interpreter)) => format!("it needs `{interpreter}`, which a guest does not have"),
        Err(reason) => reason.to_owned(),
    };
    Err(format!(
        "failed to make a guest of `{}`: {problem}; run `make release` and use target/static/itlbench, or name that with --init",
        path.display()
    ))
}

/// The program interpreter that an x86_64 ELF file asks for; a static one asks for none.
fn interpreter(bytes: &[u8]) -> Result<Option<String>, &'static str> {
    let word = |at: usize, size: usize| {
        let found = bytes.get(at..at.checked_add(size)?)?;
        Some(found.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    if !bytes.starts_with(b"\x7fELF\x02\x01") || word(18, 2) != Some(62) {
        return Err("it is no program for x86_64");
    }
    let torn = "its program headers are torn";
    let (start, size, count) =
        (word(32, 8).ok_or(torn)? as usize, word(54, 2).ok_or(torn)? as usize, word(56, 2).ok_or(torn)? as usize);
    for header in (0..count).filter_map(|at| start.checked_add(at * size)) {
        if word(header, 4).ok_or(torn)? != u64::from(PT_INTERP) {
            continue;
        }
        let (offset, length) = (word(header + 8, 8).ok_or(torn)? as usize, word(header + 32, 8).ok_or(torn)? as usize);
        let name = bytes.get(offset..offset.saturating_add(length)).ok_or(torn)?;
        return Ok(Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode and content of every entry, read by the rules of the format and not by those of the writer.
    fn entries(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let (mut at, mut found) = (0, Vec::new());
        loop {
            assert_eq!(&archive[at..at + 6], b"070701");
            let field = |number: usize| {
                let digits = &archive[at + 6 + 8 * number..at + 14 + 8 * number];
                u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(archive[at + 110..at + 109 + name_size].to_vec()).unwrap();
            let content = (at + 110 + name_size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                return found;
            }
            found.push((name, mode, archive[content..content + size].to_vec()));
            at = (content + size).next_multiple_of(4);
        }
    }

    #[test]
    fn every_entry_is_where_the_format_says() {
        for length in 0..9 {
            let (program, job) = (vec![7; length], vec![9; 8 - length]);
            let archive = archive(&program, &job);
            assert_eq!(archive.len() % 512, 0);
            let found = entries(&archive);
            let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
            assert_eq!(names, ["dev", "proc", "sys", "tmp", "run", "dev/console", "dev/ttyS1", "init", JOB]);
            assert_eq!((found[7].1, &found[7].2), (0o100_755, &program));
            assert_eq!((found[6].1, &found[8].2[..job.len()]), (0o020_600, &job[..]));
        }
    }

    #[test]
    fn a_job_takes_as_much_whatever_is_in_it() {
        let size = |job: &str| archive(b"init", job.as_bytes()).len();
        assert_eq!(size("{}"), size(&format!("{{\"argv\":[\"{}\"]}}", "x".repeat(5000))));
        let found = entries(&archive(b"init", b"{\"a\":1}"));
        let read: serde_json::Value = serde_json::from_slice(&found.last().unwrap().2).unwrap();
        assert_eq!(read["a"], 1);
    }

    /// An ELF file of one program header.
    fn elf(kind: u32, machine: u16) -> Vec<u8> {
        let mut file = vec![0; 64 + 56 + 8];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file[72] = 120;
        file[96] = 8;
        file[120..].copy_from_slice(b"/lib/ld\0");
        file
    }

    #[test]
    fn only_a_static_program_becomes_init() {
        assert_eq!(interpreter(&elf(1, 62)), Ok(None));
        assert_eq!(interpreter(&elf(PT_INTERP, 62)), Ok(Some("/lib/ld".to_owned())));
        assert_eq!(interpreter(&elf(1, 183)), Err("it is no program for x86_64"));
        assert_eq!(interpreter(&elf(PT_INTERP, 62)[..100]), Err("its program headers are torn"));
        assert_eq!(interpreter(b"#!/bin/sh\n"), Err("it is no program for x86_64"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("itlbench");
        fs::write(&path, elf(PT_INTERP, 62)).unwrap();
        let error = init(&path).unwrap_err();
        assert!(error.contains("it needs `/lib/ld`") && error.contains("make release"), "{error}");
    }
}
