//! The whole way from windows to verdicts on made-up kernels whose difference is known: how often it cries wolf, how often its interval
//! holds the truth, and what it finds.
//!
//! Noise has three levels, as on a real host: each boot, each fresh load in it and each window is off by a random factor. The standard
//! deviations are 2 %, 1 % and 1 % of the figure; one window in fifty is hit by something else and takes half as long again.

use crate::compare::effect::POWER;
use crate::compare::{Effect, SideValues, Unit, verdict};
use crate::report::fixture;
use crate::samples::Metric;
use crate::stats;

/// The spread of boots: as logs of a normal, or with the long tail of an exponential to one side.
#[derive(Clone, Copy, Debug)]
enum Boots {
    Normal,
    Skewed,
}

const BOOT: f64 = 0.02;
const TRIAL: f64 = 0.01;
const WINDOW: f64 = 0.01;
const TRIALS: usize = 6;
const WINDOWS: usize = 20;

struct Random(oorandom::Rand64);

impl Random {
    fn new(seed: u128) -> Self {
        Self(oorandom::Rand64::new(seed))
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.rand_float()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.0.rand_float()).cos()
    }

    fn boot(&mut self, boots: Boots) -> f64 {
        match boots {
            Boots::Normal => self.normal(),
            Boots::Skewed => -(1.0 - self.0.rand_float()).ln() - 1.0,
        }
    }

    fn window(&mut self) -> f64 {
        let hit = if self.0.rand_range(0..50) == 0 { 1.5 } else { 1.0 };
        (WINDOW * self.normal()).exp() * hit
    }

    /// The trials' medians of `boots` boots of a kernel that takes `cost`.
    fn side(&mut self, name: &str, boots: usize, spread: Boots, cost: f64, unit: Unit) -> SideValues {
        let boot = |random: &mut Self| {
            let level = cost * (BOOT * random.boot(spread)).exp();
            let trial = |random: &mut Self| {
                let level = level * (TRIAL * random.normal()).exp();
                let windows: Vec<f64> = (0..WINDOWS).map(|_| level * random.window()).collect();
                stats::median(&windows).unwrap()
            };
            (0..TRIALS).map(|_| trial(random)).collect()
        };
        let boots = (0..boots).map(|_| boot(self)).collect();
        SideValues::of(name, boots, unit).unwrap()
    }
}

/// Shares of many comparisons of a kernel with one that is `ratio` times as slow, each over `cases` cases.
#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    comparisons: usize,
    /// At least one case called different.
    different: f64,
    /// The first case's interval holds the true ratio.
    covered: f64,
    /// Median over the comparisons of what the first case could have detected, in percent.
    detectable: f64,
}

fn simulate(comparisons: usize, boots: usize, spread: Boots, ratio: f64, cases: usize, seed: u128) -> Shares {
    let mut random = Random::new(seed);
    let case = fixture::timed_run().trials[0].case.clone();
    let (mut different, mut covered, mut detectable) = (0, 0, Vec::new());
    for _ in 0..comparisons {
        let mut effects: Vec<Effect> = (0..cases)
            .map(|_| {
                let base = random.side("old", boots, spread, 40.0, Unit::Boot);
                let new = random.side("new", boots, spread, 40.0 * ratio, Unit::Boot);
                Effect::new(&case, Metric::WallNs, Unit::Boot, base, new).unwrap()
            })
            .collect();
        verdict::decide(effects.iter_mut());
        different += usize::from(effects.iter().any(|effect| effect.verdict.is_different()));
        let (low, high) = effects[0].interval.unwrap();
        covered += usize::from(low <= ratio && ratio <= high);
        detectable.extend(effects[0].detectable_percent);
    }
    let share = |count: usize| count as f64 / comparisons as f64;
    let detectable = stats::median(&detectable).unwrap_or(f64::NAN);
    Shares { comparisons, different: share(different), covered: share(covered), detectable }
}

/// Three standard errors of a share of 5 % (or 95 %) over `n` comparisons.
fn three_errors(n: usize) -> f64 {
    3.0 * (0.05 * 0.95 / n as f64).sqrt()
}

#[test]
fn equal_kernels_are_called_different_at_most_once_in_twenty_and_intervals_hold_the_truth() {
    for (boots, cases) in [(4, 1), (5, 1), (10, 1), (5, 6)] {
        for spread in [Boots::Normal, Boots::Skewed] {
            let found = simulate(2000, boots, spread, 1.0, cases, 1);
            let error = three_errors(found.comparisons);
            assert!(found.different <= 0.05 + error, "{boots} boots, {cases} cases, {spread:?}: {found:?}");
            assert!(found.covered >= 0.95 - error, "{boots} boots, {cases} cases, {spread:?}: {found:?}");
        }
    }
}

#[test]
fn intervals_hold_a_ratio_that_is_not_one() {
    for boots in [4, 5, 10] {
        let found = simulate(2000, boots, Boots::Normal, 1.07, 1, 2);
        assert!(found.covered >= 0.95 - three_errors(found.comparisons), "{boots} boots: {found:?}");
    }
}

/// What taking every trial for an observation would do, and why it is not done.
#[test]
fn trials_pooled_over_boots_would_cry_wolf() {
    let mut random = Random::new(3);
    let mut different = 0;
    for _ in 0..500 {
        let mut side = |name| random.side(name, 5, Boots::Normal, 40.0, Unit::Trial);
        let (base, new) = (side("old"), side("new"));
        different += usize::from(stats::mann_whitney(&base.units, &new.units).unwrap().p < stats::ALPHA);
    }
    assert!(different > 100, "{different} of 500");
}

#[test]
fn the_detectable_change_is_found_four_times_in_five() {
    for (boots, slack) in [(5, 0.05), (10, 0.05)] {
        let detectable = simulate(500, boots, Boots::Normal, 1.0, 1, 4).detectable;
        let found = simulate(1000, boots, Boots::Normal, 1.0 + detectable / 100.0, 1, 5).different;
        assert!((found - POWER).abs() < slack + 0.02, "{boots} boots, {detectable} %: {found}");
    }
}

/// The tables of METHODOLOGY.md: `cargo test --release --lib the_tables_of_the_methodology -- --ignored --nocapture`.
#[test]
#[ignore = "prints tables; takes some twenty minutes"]
fn the_tables_of_the_methodology() {
    println!("boots a side, cases, spread of boots: called different, interval holds the truth (n 20000)");
    for (boots, cases) in [(4, 1), (5, 1), (10, 1), (20, 1), (4, 6), (5, 6), (10, 6)] {
        for spread in [Boots::Normal, Boots::Skewed] {
            let found = simulate(20_000, boots, spread, 1.0, cases, 11);
            println!("{boots:3} {cases} {spread:?}: {:.2} % {:.2} %", 100.0 * found.different, 100.0 * found.covered);
        }
    }
    println!("boots a side: share called different, by true change in percent (n 4000)");
    for boots in [4, 5, 10, 20] {
        let row = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0].map(|percent| {
            let found = simulate(4000, boots, Boots::Normal, 1.0 + percent / 100.0, 1, 12);
            format!("{percent} %: {:.0} %", 100.0 * found.different)
        });
        let detectable = simulate(4000, boots, Boots::Normal, 1.0, 1, 13).detectable;
        println!("{boots:3}: {}; detectable {detectable:.1} %", row.join(", "));
    }
}
