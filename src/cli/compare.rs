//! `itlbench compare`: what changed between kernels.

use std::io::Write;
use std::path::PathBuf;

use super::report::Format;
use super::{Failure, publish};
use crate::compare::{Alarms, Comparison, Digest, Force, Gate};
use crate::report::comparison::{self, View};

/// Arguments of `itlbench compare`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Run files of the baseline, or directories that hold a `run.jsonl`
    #[arg(required = true, value_name = "BASE")]
    pub baseline: Vec<PathBuf>,
    #[command(flatten)]
    pub candidates: Candidates,
    /// Take all runs for one kernel and say how often equal halves of them are called different
    #[arg(long, conflicts_with = "to")]
    pub aa: bool,
    /// Exit with 4 if an effect meets a condition: slower, faster, different, undecided or unsure, with a percentage and a metric, as
    /// in slower:2% or slower:1%@instructions; may be given again
    #[arg(long, value_name = "GATE", conflicts_with = "aa")]
    pub fail_on: Vec<Gate>,
    /// Show the figures of hosts that cannot be compared, without a verdict
    #[arg(long)]
    pub force: bool,
    /// What goes to stdout
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "aa")]
    pub format: Format,
    /// Also write every text output, report.html and the charts to DIR
    #[arg(long, value_name = "DIR", conflicts_with = "aa")]
    pub out: Option<PathBuf>,
    /// Also write what to attach to a mail to DIR, all plain text: report.txt, config, reproduce and every run file
    #[arg(long, value_name = "DIR", conflicts_with = "aa")]
    pub attach: Option<PathBuf>,
}

/// The runs behind each `--to`. Written out because the derive cannot keep the occurrences of an option apart.
#[derive(Clone, Debug, Default)]
pub struct Candidates(pub Vec<Vec<PathBuf>>);

const TO: &str = "to";

impl clap::Args for Candidates {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.arg(
            clap::Arg::new(TO)
                .long(TO)
                .required_unless_present("aa")
                .num_args(1..)
                .action(clap::ArgAction::Append)
                .value_name("NEW")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Runs of a kernel to compare with the baseline; give --to again for another kernel"),
        )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Candidates {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let occurrences = matches.get_occurrences::<PathBuf>(TO).into_iter().flatten();
        Ok(Self(occurrences.map(|paths| paths.cloned().collect()).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Compares, prints; returns the exit code.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let print = |out: &mut dyn Write, text: String| {
        out.write_all(text.as_bytes()).map_err(|error| Failure::output("stdout", error))
    };
    if args.aa {
        print(out, comparison::alarms::text(&Alarms::of(&Digest::read_all(&args.baseline)?)))?;
        return Ok(0);
    }
    let (baseline, candidates) = digests(&args.baseline, &args.candidates.0)?;
    let force = if args.force { Force::Yes } else { Force::No };
    let comparison = Comparison::of(baseline, candidates, force)?;
    let view = View::of(&comparison);
    print(out, publish::printed_comparison(&view, args.format)?)?;
    if let Some(dir) = &args.out {
        publish::make(dir)?;
        publish::publish_comparison(dir, &view)?;
    }
    if let Some(dir) = &args.attach {
        publish::make(dir)?;
        publish::attach_comparison(dir, &view)?;
    }
    match args.fail_on.iter().find_map(|gate| gate.tripped(&comparison)) {
        Some(why) => Err(Failure::Gate(why)),
        None => Ok(0),
    }
}

/// All runs of all sides at once, so that the CPUs share them.
fn digests(baseline: &[PathBuf], candidates: &[Vec<PathBuf>]) -> Result<(Vec<Digest>, Vec<Vec<Digest>>), Failure> {
    let paths: Vec<&PathBuf> = baseline.iter().chain(candidates.iter().flatten()).collect();
    let mut read = Digest::read_all(&paths)?.into_iter();
    let mut side = |paths: &[PathBuf]| read.by_ref().take(paths.len()).collect::<Vec<_>>();
    Ok((side(baseline), candidates.iter().map(|paths| side(paths)).collect()))
}
