//! Records of a perf ring buffer, as bytes (include/uapi/linux/perf_event.h, `enum perf_event_type`).

use super::ibs::{self, Fetch, Revision};

/// `PERF_RECORD_LOST`, `_THROTTLE`, `_SAMPLE`, `_LOST_SAMPLES`.
const LOST: u32 = 2;
const THROTTLE: u32 = 5;
const SAMPLE: u32 = 9;
const LOST_SAMPLES: u32 = 13;
/// Bits of `misc`: the CPU mode, and whether the address is that of the instruction itself.
const CPUMODE: u16 = 7;
const EXACT_IP: u16 = 1 << 14;

/// The mode a sample was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Kernel,
    User,
    /// Hypervisor, guest, or not known.
    Other,
}

/// Where a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Address of the instruction; of the fetch where there is one.
    pub addr: u64,
    /// The hardware vouches for the address; otherwise it lies some instructions behind the event.
    pub exact: bool,
    pub mode: Mode,
    pub fetch: Option<Fetch>,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    Sample(Sampled),
    /// So many records did not fit the buffer.
    Lost(u64),
    /// The kernel stopped sampling for a while: too many interrupts.
    Throttled,
    /// Of no interest here.
    Other,
}

/// What a sample's body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// `PERF_SAMPLE_IP`.
    Address,
    /// `PERF_SAMPLE_IP | PERF_SAMPLE_RAW` of the PMU `ibs_fetch`.
    IbsFetch(Revision),
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a perf record of {have} bytes lacks its {what}")]
    Short { what: &'static str, have: usize },
    #[error("a perf record says it has {says} bytes and has {has}")]
    Size { says: usize, has: usize },
}

/// Decodes one whole record, its header included.
pub fn decode(bytes: &[u8], body: Body) -> Result<Record, RecordError> {
    let (kind, misc, size) = (u32_at(bytes, 0)?, u16_at(bytes, 4)?, usize::from(u16_at(bytes, 6)?));
    if size != bytes.len() {
        return Err(RecordError::Size { says: size, has: bytes.len() });
    }
    match kind {
        SAMPLE => sample(bytes, misc, body).map(Record::Sample),
        // The identity of the event stands before the number.
        LOST => u64_at(bytes, 16).map(Record::Lost),
        LOST_SAMPLES => u64_at(bytes, 8).map(Record::Lost),
        THROTTLE => Ok(Record::Throttled),
        _ => Ok(Record::Other),
    }
}

fn sample(bytes: &[u8], misc: u16, body: Body) -> Result<Sampled, RecordError> {
    let ip = u64_at(bytes, 8)?;
    let mode = match misc & CPUMODE {
        1 => Mode::Kernel,
        2 => Mode::User,
        _ => Mode::Other,
    };
    let exact = misc & EXACT_IP != 0;
    match body {
        Body::Address => Ok(Sampled { addr: ip, exact, mode, fetch: None }),
        Body::IbsFetch(revision) => {
            let length = u32_at(bytes, 16)? as usize;
            let raw = bytes.get(20..20 + length).ok_or(RecordError::Short { what: "raw data", have: bytes.len() })?;
            let fetch = ibs::decode(raw, revision).ok_or(RecordError::Short { what: "IBS registers", have: length })?;
            Ok(Sampled { addr: fetch.addr, exact: true, mode, fetch: Some(fetch) })
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, RecordError> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, RecordError> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, RecordError> {
    array(bytes, at).map(u64::from_le_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], RecordError> {
    let part = bytes.get(at..).and_then(|rest| rest.first_chunk());
    part.copied().ok_or(RecordError::Short { what: "fields", have: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
        let size = (8 + body.len()) as u16;
        [&kind.to_le_bytes()[..], &misc.to_le_bytes(), &size.to_le_bytes(), body].concat()
    }

    /// As a 6.18 kernel wrote it for cpu-clock with PERF_SAMPLE_IP, in a BPF program.
    const RECORDED: [u8; 16] = [0x09, 0, 0, 0, 0x01, 0, 0x10, 0, 0xac, 0x65, 0xf3, 0xc0, 0xff, 0xff, 0xff, 0xff];

    #[test]
    fn a_recorded_sample_gives_address_mode_and_exactness() {
        let expected = Sampled { addr: 0xffff_ffff_c0f3_65ac, exact: false, mode: Mode::Kernel, fetch: None };
        assert_eq!(decode(&RECORDED, Body::Address), Ok(Record::Sample(expected)));
        let precise = record(SAMPLE, 1 | EXACT_IP, &RECORDED[8..]);
        assert_eq!(decode(&precise, Body::Address), Ok(Record::Sample(Sampled { exact: true, ..expected })));
    }

    #[test]
    fn user_and_unknown_modes_are_told_apart_and_skid_is_not_exact() {
        for (misc, mode) in [(2, Mode::User), (0, Mode::Other), (3, Mode::Other)] {
            let found = decode(&record(SAMPLE, misc, &7u64.to_le_bytes()), Body::Address);
            assert_eq!(found, Ok(Record::Sample(Sampled { addr: 7, exact: false, mode, fetch: None })));
        }
    }

    #[test]
    fn lost_and_throttled_records_are_counted() {
        let lost = [9u64.to_le_bytes(), 41u64.to_le_bytes()].concat();
        assert_eq!(decode(&record(LOST, 0, &lost), Body::Address), Ok(Record::Lost(41)));
        assert_eq!(decode(&record(LOST_SAMPLES, 0, &3u64.to_le_bytes()), Body::Address), Ok(Record::Lost(3)));
        assert_eq!(decode(&record(THROTTLE, 0, &[0; 24]), Body::Address), Ok(Record::Throttled));
        assert_eq!(decode(&record(1, 0, &[0; 8]), Body::Address), Ok(Record::Other));
    }

    #[test]
    fn short_and_lying_records_are_refused() {
        assert!(matches!(decode(&RECORDED[..7], Body::Address), Err(RecordError::Short { .. })));
        assert_eq!(decode(&RECORDED[..12], Body::Address), Err(RecordError::Size { says: 16, has: 12 }));
        assert!(matches!(decode(&record(SAMPLE, 1, &[0; 4]), Body::Address), Err(RecordError::Short { .. })));
        let raw = [&7u64.to_le_bytes()[..], &400u32.to_le_bytes(), &[0; 28]].concat();
        let fetch = Body::IbsFetch(Revision { family: 0x19, model: 1 });
        assert!(matches!(decode(&record(SAMPLE, 1, &raw), fetch), Err(RecordError::Short { what: "raw data", .. })));
    }
}
