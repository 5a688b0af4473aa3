//! How many programs an iTLB holds: where the model has a level run out, for each arm.

use super::frame::Style;
use crate::report::Summary;
use crate::report::modelled::Modelled;
use crate::report::reach::Reach;

/// The number of programs from which on one arm misses one level of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    pub programs: f64,
    pub words: String,
    pub style: Style,
}

/// The marks of all arms, for every model of the run, from left to right; none if nothing is modelled.
pub fn of_run(summary: &Summary, workload: &str) -> Vec<Mark> {
    let of_model = |modelled: &Modelled| {
        let arms = modelled.reach().iter().filter(|reach| reach.workload == workload);
        arms.flat_map(|reach| of_arm(&modelled.model.name, reach)).collect::<Vec<Mark>>()
    };
    let mut marks: Vec<Mark> = summary.modelled.iter().flat_map(of_model).collect();
    marks.sort_by(|a, b| a.programs.total_cmp(&b.programs));
    marks
}

fn of_arm(model: &str, Reach { pack, knees, .. }: &Reach) -> Vec<Mark> {
    let mark = |(level, knee): (&str, Option<u32>)| {
        let programs = knee?;
        let words = format!("pack {pack}: {level} of {model} runs out ({programs})");
        Some(Mark { programs: f64::from(programs), words, style: (*pack).into() })
    };
    [("L1", knees.l1), ("L2", knees.l2)].into_iter().filter_map(mark).collect()
}

/// What the marks are, in words.
pub const NOTE: &str = "dotted: from here on one execution in a hundred misses that level of the iTLB (modelled)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::geometry::Named;
    use crate::report::fixture;
    use crate::workload::PackMode;

    #[test]
    fn a_level_runs_out_where_the_model_says_so() {
        let run = fixture::timed_run();
        let summary = Summary::of(&run);
        let marks = of_run(&summary, "chain");
        let reach = summary.modelled[0].reach().iter().find(|reach| reach.pack == PackMode::Off).expect("pack off");
        let l1 = reach.knees.l1.expect("a knee");
        assert!(marks.iter().any(|mark| {
            mark.programs == f64::from(l1) && mark.words == format!("pack off: L1 of zen3 runs out ({l1})")
        }));
        assert_eq!(of_run(&summary, "walk"), []);
    }

    #[test]
    fn every_model_asked_for_has_its_marks_and_an_unknown_cpu_none() {
        let mut run = fixture::timed_run();
        let skylake = [Named::find("skylake").expect("in the table")];
        let words = |summary: &Summary| of_run(summary, "chain").into_iter().map(|mark| mark.words).collect::<String>();
        let both = words(&Summary::with_models(&run, &skylake, None));
        assert!(both.contains("L1 of zen3") && both.contains("L1 of skylake"), "{both}");
        assert!(words(&Summary::of(&fixture::sim_run())).contains("of simulated runs out"));
        run.manifest.host.cpu_family = Some(99);
        assert_eq!(words(&Summary::of(&run)), "");
    }
}
