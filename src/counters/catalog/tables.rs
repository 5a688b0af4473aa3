//! The tables of the catalogue, line by line.

use std::fmt;
use std::str::FromStr;

use super::{Core, Cpu, Entry, Generic, Meaning};
use crate::counters::Role;

/// CPUs by vendor, family, model and stepping.
pub const CPUS: &str = include_str!("../data/cpus.tsv");
/// Events by CPU, core and role.
pub const EVENTS: &str = include_str!("../data/events.tsv");
/// The kernel's generic names.
pub const GENERIC: &str = include_str!("../data/generic.tsv");
/// What the roles count.
pub const ROLES: &str = include_str!("../data/roles.tsv");

/// A line of an embedded table that does not fit; only a change of the tables can bring it about.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine(String);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to read a line of the catalogue: `{}`", self.0)
    }
}

/// Every line that `read` understands; a line that it does not is a mistake in the table, which the tests find.
pub fn lines<T>(text: &'static str, read: impl Fn(&[&'static str]) -> Option<T>) -> Vec<T> {
    checked(text, read).into_iter().flatten().collect()
}

pub fn checked<T>(text: &'static str, read: impl Fn(&[&'static str]) -> Option<T>) -> Vec<Result<T, BadLine>> {
    let body = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    body.map(|line| read(&line.split('\t').collect::<Vec<_>>()).ok_or_else(|| BadLine(line.to_owned()))).collect()
}

pub fn cpu(columns: &[&'static str]) -> Option<Cpu> {
    let &[name, vendor, family, models, steppings, cores, version] = columns else { return None };
    Some(Cpu {
        name,
        vendor,
        family: family.parse().ok()?,
        models: spans(models)?,
        steppings: if steppings == "*" { Vec::new() } else { spans(steppings)? },
        cores: cores.split('/').map(Core::parse).collect::<Option<_>>()?,
        version,
    })
}

/// `0-2f,a5` in hexadecimal.
fn spans(text: &str) -> Option<Vec<(u32, u32)>> {
    let number = |digits: &str| u32::from_str_radix(digits, 16).ok();
    let span = |part: &str| match part.split_once('-') {
        Some((from, to)) => Some((number(from)?, number(to)?)),
        None => number(part).map(|only| (only, only)),
    };
    text.split(',').map(span).collect()
}

pub fn entry(columns: &[&'static str]) -> Option<(&'static str, Core, Entry)> {
    let &[cpu, core, role, name, config, config1, counters, errata] = columns else { return None };
    let entry = Entry {
        role: Role::named(role)?,
        name,
        config: hexadecimal(config)?,
        config1: hexadecimal(config1)?,
        counters: mask(counters)?,
        errata: errata.trim_matches('-'),
    };
    Some((cpu, Core::parse(core)?, entry))
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

pub fn mask(counters: &str) -> Option<u64> {
    if counters == "-" {
        return Some(u64::MAX);
    }
    let bit = |text: &str| u32::from_str(text).ok().filter(|&n| n < 32).map(|n| 1u64 << n);
    counters.split(',').try_fold(0, |mask, counter| Some(mask | bit(counter)?))
}

pub fn generic(columns: &[&'static str]) -> Option<(&'static str, Core, Generic)> {
    let &[cpu, core, loads, misses] = columns else { return None };
    let code = |text: &str| if text == "EINVAL" { Some(None) } else { hexadecimal(text).map(Some) };
    Some((cpu, Core::parse(core)?, Generic { loads: code(loads)?, misses: code(misses)? }))
}

pub fn meaning(columns: &[&'static str]) -> Option<(Role, &'static str, Meaning)> {
    let &[role, _, vendor, counts, not] = columns else { return None };
    Some((Role::named(role)?, vendor, Meaning { counts, not }))
}
