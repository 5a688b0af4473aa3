//! The parts of a mail as the lists accept attachments: plain text, named as the 0-day robot names them.

use super::Summary;
use super::mail;
use super::wording::{ascii, wrap};
use crate::host::Facts;
use crate::runfile::Manifest;
use crate::runfile::manifest::MachineKind;
use crate::workload::Spec;

/// One part: its name, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: &'static str,
    pub text: String,
}

/// Beyond so many bytes in all a list is likely to drop the mail; the robot's own stay near it.
pub const MOST_BYTES: usize = 400_000;

/// `report.txt`, `config` and `reproduce`; the run file itself is the fourth.
pub fn parts(summary: &Summary<'_>) -> Vec<Part> {
    vec![
        Part { name: "report.txt", text: mail::mail(summary) },
        Part { name: "config", text: config(&summary.run.manifest.host) },
        Part { name: "reproduce", text: reproduce(&summary.run.manifest) },
    ]
}

/// The kernel and what it was told, one setting a line: sysctls and mitigations as the kernel names them.
pub(super) fn config(facts: &Facts) -> String {
    let mut lines = Vec::new();
    let mut named = |name: &str, value: &Option<String>| {
        lines.extend(value.as_ref().map(|value| format!("# {name}: {}", ascii(value))));
    };
    named("kernel", &facts.kernel_release);
    named("build", &facts.kernel_version);
    named("command line", &facts.cmdline);
    named("lockdown", &facts.lockdown);
    named("transparent huge pages", &facts.thp);
    named("clock source", &facts.clocksource);
    lines.extend(facts.mitigations.iter().map(|(name, state)| format!("# mitigation {name}: {}", ascii(state))));
    lines.extend(facts.kernel_config.iter().map(|(name, value)| format!("CONFIG_{}={}", ascii(name), option(value))));
    lines.extend(facts.sysctls.iter().map(|(name, value)| format!("{} = {}", ascii(name), ascii(value))));
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A value as a `.config` has it: words that are neither y, m nor a number in quotes.
fn option(value: &str) -> String {
    let bare = matches!(value, "y" | "m") || value.chars().all(|c| c.is_ascii_hexdigit() || c == 'x' || c == '-');
    if bare { value.to_owned() } else { format!("\"{}\"", ascii(value)) }
}

/// A shell script that makes the run again.
fn reproduce(manifest: &Manifest) -> String {
    let script = [vec!["#!/bin/sh".to_owned()], made_by(manifest), vec!["set -eu".to_owned()], command(manifest)];
    script.concat().join("\n") + "\n"
}

/// Where the run was made, as comments.
pub(super) fn made_by(manifest: &Manifest) -> Vec<String> {
    let kernel = manifest.host.kernel_release.as_deref().unwrap_or("an unknown kernel");
    let cpu = manifest.host.cpu_model.as_deref().unwrap_or("an unknown CPU");
    let made = match manifest.machine {
        MachineKind::Kernel => format!("Made by itlbench {} on {kernel}, {cpu}; needs root.", manifest.tool_version),
        MachineKind::Sim => format!("SIMULATED by itlbench {}: no kernel was measured.", manifest.tool_version),
    };
    wrap(&ascii(&made), mail::COLUMNS, "# ", "# ")
}

/// The lines that write the workload files the command named, and the command with its seed.
pub(super) fn command(manifest: &Manifest) -> Vec<String> {
    let mut argv = mail::seeded(&manifest.argv, manifest.seed);
    let mut lines = workload_files(&manifest.workloads, &mut argv);
    if argv.is_empty() {
        lines.push(format!("itlbench run --seed {} # the other arguments are not known", manifest.seed));
    } else {
        lines.push(mail::command(&argv).join("\n").trim_start().to_owned());
    }
    lines
}

/// The workloads that came from files, as here documents in the working directory; the words of the command then name those.
fn workload_files(specs: &[Spec], argv: &mut [String]) -> Vec<String> {
    let own = argv.iter().position(|word| word == "--").unwrap_or(argv.len());
    let words: Vec<&mut String> = argv[..own].iter_mut().filter(|word| word.ends_with(".toml")).collect();
    let all = words.len() == specs.len();
    let files = specs.iter().filter(|spec| all || Spec::builtin(&spec.name).is_err());
    let mut lines = Vec::new();
    for (at, (word, spec)) in words.into_iter().zip(files).enumerate() {
        let Ok(text) = toml::to_string(spec) else { continue };
        *word = format!("./workload-{}.toml", at + 1);
        lines.push(format!("cat >{word} <<'END_OF_WORKLOAD'"));
        lines.extend(text.lines().map(str::to_owned));
        lines.push("END_OF_WORKLOAD".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::runfile::Run;

    fn part(run: &Run, name: &str) -> String {
        parts(&Summary::of(run)).into_iter().find(|part| part.name == name).expect(name).text
    }

    #[test]
    fn parts_of_a_host_without_a_pmu() {
        let run = fixture::timed_run();
        insta::assert_snapshot!(part(&run, "config") + "---\n" + &part(&run, "reproduce"));
        assert_eq!(part(&run, "report.txt"), mail::mail(&Summary::of(&run)));
    }

    #[test]
    fn every_part_is_seven_bit_text() {
        let mut run = fixture::timed_run();
        run.manifest.host.cmdline = Some("root=\u{e4}\ttab".to_owned());
        for part in parts(&Summary::of(&run)) {
            let plain = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
            assert!(part.text.chars().all(plain) && part.text.ends_with('\n'), "{}", part.name);
        }
    }

    /// Runs the script with a tool that prints its arguments: a function of the shell, as a program that was just written cannot be
    /// executed while a child of another test has it open.
    #[test]
    fn the_script_writes_the_workload_and_runs_the_command_with_its_seed() {
        let mut run = fixture::timed_run();
        run.manifest.workloads[0].name = "mine".to_owned();
        run.manifest.workloads[0].programs = vec![8, 4000];
        run.manifest.argv = ["/x/itlbench", "run", "/home/me/it's.toml", "--trials", "8"].map(str::to_owned).to_vec();
        let dir = tempfile::tempdir().expect("directory");
        std::fs::write(dir.path().join("reproduce"), part(&run, "reproduce")).expect("written");
        let script = "itlbench() { printf '%s\\n' \"$@\" >args; }; . ./reproduce";
        let status = std::process::Command::new("sh").args(["-c", script]).current_dir(dir.path()).status();
        assert!(status.expect("sh").success());
        let args = std::fs::read_to_string(dir.path().join("args")).expect("ran");
        assert_eq!(args, "run\n./workload-1.toml\n--trials\n8\n--seed\n1\n");
        let file = std::fs::read_to_string(dir.path().join("workload-1.toml")).expect("written");
        assert_eq!(Spec::parse("workload-1.toml", &file).expect("a workload"), run.manifest.workloads[0]);
    }
}
