//! The lines of a run file: bounded in length, numbered, summed, and sorted into whole, torn and broken.

use std::io::{BufRead, ErrorKind, Read};

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::reader::ReadError;
use super::wire;

/// Reads one line at a time.
#[derive(Debug)]
pub(super) struct Lines<R> {
    name: String,
    input: R,
    /// The line in hand, without its line feed.
    line: Vec<u8>,
    /// 1-based.
    number: usize,
    /// Nothing follows the line in hand.
    last: bool,
    /// Sum of all bytes before the line in hand.
    before: crc32fast::Hasher,
    terminated: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input`; `name` stands in errors.
    pub fn new(name: &str, input: R) -> Self {
        Self {
            name: name.to_owned(),
            input,
            line: Vec::new(),
            number: 0,
            last: false,
            before: crc32fast::Hasher::new(),
            terminated: false,
        }
    }

    /// Takes the next line in hand; false at the end of the file.
    pub fn advance(&mut self) -> Result<bool, ReadError> {
        self.before.update(&self.line);
        if self.terminated {
            self.before.update(b"\n");
        }
        self.line.clear();
        let most = wire::MOST_LINE_BYTES;
        let read = (&mut self.input).take(most as u64 + 1).read_until(b'\n', &mut self.line);
        let read = read.map_err(|source| self.io(source))?;
        self.number += 1;
        self.terminated = self.line.last() == Some(&b'\n');
        if self.terminated {
            self.line.pop();
        }
        if self.line.len() > most {
            return Err(self.syntax(format!("the line is longer than {} MiB", most >> 20)));
        }
        self.last = self.at_end()?;
        Ok(read > 0)
    }

    /// The line in hand as a `T`. `None` if it is the last one and torn: not even JSON.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<Option<T>, ReadError> {
        let Ok(text) = std::str::from_utf8(&self.line) else {
            return self.torn_or("the line is not UTF-8".to_owned());
        };
        match serde_json::from_str(text) {
            Ok(record) => Ok(Some(record)),
            Err(error) if matches!(error.classify(), Category::Syntax | Category::Eof) => {
                self.torn_or(format!("the line is broken: {}", without_position(&error)))
            }
            Err(error) => Err(self.syntax(without_position(&error))),
        }
    }

    /// Whether the line in hand begins with the tag of `record`, as the writer puts it: then it need not be parsed to be told.
    pub fn is_tagged(&self, record: &str) -> bool {
        let rest = self.line.strip_prefix(b"{\"record\":\"").and_then(|rest| rest.strip_prefix(record.as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b"\""))
    }

    /// The bytes of the line in hand.
    pub fn bytes(&self) -> &[u8] {
        &self.line
    }

    /// Sum of all bytes before the line in hand.
    pub fn sum_before(&self) -> crc32fast::Hasher {
        self.before.clone()
    }

    /// An error that names the line in hand.
    pub fn syntax(&self, message: String) -> ReadError {
        ReadError::Syntax { path: self.name.clone(), line: self.number, message: one_line(&message) }
    }

    /// The file claims what is not so.
    pub fn lies(&self, message: impl std::fmt::Display) -> ReadError {
        ReadError::Lies { path: self.name.clone(), message: one_line(&format!("line {}: {message}", self.number)) }
    }

    /// The file is something else.
    pub fn not_a_run(&self, message: impl Into<String>) -> ReadError {
        ReadError::NotARun { path: self.name.clone(), message: one_line(&message.into()) }
    }

    /// The file comes from a later version of the tool.
    pub fn newer(&self, found: u32) -> ReadError {
        ReadError::Newer { path: self.name.clone(), found, known: wire::SCHEMA }
    }

    fn torn_or<T>(&self, message: String) -> Result<Option<T>, ReadError> {
        if self.last { Ok(None) } else { Err(self.syntax(message)) }
    }

    fn io(&self, source: std::io::Error) -> ReadError {
        ReadError::Io { path: self.name.clone(), source }
    }

    fn at_end(&mut self) -> Result<bool, ReadError> {
        loop {
            match self.input.fill_buf() {
                Ok(rest) => return Ok(rest.is_empty()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Io { path: self.name.clone(), source }),
            }
        }
    }
}

/// Messages quote what the file says: on one line, and not all of it.
fn one_line(message: &str) -> String {
    let plain = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = plain.take(MOST_MESSAGE).collect();
    if message.chars().nth(MOST_MESSAGE).is_some() { text + "..." } else { text }
}

const MOST_MESSAGE: usize = 400;

/// serde_json counts lines inside its input, which is always line 1 here; the column alone is of use.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(cut) if error.column() > 0 => format!("{} at column {}", &text[..cut], error.column()),
        _ => text,
    }
}
