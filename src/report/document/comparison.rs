//! The document of a comparison of kernels.

use super::figures::{between, metric_column, tone};
use super::{Claim, Document, Part, Section, facts};
use crate::compare::{Candidate, Class, Effect, Side};
use crate::report::chart::Drawing;
use crate::report::comparison::csv::method;
use crate::report::comparison::{View, builds, claim, class_word, columns_are, extent};
use crate::report::sheet::{Cell, Column, Sheet};
use crate::report::wording::refused_by_reason;
use crate::report::{echo, units};
use crate::samples::Metric;

/// What there is to say of a comparison, with its charts and its mail.
pub fn of_comparison<'a>(view: &View<'_>, drawings: &'a [Drawing], mail: &str) -> Document<'a> {
    let manifest = view.manifest();
    let names: Vec<&str> = view.sides().map(|side| side.name.as_str()).collect();
    let guest = manifest.host.hypervisor.as_ref().map(|name| format!("virtual machine ({name})"));
    let subtitle = [manifest.host.cpu_model.clone(), guest, Some(view.workloads().join(", "))];
    Document {
        title: format!("{} against {}", names[1..].join(" and "), names[0]),
        subtitle: subtitle.into_iter().flatten().collect::<Vec<_>>().join(" | "),
        simulated: view.is_simulated(),
        claims: view.claimed().into_iter().map(|effect| claim_box(view, effect)).collect(),
        sections: vec![
            Section { title: "Kernels", parts: vec![Part::Sheet(sides(view))] },
            Section { title: "Effects", parts: effects(view) },
            Section { title: "Charts", parts: drawings.iter().map(Part::Chart).collect() },
            Section { title: "How the hosts differ", parts: differences(view) },
            Section { title: "Placement on both sides", parts: vec![Part::Sheet(placement(view))] },
            Section { title: "What was not measured, and why", parts: vec![unmeasured(view)] },
            Section { title: "Caveats", parts: vec![caveats(view)] },
            Section { title: "How to reproduce", parts: reproduce(view) },
            Section {
                title: "For a mail",
                parts: vec![Part::Folded(
                    "The text of mail.txt: 72 columns, 7 bit".to_owned(),
                    vec![Part::Verbatim(mail.to_owned())],
                )],
            },
        ],
    }
}

fn claim_box(view: &View<'_>, effect: &Effect) -> Claim {
    let case = &effect.case;
    Claim {
        subject: format!(
            "{}: {}, {} programs, pack {}, {}",
            effect.candidate.name,
            case.workload,
            case.programs,
            case.pack,
            units::label(effect.metric)
        ),
        figure: units::or_absent(effect.ratio, units::change),
        sentence: format!("{}.", claim(view, effect)),
        tone: tone(&effect.verdict),
    }
}

fn sides(view: &View<'_>) -> Sheet {
    let columns = ["side", "kernel", "build", "extent"].map(Column::words).to_vec();
    let row = |(at, side): (usize, &Side)| {
        let which = if at == 0 { "baseline".to_owned() } else { format!("candidate {at}") };
        [which, side.name.clone(), builds(side), extent(side)].map(Cell::words).to_vec()
    };
    let note = "Between kernels the unit is the boot: trials of one boot share its random state.".to_owned();
    Sheet { note, columns, rows: view.sides().enumerate().map(row).collect() }
}

/// A table of the metrics that say something; the echoes behind the line that says what they say.
fn effects<'a>(view: &View<'_>) -> Vec<Part<'a>> {
    let mut parts = vec![Part::Sheet(effect_sheet(view, &view.shown()))];
    if let Some(sentence) = echo::sentence(&view.echoes) {
        let echoes: Vec<Metric> = view.echoes.iter().map(|echo| echo.metric).collect();
        parts.push(Part::Folded(sentence, vec![Part::Sheet(effect_sheet(view, &echoes))]));
    }
    parts
}

fn effect_sheet(view: &View<'_>, metrics: &[Metric]) -> Sheet {
    let mut columns = vec![Column::words("kernel"), Column::words("workload"), Column::figures("programs")];
    columns.extend([Column::words("pack"), Column::words("metric")]);
    columns.extend(
        ["base", "new", "change", "95 % interval", "p after Holm", "n", "could have seen"].map(Column::figures),
    );
    columns.push(Column::words("verdict"));
    let rows = metrics.iter().flat_map(|&metric| {
        let all = view.comparison.candidates.iter().flat_map(Candidate::effects);
        all.filter(move |effect| effect.metric == metric).map(|effect| effect_row(view, effect))
    });
    for_candidates(
        view,
        Sheet {
            note: format!(
                "Base and new: {}. p after Holm's correction over the cases of a metric; the smallest change that would have been \
             seen four times in five; ~ means that nothing was shown.",
                columns_are(view)
            ),
            columns,
            rows: rows.collect(),
        },
    )
}

/// Without its first column, the candidate, if there is but one: the title names it, and the verdicts come into view.
fn for_candidates(view: &View<'_>, mut sheet: Sheet) -> Sheet {
    if view.comparison.candidates.len() == 1 {
        sheet.columns.remove(0);
        sheet.rows.iter_mut().for_each(|row| drop(row.remove(0)));
    }
    sheet
}

fn effect_row(view: &View<'_>, effect: &Effect) -> Vec<Cell> {
    let (base, new) = (&effect.baseline, &effect.candidate);
    let figure = |value: f64| Cell::figure(value, units::figure(value));
    let or_none = |value: Option<f64>, text: String| Cell::figure(value.unwrap_or(f64::NAN), text);
    vec![
        Cell::words(&new.name),
        Cell::words(&effect.case.workload),
        Cell::count(effect.case.programs),
        Cell::words(effect.case.pack.to_string()),
        Cell::words(metric_column(effect.metric, view.machine()).head)
            .with(units::provenance(effect.metric, view.machine())),
        figure(effect.centers().0),
        figure(effect.centers().1),
        or_none(effect.ratio, units::or_absent(effect.ratio, units::change)),
        or_none(effect.interval.map(|(low, _)| low), between(effect.interval, units::change)),
        or_none(effect.p_holm, units::or_absent(effect.p_holm, units::p_value)).with(method(effect.method)),
        Cell::figure(
            (base.units.len() + new.units.len()) as f64,
            format!("{} + {}", base.units.len(), new.units.len()),
        )
        .with(format!("{} + {} trials", base.trials, new.trials)),
        or_none(effect.detectable_percent, units::or_absent(effect.detectable_percent, |p| format!("{p:.1}%"))),
        Cell::words(effect.conclusion()).toned(tone(&effect.verdict)),
    ]
}

/// What differs in full, and what does not behind a line.
fn differences<'a>(view: &View<'_>) -> Vec<Part<'a>> {
    let mut parts = vec![Part::Sheet(fact_sheet(view, |class| class != Class::Equal))];
    let equal = fact_sheet(view, |class| class == Class::Equal);
    parts.push(Part::Folded(format!("{} facts are equal", equal.rows.len()), vec![Part::Sheet(equal)]));
    parts
}

fn fact_sheet(view: &View<'_>, wanted: impl Fn(Class) -> bool) -> Sheet {
    let columns = ["kernel", "fact", "base", "new", "class", "why"].map(Column::words).to_vec();
    let mut rows = Vec::new();
    for candidate in &view.comparison.candidates {
        let mut facts: Vec<_> = candidate.fingerprint.iter().filter(|fact| wanted(fact.class)).collect();
        facts.sort_by_key(|fact| std::cmp::Reverse(fact.class));
        rows.extend(facts.into_iter().map(|fact| {
            let (base, new) = (fact.baseline.join(" and "), fact.candidate.join(" and "));
            let class = class_word(fact.class).to_owned();
            [candidate.side.name.clone(), fact.fact.clone(), base, new, class, fact.why.to_owned()]
                .map(Cell::words)
                .to_vec()
        }));
    }
    let note =
        "Harmless: cannot move the figures, or is what is compared. Confounds: may move them by itself.".to_owned();
    for_candidates(view, Sheet { note, columns, rows })
}

fn placement(view: &View<'_>) -> Sheet {
    let mut columns = vec![Column::words("kernel"), Column::words("workload"), Column::figures("programs")];
    columns.push(Column::words("pack"));
    columns.extend(["trials", "left out", "pages of 4 KiB", "regions of 2 MiB", "JITed bytes"].map(Column::figures));
    let range = |(low, high): (u64, u64)| {
        Cell::figure(low as f64, if low == high { low.to_string() } else { format!("{low} to {high}") })
    };
    let wide = |(low, high): (u32, u32)| (u64::from(low), u64::from(high));
    let mut rows = Vec::new();
    for candidate in &view.comparison.candidates {
        for case in &candidate.cases {
            for (name, side) in
                [(&view.comparison.baseline.name, &case.baseline), (&candidate.side.name, &case.candidate)]
            {
                rows.push(vec![
                    Cell::words(name),
                    Cell::words(&case.case.workload),
                    Cell::count(case.case.programs),
                    Cell::words(case.case.pack.to_string()),
                    Cell::count(side.trials),
                    Cell::count(side.left_out),
                    range(wide(side.pages_4k)),
                    range(wide(side.regions_2m)),
                    range(side.jited_bytes),
                ]);
            }
        }
    }
    rows.dedup();
    Sheet { note: "Computed from the addresses read back in every trial.".to_owned(), columns, rows }
}

fn unmeasured<'a>(view: &View<'_>) -> Part<'a> {
    let mut refused = Vec::new();
    for refusal in view.sides().flat_map(|side| &side.runs).flat_map(|run| &run.manifest.refused) {
        if !refused.contains(refusal) {
            refused.push(refusal.clone());
        }
    }
    let lines = refused_by_reason(&refused);
    if lines.is_empty() { Part::Prose("Every event asked for was counted.".to_owned()) } else { Part::Items(lines) }
}

fn caveats<'a>(view: &View<'_>) -> Part<'a> {
    let lines: Vec<String> = view.caveats().iter().map(ToString::to_string).collect();
    if lines.is_empty() { Part::Prose("None was found.".to_owned()) } else { Part::Items(lines) }
}

fn reproduce<'a>(view: &View<'_>) -> Vec<Part<'a>> {
    let run = |run: &crate::compare::Digest| (run.name.clone(), facts::command(&run.manifest));
    let runs: Vec<(String, String)> = view.sides().flat_map(|side| side.runs.iter().map(run)).collect();
    vec![
        Part::Prose("Under each kernel, in a boot of its own:".to_owned()),
        Part::Verbatim(facts::command(view.manifest())),
        Part::Folded(format!("{} run files and their commands", runs.len()), vec![Part::Facts(runs)]),
        Part::Folded(
            "Host facts of the first baseline run".to_owned(),
            vec![Part::Facts(facts::host(&view.manifest().host))],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::fixture;

    #[test]
    fn the_only_candidate_takes_no_column_and_several_take_one() {
        for (comparison, first) in [(fixture::two_kernels(), "workload"), (fixture::three_kernels(), "kernel")] {
            let view = View::of(&comparison);
            let sheet = effect_sheet(&view, &view.shown());
            assert_eq!(sheet.columns[0].head, first);
            assert!(sheet.rows.iter().all(|row| row.len() == sheet.columns.len()));
            assert_eq!(sheet.columns.last().unwrap().head, "verdict");
        }
    }
}
