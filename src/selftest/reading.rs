//! KTAP read back, by the rules of the kernel's own parser (tools/testing/kunit): what holds a result, what is only said beside it.
//! Stricter than that where it forgives: it takes a missing plan, and counts lines it does not know as diagnostics.

/// A result line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub name: String,
    pub state: State,
    /// Why it was skipped.
    pub reason: Option<String>,
}

/// How a subtest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Passed,
    Failed,
    Skipped,
}

/// The results in `text`; an error says what is wrong with its first bad line.
pub fn read(text: &str) -> Result<Vec<Read>, String> {
    // A parser in Python takes a lone carriage return for the end of a line, too.
    let mut lines = text.split_inclusive(['\n', '\r']).map(|line| line.trim_end_matches(['\n', '\r']));
    if lines.next() != Some("KTAP version 1") {
        return Err("it does not begin with `KTAP version 1`".to_owned());
    }
    let plan: usize = lines
        .next()
        .and_then(|line| line.strip_prefix("1..")?.parse().ok())
        .ok_or("behind the version there is no plan")?;
    let mut results: Vec<Read> = Vec::new();
    for line in lines {
        if let Some(result) = result(line, results.len() + 1)? {
            results.push(result);
        } else if !line.starts_with("# ") {
            return Err(format!("`{line}` is neither a result nor a diagnostic"));
        } else if line.starts_with("# Subtest: ") {
            return Err(format!("`{line}` announces subtests"));
        }
    }
    match results.len() == plan {
        true => Ok(results),
        false => Err(format!("{plan} results were announced, {} are there", results.len())),
    }
}

/// A result, if the line has one; it must be number `expected`.
fn result(line: &str, expected: usize) -> Result<Option<Read>, String> {
    let line = line.trim_start();
    let (ok, rest) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Ok(None),
    };
    let (number, rest) = rest.split_once(' ').ok_or_else(|| format!("`{line}` has no name"))?;
    if number.parse() != Ok(expected) {
        return Err(format!("`{line}` should be number {expected}"));
    }
    let (name, directive) = match rest.split_once(" # ") {
        Some((name, directive)) => (name, Some(directive)),
        None => (rest, None),
    };
    if name.is_empty() || name.contains('#') || directive.is_some_and(|directive| directive.contains('#')) {
        return Err(format!("`{line}` has a hash too many"));
    }
    let reason = directive.and_then(|directive| directive.strip_prefix("SKIP"));
    let state = match (reason, ok) {
        (Some(_), _) => State::Skipped,
        (None, true) => State::Passed,
        (None, false) => State::Failed,
    };
    Ok(Some(Read { name: name.to_owned(), state, reason: reason.map(|reason| reason.trim().to_owned()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_with_names_states_and_reasons() {
        let text = "KTAP version 1\n1..3\n# note\nok 1 one\nnot ok 2 two\nok 3 three # SKIP no PMU\n# Totals: pass:1\n";
        let read = read(text).expect("KTAP");
        let names: Vec<(&str, State)> = read.iter().map(|one| (one.name.as_str(), one.state)).collect();
        assert_eq!(names, [("one", State::Passed), ("two", State::Failed), ("three", State::Skipped)]);
        assert_eq!(read[2].reason.as_deref(), Some("no PMU"));
    }

    #[test]
    fn what_a_parser_would_count_wrongly_is_an_error() {
        for (text, error) in [
            ("TAP version 13\n1..0\n", "does not begin"),
            ("KTAP version 1\nok 1 one\n", "no plan"),
            ("KTAP version 1\n1..2\nok 1 one\n", "2 results were announced, 1 are there"),
            ("KTAP version 1\n1..1\nok 2 one\n", "should be number 1"),
            ("KTAP version 1\n1..1\nok 1 one # two # SKIP\n", "hash too many"),
            ("KTAP version 1\n1..1\nhello\nok 1 one\n", "neither a result nor a diagnostic"),
            ("KTAP version 1\n1..1\n# a\rok 1 x\nok 1 one\n", "should be number 2"),
            ("KTAP version 1\n1..1\n# Subtest: x\nok 1 one\n", "announces subtests"),
        ] {
            assert!(read(text).expect_err(text).contains(error), "{text}");
        }
    }
}
