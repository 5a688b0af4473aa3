//! Cost per execution against the number of programs, one line per arm.

use plotters::element::{Circle, PathElement};
use plotters::prelude::DrawingBackend;
use plotters::style::Color;

use super::axis::{Axis, Scale};
use super::canvas::{Area, Painted, Picture};
use super::frame::{self, EndLabel, Frame};
use crate::report::summary::Spread;
use crate::report::{Summary, units};
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;
use crate::workload::PackMode;

/// Pixels by which the arms stand aside, so that whiskers of both stay readable where they meet.
const ASIDE: i32 = 9;

/// One point of one arm.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    programs: u32,
    pack: PackMode,
    spread: Spread,
}

/// The chart of one workload and metric.
#[derive(Clone, Debug)]
pub struct Scaling {
    frame: Frame,
    metric: Metric,
    points: Vec<Point>,
}

impl Scaling {
    /// `None` if no case of the workload has the metric.
    pub fn of(summary: &Summary, workload: &str, metric: Metric) -> Option<Self> {
        let cases = summary.cases.iter().filter(|case| case.case.workload == workload);
        let mut points: Vec<Point> = cases
            .filter_map(|case| {
                let spread = case.metrics.get(&metric).filter(|spread| spread.median.is_finite())?.clone();
                Some(Point { programs: case.case.programs, pack: case.case.pack, spread })
            })
            .collect();
        points.sort_by_key(|point| (point.pack, point.programs));
        let mut arms: Vec<PackMode> = points.iter().map(|point| point.pack).collect();
        arms.dedup();
        let title = format!("{workload}: {} by number of programs", units::label(metric));
        let frame = Frame::new(summary, title, notes(&points), arms);
        (!points.is_empty()).then_some(Self { frame, metric, points })
    }

    /// One sentence on what the picture shows.
    pub fn caption(&self) -> String {
        format!("{}. {}.", self.frame.title, self.frame.notes.join("; "))
    }

    /// The title alone.
    pub fn title(&self) -> &str {
        &self.frame.title
    }

    fn values(&self) -> Vec<f64> {
        let of = |point: &Point| {
            let interval = point.spread.interval.map(|(low, high)| [low, high]).into_iter().flatten();
            interval.chain([point.spread.median]).chain(point.spread.trial_medians.clone()).collect::<Vec<f64>>()
        };
        self.points.iter().flat_map(of).filter(|value| value.is_finite()).collect()
    }
}

fn notes(points: &[Point]) -> Vec<String> {
    let trials = points.iter().map(|point| point.spread.trials);
    let (fewest, most) = (trials.clone().min().unwrap_or(0), trials.max().unwrap_or(0));
    let n = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
    let marks =
        format!("marks: median of the trials' medians, n = {n} trials a point; faint dots: every trial's median");
    let without = points.iter().filter(|point| point.spread.interval.is_none()).count();
    let whiskers = match without {
        0 => "whiskers: 95 % interval of the median over trials",
        _ if without == points.len() => "no whiskers: too few trials for a 95 % interval of the median",
        _ => "whiskers: 95 % interval of the median over trials, where there are enough of them",
    };
    vec![marks, whiskers.to_owned()]
}

/// Axis title: the unit with its denominator, where the figure comes from, and whether the axis is logarithmic.
pub fn value_title(metric: Metric, machine: MachineKind, scale: Scale) -> String {
    let log = if scale == Scale::Log { ", log scale" } else { "" };
    format!("{} ({}{log})", units::label(metric), units::provenance(metric, machine))
}

impl Picture for Scaling {
    fn height(&self) -> u32 {
        720
    }

    fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Painted<(), DB> {
        self.frame.paint(root)?;
        let values = self.values();
        let scale = Scale::fitting(&values);
        let mut numbers: Vec<u32> = self.points.iter().map(|point| point.programs).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let axes = (Axis::programs(&numbers), scale.axis(&values));
        let plane = frame::plane(
            root,
            axes,
            ("programs loaded and run (log scale)", &value_title(self.metric, self.frame.machine, scale)),
        )?;
        let pixel = |point: &Point, value: f64| {
            let (x, y) = plane.backend_coord(&(f64::from(point.programs.max(1)).log2(), scale.place(value)));
            (x + aside(point.pack), y)
        };
        for point in &self.points {
            dots(root, point, &pixel)?;
        }
        for &arm in &self.frame.arms {
            let line: Vec<(i32, i32)> =
                self.points.iter().filter(|p| p.pack == arm).map(|p| pixel(p, p.spread.median)).collect();
            frame::stroke(root, &line, arm, 3)?;
        }
        for point in &self.points {
            whisker(root, point, &pixel)?;
            frame::marker(root, pixel(point, point.spread.median), point.pack, 7)?;
        }
        frame::end_labels(root, self.end_labels(&pixel))
    }
}

impl Scaling {
    fn end_labels(&self, pixel: &dyn Fn(&Point, f64) -> (i32, i32)) -> Vec<EndLabel> {
        let last = |arm: &PackMode| self.points.iter().rfind(|point| point.pack == *arm);
        let label = |point: &Point| EndLabel {
            y: pixel(point, point.spread.median).1,
            text: format!("pack {}: {}", point.pack, units::figure(point.spread.median)),
            color: frame::color(point.pack),
        };
        self.frame.arms.iter().filter_map(last).map(label).collect()
    }
}

fn aside(pack: PackMode) -> i32 {
    match pack {
        PackMode::On => -ASIDE,
        PackMode::Off => ASIDE,
    }
}

/// Every trial's median, strewn over a few pixels in trial order so that equal ones do not hide each other.
fn dots<DB: DrawingBackend>(
    root: &Area<DB>,
    point: &Point,
    pixel: &dyn Fn(&Point, f64) -> (i32, i32),
) -> Painted<(), DB> {
    let medians = point.spread.trial_medians.iter().filter(|median| median.is_finite());
    for (i, &median) in medians.enumerate() {
        let (x, y) = pixel(point, median);
        let away = aside(point.pack) * 2 + aside(point.pack).signum() * (i as i32 * 7 % 5) * 4;
        root.draw(&Circle::new((x + away, y), 4, frame::color(point.pack).mix(0.35).filled()))?;
    }
    Ok(())
}

fn whisker<DB: DrawingBackend>(
    root: &Area<DB>,
    point: &Point,
    pixel: &dyn Fn(&Point, f64) -> (i32, i32),
) -> Painted<(), DB> {
    let Some((low, high)) = point.spread.interval.filter(|(low, high)| low.is_finite() && high.is_finite()) else {
        return Ok(());
    };
    let style = frame::color(point.pack).stroke_width(2);
    let ((x, bottom), (_, top)) = (pixel(point, low), pixel(point, high));
    for line in [[(x, bottom), (x, top)], [(x - 8, bottom), (x + 8, bottom)], [(x - 8, top), (x + 8, top)]] {
        root.draw(&PathElement::new(line.to_vec(), style))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chart::{canvas, fixture};

    #[test]
    fn the_chart_names_unit_provenance_n_and_interval() {
        let run = fixture::run(10);
        let summary = Summary::of(&run);
        let chart = Scaling::of(&summary, "chain", Metric::Cycles).expect("cycles");
        let svg = canvas::svg(&chart).expect("svg");
        for words in
            ["cycles/exec (simulated)", "n = 10 trials a point", "95 % interval", "pack off", ">\n2048\n<", ">\n64\n<"]
        {
            assert!(svg.contains(words), "{words}");
        }
    }

    #[test]
    fn a_metric_nobody_counted_has_no_chart() {
        let run = fixture::run(3);
        let summary = Summary::of(&run);
        assert!(Scaling::of(&summary, "chain", Metric::BranchMissesPer1000).is_none());
        assert!(Scaling::of(&summary, "no such workload", Metric::Cycles).is_none());
    }

    #[test]
    fn one_trial_says_that_there_is_no_interval() {
        let run = fixture::run(1);
        let chart = Scaling::of(&Summary::of(&run), "chain", Metric::Cycles).expect("cycles");
        assert!(chart.caption().contains("too few trials for a 95 % interval"), "{}", chart.caption());
    }

    #[test]
    fn the_axis_says_where_its_figures_come_from() {
        assert_eq!(value_title(Metric::WallNs, MachineKind::Kernel, Scale::Linear), "wall ns/exec (timed)");
        assert_eq!(value_title(Metric::Cycles, MachineKind::Kernel, Scale::Log), "cycles/exec (measured, log scale)");
        assert_eq!(value_title(Metric::Cycles, MachineKind::Sim, Scale::Linear), "cycles/exec (simulated)");
    }
}
