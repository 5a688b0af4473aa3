//! The CPUs on which windows are run at once.

use std::fmt;
use std::str::FromStr;

use super::as_text::serde_as_text;

/// Which CPUs, the one that is measured alone among them or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// Every CPU this process may use.
    All,
    /// These, ascending.
    List(Vec<u32>),
}

/// No kernel has more (`NR_CPUS` at most).
const MOST_CPU: u32 = 8191;

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::List(cpus) => f.write_str(&cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

serde_as_text!(Cpus);

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last && last <= MOST_CPU).then_some(first..=last)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        let mut cpus: Vec<u32> = ranges
            .ok_or_else(|| format!("`{text}` is no list of CPUs: use \"all\", or numbers and ranges as in \"0,2-3\""))?
            .into_iter()
            .flatten()
            .collect();
        cpus.sort_unstable();
        let named = cpus.len();
        cpus.dedup();
        match cpus.len() == named {
            true => Ok(Self::List(cpus)),
            false => Err(format!("`{text}` names a CPU twice")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, expected) in [("all", "all"), ("0", "0"), ("3,0-1", "0,1,3"), (" 1 , 2 ", "1,2")] {
            assert_eq!(text.parse::<Cpus>().expect(text).to_string(), expected);
        }
        for text in ["", "x", "2-1", "1,1", "0-2,1", "-1", "8192", "All"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }
}
