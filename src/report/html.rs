//! The report as one HTML file: no script, no network, charts inline, readable in light, in dark, on paper and on a phone.
//! Every word goes through the template's escaping; only the SVG, which the charts escape themselves, is let through.

use askama::Template;

use super::chart::Drawing;
use super::summary::{CaseSummary, Spread, Summary};
use super::{units, wording};
use crate::compare::{Effect, Verdict};
use crate::host::Facts;
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;

/// Why the report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to fill the HTML report: {0}")]
pub struct HtmlError(#[from] askama::Error);

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: String,
    subtitle: String,
    simulated: bool,
    claims: Vec<Claim>,
    questions: Vec<Question<'a>>,
    columns: Vec<Column>,
    rows: Vec<Row<'a>>,
    effects: Vec<EffectRow<'a>>,
    charts: &'a [Drawing],
    read_from: &'static str,
    placements: Vec<PlacementRow<'a>>,
    unmeasured: Vec<String>,
    caveats: Vec<String>,
    command: String,
    origin: Vec<(&'static str, String)>,
    host: Vec<(String, String)>,
    events: Vec<(String, String)>,
    mail: &'a str,
}

/// One sentence per number of programs: the answer.
struct Claim {
    subject: String,
    figure: String,
    sentence: String,
    class: &'static str,
}

struct Question<'a> {
    name: &'a str,
    asks: &'a str,
    expects: &'a str,
}

struct Column {
    unit: &'static str,
    provenance: &'static str,
}

struct Row<'a> {
    workload: &'a str,
    programs: u32,
    pack: String,
    pages: String,
    trials: usize,
    left_out: usize,
    discarded: usize,
    cells: Vec<Option<Cell>>,
}

struct Cell {
    median: String,
    interval: String,
    percentiles: String,
    n: usize,
}

struct EffectRow<'a> {
    workload: &'a str,
    programs: u32,
    metric: &'static str,
    provenance: &'static str,
    baseline_name: &'static str,
    candidate_name: &'static str,
    baseline: String,
    candidate: String,
    ratio: String,
    interval: String,
    p: String,
    n: String,
    verdict: String,
    class: &'static str,
}

struct PlacementRow<'a> {
    workload: &'a str,
    programs: u32,
    pack: String,
    cells: Vec<String>,
}

/// The report of `summary` with its charts and the mail's text.
pub fn html(summary: &Summary, drawings: &[Drawing], mail: &str) -> Result<String, HtmlError> {
    let manifest = &summary.run.manifest;
    let simulated = manifest.machine == MachineKind::Sim;
    let cost = summary.primary();
    let page = Page {
        title: title(summary),
        subtitle: subtitle(summary),
        simulated,
        claims: summary.effects.iter().filter(|effect| effect.metric == cost).map(claim).collect(),
        questions: questions(summary),
        columns: summary.metrics.iter().map(|&metric| column(metric, manifest.machine)).collect(),
        rows: summary.cases.iter().map(|case| row(case, &summary.metrics)).collect(),
        effects: summary.effects.iter().map(|effect| effect_row(effect, manifest.machine)).collect(),
        charts: drawings,
        read_from: if simulated { "from the simulated machine" } else { "from the kernel (bpf_prog_info.jited_ksyms)" },
        placements: summary.cases.iter().map(|case| placement(summary, case)).collect(),
        unmeasured: wording::not_measured(summary),
        caveats: summary.caveats.iter().map(ToString::to_string).collect(),
        command: manifest.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        origin: origin(summary),
        host: host(&manifest.host),
        events: events(summary),
        mail,
    };
    Ok(page.render()?)
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

fn questions<'a>(summary: &Summary<'a>) -> Vec<Question<'a>> {
    let specs = summary.run.manifest.workloads.iter();
    specs
        .map(|spec| Question { name: &spec.name, asks: spec.question.trim(), expects: spec.expectation.trim() })
        .collect()
}

fn claim(effect: &Effect) -> Claim {
    let figure = match effect.ratio {
        Some(ratio) => format!("{}x", units::ratio(ratio)),
        None => "no ratio".to_owned(),
    };
    let interval = match effect.interval {
        Some((low, high)) => format!("95 % interval {} to {}", units::ratio(low), units::ratio(high)),
        None => "no interval".to_owned(),
    };
    let sentence = format!(
        "{} {} {}, {} {}; {interval}; n = {} + {}. Verdict: {}.",
        effect.candidate,
        units::figure(effect.candidate_median),
        units::label(effect.metric),
        effect.baseline,
        units::figure(effect.baseline_median),
        effect.candidate_trials,
        effect.baseline_trials,
        effect.verdict,
    );
    let subject = format!("{}, {} programs, {}", effect.workload, effect.programs, units::label(effect.metric));
    Claim { subject, figure, sentence, class: class(&effect.verdict) }
}

fn class(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Higher => "higher",
        Verdict::Lower => "lower",
        Verdict::NoDifference { .. } | Verdict::NotEnough => "",
    }
}

fn column(metric: Metric, machine: MachineKind) -> Column {
    Column { unit: units::label(metric), provenance: units::provenance(metric, machine) }
}

fn row<'a>(case: &'a CaseSummary, metrics: &[Metric]) -> Row<'a> {
    Row {
        workload: &case.case.workload,
        programs: case.case.programs,
        pack: case.case.pack.to_string(),
        pages: pages(case),
        trials: case.trials,
        left_out: case.trials_left_out,
        discarded: case.windows_discarded,
        cells: metrics.iter().map(|metric| case.metrics.get(metric).map(cell)).collect(),
    }
}

fn pages(case: &CaseSummary) -> String {
    let (fewest, most) = case.pages;
    if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") }
}

fn cell(spread: &Spread) -> Cell {
    let figures = [spread.p50, spread.p90, spread.p99].map(units::figure);
    Cell {
        median: units::figure(spread.median),
        interval: between(spread.interval, units::figure),
        percentiles: figures.join(" / "),
        n: spread.trials,
    }
}

/// An interval in words, for a table whose numbers stand one under the other.
fn between(interval: Option<(f64, f64)>, format: fn(f64) -> String) -> String {
    interval.map_or_else(|| units::ABSENT.to_owned(), |(low, high)| format!("{} to {}", format(low), format(high)))
}

fn effect_row(effect: &Effect, machine: MachineKind) -> EffectRow<'_> {
    EffectRow {
        workload: &effect.workload,
        programs: effect.programs,
        metric: units::label(effect.metric),
        provenance: units::provenance(effect.metric, machine),
        baseline_name: effect.baseline,
        candidate_name: effect.candidate,
        baseline: units::figure(effect.baseline_median),
        candidate: units::figure(effect.candidate_median),
        ratio: effect.ratio.map_or_else(|| "none: baseline is not above 0".to_owned(), units::ratio),
        interval: between(effect.interval, units::ratio),
        p: units::or_absent(effect.p, units::p_value),
        n: format!("{} + {}", effect.baseline_trials, effect.candidate_trials),
        verdict: effect.verdict.to_string(),
        class: class(&effect.verdict),
    }
}

fn placement<'a>(summary: &Summary, case: &'a CaseSummary) -> PlacementRow<'a> {
    let f = &case.footprint;
    let trials = summary.run.trials.iter().filter(|trial| trial.case == case.case);
    let ran = trials.map(|trial| trial.check.executed).min();
    let share = case.share_in_programs_percent.map(|percent| format!("{percent:.1} %"));
    PlacementRow {
        workload: &case.case.workload,
        programs: case.case.programs,
        pack: case.case.pack.to_string(),
        cells: vec![
            f.jited_bytes.to_string(),
            pages(case),
            f.ideal_pages_4k.to_string(),
            f.regions_2m.to_string(),
            format!("{:.1} %", f.own_pages_percent()),
            format!("{:.1} %", f.density_percent()),
            format!("{} of 64", f.line_offsets),
            ran.map_or_else(|| "no trial".to_owned(), |ran| format!("{ran} of {}", case.case.programs)),
            share.unwrap_or_else(|| "no baseline".to_owned()),
        ],
    }
}

/// A word of a command line as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn origin(summary: &Summary) -> Vec<(&'static str, String)> {
    let manifest = &summary.run.manifest;
    vec![
        ("itlbench", manifest.tool_version.clone()),
        ("started", manifest.started.clone()),
        ("seed", manifest.seed.to_string()),
        ("CPU of the windows", manifest.cpu.to_string()),
        ("ended", if summary.run.complete { "as planned".to_owned() } else { "interrupted".to_owned() }),
    ]
}

fn events(summary: &Summary) -> Vec<(String, String)> {
    let groups = summary.run.manifest.groups.iter();
    groups
        .flat_map(|group| {
            let pinned = if group.pinned { ", pinned" } else { "" };
            group
                .events
                .iter()
                .map(move |event| (event.name.clone(), format!("{}, group {}{pinned}", event.code, group.name)))
        })
        .collect()
}

fn host(facts: &Facts) -> Vec<(String, String)> {
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    let named = [
        ("CPU vendor", facts.cpu_vendor.clone()),
        ("CPU model", facts.cpu_model.clone()),
        ("CPU family", number(facts.cpu_family)),
        ("CPU model number", number(facts.cpu_model_number)),
        ("CPU stepping", number(facts.cpu_stepping)),
        ("microcode", facts.microcode.clone()),
        ("CPUs online", facts.cpus_online.clone()),
        ("hypervisor", facts.hypervisor.clone()),
        ("kernel release", facts.kernel_release.clone()),
        ("kernel version", facts.kernel_version.clone()),
        ("kernel command line", facts.cmdline.clone()),
        ("SMT", facts.smt.clone()),
        ("governor", facts.governor.clone()),
        ("transparent huge pages", facts.thp.clone()),
        ("lockdown", facts.lockdown.clone()),
        ("NUMA nodes possible", facts.numa_possible.clone()),
    ];
    let known = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let mitigations = facts.mitigations.iter().map(|(name, value)| (format!("mitigation {name}"), value.clone()));
    let sysctls = facts.sysctls.iter().map(|(name, value)| (name.clone(), value.clone()));
    let memory = facts.memory_kib.iter().map(|(name, kib)| (name.clone(), format!("{kib} KiB")));
    let pmus = facts.pmus.iter().map(|(name, kind)| (format!("PMU {name}"), format!("type {kind}")));
    known.chain(mitigations).chain(sysctls).chain(memory).chain(pmus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caveat::Caveat;
    use crate::report::chart::{self, fixture};

    fn page(trials: u32) -> String {
        let run = fixture::run(trials);
        let summary = Summary::of(&run);
        let drawings = chart::draw(&summary).expect("charts");
        html(&summary, &drawings, "pack off <b>costs</b> more\n").expect("html")
    }

    #[test]
    fn the_page_answers_with_ratio_interval_n_and_verdict() {
        let page = page(10);
        for words in [
            "chain, 2048 programs, cycles/exec",
            "<strong class=\"higher\">2.888x</strong>",
            "95 % interval 2.843 to 2.952; n = 10 + 10. Verdict: higher.",
            "SIMULATED",
            "itlbench run chain --out &#39;my reports&#39;",
            "L1-icache-load-misses (type 3 config 0x10001): ENOENT: this CPU has no such event",
            "2048 of 2048",
        ] {
            assert!(page.contains(words), "{words}");
        }
    }

    #[test]
    fn the_page_needs_no_network_and_runs_no_script() {
        let page = page(3).replace("http://www.w3.org/2000/svg", "");
        for forbidden in ["http://", "https://", "<script", "<link", "@import", "url(", "src="] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let mut run = fixture::run(3);
        let evil = "<script>alert(1)</script>\"&";
        run.manifest.host.cpu_model = Some(evil.into());
        run.manifest.argv.push(evil.into());
        run.manifest.workloads[0].question = evil.into();
        run.manifest.workloads[0].name = evil.into();
        for trial in &mut run.trials {
            trial.case.workload = evil.into();
        }
        let mut summary = Summary::of(&run);
        summary.caveats.push(Caveat::NoHardwareCounters { reason: evil.into() });
        let drawings = chart::draw(&summary).expect("charts");
        assert_eq!(drawings.len(), 4);
        assert!(!html(&summary, &drawings, evil).expect("html").contains("<script"));
    }

    #[test]
    fn the_same_run_gives_the_same_page() {
        assert_eq!(page(4), page(4));
    }

    #[test]
    fn an_empty_run_says_so() {
        let mut run = fixture::run(1);
        run.trials.clear();
        let summary =
            Summary { run: &run, metrics: Vec::new(), cases: Vec::new(), effects: Vec::new(), caveats: Vec::new(), echoes: Vec::new() };
        let page = html(&summary, &[], "").expect("html");
        assert!(page.contains("the run holds no effect") && page.contains("0 of 6 trials"));
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        for (word, expected) in
            [("--seed=4", "--seed=4"), ("a b", "'a b'"), ("", "''"), ("it's", r"'it'\''s'"), ("$x", "'$x'")]
        {
            assert_eq!(quoted(word), expected);
        }
    }
}
