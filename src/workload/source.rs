//! Where in the text of a workload file a key or a value stands, for errors that point at it.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A line and a column, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// Of the byte at `offset`; behind the end of the text it is the end.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    /// Of the value of a key, or of one item of its list; `None` if the text has no such key.
    pub fn of_value(text: &str, key: &str, item: Option<usize>) -> Option<Self> {
        let table = DeTable::parse(text).ok()?;
        let (_, value) = table.get_ref().iter().find(|(known, _)| known.get_ref() == key)?;
        let item = item.and_then(|at| value.get_ref().as_array()?.get(at).map(Spanned::span));
        Some(Self::of(text, item.unwrap_or_else(|| value.span()).start))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// The key whose value holds the byte at `offset`; `None` outside of values, as at a key itself.
pub fn key_of_value(text: &str, offset: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let holds = |value: &Spanned<DeValue<'_>>| -> bool {
        let Range { start, end } = value.span();
        (start..end).contains(&offset)
    };
    table.get_ref().iter().find(|(_, value)| holds(value)).map(|(key, _)| key.get_ref().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"\u{e4}\"\nprograms = [8,\n  0]\n";

    #[test]
    fn lines_and_columns_begin_at_one_and_count_characters() {
        assert_eq!(Place::of(TEXT, 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of(TEXT, TEXT.find("programs").expect("there")), Place { line: 2, column: 1 });
        assert_eq!(Place::of("\u{e4}\u{e4}x", 4).column, 3);
        assert_eq!(Place::of("ab", 99), Place { line: 1, column: 3 });
    }

    #[test]
    fn a_value_and_each_item_of_it_is_found() {
        assert_eq!(Place::of_value(TEXT, "programs", None), Some(Place { line: 2, column: 12 }));
        assert_eq!(Place::of_value(TEXT, "programs", Some(1)), Some(Place { line: 3, column: 3 }));
        assert_eq!(Place::of_value(TEXT, "programms", None), None);
    }

    #[test]
    fn a_key_is_found_by_what_stands_in_its_value() {
        let at = |text: &str| key_of_value(TEXT, TEXT.find(text).expect("there"));
        assert_eq!(at("0]").as_deref(), Some("programs"));
        assert_eq!(at("programs"), None);
    }
}
