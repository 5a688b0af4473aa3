//! The HDR percentile curve: the value below which a share of all windows stays, on an axis of nines.

use plotters::prelude::DrawingBackend;
use plotters::style::Color;

use super::axis::{Axis, Scale};
use super::canvas::{Area, Painted, Picture};
use super::frame::{self, EndLabel, Frame, Style};
use super::scaling::value_title;
use crate::report::comparison::View;
use crate::report::{Summary, units};
use crate::samples::Metric;
use crate::workload::{Case, PackMode};

/// Points drawn of a curve; more would not show in the pixels there are.
const MOST_POINTS: usize = 400;

/// All windows of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub programs: u32,
    pub pack: PackMode,
    /// Trials the windows are from.
    pub trials: usize,
    /// Figure of every window, in any order.
    pub windows: Vec<f64>,
}

/// A curve as it is drawn.
#[derive(Clone, Debug)]
struct Line {
    style: Style,
    label: String,
    weight: Weight,
    /// Sorted, not empty.
    windows: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Thick,
    Thin,
}

/// The chart of one workload and metric.
#[derive(Clone, Debug)]
pub struct Percentile {
    frame: Frame,
    metric: Metric,
    /// The thick ones last, to be painted on top.
    lines: Vec<Line>,
}

impl Percentile {
    /// `None` if no curve has a window.
    pub fn of(summary: &Summary, workload: &str, metric: Metric, curves: Vec<Curve>) -> Option<Self> {
        let mut curves: Vec<Curve> = curves.into_iter().map(sorted).filter(|curve| !curve.windows.is_empty()).collect();
        curves.sort_by_key(|curve| (curve.programs, curve.pack));
        let largest = curves.last()?.programs;
        let mut arms: Vec<PackMode> = curves.iter().map(|curve| curve.pack).collect();
        arms.sort_unstable();
        arms.dedup();
        let title = format!("{workload}: percentiles of {} over windows", units::label(metric));
        let frame = Frame::new(summary, title, notes(&curves, largest), arms);
        let line = |curve: Curve| Line {
            style: curve.pack.into(),
            label: format!("pack {}, {}", curve.pack, curve.programs),
            weight: if curve.programs == largest { Weight::Thick } else { Weight::Thin },
            windows: curve.windows,
        };
        Some(Self { frame, metric, lines: curves.into_iter().map(line).collect() })
    }

    /// All windows of every kernel in `case`, from the histograms of its trials; `None` if no run file holds any.
    pub fn of_kernels(view: &View, case: &Case, metric: Metric) -> Option<Self> {
        let mut counts = Vec::new();
        let mut lines = Vec::new();
        for (at, side) in view.sides().enumerate() {
            let windows = side.windows(case, metric);
            if windows.is_empty() {
                continue;
            }
            counts.push(format!("{}: {} windows", side.name, windows.len()));
            let (style, label) = (Style::side(at), frame::shortened(&side.name, 14));
            lines.push(Line { style, label, weight: Weight::Thick, windows });
        }
        let (programs, pack) = (case.programs, case.pack);
        let title =
            format!("{}: percentiles of {} at {programs} programs, pack {pack}", case.workload, units::label(metric));
        let notes = vec![format!("{}; gross, the empty program included", counts.join("; ")), WINDOW_MEANS.to_owned()];
        (!lines.is_empty()).then(|| Self { frame: Frame::of_comparison(view, title, notes), metric, lines })
    }

    /// One sentence on what the picture shows.
    pub fn caption(&self) -> String {
        format!("{}. {}.", self.frame.title, self.frame.notes.join("; "))
    }

    /// The title alone.
    pub fn title(&self) -> &str {
        &self.frame.title
    }
}

fn sorted(mut curve: Curve) -> Curve {
    curve.windows.retain(|value| value.is_finite());
    curve.windows.sort_by(f64::total_cmp);
    curve
}

const WINDOW_MEANS: &str =
    "each window holds many executions, so that this is the spread of window means, not of single executions";

fn notes(curves: &[Curve], largest: u32) -> Vec<String> {
    let of = |curve: &&Curve| curve.programs == largest;
    let counts = curves
        .iter()
        .filter(of)
        .map(|curve| format!("pack {}: {} windows of {} trials", curve.pack, curve.windows.len(), curve.trials));
    let n = counts.collect::<Vec<_>>().join("; ");
    let thin = if curves.iter().any(|curve| curve.programs != largest) { "; thin lines: fewer programs" } else { "" };
    vec![format!("thick lines: {largest} programs; {n}{thin}"), WINDOW_MEANS.to_owned()]
}

/// Nines and value of each drawn point. The i-th of n sorted windows stands at the percentile (i - 1/2) / n (Hazen's
/// plotting position), so that the greatest has a place on the axis as well.
fn points(windows: &[f64]) -> Vec<(f64, f64)> {
    let n = windows.len() as f64;
    let at = |i: usize| (-(1.0 - (i as f64 + 0.5) / n).log10(), windows[i]);
    if windows.len() <= MOST_POINTS {
        return (0..windows.len()).map(at).collect();
    }
    let last = nines(windows.len());
    let index = |step: usize| {
        let q = 1.0 - 10_f64.powf(-last * step as f64 / (MOST_POINTS - 1) as f64);
        ((q * n) as usize).min(windows.len() - 1)
    };
    let mut indices: Vec<usize> = (0..MOST_POINTS).map(index).collect();
    indices.dedup();
    indices.into_iter().map(at).collect()
}

/// Nines of the greatest of `n` windows.
fn nines(n: usize) -> f64 {
    (2.0 * n as f64).log10()
}

impl Picture for Percentile {
    fn height(&self) -> u32 {
        720
    }

    fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Painted<(), DB> {
        self.frame.paint(root)?;
        let values: Vec<f64> = self.lines.iter().flat_map(|line| line.windows.iter().copied()).collect();
        let scale = Scale::fitting(&values);
        let most = self.lines.iter().map(|line| nines(line.windows.len())).fold(0.0, f64::max);
        let axes = (Axis::nines(most), scale.axis(&values));
        let plane = frame::plane(
            root,
            axes,
            ("percentile of windows (log scale of nines)", &value_title(self.metric, self.frame.machine, scale)),
        )?;
        let mut labels = Vec::new();
        for line in &self.lines {
            let place = |(nines, value)| plane.backend_coord(&(nines, scale.place(value)));
            let track: Vec<(i32, i32)> = points(&line.windows).into_iter().map(place).collect();
            let (share, width) = if line.weight == Weight::Thick { (1.0, 4) } else { (0.65, 2) };
            let color = frame::faint(line.style.color, share);
            frame::stroke_in(root, &track, line.style, color.stroke_width(width))?;
            labels.extend(track.last().map(|end| EndLabel { y: end.1, text: line.label.clone(), color }));
        }
        frame::end_labels(root, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chart::{canvas, fixture};
    use crate::report::comparison;

    #[test]
    fn the_median_stands_at_the_fiftieth_percentile() {
        let drawn = points(&[1.0, 2.0, 3.0]);
        assert!((drawn[1].0 - 0.5_f64.log10().abs()).abs() < 1e-12);
        assert!((drawn[2].0 - 6.0_f64.log10()).abs() < 1e-12);
    }

    #[test]
    fn many_windows_are_thinned_and_keep_their_extremes() {
        let windows: Vec<f64> = (0..100_000).map(f64::from).collect();
        let drawn = points(&windows);
        assert!(drawn.len() <= MOST_POINTS);
        assert_eq!((drawn[0].1, drawn[drawn.len() - 1].1), (0.0, 99_999.0));
        assert!(drawn.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
    }

    #[test]
    fn every_kernel_has_a_curve_of_all_its_windows() {
        let comparison = comparison::fixture::three_kernels();
        let view = View::of(&comparison);
        let case = &comparison.candidates[0].cases[0].case;
        let chart = Percentile::of_kernels(&view, case, Metric::Cycles).expect("histograms");
        assert!(chart.caption().contains("6.18.5: 320 windows; 6.19.0-rc1: 320 windows; 7.0.0: 160 windows; gross"));
        let svg = canvas::svg(&chart).expect("svg");
        assert!(svg.contains("log scale of nines") && svg.contains("99 %"), "{svg}");
        let middle = chart.lines[0].windows[160]
            / comparison.candidates[0].cases[0].effect(Metric::Cycles).unwrap().baseline.median;
        assert!((middle - 1.0).abs() < 0.1, "{middle} of the median of trials");
        assert!(Percentile::of_kernels(&view, case, Metric::BranchMissesPer1000).is_none());
    }

    #[test]
    fn windows_without_a_figure_draw_nothing() {
        let run = fixture::run(2);
        let summary = Summary::of(&run);
        let curve = |windows| Curve { programs: 64, pack: PackMode::On, trials: 1, windows };
        assert!(Percentile::of(&summary, "chain", Metric::Cycles, vec![curve(vec![])]).is_none());
        assert!(Percentile::of(&summary, "chain", Metric::Cycles, vec![curve(vec![f64::NAN])]).is_none());
        let one = Percentile::of(&summary, "chain", Metric::Cycles, vec![curve(vec![3.0])]).expect("one window");
        assert!(canvas::svg(&one).expect("svg").contains("1 windows of 1 trials"));
    }
}
