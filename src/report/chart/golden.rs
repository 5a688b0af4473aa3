//! Every chart as it is drawn, byte for byte: the SVG of each as a snapshot, of the PNG its size and checksum. Whoever changes one
//! looks at it.

use super::{Drawing, draw, draw_comparison, fixture, matrix, pack_maps};
use crate::report::Summary;
use crate::report::comparison::{self, View};
use crate::report::fixture::{four_arms_run, pmu_run};
use crate::report::kernels;
use crate::survey::area::areas;
use crate::survey::fixture::survey;

/// More of a picture than this is checked by its sum and its words alone: a map has a rectangle for each page.
const MOST_BYTES: usize = 60_000;

fn words(svg: &str) -> String {
    let texts = svg.split("<text ").skip(1).filter_map(|rest| Some(rest.split_once('>')?.1.split_once('<')?.0.trim()));
    texts.map(|text| format!("{text}\n")).collect()
}

/// One snapshot a chart, named by its stem, and one of all pictures.
fn assert_golden(of: &str, drawings: &[Drawing]) {
    let mut pictures = String::new();
    for drawing in drawings {
        let sum = crc32fast::hash(&drawing.png);
        pictures += &format!("{}.png: {} bytes, crc32 {sum:08x}\n", drawing.stem, drawing.png.len());
        let svg = match drawing.svg.len() > MOST_BYTES {
            true => format!(
                "{} bytes, crc32 {:08x}\n{}",
                drawing.svg.len(),
                crc32fast::hash(drawing.svg.as_bytes()),
                words(&drawing.svg)
            ),
            false => drawing.svg.clone(),
        };
        insta::assert_snapshot!(
            format!("{of}_{}", drawing.stem),
            format!("{}\n{}\n{svg}", drawing.title, drawing.caption)
        );
    }
    insta::assert_snapshot!(format!("{of}_pictures"), pictures);
}

#[test]
fn charts_of_a_simulated_run() {
    let run = fixture::run(2);
    assert_golden("simulated", &draw(&Summary::of(&run)).expect("charts"));
}

#[test]
fn charts_of_all_arms_and_of_a_pmu() {
    let only = |drawings: Vec<Drawing>, stems: &[&str]| -> Vec<Drawing> {
        drawings.into_iter().filter(|drawing| stems.contains(&drawing.stem.as_str())).collect()
    };
    let run = four_arms_run();
    let drawn = draw(&Summary::of(&run)).expect("charts");
    assert_golden("four_arms", &only(drawn, &["effects", "scaling-ns-chain"]));
    let run = pmu_run();
    let drawn = draw(&Summary::of(&run)).expect("charts");
    assert_golden("pmu", &only(drawn, &["effects", "scaling-itlb-chain"]));
}

#[test]
fn charts_of_three_kernels() {
    let comparison = comparison::fixture::three_kernels();
    let drawn = draw_comparison(&View::of(&comparison)).expect("charts");
    let stems: Vec<&str> = drawn.iter().map(|drawing| drawing.stem.as_str()).collect();
    let of_arm = |arm: &str| ["scaling", "ecdf", "percentile"].map(|kind| format!("{kind}-cycles-chain-pack-{arm}"));
    let expected: Vec<String> = ["effects".to_owned()].into_iter().chain(of_arm("on")).chain(of_arm("off")).collect();
    assert_eq!(stems, expected);
    assert_golden("kernels", &drawn);
}

#[test]
fn charts_of_kernels_in_guests() {
    let runs = kernels::fixture::runs();
    assert_golden("guests", &matrix::draw(&kernels::Matrix::of(&runs, Vec::new())).expect("charts"));
}

#[test]
fn the_map_of_a_host() {
    assert_golden("host", &pack_maps(&areas(&survey(), None), "7 programs on 5 pages", "a host").expect("a map"));
}
