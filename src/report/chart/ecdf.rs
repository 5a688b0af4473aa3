//! The share of values at or below each value, a staircase for each side: medians, spread, tails and overlap in one picture.

use plotters::prelude::DrawingBackend;

use super::axis::Axis;
use super::canvas::{Area, Painted, Picture};
use super::frame::{self, EndLabel, Frame, Style};
use super::percentile::Curve;
use super::scaling::value_title;
use crate::compare::Effect;
use crate::report::comparison::View;
use crate::report::{Summary, units};
use crate::samples::Metric;
use crate::workload::Case;

use super::axis::Scale;

/// Steps drawn of a staircase; more would not show in the pixels there are.
const MOST_STEPS: usize = 600;

/// One side's values.
#[derive(Clone, Debug, PartialEq)]
struct Stairs {
    style: Style,
    label: String,
    /// Sorted.
    values: Vec<f64>,
}

/// The chart of one point and metric.
#[derive(Clone, Debug)]
pub struct Ecdf {
    frame: Frame,
    metric: Metric,
    stairs: Vec<Stairs>,
    /// What is counted on the axis of shares.
    of: &'static str,
}

impl Ecdf {
    /// All windows of both arms at the largest number of programs; `None` if there are none.
    pub fn of_windows(summary: &Summary, workload: &str, metric: Metric, curves: &[Curve]) -> Option<Self> {
        let largest = curves.iter().filter(|curve| !curve.windows.is_empty()).map(|curve| curve.programs).max()?;
        let shown: Vec<&Curve> = curves.iter().filter(|curve| curve.programs == largest).collect();
        let stairs = shown
            .iter()
            .filter_map(|curve| Stairs::of(curve.pack.into(), format!("pack {}", curve.pack), curve.windows.clone()));
        let stairs: Vec<Stairs> = stairs.collect();
        let counts = shown
            .iter()
            .map(|curve| format!("pack {}: {} windows of {} trials", curve.pack, curve.windows.len(), curve.trials));
        let notes = vec![
            format!("how many windows cost at most so much; {}", counts.collect::<Vec<_>>().join("; ")),
            "side by side: a shift; a slanted foot or head: spread and tails".to_owned(),
        ];
        let arms = shown.iter().map(|curve| curve.pack).collect();
        let title = format!("{workload}: distribution of {} at {largest} programs", units::label(metric));
        let frame = Frame::new(summary, title, notes, arms);
        (!stairs.is_empty()).then_some(Self { frame, metric, stairs, of: "windows" })
    }

    /// The trials' medians of every kernel in `case`; `None` if no effect on `metric` has them.
    pub fn of_kernels(view: &View, case: &Case, metric: Metric) -> Option<Self> {
        let effects: Vec<Option<&Effect>> = view
            .comparison
            .candidates
            .iter()
            .map(|candidate| candidate.effects().find(|effect| effect.metric == metric && effect.case == *case))
            .collect();
        let baseline = effects.iter().flatten().next().map(|effect| &effect.baseline);
        let sides = std::iter::once(baseline).chain(effects.iter().map(|e| e.map(|effect| &effect.candidate)));
        let mut notes = Vec::new();
        let mut stairs = Vec::new();
        for (at, side) in sides.enumerate() {
            let Some(side) = side else { continue };
            notes.push(format!("{}: {} trials in {} boots", side.name, side.trials, side.boots.len()));
            stairs.extend(Stairs::of(Style::side(at), side.name.clone(), side.boots.concat()));
        }
        let title = format!(
            "{}: distribution of {} at {} programs, pack {}",
            case.workload,
            units::label(metric),
            case.programs,
            case.pack
        );
        let notes = vec!["how many trials' medians are at most so much".to_owned(), notes.join("; ")];
        (!stairs.is_empty()).then(|| Self {
            frame: Frame::of_comparison(view, title, notes),
            metric,
            stairs,
            of: "trials",
        })
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

impl Stairs {
    fn of(style: Style, label: String, mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self { style, label, values })
    }

    /// Corners from the foot to the head: value and share.
    fn corners(&self) -> Vec<(f64, f64)> {
        let n = self.values.len();
        let every = n.div_ceil(MOST_STEPS);
        let mut corners = Vec::new();
        let mut share = 0.0;
        for (at, &value) in self.values.iter().enumerate() {
            if at % every != 0 && at + 1 != n {
                continue;
            }
            corners.push((value, share));
            share = (at + 1) as f64 / n as f64;
            corners.push((value, share));
        }
        corners
    }
}

impl Picture for Ecdf {
    fn height(&self) -> u32 {
        640
    }

    fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Painted<(), DB> {
        self.frame.paint(root)?;
        let values: Vec<f64> = self.stairs.iter().flat_map(|stairs| stairs.values.iter().copied()).collect();
        let axes = (Axis::around(&values), Axis::shares());
        let titles = (value_title(self.metric, self.frame.machine, Scale::Linear), format!("share of {}", self.of));
        let plane = frame::plane(root, axes, (&titles.0, &titles.1))?;
        let mut labels = Vec::new();
        for stairs in &self.stairs {
            let line: Vec<(i32, i32)> =
                stairs.corners().into_iter().map(|corner| plane.backend_coord(&corner)).collect();
            frame::stroke(root, &line, stairs.style, 3)?;
            let middle = stairs.values[(stairs.values.len() - 1) / 2];
            frame::marker(root, plane.backend_coord(&(middle, 0.5)), stairs.style, 7)?;
            let text = format!("{}: {}", frame::shortened(&stairs.label, 12), units::figure(middle));
            labels.push(EndLabel { y: plane.backend_coord(&(middle, 0.5)).1, text, color: stairs.style.color });
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
    fn every_value_is_a_step_of_its_share() {
        let stairs = Stairs::of(Style::side(0), "x".to_owned(), vec![3.0, 1.0, f64::NAN, 2.0, 2.0]).expect("values");
        let corners = stairs.corners();
        assert_eq!(corners[0], (1.0, 0.0));
        assert_eq!(corners[1], (1.0, 0.25));
        assert_eq!(corners.last(), Some(&(3.0, 1.0)));
        assert!(Stairs::of(Style::side(0), String::new(), vec![f64::NAN]).is_none());
    }

    #[test]
    fn thousands_of_values_are_thinned_and_still_reach_the_top() {
        let stairs = Stairs::of(Style::side(0), "x".to_owned(), (0..50_000).map(f64::from).collect()).expect("values");
        let corners = stairs.corners();
        assert!(corners.len() <= 2 * MOST_STEPS + 2);
        assert_eq!(corners.last(), Some(&(49_999.0, 1.0)));
    }

    #[test]
    fn both_arms_and_every_kernel_are_named() {
        let run = fixture::run(4);
        let summary = Summary::of(&run);
        let curves = crate::report::chart::curves(&summary, "chain", Metric::Cycles);
        let chart = Ecdf::of_windows(&summary, "chain", Metric::Cycles, &curves).expect("windows");
        let svg = canvas::svg(&chart).expect("svg");
        assert!(svg.contains("pack on: ") && svg.contains("pack off: ") && chart.caption().contains("2048 programs"));
        let comparison = comparison::fixture::three_kernels();
        let view = View::of(&comparison);
        let case = &comparison.candidates[0].cases[0].case;
        let svg = canvas::svg(&Ecdf::of_kernels(&view, case, Metric::Cycles).expect("effects")).expect("svg");
        for name in ["6.18.5", "6.19.0-rc1", "7.0.0: 16 trials in 2 boots"] {
            assert!(svg.contains(name), "{name}");
        }
        assert!(Ecdf::of_kernels(&view, case, Metric::BranchMissesPer1000).is_none());
    }
}
