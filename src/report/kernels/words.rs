//! Cells and sentences that the outputs of a matrix share.

use super::{Fetched, Kernel, Matrix, Range, Row};
use crate::report::units::{ABSENT, fixed};
use crate::runfile::manifest::Fetches;

/// Heads of the columns behind kernel and programs; the last two only where fetches were modelled.
const HEAD: [&str; 8] = ["arm", "4K pages", "2M regions", "entries", "direct map", "freed", "L1 misses", "walks"];
const PLACED: usize = 6;

/// How many of the columns `matrix` fills.
fn filled(matrix: &Matrix<'_>) -> usize {
    if matrix.is_modelled() { HEAD.len() } else { PLACED }
}

/// Heads of the columns of `matrix`.
pub fn head(matrix: &Matrix<'_>) -> &'static [&'static str] {
    &HEAD[..filled(matrix)]
}

/// What the words in the columns mean.
const LEGEND: &str = "native: where the kernel's own allocator puts them; off: every program on a page of its own, by fillers; \
                          entries: page-table leaves and their size, the iTLB entries of a CPU that merges none; direct map: growth \
                          of what it has in 4 KiB pages; freed: what is left where the code lay";

/// The same, and what the last two columns are.
pub fn legend(matrix: &Matrix<'_>) -> String {
    let models = matrix.fetches().into_iter().filter_map(|fetches| match fetches {
        Fetches::Modelled { model } => Some(model),
        Fetches::NotModelled { .. } => None,
    });
    let models: Vec<String> = models.collect();
    match models.is_empty() {
        true => LEGEND.to_owned(),
        false => format!("{LEGEND}; L1 misses, walks: {}", provenance(&models.join(", "))),
    }
}

/// Where the counts come from.
pub fn provenance(model: &str) -> String {
    format!(
        "of JITed code per 1000 executions, modelled (emulated fetch): the fetches of the guest's kernel in the iTLB of {model}"
    )
}

/// The cells of [`head`].
pub fn cells(matrix: &Matrix<'_>, row: &Row) -> Vec<String> {
    let misses =
        |of: fn(&Fetched) -> f64| row.fetched.as_ref().map_or_else(|| ABSENT.to_owned(), |found| figure(of(found)));
    let mut cells = vec![
        row.arm.name().to_owned(),
        range(Some(row.pages_4k)),
        range(Some(row.regions_2m)),
        entries(row),
        row.direct_map_kib.map_or_else(|| ABSENT.to_owned(), growth),
        row.freed.map_or_else(|| ABSENT.to_owned(), |freed| freed.phrase()),
        misses(|found| found.l1),
        misses(|found| found.walks),
    ];
    cells.truncate(filled(matrix));
    cells
}

/// One decimal below a hundred, none above: what a model counts has no spread.
fn figure(value: f64) -> String {
    fixed(value, if value < 100.0 { 1 } else { 0 })
}

/// `96`, or `96-97`.
pub fn range(range: Option<Range>) -> String {
    match range {
        None => ABSENT.to_owned(),
        Some(Range { least, most }) if least == most => least.to_string(),
        Some(Range { least, most }) => format!("{least}-{most}"),
    }
}

/// `96x4K`; `1x2M, 256x4K` where pages of two sizes map the code.
pub fn entries(row: &Row) -> String {
    let only = |range: Option<Range>| range.and_then(|range| range.only());
    let larger = row.mapped.strip_suffix("+4K").filter(|size| !size.contains('+'));
    match (only(row.entries), only(row.entries_4k), larger) {
        (Some(all), Some(small), Some(size)) => format!("{}x{size}, {small}x4K", all - small),
        _ => row.entries.map_or_else(|| row.mapped.clone(), |found| format!("{}x{}", range(Some(found)), row.mapped)),
    }
}

/// `0`, `+18 MiB`, `4..18 MiB`; in KiB where it is no whole MiB.
pub fn growth(kib: Range) -> String {
    let whole = kib.least % 1024 == 0 && kib.most % 1024 == 0;
    let (divisor, unit) = if whole { (1024, "MiB") } else { (1, "KiB") };
    match (kib.least / divisor, kib.most / divisor) {
        (0, 0) => "0".to_owned(),
        (least, most) if least == most => format!("{most:+} {unit}"),
        (least, most) => format!("{least}..{most} {unit}"),
    }
}

/// `6.12: 6.12.107+deb13-cloud-amd64 (2 boots), nohugevmalloc`.
pub fn kernel(kernel: &Kernel<'_>) -> String {
    let run = kernel.runs[0];
    let release = run.manifest.host.kernel_release.as_deref().unwrap_or("unknown release");
    let boots = match kernel.runs.len() {
        1 => String::new(),
        n => format!(", {n} boots"),
    };
    let append = run.manifest.guest.as_ref().map_or("", |guest| guest.append.as_str());
    let append = if append.is_empty() { String::new() } else { format!(", booted with {append}") };
    format!("{}: {release}{boots}{append}", kernel.name)
}

/// What stands for a kernel in a table whose first column has `most` letters: its name, or its place among all if that is too long.
pub fn label(matrix: &Matrix<'_>, name: &str, most: usize) -> String {
    let at = matrix.kernels.iter().position(|kernel| kernel.name == name);
    match at {
        Some(at) if name.chars().count() > most => format!("[{}]", at + 1),
        _ => name.to_owned(),
    }
}

/// Every kernel with what stands for it in such a table.
pub fn labelled(matrix: &Matrix<'_>, most: usize) -> Vec<String> {
    let line = |one: &Kernel<'_>| match label(matrix, &one.name, most) {
        label if label == one.name => kernel(one),
        label => format!("{label} {}", kernel(one)),
    };
    matrix.kernels.iter().map(line).collect()
}

/// What the guests ran on, each machine once.
pub fn machines(matrix: &Matrix<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for guest in matrix.runs().filter_map(|run| run.manifest.guest.as_ref()) {
        let cpus = if guest.cpus == 1 { "1 CPU".to_owned() } else { format!("{} CPUs", guest.cpus) };
        let line = format!("{}, -cpu {}, {cpus}, {} MiB", guest.emulator, guest.cpu_model, guest.memory_mib);
        if !all.contains(&line) {
            all.push(line);
        }
    }
    all
}

/// What of a guest's fetches was modelled, or why nothing was.
pub fn not_modelled(matrix: &Matrix<'_>) -> Vec<String> {
    let reasons = matrix.fetches().into_iter().filter_map(|fetches| match fetches {
        Fetches::NotModelled { reason } => Some(format!("iTLB misses of the fetched instructions: {reason}")),
        Fetches::Modelled { .. } => None,
    });
    let emulated = matrix.runs().any(|run| run.manifest.is_emulated());
    let timed = emulated
        .then(|| "time, cycles and events: the guests ran under an emulator, whose time is not a CPU's".to_owned());
    timed.into_iter().chain(reasons).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Observed;

    #[test]
    fn a_name_too_long_for_a_table_stands_in_the_list_of_kernels() {
        let mut runs = crate::report::kernels::fixture::runs();
        for run in &mut runs[1..3] {
            run.manifest.guest.as_mut().unwrap().kernel = "6.12-with-a-patch-of-mine".to_owned();
        }
        let matrix = Matrix::of(&runs, Vec::new());
        assert_eq!(labelled(&matrix, 12)[0], "5.10: 5.10.0-test");
        assert_eq!(labelled(&matrix, 12)[1], "[2] 6.12-with-a-patch-of-mine: 6.12.0-test, 2 boots");
        let first = |text: String| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
        let mail = first(crate::report::kernels::mail::mail(&matrix));
        assert!(mail.iter().any(|line| line.starts_with("[2]  ") && line.contains("native")), "{mail:#?}");
        let table = first(crate::report::kernels::table::table(&matrix));
        assert!(table.iter().any(|line| line.starts_with("[2]  ") && line.contains("native")), "{table:#?}");
    }

    #[test]
    fn entries_of_two_sizes_are_counted_apart() {
        let mut runs = crate::report::kernels::fixture::runs();
        let said = |runs: &[crate::runfile::Run]| entries(Matrix::of(runs, Vec::new()).kernels[2].rows.last().unwrap());
        assert_eq!(said(&runs), "8x2M");
        for trial in &mut runs[3].trials {
            let Some(Observed::Seen(mapping)) = &mut trial.mapping else { panic!("seen") };
            (mapping.mapped_4k, mapping.mapped_2m, mapping.leaves) = (1792, 256, 1793);
        }
        assert_eq!(said(&runs), "1x2M, 1792x4K");
    }

    #[test]
    fn growth_is_in_whole_units() {
        let said = |least, most| growth(Range { least, most });
        assert_eq!(said(0, 0), "0");
        assert_eq!(said(18_432, 18_432), "+18 MiB");
        assert_eq!(said(4096, 18_432), "4..18 MiB");
        assert_eq!(said(-4, 12), "-4..12 KiB");
    }
}
