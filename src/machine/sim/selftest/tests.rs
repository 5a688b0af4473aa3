//! Every check passes on a right kernel, and fails on the defect that it is there for, alone among all.

use std::time::Duration;

use super::*;
use crate::selftest::checks::Findings;
use crate::selftest::reading::{self, State};
use crate::selftest::session::run;
use crate::selftest::suite::all;
use crate::selftest::{Ktap, Plan, Subtest};

const ALLOWED: Allowed = Allowed { sysctls: true, pressure_percent: 50, fill_area: true, slow: false };

/// What a session prints on a kernel with `defect`.
fn session(defect: Option<Defect>, seed: u64) -> String {
    let mut out = Vec::new();
    let subtests = all();
    let mut subject = SimSubject::new(seed, ALLOWED, defect);
    let mut ktap = Ktap::begin(&mut out, subtests.len()).expect("written");
    let plan = Plan { subtests: &subtests, seed, time: Duration::ZERO };
    run(&plan, &mut subject, &mut ktap).expect("a session");
    ktap.end().expect("written");
    String::from_utf8(out).expect("text")
}

#[test]
fn a_kernel_that_keeps_text_passes_and_one_that_loses_it_does_not() {
    let packs_released = all().into_iter().filter(|subtest| subtest.name == "packs-released");
    let subtests: Vec<Subtest> = packs_released.collect();
    let passes = |defect| {
        let mut out = Vec::new();
        let mut subject = SimSubject::new(5, ALLOWED, defect).that_keeps_text();
        let mut ktap = Ktap::begin(&mut out, 1).expect("written");
        run(&Plan { subtests: &subtests, seed: 5, time: Duration::ZERO }, &mut subject, &mut ktap).expect("a session");
        String::from_utf8(out).expect("text")
    };
    let text = passes(None);
    assert!(text.contains("empty, kept and used again") && text.contains("\nok 1 packs-released\n"), "{text}");
    let text = passes(Some(Defect::LostPacks));
    assert!(
        text.contains("not ok 1 packs-released") && text.contains("still there though nothing is in them"),
        "{text}"
    );
}

fn failed(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("not ok ")?.split_once(' ')).map(|(_, name)| name).collect()
}

#[test]
fn a_right_kernel_passes_every_subtest_and_none_is_skipped() {
    for seed in [1, 2, 3] {
        let text = session(None, seed);
        assert!(failed(&text).is_empty(), "{text}");
        assert!(!text.contains("SKIP"), "{text}");
    }
}

#[test]
fn every_defect_fails_its_own_subtest_and_no_other() {
    std::thread::scope(|scope| {
        let session_of = |(defect, name)| (defect, name, scope.spawn(move || session(Some(defect), 4)));
        let sessions: Vec<_> = Defect::ALL.into_iter().map(session_of).collect();
        for (defect, name, session) in sessions {
            let text = session.join().expect("a session");
            assert_eq!(failed(&text), [name], "{defect:?}\n{text}");
            let read = reading::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let failed: Vec<&str> =
                read.iter().filter(|one| one.state == State::Failed).map(|one| &*one.name).collect();
            assert_eq!(failed, [name], "as a parser of KTAP has it");
        }
    });
}

#[test]
fn every_subtest_has_its_defect() {
    let mut names: Vec<&str> = Defect::ALL.iter().map(|(_, name)| *name).collect();
    let mut subtests: Vec<&str> = all().iter().map(|subtest| subtest.name).collect();
    names.sort_unstable();
    subtests.sort_unstable();
    assert_eq!(names, subtests);
}

#[test]
fn a_failure_says_its_seed_and_the_shortest_sequence() {
    let text = session(Some(Defect::WrongTailCalls), 77);
    assert!(text.contains("reproduce with --seed 77 --only results-tail-calls"), "{text}");
    let sequence = text.split("the shortest sequence found has 2 of ").nth(1).unwrap_or_else(|| panic!("{text}"));
    let steps: Vec<&str> = sequence.lines().skip(1).take(2).collect();
    assert!(steps[0].starts_with("#   load ") && steps[1].starts_with("#   run "), "{steps:?}");
}

/// Sees nothing wherever the first program has few steps, which every second has.
fn sees_long_ones(_: &Facts, steps: &[Step]) -> Findings {
    let mut found = Findings::default();
    let long = steps.iter().filter_map(Step::loaded).take(1).filter(|(_, body, _)| body.steps > 80);
    found.count("long ones", long.count() as u64);
    found.needs("long ones", "it was short")
}

#[test]
fn a_round_that_saw_nothing_does_not_undo_those_that_did() {
    let results = all().into_iter().find(|subtest| subtest.name == "results").expect("a subtest");
    let said = |seed: u64, time: Duration| {
        let mut out = Vec::new();
        let mut ktap = Ktap::begin(&mut out, 1).expect("written");
        let subtests = [Subtest { check: sees_long_ones, ..results }];
        let plan = Plan { subtests: &subtests, seed, time };
        run(&plan, &mut SimSubject::new(seed, ALLOWED, None), &mut ktap).expect("a session");
        String::from_utf8(out).expect("text")
    };
    // One round each: every second is a SKIP, more or less.
    let skipped =
        (0..24).filter(|&seed| said(seed, Duration::ZERO).contains("ok 1 results # SKIP it was short")).count();
    assert!((4..=20).contains(&skipped), "{skipped} of 24");
    // As many rounds as a second takes, of which half saw nothing.
    let passed = (0..6).any(|seed| {
        let text = said(seed, Duration::from_secs(1));
        text.contains("ok 1 results\n") && text.contains(" rounds saw nothing: it was short")
    });
    assert!(passed, "no seed passed with blind rounds");
}

#[test]
fn frees_are_paced() {
    let mut subject = SimSubject::new(1, ALLOWED, None);
    let ops = (0..1000).flat_map(|at| {
        let body = Body { kind: Kind::Subprograms, seed: at, steps: 3, parts: 5 };
        [Op::Load { slot: 0, body }, Op::Unload { slot: 0 }]
    });
    subject.play(&[ops.collect()]).expect("played");
    assert_eq!(subject.tally().loads, 1000);
    assert!((MOST_FREES..MOST_FREES + 6).contains(&subject.tally().most_frees_under_way), "{:?}", subject.tally());
}

#[test]
fn nothing_of_a_sequence_is_left_after_it() {
    let mut subject = SimSubject::new(1, ALLOWED, None);
    let load = Op::Load { slot: 3, body: Body::plain(5, 10) };
    let survey = |steps: &[Step]| match &steps.last().expect("a step").event {
        Event::Surveyed(survey) => survey.own,
        other => panic!("{other:?}"),
    };
    assert_eq!(survey(&subject.play(&[vec![load, Op::Survey]]).expect("played")), 1);
    assert_eq!(survey(&subject.play(&[vec![Op::Survey]]).expect("played")), 0);
}
