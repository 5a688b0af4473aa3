//! The bpf tier of loads: orders of visits held against the model to the count, and victims beside the programs.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use itlbench::counters::{Group, Role};
use itlbench::machine::Machine;
use itlbench::machine::kernel::KernelMachine;
use itlbench::model::visits::Visits;
use itlbench::runfile::Run;
use itlbench::trial::record::Company;
use itlbench::workload::{Case, PackMode, Spec, TriggerKind};
use rustix::process::{Pid, Signal, kill_process};

/// Executions of the programs that run least and most in so many visits, as the model has them.
fn modelled(case: &Case, seed: u64, visits: u64) -> (u64, u64) {
    let mut counts = vec![0u64; case.programs as usize];
    let mut order = Visits::new(case.order(), case.programs, seed);
    (0..visits).for_each(|_| counts[order.advance()] += 1);
    (*counts.iter().min().unwrap(), *counts.iter().max().unwrap())
}

#[test]
fn the_kernel_visits_in_the_order_of_the_model_to_the_count() {
    let Some(_turn) = tier::bpf() else { return };
    let mut machine = KernelMachine::new(None, false, Arc::new(AtomicBool::new(false))).unwrap();
    let spec = Spec::builtin("chain").unwrap();
    for (trigger, order, loaded) in [
        (TriggerKind::Chain, "sequential", None),
        (TriggerKind::Chain, "permuted", Some(150)),
        (TriggerKind::Walk, "random", Some(150)),
        (TriggerKind::Walk, "zipf(0.99)", None),
        (TriggerKind::Walk, "zipf(2)", Some(150)),
    ] {
        let spec = Spec { trigger, order: Some(order.parse().unwrap()), loaded, ..spec.clone() };
        for pack in [PackMode::On, PackMode::Off] {
            let case = spec.case(100, pack);
            let mut loaded = machine.load(&case, 77).unwrap();
            assert_eq!((loaded.images().len(), loaded.beside().len()), (100, case.loaded() as usize - 100), "{case}");
            let check = loaded.check().unwrap();
            let visits = 33 * u64::from(Visits::new(case.order(), 100, 77).round());
            assert_eq!(check.executed, 100, "{case} {order}");
            assert_eq!((check.fewest, check.most), modelled(&case, 77, visits), "{case} {order}");
            let ahead = loaded.images().windows(2).filter(|pair| pair[0].addr < pair[1].addr).count();
            assert_eq!(ahead == 99, order == "sequential", "{case} {order}: {ahead}");
            loaded.unload().unwrap();
        }
    }
}

fn command(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
    let samples = if more.contains(&"--churn") { "60" } else { "3" };
    command.args(["run", "chain", "--programs", "64", "--trials", "1", "--samples", samples]);
    command.args(["--repetitions", "2", "--out"]).arg(out).args(more);
    command
}

fn run(more: &[&str]) -> (Output, tempfile::TempDir) {
    let out = tempfile::tempdir().unwrap();
    (command(out.path(), more).output().unwrap(), out)
}

fn file(output: &Output) -> Run {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    Run::read(&PathBuf::from(text.lines().last().unwrap()).join("run.jsonl")).unwrap()
}

#[test]
fn a_victim_runs_in_every_company_and_its_own_time_is_recorded() {
    let Some(_turn) = tier::bpf() else { return };
    for victim in ["code", "syscall", "pipe", "memory"] {
        let (output, _out) = run(&["--victim", victim]);
        let run = file(&output);
        let facts = run.manifest.victim.as_ref().unwrap();
        assert_eq!(facts.name, victim);
        for trial in &run.trials {
            assert_eq!(trial.tandem.len(), 6);
            for repetition in &trial.tandem {
                assert!(
                    repetition.cpu_ns > 20_000_000 && repetition.cpu_ns <= 2 * repetition.wall_ns,
                    "{repetition:?}"
                );
                assert_eq!(repetition.bursts > 10, repetition.company != Company::Alone, "{repetition:?}");
                assert_eq!(repetition.executions > 660, repetition.company == Company::Programs, "{repetition:?}");
                // Page faults are counted everywhere, in the child alone and on one side at a time.
                let counted = repetition.counts.iter().flatten().filter(|count| **count > 0).count();
                assert!(facts.events.is_empty() || counted > 0, "{repetition:?} {facts:?}");
            }
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("itlbench victim {victim} --units")), "{text}");
    }
}

#[test]
fn a_command_that_cannot_do_its_work_ends_the_run_with_one_line() {
    let Some(_turn) = tier::bpf() else { return };
    for (argv, code, said) in [
        (&["no-such-command-at-all"][..], 2, "it is in no directory of PATH"),
        (&["sh", "-c", "exit 3"], 1, "`sh -c exit 3` ended with exit code 3"),
        (&["sh", "-c", "kill -9 $$"], 1, "was killed by signal 9"),
    ] {
        let (output, _out) = run(&[&["--"], argv].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(said) && text.lines().count() == 1, "{text}");
    }
}

/// Processes with this argument.
fn with_argument(argument: &str) -> usize {
    let named = |entry: std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().flatten().map(named).filter(|found| *found).count()
}

fn started(argument: &str, out: &Path) -> Child {
    let child = command(out, &["--", "sleep", argument]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The tool names the argument too.
    tier::wait_until("the victim runs", || with_argument(argument) == 2);
    child
}

#[test]
fn nothing_is_left_of_a_victim_when_the_tool_is_stopped_or_killed() {
    let Some(_turn) = tier::bpf() else { return };
    for (signal, argument, code) in
        [(Signal::INT, "300.0101", Some(130)), (Signal::TERM, "300.0102", Some(130)), (Signal::KILL, "300.0103", None)]
    {
        let out = tempfile::tempdir().unwrap();
        let mut child = started(argument, out.path());
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code);
        tier::wait_until("the victim is gone", || with_argument(argument) == 0);
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn the_same_windows_run_on_every_cpu_at_once_with_its_own_counters() {
    let Some(_turn) = tier::bpf() else { return };
    let cpus = std::thread::available_parallelism().unwrap().get();
    let (output, _out) = run(&["--cpus", "all", "--counters", "task-clock"]);
    if cpus == 1 {
        assert_eq!(output.status.code(), Some(3));
        return;
    }
    let run = file(&output);
    let clock = |group: &Group| group.events.iter().position(|event| event.role == Role::TaskClock);
    let groups = run.manifest.groups.iter().enumerate();
    let (group, event) = groups.filter_map(|(at, group)| Some((at, clock(group)?))).next().unwrap();
    for trial in &run.trials {
        let parallel = trial.parallel.as_ref().unwrap();
        assert_eq!((parallel.cpus.len(), parallel.cpus[0], parallel.windows.len()), (cpus, run.manifest.cpu, 3));
        assert_eq!(parallel.executions, parallel.runs * 33);
        for window in &parallel.windows {
            for cpu in window {
                // The thread's own clock ran for as long as its window took, so its counter is its own.
                let clock = cpu.readings[group].counts[event];
                assert!(clock > 0 && clock <= cpu.wall_ns + 200_000, "{cpu:?}");
            }
        }
    }
    assert!(String::from_utf8_lossy(&output.stdout).contains("CPUs at once"));
}

#[test]
fn a_cpu_that_is_not_there_is_named() {
    let Some(_turn) = tier::bpf() else { return };
    let (output, _out) = run(&["--cpus", "0,4000"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("CPU 4000: not among"), "{text}");
}

#[test]
fn programs_come_and_go_at_the_rate_that_was_asked_for() {
    let Some(_turn) = tier::bpf() else { return };
    let (output, _out) = run(&["--churn", "200", "--victim", "syscall"]);
    let run = file(&output);
    for trial in &run.trials {
        let churn = trial.churn.as_ref().unwrap();
        let per_s = churn.loads as f64 * 1e9 / churn.elapsed_ns as f64;
        assert!((60.0..=250.0).contains(&per_s), "{per_s}");
        assert_eq!(churn.windows.len(), 60);
        let latency = itlbench::samples::histogram::decode(churn.load_latency.as_ref().unwrap()).unwrap();
        assert_eq!(latency.len(), churn.loads);
        assert_eq!(trial.tandem.iter().filter(|repetition| repetition.company == Company::Churn).count(), 2);
    }
    // The table wraps where it pleases.
    let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("of 200 programs/s come and go") && text.contains("with --churn also"), "{text}");
}
