//! Accesses a second of the iTLB model, on one core.
#![allow(clippy::unwrap_used)]

mod figures;

use std::hint::black_box;
use std::time::Instant;

use itlbench::model::geometry::{Named, cores};
use itlbench::model::what_if::{dense, knees, spread};
use itlbench::model::{Itlb, Load, PageSize, predict};
use itlbench::workload::Order;

/// Accesses in one measurement, and measurements of each pattern; the median is printed, as the machine may be busy.
const ACCESSES: usize = 2_000_000;
const ROUNDS: usize = 9;
/// Accesses a second that the default model must reach.
const BOUND: f64 = 50e6;

fn main() {
    // Whatever the host is, the model of zen4 is the slowest kind: a fully associative L1 and hits nowhere.
    for name in ["zen4", "skylake", "gracemont"] {
        for pages in [16, 100, 512, 2048] {
            rate(name, "cycle", pages, |i| i % pages);
            let mut state = 1u32;
            rate(name, "random", pages, move |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (u64::from(state) * pages) >> 32
            });
        }
    }
    let slowest = cores().iter().map(|core| accesses(&core.name, 2048, &mut |i| i % 2048)).fold(f64::MAX, f64::min);
    default_run();
    println!("slowest core of the table: {:.1} M accesses/s", slowest / 1e6);
}

/// What a report of a default run predicts: 72 trials of chain, as mapped and if by 2 MiB, and the knees of both arms.
fn default_run() {
    let began = Instant::now();
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
    black_box(knees(&zen4, 121, PageSize::Small, |lengths| dense(lengths)));
    black_box(knees(&zen4, 121, PageSize::Small, |lengths| spread(lengths)));
    let seconds = began.elapsed().as_secs_f64();
    let mark = if seconds < 1.0 { "ok" } else { "MISSED" };
    println!("{mark:6} prediction of a default run: {seconds:.3} s (below 1); {predicted} executions, n 1");
}

fn rate(name: &str, order: &str, pages: u64, mut page: impl FnMut(u64) -> u64) {
    let rate = accesses(name, pages, &mut page);
    let mark = if rate >= BOUND { "ok" } else { "MISSED" };
    println!(
        "{mark:6} {name}, {order} over {pages} pages: {:.1} M accesses/s (at least 50); median of {ROUNDS}",
        rate / 1e6
    );
}

fn accesses(name: &str, pages: u64, page: &mut dyn FnMut(u64) -> u64) -> f64 {
    let addrs: Vec<u64> = (0..ACCESSES as u64).map(|i| 0xffff_ffff_c000_0000 + page(i) * 4096).collect();
    let mut itlb = Itlb::new(&Named::find(name).unwrap().geometry);
    let rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for &addr in &addrs {
                black_box(itlb.fetch(addr, PageSize::Small));
            }
            ACCESSES as f64 / began.elapsed().as_secs_f64()
        })
        .collect();
    black_box(pages);
    figures::median(rates)
}
