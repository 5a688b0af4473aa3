//! In: a run boiled down, or a comparison. Out: one document of headed sections, which HTML and Markdown both write out.
//! Apart so that the two cannot tell different things.

mod comparison;
mod facts;
mod figures;
mod run;

pub use comparison::of_comparison;
pub use run::of_run;

use super::chart::Drawing;
use super::sheet::{Sheet, Tone};

/// The whole report, in reading order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document<'a> {
    pub title: String,
    /// Host, kernel, time.
    pub subtitle: String,
    pub simulated: bool,
    pub claims: Vec<Claim>,
    pub sections: Vec<Section<'a>>,
}

/// One sentence of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub subject: String,
    /// The figure in large print.
    pub figure: String,
    pub sentence: String,
    pub tone: Tone,
}

/// A headed part.
#[derive(Clone, Debug, PartialEq)]
pub struct Section<'a> {
    pub title: &'static str,
    pub parts: Vec<Part<'a>>,
}

/// What a section is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Part<'a> {
    Prose(String),
    Sheet(Sheet),
    /// Sentences, one an item.
    Items(Vec<String>),
    /// Names and values.
    Facts(Vec<(String, String)>),
    /// Text to be taken as it is.
    Verbatim(String),
    Chart(&'a Drawing),
    /// Shown on demand, behind its line.
    Folded(String, Vec<Part<'a>>),
}
