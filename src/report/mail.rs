//! The run as plain text for a mailing list: at most 72 columns of 7-bit ASCII, so that it survives being quoted twice.

mod check;
mod claim;
mod dots;
mod kernels;
mod results;
mod setup;

pub use check::check_mail;
pub use kernels::kernels;
pub(super) use setup::{command, seeded};

use super::Summary;
use super::table::SIMULATED;
use super::wording::{ascii, not_measured, wrap};
use super::{attribution, company, knees, misses, noise, tandem, units};
use crate::runfile::manifest::MachineKind;
use crate::samples::Metric;
use crate::trial::record::Company;

/// Widest line.
pub const COLUMNS: usize = 72;

/// The mail: the claim first, then all that a reader needs to doubt or repeat it. Passes [`check_mail`] whatever the run holds.
pub fn mail(summary: &Summary<'_>) -> String {
    let simulated = summary.run.manifest.machine == MachineKind::Sim;
    let mut blocks = vec![Block { title: "", lines: claim::claims(summary) }];
    if simulated {
        blocks.insert(0, Block { title: "", lines: vec![SIMULATED.to_owned()] });
    }
    blocks.push(Block { title: "Setup", lines: setup::host(&summary.run.manifest) });
    blocks.extend(setup::workloads(&summary.run.manifest));
    blocks.extend(results::blocks(summary));
    blocks.extend(dots::block(summary));
    blocks.push(Block { title: "Knees of the sweep", lines: items(knees::lines(summary)) });
    blocks.push(Block {
        title: "Derived figures (largest number of programs)",
        lines: items(attribution::derived_lines(summary, true)),
    });
    blocks.push(Block {
        title: "Where the cycles went (largest number of programs)",
        lines: items(attribution::lines(summary, true)),
    });
    blocks.push(Block { title: "Whose code missed the iTLB", lines: items(misses::lines(summary)) });
    let modelled = summary.modelled.iter().filter(|modelled| !modelled.rows.is_empty());
    let lines = modelled.flat_map(|modelled| modelled.lines(COLUMNS)).collect();
    blocks.push(Block { title: "Modelled, not measured", lines });
    blocks.push(Block { title: "In company", lines: items(company::lines(summary)) });
    blocks.push(Block { title: "Beside a victim", lines: tandem_lines(summary) });
    blocks.push(Block { title: "Verified", lines: items(setup::verified(summary)) });
    blocks
        .push(Block { title: "Others on the CPU (noise meters, per window)", lines: items(noise::lines(summary.run)) });
    blocks.push(Block { title: "Not measured", lines: items(missing(summary)) });
    blocks.push(Block { title: "Read with care", lines: items(summary.caveats.iter().map(ToString::to_string)) });
    blocks.push(Block { title: "Reproduce", lines: setup::reproduce(&summary.run.manifest) });
    blocks.push(Block { title: "Raw data", lines: items(["run.jsonl: every window, reading and address".to_owned()]) });
    join(&blocks)
}

fn join(blocks: &[Block]) -> String {
    let shown = blocks.iter().filter(|block| !block.lines.is_empty());
    shown.map(Block::render).collect::<Vec<_>>().join("\n")
}

/// A titled part of the mail.
#[derive(Debug)]
struct Block {
    title: &'static str,
    lines: Vec<String>,
}

impl Block {
    fn render(&self) -> String {
        let title = if self.title.is_empty() { String::new() } else { format!("{}:\n", self.title) };
        self.lines.iter().fold(title, |text, line| text + &plain(line) + "\n")
    }
}

/// The line as it may be sent; indents stay.
fn plain(line: &str) -> String {
    ascii(line).trim_end().to_owned()
}

fn items(items: impl IntoIterator<Item = String>) -> Vec<String> {
    items.into_iter().flat_map(|item| wrap(&ascii(&item), COLUMNS, "  - ", "    ")).collect()
}

/// The victim's table, and what follows from it.
fn tandem_lines(summary: &Summary<'_>) -> Vec<String> {
    let Some((victim, rows)) = tandem::of_run(summary) else { return Vec::new() };
    let line = |row: &tandem::Row| {
        let ms = |ms: &Option<f64>| units::or_absent(*ms, |ms| units::fixed(ms, 1));
        let times: Vec<String> = row.cpu_ms.iter().filter(|ms| ms.is_some()).map(ms).collect();
        let of = |(company, ms): (&Company, &Option<f64>)| ms.map(|_| company.name());
        let names: Vec<&str> = Company::ALL.iter().zip(&row.cpu_ms).filter_map(of).collect();
        let ratio = row.ratio.map(|value| units::with_interval(value, row.interval, units::ratio));
        let hooked = row.hooked.map(|value| units::with_interval(value, row.hooked_interval, units::ratio));
        let hooked = hooked.map(|value| format!(", hooked over alone {value}"));
        format!(
            "{}: {} ms {}; beside over interrupted {}{}, n = {}",
            row.case,
            times.join(" / "),
            names.join(" / "),
            ratio.unwrap_or_default(),
            hooked.unwrap_or_default(),
            row.trials
        )
    };
    let note = std::iter::once(tandem::note(victim));
    items(note.chain(rows.iter().map(line)).chain(tandem::sentences(summary, victim, &rows)))
}

/// What was not measured, and what therefore cannot be concluded.
fn missing(summary: &Summary<'_>) -> Vec<String> {
    let mut lines = not_measured(summary);
    if !summary.metrics.contains(&Metric::ItlbMissesPer1000) {
        lines.push(
            "time alone does not show that a difference is the iTLB's: spread code also costs BTB reach and cache sets"
                .to_owned(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::runfile::Run;
    use crate::workload::PackMode;

    fn rendered(run: &Run) -> String {
        let text = mail(&Summary::of(run));
        check_mail(&text).unwrap();
        text
    }

    #[test]
    fn mail_of_a_host_without_a_pmu() {
        insta::assert_snapshot!(rendered(&fixture::timed_run()));
    }

    #[test]
    fn mail_with_a_pmu() {
        insta::assert_snapshot!(rendered(&fixture::pmu_run()));
    }

    #[test]
    fn mail_of_a_simulation() {
        let text = rendered(&fixture::sim_run());
        assert!(text.starts_with(SIMULATED));
        assert!(!text.contains("timed") && !text.contains("bare metal"), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn mail_of_an_interrupted_run() {
        insta::assert_snapshot!(rendered(&fixture::interrupted_run()));
    }

    #[test]
    fn one_arm_alone_makes_no_claim() {
        let mut run = fixture::timed_run();
        run.trials.retain(|trial| trial.case.pack == PackMode::On);
        assert!(rendered(&run).starts_with("no comparison: only pack on has trials\n"));
        run.trials.clear();
        assert!(rendered(&run).starts_with("no comparison: no trial counts\n"));
    }

    #[test]
    fn hostile_texts_are_tamed() {
        let mut run = fixture::timed_run();
        run.manifest.host.cpu_model = Some(format!("\u{3bc}CPU\t{}\n", "x".repeat(200)));
        run.manifest.host.kernel_release = Some("6.1 \u{2014}  ".to_owned());
        run.manifest.argv.push(format!("it's {}", "long/path".repeat(30)));
        run.manifest.workloads[0].name = "n\u{e4}me".repeat(40);
        for trial in &mut run.trials {
            trial.case.workload = run.manifest.workloads[0].name.clone();
        }
        rendered(&run);
    }
}
