//! Every effect as a mark with its interval on one axis of ratios: what differs, in which direction, and how surely.

use plotters::element::{Circle, PathElement};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::axis::Axis;
use super::canvas::{Area, GRID, INK, MUTED, Painted, Picture, text};
use super::frame::{self, FOOT, Frame, Style, clipped};
use crate::compare::{Candidate, Effect};
use crate::report::comparison::View;
use crate::report::{Summary, units};
use crate::workload::PackMode;

/// Pixels from the top to the first row; a legend of its own stands above.
const TOP: i32 = 150;
/// Pixels of a row.
const ROW: i32 = 30;
/// Left and right edge of the axis.
const AXIS: (i32, i32) = (356, 830);
/// Rows drawn; the rest is counted in words.
const MOST_ROWS: usize = 60;

/// A heading, or an effect.
#[derive(Clone, Debug, PartialEq)]
enum Row {
    Heading(String),
    Effect { label: String, ratio: Option<f64>, interval: Option<(f64, f64)>, shown: bool, words: String },
}

/// The chart of all effects.
#[derive(Clone, Debug)]
pub struct Forest {
    frame: Frame,
    rows: Vec<Row>,
    left_out: usize,
    color: RGBColor,
}

impl Forest {
    /// Every other arm against pack on, for every metric worth a table; `None` without a ratio.
    pub fn of_run(summary: &Summary) -> Option<Self> {
        let mut rows = Vec::new();
        let arms = candidates(summary);
        let named = if arms.len() > 1 { Arm::OfCandidate } else { Arm::Both };
        for metric in summary.shown() {
            let of = summary.effects.iter().filter(|effect| effect.metric == metric);
            let unit = units::label(metric);
            let provenance = units::provenance(metric, summary.run.manifest.machine);
            push(&mut rows, format!("{unit} ({provenance})"), of.map(|effect| row(effect, named)));
        }
        let (base, arms) = (summary.effects.first()?.baseline.name.clone(), arms.join(", "));
        let notes = notes(&format!("candidate {arms}, baseline {base}; n in trials"));
        let frame = Frame::new(summary, format!("What placement changes: {arms} against {base}"), notes, Vec::new());
        Self::new(frame, rows, frame::color(PackMode::Off))
    }

    /// Every candidate against the baseline, for every metric worth a table; `None` without a ratio.
    pub fn of_kernels(view: &View) -> Option<Self> {
        let mut rows = Vec::new();
        let several = view.comparison.candidates.len() > 1;
        for metric in view.shown() {
            for candidate in &view.comparison.candidates {
                let of = candidate.effects().filter(|effect| effect.metric == metric);
                let who = if several { format!(", {}", candidate.side.name) } else { String::new() };
                push(&mut rows, format!("{}{who}", view.headed(metric)), of.map(|effect| row(effect, Arm::OfCase)));
            }
        }
        let names: Vec<&str> = view.comparison.candidates.iter().map(|c: &Candidate| c.side.name.as_str()).collect();
        let title = format!("What changes from {} to {}", view.comparison.baseline.name, names.join(" and "));
        let mut frame = Frame::of_comparison(view, title, notes("n in boots"));
        frame.legend.clear();
        Self::new(frame, rows, Style::side(1).color)
    }

    fn new(frame: Frame, mut rows: Vec<Row>, color: RGBColor) -> Option<Self> {
        let left_out = rows.len().saturating_sub(MOST_ROWS);
        rows.truncate(MOST_ROWS);
        let any = rows.iter().any(|row| matches!(row, Row::Effect { ratio: Some(_), .. }));
        any.then_some(Self { frame, rows, left_out, color })
    }

    /// One sentence on what the picture shows.
    pub fn caption(&self) -> String {
        let cut = if self.left_out > 0 { format!("; {} more rows are left out", self.left_out) } else { String::new() };
        format!("{}. {}{cut}.", self.frame.title, self.frame.notes.join("; "))
    }

    /// The title alone.
    pub fn title(&self) -> &str {
        &self.frame.title
    }

    fn bottom(&self) -> i32 {
        TOP + self.rows.len() as i32 * ROW
    }
}

fn notes(what: &str) -> Vec<String> {
    vec![
        format!("marks: ratio, candidate to baseline; whiskers: its 95 % interval; {what}"),
        "filled: a difference was shown; hollow: none was; right of the line the candidate costs more".to_owned(),
    ]
}

/// Whether the arm is part of a row's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arm {
    /// No: there are but two.
    Both,
    /// The arm that both kernels ran.
    OfCase,
    /// The arm that stands against pack on.
    OfCandidate,
}

/// The names of the arms that stand against another, in the order of their effects.
fn candidates(summary: &Summary) -> Vec<String> {
    let mut arms: Vec<String> = Vec::new();
    for effect in &summary.effects {
        if !arms.contains(&effect.candidate.name) {
            arms.push(effect.candidate.name.clone());
        }
    }
    arms
}

fn push(rows: &mut Vec<Row>, heading: String, effects: impl Iterator<Item = Row>) {
    let mut effects = effects.peekable();
    if effects.peek().is_some() {
        rows.push(Row::Heading(heading));
        rows.extend(effects);
    }
}

fn row(effect: &Effect, arm: Arm) -> Row {
    let case = &effect.case;
    let pack = match arm {
        Arm::Both => String::new(),
        Arm::OfCase => format!(", pack {}", case.pack),
        Arm::OfCandidate => format!(", {}", effect.candidate.name),
    };
    let ratio = effect.ratio.filter(|ratio| *ratio > 0.0);
    let n = format!("n {}+{}", effect.baseline.units.len(), effect.candidate.units.len());
    let change = units::or_absent(ratio, units::change);
    Row::Effect {
        label: format!("{}, {} programs{pack}", case.workload, case.programs),
        ratio,
        interval: effect.interval,
        shown: effect.verdict.is_different(),
        words: format!("{change}  {}, {n}", effect.conclusion()),
    }
}

impl Picture for Forest {
    fn height(&self) -> u32 {
        (self.bottom() + 62 + FOOT) as u32
    }

    fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Painted<(), DB> {
        self.frame.paint(root)?;
        let values: Vec<f64> = self.rows.iter().flat_map(Row::values).collect();
        let axis = Axis::ratios(&values);
        let x = |place: f64| {
            let share = (place - axis.range.start) / (axis.range.end - axis.range.start);
            AXIS.0 + (f64::from(AXIS.1 - AXIS.0) * share.clamp(0.0, 1.0)).round() as i32
        };
        self.paint_axis(root, &axis, &x)?;
        for (at, row) in self.rows.iter().enumerate() {
            let y = TOP + at as i32 * ROW + ROW / 2;
            row.paint(root, y, &x, self.color)?;
        }
        Ok(())
    }
}

impl Forest {
    fn paint_axis<DB: DrawingBackend>(&self, root: &Area<DB>, axis: &Axis, x: &dyn Fn(f64) -> i32) -> Painted<(), DB> {
        let (top, bottom) = (TOP - 6, self.bottom() + 4);
        let mut last = -1000;
        for (place, label) in &axis.ticks {
            let at = x(*place);
            let (ink, width) = if label == "equal" { (MUTED, 2) } else { (GRID, 1) };
            root.draw(&PathElement::new(vec![(at, top), (at, bottom)], ink.stroke_width(width)))?;
            if at - last >= 52 {
                root.draw_text(label, &text(17, &INK, (HPos::Center, VPos::Top)), (at, bottom + 6))?;
                last = at;
            }
        }
        let title = "ratio, candidate to baseline (log scale)";
        root.draw_text(title, &text(18, &INK, (HPos::Center, VPos::Top)), ((AXIS.0 + AXIS.1) / 2, bottom + 32))
    }
}

impl Row {
    fn values(&self) -> Vec<f64> {
        match self {
            Self::Heading(_) => Vec::new(),
            Self::Effect { ratio, interval, .. } => {
                let ends = interval.map(|(low, high)| [low, high]).into_iter().flatten();
                ends.chain(*ratio).filter(|value| value.is_finite() && *value > 0.0).collect()
            }
        }
    }

    fn paint<DB: DrawingBackend>(
        &self,
        root: &Area<DB>,
        y: i32,
        x: &dyn Fn(f64) -> i32,
        color: RGBColor,
    ) -> Painted<(), DB> {
        let (label, ratio, interval, shown, words) = match self {
            Self::Heading(words) => {
                return root.draw_text(&clipped(words, 60), &text(18, &INK, (HPos::Left, VPos::Center)), (28, y + 3));
            }
            Self::Effect { label, ratio, interval, shown, words } => (label, ratio, interval, *shown, words),
        };
        root.draw_text(&clipped(label, 36), &text(17, &MUTED, (HPos::Left, VPos::Center)), (44, y))?;
        root.draw_text(&clipped(words, 42), &text(16, &INK, (HPos::Left, VPos::Center)), (AXIS.1 + 20, y))?;
        if let Some((low, high)) = interval {
            let (from, to) = (x(low.max(f64::MIN_POSITIVE).ln()), x(high.max(f64::MIN_POSITIVE).ln()));
            for line in [[(from, y), (to, y)], [(from, y - 6), (from, y + 6)], [(to, y - 6), (to, y + 6)]] {
                root.draw(&PathElement::new(line.to_vec(), color.stroke_width(2)))?;
            }
        }
        let Some(ratio) = ratio else { return Ok(()) };
        let at = (x(ratio.ln()), y);
        if shown {
            return root.draw(&Circle::new(at, 7, color.filled()));
        }
        root.draw(&Circle::new(at, 7, RGBColor(255, 255, 255).filled()))?;
        root.draw(&Circle::new(at, 7, color.stroke_width(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chart::{canvas, fixture};
    use crate::report::comparison;

    #[test]
    fn every_effect_has_a_row_under_its_metric() {
        let run = fixture::run(10);
        let summary = Summary::of(&run);
        let forest = Forest::of_run(&summary).expect("effects");
        let effects = summary.effects.iter().filter(|effect| summary.shown().contains(&effect.metric)).count();
        assert_eq!(forest.rows.len(), effects + summary.shown().len());
        let svg = canvas::svg(&forest).expect("svg");
        for words in ["chain, 2048 programs", "cycles/exec (simulated)", "n 10+10", "equal", "SIMULATED"] {
            assert!(svg.contains(words), "{words}");
        }
    }

    #[test]
    fn every_arm_against_pack_on_has_a_row_with_its_name() {
        let run = crate::report::fixture::four_arms_run();
        let forest = Forest::of_run(&Summary::of(&run)).expect("effects");
        assert!(forest.title().ends_with("pack off, pack off-2m, placebo against pack on"), "{}", forest.title());
        for arm in ["pack off", "pack off-2m", "placebo"] {
            let of_arm = |row: &&Row| matches!(row, Row::Effect { label, .. } if *label == format!("chain, 512 programs, {arm}"));
            assert_eq!(forest.rows.iter().filter(of_arm).count(), 1, "{arm}");
        }
    }

    #[test]
    fn kernels_are_named_and_too_few_boots_have_no_whiskers() {
        let comparison = comparison::fixture::three_kernels();
        let forest = Forest::of_kernels(&View::of(&comparison)).expect("effects");
        assert!(forest.title().contains("6.18.5 to 6.19.0-rc1 and 7.0.0"));
        let words = forest.rows.iter().filter_map(|row| match row {
            Row::Effect { interval: None, words, .. } => Some(words.as_str()),
            _ => None,
        });
        assert!(words.clone().count() >= 6 && words.clone().any(|words| words.contains("too few boots")));
    }

    #[test]
    fn a_run_of_one_arm_has_no_forest() {
        let mut run = fixture::run(3);
        run.trials.retain(|trial| trial.case.pack == PackMode::On);
        assert!(Forest::of_run(&Summary::of(&run)).is_none());
    }
}
