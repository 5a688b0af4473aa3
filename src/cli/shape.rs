//! What is measured, as the command line says it: what it changes in the workloads' own files.

use super::Failure;
use crate::workload::{Body, FillerRule, OffsetRule, Order, PackMode, Spec, Stride};

/// Options of the verbs that measure workloads.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Shape {
    /// Where programs lie: dense in the kernel's packs, each on a page or in a 2 MiB region of its own, or dense in another order
    #[arg(long, value_enum, value_delimiter = ',')]
    pub pack: Option<Vec<PackMode>>,
    /// Numbers of programs
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub programs: Option<Vec<u32>>,
    /// What every program is: straight-line code of about so many JITed bytes, a model of what a common tool loads, or a mix (`fleet`,
    /// `tools`); `itlbench list bodies` shows what each is and how long this kernel makes it
    #[arg(long, value_enum)]
    pub body: Option<Body>,
    /// Distance between programs in pack off
    #[arg(long, value_enum)]
    pub stride: Option<Stride>,
    /// Offset of programs inside their pages in pack off
    #[arg(long, value_enum)]
    pub offset: Option<OffsetRule>,
    /// Whether the fillers of pack off stay loaded while programs run, in every arm alike; or whether only pack off has any: what is
    /// timed then differs in more than placement
    #[arg(long, value_enum)]
    pub fillers: Option<FillerRule>,
    /// Order of visits: sequential or permuted in turn, random or zipf(S) drawn; by default the trigger's own
    #[arg(long, value_name = "ORDER")]
    pub order: Option<Order>,
    /// Load so many programs in every case and run the --programs first of their order: reuse distance without another placement
    #[arg(long, value_name = "N")]
    pub loaded: Option<u32>,
    /// Fresh loads of each case
    #[arg(long, value_name = "N")]
    pub trials: Option<u32>,
    /// Counted windows in each trial
    #[arg(long, value_name = "N")]
    pub samples: Option<u32>,
    /// Seed of every random choice; by default drawn from the clock and recorded
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl Shape {
    /// The workloads called `workloads`, with what the command line changes.
    pub fn specs(&self, workloads: &[String]) -> Result<Vec<Spec>, Failure> {
        let mut names = workloads.to_vec();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Failure::Usage(format!("workload `{}` is named twice", twice[0])));
        }
        workloads.iter().map(|name| self.spec(name)).collect()
    }

    fn spec(&self, name: &str) -> Result<Spec, Failure> {
        let mut spec = Spec::find(name)?;
        spec.pack = self.pack.clone().unwrap_or(spec.pack);
        spec.programs = self.programs.clone().unwrap_or(spec.programs);
        spec.body = self.body.unwrap_or(spec.body);
        spec.stride = self.stride.unwrap_or(spec.stride);
        spec.offset = self.offset.unwrap_or(spec.offset);
        spec.fillers = self.fillers.unwrap_or(spec.fillers);
        spec.order = self.order.or(spec.order);
        spec.loaded = self.loaded.or(spec.loaded);
        spec.trials = self.trials.unwrap_or(spec.trials);
        spec.samples = self.samples.unwrap_or(spec.samples);
        spec.check(name)?;
        Ok(spec)
    }

    /// The seed asked for, or one from the clock.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(super::measure::seed_from_clock)
    }
}
