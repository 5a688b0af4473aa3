//! The bpf tier of loads: orders of visits held against the model to the count, and victims beside the programs.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use itlbench::counters::{Choice, CountSide, Events, Group, Role};
use itlbench::machine::kernel::trigger::offer;
use itlbench::machine::kernel::{KernelMachine, sys};
use itlbench::machine::{Machine, Target};
use itlbench::model::visits::Visits;
use itlbench::placement::Image;
use itlbench::runfile::Run;
use itlbench::trial::Trial;
use itlbench::trial::record::{Company, Repetition, Victim};
use itlbench::victim::DATAGRAMS;
use itlbench::workload::{Case, PackMode, Spec, TriggerKind};
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions, ProgramInfo};
use rustix::process::{Pid, Signal, kill_process};
use tier::Mortal;

const RUNS: u32 = 10;

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
    for victim in ["code", "syscall", "pipe", "datagram", "memory"] {
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
            }
            for (round, repetitions) in trial.tandem.chunks(3).enumerate() {
                assert_counted(facts, if round == 0 { CountSide::User } else { CountSide::Kernel }, repetitions);
            }
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("itlbench victim {victim} --units")), "{text}");
    }
}

/// Page faults and switches are counted everywhere, in the child alone and on one side at a time.
fn assert_counted(victim: &Victim, side: CountSide, repetitions: &[Repetition]) {
    for repetition in repetitions {
        assert_eq!(repetition.counts.len(), victim.events.len());
        for (event, count) in victim.events.iter().zip(&repetition.counts) {
            // A count that was multiplexed is left out, which no event of software is.
            let whole = event.event.role == Role::PageFaults || event.event.role == Role::ContextSwitches;
            let holds = if event.side == side { !whole || count.is_some() } else { count.is_none() };
            assert!(holds, "{event:?}: {repetition:?}");
        }
        let faults =
            victim.events.iter().zip(&repetition.counts).filter(|(event, _)| event.event.role == Role::PageFaults);
        assert!(victim.events.is_empty() || faults.flat_map(|(_, count)| *count).sum::<u64>() > 0, "{repetition:?}");
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

fn started(argument: &str, out: &Path) -> Mortal {
    let child = command(out, &["--", "sleep", argument]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let child = Mortal(child);
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
        kill_process(Pid::from_child(&child.0), signal).unwrap();
        assert_eq!(child.0.wait().unwrap().code(), code);
        tier::wait_until("the victim is gone", || with_argument(argument) == 0);
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn on_a_hook_the_victim_runs_the_programs_itself_and_nothing_hangs_there_afterwards() {
    let Some(_turn) = tier::bpf() else { return };
    let (before, out) = (tier::links(), tempfile::tempdir().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
    command.args(["run", "tracepoint", "--programs", "8", "--trials", "2", "--samples", "2", "--repetitions", "2"]);
    let output = command.args(["--hooked", "--victim", "syscall", "--out"]).arg(out.path()).output().unwrap();
    let run = file(&output);
    assert_eq!(run.manifest.victim.as_ref().unwrap().hook.as_deref(), Some("raw tracepoint sys_enter"));
    for trial in &run.trials {
        let of = |company| trial.tandem.iter().filter(move |repetition| repetition.company == company);
        assert_eq!(of(Company::Hooked).count(), 2);
        let fastest = |company| of(company).map(|repetition| repetition.cpu_ns).min().unwrap();
        assert!(fastest(Company::Hooked) > fastest(Company::Alone), "each of its calls runs eight programs more");
        // The victim makes some 100 000 calls and more, and lives by them alone.
        assert!(of(Company::Hooked).all(|repetition| repetition.executions > 8 * 10_000), "{:?}", trial.tandem);
    }
    let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("on the hook over what pack on costs it"), "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("every system call of every process"), "the user is told");
    tier::wait_until("the links are gone", || tier::links() <= before);
}

/// A run of 70 programs on two levels of control groups, with `more` behind the options.
fn in_a_group(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
    command.args(["run", "cgroup", "--programs", "70", "--trials", "1", "--samples", "2", "--hooked", "--out"]);
    command.arg(out).args(more);
    command
}

#[test]
fn in_a_control_group_of_its_own_a_command_runs_the_programs_with_every_packet_it_sends() {
    let Some(_turn) = tier::bpf() else { return };
    if let Err(reason) = offer::try_out(TriggerKind::Cgroup) {
        println!("SKIP cgroup: {reason}");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let victim = ["--repetitions", "2", "--", env!("CARGO_BIN_EXE_itlbench"), "victim", "datagram", "--units", "5"];
    let child = in_a_group(out.path(), &victim).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let owner = child.id();
    let output = child.wait_with_output().unwrap();
    let run = file(&output);
    assert_eq!(run.manifest.victim.as_ref().unwrap().hook.as_deref(), Some("egress of a control group of its own"));
    assert_eq!(run.trials.len(), 2, "an arm each");
    for trial in &run.trials {
        let hooked: Vec<&Repetition> = trial.tandem.iter().filter(|r| r.company == Company::Hooked).collect();
        let executions: Vec<u64> = hooked.iter().map(|repetition| repetition.executions).collect();
        assert_eq!(executions, [70 * 5 * u64::from(DATAGRAMS); 2], "its packets and nobody else's");
    }
    assert_eq!(String::from_utf8_lossy(&output.stderr).matches("every system call").count(), 0, "this hook is its own");
    let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("hooked: the programs hang on egress of a control group of its own"), "{text}");
    assert_eq!(groups(owner), [] as [PathBuf; 0]);
}

/// Control groups that process `owner` made and that are still there.
fn groups(owner: u32) -> Vec<PathBuf> {
    let prefix = format!("itlbench.{owner}.");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
    let entries = std::fs::read_dir(line.split(' ').nth(4).unwrap()).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&prefix)).collect()
}

#[test]
fn nothing_is_left_of_a_control_group_when_the_tool_is_killed_while_a_command_lives_in_it() {
    let Some(_turn) = tier::bpf() else { return };
    if offer::try_out(TriggerKind::Cgroup).is_err() {
        return;
    }
    for signal in [Signal::KILL, Signal::INT] {
        let out = tempfile::tempdir().unwrap();
        // Ends at once in other companies. In its group it sleeps, and something that it started in a session of its own does too.
        let script = "grep -q itlbench /proc/self/cgroup || exit 0; setsid sleep 300.0105 & exec sleep 300.0104";
        let mut command = in_a_group(out.path(), &["--repetitions", "1", "--", "sh", "-c", script]);
        let mut child = Mortal(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let owner = child.0.id();
        tier::wait_until("the command lives in its group", || {
            with_argument("300.0104") == 1 && with_argument("300.0105") == 1
        });
        assert_eq!(groups(owner).len(), 1, "{:?}", groups(owner));
        kill_process(Pid::from_child(&child.0), signal).unwrap();
        child.0.wait().unwrap();
        tier::wait_until(&format!("{:?} had to go", groups(owner)), || groups(owner).is_empty());
        assert_eq!((with_argument("300.0104"), with_argument("300.0105")), (0, 0));
    }
}

#[test]
fn the_same_windows_run_on_every_cpu_at_once_with_its_own_counters() {
    let Some(_turn) = tier::bpf() else { return };
    let cpus = tier::cpus().len();
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
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("CPUs at once") || all_discarded(&run, |trial| trial.parallel.is_some()), "{text}");
}

#[test]
fn every_trigger_fires_on_every_cpu_at_once_and_no_execution_is_lost() {
    let Some(_turn) = tier::bpf() else { return };
    let [cpu, other, ..] = tier::cpus()[..] else { return };
    let mut machine = KernelMachine::new(Some(cpu), false, Arc::new(AtomicBool::new(false))).unwrap();
    let choice = Choice { events: Events::List("task-clock".to_owned()), ..Choice::default() };
    let groups = machine.counters(&choice).unwrap().groups().to_vec();
    for trigger in TriggerKind::ALL {
        if let Err(reason) = offer::try_out(trigger) {
            println!("SKIP {trigger}: {reason}");
            continue;
        }
        let case = Spec::builtin(&trigger.to_string()).unwrap().case(20, PackMode::On);
        let mut loaded = machine.load(&case, 3).unwrap();
        let per_run = loaded.check().unwrap().executions_per_run;
        loaded.prepare(Target::Programs).unwrap();
        let mut peers = loaded.peers(&[other], &choice, &groups).unwrap();
        let before = run_count(loaded.images());
        let statistics = sys::run_statistics().unwrap();
        for _ in 0..RUNS {
            peers.begin(Target::Programs, RUNS).unwrap();
            loaded.fire(Target::Programs, RUNS).unwrap();
            assert!(peers.end().unwrap().iter().all(|window| window.wall_ns > 0), "{trigger}");
        }
        let claimed = u64::from(2 * RUNS * RUNS) * u64::from(per_run);
        // A tail call counts as an execution of the program that was called first.
        let counted = || run_count(loaded.images()) - before;
        if !trigger.is_tail_calls() {
            tier::wait_until(&format!("{trigger}: {claimed} executions, {} so far", counted()), || {
                counted() >= claimed
            });
            assert_eq!(counted(), claimed, "{trigger}");
        }
        drop((statistics, peers));
        loaded.unload().unwrap();
    }
}

/// Executions that the kernel's statistics know of the programs at `images`.
fn run_count(images: &[Image]) -> u64 {
    let query = ProgInfoQueryOptions::default().include_jited_ksyms(true);
    let ours: Vec<u64> = images.iter().map(|image| image.addr.0).collect();
    let is_ours =
        |info: &ProgramInfo| info.jited_ksyms.first().is_some_and(|&address| ours.contains(&(address as u64)));
    ProgInfoIter::with_query_opts(query).filter(is_ours).map(|info| info.run_cnt).sum()
}

/// Whether the host was so busy that no trial has an undisturbed window and what else is `owed`: then there are no figures.
fn all_discarded(run: &Run, owed: fn(&Trial) -> bool) -> bool {
    let all = !run.trials.iter().any(|trial| trial.placed && trial.kept().next().is_some() && owed(trial));
    if all {
        println!("SKIP figures: every window was disturbed");
    }
    all
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
        assert!((10.0..=250.0).contains(&per_s), "{per_s}");
        assert_eq!(churn.windows.len(), 60);
        let latency = itlbench::samples::histogram::decode(churn.load_latency.as_ref().unwrap()).unwrap();
        assert_eq!(latency.len(), churn.loads);
        assert_eq!(trial.tandem.iter().filter(|repetition| repetition.company == Company::Churn).count(), 2);
    }
    // The table wraps where it pleases.
    let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let owed =
        |trial: &Trial| trial.churn.iter().flat_map(|churn| &churn.windows).any(|window| window.discarded.is_none());
    assert!(text.contains("of 200 programs/s come and go") || all_discarded(&run, owed), "{text}");
    assert!(text.contains("with --churn also"), "{text}");
}
