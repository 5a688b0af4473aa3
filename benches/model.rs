//! Accesses a second of the iTLB model, on one core.
#![allow(clippy::unwrap_used)]

mod figures;

use std::hint::black_box;
use std::time::Instant;

use itlbench::model::geometry::{Named, cores};
use itlbench::model::what_if::{dense, knees, spread};
use itlbench::model::{Core, Itlb, Load, PageSize, predict};
use itlbench::workload::Order;

/// Accesses in one measurement, and measurements of each pattern. The fastest counts: what else runs on the machine only takes away.
const ACCESSES: usize = 200_000;
const ROUNDS: usize = 25;
/// Pages that are fetched from: within every L1, beyond each, and about and beyond the second levels.
const PAGES: [u64; 4] = [16, 100, 512, 2048];
/// Millions of accesses a second that the default model must reach.
const BOUND: f64 = 50.0;

fn main() {
    println!("The default model is the core that a run was recorded on: any of the table, so each has to do.");
    let slowest = cores().iter().map(rate).min_by(|a, b| a.rate.total_cmp(&b.rate)).unwrap();
    let Slowest { core, order, pages, rate, .. } = slowest;
    println!("slowest core of the table: {core}, {order} over {pages} pages, {rate:.1} M accesses/s");
    default_run();
}

/// The slowest pattern of a core, in millions of accesses a second.
struct Slowest {
    core: String,
    order: &'static str,
    pages: u64,
    rate: f64,
    median: f64,
}

fn rate(core: &Core) -> Slowest {
    let found = |order, pages, (rate, median)| Slowest { core: core.name.clone(), order, pages, rate, median };
    let orders = PAGES.iter().flat_map(|&pages| {
        [
            found("cycle", pages, accesses(core, &mut |i| i % pages)),
            found("random", pages, accesses(core, &mut random(pages))),
        ]
    });
    let slowest = orders.min_by(|a, b| a.rate.total_cmp(&b.rate)).unwrap();
    let detail = format!(
        "{} over {} pages, the slowest of cycles and random draws over {PAGES:?}; fastest of {ROUNDS}, median {:.1}",
        slowest.order, slowest.pages, slowest.median
    );
    figures::say(&core.name, slowest.rate, "at least 50 M accesses/s", slowest.rate >= BOUND, &detail);
    slowest
}

fn random(pages: u64) -> impl FnMut(u64) -> u64 {
    let mut state = 1u32;
    move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (u64::from(state) * pages) >> 32
    }
}

/// Fastest and median, in millions a second.
fn accesses(core: &Core, page: &mut dyn FnMut(u64) -> u64) -> (f64, f64) {
    let addrs: Vec<u64> = (0..ACCESSES as u64).map(|i| 0xffff_ffff_c000_0000 + page(i) * 4096).collect();
    let mut itlb = Itlb::new(&core.geometry());
    let rates = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        for &addr in &addrs {
            black_box(itlb.fetch(addr, PageSize::Small));
        }
        ACCESSES as f64 / began.elapsed().as_secs_f64() / 1e6
    });
    let rates: Vec<f64> = rates.collect();
    (rates.iter().copied().fold(0.0, f64::max), figures::median(rates))
}

/// What a report of a default run predicts: 72 trials of chain, as mapped and if by 2 MiB, and the knees of both arms.
fn default_run() {
    let executions = predict_default_run();
    let seconds = figures::median(
        (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                black_box(predict_default_run());
                began.elapsed().as_secs_f64()
            })
            .collect(),
    );
    let detail = format!("zen4, {executions} executions and the knees; median of {ROUNDS}");
    figures::say("prediction of a default run", seconds, "below 1 s", seconds < 1.0, &detail);
}

fn predict_default_run() -> u64 {
    let zen4 = Named::find("zen4").unwrap().geometry;
    let mut predicted = 0;
    for programs in [64usize, 512, 2048] {
        for trial in 0..12 {
            let lengths = || std::iter::repeat_n(121, programs);
            for images in [dense(lengths()), spread(lengths())] {
                for pages in [PageSize::Small, PageSize::Huge] {
                    let load =
                        Load { images: &images, pages, order: Order::Permuted, seed: trial, executions_per_run: 33 };
                    predicted += black_box(predict(&load, &zen4)).executions;
                }
            }
        }
    }
    let lengths = |programs: u32| std::iter::repeat_n(121, programs as usize);
    black_box(knees(&zen4, PageSize::Small, &|programs| dense(lengths(programs))));
    black_box(knees(&zen4, PageSize::Small, &|programs| spread(lengths(programs))));
    predicted
}
