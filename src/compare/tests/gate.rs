use super::boots;
use crate::compare::{Comparison, Force, Gate};

fn tripped(gate: &str, boots_a_side: usize, factor: f64) -> Option<String> {
    let comparison =
        Comparison::of(boots("6.1", boots_a_side, 1.0), vec![boots("6.2", boots_a_side, factor)], Force::No).unwrap();
    gate.parse::<Gate>().unwrap().tripped(&comparison)
}

#[test]
fn a_gate_trips_on_what_is_shown_and_large_enough() {
    for (gate, boots, factor, trips) in [
        ("slower:2%", 5, 1.1, true),
        ("slower", 5, 1.1, true),
        ("slower:20%", 5, 1.1, false),
        ("slower:2%", 5, 0.9, false),
        ("slower:2%", 3, 1.5, false),
        ("faster:2%", 5, 0.9, true),
        ("different:2%", 5, 0.9, true),
        ("different:2%", 5, 1.0, false),
        ("undecided", 3, 1.0, true),
        ("undecided", 5, 1.0, false),
        ("unsure:0.1%", 5, 1.0, true),
        ("unsure:5%", 5, 1.0, false),
        ("unsure:5%", 5, 1.1, true),
        ("unsure:5%", 3, 1.0, true),
        ("slower:2%@wall-ns", 5, 1.1, true),
        ("slower:2%@dtlb-misses-per1000", 5, 1.1, true),
    ] {
        assert_eq!(tripped(gate, boots, factor).is_some(), trips, "{gate} {boots} {factor}");
    }
}

#[test]
fn the_line_names_the_gate_the_worst_case_and_how_many_more() {
    let line = tripped("slower:2%", 5, 1.1).unwrap();
    assert!(line.starts_with("gate `slower:2%` tripped: chain n="), "{line}");
    assert!(line.contains("on 6.2: cycles/exec 1.1") && line.ends_with(", slower, and 5 more"), "{line}");
    assert_eq!(line.lines().count(), 1);
    let line = tripped("slower@dtlb-misses-per1000", 5, 1.1).unwrap();
    assert!(line.ends_with("no side counted dTLB-load-misses/1000 exec"), "{line}");
}

#[test]
fn what_is_no_gate_is_named_with_what_would_be() {
    for (text, expected) in [
        ("worse:2%", "`worse:2%` is no gate"),
        ("slower:2", "`2` is no percentage"),
        ("slower:-1%", "`-1%` is no percentage"),
        ("slower:nan%", "`nan%` is no percentage"),
        ("slower:2%@ipc", "`ipc` is no metric; the metrics are wall-ns, "),
    ] {
        let error = text.parse::<Gate>().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
