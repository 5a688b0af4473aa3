//! `itlbench report`: the outputs of a run file, made again.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::Failure;
use super::publish::{attach, make, publish};
use crate::model::geometry::Named;
use crate::report::{Summary, csv, document, export, json, lkp, mail, markdown, table};
use crate::runfile::Run;
use crate::twin::Calibration;

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
    #[arg(long, value_enum, conflicts_with_all = ["format", "out", "attach"])]
    pub export: Option<Export>,
    /// Predict the iTLB misses of this CPU too, and not of the run's alone; `itlbench list models` names them
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub model: Vec<String>,
    /// Split the difference in time by what `itlbench calibrate` found a miss to cost
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Also write every text output, report.html and the charts to DIR (one run only)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also write what to attach to a mail to DIR, all plain text: report.txt, config, reproduce, run.jsonl (one run only)
    #[arg(long, value_name = "DIR")]
    pub attach: Option<PathBuf>,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The terminal table
    Text,
    /// The mail text: at most 72 columns, 7 bit
    Mail,
    /// The grid of the 0-day robot
    Lkp,
    /// Markdown with tables
    Markdown,
    /// One line a case and metric
    Csv,
    /// One object with every figure
    Json,
}

/// A form for other tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Export {
    Csv,
    Json,
}

/// What is to be modelled beyond the run's own CPU.
#[derive(Debug, Default)]
pub struct Modelling {
    pub models: Vec<Named>,
    pub calibration: Option<Calibration>,
}

impl Modelling {
    /// The models called `names`, and the calibration in `file`.
    pub fn find(names: &[String], file: Option<&Path>) -> Result<Self, Failure> {
        let find = |name: &String| Named::find(name).map_err(|error| Failure::Usage(error.to_string()));
        let models = names.iter().map(find).collect::<Result<_, _>>()?;
        let calibration = file.map(Calibration::read).transpose();
        Ok(Self { models, calibration: calibration.map_err(|error| Failure::Other(error.into()))? })
    }

    /// `run` boiled down, with what was asked for.
    pub fn summary<'a>(&self, run: &'a Run) -> Summary<'a> {
        Summary::with_models(run, &self.models, self.calibration.as_ref())
    }
}

/// Writes the reports; returns the exit code.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    for (option, dir) in [("--out", &args.out), ("--attach", &args.attach)] {
        if dir.is_some() && args.runs.len() > 1 {
            let message = format!("{option} takes one run: the outputs of several would overwrite each other");
            return Err(Failure::Usage(message));
        }
    }
    if let Some(form) = args.export {
        return write_export(&args.runs, form, out);
    }
    let modelling = Modelling::find(&args.model, args.calibration.as_deref())?;
    for path in &args.runs {
        let run = Run::read(path)?;
        let text = printed(&modelling.summary(&run), args.format)?;
        out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))?;
        if let Some(dir) = &args.out {
            make(dir)?;
            publish(dir, &run, &modelling)?;
        }
        if let Some(dir) = &args.attach {
            make(dir)?;
            attach(dir, &run, path, &modelling)?;
        }
    }
    Ok(0)
}

fn printed(summary: &Summary, format: Format) -> Result<String, Failure> {
    Ok(match format {
        Format::Text => table::table(summary),
        Format::Mail => mail::mail(summary),
        Format::Lkp => lkp::lkp(summary),
        // Without charts: their files are beside the report that `--out` writes.
        Format::Markdown => markdown::markdown(&document::of_run(summary, &[], &mail::mail(summary))),
        Format::Csv => csv::csv(summary),
        Format::Json => json::json(summary).map_err(anyhow::Error::new)?,
    })
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
