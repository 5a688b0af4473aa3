//! What the times of a sweep say: where the levels run out, what a miss costs, and whether the comparison holds at all.

use serde::{Deserialize, Serialize};

use super::code::Pages;
use super::loops::Counted;
use super::stubs::{Layout, order};
use super::sweep::Point;
use crate::counters::{Group, Role};
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
    /// The same as counted on the user side, where there is a PMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_l2_hits: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_walks: Option<f64>,
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

/// Whose misses a difference in time is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misses {
    #[default]
    Modelled,
    Counted,
}

/// A cost in nanoseconds a miss, with the least and the most that its steps gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub ns: f64,
    pub low_ns: f64,
    pub high_ns: f64,
    /// Numbers of stubs behind it.
    pub steps: u32,
    #[serde(default)]
    pub misses: Misses,
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
    /// The same as counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_l1_knee: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_l2_knee: Option<u32>,
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
/// Allocations that may be lost to other work on the CPU, in percent.
const MOST_DISTURBED_PERCENT: usize = 25;

impl Findings {
    /// Of `points`, with `geometry` if the CPU is known; `groups` are what was counted, `no_huge` says why there are no pages of
    /// 2 MiB.
    pub fn of(points: &[Point], groups: &[Group], geometry: Option<&Geometry>, no_huge: Option<&str>) -> Self {
        let steps: Vec<Step> = points.iter().filter_map(|small| step(small, points, groups, geometry)).collect();
        let spread: Vec<&Step> = steps.iter().filter(|step| step.layout == Layout::Spread).collect();
        let first = |misses: &dyn Fn(&Step) -> Option<f64>| {
            spread.iter().find(|step| misses(step).is_some_and(|misses| misses > SOME)).map(|step| step.stubs)
        };
        let model_knee = |misses: fn((f64, f64)) -> f64| model_knee(points, geometry?, misses);
        let model_l2_knee = model_knee(|(_, walks)| walks);
        let comparison = comparison(points, &spread, geometry.map(|_| model_l2_knee), no_huge);
        let holds = comparison == Comparison::Holds;
        let few = |walks: Option<f64>| walks.is_some_and(|walks| walks < SOME / 2.0);
        let all = |misses: Option<f64>| misses.filter(|&misses| misses > ALL);
        let l1_miss =
            cost(&spread, Misses::Counted, &|step| all(step.counted_l2_hits).filter(|_| few(step.counted_walks)))
                .or_else(|| cost(&spread, Misses::Modelled, &|step| all(step.l2_hits).filter(|_| few(step.walks))));
        let walk = cost(&spread, Misses::Counted, &|step| all(step.counted_walks))
            .or_else(|| cost(&spread, Misses::Modelled, &|step| all(step.walks)));
        Self {
            knee: spread.iter().rev().take_while(|step| step.low_ns > 0.0).last().map(|step| step.stubs),
            model_l1_knee: model_knee(|(hits, walks)| hits + walks),
            model_l2_knee,
            counted_l1_knee: first(&|step| Some(step.counted_l2_hits? + step.counted_walks?)),
            counted_l2_knee: first(&|step| step.counted_walks),
            l1_miss: l1_miss.filter(|_| holds),
            walk: walk.filter(|_| holds),
            comparison,
            steps,
        }
    }

    /// What a walk costs where the code lies on `pages` pages of 4 KiB, for the more there are the fewer of their page tables are
    /// cached: between the sweep's numbers by their logarithms, beyond them as at the nearest. With 95 % intervals as its range.
    pub fn walk_at(&self, pages: u32) -> Option<Cost> {
        let misses = self.walk?.misses;
        let walks = |step: &Step| if misses == Misses::Counted { step.counted_walks } else { step.walks };
        let spread = self.steps.iter().filter(|step| step.layout == Layout::Spread);
        let known: Vec<(&Step, f64)> =
            spread.filter_map(|step| Some((step, walks(step).filter(|&walks| walks > ALL)?))).collect();
        let place = |stubs: u32| f64::from(stubs.max(1)).log2();
        let above = known.iter().position(|(step, _)| step.stubs >= pages).unwrap_or(known.len());
        let (Some(low), Some(high)) = (known.get(above.saturating_sub(1)), known.get(above).or(known.last())) else {
            return self.walk;
        };
        let width = place(high.0.stubs) - place(low.0.stubs);
        let share = if width > 0.0 { ((place(pages) - place(low.0.stubs)) / width).clamp(0.0, 1.0) } else { 0.0 };
        let mixed = |ns: fn(&Step) -> f64| {
            let [low, high] = [low, high].map(|(step, walks)| ns(step) / walks);
            (1.0 - share) * low + share * high
        };
        let (ns, low_ns, high_ns) = (mixed(|step| step.more_ns), mixed(|step| step.low_ns), mixed(|step| step.high_ns));
        Some(Cost { ns, low_ns, high_ns, steps: if width > 0.0 { 2 } else { 1 }, misses })
    }

    /// Counted walks over modelled ones, of all steps beyond the knee of L2 that have both.
    pub fn counted_over_modelled(&self) -> Option<f64> {
        let spread = self.steps.iter().filter(|step| step.layout == Layout::Spread);
        let pairs = spread.filter_map(|step| step.counted_walks.zip(step.walks.filter(|&walks| walks > SOME)));
        let (counted, modelled) = pairs.fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        (modelled > 0.0).then(|| counted / modelled)
    }
}

/// The first number of spread stubs at which 4 KiB pages miss more in the model, whether or not it could be timed.
fn model_knee(points: &[Point], geometry: &Geometry, figure: fn((f64, f64)) -> f64) -> Option<u32> {
    let mut spread = points.iter().filter(|point| (point.layout, point.pages) == (Layout::Spread, Pages::Small));
    let more = |point: &Point| {
        let [small, huge] = [PageSize::Small, PageSize::Huge].map(|size| figure(misses(point, geometry, size)));
        small - huge
    };
    spread.find(|point| more(point) > SOME).map(|point| point.stubs)
}

/// The step at a point of 4 KiB, if its twin of 2 MiB was timed too.
fn step(small: &Point, points: &[Point], groups: &[Group], geometry: Option<&Geometry>) -> Option<Step> {
    let twin =
        |point: &&Point| point.pages == Pages::Huge && point.layout == small.layout && point.stubs == small.stubs;
    let huge = points.iter().find(twin).filter(|_| small.pages == Pages::Small)?;
    let shift = stats::hodges_lehmann(&huge.ns, &small.ns)?;
    let (low_ns, high_ns) = shift.interval?;
    let misses = geometry.map(|geometry| {
        let [small, huge] = [PageSize::Small, PageSize::Huge].map(|size| misses(small, geometry, size));
        (small.0 - huge.0, small.1 - huge.1)
    });
    let counted = |role| Some(counted(small, groups, role)? - counted(huge, groups, role)?);
    Some(Step {
        layout: small.layout,
        stubs: small.stubs,
        more_ns: shift.estimate,
        low_ns,
        high_ns,
        l2_hits: misses.map(|misses| misses.0),
        walks: misses.map(|misses| misses.1),
        counted_l2_hits: counted(Role::StlbHits),
        counted_walks: counted(Role::WalksCompleted),
    })
}

/// Events of `role` a jump, median over the allocations.
fn counted(point: &Point, groups: &[Group], role: Role) -> Option<f64> {
    let of = |counted: &Counted| counted.per_jump(groups, role);
    stats::median(&point.counted.iter().filter_map(of).collect::<Vec<f64>>())
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
fn comparison(points: &[Point], spread: &[&Step], knee: Option<Option<u32>>, no_huge: Option<&str>) -> Comparison {
    if let Some(reason) = no_huge {
        return Comparison::Absent { reason: format!("no pages of 2 MiB to be had ({reason})") };
    }
    // An unknown CPU: most hold fewer than 4096 pages of code.
    let beyond = knee.unwrap_or(Some(4096)).unwrap_or(u32::MAX);
    let judged = points.iter().filter(|point| point.layout == Layout::Spread && point.stubs >= beyond);
    if let Some(reason) = too_disturbed(judged) {
        return Comparison::Absent { reason };
    }
    let beyond: Vec<&&Step> = spread.iter().filter(|step| step.stubs >= beyond).collect();
    let faster = beyond.iter().filter(|step| step.low_ns > 0.0).count();
    if let Some(reason) = same_walks(&beyond) {
        return Comparison::Void { reason };
    }
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

/// Why too little is left of what is judged, if other work on the CPU spoilt it.
fn too_disturbed<'a>(judged: impl Iterator<Item = &'a Point>) -> Option<String> {
    let (mut disturbed, mut all) = (0, 0);
    for point in judged {
        disturbed += point.disturbed as usize;
        all += point.disturbed as usize + point.ns.len() + point.left_out as usize;
    }
    (disturbed * 100 > all * MOST_DISTURBED_PERCENT).then(|| {
        format!(
            "other work on this CPU spoilt {disturbed} of {all} allocations beyond the knee of L2; stop it, or choose another with --cpu"
        )
    })
}

/// Why the arms do not differ in what they are to differ in, if walks were counted and pages of 2 MiB have as many as a rule.
fn same_walks(beyond: &[&&Step]) -> Option<String> {
    let counted: Vec<f64> = beyond.iter().filter_map(|step| step.counted_walks).collect();
    let fewer = counted.iter().filter(|&&walks| walks > SOME).count();
    (!counted.is_empty() && fewer * 100 <= counted.len() * MOST_PERCENT).then(|| {
        format!(
            "fewer walks were counted with pages of 2 MiB at only {fewer} of {} numbers of stubs beyond the knee; in a virtual machine \
             the host may map them by 4 KiB",
            counted.len()
        )
    })
}

/// Median over the steps for which `misses` tells how many misses a jump they have.
fn cost(spread: &[&Step], of: Misses, misses: &dyn Fn(&Step) -> Option<f64>) -> Option<Cost> {
    let costs: Vec<f64> = spread.iter().filter_map(|step| Some(step.more_ns / misses(step)?)).collect();
    Some(Cost {
        ns: stats::median(&costs)?,
        low_ns: costs.iter().copied().reduce(f64::min)?,
        high_ns: costs.iter().copied().reduce(f64::max)?,
        steps: costs.len() as u32,
        misses: of,
    })
}

#[cfg(test)]
mod tests;
