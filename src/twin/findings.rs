//! What the times of a sweep say: where the levels run out, what a miss costs, and whether the comparison holds at all.

use serde::{Deserialize, Serialize};

use super::code::Pages;
use super::stubs::{Layout, order};
use super::sweep::Point;
use crate::model::itlb::Found;
use crate::model::{Geometry, Itlb, PageSize};
use crate::stats;

/// 4 KiB pages against 2 MiB pages, everything else equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub layout: Layout,
    pub stubs: u32,
    /// Nanoseconds a jump that 4 KiB pages cost more (Hodges-Lehmann), with its 95 % interval over allocations.
    pub more_ns: f64,
    pub low_ns: f64,
    pub high_ns: f64,
    /// Modelled misses a jump that 4 KiB pages have more: of L1 that hit the second level, and of both.
    pub l2_hits: Option<f64>,
    pub walks: Option<f64>,
}

/// Whether the comparison says anything of the iTLB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Beyond the knee pages of 2 MiB are faster.
    Holds,
    /// They are not, where they must be.
    Void { reason: String },
    /// There is nothing to compare.
    Absent { reason: String },
}

/// A cost in nanoseconds a miss, with the least and the most that its steps gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub ns: f64,
    pub low_ns: f64,
    pub high_ns: f64,
    /// Numbers of stubs behind it.
    pub steps: u32,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    pub comparison: Comparison,
    pub steps: Vec<Step>,
    /// First number of spread stubs from which on 4 KiB pages cost more, to the end of the sweep.
    pub knee: Option<u32>,
    /// The same as the model has it: where L1 and where L2 begin to miss.
    pub model_l1_knee: Option<u32>,
    pub model_l2_knee: Option<u32>,
    /// A miss of L1 that hits the second level.
    pub l1_miss: Option<Cost>,
    /// A miss of both, L1's part included.
    pub walk: Option<Cost>,
}

/// Misses a jump that count as a knee of the model, and as all jumps missing.
const SOME: f64 = 0.1;
const ALL: f64 = 0.9;
/// Steps beyond the knee of L2 at which pages of 2 MiB must be faster, in percent, for the comparison to hold.
const MOST_PERCENT: usize = 50;

impl Findings {
    /// Of `points`, with `geometry` if the CPU is known; `no_huge` says why there are no pages of 2 MiB.
    pub fn of(points: &[Point], geometry: Option<&Geometry>, no_huge: Option<&str>) -> Self {
        let steps: Vec<Step> = points.iter().filter_map(|small| step(small, points, geometry)).collect();
        let spread: Vec<&Step> = steps.iter().filter(|step| step.layout == Layout::Spread).collect();
        let first = |holds: &dyn Fn(&Step) -> bool| spread.iter().find(|step| holds(step)).map(|step| step.stubs);
        let model_l2_knee = first(&|step| step.walks.is_some_and(|walks| walks > SOME));
        let model_l1_knee =
            first(&|step| step.l2_hits.zip(step.walks).is_some_and(|(hits, walks)| hits + walks > SOME));
        let comparison = comparison(&spread, geometry.map(|_| model_l2_knee), no_huge);
        let holds = comparison == Comparison::Holds;
        let l1_miss = cost(&spread, &|step| step.l2_hits.filter(|&hits| hits > ALL && step.walks < Some(SOME / 2.0)));
        let walk = cost(&spread, &|step| step.walks.filter(|&walks| walks > ALL));
        Self {
            knee: spread.iter().rev().take_while(|step| step.low_ns > 0.0).last().map(|step| step.stubs),
            model_l1_knee,
            model_l2_knee,
            l1_miss: l1_miss.filter(|_| holds),
            walk: walk.filter(|_| holds),
            comparison,
            steps,
        }
    }
}

/// The step at a point of 4 KiB, if its twin of 2 MiB was timed too.
fn step(small: &Point, points: &[Point], geometry: Option<&Geometry>) -> Option<Step> {
    let twin =
        |point: &&Point| point.pages == Pages::Huge && point.layout == small.layout && point.stubs == small.stubs;
    let huge = points.iter().find(twin).filter(|_| small.pages == Pages::Small)?;
    let shift = stats::hodges_lehmann(&huge.ns, &small.ns)?;
    let (low_ns, high_ns) = shift.interval?;
    let misses = geometry.map(|geometry| {
        let [small, huge] = [PageSize::Small, PageSize::Huge].map(|size| misses(small, geometry, size));
        (small.0 - huge.0, small.1 - huge.1)
    });
    Some(Step {
        layout: small.layout,
        stubs: small.stubs,
        more_ns: shift.estimate,
        low_ns,
        high_ns,
        l2_hits: misses.map(|misses| misses.0),
        walks: misses.map(|misses| misses.1),
    })
}

/// Modelled hits of the second level and walks, a jump, once everything is warm.
fn misses(point: &Point, geometry: &Geometry, size: PageSize) -> (f64, f64) {
    let order = order(point.stubs, 0);
    let mut itlb = Itlb::new(geometry);
    let (mut hits, mut walks) = (0u32, 0u32);
    for counted in [false, false, true] {
        for &stub in &order {
            let found = itlb.fetch(u64::from(stub) * point.layout.stride() as u64, size);
            hits += u32::from(counted && found == Found::L2);
            walks += u32::from(counted && found == Found::Walk);
        }
    }
    (f64::from(hits) / f64::from(point.stubs), f64::from(walks) / f64::from(point.stubs))
}

/// Void if beyond the knee of L2 the arms of 2 MiB are not faster as a rule. A miss of L1 alone may hide behind the fetches before
/// it, as on Zen 4; `knee` is `None` if the CPU is not known.
fn comparison(spread: &[&Step], knee: Option<Option<u32>>, no_huge: Option<&str>) -> Comparison {
    if let Some(reason) = no_huge {
        return Comparison::Absent { reason: format!("no pages of 2 MiB to be had ({reason})") };
    }
    // An unknown CPU: most hold fewer than 4096 pages of code.
    let beyond = knee.unwrap_or(Some(4096)).unwrap_or(u32::MAX);
    let beyond: Vec<&&Step> = spread.iter().filter(|step| step.stubs >= beyond).collect();
    let faster = beyond.iter().filter(|step| step.low_ns > 0.0).count();
    match beyond.len() {
        0 => Comparison::Absent { reason: "the sweep ends before the knee of L2; ask for more with --most".to_owned() },
        all if faster * 100 > all * MOST_PERCENT => Comparison::Holds,
        all => Comparison::Void {
            reason: format!(
                "pages of 2 MiB were faster at only {faster} of {all} numbers of stubs beyond the knee; in a virtual machine the \
                 host may map them by 4 KiB, and then both arms use entries of 4 KiB"
            ),
        },
    }
}

/// Median over the steps for which `misses` tells how many misses a jump they have.
fn cost(spread: &[&Step], misses: &dyn Fn(&Step) -> Option<f64>) -> Option<Cost> {
    let costs: Vec<f64> = spread.iter().filter_map(|step| Some(step.more_ns / misses(step)?)).collect();
    Some(Cost {
        ns: stats::median(&costs)?,
        low_ns: costs.iter().copied().reduce(f64::min)?,
        high_ns: costs.iter().copied().reduce(f64::max)?,
        steps: costs.len() as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::geometry::Named;

    /// A CPU with the geometry of zen4 whose L1 misses cost 2 ns and whose walks 9, and where spread code costs 5 more.
    fn points(miss_ns: f64, walk_ns: f64) -> Vec<Point> {
        let geometry = Named::find("zen4").unwrap().geometry;
        let mut points = Vec::new();
        for layout in [Layout::Packed, Layout::Spread] {
            for pages in [Pages::Small, Pages::Huge] {
                for stubs in crate::twin::sweep::Plan::numbers(8192) {
                    let mut point = Point { layout, pages, stubs, ns: Vec::new(), left_out: 0 };
                    let size = if pages == Pages::Small { PageSize::Small } else { PageSize::Huge };
                    let (hits, walks) = misses(&point, &geometry, size);
                    let ns = 1.0 + hits * miss_ns + walks * walk_ns + if layout == Layout::Spread { 5.0 } else { 0.0 };
                    point.ns = (0..8).map(|i| ns * (1.0 + 0.002 * f64::from(i * 7 % 8))).collect();
                    points.push(point);
                }
            }
        }
        points
    }

    #[test]
    fn costs_and_knees_of_an_invented_cpu_are_found_again() {
        let geometry = Named::find("zen4").unwrap().geometry;
        let findings = Findings::of(&points(2.0, 9.0), Some(&geometry), None);
        assert_eq!(findings.comparison, Comparison::Holds);
        assert_eq!((findings.knee, findings.model_l1_knee), (Some(96), Some(96)));
        // The cache line by which spread stubs move on makes even and odd pages take turns: every set of L2 is used.
        assert_eq!(findings.model_l2_knee, Some(768));
        let l1 = findings.l1_miss.unwrap();
        assert!((l1.ns - 2.0).abs() < 0.1, "{l1:?}");
        let walk = findings.walk.unwrap();
        assert!((walk.ns - 9.0).abs() < 0.3 && walk.steps >= 5, "{walk:?}");
    }

    #[test]
    fn a_guest_whose_host_maps_by_4_kib_is_found_out() {
        let geometry = Named::find("zen4").unwrap().geometry;
        let mut points = points(2.0, 9.0);
        let small: Vec<Point> = points.iter().filter(|point| point.pages == Pages::Small).cloned().collect();
        for point in points.iter_mut().filter(|point| point.pages == Pages::Huge) {
            let twin = small.iter().find(|small| small.layout == point.layout && small.stubs == point.stubs).unwrap();
            point.ns = twin.ns.iter().rev().copied().collect();
        }
        let findings = Findings::of(&points, Some(&geometry), None);
        assert!(
            matches!(&findings.comparison, Comparison::Void { reason } if reason.contains("0 of 8")),
            "{findings:?}"
        );
        assert_eq!((findings.l1_miss, findings.walk, findings.knee), (None, None, None));
    }

    #[test]
    fn without_pages_of_2_mib_there_is_nothing_to_compare() {
        let points: Vec<Point> = points(2.0, 9.0).into_iter().filter(|point| point.pages == Pages::Small).collect();
        let findings = Findings::of(&points, None, Some("never"));
        assert!(matches!(&findings.comparison, Comparison::Absent { reason } if reason.contains("never")));
        assert!(findings.steps.is_empty() && findings.walk.is_none());
    }

    #[test]
    fn an_unknown_cpu_gets_its_knee_and_no_costs() {
        let findings = Findings::of(&points(2.0, 9.0), None, None);
        assert_eq!((&findings.comparison, findings.knee), (&Comparison::Holds, Some(96)));
        assert_eq!((findings.l1_miss, findings.walk), (None, None));
    }

    #[test]
    fn a_sweep_that_ends_too_soon_says_so() {
        let geometry = Named::find("golden-cove").unwrap().geometry;
        let few: Vec<Point> = points(2.0, 9.0).into_iter().filter(|point| point.stubs <= 128).collect();
        let findings = Findings::of(&few, Some(&geometry), None);
        assert!(
            matches!(&findings.comparison, Comparison::Absent { reason } if reason.contains("--most")),
            "{findings:?}"
        );
    }
}
