//! Writes every output of a run beside its run file. All of them come from the run file alone.

use std::path::{Path, PathBuf};

use super::Failure;
use super::report::{Format, Modelling};
use crate::report::chart::Drawing;
use crate::report::comparison::{self, View};
use crate::report::kernels::{self, Matrix};
use crate::report::{attach, chart, csv, document, html, json, lkp, mail, markdown};
use crate::runfile::Run;
use crate::runfile::reader::FILE_NAME;

/// Writes `mail.txt`, `report.html`, the other texts and the charts of `run` to `dir`; returns their paths. `modelling` says
/// what to model.
pub fn publish(dir: &Path, run: &Run, modelling: &Modelling) -> Result<Vec<PathBuf>, Failure> {
    let summary = modelling.summary(run);
    let drawings = chart::draw(&summary)?;
    let text = mail::mail(&summary);
    let document = document::of_run(&summary, &drawings, &text);
    let mut files = vec![
        write(dir, "mail.txt", text.as_bytes())?,
        write(dir, "report.html", html::html(&document)?.as_bytes())?,
        write(dir, "report.md", markdown::markdown(&document).as_bytes())?,
        write(dir, "report.csv", csv::csv(&summary).as_bytes())?,
        write(dir, "report.json", json::json(&summary).map_err(anyhow::Error::new)?.as_bytes())?,
        write(dir, "lkp.txt", lkp::lkp(&summary).as_bytes())?,
    ];
    files.extend(pictures(dir, &drawings)?);
    Ok(files)
}

/// Writes the same outputs of a comparison to `dir`; returns their paths.
pub fn publish_comparison(dir: &Path, view: &View<'_>) -> Result<Vec<PathBuf>, Failure> {
    let drawings = chart::draw_comparison(view)?;
    let text = mail::kernels(view);
    let document = document::of_comparison(view, &drawings, &text);
    let mut files = vec![
        write(dir, "mail.txt", text.as_bytes())?,
        write(dir, "report.html", html::html(&document)?.as_bytes())?,
        write(dir, "report.md", markdown::markdown(&document).as_bytes())?,
        write(dir, "report.csv", comparison::csv::csv(view).as_bytes())?,
        write(dir, "report.json", comparison::json::json(view).map_err(anyhow::Error::new)?.as_bytes())?,
        write(dir, "lkp.txt", comparison::lkp::lkp(view).as_bytes())?,
    ];
    files.extend(pictures(dir, &drawings)?);
    Ok(files)
}

/// Writes the same outputs of a matrix of kernels to `dir`, the grid excepted; returns their paths.
pub fn publish_matrix(dir: &Path, matrix: &Matrix<'_>) -> Result<Vec<PathBuf>, Failure> {
    let drawings = chart::matrix::draw(matrix)?;
    let text = kernels::mail::mail(matrix);
    let document = kernels::document::document(matrix, &drawings, &text);
    let mut files = vec![
        write(dir, "mail.txt", text.as_bytes())?,
        write(dir, "report.html", html::html(&document)?.as_bytes())?,
        write(dir, "report.md", markdown::markdown(&document).as_bytes())?,
        write(dir, "report.csv", kernels::csv::csv(matrix).as_bytes())?,
        write(dir, "report.json", kernels::json::json(matrix).map_err(anyhow::Error::new)?.as_bytes())?,
    ];
    files.extend(pictures(dir, &drawings)?);
    Ok(files)
}

/// A matrix as stdout gets it.
pub fn printed_matrix(matrix: &Matrix<'_>, format: Format) -> Result<String, Failure> {
    Ok(match format {
        Format::Text => kernels::table::table(matrix),
        Format::Mail => kernels::mail::mail(matrix),
        Format::Lkp => {
            let message = "the grid of the 0-day robot holds times and events, and guests under emulation have none";
            return Err(Failure::Usage(message.to_owned()));
        }
        Format::Markdown => markdown::markdown(&kernels::document::document(matrix, &[], &kernels::mail::mail(matrix))),
        Format::Csv => kernels::csv::csv(matrix),
        Format::Json => kernels::json::json(matrix).map_err(anyhow::Error::new)?,
    })
}

/// A comparison as stdout gets it.
pub fn printed_comparison(view: &View<'_>, format: Format) -> Result<String, Failure> {
    Ok(match format {
        Format::Text => comparison::table::table(view),
        Format::Mail => mail::kernels(view),
        Format::Lkp => comparison::lkp::lkp(view),
        Format::Markdown => markdown::markdown(&document::of_comparison(view, &[], &mail::kernels(view))),
        Format::Csv => comparison::csv::csv(view),
        Format::Json => comparison::json::json(view).map_err(anyhow::Error::new)?,
    })
}

/// Writes each chart as SVG and as PNG.
pub fn pictures(dir: &Path, drawings: &[Drawing]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for drawing in drawings {
        files.push(write(dir, &format!("{}.svg", drawing.stem), drawing.svg.as_bytes())?);
        files.push(write(dir, &format!("{}.png", drawing.stem), &drawing.png)?);
    }
    Ok(files)
}

/// Writes the parts of a mail to `dir`, the run file at `path` among them.
pub fn attach(dir: &Path, run: &Run, path: &Path, modelling: &Modelling) -> Result<(), Failure> {
    write_parts(dir, &attach::parts(&modelling.summary(run)), &[(FILE_NAME.to_owned(), path)])
}

/// The same of a comparison, with every run file of every side.
pub fn attach_comparison(dir: &Path, view: &View<'_>) -> Result<(), Failure> {
    let files = comparison::attach::run_files(view);
    let files: Vec<(String, &Path)> = files.iter().map(|(name, run)| (name.clone(), Path::new(&run.name))).collect();
    write_parts(dir, &comparison::attach::parts(view), &files)
}

/// Writes `parts` and copies of `files` under their new names, and warns of a mail that a list would drop.
fn write_parts(dir: &Path, parts: &[attach::Part], files: &[(String, &Path)]) -> Result<(), Failure> {
    let mut bytes: usize = parts.iter().map(|part| part.text.len()).sum();
    for part in parts {
        write(dir, part.name, part.text.as_bytes())?;
    }
    for (name, path) in files {
        let source = if path.is_dir() { path.join(FILE_NAME) } else { path.to_path_buf() };
        let raw = std::fs::read(&source).map_err(|error| {
            anyhow::Error::new(error).context(format!("failed to read run file `{}`", source.display()))
        })?;
        bytes += raw.len();
        write(dir, name, &raw)?;
    }
    if bytes > attach::MOST_BYTES {
        eprintln!(
            "itlbench: warning: the parts are {:.1} MB; lists drop mails beyond about {:.1} MB: send a link instead of the run files",
            bytes as f64 / 1e6,
            attach::MOST_BYTES as f64 / 1e6
        );
    }
    Ok(())
}

/// Makes a directory to write to.
pub fn make(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|error| Failure::output(dir.display(), error))
}

/// Writes one file.
pub fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
    let path = dir.join(name);
    std::fs::write(&path, bytes).map_err(|error| Failure::output(path.display(), error))?;
    Ok(path)
}
