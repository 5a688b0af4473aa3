//! Gates for CI: a condition on a comparison under which the command fails.

use std::fmt;
use std::str::FromStr;

use super::comparison::Comparison;
use super::effect::Effect;
use super::verdict::Verdict;
use crate::samples::Metric;

/// What trips a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Shown to cost more, by at least so many percent.
    Slower,
    /// Shown to cost less.
    Faster,
    /// Either.
    Different,
    /// No verdict: too few boots, or incomparable.
    Undecided,
    /// Not shown to be within so many percent: a passing `slower` gate would prove nothing.
    Unsure,
}

const KINDS: [(&str, Kind); 5] = [
    ("slower", Kind::Slower),
    ("faster", Kind::Faster),
    ("different", Kind::Different),
    ("undecided", Kind::Undecided),
    ("unsure", Kind::Unsure),
];

/// `KIND[:PERCENT%][@METRIC]`: trips if one effect on the metric (core cycles if counted, else wall time) meets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    kind: Kind,
    percent: f64,
    metric: Option<Metric>,
    text: String,
}

/// Why a text is no gate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    #[error("`{0}` is no gate; use slower, faster, different, undecided or unsure, with a percentage: slower:2%")]
    Kind(String),
    #[error("`{0}` is no percentage; use a number from 0 to 1000 with a % behind it: slower:2%")]
    Percent(String),
    #[error("`{name}` is no metric; the metrics are {known}")]
    Metric { name: String, known: String },
}

impl FromStr for Gate {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let (rest, metric) = match text.split_once('@') {
            Some((rest, name)) => (rest, Some(metric(name)?)),
            None => (text, None),
        };
        let (name, percent) = match rest.split_once(':') {
            Some((name, percent)) => (name, parse_percent(percent)?),
            None => (rest, 0.0),
        };
        let kind = KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| GateError::Kind(text.to_owned()))?;
        Ok(Self { kind, percent, metric, text: text.to_owned() })
    }
}

fn parse_percent(text: &str) -> Result<f64, GateError> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number.filter(|percent| (0.0..=1000.0).contains(percent)).ok_or_else(|| GateError::Percent(text.to_owned()))
}

fn metric(name: &str) -> Result<Metric, GateError> {
    let of = |metric: &Metric| metric.key() == name;
    let known = || Metric::ALL.map(Metric::key).join(", ");
    Metric::ALL.into_iter().find(of).ok_or_else(|| GateError::Metric { name: name.to_owned(), known: known() })
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Gate {
    /// One line why the gate trips on `comparison`; `None` if it holds. A metric that nobody counted trips it: nothing was checked.
    pub fn tripped(&self, comparison: &Comparison) -> Option<String> {
        let metric = self.metric.unwrap_or_else(|| comparison.primary());
        let effects = || {
            comparison
                .candidates
                .iter()
                .flat_map(|candidate| candidate.effects().map(move |effect| (candidate, effect)))
        };
        let mut of_metric = effects().filter(|(_, effect)| effect.metric == metric).peekable();
        if of_metric.peek().is_none() {
            return Some(format!("gate `{self}` tripped: no side counted {}", metric.unit()));
        }
        let mut met: Vec<_> = of_metric.filter(|(_, effect)| self.is_met(effect)).collect();
        met.sort_by(|(_, a), (_, b)| distance(b).total_cmp(&distance(a)));
        let (candidate, worst) = met.first()?;
        let others = match met.len() {
            1 => String::new(),
            more => format!(", and {} more", more - 1),
        };
        Some(format!(
            "gate `{self}` tripped: {} on {}: {} {}{others}",
            worst.case,
            candidate.side.name,
            metric.unit(),
            said(worst)
        ))
    }

    fn is_met(&self, effect: &Effect) -> bool {
        let by = effect.ratio.map_or(f64::INFINITY, |ratio| 100.0 * (ratio - 1.0).abs());
        let beyond = by >= self.percent;
        match (self.kind, effect.verdict) {
            (Kind::Slower | Kind::Different, Verdict::Slower) | (Kind::Faster | Kind::Different, Verdict::Faster) => {
                beyond
            }
            (Kind::Undecided | Kind::Unsure, Verdict::NotEnough | Verdict::Incomparable) => true,
            (Kind::Unsure, Verdict::NoDifference { within_percent }) => {
                within_percent.is_none_or(|within| within > self.percent)
            }
            (Kind::Unsure, Verdict::Slower | Verdict::Faster) => beyond,
            _ => false,
        }
    }
}

/// How far the ratio is from 1, either way.
fn distance(effect: &Effect) -> f64 {
    effect.ratio.filter(|ratio| *ratio > 0.0).map_or(f64::INFINITY, |ratio| ratio.ln().abs())
}

fn said(effect: &Effect) -> String {
    let ratio = effect.ratio.map_or_else(|| "no ratio".to_owned(), |ratio| format!("{ratio:.3}"));
    let interval = effect.interval.map(|(low, high)| format!(" [{low:.3}, {high:.3}]")).unwrap_or_default();
    format!("{ratio}{interval}, {}", effect.conclusion())
}
