//! The bytes that read(2) of a group leader gives, decoded.
//!
//! With `PERF_FORMAT_TOTAL_TIME_ENABLED | _RUNNING | _ID | _GROUP` (include/uapi/linux/perf_event.h): the number of events,
//! both times, then value and id of each event, all u64 in the machine's byte order.

use super::Reading;

/// Bytes before the first event.
const HEAD: usize = 24;
/// Bytes of one event.
const EVENT: usize = 16;

/// Bytes that a group of `events` gives.
pub const fn length(events: usize) -> usize {
    HEAD + events * EVENT
}

/// Bytes that are no reading of the group. No count in them can be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Torn {
    #[error("the kernel gave {given} bytes where a group of {events} has {due}")]
    Length { given: usize, due: usize, events: usize },
    #[error("the kernel gave {given} events where the group has {events}")]
    Number { given: u64, events: usize },
    #[error("event {at} came with id {given} where {id} was opened")]
    Id { at: usize, given: u64, id: u64 },
}

/// Decodes one read of the group whose events have `ids`. No bytes at all are an empty reading: a pinned group lost its
/// counters (`perf_read` in kernel/events/core.c).
pub fn decode(bytes: &[u8], ids: &[u64], into: &mut Reading) -> Result<(), Torn> {
    into.counts.clear();
    (into.enabled_ns, into.running_ns) = (0, 0);
    if bytes.is_empty() {
        return Ok(());
    }
    let (given, due, events) = (bytes.len(), length(ids.len()), ids.len());
    if given != due {
        return Err(Torn::Length { given, due, events });
    }
    let mut words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
    let mut next = || words.next().unwrap_or(0);
    let number = next();
    if number != events as u64 {
        return Err(Torn::Number { given: number, events });
    }
    let times = (next(), next());
    for (at, &id) in ids.iter().enumerate() {
        let (count, given) = (next(), next());
        if given != id {
            into.counts.clear();
            return Err(Torn::Id { at, given, id });
        }
        into.counts.push(count);
    }
    (into.enabled_ns, into.running_ns) = times;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Unusable;
    use proptest::prelude::*;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn decoded(words: &[u64], ids: &[u64]) -> Result<Reading, Torn> {
        let mut reading = Reading { counts: vec![99], enabled_ns: 9, running_ns: 9 };
        decode(&bytes(words), ids, &mut reading).map(|()| reading)
    }

    #[test]
    fn a_whole_read_is_counts_in_order_and_both_times() {
        let reading = decoded(&[2, 500, 400, 11, 7, 22, 8], &[7, 8]).unwrap();
        assert_eq!(reading, Reading { counts: vec![11, 22], enabled_ns: 500, running_ns: 400 });
        assert_eq!(reading.unusable(), Some(Unusable::Multiplexed));
    }

    #[test]
    fn no_bytes_are_an_empty_reading_and_not_an_old_one() {
        let reading = decoded(&[], &[7, 8]).unwrap();
        assert_eq!(reading, Reading::default());
        assert_eq!(reading.unusable(), Some(Unusable::Empty));
    }

    #[test]
    fn short_long_and_foreign_reads_are_refused() {
        let short = decoded(&[2, 500, 500, 11, 7], &[7, 8]).unwrap_err();
        assert_eq!(short, Torn::Length { given: 40, due: 56, events: 2 });
        assert_eq!(short.to_string(), "the kernel gave 40 bytes where a group of 2 has 56");
        assert!(matches!(decoded(&[1, 5, 5, 1, 7, 0], &[7]), Err(Torn::Length { .. })));
        assert_eq!(decoded(&[3, 5, 5, 11, 7, 22, 8], &[7, 8]), Err(Torn::Number { given: 3, events: 2 }));
        assert_eq!(decoded(&[2, 5, 5, 11, 7, 22, 9], &[7, 8]), Err(Torn::Id { at: 1, given: 9, id: 8 }));
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), ids in prop::collection::vec(any::<u64>(), 0..6)) {
            let mut reading = Reading::default();
            if decode(&bytes, &ids, &mut reading).is_ok() {
                prop_assert!(reading.counts.is_empty() || reading.counts.len() == ids.len());
            }
        }

        #[test]
        fn what_the_kernel_writes_is_read_back(enabled: u64, running: u64, events in prop::collection::vec(any::<(u64, u64)>(), 1..12)) {
            let mut words = vec![events.len() as u64, enabled, running];
            words.extend(events.iter().flat_map(|&(count, id)| [count, id]));
            let ids: Vec<u64> = events.iter().map(|event| event.1).collect();
            let counts = events.iter().map(|event| event.0).collect();
            prop_assert_eq!(decoded(&words, &ids).unwrap(), Reading { counts, enabled_ns: enabled, running_ns: running });
        }
    }
}
