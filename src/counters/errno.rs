//! What an error of perf_event_open(2) means, and what the user can do about it.

use std::io;

/// An error, named and explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Symbolic, as in `ENOENT`.
    pub name: String,
    /// What it means here, and the remedy.
    pub meaning: String,
}

/// Number, name, meaning, remedy; numbers as in include/uapi/asm-generic/errno{-base,}.h, meanings as perf_event_open in
/// kernel/events/core.c and the x86 PMU drivers use them.
const KNOWN: [(i32, &str, &str, &str); 12] = [
    (
        1,
        "EPERM",
        "seccomp or a security module forbids it",
        "run as root outside the container, or allow perf_event_open",
    ),
    (
        2,
        "ENOENT",
        "no PMU of this host takes it",
        "run on bare metal, or give the guest a PMU (QEMU: -cpu host,pmu=on); a kernel older than the CPU has none either",
    ),
    (7, "E2BIG", "the kernel is too old for this perf_event_attr", "leave the event out, or use a newer kernel"),
    (
        13,
        "EACCES",
        "kernel.perf_event_paranoid forbids it",
        "run as root or with CAP_PERFMON, or lower kernel.perf_event_paranoid",
    ),
    (16, "EBUSY", "another user owns the PMU", "stop the other profiler, or the guest that was given the counters"),
    (19, "ENODEV", "the CPU lacks the PMU", "choose another CPU with --cpu"),
    (
        22,
        "EINVAL",
        "this CPU has no such event, or the group cannot be scheduled",
        "see `itlbench list events` for what it has",
    ),
    (24, "EMFILE", "this process has too many descriptors open", "raise `ulimit -n`"),
    (23, "ENFILE", "the host has too many files open", "raise fs.file-max"),
    (12, "ENOMEM", "the kernel has no memory for it", "close other profilers"),
    (28, "ENOSPC", "every counter that could hold it is taken", "leave events out"),
    (95, "EOPNOTSUPP", "the PMU lacks the feature", "leave the modifier or the event out"),
];

/// Explains `error`.
pub fn explain(error: &io::Error) -> Explained {
    let code = error.raw_os_error();
    match KNOWN.iter().find(|(known, ..)| Some(*known) == code) {
        Some((_, name, meaning, remedy)) => {
            Explained { name: (*name).to_owned(), meaning: format!("{meaning}; {remedy}") }
        }
        None => Explained {
            name: code.map_or_else(|| "error".to_owned(), |code| format!("errno {code}")),
            meaning: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_that_is_known_has_a_name_a_meaning_and_a_remedy() {
        use rustix::io::Errno;
        for (errno, name, remedy) in [
            (Errno::PERM, "EPERM", "as root"),
            (Errno::NOENT, "ENOENT", "bare metal"),
            (Errno::TOOBIG, "E2BIG", "newer kernel"),
            (Errno::ACCESS, "EACCES", "CAP_PERFMON"),
            (Errno::BUSY, "EBUSY", "other profiler"),
            (Errno::NODEV, "ENODEV", "--cpu"),
            (Errno::INVAL, "EINVAL", "list events"),
            (Errno::MFILE, "EMFILE", "ulimit -n"),
            (Errno::NFILE, "ENFILE", "fs.file-max"),
            (Errno::NOMEM, "ENOMEM", "profilers"),
            (Errno::NOSPC, "ENOSPC", "leave events out"),
            (Errno::OPNOTSUPP, "EOPNOTSUPP", "modifier"),
        ] {
            let explained = explain(&errno.into());
            assert_eq!(explained.name, name);
            let (meaning, advice) = explained.meaning.split_once("; ").unwrap();
            assert!(!meaning.is_empty() && advice.contains(remedy), "{name}: {advice}");
        }
    }

    #[test]
    fn an_error_that_is_not_known_keeps_its_number() {
        assert_eq!(explain(&io::Error::from_raw_os_error(4242)).name, "errno 4242");
        assert_eq!(
            explain(&io::Error::other("odd")),
            Explained { name: "error".to_owned(), meaning: "odd".to_owned() }
        );
    }
}
