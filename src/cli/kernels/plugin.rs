//! Which plugin the guests get. It is asked once whether it works in this qemu, before the first boot: else every guest would die of it.

use std::path::PathBuf;

use super::Args;
use crate::cli::Failure;
use crate::runfile::manifest::Accelerator;
use crate::vm::qemu::{self, PLUGIN, Qemu};

/// What can be done about a plugin that was named and does not work.
const REMEDY: &str = "build it anew with `make plugin`, give a qemu of 9.2 to 11.0 with --qemu, or leave --plugin out: placement is shown without it";

/// The plugin, or why there is none.
pub type Chosen = Result<PathBuf, String>;

/// Chooses it. One that was named with --plugin must work where anything is emulated.
pub fn choose(args: &Args, qemu: &Qemu, cpus: u32, accelerators: &[Accelerator]) -> Result<Chosen, Failure> {
    if args.testing.selftest {
        return Ok(Err("a selftest has no windows".to_owned()));
    }
    if cpus > 1 {
        return Ok(Err("the model is of one CPU, and the guests have several (--smp)".to_owned()));
    }
    if !accelerators.contains(&Accelerator::Tcg) {
        return Ok(Err("a CPU ran the guest, and no emulator".to_owned()));
    }
    let Some(path) = args.plugin.clone().or_else(built) else {
        return Ok(Err(format!("no `{PLUGIN}` was found; run `make plugin`, or name one with --plugin")));
    };
    // A name without a directory would be looked for among the system's libraries.
    let path = std::path::absolute(&path).unwrap_or(path);
    match (qemu.takes(&path, &args.model), &args.plugin) {
        (Ok(()), _) => Ok(Ok(path)),
        (Err(why), None) => Ok(Err(why)),
        (Err(why), Some(named)) => Err(Failure::HostCannot(format!("--plugin `{}`: {why}; {REMEDY}", named.display()))),
    }
}

/// Beside this program or its optimised build, else in the cache.
fn built() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let built = beside.iter().flat_map(|dir| [dir.join(PLUGIN), dir.join("../release").join(PLUGIN)]);
    let cached = qemu::cache().map(|cache| cache.join(PLUGIN));
    built.chain(cached).find(|place| place.is_file())
}
