//! The last record of a run file, and the checksum that shows whether the file is what was written.

use serde::{Deserialize, Serialize};

use super::wire::line;

/// `end`, without the checksum, which [`seal`] appends.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndRecord {
    /// Records of each kind before this one.
    pub placements: u32,
    pub trials: u32,
    pub planned: u32,
    pub interrupted: bool,
}

/// What stands between the body of `end` and its checksum.
const CHECKSUM_KEY: &str = ",\"checksum\":\"";

/// The `end` line without its line feed. The checksum is its last field and covers every byte of the file before its own
/// digits, so the counts in `end` are covered too. CRC-32 (ISO-HDLC, as zlib's): finds every damage of up to 32 bits in a
/// row, in any file below 512 MiB also any two flipped bits, and all but one in 4 * 10^9 of the rest. It is there
/// against damage; against forgery no unkeyed sum helps.
pub(super) fn seal(end: &EndRecord, mut before: crc32fast::Hasher) -> serde_json::Result<Vec<u8>> {
    let mut line = line("end", end)?;
    line.pop();
    line.extend_from_slice(CHECKSUM_KEY.as_bytes());
    before.update(&line);
    line.extend_from_slice(format!("{:08x}\"}}", before.finalize()).as_bytes());
    Ok(line)
}

/// Whether the `end` line in `line` carries the sum of all bytes before its digits.
pub(super) fn seal_holds(line: &[u8], mut before: crc32fast::Hasher) -> bool {
    let Some(cut) = line.len().checked_sub("01234567\"}".len()) else { return false };
    let (head, tail) = line.split_at(cut);
    before.update(head);
    head.ends_with(CHECKSUM_KEY.as_bytes()) && tail == format!("{:08x}\"}}", before.finalize()).as_bytes()
}
