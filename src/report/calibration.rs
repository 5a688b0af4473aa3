//! A calibration as text: times, misses, what follows for a miss, and what spoilt it.

use std::fmt::Write as _;

use super::units::figure;
use crate::counters::Role;
use crate::twin::calibration::Disturbances;
use crate::twin::code::Pages;
use crate::twin::findings::{Comparison, Cost, Misses, Step};
use crate::twin::stubs::Layout;
use crate::twin::{Calibration, Findings};

/// A clock of the core that moved by more than this from begin to end is said.
const MOST_DRIFT_PERCENT: f64 = 3.0;

/// The findings as a reader at a terminal wants them.
pub fn text(calibration: &Calibration) -> String {
    let host = &calibration.host;
    let mut text = format!(
        "{}, CPU {}, {}; {}; {:.2} cycles/ns (timed: multiplications of 3 cycles)\n",
        host.cpu_model.as_deref().unwrap_or("an unknown CPU"),
        calibration.cpu,
        host.hypervisor.as_ref().map_or("no hypervisor".to_owned(), |name| format!("virtual machine ({name})")),
        calibration
            .supply
            .as_ref()
            .map_or("no pages of 2 MiB".to_owned(), |supply| format!("2 MiB pages from {supply}")),
        calibration.ghz(),
    );
    text += &table(calibration);
    text += &misses(calibration);
    let mut lines = vec![verdict(calibration)];
    lines.extend(disturbances(calibration));
    lines.extend(knees(calibration));
    lines.extend(costs(calibration));
    lines.extend(counted_by(calibration));
    lines.extend(calibration.cpuid_differs.iter().map(|line| format!("CPUID and the table differ: {line}")));
    lines.iter().fold(text + "\n", |text, line| text + "  - " + line + "\n")
}

/// Median ns a jump of each arm, and what 4 KiB pages cost more.
fn table(calibration: &Calibration) -> String {
    let mut text =
        "\nns a jump (timed), median over allocations of the least of the loops; more: 4k - 2m, [95 % interval]\n"
            .to_owned();
    let _ = writeln!(
        text,
        "  {:>6} {:>10} {:>10} {:>24} {:>10} {:>10} {:>24}  {:>3}",
        "stubs", "packed 4k", "packed 2m", "more", "spread 4k", "spread 2m", "more", "n"
    );
    let mut numbers: Vec<u32> = calibration.points.iter().map(|point| point.stubs).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for stubs in numbers {
        let _ = write!(text, "  {stubs:>6}");
        let mut fewest = usize::MAX;
        for layout in [Layout::Packed, Layout::Spread] {
            for pages in [Pages::Small, Pages::Huge] {
                let point = calibration.points.iter().find(|p| (p.layout, p.pages, p.stubs) == (layout, pages, stubs));
                let ns = point.and_then(|point| crate::stats::median(&point.ns));
                fewest = fewest.min(point.map_or(0, |point| point.ns.len()));
                let _ = write!(text, " {:>10}", ns.map_or("-".to_owned(), figure));
            }
            let step = calibration.findings.steps.iter().find(|step| step.layout == layout && step.stubs == stubs);
            let more =
                |step: &Step| format!("{} [{}, {}]", figure(step.more_ns), figure(step.low_ns), figure(step.high_ns));
            let _ = write!(text, " {:>24}", step.map_or("-".to_owned(), more));
        }
        let _ = writeln!(text, "  {fewest:>3}");
    }
    text
}

/// Misses a jump that 4 KiB pages have more, counted beside modelled; nothing where there is no PMU.
fn misses(calibration: &Calibration) -> String {
    let spread = calibration.findings.steps.iter().filter(|step| step.layout == Layout::Spread);
    let counted: Vec<&Step> =
        spread.filter(|step| step.counted_walks.is_some() || step.counted_l2_hits.is_some()).collect();
    if counted.is_empty() {
        return String::new();
    }
    let mut text =
        "\nmisses a jump that 4 KiB pages have more, spread stubs: counted (user side) and modelled\n".to_owned();
    let _ =
        writeln!(text, "  {:>6} {:>15} {:>9} {:>9} {:>9}", "stubs", "L1, hits in L2", "modelled", "walks", "modelled");
    let cell = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    for step in counted {
        let [hits, model_hits, walks, model_walks] =
            [step.counted_l2_hits, step.l2_hits, step.counted_walks, step.walks].map(cell);
        let _ = writeln!(text, "  {:>6} {hits:>15} {model_hits:>9} {walks:>9} {model_walks:>9}", step.stubs);
    }
    text
}

fn verdict(calibration: &Calibration) -> String {
    match &calibration.findings.comparison {
        Comparison::Holds if calibration.host.hypervisor.is_some() => {
            "beyond the knee of L2 4 KiB pages cost more than 2 MiB pages: the comparison holds; in a virtual machine the host may map \
             parts of it by 4 KiB, so every cost here is a lower bound"
                .to_owned()
        }
        Comparison::Holds => {
            "beyond the knee of L2 4 KiB pages cost more than 2 MiB pages: the comparison holds".to_owned()
        }
        Comparison::Void { reason } => format!("the comparison is VOID: {reason}"),
        Comparison::Absent { reason } => format!("no comparison: {reason}"),
    }
}

/// What else ran on the CPU, if anything did.
fn disturbances(calibration: &Calibration) -> Vec<String> {
    let Disturbances { switched_loops, waited_ns, steal_ticks } = calibration.company;
    let lost: u32 = calibration.points.iter().map(|point| point.disturbed).sum();
    let mut lines = Vec::new();
    if switched_loops > 0 {
        let waited = waited_ns.map_or(String::new(), |ns| format!(", it waited {} ms for the CPU", ns / 1_000_000));
        lines.push(format!(
            "other work ran on CPU {}: the thread was switched out in {switched_loops} loops, which were run again{waited}; {lost} \
             allocations had no loop to themselves and are left out",
            calibration.cpu
        ));
    }
    if let Some(ticks) = steal_ticks.filter(|&ticks| ticks > 0) {
        lines.push(format!("the hypervisor took {ticks} ticks from CPU {} meanwhile", calibration.cpu));
    }
    let (before, after) = calibration.cycles_per_ns;
    let off = (after / before - 1.0) * 100.0;
    if off.abs() > MOST_DRIFT_PERCENT {
        lines.push(format!(
            "the core's clock went from {before:.2} to {after:.2} cycles/ns ({off:+.0} %): compare times of this calibration with care"
        ));
    }
    lines
}

fn knees(calibration: &Calibration) -> Vec<String> {
    let findings = &calibration.findings;
    let stubs = |knee: Option<u32>| knee.map_or("nowhere up to there".to_owned(), |stubs| format!("at {stubs} stubs"));
    let mut lines = vec![format!("4 KiB pages cost more for good from: {}", stubs(findings.knee))];
    if findings.counted_l1_knee.is_some() || findings.counted_l2_knee.is_some() {
        let [l1, l2] = [findings.counted_l1_knee, findings.counted_l2_knee].map(stubs);
        lines.push(format!("counted, L1 begins to miss {l1}, L2 {l2}"));
    }
    lines.push(match &calibration.model {
        Some(model) => format!(
            "{model} in the table misses L1 {}, L2 {}{}",
            stubs(findings.model_l1_knee),
            stubs(findings.model_l2_knee),
            agreement(findings)
        ),
        None => "this CPU is not in the table of `itlbench list models`: no cost by modelled misses".to_owned(),
    });
    lines
}

fn costs(calibration: &Calibration) -> Vec<String> {
    let cost = |what: &str, cost: &Option<Cost>| {
        cost.map(|Cost { ns, low_ns, high_ns, steps, misses }| {
            let cycles = ns * calibration.ghz();
            let range = format!("{} to {} over {steps} numbers of stubs", figure(low_ns), figure(high_ns));
            let misses = match misses {
                Misses::Counted => "counted",
                Misses::Modelled => "modelled",
            };
            format!(
                "{what}: {} ns, {} cycles ({range}; timed difference over {misses} misses)",
                figure(ns),
                figure(cycles)
            )
        })
    };
    let findings = &calibration.findings;
    let both = [cost("a miss of L1 that hits L2", &findings.l1_miss), cost("a miss of both: a walk", &findings.walk)];
    both.into_iter().flatten().collect()
}

/// Where the misses come from: events with their raw codes, or the model, and why.
fn counted_by(calibration: &Calibration) -> Vec<String> {
    if calibration.groups.is_empty() {
        let why = match calibration.refused.as_slice() {
            [] => String::new(),
            [one] => format!(" ({one})"),
            [first, others @ ..] => format!(" ({first}; {} more)", others.len()),
        };
        return vec![format!("nothing of the core counts here{why}: the misses are the model's, the times a clock's")];
    }
    let shown = [Role::StlbHits, Role::WalksCompleted];
    let events = calibration.groups.iter().flat_map(|group| &group.events).filter(|event| shown.contains(&event.role));
    let mut named: Vec<String> = events.map(|event| format!("{} ({})", event.name, event.code)).collect();
    named.dedup();
    let ratio = calibration.findings.counted_over_modelled();
    let ratio =
        ratio.map_or(String::new(), |ratio| format!("; walks counted / modelled beyond the knee of L2: {ratio:.3}"));
    vec![format!("counted on the user side: {}{ratio}", named.join(", "))]
}

/// Whether the knee lies where the table has it, as far as the numbers of the sweep tell.
fn agreement(findings: &Findings) -> &'static str {
    match (findings.knee, findings.model_l1_knee, findings.model_l2_knee) {
        _ if findings.comparison != Comparison::Holds => "",
        (Some(knee), Some(l1), _) if knee >= l1 / 2 && knee <= l1 * 2 => ": L1 agrees with what was timed",
        (Some(knee), _, Some(l2)) if knee >= l2 / 2 && knee <= l2 * 2 => {
            ": L2 agrees with what was timed, a miss of L1 alone was too cheap to be seen"
        }
        _ => ": that is NOT where the times rise; believe the times",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{CountSide, Event, EventCode, Group, Reading};
    use crate::host::Facts;
    use crate::model::geometry::Named;
    use crate::report::chart::twin;
    use crate::twin::loops::Counted;
    use crate::twin::sweep::{Plan, Point};

    /// An invented CPU with the iTLB of zen4, no noise to speak of, and costs of 2 and 9 ns.
    fn invented(huge_helps: bool) -> Calibration {
        let mut points = Vec::new();
        for layout in [Layout::Packed, Layout::Spread] {
            for pages in [Pages::Small, Pages::Huge] {
                for stubs in Plan::numbers(2048) {
                    let late = pages == Pages::Small || !huge_helps;
                    let walks = layout == Layout::Spread && late && stubs > 512;
                    let hits = layout == Layout::Spread && late && stubs > 64;
                    let ns = if walks {
                        10.0
                    } else if hits {
                        3.0
                    } else {
                        1.0
                    };
                    let ns = (0..8).map(|i| ns * (1.0 + 0.001 * f64::from(i))).collect();
                    points.push(Point { ns, ..Point::new(layout, pages, stubs) });
                }
            }
        }
        let zen4 = Named::find("zen4").unwrap();
        let findings = Findings::of(&points, &[], Some(&zen4.geometry), None);
        let host = Facts {
            cpu_model: Some("Invented CPU".to_owned()),
            hypervisor: Some("KVM".to_owned()),
            ..Facts::default()
        };
        let sample = crate::twin::calibration::tests::sample();
        let refused = vec!["cycles (type 0 config 0x0): ENOENT: no PMU of this host takes it".to_owned()];
        Calibration { host, model: Some(zen4.name), points, findings, refused, ..sample }
    }

    #[test]
    fn calibration_that_holds() {
        insta::assert_snapshot!(text(&invented(true)));
    }

    #[test]
    fn calibration_that_is_void() {
        let text = text(&invented(false));
        assert!(text.contains("the comparison is VOID") && !text.contains("a walk:"), "{text}");
    }

    #[test]
    fn the_chart_says_what_it_shows_and_what_is_void() {
        let drawing = twin::draw(&invented(true)).unwrap();
        for words in ["spread 4k: 10.0", "only the page size differs", "(modelled)", "ns a jump (timed"] {
            assert!(drawing.svg.contains(words), "{words}");
        }
        assert!(drawing == twin::draw(&invented(true)).unwrap());
        assert!(twin::draw(&invented(false)).unwrap().svg.contains("VOID"));
        let mut absent = invented(true);
        absent.findings.comparison = Comparison::Absent { reason: "other work".to_owned() };
        assert!(twin::draw(&absent).unwrap().svg.contains("s: other work"));
    }

    /// The same on a host with a PMU, which counts a twentieth less than the model has.
    fn counted() -> Calibration {
        let event = |role, name: &str, code| {
            let (name, code) = (name.to_owned(), EventCode::new(EventCode::RAW, code));
            Event { role, name, code }
        };
        let events = vec![
            event(Role::StlbHits, "bp_l1_tlb_miss_l2_tlb_hit", 0x84),
            event(Role::WalksCompleted, "bp_l1_tlb_miss_l2_tlb_miss.all", 0xf85),
        ];
        let groups = vec![Group { events, pinned: true, side: Some(CountSide::User), ..Group::default() }];
        let mut calibration = invented(true);
        for point in &mut calibration.points {
            let small = (point.layout, point.pages) == (Layout::Spread, Pages::Small);
            let counts = match point.stubs {
                _ if !small => [7, 3],
                0..=64 => [12, 4],
                65..=512 => [95_000, 20],
                _ => [40, 95_000],
            };
            let reading = Reading { counts: counts.to_vec(), enabled_ns: 5, running_ns: 5 };
            point.counted = vec![Counted { jumps: 100_000, readings: vec![reading] }; 8];
        }
        let zen4 = Named::find("zen4").unwrap();
        calibration.findings = Findings::of(&calibration.points, &groups, Some(&zen4.geometry), None);
        Calibration { groups, refused: Vec::new(), ..calibration }
    }

    #[test]
    fn calibration_with_a_pmu() {
        insta::assert_snapshot!(text(&counted()));
    }

    #[test]
    fn other_work_and_a_moving_clock_are_said() {
        assert!(!text(&invented(true)).contains("other work"));
        let mut calibration = invented(true);
        calibration.company = Disturbances { switched_loops: 12, waited_ns: Some(34_000_000), steal_ticks: Some(5) };
        calibration.points[3].disturbed = 2;
        calibration.cycles_per_ns = (3.0, 2.7);
        let text = text(&calibration);
        for words in [
            "other work ran on CPU 1: the thread was switched out in 12 loops, which were run again, it waited 34 ms",
            "2 allocations had no loop to themselves",
            "the hypervisor took 5 ticks",
            "from 3.00 to 2.70 cycles/ns (-10 %)",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
