//! `itlbench list`: the workloads in the binary, with what each asks; the events of a CPU; what can run programs on
//! this host; the bodies; the iTLB models.

use std::io::Write;

use super::{Failure, list_bodies, list_events, list_models, list_triggers};
use crate::workload::{Spec, builtin};

/// Arguments of `itlbench list`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print the text of one workload, as a start for your own file; `events`: what can be counted on a CPU;
    /// `triggers`: what can run programs here, and what it costs; `bodies`: what measured programs do, and how long this kernel
    /// makes them; or `models`: the iTLBs that can be modelled
    #[arg(value_name = "WORKLOAD|events|triggers|bodies|models")]
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
        (Some("bodies"), None) => list_bodies::text(),
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
    builtin::WORKLOADS.iter().map(|(name, _)| Ok(entry(&Spec::builtin(name)?))).collect()
}

/// What a workload runs and how, and what it asks; what it leaves at the trigger's default is not named.
fn entry(spec: &Spec) -> String {
    let programs: Vec<String> = spec.programs.iter().map(u32::to_string).collect();
    let of = spec.loaded.map(|loaded| format!(" of {loaded}")).unwrap_or_default();
    let own = [
        spec.order.as_ref().map(|order| format!(", order {order}")),
        spec.cpus.as_ref().map(|cpus| format!(", on CPUs {cpus} at once")),
        spec.churn.map(|per_s| format!(", while {per_s} programs/s come and go")),
    ];
    format!(
        "{}: trigger {}, body {}, {}{of} programs{}, {} trials of {} windows\n  {}\n",
        spec.name,
        spec.trigger,
        spec.body.text(),
        programs.join("/"),
        own.into_iter().flatten().collect::<String>(),
        spec.trials,
        spec.samples,
        spec.question.trim().replace('\n', "\n  "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_cpus_and_churn_of_a_workload_are_listed_where_they_are_its_own() {
        let plain = Spec::builtin("chain").expect("built in");
        assert!(
            entry(&plain).starts_with("chain: trigger chain, body 128 bytes, 64/512/2048 programs, 12 trials of 40 ")
        );
        let order = Some("sequential".parse().expect("an order"));
        let cpus = Some("0-1".parse().expect("CPUs"));
        let own = Spec { order, cpus, churn: Some(40), loaded: Some(4096), ..plain };
        let expected =
            "64/512/2048 of 4096 programs, order sequential, on CPUs 0,1 at once, while 40 programs/s come and go, 12 ";
        assert!(entry(&own).contains(expected), "{}", entry(&own));
    }
}
