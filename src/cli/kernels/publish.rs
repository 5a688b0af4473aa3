//! The matrix, printed and written; all of it comes from the run files alone.

use std::io::Write;
use std::path::Path;

use super::driver::Outcome;
use crate::cli::Failure;
use crate::cli::publish::publish_matrix;
use crate::report::kernels::{Matrix, table};
use crate::runfile::Run;

/// Prints the table and writes every other output to `dir`, which is named last. Returns the exit code.
pub fn show(dir: &Path, outcomes: &[Outcome], out: &mut dyn Write) -> Result<u8, Failure> {
    let (mut runs, mut failures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let kept = outcome.dir.as_deref().map(Run::read);
        failures.extend(outcome.failure.as_ref().map(|failure| outcome.named(failure)));
        match kept {
            Some(Ok(run)) => runs.push(run),
            // A whole run that cannot be read is a failure of its own; of half a one it is known already.
            Some(Err(error)) if outcome.failure.is_none() => failures.push(outcome.named(&error.to_string())),
            _ => {}
        }
    }
    let matrix = Matrix::of(&runs, failures);
    let print = |out: &mut dyn Write, text: &str| {
        out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))
    };
    print(out, &table::table(&matrix))?;
    publish_matrix(dir, &matrix)?;
    print(out, &format!("\nmail.txt, report.html, charts and the run file of each boot are in\n{}\n", dir.display()))?;
    let interrupted = outcomes.iter().any(|outcome| outcome.interrupted);
    Ok(if interrupted { 130 } else { u8::from(!matrix.failures.is_empty()) })
}
