//! What guest and host say to each other: the guest's job, and the lines it sends through its second serial port.
//!
//! A line is a letter and what it tells: `R` a line of the run file as it is, `K` a line of the selftest's KTAP, `P` how far the guest
//! is, `C` the exit code that all this comes to if it is not 0, `F` why it failed, `H` that it has begun, `D` that it is done.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::counters::Choice;
use crate::runfile::manifest::Guest;
use crate::workload::Spec;

/// What a guest is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Of the tool that wrote it; another one may understand it otherwise.
    pub tool_version: String,
    pub guest: Guest,
    pub workloads: Vec<Spec>,
    pub seed: u64,
    pub choice: Choice,
    pub argv: Vec<String>,
    /// Fence every window with marks for the emulator.
    pub marks: bool,
    /// Test the allocator instead of measuring.
    pub selftest: Option<Selftest>,
}

/// How `itlbench selftest` is run in a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selftest {
    pub seconds: u32,
    /// Subtests by name; all if there is none.
    pub only: Vec<String>,
}

/// Something a guest said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is in user space and understands its job.
    Hello,
    /// A line of the run file, without its end.
    Record(Vec<u8>),
    /// A line of the selftest's results, without its end.
    Ktap(Vec<u8>),
    /// The exit code that its results come to.
    Code(u8),
    /// What it is doing.
    Progress(String),
    /// It gave up, in one line, with the exit code that a run on a host would have.
    Failed {
        code: u8,
        message: String,
    },
    Done,
    /// Nothing that a guest says.
    Garbage(String),
}

impl Said {
    /// Understands a line, without its end.
    pub fn parse(line: &[u8]) -> Self {
        let (letter, rest) = line.split_first().map_or((0, line), |(letter, rest)| (*letter, rest));
        let text = || String::from_utf8_lossy(rest).into_owned();
        let failed = || {
            let (code, message) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
            Some(Self::Failed { code: code.parse().ok()?, message: message.to_owned() })
        };
        let garbage = || Self::Garbage(String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned());
        match letter {
            b'H' if rest.is_empty() => Self::Hello,
            b'R' => Self::Record(rest.to_vec()),
            b'K' => Self::Ktap(rest.to_vec()),
            b'C' => text().parse().map_or_else(|_| garbage(), Self::Code),
            b'P' => Self::Progress(text()),
            b'F' => failed().unwrap_or_else(garbage),
            b'D' if rest.is_empty() => Self::Done,
            _ => garbage(),
        }
    }

    fn line(&self) -> Vec<u8> {
        let one_line = |text: &str| text.replace(['\n', '\r'], " ");
        let (letter, rest) = match self {
            Self::Hello => ("H", Vec::new()),
            Self::Record(line) => ("R", line.clone()),
            Self::Ktap(line) => ("K", line.clone()),
            Self::Code(code) => ("C", code.to_string().into_bytes()),
            Self::Progress(text) => ("P", one_line(text).into_bytes()),
            Self::Failed { code, message } => ("F", format!("{code} {}", one_line(message)).into_bytes()),
            Self::Done => ("D", Vec::new()),
            Self::Garbage(text) => ("", one_line(text).into_bytes()),
        };
        [letter.as_bytes(), &rest, b"\n"].concat()
    }
}

/// The guest's end.
#[derive(Debug)]
pub struct Port<W> {
    port: W,
    /// What is written line by line: a run file unless it was said otherwise.
    lines: fn(Vec<u8>) -> Said,
    /// A line that has not ended yet.
    open: Vec<u8>,
}

impl<W: Write> Port<W> {
    /// Speaks through `port`.
    pub fn new(port: W) -> Self {
        Self { port, lines: Said::Record, open: Vec::new() }
    }

    /// From now on what is written is a selftest's results.
    pub fn write_ktap(&mut self) {
        self.lines = Said::Ktap;
    }

    /// What it speaks through.
    pub fn get_ref(&self) -> &W {
        &self.port
    }

    /// Says one thing.
    pub fn say(&mut self, said: &Said) -> io::Result<()> {
        self.port.write_all(&said.line())?;
        self.port.flush()
    }
}

/// As a file: every line goes out as soon as it ends.
impl<W: Write> Write for Port<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open.extend_from_slice(bytes);
        while let Some(end) = self.open.iter().position(|byte| *byte == b'\n') {
            let rest = self.open.split_off(end + 1);
            let mut line = std::mem::replace(&mut self.open, rest);
            line.pop();
            self.say(&(self.lines)(line))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.port.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let mut sent = Vec::new();
        let mut port = Port::new(&mut sent);
        let said = [
            Said::Hello,
            Said::Progress("chain n=64".to_owned()),
            Said::Ktap(b"ok 1 bytes".to_vec()),
            Said::Code(4),
            Said::Failed { code: 3, message: "no JIT; enable it".to_owned() },
            Said::Done,
        ];
        said.iter().for_each(|one| port.say(one).unwrap());
        let understood: Vec<Said> = sent.split(|byte| *byte == b'\n').map(Said::parse).take(said.len()).collect();
        assert_eq!(understood, said);
    }

    #[test]
    fn what_is_written_in_pieces_arrives_line_by_line() {
        let mut sent = Vec::new();
        let mut port = Port::new(&mut sent);
        for piece in ["{\"a\":1}\n{\"b\"", ":2}", "\n{\"c\":3}\n"] {
            port.write_all(piece.as_bytes()).unwrap();
        }
        port.write_ktap();
        port.write_all(b"ok 1\n").unwrap();
        assert_eq!(String::from_utf8(sent).unwrap(), "R{\"a\":1}\nR{\"b\":2}\nR{\"c\":3}\nKok 1\n");
    }

    #[test]
    fn line_ends_in_a_message_do_not_end_its_line() {
        let line = Said::Failed { code: 1, message: "a\nb".to_owned() }.line();
        assert_eq!(line, b"F1 a b\n");
    }

    #[test]
    fn what_no_guest_says_is_garbage() {
        for line in ["", "Hx", "F", "Fx message", "F3", "C", "C256", "boot: no", "\u{7f}"] {
            assert!(matches!(Said::parse(line.as_bytes()), Said::Garbage(_)), "{line}");
        }
    }
}
