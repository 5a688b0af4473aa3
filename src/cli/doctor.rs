//! `itlbench doctor`: what can be measured on this host, what spoils it, how to fix it.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Failure;
use super::counting::Counting;
use crate::host::checks::{Check, Level, blocking, checks};
use crate::host::{Facts, Live};

/// Columns of the text output.
const WIDTH: usize = 100;
/// Columns before a finding: the level and the longest name.
const LABEL: usize = 6 + 18;
/// Exit code if something blocks, as for every verb that this host cannot serve.
const HOST_CANNOT: u8 = 3;

/// Arguments of `itlbench doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Text for people, or checks and host facts as JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Read `proc` and `sys` below DIR, as copied from another host; nothing is probed then
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    #[command(flatten)]
    pub counting: Counting,
}

/// How the checks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Writes the checks to `out`; returns the exit code. `probe` fills what only the kernel can be asked, and is not called
/// for a host laid out below another root.
pub fn run(
    args: &Args,
    probe: impl FnOnce(&mut Live) -> Result<(), Failure>,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    if !args.root.is_dir() {
        return Err(anyhow::anyhow!("failed to read `{}`: not a directory", args.root.display()).into());
    }
    let facts = Facts::read(&args.root);
    let mut live = Live::read(&args.root);
    if args.root == Path::new("/") {
        probe(&mut live)?;
    }
    let found = checks(&facts, &live);
    let text = render(&found, &facts, args.format);
    out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))?;
    Ok(if blocking(&found).is_some() { HOST_CANNOT } else { 0 })
}

/// The checks as text of at most 100 columns, or as JSON together with the facts.
pub fn render(checks: &[Check], facts: &Facts, format: Format) -> String {
    match format {
        Format::Text => text(checks, facts),
        Format::Json => json(checks, facts),
    }
}

/// A check on one line, as an error says it.
pub fn one_line(check: &Check) -> String {
    let remedy = check.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
    format!("{}: {}{remedy}", check.name, check.finding)
}

fn json(checks: &[Check], facts: &Facts) -> String {
    #[derive(Serialize)]
    struct Doctor<'a> {
        checks: &'a [Check],
        facts: &'a Facts,
    }
    // Strings, integers and maps keyed by strings: nothing here that serde_json refuses.
    let value = serde_json::json!(Doctor { checks, facts });
    format!("{value:#}\n")
}

fn text(checks: &[Check], facts: &Facts) -> String {
    let mut lines = wrap("", 0, &host(facts));
    lines.push(String::new());
    for check in checks {
        lines.extend(wrap(&format!("{:<6}{}", label(check.level), check.name), LABEL, &check.finding));
        if let Some(remedy) = &check.remedy {
            lines.extend(wrap("", LABEL, &format!("-> {remedy}")));
        }
    }
    lines.push(String::new());
    lines.extend(wrap("", 0, &summary(checks)));
    lines.join("\n") + "\n"
}

fn label(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Block => "BLOCK",
    }
}

/// One line that tells which host this is.
fn host(facts: &Facts) -> String {
    let number = |value: Option<u32>| value.map_or("?".to_owned(), |number| number.to_string());
    let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    format!(
        "{} (family {} model {} stepping {}, microcode {}), Linux {}",
        facts.cpu_model.as_deref().unwrap_or("unknown CPU"),
        number(facts.cpu_family),
        number(facts.cpu_model_number),
        number(facts.cpu_stepping),
        or_unknown(&facts.microcode),
        or_unknown(&facts.kernel_release),
    )
}

fn summary(checks: &[Check]) -> String {
    let count = |level| checks.iter().filter(|check| check.level == level).count();
    let counts = format!("{} ok, {} warned of, {} blocking", count(Level::Ok), count(Level::Warn), count(Level::Block));
    match blocking(checks) {
        Some(check) => format!("{counts}: `itlbench run` stops at {}", check.name),
        None => format!("{counts}: nothing found that stops `itlbench run`"),
    }
}

/// `label` in a column of `indent` and `text` beside it, broken at spaces. A word longer than the column stays whole, so
/// that a path or a command can be copied.
fn wrap(label: &str, indent: usize, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = format!("{label:<indent$}");
    let mut filled = false;
    for word in text.split_whitespace() {
        if filled && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            filled = false;
        }
        if filled {
            line.push(' ');
        }
        line.push_str(word);
        filled = true;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [&str; 4] = ["intel-bare-metal", "amd-vm", "locked-laptop", "almost-empty"];

    fn args(host: &str, format: Format) -> Args {
        Args {
            format,
            root: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hosts").join(host),
            counting: Counting::default(),
        }
    }

    fn doctor(host: &str, format: Format) -> (u8, String) {
        let mut out = Vec::new();
        let never = |_: &mut Live| panic!("a laid out host is not probed");
        let code = run(&args(host, format), never, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_host_gets_its_list() {
        for host in HOSTS {
            insta::assert_snapshot!(host, doctor(host, Format::Text).1);
        }
    }

    #[test]
    fn probed_findings_are_listed_too() {
        let root = args("amd-vm", Format::Text).root;
        let missing = "ENOENT: no PMU of this host takes it";
        let events =
            ["cycles", "instructions", "iTLB-load-misses"].map(|name| (name.to_owned(), Err(missing.to_owned())));
        let live = Live {
            foreign_programs: Some(3),
            events: events.into_iter().chain([("msr/tsc/".to_owned(), Ok(()))]).collect(),
            test_run: Some(Err("EPERM".to_owned())),
            ..Live::read(&root)
        };
        let facts = Facts::read(&root);
        insta::assert_snapshot!("amd-vm-probed", render(&checks(&facts, &live), &facts, Format::Text));
    }

    #[test]
    fn a_host_that_blocks_exits_with_3_and_others_with_0() {
        for (host, want) in HOSTS.into_iter().zip([0, 0, 3, 0]) {
            assert_eq!(doctor(host, Format::Text).0, want, "{host}");
            assert_eq!(doctor(host, Format::Json).0, want, "{host}");
        }
    }

    #[test]
    fn no_line_is_wider_than_100_columns() {
        for host in HOSTS {
            let (_, text) = doctor(host, Format::Text);
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH && line == line.trim_end(), "{host}: {line:?}");
            }
        }
    }

    #[test]
    fn names_fit_their_column() {
        for host in HOSTS {
            let root = args(host, Format::Text).root;
            for check in checks(&Facts::read(&root), &Live::read(&root)) {
                assert!(check.name.len() <= LABEL - 7, "{}", check.name);
            }
        }
    }

    #[test]
    fn json_holds_the_same_checks_and_the_facts() {
        let (_, json) = doctor("locked-laptop", Format::Json);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let root = args("locked-laptop", Format::Json).root;
        let facts = Facts::read(&root);
        assert_eq!(serde_json::from_value::<Facts>(value["facts"].clone()).unwrap(), facts);
        let found = checks(&facts, &Live::read(&root));
        assert_eq!(value["checks"].as_array().unwrap().len(), found.len());
        for (json, check) in value["checks"].as_array().unwrap().iter().zip(&found) {
            assert_eq!(json["name"], check.name);
            assert_eq!(json["finding"], check.finding);
        }
        assert_eq!(value["checks"][2]["level"], "block");
    }

    #[test]
    fn this_host_is_probed_and_another_root_must_be_a_directory() {
        let mut probed = false;
        let here = Args { format: Format::Text, root: PathBuf::from("/"), counting: Counting::default() };
        run(
            &here,
            |_| {
                probed = true;
                Ok(())
            },
            &mut std::io::sink(),
        )
        .unwrap();
        assert!(probed);
        let error = run(&args("no-such-host", Format::Text), |_| Ok(()), &mut std::io::sink()).unwrap_err();
        assert!(error.to_string().starts_with("failed to read `"), "{error}");
    }

    #[test]
    fn long_words_are_not_broken() {
        let long = "x".repeat(120);
        assert_eq!(
            wrap("ok", 4, &format!("a {long} b")),
            ["ok  a".to_owned(), format!("    {long}"), "    b".to_owned()]
        );
    }
}
