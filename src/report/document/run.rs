//! The document of one run.

use super::figures::tone;
use super::{Claim, Document, Part, Section, facts, figures};
use crate::compare::Effect;
use crate::report::chart::Drawing;
use crate::report::modelled::Modelled;
use crate::report::{
    Summary, attribution, company, echo, elsewhere, knees, mapping, misses, noise, tandem, units, wording,
};
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;

/// What there is to say of `summary`, with its charts and its mail.
pub fn of_run<'a>(summary: &Summary, drawings: &'a [Drawing], mail: &str) -> Document<'a> {
    let cost = summary.primary();
    Document {
        title: title(summary),
        subtitle: subtitle(summary),
        simulated: summary.run.manifest.machine == MachineKind::Sim,
        claims: summary.effects.iter().filter(|effect| effect.metric == cost).map(claim).collect(),
        sections: vec![
            Section { title: "Result", parts: result(summary) },
            Section { title: "Figures per case", parts: with_echoes(summary, figures::figures) },
            Section { title: "Effects", parts: with_echoes(summary, figures::effects) },
            Section { title: "Knees of the sweep", parts: listed(knees::lines(summary)) },
            Section {
                title: "Derived figures",
                parts: attribution::derived_sheet(summary).map(Part::Sheet).into_iter().collect(),
            },
            Section { title: "Where the cycles went", parts: vec![attributed(summary)] },
            Section { title: "Whose code missed the iTLB", parts: missed(summary) },
            Section { title: "In company", parts: listed(company::lines(summary)) },
            Section { title: "Beside a victim", parts: beside_victim(summary) },
            Section { title: "Modelled, not measured", parts: modelled(summary) },
            Section { title: "Charts", parts: drawings.iter().map(Part::Chart).collect() },
            Section { title: "What was verified", parts: verified(summary) },
            Section { title: "Cost beside", parts: figures::beside_it(summary).map(Part::Sheet).into_iter().collect() },
            Section { title: "Others on the CPU", parts: others(summary) },
            Section { title: "What was not measured, and why", parts: vec![unmeasured(summary)] },
            Section { title: "Caveats", parts: vec![caveats(summary)] },
            Section { title: "How to reproduce", parts: reproduce(summary) },
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

fn title(summary: &Summary) -> String {
    let names: Vec<&str> = summary.run.manifest.workloads.iter().map(|spec| spec.name.as_str()).collect();
    format!("Cost of the placement of JITed BPF code: {}", names.join(", "))
}

fn subtitle(summary: &Summary) -> String {
    let manifest = &summary.run.manifest;
    let host = &manifest.host;
    let kernel = host.kernel_release.as_ref().map(|release| format!("Linux {release}"));
    let guest = host.hypervisor.as_ref().map(|name| format!("virtual machine ({name})"));
    let parts = [host.cpu_model.clone(), kernel, guest, Some(manifest.started.clone())];
    let trials = format!("{} of {} trials", summary.run.trials.len(), manifest.planned_trials);
    parts.into_iter().flatten().chain([trials]).collect::<Vec<_>>().join(" | ")
}

fn claim(effect: &Effect) -> Claim {
    let figure = match effect.ratio {
        Some(ratio) => format!("{}x", units::ratio(ratio)),
        None => "no ratio".to_owned(),
    };
    let interval = match effect.interval {
        Some(_) => format!("95 % interval {}", figures::between(effect.interval, units::ratio)),
        None => "no interval".to_owned(),
    };
    let sentence = format!(
        "{} {} {}, {} {}; {interval}; n = {} + {}. Verdict: {}.",
        effect.candidate.name,
        units::figure(effect.candidate.median),
        units::label(effect.metric),
        effect.baseline.name,
        units::figure(effect.baseline.median),
        effect.candidate.trials,
        effect.baseline.trials,
        effect.conclusion(),
    );
    let subject =
        format!("{}, {} programs, {}", effect.case.workload, effect.case.programs, units::label(effect.metric));
    Claim { subject, figure, sentence, tone: tone(&effect.verdict) }
}

fn result<'a>(summary: &Summary) -> Vec<Part<'a>> {
    let none = summary.effects.is_empty();
    let none = none.then(|| Part::Prose("No pair of arms to compare: the run holds no effect.".to_owned()));
    let asked = summary.run.manifest.workloads.iter().map(|spec| {
        let (asks, expects) = (spec.question.trim(), spec.expectation.trim());
        Part::Prose(format!("{} asks: {asks} Expected before the run: {expects}", spec.name))
    });
    none.into_iter().chain(asked).collect()
}

/// A table of the metrics that say something, and one of their echoes behind a line that says what they say.
fn with_echoes<'a>(
    summary: &Summary,
    sheet: impl Fn(&Summary, &[Metric]) -> crate::report::sheet::Sheet,
) -> Vec<Part<'a>> {
    let mut parts = vec![Part::Sheet(sheet(summary, &summary.shown()))];
    if let Some(sentence) = echo::sentence(&summary.echoes) {
        let echoes: Vec<Metric> = summary.echoes.iter().map(|echo| echo.metric).collect();
        parts.push(Part::Folded(capitalised(&sentence), vec![Part::Sheet(sheet(summary, &echoes))]));
    }
    parts
}

/// Where everything lay, and by which pages it was mapped.
fn verified<'a>(summary: &Summary) -> Vec<Part<'a>> {
    let sentences = mapping::sentences(summary.run).iter().map(|sentence| capitalised(sentence)).collect();
    vec![Part::Sheet(figures::placement(summary)), Part::Items(sentences)]
}

pub(super) fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What the noise meters showed; nothing for a run without.
fn others<'a>(summary: &Summary) -> Vec<Part<'a>> {
    let lines = noise::lines(summary.run);
    match lines.is_empty() {
        true => Vec::new(),
        false => vec![
            Part::Prose(
                "Noise meters per window. How many windows were left out for it stands under Caveats.".to_owned(),
            ),
            Part::Items(lines),
        ],
    }
}

fn attributed<'a>(summary: &Summary) -> Part<'a> {
    attribution::sheet(summary).map_or_else(Part::Prose, Part::Sheet)
}

fn beside_victim<'a>(summary: &Summary) -> Vec<Part<'a>> {
    let Some((victim, rows)) = tandem::of_run(summary) else { return Vec::new() };
    vec![Part::Sheet(tandem::sheet(victim, &rows)), Part::Items(tandem::sentences(summary, victim, &rows))]
}

fn listed<'a>(lines: Vec<String>) -> Vec<Part<'a>> {
    if lines.is_empty() { Vec::new() } else { vec![Part::Items(lines)] }
}

fn missed<'a>(summary: &Summary) -> Vec<Part<'a>> {
    let lines = misses::lines(summary);
    if lines.is_empty() { Vec::new() } else { vec![Part::Items(lines)] }
}

fn modelled<'a>(summary: &Summary) -> Vec<Part<'a>> {
    let of = |modelled: &Modelled| {
        let elsewhere = (!modelled.elsewhere.is_empty()).then(|| Part::Sheet(elsewhere::sheet(modelled)));
        [Part::Sheet(modelled.sheet())].into_iter().chain(elsewhere)
    };
    let sheets: Vec<Part> = summary.modelled.iter().flat_map(of).collect();
    if sheets.is_empty() {
        vec![Part::Prose("No iTLB model was asked, and this CPU has none.".to_owned())]
    } else {
        sheets
    }
}

fn unmeasured<'a>(summary: &Summary) -> Part<'a> {
    let lines = wording::not_measured(summary);
    if lines.is_empty() { Part::Prose("Every event asked for was counted.".to_owned()) } else { Part::Items(lines) }
}

fn caveats<'a>(summary: &Summary) -> Part<'a> {
    let lines: Vec<String> = summary.caveats.iter().map(ToString::to_string).collect();
    if lines.is_empty() { Part::Prose("None was found.".to_owned()) } else { Part::Items(lines) }
}

fn reproduce<'a>(summary: &Summary) -> Vec<Part<'a>> {
    let manifest = &summary.run.manifest;
    vec![
        Part::Verbatim(facts::command(manifest)),
        Part::Facts(facts::origin(summary)),
        Part::Folded("Host facts".to_owned(), vec![Part::Facts(facts::host(&manifest.host))]),
        Part::Folded("Events as counted".to_owned(), vec![Part::Facts(facts::events(manifest))]),
    ]
}
