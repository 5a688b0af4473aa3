//! The user-space twin: nanoseconds a jump against the number of stubs, four arms, and the knees.

use plotters::element::{Circle, PathElement};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::axis::{Axis, Scale};
use super::canvas::{self, Area, INK, MUTED, Painted, Picture, plain, text};
use super::frame::{self, EndLabel};
use super::{ChartError, Drawing};
use crate::report::units::figure;
use crate::stats;
use crate::twin::Calibration;
use crate::twin::code::Pages;
use crate::twin::findings::Comparison;
use crate::twin::stubs::Layout;
use crate::workload::PackMode;

const LEFT: i32 = 28;

/// Draws `calibration`.
pub fn draw(calibration: &Calibration) -> Result<Drawing, ChartError> {
    let chart = Twin { calibration };
    Ok(Drawing {
        stem: "calibration".to_owned(),
        title: TITLE.to_owned(),
        caption: chart.notes().join("; "),
        svg: canvas::svg(&chart)?,
        png: canvas::png(&chart)?,
    })
}

const TITLE: &str = "User-space twin of chain: ns a jump by number of stubs";

struct Twin<'a> {
    calibration: &'a Calibration,
}

/// Stubs and median ns of one arm.
type Line = Vec<(u32, f64)>;

impl Twin<'_> {
    fn line(&self, layout: Layout, pages: Pages) -> Line {
        let points = self.calibration.points.iter().filter(|point| point.layout == layout && point.pages == pages);
        points.filter_map(|point| Some((point.stubs, stats::median(&point.ns)?))).collect()
    }

    fn notes(&self) -> [String; 2] {
        let n = self.calibration.points.iter().map(|point| point.ns.len());
        let (fewest, most) = (n.clone().min().unwrap_or(0), n.max().unwrap_or(0));
        let verdict = match &self.calibration.findings.comparison {
            Comparison::Holds => "between solid and dashed only the page size differs: that is the iTLB's".to_owned(),
            Comparison::Void { .. } => {
                "VOID: 2 MiB pages were no better, so nothing here is shown to be the iTLB's".to_owned()
            }
            Comparison::Absent { reason } => format!("nothing here is shown to be the iTLB's: {reason}"),
        };
        let marks = format!("marks: median over allocations (n = {fewest} to {most}) of the least of seven loops");
        [marks, verdict]
    }

    fn source(&self) -> String {
        let host = &self.calibration.host;
        let guest = host.hypervisor.as_ref().map(|name| format!("virtual machine ({name})"));
        let tool = format!("itlbench {}, seed {}", self.calibration.tool_version, self.calibration.seed);
        let parts = [host.cpu_model.clone(), guest, Some(tool)];
        frame::clipped(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "), 120)
    }
}

const ARMS: [(Layout, Pages); 4] = [
    (Layout::Packed, Pages::Small),
    (Layout::Packed, Pages::Huge),
    (Layout::Spread, Pages::Small),
    (Layout::Spread, Pages::Huge),
];

fn color(layout: Layout) -> RGBColor {
    frame::color(match layout {
        Layout::Packed => PackMode::On,
        Layout::Spread => PackMode::Off,
    })
}

/// Solid for 4 KiB, dashed for 2 MiB.
fn stroke<DB: DrawingBackend>(
    root: &Area<DB>,
    line: &[(i32, i32)],
    (layout, pages): (Layout, Pages),
) -> Painted<(), DB> {
    let dashes = match pages {
        Pages::Small => PackMode::On,
        Pages::Huge => PackMode::Off,
    };
    frame::stroke_in(root, line, dashes, color(layout).stroke_width(3))
}

impl Picture for Twin<'_> {
    fn height(&self) -> u32 {
        720
    }

    fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Painted<(), DB> {
        self.words(root)?;
        let lines = ARMS.map(|(layout, pages)| self.line(layout, pages));
        let values: Vec<f64> = lines.iter().flatten().map(|(_, ns)| *ns).collect();
        let mut numbers: Vec<u32> = lines.iter().flatten().map(|(stubs, _)| *stubs).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let scale = Scale::fitting(&values);
        let log = if scale == Scale::Log { ", log scale" } else { "" };
        let axes = (Axis::programs(&numbers), scale.axis(&values));
        let plane = frame::plane(root, axes, ("stubs in the chain (log scale)", &format!("ns a jump (timed{log})")))?;
        let pixel = |(stubs, ns): (u32, f64)| plane.backend_coord(&(f64::from(stubs.max(1)).log2(), scale.place(ns)));
        self.knees(root, &|stubs| pixel((stubs, values.iter().copied().fold(f64::MIN_POSITIVE, f64::max))))?;
        let mut labels = Vec::new();
        for (arm, line) in ARMS.into_iter().zip(&lines) {
            let pixels: Vec<(i32, i32)> = line.iter().map(|&point| pixel(point)).collect();
            stroke(root, &pixels, arm)?;
            for &at in &pixels {
                let style = color(arm.0);
                root.draw(&Circle::new(
                    at,
                    5,
                    if arm.1 == Pages::Small { style.filled() } else { style.stroke_width(2) },
                ))?;
            }
            if let (Some(&(_, y)), Some(&(_, ns))) = (pixels.last(), line.last()) {
                let text = format!("{} {}: {}", arm.0, arm.1, figure(ns));
                labels.push(EndLabel { y, text, color: color(arm.0) });
            }
        }
        frame::end_labels(root, labels)
    }
}

impl Twin<'_> {
    fn words<DB: DrawingBackend>(&self, root: &Area<DB>) -> Painted<(), DB> {
        root.draw_text(TITLE, &plain(27, &INK), (LEFT, 18))?;
        for (note, y) in self.notes().iter().zip([54, 78]) {
            root.draw_text(&frame::clipped(note, 125), &plain(18, &MUTED), (LEFT, y))?;
        }
        let mut x = LEFT;
        for (arm, label) in
            ARMS.into_iter().zip(["packed, 4 KiB pages", "packed, 2 MiB", "spread, 4 KiB", "spread, 2 MiB"])
        {
            stroke(root, &[(x, 116), (x + 48, 116)], arm)?;
            let style = text(18, &INK, (HPos::Left, VPos::Center));
            root.draw_text(label, &style, (x + 58, 116))?;
            x += 58 + root.estimate_text_size(label, &style)?.0 as i32 + 30;
        }
        let (_, height) = root.dim_in_pixel();
        root.draw_text(&self.source(), &plain(16, &MUTED), (LEFT, height as i32 - 30))
    }

    /// Upright lines where the times of spread stubs part, and where the model has its levels run out.
    fn knees<DB: DrawingBackend>(&self, root: &Area<DB>, top: &dyn Fn(u32) -> (i32, i32)) -> Painted<(), DB> {
        let findings = &self.calibration.findings;
        let model = self.calibration.model.as_deref().unwrap_or("model");
        let marks = [
            (findings.knee, "4k parts from 2m (timed)".to_owned(), INK),
            (findings.model_l1_knee, format!("L1 of {model} (modelled)"), MUTED),
            (findings.model_l2_knee, format!("L2 of {model} (modelled)"), MUTED),
        ];
        let bottom = root.dim_in_pixel().1 as i32 - frame::FOOT - 54;
        for (row, (knee, label, ink)) in marks.into_iter().enumerate() {
            let Some(stubs) = knee else { continue };
            let x = top(stubs).0 - if ink == INK { 0 } else { 2 };
            root.draw(&PathElement::new(vec![(x, frame::HEAD + 12), (x, bottom)], faint(ink).stroke_width(2)))?;
            let style = text(16, &ink, (HPos::Left, VPos::Center));
            root.draw_text(&label, &style, (x + 6, frame::HEAD + 26 + 22 * row as i32))?;
        }
        Ok(())
    }
}

fn faint(ink: RGBColor) -> RGBColor {
    frame::faint(ink, if ink == INK { 0.7 } else { 0.4 })
}
