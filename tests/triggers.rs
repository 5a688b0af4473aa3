//! Every trigger: on the simulated machine from workload file to report; in the running kernel executions counted against claimed
//! and against the kernel's own statistics, and that nothing is left behind, also not by a kill.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "kernel")]
mod tier;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use itlbench::runfile::Run;
use itlbench::workload::{Spec, TriggerKind};

fn itlbench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_itlbench"));
    command.args(args).stdin(Stdio::null());
    command
}

fn directory(output: &Output) -> PathBuf {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).lines().last().unwrap())
}

#[test]
fn every_trigger_has_a_workload_of_its_name_that_leads_to_a_report_on_the_simulated_machine() {
    let names: Vec<String> = TriggerKind::ALL.iter().map(ToString::to_string).collect();
    let out = tempfile::tempdir().unwrap();
    let args = ["--machine", "sim", "--seed", "7", "--programs", "48", "--trials", "3", "--samples", "2", "--out"];
    let output = itlbench(&["run"]).args(&names).args(args).arg(out.path()).output().unwrap();
    let run = Run::read(&directory(&output).join("run.jsonl")).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for (name, trigger) in names.iter().zip(TriggerKind::ALL) {
        assert_eq!(Spec::builtin(name).unwrap().trigger, trigger);
        let trials: Vec<_> = run.trials.iter().filter(|trial| trial.case.trigger == trigger).collect();
        assert_eq!(trials.len(), 6, "{name}");
        let per_run = if trigger.is_tail_calls() { 33 } else { 48 };
        for trial in trials {
            assert_eq!((trial.check.executed, trial.check.executions_per_run), (48, per_run), "{name}");
            assert!(trial.baseline.iter().all(|window| window.wall_ns > 0), "{name}");
        }
        assert!(text.contains(&format!("  {name} ")), "{text}");
    }
}

#[cfg(feature = "kernel")]
mod kernel {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use itlbench::machine::kernel::trigger::{most_programs, offer};
    use itlbench::machine::kernel::{KernelMachine, sys};
    use itlbench::machine::{Loaded, Machine, Target};
    use itlbench::placement::{Footprint, Image};
    use itlbench::workload::{Case, Order, PackMode};
    use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions};

    use super::*;

    /// Whether this host offers the trigger; otherwise it says why not.
    fn offered(trigger: TriggerKind) -> bool {
        offer::try_out(trigger).inspect_err(|reason| println!("SKIP trigger {trigger}: {reason}")).is_ok()
    }

    fn machine() -> KernelMachine {
        KernelMachine::new(Some(tier::cpu()), false, Arc::new(AtomicBool::new(false))).unwrap()
    }

    fn case(trigger: TriggerKind, programs: u32, pack: PackMode) -> Case {
        Spec::builtin(&trigger.to_string()).unwrap().case(programs, pack)
    }

    /// Programs by name, and links: what a run could leave behind.
    fn traces() -> (usize, usize) {
        let text = fs::read_to_string("/proc/kallsyms").unwrap();
        let programs = text
            .lines()
            .filter(|line| line.contains("bpf_prog_") && ["_itlbench", "_hit_"].iter().any(|name| line.contains(name)))
            .count();
        (programs, tier::links())
    }

    fn group_mount() -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        line.split(' ').nth(4).map(PathBuf::from)
    }

    /// Control groups that process `owner` made.
    fn groups(owner: u32) -> Vec<PathBuf> {
        let Some(mount) = group_mount() else { return Vec::new() };
        let entries = fs::read_dir(mount).unwrap().flatten().map(|entry| entry.path());
        let prefix = format!("itlbench.{owner}.");
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&prefix)).collect()
    }

    /// Every order that a trigger takes, each with all programs that are loaded and with some of them, and a program alone.
    fn visits(trigger: TriggerKind) -> Vec<(Order, u32, Option<u32>)> {
        let orders = ["sequential", "permuted", "random", "zipf(1)"].map(|text| text.parse::<Order>().unwrap());
        let orders = orders.into_iter().filter(|order| order.refused_by(trigger).is_none());
        let visits = orders.flat_map(|order| [(order, 70, None), (order, 40, Some(70))]);
        visits.chain([(Order::of(trigger), 1, None)]).collect()
    }

    #[test]
    fn executions_counted_are_those_claimed_in_every_order_and_the_kernels_statistics_agree() {
        let Some(_turn) = tier::bpf() else { return };
        let mut machine = machine();
        for trigger in TriggerKind::ALL.into_iter().filter(|&trigger| offered(trigger)) {
            let visits = visits(trigger);
            assert_eq!(visits.len(), 5, "{trigger}: two orders");
            for (order, programs, loaded) in visits {
                let spec = Spec::builtin(&trigger.to_string()).unwrap();
                let case = Spec { order: Some(order), loaded, ..spec }.case(programs, PackMode::On);
                let mut loaded = machine.load(&case, 3).unwrap();
                let check = loaded.check().unwrap();
                assert_eq!(check.executed, programs, "{case} {order}");
                if !trigger.is_tail_calls() {
                    assert_eq!((check.fewest, check.most), (3, 3), "{case} {order}: each as often as it was hit");
                }
                assert_agrees(&case, loaded.as_mut(), check.executions_per_run);
                loaded.unload().unwrap();
            }
        }
    }

    /// Runs by the statistics, which are on for no longer than that.
    fn assert_agrees(case: &Case, loaded: &mut dyn Loaded, per_run: u32) {
        const RUNS: u64 = 50;
        let claimed = RUNS * u64::from(per_run);
        let (images, beside) = (loaded.images().to_vec(), loaded.beside().to_vec());
        loaded.fire(Target::Programs, 1).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let before = run_counts();
        let since = || Counted::since(&before, &images, &beside);
        let statistics = sys::run_statistics().unwrap();
        loaded.fire(Target::Programs, RUNS as u32).unwrap();
        let began = Instant::now();
        let all = |counted: &Counted| case.trigger.is_tail_calls() || counted.of_the_run.iter().sum::<u64>() >= claimed;
        let mut counted = since();
        while !all(&counted) && began.elapsed() < Duration::from_secs(1) {
            counted = since();
        }
        loaded.fire(Target::Empty, RUNS as u32).unwrap();
        let with_empty = since();
        drop(statistics);
        match case.trigger.is_tail_calls() {
            // A tail call counts as an execution of the program that was called first, which is the entry.
            true => assert_eq!((counted.of_others, with_empty.of_others), (RUNS, 2 * RUNS), "{case}"),
            false => assert_eq!(counted.of_the_run, vec![RUNS; images.len()], "{case}: each in every run"),
        }
        assert_eq!(with_empty.of_the_run, counted.of_the_run, "{case}: the baseline runs none of them");
        assert_eq!(with_empty.of_those_beside, 0, "{case}: what is loaded and not visited does not run");
    }

    /// Executions by the kernel's statistics since a look at them.
    struct Counted {
        /// By position.
        of_the_run: Vec<u64>,
        of_those_beside: u64,
        /// Others of the tool: entries and empty programs.
        of_others: u64,
    }

    impl Counted {
        fn since(before: &BTreeMap<u64, u64>, images: &[Image], beside: &[Image]) -> Self {
            let now = run_counts();
            let count =
                |address: u64| now.get(&address).copied().unwrap_or(0) - before.get(&address).copied().unwrap_or(0);
            let of = |images: &[Image]| images.iter().map(|image| count(image.addr.0)).collect::<Vec<u64>>();
            let all: u64 = now.keys().map(|&address| count(address)).sum();
            let (of_the_run, of_those_beside) = (of(images), of(beside).iter().sum());
            Self { of_others: all - of_the_run.iter().sum::<u64>() - of_those_beside, of_the_run, of_those_beside }
        }
    }

    /// Executions that the kernel knows of, by the address of each program of the tool's.
    fn run_counts() -> BTreeMap<u64, u64> {
        let query = ProgInfoQueryOptions::default().include_jited_ksyms(true);
        let own = ProgInfoIter::with_query_opts(query).filter(|info| info.name == "itlbench");
        own.filter_map(|info| Some((*info.jited_ksyms.first()? as u64, info.run_cnt))).collect()
    }

    #[test]
    fn both_arms_are_where_they_should_be_and_five_hundred_programs_hang_on_every_hook() {
        let Some(_turn) = tier::bpf() else { return };
        for trigger in TriggerKind::ALL.into_iter().filter(|&trigger| offered(trigger)) {
            let mut machine = machine();
            for pack in [PackMode::On, PackMode::Off] {
                let case = case(trigger, 500, pack);
                let mut loaded = machine.load(&case, 5).unwrap();
                let print = Footprint::of(loaded.images());
                assert_eq!(print.missed(pack), None, "{case}: {print:?}");
                assert_eq!(loaded.check().unwrap().executed, 500, "{case}");
                loaded.prepare(Target::Empty).unwrap();
                loaded.fire(Target::Empty, 3).unwrap();
                loaded.prepare(Target::Programs).unwrap();
                loaded.fire(Target::Programs, 3).unwrap();
                loaded.unload().unwrap();
            }
        }
    }

    #[test]
    fn a_kill_leaves_no_program_link_namespace_or_control_group_of_any_trigger() {
        let Some(_turn) = tier::bpf() else { return };
        for trigger in TriggerKind::ALL.into_iter().filter(|&trigger| offered(trigger)) {
            let (programs, links) = traces();
            let (name, out) = (trigger.to_string(), tempfile::tempdir().unwrap());
            let cpu = tier::cpu().to_string();
            let args = ["run", &name, "--programs", "64", "--trials", "500", "--samples", "4", "--cpu", &cpu, "--out"];
            let quiet = || Stdio::null();
            let mut child =
                tier::Mortal(itlbench(&args).arg(out.path()).stdout(quiet()).stderr(quiet()).spawn().unwrap());
            let owner = child.0.id();
            tier::wait_until("two trials", || trials(out.path()) >= 2);
            let alive = traces().0;
            child.0.kill().unwrap();
            child.0.wait().unwrap();
            assert!(alive > programs || trials(out.path()) > 2, "{name}: it was at work when it was killed");
            // Programs are held by links, sockets and the queueing disciplines of the namespace: they go when those have gone.
            tier::wait_until(&format!("what {name} had to go, of {:?}", traces()), || {
                let now = traces();
                now.0 <= programs && now.1 <= links
            });
            if !groups(owner).is_empty() {
                // Killed within the milliseconds in which its groups have names; whoever tries the trigger next removes them.
                // A dead process may count as a member of its group until the kernel has switched away from it.
                tier::wait_until(&format!("{:?} had to go", groups(owner)), || {
                    assert!(itlbench(&["list", "triggers"]).output().unwrap().status.success());
                    groups(owner).is_empty()
                });
            }
        }
    }

    fn trials(out: &Path) -> usize {
        let file = fs::read_dir(out).ok().and_then(|mut entries| entries.next()?.ok());
        let text = file.and_then(|entry| fs::read_to_string(entry.path().join("run.jsonl")).ok());
        text.unwrap_or_default().matches("\"record\":\"trial\"").count()
    }

    #[test]
    fn control_groups_have_no_directory_while_they_are_used_and_those_of_the_dead_are_removed() {
        let Some(_turn) = tier::bpf() else { return };
        if !offered(TriggerKind::Cgroup) {
            return;
        }
        // No process has this number: it is above the most that pid_max can be.
        let abandoned = group_mount().unwrap().join("itlbench.4194305.0");
        fs::create_dir_all(abandoned.join("itlbench/itlbench")).unwrap();
        let mut machine = machine();
        assert!(!abandoned.exists(), "its owner is dead");
        fs::create_dir_all(abandoned.join("itlbench/itlbench")).unwrap();
        assert!(offered(TriggerKind::Cgroup));
        assert!(!abandoned.exists(), "whoever tries the trigger removes it as well");
        let mut loaded = machine.load(&case(TriggerKind::Cgroup, 130, PackMode::On), 3).unwrap();
        assert_eq!(groups(std::process::id()), [] as [PathBuf; 0], "130 programs on three levels, and no directory");
        assert_eq!(loaded.check().unwrap().fewest, 3, "their programs still run");
        loaded.unload().unwrap();
    }

    #[test]
    fn more_programs_than_a_trigger_takes_are_refused_before_loading() {
        let Some(_turn) = tier::bpf() else { return };
        for trigger in TriggerKind::ALL {
            let Some(most) = most_programs(trigger) else { continue };
            let error = machine().load(&case(trigger, most + 1, PackMode::On), 1).unwrap_err().to_string();
            assert!(error.contains(&format!("takes {most} at most")) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_list_says_of_every_trigger_what_it_costs_or_why_it_is_not_offered() {
        let Some(_turn) = tier::bpf() else { return };
        let output = itlbench(&["list", "triggers"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
        let entries: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(entries.len(), TriggerKind::ALL.len(), "{text}");
        for entry in entries {
            assert!(
                entry.starts_with("  offered here; ") || entry.starts_with("  not offered here: failed to "),
                "{entry}"
            );
        }
    }
}
