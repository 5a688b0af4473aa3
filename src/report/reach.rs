//! From which number of programs on the levels of a modelled iTLB run out, for each arm of a run.

use super::modelled::observed;
use super::summary::CaseSummary;
use crate::model::PageSize;
use crate::model::geometry::Named;
use crate::model::what_if::{Knees, MOST_PROGRAMS, dense, knees, regions, spread};
use crate::placement::Image;
use crate::trial::Trial;
use crate::workload::{Case, PackMode};

/// Where one arm of a workload runs out of the levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    pub workload: String,
    pub pack: PackMode,
    pub jited_bytes: u32,
    /// Size of the pages that mapped it, 4 KiB where that was not seen.
    pub pages: PageSize,
    /// So many lay where they were read back; more are placed as the arm would place them.
    pub loaded: u32,
    pub knees: Knees,
}

/// The largest trial of an arm: all that its reach takes, which is looked for only where it is asked for.
#[derive(Clone, Debug)]
pub struct Arm {
    case: Case,
    pages: PageSize,
    /// In the order of their addresses; not empty.
    images: Vec<Image>,
}

/// Every arm of every workload in `cases`.
pub fn arms<'a>(cases: &[CaseSummary], trials: &dyn Fn(&Case) -> Vec<&'a Trial>) -> Vec<Arm> {
    let mut largest: Vec<&Case> = Vec::new();
    for CaseSummary { case, .. } in cases {
        match largest.iter_mut().find(|known| known.workload == case.workload && known.pack == case.pack) {
            Some(known) if known.programs < case.programs => *known = case,
            Some(_) => {}
            None => largest.push(case),
        }
    }
    let arm = |case: &Case| {
        let trial = *trials(case).first()?;
        let mut images = trial.images.clone();
        images.sort_by_key(|image| image.addr);
        let pages = observed(trial).unwrap_or(PageSize::Small);
        (!images.is_empty()).then(|| Arm { case: case.clone(), pages, images })
    };
    largest.into_iter().filter_map(arm).collect()
}

impl Arm {
    /// Where it runs out of `model`.
    pub fn reach(&self, model: &Named) -> Reach {
        let Self { case, pages, images } = self;
        let jited_bytes = images.first().map_or(0, |image| image.len);
        let place = |programs: u32| match images.get(..programs as usize) {
            Some(lowest) => lowest.to_vec(),
            None => placed(case.pack, std::iter::repeat_n(jited_bytes, programs as usize)),
        };
        Reach {
            workload: case.workload.clone(),
            pack: case.pack,
            jited_bytes,
            pages: *pages,
            loaded: images.len() as u32,
            knees: knees(&model.geometry, *pages, &place),
        }
    }
}

fn placed(pack: PackMode, lengths: impl Iterator<Item = u32>) -> Vec<Image> {
    match pack {
        PackMode::On | PackMode::Placebo => dense(lengths),
        PackMode::Off => spread(lengths),
        PackMode::OffTwoMeg => regions(lengths),
    }
}

impl Reach {
    /// Where the levels run out, in words.
    pub fn sentence(&self) -> String {
        let Self { workload, pack, jited_bytes, loaded, knees, .. } = self;
        let at = |knee: Option<u32>| match knee {
            Some(programs) if programs > *loaded => format!("{programs} programs (placed alike, {loaded} were loaded)"),
            Some(programs) => format!("{programs} programs"),
            None => format!("no number up to {MOST_PROGRAMS}"),
        };
        let size = match self.pages {
            PageSize::Small => "4 KiB",
            PageSize::Huge => "2 MiB",
        };
        let (l1, l2) = (at(knees.l1), at(knees.l2));
        format!("{workload}, pack {pack}, {jited_bytes} bytes each, {size} pages: L1 runs out at {l1}, L2 at {l2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Addr;
    use crate::report::{Summary, fixture};

    #[test]
    fn the_levels_run_out_where_the_programs_lay() {
        let mut run = fixture::timed_run();
        let off = |case: &Case| case.pack == PackMode::Off && case.programs == 2048;
        let reach = |run: &crate::runfile::Run| {
            let reach = Summary::of(run).modelled[0].reach().to_vec();
            reach.into_iter().find(|reach| reach.pack == PackMode::Off).unwrap()
        };
        for (stride, l2) in [(2, 190..=257), (1, 500..=520)] {
            for trial in run.trials.iter_mut().filter(|trial| off(&trial.case)) {
                let at = |nth: usize| Addr(0xffff_ffff_c000_0000 + nth as u64 * stride * 4096);
                trial.images = (0..2048).map(|nth| Image { addr: at(nth * 1021 % 2048), len: 124 }).collect();
            }
            let found = reach(&run);
            assert_eq!((found.loaded, found.knees.l1), (2048, Some(60)), "{stride}");
            assert!(l2.contains(&found.knees.l2.unwrap()), "{stride}: {found:?}");
        }
    }

    #[test]
    fn what_was_not_loaded_is_placed_alike_and_said_to_be() {
        let run = fixture::timed_run();
        let reach = Summary::of(&run).modelled[0].reach().to_vec();
        let on = reach.iter().find(|reach| reach.pack == PackMode::On).unwrap();
        assert!(on.sentence().contains("(placed alike, "), "{}", on.sentence());
        let never = Reach { knees: Knees { l1: Some(7), l2: None }, ..on.clone() };
        assert!(never.sentence().ends_with("L1 runs out at 7 programs, L2 at no number up to 131072"));
    }
}
