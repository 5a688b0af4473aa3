//! A table before any output has given it a form: what HTML makes sortable, Markdown writes with bars.

/// One table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    /// What the figures are, in a sentence or two.
    pub note: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

/// Head of a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub head: String,
    /// Where the figures come from (measured, timed, simulated); empty for names and counts.
    pub provenance: String,
    pub align: Align,
}

/// Side that the cells of a column lean to: figures stand one under the other, words begin at one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// What a reader sees in a cell, and what the column is sorted by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    pub text: String,
    /// Smaller print: interval, provenance, n.
    pub notes: Vec<String>,
    /// Number to sort by; words are sorted as words.
    pub key: Option<f64>,
    pub tone: Tone,
}

/// Whether a cell says that something costs more or less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Higher,
    Lower,
}

impl Column {
    /// A column of names.
    pub fn words(head: impl Into<String>) -> Self {
        Self { head: head.into(), provenance: String::new(), align: Align::Left }
    }

    /// A column of figures.
    pub fn figures(head: impl Into<String>) -> Self {
        Self { head: head.into(), provenance: String::new(), align: Align::Right }
    }

    /// With where its figures come from.
    pub fn from(self, provenance: impl Into<String>) -> Self {
        Self { provenance: provenance.into(), ..self }
    }
}

impl Cell {
    /// A name or a sentence.
    pub fn words(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A figure as `text` shows it; one that is not finite has no place in the order.
    pub fn figure(key: f64, text: impl Into<String>) -> Self {
        Self { text: text.into(), key: Some(key).filter(|key| key.is_finite()), ..Self::default() }
    }

    /// A count.
    pub fn count(number: impl TryInto<u64>) -> Self {
        let number = number.try_into().unwrap_or(u64::MAX);
        Self::figure(number as f64, number.to_string())
    }

    /// With a line of smaller print; nothing is added for an empty one.
    pub fn with(mut self, note: impl Into<String>) -> Self {
        self.notes.extend(Some(note.into()).filter(|note| !note.is_empty()));
        self
    }

    /// In the colour of what it says.
    pub fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_none_is_not_sorted() {
        assert_eq!(Cell::figure(f64::NAN, "-").key, None);
        assert_eq!(Cell::count(7_u32), Cell::figure(7.0, "7"));
        assert_eq!(Cell::words("x").with("").with("n = 3").notes, ["n = 3"]);
    }
}
