//! Workload files: strict TOML, every error with file, line, column and key.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::body::Body;
use super::builtin;
use super::case::{Case, FillerRule, OffsetRule, PackMode, Stride};
use super::cpus::Cpus;
use super::order::Order;
use super::source::{self, Place};
use super::trigger::TriggerKind;

/// A workload as its file states it, with the defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name in every output.
    pub name: String,
    /// What the workload asks, in prose.
    pub question: String,
    /// What its author expects to see, in prose, written before the first run.
    pub expectation: String,
    /// What runs the programs.
    pub trigger: TriggerKind,
    /// Numbers of programs, one case each per pack mode.
    pub programs: Vec<u32>,
    /// Body of every program.
    #[serde(default = "default_body")]
    pub body: Body,
    /// Arms.
    #[serde(default = "default_pack")]
    pub pack: Vec<PackMode>,
    /// Distance between programs in `pack off`.
    #[serde(default = "default_stride")]
    pub stride: Stride,
    /// Offset rule of `pack off`.
    #[serde(default = "default_offset")]
    pub offset: OffsetRule,
    /// Whether fillers stay loaded while the programs run; alike in every arm.
    #[serde(default)]
    pub fillers: FillerRule,
    /// Order of visits; by default the trigger's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Programs loaded in every case, of which it runs `programs`; by default those alone are loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<u32>,
    /// CPUs to run further windows on, all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Programs a second that come and go during further windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub churn: Option<u32>,
    /// Fresh loads of each case.
    #[serde(default = "default_trials")]
    pub trials: u32,
    /// Counted windows in each trial.
    #[serde(default = "default_samples")]
    pub samples: u32,
}

fn default_body() -> Body {
    Body::B128
}
fn default_pack() -> Vec<PackMode> {
    vec![PackMode::On, PackMode::Off]
}
fn default_stride() -> Stride {
    Stride::PageAndGuard
}
fn default_offset() -> OffsetRule {
    OffsetRule::Walk
}
fn default_trials() -> u32 {
    12
}
fn default_samples() -> u32 {
    40
}

/// Most programs a case may ask for: the JITed text of more does not fit the 1 GiB module area in any arm.
pub const MOST_PROGRAMS: u32 = 1 << 20;

/// Most programs a second that come and go: the kernel frees each on a work queue after a grace period, and more under way at once
/// than it has workers for can block each other.
pub const MOST_CHURN: u32 = 400;

/// Most programs with a 2 MiB region each: together with what else the module area holds.
pub const MOST_REGIONS: u32 = 200;

/// Why a workload cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("unknown workload `{name}`; built in are: {known}; or give the path of a .toml file")]
    Unknown { name: String, known: String },
    #[error("failed to read workload `{path}`: {source}")]
    Read { path: String, source: std::io::Error },
    /// What is wrong, and where in the file; the place is unknown if the command line changed the value.
    #[error("workload `{file}`{}: {message}", place.map(|place| format!(", {place}")).unwrap_or_default())]
    Bad { file: String, place: Option<Place>, message: String },
}

/// A value that makes no sense.
struct Problem {
    key: &'static str,
    /// Which item of a list.
    item: Option<usize>,
    message: String,
}

impl Problem {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, item: None, message: message.into() }
    }

    fn at(self, item: usize) -> Self {
        Self { item: Some(item), ..self }
    }

    /// As an error of `file`, whose text is `text` if the value comes from there.
    fn of(self, file: &str, text: Option<&str>) -> SpecError {
        let place = text.and_then(|text| Place::of_value(text, self.key, self.item));
        SpecError::Bad { file: file.to_owned(), place, message: format!("`{}` {}", self.key, self.message) }
    }
}

impl Spec {
    /// Finds a workload by built-in name, or reads it from a path that ends in `.toml`.
    pub fn find(name: &str) -> Result<Self, SpecError> {
        if name.ends_with(".toml") {
            let text = std::fs::read_to_string(Path::new(name))
                .map_err(|source| SpecError::Read { path: name.to_owned(), source })?;
            return Self::parse(name, &text);
        }
        Self::builtin(name)
    }

    /// One of the workloads embedded in the binary.
    pub fn builtin(name: &str) -> Result<Self, SpecError> {
        match builtin::WORKLOADS.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::parse(&format!("{name}.toml"), text),
            None => Err(SpecError::Unknown {
                name: name.to_owned(),
                known: builtin::WORKLOADS.map(|(known, _)| known).join(", "),
            }),
        }
    }

    /// Parses a workload; `file` is named in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, SpecError> {
        let spec: Self = toml::from_str(text).map_err(|error| refused(file, text, &error))?;
        spec.problem().map_or(Ok(()), |problem| Err(problem.of(file, Some(text))))?;
        Ok(spec)
    }

    /// Checks the values that TOML's types leave open; call again after changing any.
    pub fn check(&self, file: &str) -> Result<(), SpecError> {
        self.problem().map_or(Ok(()), |problem| Err(problem.of(file, None)))
    }

    fn problem(&self) -> Option<Problem> {
        let programs = self.problem_of_programs().or_else(|| self.problem_of_loaded());
        programs
            .or_else(|| self.problem_of_arms())
            .or_else(|| self.problem_of_order())
            .or_else(|| self.problem_of_numbers())
    }

    fn problem_of_programs(&self) -> Option<Problem> {
        if self.programs.is_empty() {
            return Some(Problem::new("programs", "is empty; give at least one number"));
        }
        if let Some(at) = self.programs.iter().position(|&n| n == 0 || n > MOST_PROGRAMS) {
            return Some(Problem::new("programs", "must be between 1 and 1048576").at(at));
        }
        duplicate(&self.programs).map(|at| Problem::new("programs", "names a number twice").at(at))
    }

    fn problem_of_loaded(&self) -> Option<Problem> {
        let loaded = self.loaded?;
        let most = self.programs.iter().copied().max().unwrap_or(0);
        let message = match loaded {
            loaded if loaded > MOST_PROGRAMS => "must be at most 1048576".to_owned(),
            loaded if loaded < most => format!("must be at least {most}, the most of `programs`, which are run"),
            _ => return None,
        };
        Some(Problem::new("loaded", message))
    }

    fn problem_of_order(&self) -> Option<Problem> {
        let order = self.order?;
        if let Some(refused) = order.refused_by(self.trigger) {
            return Some(Problem::new("order", refused));
        }
        let placebo = self.pack.contains(&PackMode::Placebo) && order == Order::Sequential;
        placebo.then(|| Problem::new("order", "`sequential` leaves the arm `placebo` no other order; use \"permuted\""))
    }

    fn problem_of_arms(&self) -> Option<Problem> {
        let once = "must name each arm once, for instance [\"on\", \"off\"]";
        if self.pack.is_empty() {
            return Some(Problem::new("pack", once));
        }
        if let Some(at) = duplicate(&self.pack) {
            return Some(Problem::new("pack", once).at(at));
        }
        let regions = self.pack.contains(&PackMode::OffTwoMeg);
        let too_many = |n: u32| regions && self.loaded.unwrap_or(n) > MOST_REGIONS;
        let at = self.programs.iter().position(|&n| too_many(n))?;
        let message = "must be at most 200 with the arm `off-2m`: each takes 2 MiB of the kernel's 1 GiB for modules and JITed code";
        Some(Problem::new("programs", message).at(at))
    }

    fn problem_of_numbers(&self) -> Option<Problem> {
        if self.churn.is_some_and(|per_s| !(1..=MOST_CHURN).contains(&per_s)) {
            let why = "must be between 1 and 400 a second: the kernel frees on a work queue, which more would fill";
            return Some(Problem::new("churn", why));
        }
        let zero = [("trials", self.trials), ("samples", self.samples)].into_iter().find(|(_, number)| *number == 0);
        zero.map(|(key, _)| Problem::new(key, "must be at least 1"))
    }

    /// The case of this workload at one number of programs and one arm.
    pub fn case(&self, programs: u32, pack: PackMode) -> Case {
        Case {
            workload: self.name.clone(),
            trigger: self.trigger,
            body: self.body,
            programs,
            pack,
            stride: self.stride,
            offset: self.offset,
            fillers: self.fillers,
            fillers_of: PackMode::with_most_fillers(&self.pack),
            order: self.order.filter(|order| *order != Order::of(self.trigger)),
            loaded: self.loaded.filter(|loaded| *loaded != programs),
        }
    }
}

/// What TOML or a type refuses, with the key where the value is at fault.
fn refused(file: &str, text: &str, error: &toml::de::Error) -> SpecError {
    let message = error.message().replace('\n', "; ");
    // What is missing stands nowhere.
    let offset = error.span().map(|span| span.start).filter(|_| !message.starts_with("missing field"));
    let key = offset.and_then(|offset| source::key_of_value(text, offset));
    let message = key.map_or(message.clone(), |key| format!("`{key}`: {message}"));
    SpecError::Bad { file: file.to_owned(), place: offset.map(|offset| Place::of(text, offset)), message }
}

/// Position of the first item that stands in the list already.
fn duplicate<T: PartialEq>(items: &[T]) -> Option<usize> {
    (0..items.len()).find(|&at| items[..at].contains(&items[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_parses_under_its_own_name() {
        for (name, _) in builtin::WORKLOADS {
            assert_eq!(Spec::builtin(name).expect(name).name, name);
        }
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let head = "name=\"x\"\nquestion=\"q\"\nexpectation=\"e\"\ntrigger=\"chain\"\n";
        let cases = [
            ("", "name = \"x\"\nquestion = \"q\"\nprogramms = [1]\n", "line 3, column 1: unknown field `programms`"),
            ("", "name = \"x\"\nname = \"y\"\n", "line 2, column 1: duplicate key"),
            ("", "name = 3\n", "line 1, column 8: `name`: invalid type: integer `3`, expected a string"),
            ("", "name = \"x\n", "line 1, column"),
            (head, "programs=[]\n", "line 5, column 10: `programs` is empty"),
            (head, "programs=[8,\n 0]\n", "line 6, column 2: `programs` must be between 1 and 1048576"),
            (head, "programs=[8, -1]\n", "line 5, column 14: `programs`: invalid value: integer `-1`, expected u32"),
            (head, "programs=[8, 8]\n", "line 5, column 14: `programs` names a number twice"),
            (head, "programs=[8]\npack = [\"on\", \"of\"]\n", "line 6, column 15: `pack`: unknown variant `of`"),
            (head, "programs=[8]\npack = [\"on\", \"on\"]\n", "line 6, column 15: `pack` must name each arm once"),
            (
                head,
                "programs=[8]\norder = \"zipf(9)\"\n",
                "line 6, column 9: `order`: unknown order `zipf(9)`: expected `sequential`",
            ),
            (
                head,
                "programs=[8]\norder = \"zipf(1)\"\n",
                "line 6, column 9: `order` `zipf(1)` does not go with trigger `chain`",
            ),
            (
                head,
                "programs=[8]\npack=[\"placebo\"]\norder='sequential'\n",
                "line 7, column 7: `order` `sequential` leaves the arm `placebo` no other order",
            ),
            (head, "programs=[8, 9]\nloaded=8\n", "line 6, column 8: `loaded` must be at least 9"),
            (head, "programs=[8]\nsamples = 0\n", "line 6, column 11: `samples` must be at least 1"),
            (
                head,
                "programs=[9, 201]\npack=[\"off-2m\"]\n",
                "line 5, column 14: `programs` must be at most 200 with the arm `off-2m`",
            ),
        ];
        for (head, text, expected) in cases {
            let error = Spec::parse("f.toml", &format!("{head}{text}")).expect_err(text).to_string();
            assert!(error.starts_with(&format!("workload `f.toml`, {expected}")), "{error}");
        }
        let missing = Spec::parse("f.toml", head).expect_err("no programs").to_string();
        assert_eq!(missing, "workload `f.toml`: missing field `programs`");
    }

    #[test]
    fn a_value_of_the_command_line_has_no_place_in_the_file() {
        let spec = Spec { trials: 0, ..Spec::builtin("chain").expect("built in") };
        let error = spec.check("chain").expect_err("no trials").to_string();
        assert_eq!(error, "workload `chain`: `trials` must be at least 1");
    }

    #[test]
    fn unknown_workload_lists_the_known() {
        let error = Spec::find("chian").expect_err("no such workload").to_string();
        assert!(error.contains("`chian`") && error.contains("chain, "), "{error}");
    }
}
