//! Axes: which ticks, at which place, with which label. Everything else of an axis is the plotting library's.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Ticks aimed at on an axis of values.
const TICKS: f64 = 6.0;
/// Values that span more than this factor are drawn on a logarithmic axis.
const LOG_FROM: f64 = 20.0;

/// An axis in plane coordinates. Label and place of every tick are fixed here, so that no formatter sees a rounded float.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub range: Range<f64>,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Numbers of programs at their binary logarithm, a tick at each; a label that would touch its left neighbour is left out.
    pub fn programs(numbers: &[u32]) -> Self {
        let places: Vec<f64> = numbers.iter().map(|&n| f64::from(n.max(1)).log2()).collect();
        let low = places.iter().copied().fold(f64::INFINITY, f64::min);
        let high = places.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if places.is_empty() { (0.0, 0.0) } else { (low, high) };
        let margin = ((high - low) * 0.07).max(0.35);
        let apart = (high - low) / 16.0;
        let mut last = f64::NEG_INFINITY;
        let mut ticks = Vec::new();
        for (&number, &place) in numbers.iter().zip(&places) {
            let crowded = place - last < apart;
            ticks.push((place, if crowded { String::new() } else { number.to_string() }));
            last = if crowded { last } else { place };
        }
        Self { range: low - margin..high + margin, ticks }
    }

    /// Percentiles at their number of nines, -log10(1 - q): 50 at 0.3, 90 at 1, 99 at 2, up to `most` nines.
    pub fn nines(most: f64) -> Self {
        let end = if most.is_finite() { most.max(0.35) } else { 0.35 };
        let mut ticks = vec![(0.0, "0 %".to_owned()), (0.5_f64.log10().abs(), "50 %".to_owned())];
        for nines in 1..=12_u32 {
            let label = match nines {
                1 => "90 %".to_owned(),
                2 => "99 %".to_owned(),
                _ => format!("99.{} %", "9".repeat(nines as usize - 2)),
            };
            ticks.push((f64::from(nines), label));
        }
        ticks.retain(|(place, _)| *place <= end);
        Self { range: 0.0..end, ticks }
    }

    /// Values in a row of their own, none of them at the edge; zero has no special place.
    pub fn around(values: &[f64]) -> Self {
        let (low, high) = extremes(values);
        let room = if high > low { (high - low) * 0.04 } else { low.abs().max(1.0) * 0.05 };
        let axis = linear(low - room, high + room);
        let range = low - room..high + room;
        let ticks = axis.ticks.into_iter().filter(|(place, _)| range.contains(place)).collect();
        Self { range, ticks }
    }

    /// Shares from none to all, in percent.
    pub fn shares() -> Self {
        let ticks = (0..=4).map(|quarter| (f64::from(quarter) * 0.25, format!("{} %", quarter * 25))).collect();
        Self { range: 0.0..1.0, ticks }
    }

    /// Ratios at their logarithm, equality among them: as changes in percent where they are near it, else as multiples.
    pub fn ratios(values: &[f64]) -> Self {
        let (low, high) = extremes(values);
        let (low, high) = if low > 0.0 { (low.clamp(1e-6, 1.0), high.clamp(1.0, 1e6)) } else { (1.0, 1.0) };
        let room = ((high / low).ln() * 0.06).max(0.01);
        let range = low.ln() - room..high.ln() + room;
        let ticks = if high / low < 1.6 { change_ticks(&range) } else { multiple_ticks(&range) };
        Self { range, ticks }
    }
}

fn change_ticks(range: &Range<f64>) -> Vec<(f64, String)> {
    let (low, high) = (100.0 * range.start.exp_m1(), 100.0 * range.end.exp_m1());
    let step = step_for((high - low) / TICKS);
    let decimals = (-step.log10().floor()).clamp(0.0, 3.0) as usize;
    let percents = ((low / step).ceil() as i32..=(high / step).floor() as i32).map(|i| f64::from(i) * step);
    percents
        .map(|percent| {
            let label = if percent == 0.0 { "equal".to_owned() } else { format!("{percent:+.decimals$} %") };
            ((percent / 100.0).ln_1p(), label)
        })
        .collect()
}

fn multiple_ticks(range: &Range<f64>) -> Vec<(f64, String)> {
    let wide = range.end - range.start > 5.0;
    let steps: &[f64] = if wide { &[1.0] } else { &[1.0, 1.5, 2.0, 3.0, 5.0] };
    let all = (-6..=6).flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
    let inside = all.filter(|ratio| range.contains(&ratio.ln()));
    inside
        .map(|ratio| {
            let label = if ratio == 1.0 { "equal".to_owned() } else { format!("{ratio}x") };
            (ratio.ln(), label)
        })
        .collect()
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (f64::from(limit.1 - limit.0) * share).round() as i32
    }

    /// Our ticks, whatever number is asked for; none between them.
    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            return Vec::new();
        }
        self.ticks.iter().map(|(place, _)| *place).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, place: &f64) -> String {
        let nearest = self.ticks.iter().min_by(|a, b| (a.0 - place).abs().total_cmp(&(b.0 - place).abs()));
        nearest.map(|(_, label)| label.clone()).unwrap_or_default()
    }
}

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Log,
}

impl Scale {
    /// Logarithmic only where a linear axis would press the smaller arm onto the floor.
    pub fn fitting(values: &[f64]) -> Self {
        let (low, high) = extremes(values);
        if low > 0.0 && high / low > LOG_FROM { Self::Log } else { Self::Linear }
    }

    /// Height of `value` in plane coordinates.
    pub fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.max(f64::MIN_POSITIVE).log10(),
        }
    }

    /// An axis that holds `values`; the linear one begins at zero.
    pub fn axis(self, values: &[f64]) -> Axis {
        let (low, high) = extremes(values);
        match self {
            Self::Linear => linear(low.min(0.0), high),
            Self::Log => logarithmic(low, high),
        }
    }
}

/// Least and greatest finite value; (0, 0) if there is none.
fn extremes(values: &[f64]) -> (f64, f64) {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    finite
        .fold(None, |span: Option<(f64, f64)>, value| match span {
            None => Some((value, value)),
            Some((low, high)) => Some((low.min(value), high.max(value))),
        })
        .unwrap_or((0.0, 0.0))
}

fn linear(low: f64, high: f64) -> Axis {
    let high = if high > low { high } else { low + 1.0 };
    let step = step_for((high - low) / TICKS);
    let first = (low / step).floor();
    let last = (high * 1.04 / step).ceil();
    let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let ticks = (0..=(last - first) as u32).map(|i| {
        let value = (first + f64::from(i)) * step;
        // Adding zero turns the negative zero of a rounded tick into a plain one.
        (value, format!("{:.decimals$}", value + 0.0))
    });
    Axis { range: first * step..last * step, ticks: ticks.collect() }
}

/// The least of 1, 2, 5 times a power of ten that is no less than `raw`.
fn step_for(raw: f64) -> f64 {
    let power = 10_f64.powf(raw.log10().floor());
    let mantissa = [1.0, 2.0, 5.0].into_iter().find(|m| m * power >= raw * 0.999).unwrap_or(10.0);
    mantissa * power
}

fn logarithmic(low: f64, high: f64) -> Axis {
    let (low, high) = (low.log10() - 0.05, high.log10() + 0.05);
    let decades = low.floor() as i32..=high.ceil() as i32;
    let steps: &[f64] = if high - low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let values = decades.flat_map(|decade| steps.iter().map(move |m| (m * 10_f64.powi(decade), decade)));
    let ticks = values.filter(|(value, _)| (low..=high).contains(&value.log10()));
    let labelled = ticks.map(|(value, decade)| (value.log10(), format!("{value:.*}", (-decade).max(0) as usize)));
    Axis { range: low..high, ticks: labelled.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn percentile_ticks_read_as_people_write_them() {
        assert_eq!(labels(&Axis::nines(4.2)), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert_eq!(labels(&Axis::nines(2.9)), ["0 %", "50 %", "90 %", "99 %"]);
        assert_eq!(labels(&Axis::nines(f64::INFINITY)), ["0 %", "50 %"]);
    }

    #[test]
    fn linear_axes_begin_at_zero_and_step_by_one_two_or_five() {
        let cases: [(&[f64], &[&str]); 5] = [
            (&[13.1, 44.0], &["0", "10", "20", "30", "40", "50"]),
            (&[0.2, 0.31], &["0.0", "0.1", "0.2", "0.3", "0.4"]),
            (&[0.0], &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "1.2"]),
            (&[-3.0, 9.0], &["-4", "-2", "0", "2", "4", "6", "8", "10"]),
            (&[], &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "1.2"]),
        ];
        for (values, expected) in cases {
            assert_eq!(labels(&Scale::Linear.axis(values)), expected, "{values:?}");
        }
    }

    #[test]
    fn ratios_near_equality_are_changes_and_far_ones_multiples() {
        assert_eq!(labels(&Axis::ratios(&[1.02, 1.09])), ["equal", "+2 %", "+4 %", "+6 %", "+8 %", "+10 %"]);
        assert_eq!(labels(&Axis::ratios(&[0.97, 1.004])), ["-3 %", "-2 %", "-1 %", "equal", "+1 %"]);
        assert_eq!(labels(&Axis::ratios(&[1.0, 2.7])), ["equal", "1.5x", "2x"]);
        assert_eq!(labels(&Axis::ratios(&[1.0, 900.0])), ["equal", "10x", "100x", "1000x"]);
        assert!(labels(&Axis::ratios(&[])).contains(&"equal"));
    }

    #[test]
    fn an_axis_around_values_keeps_them_off_its_ends() {
        let axis = Axis::around(&[41.0, 46.0]);
        assert!(axis.range.start < 41.0 && axis.range.end > 46.0 && axis.range.start > 40.0);
        assert_eq!(labels(&axis), ["41", "42", "43", "44", "45", "46"]);
        assert!(!Axis::around(&[5.0]).ticks.is_empty());
    }

    #[test]
    fn log_axes_are_for_wide_spans_only() {
        assert_eq!(Scale::fitting(&[10.0, 150.0]), Scale::Linear);
        assert_eq!(Scale::fitting(&[0.0, 150.0]), Scale::Linear);
        assert_eq!(Scale::fitting(&[0.5, 150.0]), Scale::Log);
        let axis = Scale::Log.axis(&[0.5, 150.0]);
        assert_eq!(labels(&axis), ["0.5", "1", "2", "5", "10", "20", "50", "100"]);
    }

    #[test]
    fn every_number_of_programs_has_a_tick_and_crowded_labels_are_left_out() {
        let axis = Axis::programs(&[64, 512, 2048]);
        assert_eq!(labels(&axis), ["64", "512", "2048"]);
        assert_eq!(axis.ticks.iter().map(|tick| tick.0).collect::<Vec<_>>(), [6.0, 9.0, 11.0]);
        assert_eq!(labels(&Axis::programs(&[1, 1000, 1024])), ["1", "1000", ""]);
        assert_eq!(labels(&Axis::programs(&[8])), ["8"]);
    }
}
