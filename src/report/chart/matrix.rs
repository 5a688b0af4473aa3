//! Kernels one below the other, a mark for each number of programs: how many iTLB entries the code takes in each.

use plotters::element::PathElement;
use plotters::prelude::DrawingBackend;
use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, Scale};
use super::canvas::{self, Area, GRID, INK, MUTED, Painted, Picture, text};
use super::frame::{self, FOOT, Frame, Style, clipped, shortened};
use super::{ChartError, Drawing};
use crate::report::kernels::{Matrix, Row};
use crate::runfile::manifest::{Fetches, MachineKind};

/// Pixels from the top to the first row; the legend stands above.
const TOP: i32 = 150;
const ROW: i32 = 34;
/// Left and right edge of the axis.
const AXIS: (i32, i32) = (250, 1150);
/// Letters of a label, for which there is room beside the axis.
const LABEL: usize = 28;
/// Rows drawn; the rest is counted in words.
const MOST_ROWS: usize = 60;

/// Draws what of `matrix` can be drawn, workload by workload.
pub fn draw(matrix: &Matrix<'_>) -> Result<Vec<Drawing>, ChartError> {
    let mut drawings = Vec::new();
    for workload in matrix.workloads() {
        let charts = [("entries", Chart::entries(matrix, workload)), ("walks", Chart::walks(matrix, workload))];
        for (what, chart) in charts {
            let Some(chart) = chart else { continue };
            let stem = super::unused(format!("{what}-{}", super::slug(workload)), &drawings);
            let (title, caption) = (chart.frame.title.clone(), chart.caption());
            drawings.push(Drawing { stem, title, caption, svg: canvas::svg(&chart)?, png: canvas::png(&chart)? });
        }
    }
    Ok(drawings)
}

/// A kernel and arm, with the value of each number of programs that it has.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    label: String,
    /// Number of the style, and value.
    marks: Vec<(usize, f64)>,
}

#[derive(Clone, Debug)]
struct Chart {
    frame: Frame,
    axis_title: String,
    scale: Scale,
    lines: Vec<Line>,
    left_out: usize,
}

impl Chart {
    /// iTLB entries of the code; `None` if no mapping was seen.
    fn entries(matrix: &Matrix<'_>, workload: &str) -> Option<Self> {
        let value = |row: &Row| row.entries.map(|entries| (entries.least + entries.most) as f64 / 2.0);
        let notes = [
            format!(
                "{workload}; marks: page-table leaves that the programs lie in, by number of programs, as read back in a guest"
            ),
            "native: the kernel's own allocator; off: every program on a page of its own, by fillers".to_owned(),
        ];
        let title = "iTLB entries that JITed BPF code takes, by kernel";
        let scale = Scale::fitting;
        Self::new(matrix, workload, (title, notes), ("iTLB entries", scale), &value)
    }

    /// Modelled walks; `None` if none were modelled.
    fn walks(matrix: &Matrix<'_>, workload: &str) -> Option<Self> {
        let value = |row: &Row| row.fetched.map(|found| found.walks);
        let models = matrix.fetches().into_iter().filter_map(|fetches| match fetches {
            Fetches::Modelled { model } => Some(model),
            Fetches::NotModelled { .. } => None,
        });
        let models = models.collect::<Vec<_>>().join(", ");
        let notes = [
            format!(
                "{workload}; marks: misses of both iTLB levels of {models} per 1000 executions, by number of programs"
            ),
            "modelled (emulated fetch): the fetches of each guest's kernel, not the events of a CPU".to_owned(),
        ];
        let title = "Modelled iTLB walks of JITed BPF code, by kernel";
        let axis = ("walks per 1000 executions (modelled)", (|_: &[f64]| Scale::Linear) as fn(&[f64]) -> Scale);
        Self::new(matrix, workload, (title, notes), axis, &value)
    }

    fn new(
        matrix: &Matrix<'_>,
        workload: &str,
        (title, notes): (&str, [String; 2]),
        (axis_title, scale): (&str, fn(&[f64]) -> Scale),
        value: &dyn Fn(&Row) -> Option<f64>,
    ) -> Option<Self> {
        let numbers = matrix.programs(workload);
        let mut lines = lines(matrix, workload, &numbers, value);
        let values: Vec<f64> = lines.iter().flat_map(|line| &line.marks).map(|(_, value)| *value).collect();
        let left_out = lines.len().saturating_sub(MOST_ROWS);
        lines.truncate(MOST_ROWS);
        let frame = frame(matrix, title.to_owned(), notes.to_vec(), &numbers);
        let scale = scale(&values);
        let log = if scale == Scale::Log { " (log scale)" } else { "" };
        let axis_title = format!("{axis_title}{log}");
        (!values.is_empty()).then_some(Self { frame, axis_title, scale, lines, left_out })
    }

    fn caption(&self) -> String {
        let cut = if self.left_out > 0 { format!("; {} more rows are left out", self.left_out) } else { String::new() };
        format!("{}. {}{cut}.", self.frame.title, self.frame.notes.join("; "))
    }

    fn bottom(&self) -> i32 {
        TOP + self.lines.len() as i32 * ROW
    }
}

fn lines(matrix: &Matrix<'_>, workload: &str, numbers: &[u32], value: &dyn Fn(&Row) -> Option<f64>) -> Vec<Line> {
    let mut lines = Vec::new();
    for kernel in &matrix.kernels {
        let rows: Vec<&Row> = kernel.rows.iter().filter(|row| row.case.workload == workload).collect();
        let mut arms: Vec<_> = rows.iter().map(|row| row.arm).collect();
        arms.sort_unstable();
        arms.dedup();
        for arm in arms {
            let marks = rows
                .iter()
                .filter(|row| row.arm == arm)
                .filter_map(|row| Some((numbers.iter().position(|number| *number == row.case.programs)?, value(row)?)));
            let marks: Vec<(usize, f64)> = marks.collect();
            if !marks.is_empty() {
                // However long a kernel's name is, its arms can be told apart.
                let name = shortened(&kernel.name, LABEL - 1 - arm.name().len());
                lines.push(Line { label: format!("{name} {}", arm.name()), marks });
            }
        }
    }
    lines
}

fn frame(matrix: &Matrix<'_>, title: String, notes: Vec<String>, numbers: &[u32]) -> Frame {
    let run = matrix.runs().next();
    let emulator = run.and_then(|run| run.manifest.guest.as_ref()).map(|guest| guest.emulator.clone());
    let tool = run.map(|run| format!("itlbench {}, seed {}", run.manifest.tool_version, run.manifest.seed));
    let source = emulator.into_iter().chain(tool).collect::<Vec<_>>().join(", ");
    let legend = numbers.iter().enumerate().map(|(at, number)| (Style::side(at), format!("{number} programs")));
    let source = clipped(&source, 120);
    Frame { title, notes, legend: legend.collect(), source, machine: MachineKind::Kernel }
}

impl Picture for Chart {
    fn height(&self) -> u32 {
        (self.bottom() + 62 + FOOT) as u32
    }

    fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Painted<(), DB> {
        self.frame.paint(root)?;
        let values: Vec<f64> = self.lines.iter().flat_map(|line| &line.marks).map(|(_, value)| *value).collect();
        let axis = self.scale.axis(&values);
        let x = |place: f64| {
            let share = (place - axis.range.start) / (axis.range.end - axis.range.start);
            AXIS.0 + (f64::from(AXIS.1 - AXIS.0) * share.clamp(0.0, 1.0)).round() as i32
        };
        self.paint_axis(root, &axis, &x)?;
        for (at, line) in self.lines.iter().enumerate() {
            let y = TOP + at as i32 * ROW + ROW / 2;
            root.draw_text(&line.label, &text(17, &INK, (HPos::Right, VPos::Center)), (AXIS.0 - 16, y))?;
            let ends = line.marks.iter().map(|(_, value)| x(self.scale.place(*value)));
            let (from, to) = ends.fold((AXIS.1, AXIS.0), |(from, to), at| (from.min(at), to.max(at)));
            root.draw(&PathElement::new(vec![(from, y), (to, y)], MUTED.stroke_width(1)))?;
            for &(style, value) in line.marks.iter().rev() {
                frame::marker(root, (x(self.scale.place(value)), y), Style::side(style), 7)?;
            }
        }
        Ok(())
    }
}

impl Chart {
    fn paint_axis<DB: DrawingBackend>(&self, root: &Area<DB>, axis: &Axis, x: &dyn Fn(f64) -> i32) -> Painted<(), DB> {
        let (top, bottom) = (TOP - 6, self.bottom() + 4);
        for (place, label) in &axis.ticks {
            let at = x(*place);
            root.draw(&PathElement::new(vec![(at, top), (at, bottom)], GRID.stroke_width(1)))?;
            root.draw_text(label, &text(17, &INK, (HPos::Center, VPos::Top)), (at, bottom + 6))?;
        }
        root.draw_text(
            &self.axis_title,
            &text(18, &INK, (HPos::Center, VPos::Top)),
            ((AXIS.0 + AXIS.1) / 2, bottom + 32),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::kernels::fixture;

    #[test]
    fn every_kernel_and_arm_has_a_line_with_a_mark_for_each_number() {
        let runs = fixture::runs();
        let matrix = Matrix::of(&runs, Vec::new());
        let chart = Chart::entries(&matrix, "chain").expect("entries");
        let found: Vec<(&str, &[(usize, f64)])> =
            chart.lines.iter().map(|line| (line.label.as_str(), line.marks.as_slice())).collect();
        assert_eq!(
            found,
            [
                ("5.10 native", &[(0, 64.0), (1, 2048.0)][..]),
                ("6.12 native", &[(0, 3.0), (1, 96.0)]),
                ("6.12 off", &[(0, 64.0), (1, 2048.0)]),
                ("7.3 native", &[(0, 1.0), (1, 1.0)]),
                ("7.3 off", &[(0, 1.0), (1, 8.0)]),
            ]
        );
        let drawings = draw(&matrix).expect("charts");
        let stems: Vec<&str> = drawings.iter().map(|drawing| drawing.stem.as_str()).collect();
        assert_eq!(stems, ["entries-chain", "walks-chain"]);
        assert!(drawings[1].svg.contains("modelled (emulated fetch)") && drawings[1].svg.contains("1000"));
        for words in ["7.3 off", "2048 programs", "iTLB entries (log scale)", "qemu 10.0.2, TCG"] {
            assert!(drawings[0].svg.contains(words), "{words}");
        }
    }

    #[test]
    fn the_arm_stays_legible_behind_a_long_name() {
        let mut runs = fixture::runs().split_off(1);
        runs.truncate(2);
        for run in &mut runs {
            run.manifest.guest.as_mut().expect("guest").kernel = "7.3-rc7-nohugevmalloc-and-much-more".to_owned();
        }
        let chart = Chart::entries(&Matrix::of(&runs, Vec::new()), "chain").expect("entries");
        let labels: Vec<&str> = chart.lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["7.3-rc7-n..-much-more native", "7.3-rc7-noh..d-much-more off"]);
    }

    #[test]
    fn without_a_seen_mapping_there_is_no_chart() {
        let mut runs = fixture::runs();
        for trial in runs.iter_mut().flat_map(|run| &mut run.trials) {
            trial.mapping = None;
            trial.fetched.clear();
        }
        assert_eq!(draw(&Matrix::of(&runs, Vec::new())).expect("no charts"), []);
    }
}
