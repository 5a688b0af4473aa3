//! What all charts have around them: title, notes, legend, stamp, source line, and labels at the ends of lines.

use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::prelude::{Cartesian2d, ChartBuilder, ChartContext, DrawingBackend};
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor, ShapeStyle};

use super::axis::Axis;
use super::canvas::{Area, GRID, INK, MUTED, Painted, WIDTH, plain, text};
use crate::report::Summary;
use crate::report::comparison::View;
use crate::runfile::manifest::MachineKind;
use crate::workload::PackMode;

/// All colours are from Okabe and Ito's palette, which holds under every common colour blindness and in grey print.
const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const VERMILION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
const GREEN: RGBColor = RGBColor(0x00, 0x9e, 0x73);
const PURPLE: RGBColor = RGBColor(0x8f, 0x3f, 0x71);
const STAMP: RGBColor = RGBColor(0xb0, 0x00, 0x20);
/// Left edge of all text.
const LEFT: i32 = 28;
/// Pixels above the plane: title, two lines of notes, legend.
pub const HEAD: i32 = 136;
/// Pixels below the plane for the source line.
pub const FOOT: i32 = 40;
/// Pixels right of the plane for labels at the ends of lines.
pub const END_LABELS: i32 = 170;

/// A plane of two axes with ticks of our own.
pub type Plane<'a, DB> = ChartContext<'a, DB, Cartesian2d<Axis, Axis>>;

/// How a line looks. Dash and mark tell lines apart where colour does not: in grey print, to the colour-blind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    pub color: RGBColor,
    dash: Dash,
    mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dash {
    Whole,
    /// Pixels of ink and pixels of ink and gap.
    Dashed(usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Disc,
    Triangle,
    Square,
    Ring,
}

impl From<PackMode> for Style {
    fn from(pack: PackMode) -> Self {
        match pack {
            PackMode::On => Self { color: BLUE, dash: Dash::Whole, mark: Mark::Disc },
            PackMode::Off => Self { color: VERMILION, dash: Dash::Dashed(11, 17), mark: Mark::Triangle },
            PackMode::OffTwoMeg => Self { color: PURPLE, dash: Dash::Dashed(22, 28), mark: Mark::Square },
            PackMode::Placebo => Self { color: GREEN, dash: Dash::Dashed(4, 9), mark: Mark::Ring },
        }
    }
}

impl Style {
    /// Of the baseline (0) and of each candidate.
    pub fn side(at: usize) -> Self {
        match at % 4 {
            0 => Self { color: INK, dash: Dash::Whole, mark: Mark::Disc },
            1 => Self { color: VERMILION, dash: Dash::Dashed(11, 17), mark: Mark::Triangle },
            2 => Self { color: BLUE, dash: Dash::Dashed(22, 28), mark: Mark::Square },
            _ => Self { color: GREEN, dash: Dash::Dashed(4, 9), mark: Mark::Disc },
        }
    }
}

/// Colour of an arm; the same in every chart.
pub fn color(pack: PackMode) -> RGBColor {
    Style::from(pack).color
}

/// `color` mixed with paper: `share` of ink.
pub fn faint(color: RGBColor, share: f64) -> RGBColor {
    let mix = |ink: u8| (255.0 - (255.0 - f64::from(ink)) * share) as u8;
    RGBColor(mix(color.0), mix(color.1), mix(color.2))
}

/// The words around a chart.
#[derive(Clone, Debug)]
pub struct Frame {
    pub title: String,
    /// Up to two lines under the title: what is drawn, n, and what the whiskers mean.
    pub notes: Vec<String>,
    /// Lines in the legend.
    pub legend: Vec<(Style, String)>,
    /// Last line: host and tool.
    pub source: String,
    pub machine: MachineKind,
}

impl Frame {
    /// The frame of a chart of `summary`.
    pub fn new(summary: &Summary, title: String, notes: Vec<String>, arms: Vec<PackMode>) -> Self {
        let manifest = &summary.run.manifest;
        let simulated = manifest.machine == MachineKind::Sim;
        let host = &manifest.host;
        let known = [host.cpu_model.clone(), host.kernel_release.clone().map(|release| format!("Linux {release}"))];
        let place =
            if simulated { vec!["simulated machine".to_owned()] } else { known.into_iter().flatten().collect() };
        let guest = host.hypervisor.as_ref().filter(|_| !simulated).map(|name| format!("virtual machine ({name})"));
        let tool = format!("itlbench {}, seed {}", manifest.tool_version, manifest.seed);
        let parts: Vec<String> = place.into_iter().chain(guest).chain([tool]).collect();
        let legend = arms.into_iter().map(|arm| (arm.into(), meaning(arm).to_owned())).collect();
        Self { title, notes, legend, source: clipped(&parts.join(", "), 120), machine: manifest.machine }
    }

    /// The frame of a chart of a comparison, with a legend of its sides.
    pub fn of_comparison(view: &View, title: String, notes: Vec<String>) -> Self {
        let manifest = view.manifest();
        let simulated = view.is_simulated();
        let cpu = if simulated { Some("simulated machine".to_owned()) } else { manifest.host.cpu_model.clone() };
        let guest = manifest.host.hypervisor.as_ref().filter(|_| !simulated);
        let guest = guest.map(|name| format!("virtual machine ({name})"));
        let tool = format!("itlbench {}", manifest.tool_version);
        let source = cpu.into_iter().chain(guest).chain([tool]).collect::<Vec<_>>().join(", ");
        let sides = view.sides().enumerate();
        let legend = sides.map(|(at, side)| (Style::side(at), shortened(&side.name, 30))).collect();
        Self { title, notes, legend, source: clipped(&source, 120), machine: manifest.machine }
    }

    /// Paints the words; the plane belongs between [`HEAD`] and [`FOOT`].
    pub fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Painted<(), DB> {
        root.draw_text(&clipped(&self.title, 78), &plain(27, &INK), (LEFT, 18))?;
        for (note, y) in self.notes.iter().zip([54, 78]) {
            root.draw_text(&clipped(note, 125), &plain(18, &MUTED), (LEFT, y))?;
        }
        let mut x = LEFT;
        for (style, label) in &self.legend {
            x = legend(root, *style, label, (x, 116))?;
        }
        let (_, height) = root.dim_in_pixel();
        root.draw_text(&self.source, &plain(16, &MUTED), (LEFT, height as i32 - 30))?;
        if self.machine == MachineKind::Sim { stamp(root) } else { Ok(()) }
    }
}

/// `words` cut to `most` characters, the cut marked.
pub fn clipped(words: &str, most: usize) -> String {
    if words.chars().count() <= most {
        return words.to_owned();
    }
    words.chars().take(most.saturating_sub(3)).chain("...".chars()).collect()
}

/// `name` cut to `most` characters in its middle: names of kernels of one version differ at their ends.
pub fn shortened(name: &str, most: usize) -> String {
    let count = name.chars().count();
    if count <= most {
        return name.to_owned();
    }
    let head = most.saturating_sub(2) / 2;
    let tail = most.saturating_sub(2) - head;
    name.chars().take(head).chain("..".chars()).chain(name.chars().skip(count - tail)).collect()
}

/// What an arm is, in words.
fn meaning(arm: PackMode) -> &'static str {
    match arm {
        PackMode::On => "pack on: the kernel's packing",
        PackMode::Off => "pack off: every program on a page of its own",
        PackMode::OffTwoMeg => "pack off-2m: a 2 MiB region each",
        PackMode::Placebo => "placebo: as on, in another order",
    }
}

fn legend<DB: DrawingBackend>(root: &Area<DB>, line: Style, label: &str, (x, y): (i32, i32)) -> Painted<i32, DB> {
    stroke(root, &[(x, y), (x + 48, y)], line, 3)?;
    marker(root, (x + 24, y), line, 7)?;
    let style = text(18, &INK, (HPos::Left, VPos::Center));
    root.draw_text(label, &style, (x + 58, y))?;
    let (width, _) = root.estimate_text_size(label, &style)?;
    Ok(x + 58 + width as i32 + 36)
}

/// A line through pixels in its colour and dash.
pub fn stroke<DB: DrawingBackend>(
    root: &Area<DB>,
    points: &[(i32, i32)],
    line: impl Into<Style>,
    width: u32,
) -> Painted<(), DB> {
    let line = line.into();
    stroke_in(root, points, line, line.color.stroke_width(width))
}

/// As [`stroke`], in a style of the caller's.
pub fn stroke_in<DB: DrawingBackend>(
    root: &Area<DB>,
    points: &[(i32, i32)],
    line: impl Into<Style>,
    style: ShapeStyle,
) -> Painted<(), DB> {
    match line.into().dash {
        Dash::Whole => root.draw(&PathElement::new(points.to_vec(), style)),
        Dash::Dashed(ink, period) => {
            dashes(points, ink, period).into_iter().try_for_each(|dash| root.draw(&PathElement::new(dash, style)))
        }
    }
}

/// Cuts a line into dashes of `ink` pixels, one every `period`, going round its corners.
fn dashes(points: &[(i32, i32)], ink: usize, period: usize) -> Vec<Vec<(i32, i32)>> {
    let mut track = Vec::new();
    for pair in points.windows(2) {
        let (dx, dy) = (f64::from(pair[1].0 - pair[0].0), f64::from(pair[1].1 - pair[0].1));
        let steps = dx.hypot(dy).ceil() as u32;
        track.extend((0..steps).map(|step| {
            let part = f64::from(step) / f64::from(steps);
            (pair[0].0 + (dx * part).round() as i32, pair[0].1 + (dy * part).round() as i32)
        }));
    }
    let dash = |pixels: &[(i32, i32)]| {
        let last = pixels.len().min(ink + 1) - 1;
        vec![pixels[0], pixels[last]]
    };
    track.chunks(period).filter(|pixels| pixels.len() > 1).map(dash).collect()
}

/// A line's mark.
pub fn marker<DB: DrawingBackend>(
    root: &Area<DB>,
    at: (i32, i32),
    line: impl Into<Style>,
    size: i32,
) -> Painted<(), DB> {
    let line = line.into();
    let (x, y) = at;
    match line.mark {
        Mark::Disc => root.draw(&Circle::new(at, size, line.color.filled())),
        Mark::Ring => root.draw(&Circle::new(at, size, line.color.stroke_width(2))),
        Mark::Triangle => {
            let corners = [(x, y - size - 2), (x - size - 1, y + size - 1), (x + size + 1, y + size - 1)];
            root.draw(&Polygon::new(corners, line.color.filled()))
        }
        Mark::Square => {
            let side = size - 1;
            root.draw(&Rectangle::new([(x - side, y - side), (x + side, y + side)], line.color.filled()))
        }
    }
}

fn stamp<DB: DrawingBackend>(root: &Area<DB>) -> Painted<(), DB> {
    let right = WIDTH as i32 - 24;
    root.draw(&Rectangle::new([(right - 156, 14), (right, 48)], STAMP.filled()))?;
    root.draw_text("SIMULATED", &text(22, &RGBColor(255, 255, 255), (HPos::Center, VPos::Center)), (right - 78, 31))
}

/// A plane with grid, ticks and axis titles between head and foot.
pub fn plane<'a, DB: DrawingBackend + 'a>(
    root: &Area<DB>,
    (x, y): (Axis, Axis),
    (x_title, y_title): (&str, &str),
) -> Painted<Plane<'a, DB>, DB> {
    let mut chart = ChartBuilder::on(root)
        .margin_top(HEAD + 12)
        .margin_bottom(FOOT)
        .margin_left(14)
        .margin_right(END_LABELS)
        .x_label_area_size(54)
        .y_label_area_size(96)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(plotters::style::TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(MUTED)
        .x_desc(x_title)
        .y_desc(y_title)
        .label_style(plain(18, &INK))
        .axis_desc_style(plain(19, &INK))
        .draw()?;
    Ok(chart)
}

/// A label right of the end of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct EndLabel {
    pub y: i32,
    pub text: String,
    pub color: RGBColor,
}

/// Paints labels right of the plane, moved apart where they would touch, none above or below the plane.
pub fn end_labels<DB: DrawingBackend>(root: &Area<DB>, labels: Vec<EndLabel>) -> Painted<(), DB> {
    let bottom = root.dim_in_pixel().1 as i32 - FOOT - 54;
    for label in apart(labels, bottom) {
        let style = text(17, &label.color, (HPos::Left, VPos::Center));
        root.draw_text(&label.text, &style, (WIDTH as i32 - END_LABELS + 12, label.y))?;
    }
    Ok(())
}

fn apart(mut labels: Vec<EndLabel>, bottom: i32) -> Vec<EndLabel> {
    const LINE: i32 = 21;
    labels.sort_by(|a, b| (a.y, &a.text).cmp(&(b.y, &b.text)));
    for i in 1..labels.len() {
        labels[i].y = labels[i].y.max(labels[i - 1].y + LINE);
    }
    let mut limit = bottom;
    for label in labels.iter_mut().rev() {
        label.y = label.y.min(limit);
        limit = label.y - LINE;
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_labels_never_touch() {
        let label = |y, name: &str| EndLabel { y, text: name.to_owned(), color: INK };
        let placed = apart(vec![label(500, "c"), label(100, "a"), label(495, "b"), label(105, "d")], 500);
        let at: Vec<(i32, &str)> = placed.iter().map(|label| (label.y, label.text.as_str())).collect();
        assert_eq!(at, [(100, "a"), (121, "d"), (479, "b"), (500, "c")]);
    }

    #[test]
    fn dashes_cover_about_two_thirds_of_a_line() {
        let inked: i32 = dashes(&[(0, 0), (1700, 0)], 11, 17).iter().map(|dash| dash[1].0 - dash[0].0).sum();
        assert!((1000..=1150).contains(&inked), "{inked}");
    }

    #[test]
    fn dashes_go_on_across_short_steps() {
        let steps: Vec<(i32, i32)> = (0..1700).map(|x| (x, 0)).collect();
        let inked: i32 = dashes(&steps, 11, 17).iter().map(|dash| dash[1].0 - dash[0].0).sum();
        assert!((1000..=1150).contains(&inked), "{inked}");
    }

    #[test]
    fn long_names_are_cut_and_the_cut_is_marked() {
        assert_eq!(clipped("abcdef", 6), "abcdef");
        assert_eq!(clipped("abcdefg", 6), "abc...");
        assert_eq!(shortened("6.19.0-rc1-patched", 12), "6.19...tched");
        assert_eq!(shortened("6.19.0-rc1", 12), "6.19.0-rc1");
    }
}
