//! The map in letters: one for each 4 KiB page, the darker the more code is in it.

use crate::placement::Addr;
use crate::placement::image::PAGE_BYTES;
use crate::survey::{Area, Cell};

/// Pages in a row: 256 KiB.
pub const PAGES_PER_ROW: usize = 64;
/// Up to a quarter, a half, three quarters and all of the page.
const FOREIGN: [char; 4] = ['.', ':', '+', '#'];
const OWN: [char; 4] = ['o', 'O', '8', '@'];
/// Rows beyond this are counted.
const MOST_ROWS: usize = 120;

/// The map with its legend; rows without code are left out.
pub fn map(areas: &[Area]) -> Vec<String> {
    let mut lines = vec![
        "Map: a letter for each 4 KiB page, 64 to a row; rows without code are left out".to_owned(),
        "  foreign . : + # and pages with own code o O 8 @ up to a quarter, a half, three quarters, all code"
            .to_owned(),
    ];
    let mut left_out = 0;
    for area in areas {
        let rows = rows(area);
        let room = (MOST_ROWS + 2).saturating_sub(lines.len());
        left_out += rows.len().saturating_sub(room);
        if room > 0 {
            let what = if area.pack { "area" } else { "2 MiB region" };
            lines.push(format!("  {what} {}: {} of {} pages hold code", area.start, area.used(), area.cells.len()));
        }
        lines.extend(rows.into_iter().take(room));
    }
    if left_out > 0 {
        lines.push(format!("  {left_out} more rows; --out DIR draws a map of them all"));
    }
    lines
}

fn rows(area: &Area) -> Vec<String> {
    let rows = area.cells.chunks(PAGES_PER_ROW).enumerate();
    let used = rows.filter(|(_, cells)| cells.iter().any(|cell| cell.bytes() > 0));
    let row = |(at, cells): (usize, &[Cell])| {
        let start = Addr(area.start.0 + (at * PAGES_PER_ROW) as u64 * PAGE_BYTES);
        let letters: String = cells.iter().map(|cell| letter(*cell)).collect();
        format!("  {start}  {}", letters.trim_end()).trim_end().to_owned()
    };
    used.map(row).collect()
}

fn letter(cell: Cell) -> char {
    let letters = if cell.own > 0 { OWN } else { FOREIGN };
    match u64::from(cell.bytes()) {
        0 => ' ',
        bytes => letters[((bytes.min(PAGE_BYTES) * 4).div_ceil(PAGE_BYTES) - 1) as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_darken_with_the_fill_and_tell_own_from_foreign() {
        let of = |own, foreign| letter(Cell { own, foreign });
        assert_eq!([of(0, 0), of(0, 1), of(0, 1024), of(0, 1025), of(0, 4096)], [' ', '.', '.', ':', '#']);
        assert_eq!([of(1, 0), of(1, 2048), of(4096, 0), of(4000, 900)], ['o', '8', '@', '@']);
    }

    #[test]
    fn rows_without_code_are_left_out_and_the_cap_is_said() {
        let mut cells = vec![Cell::default(); 512];
        cells[130] = Cell { own: 0, foreign: 4096 };
        let area = Area { start: Addr(0xffff_ffff_c000_0000), pack: true, cells };
        let lines = map(std::slice::from_ref(&area));
        assert_eq!(lines[2], "  area 0xffffffffc0000000: 1 of 512 pages hold code");
        assert_eq!(lines[3], format!("  0xffffffffc0080000  {:>3}", '#'));
        assert_eq!(lines.len(), 4);
        let many: Vec<Area> = (0..200).map(|_| area.clone()).collect();
        let lines = map(&many);
        assert!(lines.len() <= MOST_ROWS + 6 && lines[lines.len() - 1].contains("more rows"), "{}", lines.len());
    }
}
