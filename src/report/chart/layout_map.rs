//! The placement seen from above: one cell per 4 KiB page in address order, shaded by the bytes of code in it.

use std::collections::BTreeMap;

use plotters::element::Rectangle;
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{Area, INK, MUTED, Painted, Picture, WIDTH, plain, text};
use super::frame::{self, FOOT, Frame};
use crate::placement::image::{Image, PAGE_BYTES};
use crate::placement::{Addr, Footprint};
use crate::report::Summary;
use crate::report::wording::counted;
use crate::runfile::manifest::MachineKind;
use crate::workload::PackMode;

/// Pages in a row: 256 KiB.
const PAGES_PER_ROW: u64 = 64;
/// Rows drawn of an arm; the rest is counted in words.
const MOST_ROWS: usize = 72;
/// Pixels of a cell.
const CELL: i32 = 8;
/// Pixels left blank where rows without code are left out.
const BREAK: i32 = 4;
/// Shades between the least and the most code in a page.
const SHADES: u64 = 8;
const EMPTY: RGBColor = RGBColor(0xee, 0xee, 0xee);
/// Top of the words over the first maps; of the maps below their words; pixels between one pair of maps and the next.
const TOP: i32 = 146;
const WORDS: i32 = 80;
const BETWEEN: i32 = 24;
/// Arms in the order of reading: two side by side.
const ARMS: [PackMode; 4] = [PackMode::On, PackMode::Off, PackMode::Placebo, PackMode::OffTwoMeg];

/// The pages of one arm.
#[derive(Clone, Debug, PartialEq)]
struct Map {
    pack: PackMode,
    footprint: Footprint,
    first: Option<Addr>,
    /// Row number (address / 256 KiB) to bytes of code in each of its pages.
    rows: BTreeMap<u64, [u64; PAGES_PER_ROW as usize]>,
}

/// The picture of one workload at its largest number of programs.
#[derive(Clone, Debug)]
pub struct LayoutMap {
    frame: Frame,
    maps: Vec<Map>,
}

impl LayoutMap {
    /// From the first placed trial of each arm; `None` if there is none.
    pub fn of(summary: &Summary, workload: &str) -> Option<Self> {
        let trials = || summary.run.trials.iter().filter(|trial| trial.case.workload == workload && trial.placed);
        let programs = trials().map(|trial| trial.case.programs).max()?;
        let map = |pack| {
            let mut of_arm = trials().filter(|trial| trial.case.programs == programs && trial.case.pack == pack);
            of_arm.find(|trial| !trial.images.is_empty()).map(|trial| Map::of(pack, &trial.images))
        };
        let maps: Vec<Map> = ARMS.into_iter().filter_map(map).collect();
        let simulated = summary.run.manifest.machine == MachineKind::Sim;
        let machine = if simulated { "the simulated machine" } else { "the kernel" };
        let title = format!("{workload}: where {programs} programs lie");
        let notes = vec![
            "one cell per 4 KiB page in address order, 64 to a row (256 KiB); rows without code of ours are left out"
                .into(),
            format!("addresses as read back from {machine}, first placed trial of each arm"),
        ];
        (!maps.is_empty()).then(|| Self { frame: Frame::new(summary, title, notes, Vec::new()), maps })
    }

    /// What the picture shows, and what it leaves out.
    pub fn caption(&self) -> String {
        let cuts = self.maps.iter().filter_map(|map| Some(format!("; pack {}: {}", map.pack, map.cut()?)));
        format!("{}: {}{}.", self.frame.title, self.frame.notes.join("; "), cuts.collect::<String>())
    }

    /// The title alone.
    pub fn title(&self) -> &str {
        &self.frame.title
    }
}

impl Map {
    fn of(pack: PackMode, images: &[Image]) -> Self {
        let mut rows: BTreeMap<u64, [u64; PAGES_PER_ROW as usize]> = BTreeMap::new();
        for image in images {
            for page in image.pages() {
                let (from, to) = (page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
                let bytes = image.end().0.min(to).saturating_sub(image.addr.0.max(from));
                rows.entry(page / PAGES_PER_ROW).or_insert([0; 64])[(page % PAGES_PER_ROW) as usize] += bytes;
            }
        }
        let first = images.iter().map(|image| image.addr).min();
        Self { pack, footprint: Footprint::of(images), first, rows }
    }

    /// Rows drawn, each with its distance from the top of the map.
    fn drawn(&self) -> Vec<(i32, &[u64; PAGES_PER_ROW as usize])> {
        let mut y = 0;
        let mut previous = None;
        let mut out = Vec::new();
        for (&row, pages) in self.rows.iter().take(MOST_ROWS) {
            if previous.is_some_and(|previous| row != previous + 1) {
                y += BREAK;
            }
            out.push((y, pages));
            y += CELL;
            previous = Some(row);
        }
        out
    }

    fn cut(&self) -> Option<String> {
        (self.rows.len() > MOST_ROWS).then(|| format!("first {MOST_ROWS} of {} rows with code", self.rows.len()))
    }

    fn height(&self) -> i32 {
        self.drawn().last().map_or(0, |(y, _)| y + CELL)
    }

    fn words(&self) -> [String; 3] {
        let f = &self.footprint;
        let from = self.first.map_or_else(String::new, |addr| format!("from {addr}"));
        let cut = self.cut().map_or_else(String::new, |cut| format!(", {cut}"));
        [
            format!(
                "pack {}: {} on {} of 4 KiB",
                self.pack,
                counted(f.programs, "program"),
                counted(f.pages_4k, "page")
            ),
            format!(
                "{} of 2 MiB, {:.1} % of the pages' bytes are code",
                counted(f.regions_2m, "region"),
                f.density_percent()
            ),
            format!("{from}{cut}"),
        ]
    }

    /// With its words from `top` on.
    fn paint<DB: DrawingBackend>(&self, root: &Area<DB>, (left, top): (i32, i32)) -> Painted<(), DB> {
        let [title, density, from] = self.words();
        root.draw_text(&title, &plain(20, &frame::color(self.pack)), (left, top))?;
        root.draw_text(&density, &plain(17, &INK), (left, top + 26))?;
        root.draw_text(&from, &plain(16, &MUTED), (left, top + 49))?;
        for (y, pages) in self.drawn() {
            let top = top + WORDS + y;
            let width = PAGES_PER_ROW as i32 * CELL;
            root.draw(&Rectangle::new([(left, top), (left + width, top + CELL - 1)], EMPTY.filled()))?;
            for (from, to, color) in runs(pages, self.pack) {
                let corners = [(left + from * CELL, top), (left + to * CELL - 1, top + CELL - 1)];
                root.draw(&Rectangle::new(corners, color.filled()))?;
            }
        }
        Ok(())
    }
}

/// Neighbours of one shade as one rectangle: first page, page behind the last, colour. Pages without code are left out.
fn runs(pages: &[u64], pack: PackMode) -> Vec<(i32, i32, RGBColor)> {
    let mut out: Vec<(i32, i32, RGBColor)> = Vec::new();
    for (i, &bytes) in pages.iter().enumerate() {
        let (i, Some(color)) = (i as i32, shade(bytes, pack)) else { continue };
        match out.last_mut() {
            Some((_, to, last)) if *to == i && *last == color => *to = i + 1,
            _ => out.push((i, i + 1, color)),
        }
    }
    out
}

/// The arm's colour, the darker the more code; a page with a single byte is already told from one with none.
fn shade(bytes: u64, pack: PackMode) -> Option<RGBColor> {
    let step = (bytes.min(PAGE_BYTES) * SHADES).div_ceil(PAGE_BYTES);
    (step > 0).then(|| frame::faint(frame::color(pack), 0.3 + 0.7 * step as f64 / SHADES as f64))
}

impl Picture for LayoutMap {
    fn height(&self) -> u32 {
        let pairs: i32 = self.maps.chunks(2).map(|pair| pair_height(pair) + BETWEEN).sum();
        (TOP + pairs + FOOT) as u32
    }

    fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Painted<(), DB> {
        self.frame.paint(root)?;
        let arms: Vec<PackMode> = self.maps.iter().map(|map| map.pack).collect();
        scale_bar(root, &arms)?;
        let mut top = TOP;
        for pair in self.maps.chunks(2) {
            for (map, left) in pair.iter().zip([28, WIDTH as i32 - 28 - PAGES_PER_ROW as i32 * CELL]) {
                map.paint(root, (left, top))?;
            }
            top += pair_height(pair) + BETWEEN;
        }
        Ok(())
    }
}

/// Two maps side by side, with their words.
fn pair_height(pair: &[Map]) -> i32 {
    WORDS + pair.iter().map(Map::height).max().unwrap_or(0).max(6 * CELL)
}

fn scale_bar<DB: DrawingBackend>(root: &Area<DB>, arms: &[PackMode]) -> Painted<(), DB> {
    let (mut x, y) = (28, 108);
    let words = plain(16, &MUTED);
    root.draw(&Rectangle::new([(x, y), (x + 22, y + 16)], EMPTY.filled()))?;
    root.draw_text("no code of ours", &words, (x + 30, y))?;
    x += 200;
    root.draw_text("1 byte", &text(16, &MUTED, (HPos::Right, VPos::Top)), (x + 20, y))?;
    let height = 17 / arms.len().max(1) as i32;
    for (at, pack) in arms.iter().enumerate() {
        for step in 1..=SHADES {
            let Some(color) = shade(step * PAGE_BYTES / SHADES, *pack) else { continue };
            let (left, top) = (x + 30 + (step as i32 - 1) * 24, y + at as i32 * height);
            root.draw(&Rectangle::new([(left, top), (left + 24, top + height - 1)], color.filled()))?;
        }
    }
    root.draw_text("4 KiB of code in the page", &words, (x + 30 + SHADES as i32 * 24 + 10, y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chart::{canvas, fixture};

    fn image(addr: u64, len: u32) -> Image {
        Image { addr: Addr(addr), len }
    }

    #[test]
    fn bytes_are_shared_out_to_the_pages_they_lie_in() {
        let map = Map::of(PackMode::On, &[image(0x1fc8, 100), image(0x2100, 64)]);
        let pages = map.rows[&0];
        assert_eq!((pages[0], pages[1], pages[2], pages[3]), (0, 56, 108, 0));
    }

    #[test]
    fn one_byte_is_told_from_none_and_a_full_page_is_darkest() {
        assert_eq!(shade(0, PackMode::On), None);
        assert_ne!(shade(1, PackMode::On), shade(4096, PackMode::On));
        assert_eq!(shade(4096, PackMode::On), Some(frame::color(PackMode::On)));
    }

    #[test]
    fn far_apart_regions_are_drawn_with_a_break_and_not_with_the_void_between() {
        let map = Map::of(PackMode::Off, &[image(0x40000, 64), image(0xffff_ffff_c000_0000, 64)]);
        assert_eq!(map.drawn().iter().map(|(y, _)| *y).collect::<Vec<_>>(), [0, CELL + BREAK]);
    }

    #[test]
    fn the_cap_on_rows_is_said() {
        let images: Vec<Image> = (0..100).map(|i| image(i << 18, 64)).collect();
        let map = Map::of(PackMode::Off, &images);
        assert_eq!(map.drawn().len(), MOST_ROWS);
        assert_eq!(map.cut().as_deref(), Some("first 72 of 100 rows with code"));
    }

    #[test]
    fn every_arm_of_the_run_is_drawn_two_side_by_side() {
        let mut run = fixture::run(2);
        let both = LayoutMap::of(&Summary::of(&run), "chain").expect("placed trials");
        let more: Vec<_> = run.trials.iter().filter(|trial| trial.case.programs == 2048).cloned().collect();
        for (trial, arm) in more.into_iter().zip([PackMode::Placebo, PackMode::OffTwoMeg]) {
            let case = crate::workload::Case { pack: arm, ..trial.case.clone() };
            run.trials.push(crate::trial::Trial { case, ..trial });
        }
        let chart = LayoutMap::of(&Summary::of(&run), "chain").expect("placed trials");
        let arms: Vec<PackMode> = chart.maps.iter().map(|map| map.pack).collect();
        assert_eq!(arms, ARMS);
        assert!(chart.height() > both.height() + WORDS as u32);
        let svg = canvas::svg(&chart).expect("svg");
        for arm in ARMS {
            assert!(svg.contains(&format!("pack {arm}: 2048 programs on ")), "{arm}");
        }
    }

    #[test]
    fn both_arms_are_drawn_at_the_largest_number_of_programs() {
        let run = fixture::run(2);
        let chart = LayoutMap::of(&Summary::of(&run), "chain").expect("placed trials");
        let svg = canvas::svg(&chart).expect("svg");
        assert!(svg.contains("pack on: 2048 programs on 64 pages"));
        assert!(svg.contains("pack off: 2048 programs on 2048 pages"));
    }
}
