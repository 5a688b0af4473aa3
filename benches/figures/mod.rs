//! How benches print what they found. In: values of one run. Out: their median, and a line that says whether a bound holds. Apart
//! because each file in `benches/` is a crate of its own.
#![allow(dead_code)]

/// The middle value; of an even number the upper of both.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One line: whether it holds, what, value, bound, how it was found.
pub fn say(what: &str, value: f64, bound: &str, holds: bool, detail: &str) {
    println!("{:6} {what}: {value:.3} ({bound}); {detail}", if holds { "ok" } else { "MISSED" });
}
