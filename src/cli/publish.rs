//! Writes every output of a run beside its run file. All of them come from the run file alone.

use std::path::{Path, PathBuf};

use super::Failure;
use crate::report::{Summary, chart, document, html, mail};
use crate::runfile::Run;

/// Writes `mail.txt`, `report.html` and the charts of `run` to `dir`; returns their paths.
pub fn publish(dir: &Path, run: &Run) -> Result<Vec<PathBuf>, Failure> {
    let summary = Summary::of(run);
    let drawings = chart::draw(&summary)?;
    let text = mail::mail(&summary);
    let page = html::html(&document::of_run(&summary, &drawings, &text))?;
    let mut files = vec![write(dir, "mail.txt", text.as_bytes())?, write(dir, "report.html", page.as_bytes())?];
    for drawing in &drawings {
        files.push(write(dir, &format!("{}.svg", drawing.stem), drawing.svg.as_bytes())?);
        files.push(write(dir, &format!("{}.png", drawing.stem), &drawing.png)?);
    }
    Ok(files)
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
    let path = dir.join(name);
    std::fs::write(&path, bytes).map_err(|error| Failure::output(path.display(), error))?;
    Ok(path)
}
