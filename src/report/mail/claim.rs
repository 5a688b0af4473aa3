//! The first lines: what may be claimed, of the largest number of programs of each workload.

use super::super::Summary;
use super::super::table::headed;
use super::super::units::{figure, or_absent, p_value, percent, ratio, with_interval};
use super::super::wording::{ascii, wrap};
use super::COLUMNS;
use crate::compare::{Effect, Verdict};
use crate::workload::PackMode;

/// One claim for each workload and arm, of the primary metric.
pub(super) fn claims(summary: &Summary<'_>) -> Vec<String> {
    let effects = claimed(summary);
    if effects.is_empty() {
        return vec![no_comparison(summary)];
    }
    let lines = effects.iter().map(|effect| wrap(&ascii(&claim(summary, effect)), COLUMNS, "", "  "));
    lines.collect::<Vec<_>>().concat()
}

/// The effects that claims are made of.
pub(super) fn claimed<'a>(summary: &'a Summary<'_>) -> Vec<&'a Effect> {
    let metric = summary.primary();
    let mut largest: Vec<&Effect> = Vec::new();
    for effect in summary.effects.iter().filter(|effect| effect.metric == metric) {
        let same = |known: &&mut &Effect| {
            (&known.case.workload, &known.candidate.name) == (&effect.case.workload, &effect.candidate.name)
        };
        match largest.iter_mut().find(same) {
            Some(known) if known.case.programs < effect.case.programs => *known = effect,
            Some(_) => {}
            None => largest.push(effect),
        }
    }
    largest
}

fn claim(summary: &Summary<'_>, effect: &Effect) -> String {
    let (on, off, n) = (&effect.baseline.name, &effect.candidate.name, effect.case.programs);
    let shown = effect.ratio.map(|value| with_interval(value, effect.interval, ratio)).unwrap_or_default();
    let said = match effect.verdict {
        Verdict::Slower | Verdict::Faster if effect.ratio.is_none() => {
            let shift = with_interval(effect.shift.estimate, effect.shift.interval, figure);
            format!("{off} costs {} more than {on} at {n} programs", shift)
        }
        Verdict::Slower | Verdict::Faster => {
            format!("{off} costs {} of {on} at {n} programs", shown.replacen(' ', "x ", 1))
        }
        Verdict::NoDifference { within_percent: Some(within) } => {
            let within = percent(within);
            format!("no difference shown at {n} programs: {off} / {on} is {shown}, within {within} %")
        }
        Verdict::NoDifference { within_percent: None } | Verdict::NotEnough | Verdict::Incomparable => {
            let (base, new) = (figure(effect.baseline.median), figure(effect.candidate.median));
            format!("no claim at {n} programs: {}; {on} {base}, {off} {new}", effect.conclusion())
        }
    };
    let trials = format!("{}+{} trials", effect.baseline.trials, effect.candidate.trials);
    let what = headed(summary, effect.metric).replace(" (", ", ").replace(')', "");
    format!("{said} ({what}; {}; {trials}, p {})", effect.case.workload, or_absent(effect.p, p_value))
}

fn no_comparison(summary: &Summary<'_>) -> String {
    let mut arms: Vec<PackMode> =
        summary.cases.iter().filter(|case| case.trials > 0).map(|case| case.case.pack).collect();
    arms.sort();
    arms.dedup();
    match arms.as_slice() {
        [] => "no comparison: no trial counts".to_owned(),
        [arm] => format!("no comparison: only pack {arm} has trials"),
        _ => "no comparison: no number of programs has trials of both arms".to_owned(),
    }
}
