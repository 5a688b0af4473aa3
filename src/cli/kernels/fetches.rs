//! Gives every window of a run what the emulator's plugin counted in it. A run is given all of it or nothing.

use std::io;
use std::path::Path;

use crate::model::fetched::{Output, Window};
use crate::runfile::manifest::Fetches;
use crate::runfile::reader::FILE_NAME;
use crate::runfile::writer::WriteError;
use crate::runfile::{ReadError, Run, Writer};
use crate::trial::Trial;

/// Why a run stays without counts. Its placement is in the run file all the same.
#[derive(Debug, thiserror::Error)]
pub enum NotAdded {
    #[error("the plugin's counts were rejected, the placement was kept: {0}")]
    Rejected(String),
    #[error("failed to read what the plugin wrote, the placement was kept: {0}")]
    Unread(#[from] io::Error),
    #[error(transparent)]
    Run(#[from] ReadError),
    #[error("failed to add the plugin's counts to the run, the placement was kept: {0}")]
    Unwritten(#[from] WriteError),
    #[error(
        "failed to add the plugin's counts to the run, the placement was kept: failed to rename `{path}`: {source}; check the disk"
    )]
    Unplaced { path: String, source: io::Error },
}

/// Adds what the plugin wrote to the run file in `dir`, in whose place the new one is put; if that is not believed the run says
/// so. A guest that could not set marks says so itself, and there is nothing to add.
pub fn add(dir: &Path, model: &str, written: &[u8]) -> Result<(), NotAdded> {
    let mut run = Run::read(dir)?;
    if let Some(Fetches::NotModelled { .. }) = run.manifest.guest.as_ref().map(|guest| &guest.fetches) {
        return Ok(());
    }
    let rejected = believe(&mut run.trials, model, written).err();
    if let (Some(why), Some(guest)) = (&rejected, &mut run.manifest.guest) {
        let reason = format!("{}: the plugin's counts were rejected: {why}", guest.kernel);
        guest.fetches = Fetches::NotModelled { reason };
        run.trials.iter_mut().for_each(|trial| trial.fetched.clear());
    }
    let written = rewrite(dir, &run);
    match rejected {
        Some(why) => Err(NotAdded::Rejected(why)),
        None => written,
    }
}

fn believe(trials: &mut [Trial], model: &str, written: &[u8]) -> Result<(), String> {
    let output = Output::parse(written).map_err(|error| error.to_string())?;
    if output.header.model != model {
        return Err(format!("it modelled `{}`, `{model}` was asked for", output.header.model));
    }
    deal(trials, output.windows)
}

/// Windows come in the order in which they ran: of each trial the first half of its baseline, its samples, the other half.
fn deal(trials: &mut [Trial], windows: Vec<Window>) -> Result<(), String> {
    let ran: usize = trials.iter().map(|trial| trial.baseline.len() + trial.samples.len()).sum();
    if windows.len() != ran {
        return Err(format!("it saw {} windows of {ran}", windows.len()));
    }
    for (number, window) in windows.iter().enumerate() {
        if window.tag != number as u64 {
            return Err(format!("window {number} is missing"));
        }
        window.check().map_err(|why| format!("window {number}: {why}"))?;
    }
    let mut windows = windows.into_iter();
    for trial in trials {
        let before = trial.baseline.len() / 2;
        let of_trial: Vec<Window> = windows.by_ref().take(trial.baseline.len() + trial.samples.len()).collect();
        trial.fetched = of_trial.into_iter().skip(before).take(trial.samples.len()).collect();
        if let Some(window) = trial.fetched.iter().find(|window| window.jit.fetches == 0) {
            return Err(format!("window {} of {} fetched no JITed code", window.tag, trial.case));
        }
    }
    Ok(())
}

fn rewrite(dir: &Path, run: &Run) -> Result<(), NotAdded> {
    let (old, new) = (dir.join(FILE_NAME), dir.join(format!("{FILE_NAME}.new")));
    let written = Writer::create(&new, &run.manifest).and_then(|mut writer| {
        for (trial, histograms) in run.trials.iter().zip(&run.histograms) {
            writer.append(trial, histograms)?;
        }
        writer.finish(!run.complete)
    });
    let placed = written.map_err(NotAdded::from).and_then(|_| {
        let unplaced = |source| NotAdded::Unplaced { path: new.display().to_string(), source };
        std::fs::rename(&new, &old).map_err(unplaced)
    });
    if placed.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fetched::Counts;
    use crate::report::kernels::fixture;

    /// What a plugin that misses nothing sees of `trials`; the number of the window is in its counts too.
    fn seen(trials: &[Trial]) -> Vec<Window> {
        let windows: usize = trials.iter().map(|trial| trial.baseline.len() + trial.samples.len()).sum();
        let window = |tag| Window {
            tag,
            jit: Counts { fetches: 1000 + tag, l1_misses: 10, walks: 1 },
            tables_read: 3,
            ..Window::default()
        };
        (0..windows as u64).map(window).collect()
    }

    #[test]
    fn every_sample_gets_its_own_window_and_the_baseline_keeps_none() {
        let mut trials = fixture::runs().remove(0).trials;
        let (baseline, samples) = (trials[0].baseline.len(), trials[0].samples.len());
        let windows = seen(&trials);
        deal(&mut trials, windows).unwrap();
        let tags: Vec<u64> = trials[1].fetched.iter().map(|window| window.tag).collect();
        let first = (baseline + samples + baseline / 2) as u64;
        assert_eq!(tags, (first..first + samples as u64).collect::<Vec<_>>());
    }

    #[test]
    fn a_window_lost_or_not_to_be_believed_rejects_all_of_them() {
        let trials = fixture::runs().remove(0).trials;
        let rejected = |spoil: &dyn Fn(&mut Vec<Window>)| {
            let (mut trials, mut windows) = (trials.clone(), seen(&trials));
            spoil(&mut windows);
            deal(&mut trials, windows).unwrap_err()
        };
        assert!(rejected(&|windows| windows.truncate(3)).starts_with("it saw 3 windows of "));
        assert_eq!(rejected(&|windows| windows[2].tag = 7), "window 2 is missing");
        assert!(rejected(&|windows| windows[1].tables_read = 0).starts_with("window 1: no page table was read"));
        assert!(
            rejected(&|windows| windows[1].tables_failed = 1)
                .starts_with("window 1: the page tables could not be read")
        );
        let blind = rejected(&|windows| windows.iter_mut().for_each(|window| window.jit = Counts::default()));
        assert!(blind.ends_with("fetched no JITed code"), "{blind}");
    }
}
