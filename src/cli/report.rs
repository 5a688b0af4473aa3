//! `itlbench report`: the outputs of a run file, made again.

use std::io::Write;
use std::path::PathBuf;

use super::Failure;
use super::publish::publish;
use crate::report::{Summary, mail, table};
use crate::runfile::Run;

/// Arguments of `itlbench report`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Run files, or directories that hold a `run.jsonl`
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// What goes to stdout
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Also write mail.txt, report.html and the charts to DIR (one run only)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The terminal table
    Text,
    /// The mail text
    Mail,
}

/// Writes the reports; returns the exit code.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    if args.out.is_some() && args.runs.len() > 1 {
        return Err(Failure::Usage(
            "--out takes one run: the outputs of several would overwrite each other".to_owned(),
        ));
    }
    for path in &args.runs {
        let run = Run::read(path)?;
        let summary = Summary::of(&run);
        let text = match args.format {
            Format::Text => table::table(&summary),
            Format::Mail => mail::mail(&summary),
        };
        out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))?;
        if let Some(dir) = &args.out {
            std::fs::create_dir_all(dir).map_err(|error| Failure::output(dir.display(), error))?;
            publish(dir, &run)?;
        }
    }
    Ok(0)
}
