//! Workload files: strict TOML, every error with file, line and key.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::builtin;
use super::case::{Body, Case, FillerRule, OffsetRule, PackMode, Stride, TriggerKind};

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

/// Most programs with a 2 MiB region each: together with what else the module area holds.
pub const MOST_REGIONS: u32 = 200;

/// Why a workload cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("unknown workload `{name}`; built in are: {known}; or give the path of a .toml file")]
    Unknown { name: String, known: String },
    #[error("failed to read workload `{path}`: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("workload `{file}`, line {line}: {message}")]
    Syntax { file: String, line: usize, message: String },
    #[error("workload `{file}`: `{key}` {message}")]
    Value { file: String, key: &'static str, message: String },
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
        let spec: Self = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start.min(text.len()));
            SpecError::Syntax {
                file: file.to_owned(),
                line: text[..offset].matches('\n').count() + 1,
                message: error.message().replace('\n', "; "),
            }
        })?;
        spec.check(file)?;
        Ok(spec)
    }

    /// Checks the values that TOML's types leave open; call again after changing any.
    pub fn check(&self, file: &str) -> Result<(), SpecError> {
        let bad =
            |key, message: &str| Err(SpecError::Value { file: file.to_owned(), key, message: message.to_owned() });
        if self.programs.is_empty() {
            return bad("programs", "is empty; give at least one number");
        }
        if self.programs.iter().any(|&n| n == 0 || n > MOST_PROGRAMS) {
            return bad("programs", "must be between 1 and 1048576");
        }
        if has_duplicates(&self.programs) {
            return bad("programs", "names a number twice");
        }
        if self.pack.is_empty() || has_duplicates(&self.pack) {
            return bad("pack", "must name each arm once, for instance [\"on\", \"off\"]");
        }
        if self.pack.contains(&PackMode::OffTwoMeg) && self.programs.iter().any(|&n| n > MOST_REGIONS) {
            return bad(
                "programs",
                "must be at most 200 with the arm `off-2m`: each takes 2 MiB of the kernel's 1 GiB for modules and JITed code",
            );
        }
        if self.trials == 0 {
            return bad("trials", "must be at least 1");
        }
        if self.samples == 0 {
            return bad("samples", "must be at least 1");
        }
        Ok(())
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
        }
    }
}

fn has_duplicates<T: Ord + Clone>(items: &[T]) -> bool {
    let mut sorted = items.to_vec();
    sorted.sort();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
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
        let cases = [
            (
                "name = \"x\"\nquestion = \"q\"\nprogramms = [1]\n",
                "workload `f.toml`, line 3: unknown field `programms`",
            ),
            ("name = \"x\"\nname = \"y\"\n", "workload `f.toml`, line 2: duplicate key"),
            ("name = 3\n", "workload `f.toml`, line 1: invalid type: integer `3`, expected a string"),
            (
                "name=\"x\"\nquestion=\"q\"\nexpectation=\"e\"\ntrigger=\"chain\"\nprograms=[]\n",
                "workload `f.toml`: `programs` is empty",
            ),
            (
                "name=\"x\"\nquestion=\"q\"\nexpectation=\"e\"\ntrigger=\"chain\"\nprograms=[8, 8]\n",
                "workload `f.toml`: `programs` names a number twice",
            ),
            (
                "name=\"x\"\nquestion=\"q\"\nexpectation=\"e\"\ntrigger=\"chain\"\nprograms=[201]\npack=[\"off-2m\"]\n",
                "workload `f.toml`: `programs` must be at most 200 with the arm `off-2m`",
            ),
        ];
        for (text, expected) in cases {
            let error = Spec::parse("f.toml", text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn unknown_workload_lists_the_known() {
        let error = Spec::find("chian").expect_err("no such workload").to_string();
        assert!(error.contains("`chian`") && error.contains("chain, "), "{error}");
    }
}
