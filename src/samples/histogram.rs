//! HDR histograms of a trial's windows, as the run file stores them: V2, base64, one per metric.
//!
//! They hold gross figures, the empty-program baseline included, in units per 1000 executions: integers that any HDR reader
//! merges, at three significant digits. Net figures come from [`super::series`], which reads the raw counts.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};

use super::Metric;
use super::series::window_total;
use crate::counters::Group;
use crate::trial::Trial;

/// Significant decimal digits kept.
const DIGITS: u8 = 3;
/// Executions in the denominator, so that fractions of a nanosecond survive the rounding to integers.
const EXECUTIONS: u128 = 1000;

/// Why a histogram cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum HistogramError {
    #[error("failed to record a window in a histogram: {0}")]
    Record(String),
    #[error("failed to encode a histogram: {0}")]
    Encode(String),
    #[error("failed to decode a histogram from base64: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error("failed to decode a histogram: {0}; not HDR V2")]
    Hdr(String),
}

/// Gross figures per 1000 executions of the kept windows of `trial`, rounded; `None` if the event was not counted.
pub fn of_trial(trial: &Trial, groups: &[Group], metric: Metric) -> Result<Option<Histogram<u64>>, HistogramError> {
    let mut histogram = empty()?;
    for sample in trial.kept().filter(|sample| sample.executions > 0) {
        let Some(total) = window_total(sample, groups, metric) else {
            continue;
        };
        let executions = u128::from(sample.executions);
        let rounded = (u128::from(total) * EXECUTIONS + executions / 2) / executions;
        let value = u64::try_from(rounded).unwrap_or(u64::MAX);
        histogram.record(value).map_err(|error| HistogramError::Record(error.to_string()))?;
    }
    Ok((!histogram.is_empty()).then_some(histogram))
}

/// Of values as they are.
pub fn of_values(values: &[u64]) -> Result<Histogram<u64>, HistogramError> {
    let mut histogram = empty()?;
    for value in values {
        histogram.record(*value).map_err(|error| HistogramError::Record(error.to_string()))?;
    }
    Ok(histogram)
}

/// Every metric of `trial` as the run file stores it.
pub fn encode_trial(trial: &Trial, groups: &[Group]) -> Result<BTreeMap<Metric, String>, HistogramError> {
    let mut encoded = BTreeMap::new();
    for metric in Metric::ALL {
        if let Some(histogram) = of_trial(trial, groups, metric)? {
            encoded.insert(metric, encode(&histogram)?);
        }
    }
    Ok(encoded)
}

/// Reads back what [`encode_trial`] wrote.
pub fn decode_trial(encoded: &BTreeMap<Metric, String>) -> Result<BTreeMap<Metric, Histogram<u64>>, HistogramError> {
    encoded.iter().map(|(&metric, text)| Ok((metric, decode(text)?))).collect()
}

/// V2, uncompressed, in base64: small histograms gain nothing from deflate.
pub fn encode(histogram: &Histogram<u64>) -> Result<String, HistogramError> {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(histogram, &mut bytes).map_err(|error| HistogramError::Encode(error.to_string()))?;
    Ok(STANDARD.encode(bytes))
}

/// Reads what [`encode`] wrote.
pub fn decode(text: &str) -> Result<Histogram<u64>, HistogramError> {
    let bytes = STANDARD.decode(text)?;
    let mut histogram: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| HistogramError::Hdr(error.to_string()))?;
    histogram.auto(true);
    Ok(histogram)
}

/// All of `parts` in one, for percentiles over the trials of a case.
pub fn merge<'a>(parts: impl IntoIterator<Item = &'a Histogram<u64>>) -> Result<Histogram<u64>, HistogramError> {
    let mut merged = empty()?;
    for part in parts {
        merged.add(part).map_err(|error| HistogramError::Record(error.to_string()))?;
    }
    Ok(merged)
}

/// Gross figure per execution (per 1000 executions for the metrics that say so) at `percent`; `None` of an empty histogram.
pub fn percentile(histogram: &Histogram<u64>, metric: Metric, percent: f64) -> Option<f64> {
    let scale = f64::from(metric.executions()) / EXECUTIONS as f64;
    (!histogram.is_empty()).then(|| histogram.value_at_percentile(percent) as f64 * scale)
}

/// Every window of `histogram` as [`percentile`] gives it, in ascending order; equal ones one by one.
pub fn windows(histogram: &Histogram<u64>, metric: Metric) -> Vec<f64> {
    let scale = f64::from(metric.executions()) / EXECUTIONS as f64;
    let middle = |value: u64| histogram.median_equivalent(value) as f64 * scale;
    let recorded = histogram.iter_recorded();
    recorded
        .flat_map(|step| std::iter::repeat_n(middle(step.value_iterated_to()), step.count_at_value() as usize))
        .collect()
}

fn empty() -> Result<Histogram<u64>, HistogramError> {
    Histogram::new(DIGITS).map_err(|error| HistogramError::Record(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use proptest::prelude::*;

    #[test]
    fn a_trial_has_a_histogram_for_each_metric_it_counted() {
        let run = fixture::pmu_run();
        let encoded = encode_trial(&run.trials[0], &run.manifest.groups).unwrap();
        let metrics: Vec<Metric> = encoded.keys().copied().collect();
        let expected =
            [Metric::WallNs, Metric::TaskClockNs, Metric::Cycles, Metric::Instructions, Metric::ItlbMissesPer1000];
        assert_eq!(metrics, expected);
        let decoded = decode_trial(&encoded).unwrap();
        assert_eq!(decoded[&Metric::WallNs].len(), run.trials[0].kept().count() as u64);
    }

    #[test]
    fn percentiles_are_gross_per_execution_and_merge() {
        let run = fixture::timed_run();
        let groups = &run.manifest.groups;
        let parts: Vec<Histogram<u64>> =
            run.trials[..2].iter().map(|trial| of_trial(trial, groups, Metric::WallNs).unwrap().unwrap()).collect();
        let merged = merge(&parts).unwrap();
        assert_eq!(merged.len(), parts[0].len() + parts[1].len());
        let first = &run.trials[0].samples[0];
        let gross = first.wall_ns as f64 / first.executions as f64;
        let median = percentile(&parts[0], Metric::WallNs, 50.0).unwrap();
        assert!((median / gross - 1.0).abs() < 0.05, "{median} against {gross}");
        assert_eq!(percentile(&merge(&[]).unwrap(), Metric::WallNs, 50.0), None);
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        assert!(decode("not base64!").unwrap_err().to_string().starts_with("failed to decode a histogram from base64"));
        assert!(decode("AAAA").unwrap_err().to_string().ends_with("not HDR V2"));
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_gives_the_same_histogram(
            values in prop::collection::vec(prop_oneof![0u64..5000, any::<u64>().prop_map(|v| v >> 8)], 0..200),
        ) {
            let mut histogram = empty().unwrap();
            for value in values {
                histogram.record(value).unwrap();
            }
            let back = decode(&encode(&histogram).unwrap()).unwrap();
            prop_assert_eq!(&back, &histogram);
            prop_assert_eq!(merge(&[back]).unwrap(), histogram);
        }
    }
}
