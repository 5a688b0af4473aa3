//! Plugs holes with programs of the measured size until loads land one behind the other, where a page ends if that is
//! wanted. A filler would not do for that: first-fit would put a small one into an earlier hole.

use super::super::image::{Image, PAGE_BYTES};
use super::super::pack::{self, CHUNKS_PER_PAGE};
use super::is_next;

/// Neighbours in a row that show that first-fit has left the small holes behind; where programs are to lie dense, more of them.
const ENOUGH_IN_A_ROW: u32 = 16;
const ENOUGH_FOR_DENSE: u32 = 32;
/// Within so many more one ends a page, unless the programs' size rules it out.
const TO_PAGE_END: u32 = CHUNKS_PER_PAGE;
/// No more plugs than this, on a host full of holes or with others who load all the time; what follows copes with holes too.
const MOST_PLUGS: u32 = 1024;

#[derive(Debug)]
pub(super) struct Plugging {
    to_page_end: bool,
    last: Option<Image>,
    in_a_row: u32,
    loaded: u32,
}

impl Plugging {
    /// Until neighbours in a row; `to_page_end`: the last of which ends a page.
    pub(super) fn new(to_page_end: bool) -> Self {
        Self { to_page_end, last: None, in_a_row: 0, loaded: 0 }
    }

    /// A plug's functions lie apart; true as long as more plugs are needed.
    pub(super) fn apart(&mut self) -> bool {
        (self.in_a_row, self.last) = (0, None);
        self.loaded += 1;
        self.loaded < MOST_PLUGS
    }

    /// Tells where a plug landed; true as long as more are needed.
    pub(super) fn needs_more(&mut self, image: &Image) -> bool {
        let contiguous = self.last.is_some_and(|last| is_next(&last, image));
        self.in_a_row = if contiguous { self.in_a_row + 1 } else { self.in_a_row / 2 };
        self.last = Some(*image);
        self.loaded += 1;
        let enough = if self.to_page_end { ENOUGH_FOR_DENSE } else { ENOUGH_IN_A_ROW };
        let at_end = !self.to_page_end || pack::end(image).is_multiple_of(PAGE_BYTES);
        let done = self.in_a_row >= enough && (at_end || self.in_a_row >= enough + TO_PAGE_END);
        !done && self.loaded < MOST_PLUGS
    }
}
