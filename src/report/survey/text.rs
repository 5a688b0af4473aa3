//! The survey for a terminal: sums, a table, a map.

use super::Sheet;
use super::map::map;
use crate::placement::Observed;
use crate::placement::image::PAGE_BYTES;
use crate::placement::mapping::PageSize;
use crate::report::table::grid;
use crate::report::units::{ABSENT, percent};
use crate::report::wording::{counted, wrap};
use crate::survey::reach::Shares;
use crate::survey::vmalloc::ToldBy;
use crate::survey::{Code, Elsewhere, Totals, What};

/// Widest line.
const COLUMNS: usize = 100;
/// Columns before a value.
const LABEL: usize = 13;

/// The whole of it, with a line end at its end.
pub fn text(sheet: &Sheet<'_>) -> String {
    let totals = sheet.survey.totals();
    let mut lines = match totals.codes {
        0 => vec!["no JITed BPF code".to_owned()],
        _ => sums(sheet, &totals),
    };
    lines.extend(sheet.elsewhere.iter().flat_map(|elsewhere| row("what if", &what_if(elsewhere))));
    lines.extend(sheet.notes.iter().flat_map(|note| row("note", note)));
    if totals.codes > 0 {
        lines.push(String::new());
        lines.extend(table(sheet));
        lines.push(String::new());
        lines.extend(map(sheet.areas));
    }
    lines.join("\n") + "\n"
}

fn row(label: &str, value: &str) -> Vec<String> {
    wrap(value, COLUMNS, &format!("  {label:<width$}", width = LABEL - 2), &" ".repeat(LABEL))
}

fn what_if(elsewhere: &Elsewhere) -> String {
    let Elsewhere { world, needed, page_bytes, modelled } = elsewhere;
    let size = if *page_bytes == PAGE_BYTES { "4 KiB" } else { "2 MiB" };
    let shares = modelled.as_ref().map(|Shares { core, l1_percent, l2_percent }| {
        format!(
            ": {} % of the L1 iTLB of {core}, {} % of its L2 (modelled)",
            percent(*l1_percent),
            percent(*l2_percent)
        )
    });
    format!("{world}: {} of {size}{}", counted(*needed, "translation"), shares.unwrap_or_default())
}

fn sums(sheet: &Sheet<'_>, totals: &Totals) -> Vec<String> {
    let mut lines = vec![head(totals)];
    let unknown = match totals.without_length {
        0 => String::new(),
        n => format!(" and {} of unknown length", counted(n, "piece")),
    };
    let pieces = format!("{} of code, {} bytes{unknown}", counted(totals.codes, "piece"), totals.bytes);
    lines.extend(row("size", &pieces));
    let pages = format!(
        "{} of 4 KiB in {} of 2 MiB; one behind the other it would take {}",
        counted(totals.pages_4k, "page"),
        counted(totals.regions_2m, "region"),
        counted(totals.dense_pages_4k, "page")
    );
    lines.extend(row("pages", &pages));
    let shared = format!(
        "{} hold more than one piece of code, {} both own and foreign ones (own: named `{}...`)",
        totals.shared_pages, totals.mixed_pages, sheet.own
    );
    lines.extend(row("shared", &shared));
    lines.extend(row("mapped by", &mapped(sheet)));
    lines.extend(row("iTLB", &itlb(sheet)));
    lines.extend(row("packs", &packs(sheet)));
    lines
}

fn head(totals: &Totals) -> String {
    let others =
        [(totals.trampolines, "trampoline"), (totals.dispatchers, "dispatcher"), (totals.other, "other symbol")];
    let others = others.iter().filter(|(n, _)| *n > 0).map(|(n, noun)| format!(", {}", counted(*n, noun)));
    let others: String = others.collect();
    format!("JITed BPF code: {} ({} own){others}", counted(totals.programs, "program"), totals.own_programs)
}

fn mapped(sheet: &Sheet<'_>) -> String {
    match sheet.mapping {
        Some(Observed::Seen(mapping)) => {
            let text = mapping.kernel_text.map(|size| format!("; the kernel's own text is {size}")).unwrap_or_default();
            format!("{}, by {}{text}", mapping.phrase(), mapping.sources())
        }
        Some(Observed::Unknown { reason }) => format!("unknown ({reason})"),
        None => "not looked at; --observe-mapping loads a BPF program for it and reads the page tables".to_owned(),
    }
}

fn itlb(sheet: &Sheet<'_>) -> String {
    let Some(reach) = sheet.reach else { return "this CPU is not in the table; see `itlbench list models`".to_owned() };
    let (l1, l2) = (percent(reach.l1_percent()), percent(reach.l2_percent()));
    let condition = match (reach.observed, reach.size) {
        (false, _) => ", if mapped by 4 KiB pages".to_owned(),
        (true, PageSize::Small) => String::new(),
        (true, size) => format!(" of {size}"),
    };
    let shared = if reach.l2_holds_data { ", which holds data too" } else { "" };
    format!(
        "were all of it in use: {}, {l1} % of the L1 ({}) and {l2} % of the L2 ({}{shared}) of {}{condition}",
        counted(reach.needed, "translation"),
        reach.l1_entries,
        reach.l2_entries,
        reach.core
    )
}

fn packs(sheet: &Sheet<'_>) -> String {
    let Some(packs) = sheet.packs else { return "unknown: /proc/vmallocinfo cannot be read, or shows none".to_owned() };
    let used = percent(100.0 * f64::from(sheet.survey.totals().pages_4k) / packs.reserved_pages.max(1) as f64);
    let told = match packs.told_by {
        ToldBy::Address => "",
        ToldBy::Caller => {
            ", told by who made them: their addresses are hashed at kptr_restrict=0, so the map is of 2 MiB regions"
        }
    };
    let areas = counted(packs.areas, "area");
    format!(
        "{areas} of /proc/vmallocinfo, {} pages reserved, {used} % of them with code known here{told}",
        packs.reserved_pages
    )
}

fn table(sheet: &Sheet<'_>) -> Vec<String> {
    let codes = sheet.survey.codes.iter().enumerate();
    let rows: Vec<Vec<String>> = codes.take(sheet.most_rows).map(|(at, code)| cells(sheet, at, code)).collect();
    let header = ["address", "bytes", "id", "type", "name", "pages", "shared with"];
    let mut lines: Vec<String> = grid(&header, rows, &[0, 3, 4, 6], COLUMNS)
        .into_iter()
        .map(|line| format!("  {line}").trim_end().to_owned())
        .collect();
    let more = sheet.survey.codes.len().saturating_sub(sheet.most_rows);
    if more > 0 {
        lines.push(format!("  {more} more; --rows N shows more of them, --format json all"));
    }
    lines
}

fn cells(sheet: &Sheet<'_>, at: usize, code: &Code) -> Vec<String> {
    let or_absent = |value: Option<u32>| value.map_or(ABSENT.to_owned(), |value| value.to_string());
    let kind = match (code.what, &code.kind) {
        (_, Some(kind)) => kind.clone(),
        (What::Program, None) => "program".to_owned(),
        (What::Trampoline, None) => "trampoline".to_owned(),
        (What::Dispatcher, None) => "dispatcher".to_owned(),
        (What::Other, None) => ABSENT.to_owned(),
    };
    let own = if code.own { "*" } else { "" };
    let image = code.image();
    vec![
        code.addr.to_string(),
        or_absent(code.len),
        or_absent(code.id),
        kind,
        format!("{}{own}", code.name.chars().take(20).collect::<String>()),
        image.pages().count().to_string(),
        neighbours(sheet, at),
    ]
}

/// Up to two by name, the rest by number.
fn neighbours(sheet: &Sheet<'_>, at: usize) -> String {
    let shared = sheet.survey.shared(at);
    if shared.with.is_empty() {
        return "nobody".to_owned();
    }
    let name = |other: &u32| {
        let name = &sheet.survey.codes[*other as usize].name;
        name.chars().take(11).collect::<String>()
    };
    let named: Vec<String> = shared.with.iter().take(2).map(name).collect();
    match shared.with.len().saturating_sub(2) {
        0 => named.join(", "),
        more => format!("{} +{more}", named.join(", ")),
    }
}
