//! The survey for programs: every piece of code, every page.

use serde::Serialize;

use super::Sheet;
use crate::placement::image::PAGE_BYTES;
use crate::placement::{Addr, Observed};
use crate::survey::vmalloc::Packs;
use crate::survey::{Area, Code, Elsewhere, Reach};

#[derive(Serialize)]
struct Document<'a> {
    totals: crate::survey::Totals,
    /// Programs that the kernel gives no address for.
    hidden: u32,
    own_prefix: &'a str,
    /// Without it trampolines and dispatchers are not counted.
    kallsyms_read: bool,
    packs: Option<&'a Packs>,
    itlb: Option<&'a Reach>,
    mapping: Option<&'a Observed>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    what_if: &'a [Elsewhere],
    notes: &'a [String],
    code: Vec<Piece<'a>>,
    areas: &'a [Area],
}

#[derive(Serialize)]
struct Piece<'a> {
    #[serde(flatten)]
    code: &'a Code,
    /// Addresses of its 4 KiB pages.
    pages: Vec<String>,
    /// Other pieces of code on them.
    shares_with: u32,
    shares_with_foreign: u32,
}

/// The whole of it, with a line end at its end.
pub fn json(sheet: &Sheet<'_>) -> serde_json::Result<String> {
    let piece = |(at, code)| piece(sheet, at, code);
    let document = Document {
        totals: sheet.survey.totals(),
        hidden: sheet.survey.hidden,
        own_prefix: sheet.own,
        kallsyms_read: sheet.kallsyms_read,
        packs: sheet.packs,
        itlb: sheet.reach,
        mapping: sheet.mapping,
        what_if: sheet.elsewhere,
        notes: sheet.notes,
        code: sheet.survey.codes.iter().enumerate().map(piece).collect(),
        areas: sheet.areas,
    };
    Ok(serde_json::to_string(&document)? + "\n")
}

fn piece<'a>(sheet: &Sheet<'_>, at: usize, code: &'a Code) -> Piece<'a> {
    let shared = sheet.survey.shared(at);
    Piece {
        code,
        pages: code.image().pages().map(|page| Addr(page * PAGE_BYTES).to_string()).collect(),
        shares_with: shared.with.len() as u32,
        shares_with_foreign: shared.foreign,
    }
}
