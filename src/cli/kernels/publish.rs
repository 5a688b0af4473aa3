//! The matrix, printed and written; all of it comes from the run files alone.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::driver::Outcome;
use crate::cli::Failure;
use crate::cli::compare::{self, Candidates};
use crate::cli::publish::{publish, publish_matrix};
use crate::cli::report::Modelling;
use crate::report::kernels::{Matrix, table};
use crate::runfile::Run;

/// What guests counted that a CPU ran: the outputs of each boot beside its run file, and all kernels held against the first as
/// `itlbench compare` does.
fn show_counted(dir: &Path, runs: &[Run], dirs: &[&Path], out: &mut dyn Write) -> Result<(), Failure> {
    let mut sides: Vec<(&str, Vec<PathBuf>)> = Vec::new();
    for (run, own) in runs.iter().zip(dirs) {
        let Some(guest) = run.manifest.guest.as_ref().filter(|guest| !guest.is_emulated()) else { continue };
        publish(own, run, &Modelling::default())?;
        match sides.iter_mut().find(|(name, _)| *name == guest.kernel) {
            Some((_, boots)) => boots.push(own.to_path_buf()),
            None => sides.push((&guest.kernel, vec![own.to_path_buf()])),
        }
    }
    let mut sides = sides.into_iter().map(|(_, boots)| boots);
    let (Some(baseline), candidates) = (sides.next(), sides.collect::<Vec<_>>()) else { return Ok(()) };
    if candidates.is_empty() {
        return Ok(());
    }
    let args = compare::Args {
        baseline,
        candidates: Candidates(candidates),
        out: Some(dir.join("compare")),
        ..compare::Args::default()
    };
    out.write_all(b"\n").map_err(|error| Failure::output("stdout", error))?;
    match compare::run(&args, out) {
        // Every run is there; whoever wants more than that is told why there is none.
        Err(why @ Failure::Compare(_)) => {
            eprintln!("itlbench: the kernels are not compared: {why}");
            Ok(())
        }
        compared => compared.map(|_| ()),
    }
}

/// Prints the table and writes every other output to `dir`, which is named last. Returns the exit code.
pub fn show(dir: &Path, outcomes: &[Outcome], out: &mut dyn Write) -> Result<u8, Failure> {
    let (mut runs, mut dirs, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for outcome in outcomes {
        let kept = outcome.dir.as_deref().map(|own| Run::read(own).map(|run| (own, run)));
        failures.extend(outcome.failure.as_ref().map(|failure| outcome.named(failure)));
        match kept {
            Some(Ok((own, run))) => {
                dirs.push(own);
                runs.push(run);
            }
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
    show_counted(dir, &runs, &dirs, out)?;
    print(out, &format!("\nmail.txt, report.html, charts and the run file of each boot are in\n{}\n", dir.display()))?;
    let interrupted = outcomes.iter().any(|outcome| outcome.interrupted);
    Ok(if interrupted { 130 } else { u8::from(!matrix.failures.is_empty()) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::kernels::fixture;
    use crate::runfile::Writer;
    use crate::runfile::manifest::{Accelerator, Guest};
    use crate::runfile::reader::FILE_NAME;

    /// What is printed of the fixture's guests, each with a run file in a directory of its own, and that directory.
    fn shown(accelerator: Accelerator) -> (String, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("directory");
        let outcome = |(at, booted): (usize, Run)| {
            let own = dir.path().join(at.to_string());
            std::fs::create_dir(&own).expect("directory");
            let mut run = crate::report::fixture::timed_run();
            run.manifest.host.kernel_release = booted.manifest.host.kernel_release;
            run.manifest.guest = booted.manifest.guest.map(|guest| Guest { accelerator, ..guest });
            let mut writer = Writer::create(&own.join(FILE_NAME), &run.manifest).expect("created");
            run.trials.iter().for_each(|trial| writer.append(trial, &BTreeMap::new()).expect("written"));
            writer.finish(false).expect("finished");
            Outcome {
                name: at.to_string(),
                dir: Some(own),
                failure: None,
                deaths: Vec::new(),
                code: 0,
                interrupted: false,
            }
        };
        let outcomes: Vec<Outcome> = fixture::runs().into_iter().skip(1).enumerate().map(outcome).collect();
        let mut out = Vec::new();
        assert_eq!(show(dir.path(), &outcomes, &mut out).expect("shown"), 0);
        (String::from_utf8(out).expect("text"), dir)
    }

    #[test]
    fn what_a_cpu_ran_is_compared_and_what_an_emulator_ran_is_not() {
        let (text, dir) = shown(Accelerator::Kvm);
        assert!(text.contains("6.12.0-test") && text.contains("7.3.0-test") && text.contains("ns/exec"), "{text}");
        assert!(dir.path().join("compare/mail.txt").exists() && dir.path().join("0/report.html").exists());
        let (text, dir) = shown(Accelerator::Tcg);
        assert!(!text.contains("ns/exec"), "{text}");
        assert!(!dir.path().join("compare").exists() && !dir.path().join("0/report.html").exists());
    }
}
