//! What stands behind the plugin's name on qemu's command line: `out=FILE,model=NAME[,jit=FROM-TO]`, or `probe=on,model=NAME`.

use std::ops::Range;
use std::path::PathBuf;

use crate::model::geometry::{Named, UnknownModel};

/// Where x86_64 puts modules and BPF programs in a kernel that can move itself (CONFIG_RANDOMIZE_BASE, moved or not); in others they
/// begin lower (`MODULES_VADDR`, arch/x86/include/asm/pgtable_64_types.h).
pub const MODULES: Range<u64> = 0xffff_ffff_c000_0000..0xffff_ffff_ff00_0000;
/// Where a kernel's image can lie (`__START_KERNEL_map`); modules and BPF programs are behind it.
const IMAGE: Range<u64> = 0xffff_ffff_8000_0000..MODULES.end;

/// Which fetches are of JIT text: what was `asked` for, else all behind the kernel's image, if the guest says where that ends.
pub fn jit_text(asked: Option<&Range<u64>>, kernel_end: u64) -> Range<u64> {
    match asked {
        Some(range) => range.clone(),
        None if IMAGE.contains(&kernel_end) => kernel_end..MODULES.end,
        None => MODULES,
    }
}

/// What the plugin is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To say whether it would work here with the model that was named.
    Probe,
    /// To count.
    Count(Arguments),
}

/// What counting takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Where the counts go.
    pub out: PathBuf,
    /// Which iTLB is modelled.
    pub model: Named,
    /// Fetches from here are of JIT text; without it the guest says what is.
    pub jit: Option<Range<u64>>,
}

/// Why they cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArgument {
    #[error("unknown argument `{0}`; known are out=FILE, model=NAME, jit=FROM-TO and probe=on")]
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

impl Asked {
    /// Reads `key=value` strings.
    pub fn parse<'a>(given: impl IntoIterator<Item = &'a str>) -> Result<Self, BadArgument> {
        let (mut out, mut model, mut jit, mut probe) = (None, None, None, None);
        for argument in given {
            let unknown = || BadArgument::Unknown(argument.to_owned());
            let (key, value) = argument.split_once('=').ok_or_else(unknown)?;
            match key {
                "out" => once("out", &mut out, PathBuf::from(value))?,
                "model" => once("model", &mut model, Named::find(value)?)?,
                "jit" => once("jit", &mut jit, range(value).ok_or_else(|| BadArgument::Range(value.to_owned()))?)?,
                "probe" if value == "on" => once("probe", &mut probe, ())?,
                _ => return Err(unknown()),
            }
        }
        let model = model.ok_or(BadArgument::Missing("model"))?;
        if probe.is_some() {
            return Ok(Self::Probe);
        }
        let out = out.filter(|path: &PathBuf| !path.as_os_str().is_empty()).ok_or(BadArgument::Missing("out"))?;
        Ok(Self::Count(Arguments { out, model, jit }))
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
        Asked::parse(given.iter().copied()).unwrap_err().to_string()
    }

    fn arguments(given: [&str; 3]) -> Arguments {
        match Asked::parse(given.into_iter().filter(|argument| !argument.is_empty())).unwrap() {
            Asked::Count(arguments) => arguments,
            Asked::Probe => panic!("a probe"),
        }
    }

    #[test]
    fn the_file_and_the_model_suffice() {
        let found = arguments(["out=/tmp/a=b", "model=zen3+coalescing", ""]);
        assert_eq!((found.out, found.jit), (PathBuf::from("/tmp/a=b"), None));
        assert_eq!(found.model.geometry.coalesced, 4);
        assert_eq!(arguments(["jit=0x10-0x20", "out=x", "model=skylake"]).jit, Some(0x10..0x20));
    }

    #[test]
    fn a_probe_needs_no_file_but_a_model_that_is_known() {
        assert_eq!(Asked::parse(["probe=on", "model=zen3"]), Ok(Asked::Probe));
        assert_eq!(refused(&["probe=on"]), "`model=` is missing");
        assert!(refused(&["probe=on", "model=zen9"]).starts_with("no iTLB model is called `zen9`"));
        assert!(refused(&["probe=off", "model=zen3"]).starts_with("unknown argument `probe=off`"));
    }

    #[test]
    fn jit_text_begins_where_the_guest_says_that_its_kernel_ends() {
        let end = 0xffff_ffff_82e0_0000;
        assert_eq!(jit_text(None, end), end..MODULES.end);
        for unknown in [0, 0x7fff_0000_0000, MODULES.end, u64::MAX] {
            assert_eq!(jit_text(None, unknown), MODULES, "{unknown:#x}");
        }
        assert_eq!(jit_text(Some(&(0x10..0x20)), end), 0x10..0x20);
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
