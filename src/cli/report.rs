//! `itlbench report`: the outputs of a run file, made again.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::Failure;
use super::publish::{attach, make, printed_matrix, publish, publish_matrix};
use crate::model::geometry::Named;
use crate::report::kernels::Matrix;
use crate::report::{Summary, csv, document, export, json, lkp, mail, markdown, table};
use crate::runfile::Run;
use crate::twin::Calibration;

/// Arguments of `itlbench report`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Run files, or directories that hold a `run.jsonl`; of several guests under emulation the one table of `itlbench kernels` is made
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
    /// Also write every text output, report.html and the charts to DIR (one run only, or emulated guests)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also write what to attach to a mail to DIR, all plain text: report.txt, config, reproduce, run.jsonl (one run only)
    #[arg(long, value_name = "DIR")]
    pub attach: Option<PathBuf>,
}

/// What is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The terminal table
    #[default]
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
    if let Some(runs) = emulated_guests(args)? {
        return kernels(args, &runs, out);
    }
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

/// Several runs of guests that an emulator ran, which are one matrix, as `itlbench kernels` makes of them.
fn emulated_guests(args: &Args) -> Result<Option<Vec<Run>>, Failure> {
    let [first, others @ ..] = args.runs.as_slice() else { return Ok(None) };
    if others.is_empty() || args.export.is_some() {
        return Ok(None);
    }
    let mut runs = vec![Run::read(first)?];
    if !runs[0].manifest.is_emulated() {
        return Ok(None);
    }
    for path in others {
        let run = Run::read(path)?;
        if !run.manifest.is_emulated() {
            let message = format!("`{}` is of no guest under emulation: report it by itself", path.display());
            return Err(Failure::Usage(message));
        }
        runs.push(run);
    }
    Ok(Some(runs))
}

fn kernels(args: &Args, runs: &[Run], out: &mut dyn Write) -> Result<u8, Failure> {
    for (option, given) in [
        ("--attach", args.attach.is_some()),
        ("--model", !args.model.is_empty()),
        ("--calibration", args.calibration.is_some()),
    ] {
        if given {
            return Err(Failure::Usage(format!("{option} takes one run: of several guests one table is made")));
        }
    }
    let matrix = Matrix::of(runs, Vec::new());
    let text = printed_matrix(&matrix, args.format)?;
    out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))?;
    if let Some(dir) = &args.out {
        make(dir)?;
        publish_matrix(dir, &matrix)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn record(name: &str) -> String {
        format!("{}/reports/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    /// What `itlbench report` prints, or why not.
    fn reported(words: &[&str]) -> Result<String, Failure> {
        let line = Line::try_parse_from([&["report"], words].concat()).expect("parsed");
        let mut out = Vec::new();
        run(&line.args, &mut out).map(|_| String::from_utf8(out).expect("text"))
    }

    #[test]
    fn of_several_emulated_guests_one_table_is_made() {
        let [old, new] = ["5.10", "7.3-rc7"].map(|kernel| record(&format!("2026-11-26-kernels-qemu/{kernel}")));
        let dir = tempfile::tempdir().expect("directory");
        let made = dir.path().to_str().expect("a path");
        let text = reported(&[&old, &new, "--out", made]).expect("reported");
        let native = |kernel: &str| text.lines().filter(|line| line.trim_start().starts_with(kernel)).count();
        // A line in the list of kernels and a row for each number of programs; pack off has rows of its own.
        assert_eq!((native("5.10 "), native("7.3-rc7 ")), (3, 6), "{text}");
        assert!(dir.path().join("mail.txt").exists() && dir.path().join("report.html").exists());
        let one = reported(&[&old]).expect("reported");
        assert!(!one.contains("7.3-rc7") && one.contains("5.10"), "{one}");
    }

    #[test]
    fn what_one_table_has_no_room_for_is_refused() {
        let [old, new] = ["5.10", "7.3-rc7"].map(|kernel| record(&format!("2026-11-26-kernels-qemu/{kernel}")));
        let host = record("2026-11-25-epyc-zen4-kvm");
        for (words, why) in [
            (vec![old.as_str(), &new, "--format", "lkp"], "the 0-day robot"),
            (vec![&old, &new, "--model", "zen5"], "--model takes one run"),
            (vec![&old, &host], "is of no guest under emulation"),
        ] {
            let failure = reported(&words).expect_err("refused");
            assert!(failure.exit_code() == 2 && failure.to_string().contains(why), "{words:?}: {failure}");
        }
    }
}
