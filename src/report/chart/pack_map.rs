//! All JITed code of a host seen from above: one cell per 4 KiB page of each pack, shaded by fill, own apart from foreign.

use plotters::element::Rectangle;
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area as Paper, INK, MUTED, Painted, Picture, WIDTH, plain, text};
use super::frame::{self, FOOT, Frame};
use super::{ChartError, Drawing};
use crate::placement::image::PAGE_BYTES;
use crate::runfile::manifest::MachineKind;
use crate::survey::{Area, Cell};
use crate::workload::PackMode;

/// Pages in a row: 256 KiB.
const PAGES_PER_ROW: usize = 64;
/// Pixels of a cell.
const CELL: i32 = 8;
/// Areas in one picture; the others get pictures of their own.
const AREAS_A_PICTURE: usize = 32;
const SHADES: u64 = 8;
const EMPTY: RGBColor = RGBColor(0xee, 0xee, 0xee);
const TOP: i32 = 150;
/// Pixels above an area for its label, and below it.
const LABEL: i32 = 26;
const GAP: i32 = 14;
/// Own code in the colour that charts give to pack on, foreign code in the other; own pages are underlined too, for grey print.
const OWN: PackMode = PackMode::On;
const FOREIGN: PackMode = PackMode::Off;

/// Up to 32 areas in two columns.
#[derive(Clone, Debug)]
struct PackMap<'a> {
    frame: Frame,
    /// Left edge, top edge, area.
    placed: Vec<((i32, i32), &'a Area)>,
    bottom: i32,
}

/// Draws `areas`; `totals` is the line under the title, `source` the last line: host and tool.
pub fn pack_maps(areas: &[Area], totals: &str, source: &str) -> Result<Vec<Drawing>, ChartError> {
    let pictures = areas.len().div_ceil(AREAS_A_PICTURE);
    let drawn = areas.chunks(AREAS_A_PICTURE).enumerate().map(|(at, areas)| {
        let part = if pictures > 1 { format!(" ({} of {pictures})", at + 1) } else { String::new() };
        let title = format!("Where JITed BPF code lies on this host{part}");
        let map = PackMap::of(areas, title.clone(), totals, source);
        let stem = if pictures > 1 { format!("packs-{}", at + 1) } else { "packs".to_owned() };
        let caption = format!("{totals}; one cell per 4 KiB page");
        Ok(Drawing { stem, title, caption, svg: canvas::svg(&map)?, png: canvas::png(&map)? })
    });
    drawn.collect()
}

impl<'a> PackMap<'a> {
    fn of(areas: &'a [Area], title: String, totals: &str, source: &str) -> Self {
        let note =
            "one cell per 4 KiB page in address order, 64 to a row (256 KiB); an area is a pack or a 2 MiB region";
        let frame = Frame {
            title,
            notes: vec![totals.to_owned(), note.to_owned()],
            legend: Vec::new(),
            source: frame::clipped(source, 120),
            machine: MachineKind::Kernel,
        };
        let mut columns = [TOP + 20; 2];
        let placed = areas.iter().map(|area| {
            let column = usize::from(columns[1] < columns[0]);
            let left = [28, WIDTH as i32 - 28 - PAGES_PER_ROW as i32 * CELL][column];
            let at = (left, columns[column]);
            columns[column] += height(area) + GAP;
            (at, area)
        });
        let placed = placed.collect();
        Self { frame, placed, bottom: columns[0].max(columns[1]) }
    }
}

fn height(area: &Area) -> i32 {
    LABEL + area.cells.len().div_ceil(PAGES_PER_ROW) as i32 * CELL
}

impl Picture for PackMap<'_> {
    fn height(&self) -> u32 {
        (self.bottom + FOOT) as u32
    }

    fn paint<DB: DrawingBackend>(&self, root: &Paper<DB>) -> Painted<(), DB> {
        self.frame.paint(root)?;
        legend(root)?;
        self.placed.iter().try_for_each(|(at, area)| paint_area(root, *at, area))
    }
}

fn paint_area<DB: DrawingBackend>(root: &Paper<DB>, (left, top): (i32, i32), area: &Area) -> Painted<(), DB> {
    let kind = if area.pack { "area" } else { "region" };
    let words = format!("{kind} {}: {} of {} pages hold code", area.start, area.used(), area.cells.len());
    root.draw_text(&words, &plain(17, &INK), (left, top))?;
    for (row, cells) in area.cells.chunks(PAGES_PER_ROW).enumerate() {
        let y = top + LABEL + row as i32 * CELL;
        let right = left + cells.len() as i32 * CELL;
        root.draw(&Rectangle::new([(left, y), (right - 1, y + CELL - 1)], EMPTY.filled()))?;
        for (at, cell) in cells.iter().enumerate().filter(|(_, cell)| cell.bytes() > 0) {
            paint_cell(root, (left + at as i32 * CELL, y), *cell)?;
        }
    }
    Ok(())
}

/// A page that both have code in is split: own left, foreign right.
fn paint_cell<DB: DrawingBackend>(root: &Paper<DB>, (x, y): (i32, i32), cell: Cell) -> Painted<(), DB> {
    let middle = match (cell.own, cell.foreign) {
        (0, _) => 0,
        (_, 0) => CELL,
        _ => CELL / 2,
    };
    let bottom = y + CELL - 2;
    for (from, to, bytes, arm) in [(0, middle, cell.own, OWN), (middle, CELL, cell.foreign, FOREIGN)] {
        if from < to {
            let corners = [(x + from, y), (x + to - 1, bottom)];
            root.draw(&Rectangle::new(corners, shade(bytes, arm).filled()))?;
        }
    }
    if middle > 0 {
        root.draw(&Rectangle::new([(x, y + CELL - 1), (x + middle - 1, y + CELL - 1)], INK.filled()))?;
    }
    Ok(())
}

/// The darker the more code; one byte is told from none.
fn shade(bytes: u32, arm: PackMode) -> RGBColor {
    let step = (u64::from(bytes).min(PAGE_BYTES) * SHADES).div_ceil(PAGE_BYTES);
    frame::faint(frame::color(arm), 0.3 + 0.7 * step as f64 / SHADES as f64)
}

fn legend<DB: DrawingBackend>(root: &Paper<DB>) -> Painted<(), DB> {
    let (mut x, y) = (28, 114);
    for (arm, name) in [(FOREIGN, "foreign code"), (OWN, "own code, underlined")] {
        root.draw_text("1 byte", &text(16, &MUTED, (HPos::Left, VPos::Top)), (x, y))?;
        x += 54;
        for step in 1..=SHADES {
            let bytes = (step * PAGE_BYTES / SHADES) as u32;
            root.draw(&Rectangle::new([(x, y), (x + 18, y + 14)], shade(bytes, arm).filled()))?;
            x += 18;
        }
        if arm == OWN {
            let from = x - SHADES as i32 * 18;
            root.draw(&Rectangle::new([(from, y + 15), (x, y + 16)], INK.filled()))?;
        }
        let words = format!("4 KiB of {name}");
        let style = plain(16, &MUTED);
        root.draw_text(&words, &style, (x + 10, y))?;
        x += 10 + root.estimate_text_size(&words, &style)?.0 as i32 + 44;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::area::areas;
    use crate::survey::fixture::survey;

    #[test]
    fn every_area_is_drawn_once_and_the_same_bytes_every_time() {
        let areas = areas(&survey(), None);
        let first = pack_maps(&areas, "7 programs on 5 pages", "a host").expect("pictures");
        assert_eq!(first.len(), 1);
        let svg = &first[0].svg;
        assert!(svg.contains("region 0xffffffffc0000000: 4 of 512 pages hold code"), "{svg}");
        assert_eq!(svg.matches("of 512 pages hold code").count(), 2);
        assert!(first == pack_maps(&areas, "7 programs on 5 pages", "a host").expect("again"));
    }

    #[test]
    fn many_areas_fill_several_pictures_with_names_of_their_own() {
        let area = areas(&survey(), None).remove(0);
        let many: Vec<Area> = (0..70).map(|_| area.clone()).collect();
        let drawings = pack_maps(&many, "", "").expect("pictures");
        let stems: Vec<&str> = drawings.iter().map(|drawing| drawing.stem.as_str()).collect();
        assert_eq!(stems, ["packs-1", "packs-2", "packs-3"]);
        let labels: usize = drawings.iter().map(|drawing| drawing.svg.matches("pages hold code").count()).sum();
        assert_eq!(labels, 70);
    }

    #[test]
    fn areas_in_a_column_do_not_touch() {
        let area = areas(&survey(), None).remove(0);
        let tall = Area { cells: vec![Cell { own: 1, foreign: 1 }; 4096], ..area.clone() };
        let all = [tall, area.clone(), area.clone(), area];
        let map = PackMap::of(&all, String::new(), "", "");
        for (at, ((left, top), area)) in map.placed.iter().enumerate() {
            for ((other_left, other_top), _) in &map.placed[at + 1..] {
                assert!(left != other_left || other_top - top >= height(area), "{:?}", map.placed.len());
            }
        }
        assert!(map.placed.iter().all(|((_, top), area)| top + height(area) < map.height() as i32 - FOOT + 1));
    }

    #[test]
    fn an_empty_host_needs_no_picture() {
        assert_eq!(pack_maps(&[], "", "").expect("none"), []);
    }
}
