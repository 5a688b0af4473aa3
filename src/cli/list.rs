//! `itlbench list`: the workloads in the binary, with what each asks; the events of a CPU; what can run programs on
//! this host; the iTLB models.

use std::io::Write;

use super::{Failure, list_events, list_models, list_triggers};
use crate::workload::{Spec, builtin};

/// Arguments of `itlbench list`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print the text of one workload, as a start for your own file; `events`: what can be counted on a CPU;
    /// `triggers`: what can run programs here, and what it costs; or `models`: the iTLBs that can be modelled
    #[arg(value_name = "WORKLOAD|events|triggers|models")]
    pub what: Option<String>,
    /// With `events`: a CPU by the name of the kernel's event list, as in `skylakex`; by default this host's
    #[arg(long, value_name = "NAME", requires = "what")]
    pub cpu: Option<String>,
}

/// Writes the list, or the text of one workload.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let text = match (args.what.as_deref(), &args.cpu) {
        (Some("events"), cpu) => list_events::text(cpu.as_deref())?,
        (Some("triggers"), None) => list_triggers::text(),
        (Some("models"), None) => list_models::text(),
        (_, Some(_)) => return Err(Failure::Usage("--cpu goes with `itlbench list events`".to_owned())),
        (Some(name), None) => text_of(name)?,
        (None, None) => overview()?,
    };
    out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))?;
    Ok(0)
}

fn text_of(name: &str) -> Result<String, Failure> {
    Spec::builtin(name)?;
    let known = builtin::WORKLOADS.iter().find(|(known, _)| *known == name);
    Ok(known.map(|(_, text)| (*text).to_owned()).unwrap_or_default())
}

fn overview() -> Result<String, Failure> {
    let mut text = String::new();
    for (name, _) in builtin::WORKLOADS {
        let spec = Spec::builtin(name)?;
        let programs: Vec<String> = spec.programs.iter().map(u32::to_string).collect();
        let question = spec.question.trim().replace('\n', "\n  ");
        text += &format!(
            "{name}: trigger {}, body {} bytes, {} programs, {} trials of {} windows\n  {question}\n",
            spec.trigger,
            spec.body,
            programs.join("/"),
            spec.trials,
            spec.samples
        );
    }
    Ok(text)
}
