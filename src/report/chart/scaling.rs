//! Cost per execution against the number of programs: one line per arm of a run, or per kernel of a comparison.

use plotters::element::{Circle, PathElement};
use plotters::prelude::DrawingBackend;
use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, Scale};
use super::canvas::{Area, Painted, Picture, WIDTH, text};
use super::frame::{self, EndLabel, Frame, Style};
use super::reach::{self, Mark};
use crate::compare::{Candidate, Effect, SideValues};
use crate::report::comparison::View;
use crate::report::{Summary, units};
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;
use crate::workload::PackMode;

/// Pixels by which the lines stand aside, so that whiskers of all stay readable where they meet.
const ASIDE: i32 = 18;

/// Heights at which the words of marks stand in turn.
const MARK_ROWS: i32 = 12;

/// One line.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    style: Style,
    label: String,
    /// Pixels to the right of where its points belong.
    aside: i32,
    /// By number of programs.
    points: Vec<Point>,
}

/// One point of one line.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    programs: u32,
    median: f64,
    interval: Option<(f64, f64)>,
    /// What the median is of.
    dots: Vec<f64>,
}

/// The chart of one workload and metric.
#[derive(Clone, Debug)]
pub struct Scaling {
    frame: Frame,
    metric: Metric,
    lines: Vec<Line>,
    marks: Vec<Mark>,
}

impl Scaling {
    /// The arms of a run; `None` if no case of the workload has the metric.
    pub fn of(summary: &Summary, workload: &str, metric: Metric) -> Option<Self> {
        let mut arms: Vec<PackMode> =
            summary.cases.iter().filter(|case| case.case.workload == workload).map(|case| case.case.pack).collect();
        arms.sort_unstable();
        arms.dedup();
        let of_arm = |&arm: &PackMode| {
            let cases = summary.cases.iter().filter(|case| case.case.workload == workload && case.case.pack == arm);
            let points = cases.filter_map(|case| {
                let spread = case.metrics.get(&metric)?;
                let (interval, dots) = (spread.interval, spread.trial_medians.clone());
                Some(Point { programs: case.case.programs, median: spread.median, interval, dots })
            });
            (Style::from(arm), format!("pack {arm}"), points.collect())
        };
        let lines = lines(arms.iter().map(of_arm).collect());
        let arms = arms.into_iter().filter(|arm| lines.iter().any(|line| line.style == (*arm).into())).collect();
        let marks = reach::of_run(summary, workload);
        let title = format!("{workload}: {} by number of programs", units::label(metric));
        let mut notes = notes(&lines, "trials");
        notes.extend((!marks.is_empty()).then(|| reach::NOTE.to_owned()));
        let frame = Frame::new(summary, title, notes, arms);
        (!lines.is_empty()).then_some(Self { frame, metric, lines, marks })
    }

    /// The kernels of a comparison in one arm; `None` if no effect on `metric` is of it.
    pub fn of_kernels(view: &View, workload: &str, pack: PackMode, metric: Metric) -> Option<Self> {
        let of = |candidate: &&Candidate| {
            let effects = candidate.effects().filter(|effect| {
                effect.metric == metric && effect.case.workload == workload && effect.case.pack == pack
            });
            effects.cloned().collect::<Vec<Effect>>()
        };
        let effects: Vec<Vec<Effect>> = view.comparison.candidates.iter().map(|candidate| of(&candidate)).collect();
        let point = |effect: &Effect, side: &SideValues| Point {
            programs: effect.case.programs,
            median: side.median,
            interval: side.interval,
            dots: side.units.clone(),
        };
        let base = effects.iter().max_by_key(|effects| effects.len())?;
        let base: Vec<Point> = base.iter().map(|effect| point(effect, &effect.baseline)).collect();
        let news =
            effects.iter().map(|effects| effects.iter().map(|effect| point(effect, &effect.candidate)).collect());
        let named = std::iter::once(base).chain(news).zip(view.sides()).enumerate();
        let lines = lines(named.map(|(at, (points, side))| (Style::side(at), side.name.clone(), points)).collect());
        let title = format!("{workload}, pack {pack}: {} by number of programs", units::label(metric));
        let frame = Frame::of_comparison(view, title, notes(&lines, "boots"));
        (!lines.is_empty()).then_some(Self { frame, metric, lines, marks: Vec::new() })
    }

    /// One sentence on what the picture shows.
    pub fn caption(&self) -> String {
        format!("{}. {}.", self.frame.title, self.frame.notes.join("; "))
    }

    /// The title alone.
    pub fn title(&self) -> &str {
        &self.frame.title
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.lines.iter().flat_map(|line| &line.points)
    }

    fn values(&self) -> Vec<f64> {
        let of = |point: &Point| {
            let interval = point.interval.map(|(low, high)| [low, high]).into_iter().flatten();
            interval.chain([point.median]).chain(point.dots.iter().copied()).collect::<Vec<f64>>()
        };
        self.points().flat_map(of).filter(|value| value.is_finite()).collect()
    }
}

/// The lines that have a point, each a little aside of the others.
fn lines(named: Vec<(Style, String, Vec<Point>)>) -> Vec<Line> {
    let mut lines: Vec<Line> = named
        .into_iter()
        .map(|(style, label, mut points)| {
            points.retain(|point| point.median.is_finite());
            points.sort_by_key(|point| point.programs);
            Line { style, label, aside: 0, points }
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let width = (lines.len() as i32 - 1) * ASIDE;
    for (at, line) in lines.iter_mut().enumerate() {
        line.aside = at as i32 * ASIDE - width / 2;
    }
    lines
}

fn notes(lines: &[Line], unit: &str) -> Vec<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let counts = || points().map(|point| point.dots.len());
    let (fewest, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    let n = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
    let without = points().filter(|point| point.interval.is_none()).count();
    let whiskers = match without {
        0 => format!("whiskers: its 95 % interval over {unit}"),
        _ if without == points().count() => format!("no whiskers: too few {unit} for a 95 % interval"),
        _ => format!("whiskers: its 95 % interval over {unit}, where there are enough"),
    };
    vec![format!("n = {n} {unit} a point; marks: median; {whiskers}; faint dots: every {}", unit.trim_end_matches('s'))]
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
        let mut numbers: Vec<u32> = self.points().map(|point| point.programs).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let axes = (Axis::programs(&numbers), scale.axis(&values));
        let range = axes.0.range.clone();
        let titles = ("programs loaded and run (log scale)", value_title(self.metric, self.frame.machine, scale));
        let plane = frame::plane(root, axes, (titles.0, &titles.1))?;
        let place = |programs: f64, value: f64| plane.backend_coord(&(programs.max(1.0).log2(), scale.place(value)));
        let (top, bottom) = (frame::HEAD + 12, self.height() as i32 - frame::FOOT - 54);
        let inside = self.marks.iter().filter(|mark| range.contains(&mark.programs.max(1.0).log2()));
        for (at, mark) in inside.enumerate() {
            reach_mark(root, mark, place(mark.programs, 1.0).0, (top, bottom), at as i32)?;
        }
        for line in &self.lines {
            let pixel = |point: &Point, value: f64| {
                let (x, y) = place(f64::from(point.programs), value);
                (x + line.aside, y)
            };
            line.points.iter().try_for_each(|point| dots(root, line, point, &pixel))?;
            let track: Vec<(i32, i32)> = line.points.iter().map(|point| pixel(point, point.median)).collect();
            frame::stroke(root, &track, line.style, 3)?;
            for point in &line.points {
                whisker(root, line, point, &pixel)?;
                frame::marker(root, pixel(point, point.median), line.style, 7)?;
            }
        }
        frame::end_labels(root, self.end_labels(&place))
    }
}

impl Scaling {
    fn end_labels(&self, place: &dyn Fn(f64, f64) -> (i32, i32)) -> Vec<EndLabel> {
        let label = |line: &Line| {
            let last = line.points.last()?;
            Some(EndLabel {
                y: place(f64::from(last.programs), last.median).1,
                text: format!("{}: {}", frame::shortened(&line.label, 12), units::figure(last.median)),
                color: line.style.color,
            })
        };
        self.lines.iter().filter_map(label).collect()
    }
}

/// A dotted line where a level of the iTLB runs out, its words beside it; neighbours at different heights.
fn reach_mark<DB: DrawingBackend>(
    root: &Area<DB>,
    mark: &Mark,
    x: i32,
    (top, bottom): (i32, i32),
    at: i32,
) -> Painted<(), DB> {
    let color = mark.style.color;
    let style = frame::faint(color, 0.7).stroke_width(1);
    for y in (top..bottom).step_by(8) {
        root.draw(&PathElement::new(vec![(x, y), (x, y + 3)], style))?;
    }
    let wide = 8 * mark.words.chars().count() as i32;
    let (side, from) = if x + wide > WIDTH as i32 { (HPos::Right, x - 5) } else { (HPos::Left, x + 5) };
    root.draw_text(&mark.words, &text(15, &color, (side, VPos::Top)), (from, top + 4 + at % MARK_ROWS * 19))
}

/// Every value behind a point, strewn over a few pixels in order so that equal ones do not hide each other.
fn dots<DB: DrawingBackend>(
    root: &Area<DB>,
    line: &Line,
    point: &Point,
    pixel: &dyn Fn(&Point, f64) -> (i32, i32),
) -> Painted<(), DB> {
    let side = if line.aside < 0 { -1 } else { 1 };
    for (i, &value) in point.dots.iter().filter(|value| value.is_finite()).enumerate() {
        let (x, y) = pixel(point, value);
        let away = side * (10 + (i as i32 * 7 % 5) * 4);
        root.draw(&Circle::new((x + away, y), 4, line.style.color.mix(0.35).filled()))?;
    }
    Ok(())
}

fn whisker<DB: DrawingBackend>(
    root: &Area<DB>,
    line: &Line,
    point: &Point,
    pixel: &dyn Fn(&Point, f64) -> (i32, i32),
) -> Painted<(), DB> {
    let Some((low, high)) = point.interval.filter(|(low, high)| low.is_finite() && high.is_finite()) else {
        return Ok(());
    };
    let style = line.style.color.stroke_width(2);
    let ((x, bottom), (_, top)) = (pixel(point, low), pixel(point, high));
    for stroke in [[(x, bottom), (x, top)], [(x - 8, bottom), (x + 8, bottom)], [(x - 8, top), (x + 8, top)]] {
        root.draw(&PathElement::new(stroke.to_vec(), style))?;
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
    fn kernels_share_a_plane() {
        let comparison = crate::report::comparison::fixture::three_kernels();
        let view = View::of(&comparison);
        let chart = Scaling::of_kernels(&view, "chain", PackMode::On, Metric::Cycles).expect("effects");
        let svg = canvas::svg(&chart).expect("svg");
        for words in ["6.18.5", "6.19.0-rc1", "7.0.0", "n = 2 to 4 boots a point", "cycles/exec (measured)"] {
            assert!(svg.contains(words), "{words}");
        }
        assert!(Scaling::of_kernels(&view, "chain", PackMode::On, Metric::BranchMissesPer1000).is_none());
    }

    #[test]
    fn the_reach_of_a_known_itlb_is_marked_and_that_of_an_unknown_one_is_not() {
        let mut run = fixture::run(3);
        run.manifest.machine = MachineKind::Kernel;
        let svg = |run: &crate::runfile::Run| {
            canvas::svg(&Scaling::of(&Summary::of(run), "chain", Metric::Cycles).expect("cycles")).expect("svg")
        };
        assert!(!svg(&run).contains("runs out"));
        run.manifest.host.cpu_vendor = Some("AuthenticAMD".to_owned());
        (run.manifest.host.cpu_family, run.manifest.host.cpu_model_number) = (Some(25), Some(1));
        assert!(svg(&run).contains("L1 of zen3 runs out") && svg(&run).contains("L2 of zen3 runs out"));
    }

    #[test]
    fn the_axis_says_where_its_figures_come_from() {
        assert_eq!(value_title(Metric::WallNs, MachineKind::Kernel, Scale::Linear), "wall ns/exec (timed)");
        assert_eq!(value_title(Metric::Cycles, MachineKind::Kernel, Scale::Log), "cycles/exec (measured, log scale)");
        assert_eq!(value_title(Metric::Cycles, MachineKind::Sim, Scale::Linear), "cycles/exec (simulated)");
    }
}
