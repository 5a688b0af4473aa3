//! The words of `--counters`: names of the catalogue, raw codes, and perf's event syntax.
//!
//! `pmu/term=value,.../` is resolved as perf does it (`pmu_config_term`, `perf_pmu__check_alias` in
//! tools/perf/util/pmu.c): an event of the PMU stands for its terms, a term without a value is 1, values are spread over
//! the bits the format names, and terms that overlap are or-ed.

use super::host::Host;
use super::names::{self, Known};
use super::pmu::{Pmu, Word};
use super::{CountSide, EventCode, Role};

/// An event asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub role: Role,
    /// As it was asked for, or as the vendor calls it.
    pub name: String,
    pub code: EventCode,
    pub source: Source,
    /// `:k` or `:u` behind the name.
    pub side: Option<CountSide>,
    /// General-purpose counters that can hold it.
    pub counters: u64,
}

/// What counts an event, as far as groups and exclusion are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The CPU's own counters.
    Core,
    /// The kernel itself: software events and tracepoints.
    Kernel,
    /// Another PMU, by name; `system_wide` ones know no task.
    Other { pmu: String, system_wide: bool },
}

/// A word that names no event, and what would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no event `{word}`: {reason}")]
pub struct BadEvent {
    pub word: String,
    pub reason: String,
}

/// Every event of a list, in its order.
pub fn parse(list: &str, host: &Host) -> Result<Vec<Wanted>, BadEvent> {
    let mut all: Vec<Wanted> = Vec::new();
    for word in split(list) {
        let wanted = one(word, host).map_err(|reason| BadEvent { word: word.to_owned(), reason })?;
        if let Some(twice) = all.iter().find(|other| other.code == wanted.code && other.side == wanted.side) {
            let reason = format!("it is named twice, as `{}` before", twice.name);
            return Err(BadEvent { word: word.to_owned(), reason });
        }
        all.push(wanted);
    }
    Ok(all)
}

/// At the commas that are not between slashes.
fn split(list: &str) -> Vec<&str> {
    let mut inside = false;
    list.split(|c| {
        inside ^= c == '/';
        c == ',' && !inside
    })
    .map(str::trim)
    .collect()
}

fn one(word: &str, host: &Host) -> Result<Wanted, String> {
    if word.is_empty() {
        return Err("the list has an empty place".to_owned());
    }
    if word.contains(['{', '}']) {
        return Err("groups are formed by the tool, leave out the braces".to_owned());
    }
    if let Some((pmu, rest)) = word.split_once('/') {
        return pmu_event(word, pmu, rest, host);
    }
    let (name, side) = modifier(word)?;
    let wanted = named(name, host)?;
    Ok(Wanted { side, ..wanted })
}

/// A name or raw code, without slashes.
fn named(name: &str, host: &Host) -> Result<Wanted, String> {
    if let Some(entry) = host.entry(name) {
        return host.lacks(entry).map_or_else(|| Ok(host.of_entry(entry)), Err);
    }
    if let Some(known) = names::known(name) {
        return Ok(of_known(name, known, host));
    }
    if let Some((system, event)) = name.split_once(':') {
        return tracepoint(name, system, event, host);
    }
    if let Some(digits) = name.strip_prefix('r').map(|rest| rest.strip_prefix("0x").unwrap_or(rest))
        && (1..=16).contains(&digits.len())
        && let Ok(config) = u64::from_str_radix(digits, 16)
    {
        return Ok(plain(name, EventCode::new(host.raw_type(), config), Source::Core));
    }
    Err(match Role::named(name) {
        Some(_) => "this CPU has no event for that role; see `itlbench list events`".to_owned(),
        None => "it is no event of this CPU's catalogue (`itlbench list events`), no generic name of perf, no raw \
                 code such as r0e85, and no `pmu/term=value/`"
            .to_owned(),
    })
}

fn of_known(name: &str, known: Known, host: &Host) -> Wanted {
    let source = if known.pmu_type == EventCode::SOFTWARE { Source::Kernel } else { Source::Core };
    let code = host.generic_code(known.pmu_type, known.config);
    Wanted { role: known.role, ..plain(name, code, source) }
}

fn plain(name: &str, code: EventCode, source: Source) -> Wanted {
    Wanted { role: Role::Other, name: name.to_owned(), code, source, side: None, counters: u64::MAX }
}

fn tracepoint(name: &str, system: &str, event: &str, host: &Host) -> Result<Wanted, String> {
    match host.pmus.tracepoint(system, event) {
        Some(id) => Ok(plain(name, EventCode::new(EventCode::TRACEPOINT, id), Source::Kernel)),
        None if host.pmus.has_tracing() => Err(format!("no tracepoint `{event}` in tracefs under events/{system}")),
        None => Err("a tracepoint needs tracefs: mount -t tracefs tracefs /sys/kernel/tracing, and be root".to_owned()),
    }
}

/// Takes `:k` or `:u` off; a colon with anything else belongs to the name of a tracepoint.
fn modifier(word: &str) -> Result<(&str, Option<CountSide>), String> {
    let Some((name, letters)) = word.rsplit_once(':') else { return Ok((word, None)) };
    let side = match letters {
        "k" => Some(CountSide::Kernel),
        "u" => Some(CountSide::User),
        "uk" | "ku" => Some(CountSide::Both),
        _ if letters.len() <= 3 && letters.chars().all(|c| "ukhpPGHSDIWeb".contains(c)) => {
            return Err(format!("modifier `:{letters}` is not taken; there are :k, :u and :uk"));
        }
        _ => None,
    };
    Ok((if side.is_some() { name } else { word }, side))
}

fn pmu_event(word: &str, name: &str, rest: &str, host: &Host) -> Result<Wanted, String> {
    let Some((terms, behind)) = rest.split_once('/') else {
        return Err("the second slash is missing".to_owned());
    };
    let (_, side) = match behind {
        "" => ("", None),
        // perf takes `cpu/.../k` as well as `cpu/.../:k`.
        letters => modifier(&format!(":{}", letters.trim_start_matches(':')))
            .and_then(|(rest, side)| match side {
                Some(side) => Ok((rest, Some(side))),
                None => Err(format!("`{letters}` behind the last slash is no modifier")),
            })
            .map(|(_, side)| ("", side))?,
    };
    let pmu = host.pmus.named(name).ok_or_else(|| match host.pmus.names().as_str() {
        "" => format!("no PMU `{name}`, this host shows none"),
        names => format!("no PMU `{name}` on this host; it has {names}"),
    })?;
    let code = Terms::of(pmu, terms)?.code()?;
    let source = match (pmu.is_core(), pmu.pmu_type) {
        (true, _) => Source::Core,
        (_, EventCode::SOFTWARE | EventCode::TRACEPOINT) => Source::Kernel,
        _ => Source::Other { pmu: pmu.name.clone(), system_wide: pmu.system_wide },
    };
    let role = match word {
        "msr/tsc/" => Role::Tsc,
        "msr/aperf/" => Role::Aperf,
        "msr/mperf/" => Role::Mperf,
        "msr/smi/" => Role::Smis,
        _ => Role::Other,
    };
    Ok(Wanted { role, side, ..plain(word, code, source) })
}

/// Terms that perf takes of every PMU and that say nothing of what is counted (`config_term_names` in
/// tools/perf/util/parse-events.c).
const PERFS_OWN: [&str; 20] = [
    "name",
    "period",
    "freq",
    "branch_type",
    "time",
    "call-graph",
    "stack-size",
    "inherit",
    "no-inherit",
    "max-stack",
    "nr",
    "overwrite",
    "no-overwrite",
    "driver-config",
    "percore",
    "aux-output",
    "aux-action",
    "aux-sample-size",
    "metric-id",
    "cpu",
];

/// A term and its value; a bare term is 1.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

/// The terms of one event, its aliases resolved.
struct Terms<'a> {
    pmu: &'a Pmu,
    terms: Vec<Term<'a>>,
}

impl<'a> Terms<'a> {
    fn of(pmu: &'a Pmu, text: &'a str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for term in split_terms(text)? {
            let bare = term.value.is_none() || term.value == Some("1");
            match pmu.aliases.get(term.name).filter(|_| bare && !pmu.formats.contains_key(term.name)) {
                Some(alias) => terms.extend(split_terms(alias)?),
                None => terms.push(term),
            }
        }
        Ok(Self { pmu, terms })
    }

    fn code(&self) -> Result<EventCode, String> {
        let mut code = EventCode::new(self.pmu.pmu_type, 0);
        // A parameter of an event (`core=?`) takes the value that the user gives, which then counts no second time.
        let asked: Vec<&str> = self.terms.iter().filter(|term| term.value == Some("?")).map(|term| term.name).collect();
        for term in &self.terms {
            let is_parameter = asked.contains(&term.name);
            match term.value {
                Some("?") => self.add(&mut code, &self.given(term.name)?)?,
                _ if is_parameter => {}
                _ => self.add(&mut code, term)?,
            }
        }
        Ok(code)
    }

    fn given(&self, name: &str) -> Result<Term<'a>, String> {
        let given = self.terms.iter().find(|term| term.name == name && term.value != Some("?"));
        given.cloned().ok_or_else(|| format!("parameter `{name}` must be given a value"))
    }

    fn add(&self, code: &mut EventCode, term: &Term<'_>) -> Result<(), String> {
        if let Some(raw) = raw_term(term) {
            code.config |= raw;
            return Ok(());
        }
        if let Some(word) = whole_word(term.name) {
            *place(code, word) |= number(term)?;
            return Ok(());
        }
        let Some(format) = self.pmu.formats.get(term.name) else {
            if PERFS_OWN.contains(&term.name) {
                return Err(format!("term `{}` is for perf's sampling and printing, leave it out", term.name));
            }
            return Err(format!("PMU `{}` has no term `{}`; it has {}", self.pmu.name, term.name, self.pmu.offers()));
        };
        if term.value.is_none() && format.mask.count_ones() > 1 {
            return Err(format!("term `{}` needs a value", term.name));
        }
        let value = number(term)?;
        if value > format.most() {
            return Err(format!(
                "value {value:#x} of term `{}` is too big, the most is {:#x}",
                term.name,
                format.most()
            ));
        }
        *place(code, format.word) |= format.spread(value);
        Ok(())
    }
}

fn split_terms(text: &str) -> Result<Vec<Term<'_>>, String> {
    let terms = text.split(',').map(str::trim).filter(|term| !term.is_empty());
    let terms: Vec<Term<'_>> = terms
        .map(|term| match term.split_once('=') {
            Some((name, value)) => Term { name: name.trim(), value: Some(value.trim()) },
            None => Term { name: term, value: None },
        })
        .collect();
    if terms.is_empty() { Err("nothing stands between its slashes".to_owned()) } else { Ok(terms) }
}

fn number(term: &Term<'_>) -> Result<u64, String> {
    let Some(text) = term.value else { return Ok(1) };
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("value `{text}` of term `{}` is no number", term.name))
}

/// `config=` to `config3=` set a word outright.
fn whole_word(name: &str) -> Option<Word> {
    match name {
        "config" => Some(Word::Config),
        "config1" => Some(Word::Config1),
        "config2" => Some(Word::Config2),
        "config3" => Some(Word::Config3),
        _ => None,
    }
}

/// `cpu/r0e85/`.
fn raw_term(term: &Term<'_>) -> Option<u64> {
    let digits = term.name.strip_prefix('r').filter(|digits| term.value.is_none() && !digits.is_empty())?;
    u64::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), 16).ok()
}

fn place(code: &mut EventCode, word: Word) -> &mut u64 {
    match word {
        Word::Config => &mut code.config,
        Word::Config1 => &mut code.config1,
        Word::Config2 => &mut code.config2,
        Word::Config3 => &mut code.config3,
    }
}

#[cfg(test)]
mod tests;
