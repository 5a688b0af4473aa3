//! `itlbench report`: the outputs of a run file, made again.

use std::io::Write;
use std::path::PathBuf;

use super::Failure;
use super::publish::publish;
use crate::report::{Summary, export, mail, table};
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
    /// Every window with its raw counts instead, on stdout (one run only)
    #[arg(long, value_enum, conflicts_with_all = ["format", "out"])]
    pub export: Option<Export>,
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

/// A form for other tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Export {
    Csv,
    Json,
}

/// Writes the reports; returns the exit code.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    if args.out.is_some() && args.runs.len() > 1 {
        return Err(Failure::Usage(
            "--out takes one run: the outputs of several would overwrite each other".to_owned(),
        ));
    }
    if let Some(form) = args.export {
        return write_export(&args.runs, form, out);
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

fn write_export(runs: &[PathBuf], form: Export, out: &mut dyn Write) -> Result<u8, Failure> {
    let [path] = runs else {
        return Err(Failure::Usage("--export takes one run: the columns of another may differ".to_owned()));
    };
    let run = Run::read(path)?;
    let mut out = std::io::BufWriter::new(out);
    match form {
        Export::Csv => export::csv(&run, &mut out),
        Export::Json => export::json(&run, &mut out),
    }
    .and_then(|()| out.flush())
    .map_err(|error| Failure::output("stdout", error))?;
    Ok(0)
}
