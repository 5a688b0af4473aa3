//! By which pages the code was mapped, for every text output in the same words.

use std::collections::{BTreeMap, BTreeSet};

use super::units::ABSENT;
use crate::placement::{Mapping, Observed};
use crate::runfile::Run;
use crate::trial::Trial;
use crate::workload::PackMode;

/// A cell: `4K`, `2M`, `4K+2M`; a question mark where it is unknown, a dash where it was not looked at.
pub fn cell<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> String {
    let mut sizes: BTreeSet<&str> = BTreeSet::new();
    for trial in trials {
        match &trial.mapping {
            Some(Observed::Seen(mapping)) => sizes.extend(parts(mapping).map(|(short, _)| short)),
            Some(Observed::Unknown { .. }) => {
                sizes.insert("?");
            }
            None => {}
        }
    }
    if sizes.is_empty() { ABSENT.to_owned() } else { sizes.into_iter().collect::<Vec<_>>().join("+") }
}

/// One sentence for each way in which trials were mapped, and for each reason why that is not known.
pub fn sentences(run: &Run) -> Vec<String> {
    let mut groups: BTreeMap<String, Vec<&Trial>> = BTreeMap::new();
    for trial in &run.trials {
        groups.entry(said(trial)).or_default().push(trial);
    }
    let whole = groups.len() == 1;
    groups.iter().map(|(said, trials)| sentence(said, trials, whole, run.trials.len())).collect()
}

fn sentence(said: &str, trials: &[&Trial], whole: bool, all: usize) -> String {
    let arms: BTreeSet<PackMode> = trials.iter().map(|trial| trial.case.pack).collect();
    let arms: Vec<String> = arms.iter().map(|arm| format!("pack {arm}")).collect();
    let which = if whole { "all trials".to_owned() } else { format!("{} of {all} trials", trials.len()) };
    let of = if whole { String::new() } else { format!(" ({})", arms.join(", ")) };
    format!("mapping, {which}{of}: {said}")
}

fn said(trial: &Trial) -> String {
    match &trial.mapping {
        Some(Observed::Seen(mapping)) => seen(mapping),
        Some(Observed::Unknown { reason }) => format!("unknown ({reason})"),
        None => "not looked at".to_owned(),
    }
}

fn seen(mapping: &Mapping) -> String {
    let sizes: Vec<&str> = parts(mapping).map(|(_, long)| long).collect();
    let rights =
        [share(mapping, mapping.read_only, "RO", "RW"), share(mapping, mapping.executable, "X", "NX")].join("+");
    let control = mapping.kernel_text.map(|size| format!("; the kernel's own text is {size}")).unwrap_or_default();
    format!("{} {rights}, by {}{control}", sizes.join(" and "), mapping.sources())
}

fn share(mapping: &Mapping, with: u32, all: &str, none: &str) -> String {
    match with {
        0 => none.to_owned(),
        with if with + mapping.unmapped == mapping.pages => all.to_owned(),
        _ => format!("{all} in part"),
    }
}

/// Sizes that occur, in short and in full.
fn parts(mapping: &Mapping) -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        (mapping.mapped_4k, ("4K", "4 KiB")),
        (mapping.mapped_2m, ("2M", "2 MiB")),
        (mapping.mapped_1g, ("1G", "1 GiB")),
        (mapping.unmapped, ("none", "nothing")),
    ]
    .into_iter()
    .filter_map(|(pages, names)| (pages > 0).then_some(names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::mapping::{PageSize, Source};
    use crate::report::fixture;

    fn mapped(size: PageSize) -> Observed {
        let Some(Observed::Seen(seen)) = fixture::timed_run().trials[0].mapping.clone() else { panic!("seen") };
        let pages = seen.pages;
        let large = Mapping { mapped_4k: 0, mapped_2m: pages, ..seen.clone() };
        Observed::Seen(if size == PageSize::Large { large } else { seen })
    }

    #[test]
    fn one_way_for_all_is_one_sentence() {
        let run = fixture::timed_run();
        let expected = "mapping, all trials: 4 KiB RO+X, by BPF page walk; the kernel's own text is 2 MiB".to_owned();
        assert_eq!(sentences(&run), [expected]);
        assert_eq!(cell(&run.trials), "4K");
    }

    #[test]
    fn arms_that_differ_are_told_apart() {
        let mut run = fixture::timed_run();
        for trial in run.trials.iter_mut().filter(|trial| trial.case.pack == PackMode::On) {
            trial.mapping = Some(mapped(PageSize::Large));
        }
        let text = sentences(&run);
        assert_eq!(text.len(), 2);
        assert!(text[0].starts_with("mapping, 24 of 48 trials (pack on): 2 MiB RO+X"), "{text:?}");
        assert!(text[1].starts_with("mapping, 24 of 48 trials (pack off): 4 KiB RO+X"), "{text:?}");
        assert_eq!(cell(&run.trials), "2M+4K");
    }

    #[test]
    fn what_is_unknown_is_said_with_its_reason() {
        let mut run = fixture::timed_run();
        run.trials[0].mapping = Some(Observed::Unknown { reason: "lockdown".to_owned() });
        run.trials[1].mapping = None;
        let text = sentences(&run).join("\n");
        assert!(text.contains("mapping, 1 of 48 trials (pack") && text.contains("unknown (lockdown)"), "{text}");
        assert!(text.contains("not looked at"), "{text}");
        assert_eq!((cell(&run.trials[..1]), cell(&run.trials[1..2])), ("?".to_owned(), ABSENT.to_owned()));
    }

    #[test]
    fn mixed_sizes_and_rights_are_not_smoothed_over() {
        let Observed::Seen(mapping) = mapped(PageSize::Small) else { panic!("seen") };
        let mixed = Mapping {
            mapped_4k: mapping.pages - 1,
            unmapped: 1,
            read_only: 1,
            executable: mapping.pages - 1,
            agreeing: vec![Source::Ptdump],
            kernel_text: None,
            ..mapping
        };
        assert_eq!(seen(&mixed), "4 KiB and nothing RO in part+X, by BPF page walk, confirmed by ptdump");
    }
}
