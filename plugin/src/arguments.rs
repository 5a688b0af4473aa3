//! What stands behind the plugin's name on qemu's command line: `out=FILE,model=NAME[,jit=FROM-TO]`.

use std::ops::Range;
use std::path::PathBuf;

use crate::model::geometry::{Named, UnknownModel};

/// Where x86_64 puts modules and BPF programs in a kernel that can move itself (CONFIG_RANDOMIZE_BASE, moved or not).
pub const MODULES: Range<u64> = 0xffff_ffff_c000_0000..0xffff_ffff_ff00_0000;

/// The arguments, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Where the counts go.
    pub out: PathBuf,
    /// Which iTLB is modelled.
    pub model: Named,
    /// Fetches from here are of JIT text.
    pub jit: Range<u64>,
}

/// Why they cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArgument {
    #[error("unknown argument `{0}`; known are out=FILE, model=NAME and jit=FROM-TO")]
    Unknown(String),
    #[error("`{0}=` is given twice")]
    Twice(&'static str),
    #[error("`{0}=` is missing")]
    Missing(&'static str),
    #[error("`jit={0}` is no range of addresses; wanted is, for instance, jit=0xffffffffc0000000-0xffffffffff000000")]
    Range(String),
    #[error(transparent)]
    Model(#[from] UnknownModel),
}

impl Arguments {
    /// Reads `key=value` strings.
    pub fn parse<'a>(given: impl IntoIterator<Item = &'a str>) -> Result<Self, BadArgument> {
        let (mut out, mut model, mut jit) = (None, None, None);
        for argument in given {
            let unknown = || BadArgument::Unknown(argument.to_owned());
            let (key, value) = argument.split_once('=').ok_or_else(unknown)?;
            match key {
                "out" => once("out", &mut out, PathBuf::from(value))?,
                "model" => once("model", &mut model, Named::find(value)?)?,
                "jit" => once("jit", &mut jit, range(value).ok_or_else(|| BadArgument::Range(value.to_owned()))?)?,
                _ => return Err(unknown()),
            }
        }
        let out = out.filter(|path| !path.as_os_str().is_empty()).ok_or(BadArgument::Missing("out"))?;
        let model = model.ok_or(BadArgument::Missing("model"))?;
        Ok(Self { out, model, jit: jit.unwrap_or(MODULES) })
    }
}

fn once<T>(key: &'static str, slot: &mut Option<T>, value: T) -> Result<(), BadArgument> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(BadArgument::Twice(key)),
    }
}

fn range(text: &str) -> Option<Range<u64>> {
    let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let (from, to) = text.split_once('-')?;
    let range = number(from)?..number(to)?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(given: &[&str]) -> String {
        Arguments::parse(given.iter().copied()).unwrap_err().to_string()
    }

    #[test]
    fn the_file_and_the_model_suffice() {
        let arguments = Arguments::parse(["out=/tmp/a=b", "model=zen3+coalescing"]).unwrap();
        assert_eq!((arguments.out, arguments.jit), (PathBuf::from("/tmp/a=b"), MODULES));
        assert_eq!(arguments.model.geometry.coalesced, 4);
        let arguments = Arguments::parse(["jit=0x10-0x20", "out=x", "model=skylake"]).unwrap();
        assert_eq!(arguments.jit, 0x10..0x20);
    }

    #[test]
    fn whatever_else_is_refused_by_name() {
        assert_eq!(refused(&["out=x"]), "`model=` is missing");
        assert_eq!(refused(&["model=zen3", "out="]), "`out=` is missing");
        assert_eq!(refused(&["out=x", "out=y"]), "`out=` is given twice");
        assert_eq!(
            refused(&["out=x", "model=zen9"]),
            "no iTLB model is called `zen9`; `itlbench list models` names them"
        );
        assert!(refused(&["on"]).starts_with("unknown argument `on`"));
        assert!(refused(&["size=1"]).starts_with("unknown argument `size=1`"));
        for text in ["", "0x1", "0x2-0x1", "1-2", "0x1-0x1", "0x1-0x10000000000000000"] {
            assert!(refused(&[&format!("jit={text}")]).contains("no range of addresses"), "{text}");
        }
    }
}
