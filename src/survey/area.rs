//! The map: stretches of address space that hold code, cut into 4 KiB pages.

use serde::{Serialize, Serializer};

use super::Survey;
use super::vmalloc::Packs;
use crate::placement::Addr;
use crate::placement::image::{PAGE_BYTES, REGION_BYTES};

/// Bytes of code in one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub own: u32,
    pub foreign: u32,
}

impl Cell {
    /// All of them.
    pub fn bytes(self) -> u32 {
        self.own + self.foreign
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.own, self.foreign).serialize(serializer)
    }
}

/// A pack, or a 2 MiB region where nothing tells where packs begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Area {
    #[serde(serialize_with = "super::hex")]
    pub start: Addr,
    /// Whether /proc/vmallocinfo says that it is one piece.
    pub pack: bool,
    /// `[own, foreign]` bytes of each page in turn.
    pub cells: Vec<Cell>,
}

impl Area {
    /// Pages with code in them.
    pub fn used(&self) -> usize {
        self.cells.iter().filter(|cell| cell.bytes() > 0).count()
    }
}

/// The areas that hold code: packs as far as they are known, 2 MiB regions for the rest.
pub fn areas(survey: &Survey, packs: Option<&Packs>) -> Vec<Area> {
    let empty = |(start, pages): (Addr, u32), pack| Area { start, pack, cells: vec![Cell::default(); pages as usize] };
    let known = packs.map(|packs| packs.ranges.as_slice()).unwrap_or_default();
    let mut areas: Vec<Area> = known.iter().map(|range| empty(*range, true)).collect();
    for page in survey.pages().keys() {
        if cell(&mut areas, *page).is_none() {
            let start = Addr(Addr(page * PAGE_BYTES).region() * REGION_BYTES);
            let at = areas.partition_point(|area| area.start <= start);
            areas.insert(at, empty((start, (REGION_BYTES / PAGE_BYTES) as u32), false));
        }
    }
    for code in &survey.codes {
        let image = code.image();
        for page in image.pages() {
            let (from, to) = (image.addr.0.max(page * PAGE_BYTES), image.end().0.min((page + 1) * PAGE_BYTES));
            if let Some(cell) = cell(&mut areas, page) {
                *(if code.own { &mut cell.own } else { &mut cell.foreign }) += (to - from) as u32;
            }
        }
    }
    areas
}

/// The cell of `page`. A region may begin before a pack that it overlaps; the later of two areas is the pack.
fn cell(areas: &mut [Area], page: u64) -> Option<&mut Cell> {
    let next = areas.partition_point(|area| area.start.page() <= page);
    let holds = |area: &Area| page - area.start.page() < area.cells.len() as u64;
    let at = (next.saturating_sub(2)..next).rev().find(|at| holds(&areas[*at]))?;
    let offset = (page - areas[at].start.page()) as usize;
    areas[at].cells.get_mut(offset)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::survey;
    use super::super::vmalloc::ToldBy;
    use super::*;

    #[test]
    fn without_packs_the_map_is_of_regions() {
        let map = areas(&survey(), None);
        assert_eq!(
            map.iter().map(|area| area.start.0).collect::<Vec<_>>(),
            [0xffff_ffff_c000_0000, 0xffff_ffff_c040_0000]
        );
        assert_eq!(map[0].cells[0], Cell { own: 184, foreign: 3600 });
        assert_eq!(map[0].cells[1], Cell { own: 116, foreign: 0 });
        assert_eq!(map[1].cells[0].own, 4000);
        assert_eq!((map[0].used(), map[0].pack), (4, false));
    }

    #[test]
    fn packs_are_drawn_as_they_lie_and_the_rest_by_region() {
        let packs = Packs {
            told_by: ToldBy::Address,
            areas: 1,
            reserved_pages: 512,
            ranges: vec![(Addr(0xffff_ffff_c000_0000 - 0x1000), 512)],
        };
        let map = areas(&survey(), Some(&packs));
        assert_eq!((map[0].pack, map[0].cells[1].foreign), (true, 3600));
        assert_eq!((map[1].pack, map[1].start.0), (false, 0xffff_ffff_c040_0000));
        let all: u32 = map.iter().flat_map(|area| &area.cells).map(|cell| cell.bytes()).sum();
        assert_eq!(all, 6 * 600 + 300 + 4000 + 2, "every byte once");
    }

    #[test]
    fn a_pack_that_begins_inside_a_region_keeps_its_pages() {
        let ranges = vec![(Addr(0xffff_ffff_c000_1000), 512)];
        let packs = Packs { told_by: ToldBy::Address, areas: 1, reserved_pages: 512, ranges };
        let map = areas(&survey(), Some(&packs));
        assert_eq!((map[0].pack, map[0].cells[0].foreign, map[0].used()), (false, 3600, 1));
        assert_eq!((map[1].pack, map[1].cells[0].own), (true, 116));
    }
}
