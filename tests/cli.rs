//! The command line on the simulated machine: from run to report without root, and what bad input says.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use itlbench::runfile::Run;

fn itlbench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_itlbench")).args(args).output().unwrap()
}

fn simulate(out: &Path, more: &[&str]) -> Output {
    let mut args = vec!["run", "--machine", "sim", "--seed", "7", "--out", out.to_str().unwrap()];
    args.extend(more);
    itlbench(&args)
}

const SMALL: [&str; 6] = ["--programs", "8,64", "--trials", "6", "--samples", "8"];

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn directory(output: &Output) -> PathBuf {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(stdout(output).lines().last().unwrap())
}

#[test]
fn a_run_leaves_every_output_and_names_their_directory_last() {
    let out = tempfile::tempdir().unwrap();
    let output = simulate(out.path(), &SMALL);
    let dir = directory(&output);
    let names: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for name in ["run.jsonl", "mail.txt", "report.html", "report.md", "report.csv", "report.json", "lkp.txt"] {
        assert!(names.iter().any(|found| found == name), "{name} among {names:?}");
    }
    let charts = |kind: &str| names.iter().filter(|name| name.ends_with(kind)).count();
    assert!(charts(".svg") >= 3 && charts(".svg") == charts(".png"), "{names:?}");
    for name in names.iter().filter(|name| !name.ends_with(".png") && !name.ends_with(".jsonl")) {
        let text = fs::read_to_string(dir.join(name)).unwrap();
        let stamp = if name.ends_with(".csv") || name.ends_with(".json") { "simulated" } else { "SIMULATED" };
        assert!(text.contains(stamp), "{name} is not stamped");
    }
    assert!(stdout(&output).starts_with("SIMULATED"));
}

#[test]
fn a_hook_without_anybody_to_hit_it_or_programs_to_hang_on_it_is_refused() {
    let refused = |args: &[&str], expected: &str| {
        let output = itlbench(&[&["run"], args].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(expected) && text.trim_end().lines().count() == 1, "{text}");
    };
    refused(&["tracepoint", "--hooked"], "nobody to hit the hook: add --victim");
    refused(
        &["chain", "--hooked", "--victim", "code"],
        "programs of trigger `chain` cannot hang on a hook that a victim hits",
    );
    refused(&["tracepoint", "cgroup", "--hooked", "--victim", "code"], "hang on different hooks; run them one by one");
    refused(&["tracepoint", "--hooked", "--victim", "code", "--machine", "sim"], "has no system calls");
}

#[test]
fn tables_and_exports_hold_victims_windows_on_several_cpus_and_churn() {
    let out = tempfile::tempdir().unwrap();
    let company = ["--programs", "64", "--trials", "6", "--samples", "3", "--cpus", "0,1", "--churn", "40"];
    let dir = directory(&simulate(out.path(), &[&company[..], &["--victim", "code", "--repetitions", "2"]].concat()));
    let table = fs::read_to_string(dir.join("report.csv")).unwrap();
    let head = table.lines().next().unwrap().matches(',').count();
    assert!(table.lines().all(|line| line.matches(',').count() == head), "{table}");
    for name in ["victim_beside_over_interrupted", "at_once_over_alone", "churn_over_before"] {
        let lines: Vec<&str> = table.lines().filter(|line| line.contains(&format!(",{name},"))).collect();
        assert_eq!(lines.len(), 2, "{name}: a line for each arm in {table}");
        assert!(lines.iter().all(|line| line.split(',').nth(13).unwrap().parse::<f64>().unwrap() > 0.0), "{lines:?}");
    }
    let export = stdout(&itlbench(&["report", dir.to_str().unwrap(), "--export", "csv"]));
    let rows = |kind: &str| export.lines().filter(|line| line.contains(&format!(",{kind},"))).count();
    let run = Run::read(&dir.join("run.jsonl")).unwrap();
    let parallel = run.trials.iter().map(|trial| trial.parallel.as_ref().unwrap().windows.len() * 2).sum::<usize>();
    let churn = run.trials.iter().map(|trial| trial.churn.as_ref().unwrap().windows.len()).sum::<usize>();
    // Twelve trials, and in each two rounds of the victim in four companies, one of which is churn.
    let companies = ["alone", "interrupted", "beside", "churn"].map(|company| rows(&format!("victim-{company}")));
    assert_eq!((rows("parallel"), rows("churn"), companies), (parallel, churn, [12 * 2; 4]));
}

#[test]
fn the_run_file_alone_gives_the_same_outputs_again() {
    let out = tempfile::tempdir().unwrap();
    let output = simulate(out.path(), &SMALL);
    let dir = directory(&output);
    let again = out.path().join("again");
    let report = itlbench(&["report", dir.to_str().unwrap(), "--out", again.to_str().unwrap()]);
    assert!(stdout(&output).starts_with(&stdout(&report)));
    for entry in fs::read_dir(&again).unwrap() {
        let name = entry.unwrap().file_name();
        assert_eq!(fs::read(again.join(&name)).unwrap(), fs::read(dir.join(&name)).unwrap(), "{name:?} differs");
    }
    for (format, file) in [("mail", "mail.txt"), ("lkp", "lkp.txt"), ("csv", "report.csv"), ("json", "report.json")] {
        let printed = itlbench(&["report", dir.to_str().unwrap(), "--format", format]);
        assert_eq!(stdout(&printed), fs::read_to_string(dir.join(file)).unwrap(), "{format}");
    }
    let markdown = stdout(&itlbench(&["report", dir.to_str().unwrap(), "--format", "markdown"]));
    assert!(markdown.contains("| chain | 64 | on |") && !markdown.contains(".svg"), "{markdown}");
}

#[test]
fn the_parts_of_a_mail_are_text_and_the_run_file_as_it_is() {
    let out = tempfile::tempdir().unwrap();
    let dir = directory(&simulate(out.path(), &SMALL));
    let parts = out.path().join("parts");
    let report = itlbench(&["report", dir.to_str().unwrap(), "--attach", parts.to_str().unwrap()]);
    assert_eq!(report.status.code(), Some(0));
    let mut names: Vec<String> =
        fs::read_dir(&parts).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["config", "report.txt", "reproduce", "run.jsonl"]);
    assert_eq!(fs::read(parts.join("run.jsonl")).unwrap(), fs::read(dir.join("run.jsonl")).unwrap());
    assert_eq!(fs::read(parts.join("report.txt")).unwrap(), fs::read(dir.join("mail.txt")).unwrap());
    let syntax = Command::new("sh").arg("-n").arg(parts.join("reproduce")).status().unwrap();
    assert!(syntax.success());
}

#[test]
fn the_same_seed_gives_the_same_trials() {
    let out = tempfile::tempdir().unwrap();
    let trials = || {
        let run = Run::read(&directory(&simulate(out.path(), &SMALL))).unwrap();
        run.trials.into_iter().map(|trial| (trial.case, trial.images, trial.samples)).collect::<Vec<_>>()
    };
    let (first, second) = (trials(), trials());
    assert_eq!(first.len(), 24);
    assert_eq!(first, second);
}

/// Whether a row of a table begins with `words`, however wide its columns are.
fn has_row(text: &str, words: &str) -> bool {
    text.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(words))
}

#[test]
fn compare_shows_both_sides_and_gives_no_verdict_on_too_few_boots() {
    let out = tempfile::tempdir().unwrap();
    let dirs: Vec<String> = ["7", "8", "9"]
        .map(|seed| {
            let out = out.path().to_str().unwrap();
            let args = ["run", "--machine", "sim", "--seed", seed, "--programs", "8,64", "--trials", "4", "--out", out];
            let output = itlbench(&args);
            directory(&output).to_str().unwrap().to_owned()
        })
        .to_vec();
    let output = itlbench(&["compare", &dirs[0], "--to", &dirs[1], "--to", &dirs[2]]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(has_row(&text, "chain 64 off") && text.contains("too few boots"), "{text}");
    assert!(text.contains("(new 1)") && text.contains("(new 2)"), "{text}");
    let shown = out.path().join("shown");
    let output =
        itlbench(&["compare", &dirs[0], "--to", &dirs[1], "--out", shown.to_str().unwrap(), "--format", "mail"]);
    assert_eq!(stdout(&output), fs::read_to_string(shown.join("mail.txt")).unwrap());
    for name in ["report.html", "report.md", "report.csv", "report.json", "lkp.txt", "effects.svg", "effects.png"] {
        assert!(shown.join(name).is_file(), "{name}");
    }
    let twice = itlbench(&["compare", &dirs[0], "--to", &dirs[0]]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&twice.stderr).contains("is given twice; name each run once"));
}

#[test]
fn a_gate_that_trips_ends_with_4_and_one_line_and_the_table_is_printed_all_the_same() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().to_str().unwrap();
    let run = |seed: &str| {
        let args = ["run", "--machine", "sim", "--seed", seed, "--programs", "8", "--trials", "4", "--out", out];
        directory(&itlbench(&args)).to_str().unwrap().to_owned()
    };
    let (base, new) = (run("7"), run("8"));
    let gated = |gate: &str| itlbench(&["compare", &base, "--to", &new, "--fail-on", gate]);
    let output = gated("undecided");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), text.lines().count()), (Some(4), 1), "{text}");
    assert!(
        text.starts_with("itlbench: gate `undecided` tripped: chain n=8 pack=") && text.contains("too few boots"),
        "{text}"
    );
    assert!(has_row(&stdout(&output), "chain 8 off"));
    assert_eq!(gated("slower:2%").status.code(), Some(0));
    assert_eq!(gated("worse").status.code(), Some(2));
}

#[test]
fn a_run_against_itself_says_so_and_counts_its_false_alarms() {
    let out = tempfile::tempdir().unwrap();
    let output = simulate(out.path(), &["--aa", "--programs", "8,64", "--trials", "4", "--samples", "8"]);
    let dir = directory(&output);
    assert!(stdout(&output).contains("A/A RUN"), "{}", stdout(&output));
    assert_eq!(Run::read(&dir).unwrap().trials.len(), 2 * 2 * 2 * 4);
    let alarms = itlbench(&["compare", "--aa", dir.to_str().unwrap()]);
    assert!(
        stdout(&alarms).contains("arms of an A/A run, wall ns/exec: ") && stdout(&alarms).contains("of 4 pairs"),
        "{}",
        stdout(&alarms)
    );
}

#[test]
fn export_writes_a_row_for_every_window() {
    let out = tempfile::tempdir().unwrap();
    let dir = directory(&simulate(out.path(), &SMALL));
    let run = Run::read(&dir).unwrap();
    let windows: usize = run.trials.iter().map(|trial| trial.baseline.len() + trial.samples.len()).sum();
    let csv = stdout(&itlbench(&["report", dir.to_str().unwrap(), "--export", "csv"]));
    assert_eq!(csv.lines().count(), windows + 1);
    let json = stdout(&itlbench(&["report", dir.to_str().unwrap(), "--export", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["windows"].as_array().unwrap().len(), windows);
}

#[test]
fn bad_input_gets_one_line_that_names_it_and_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("broken.toml"), "name = \"x\"\nquestion = \"q\"\nprogramms = [1]\n").unwrap();
    fs::write(path("file"), "no run\n").unwrap();
    let below_a_file = path("file/reports");
    for (args, code, expected) in [
        (vec!["run", "chian"], 2, "unknown workload `chian`; built in are: chain, walk, sizes".to_owned()),
        (vec!["run", "chain", "chain"], 2, "workload `chain` is named twice".to_owned()),
        (vec!["run", &path("broken.toml")], 2, "broken.toml`, line 3, column 1: unknown field `programms`".to_owned()),
        (vec!["run", &path("absent.toml")], 1, "absent.toml".to_owned()),
        (vec!["run", "--programs", "0"], 2, "`programs` must be between 1 and 1048576".to_owned()),
        (vec!["run", "--machine", "sim", "--out", &below_a_file], 1, format!("failed to write `{below_a_file}`")),
        (vec!["report", &path("absent")], 1, format!("failed to read run file `{}`", path("absent"))),
        (vec!["report", &path("file")], 1, path("file")),
        (vec!["list", "nothing"], 2, "unknown workload `nothing`".to_owned()),
    ] {
        let output = itlbench(&args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
        assert!(text.starts_with("itlbench: ") && text.contains(&expected), "{args:?}: {text}");
    }
}

#[test]
fn wrong_flags_are_usage_errors() {
    for args in [vec!["run", "--pack", "maybe"], vec!["run", "--body", "100"], vec!["--nonsense"]] {
        assert_eq!(itlbench(&args).status.code(), Some(2), "{args:?}");
    }
}

/// A file system of 1 MiB in a mount namespace of its own: it goes with the process.
#[test]
fn a_full_disk_is_named_and_what_was_written_stays_readable() {
    let out = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=160k none "$1" && shift && "$@"; code=$?; cp -r "$OUT" "$KEEP"; exit $code"#;
    let keep = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(out.path()).arg(env!("CARGO_BIN_EXE_itlbench"));
    command.args([
        "run",
        "--machine",
        "sim",
        "--seed",
        "7",
        "--programs",
        "64",
        "--trials",
        "200",
        "--samples",
        "20",
        "--out",
    ]);
    command.arg(out.path()).env("OUT", out.path()).env("KEEP", keep.path().join("kept"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if text.contains("unshare failed") || text.contains("mount:") {
        println!("SKIP full disk: no right to mount");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("run.jsonl") && text.contains("No space left on device"), "{text}");
    let dir = fs::read_dir(keep.path().join("kept")).unwrap().next().unwrap().unwrap().path();
    let run = Run::read(&dir).unwrap();
    assert!(!run.complete && !run.trials.is_empty(), "{} trials", run.trials.len());
}

#[test]
fn list_tells_what_each_workload_asks() {
    let text = stdout(&itlbench(&["list"]));
    for name in ["chain: trigger chain", "walk: trigger walk", "sizes: trigger chain"] {
        assert!(text.contains(name), "{text}");
    }
    assert!(stdout(&itlbench(&["list", "walk"])).starts_with("name = \"walk\"\n"));
}

#[test]
fn the_simulated_cpu_s_cycles_are_explained_by_its_itlb() {
    let out = tempfile::tempdir().unwrap();
    let dir = directory(&simulate(out.path(), &["--programs", "512", "--trials", "6", "--samples", "8"]));
    let run = Run::read(&dir).unwrap();
    let found = itlbench::compare::attribution::attributions(&run, None).unwrap();
    let rest = found[0].unexplained.unwrap();
    assert!(found[0].cycles.value > 10.0, "spread programs cost more: {found:?}");
    assert!(rest.value.abs() < 0.1 * found[0].cycles.value, "made of walks and second-level hits alone: {found:?}");
    let mail = fs::read_to_string(dir.join("mail.txt")).unwrap();
    for words in ["walks/1000 instructions (simulated)", "iTLB, walk cycles: +", "unexplained: "] {
        assert!(mail.contains(words), "{words} is not in\n{mail}");
    }
}

#[test]
fn a_dry_run_prints_the_plan_and_leaves_nothing() {
    let out = tempfile::tempdir().unwrap();
    let never = out.path().join("never");
    let args = ["run", "chain", "--dry-run", "--programs", "8,64", "--trials", "2", "--seed", "3", "--churn", "50"];
    let output = itlbench(&[&args[..], &["--out", never.to_str().unwrap(), "--", "make", "-j2"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = stdout(&output);
    assert!(text.contains("50 programs/s come and go") && text.contains("Beside them `make -j2`"), "{text}");
    assert!(text.contains("--seed 3") && text.ends_with("Nothing was loaded.\n"), "{text}");
    assert!(!never.exists());
}

#[test]
fn a_victim_stands_in_every_output_of_a_simulation_and_a_command_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let few = ["--programs", "8,64", "--trials", "2", "--samples", "2", "--victim", "code"];
    let output = simulate(out.path(), &few);
    let dir = directory(&output);
    assert!(stdout(&output).contains("Victim `simulated code`"));
    for name in ["mail.txt", "report.html", "report.md", "report.json"] {
        let text = fs::read_to_string(dir.join(name)).unwrap();
        assert!(text.contains("simulated code") || name == "report.json" && text.contains("\"tandem\""), "{name}");
    }
    let refused = simulate(out.path(), &[&SMALL[..], &["--", "true"]].concat());
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("--machine sim runs no command"), "{text}");
    let both = simulate(out.path(), &["--victim", "code", "--", "true"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn a_sweep_says_where_it_bends_beside_the_model() {
    let out = tempfile::tempdir().unwrap();
    let numbers = ["--programs", "2,4,8,16,32,64,128,256", "--loaded", "256", "--trials", "2", "--samples", "2"];
    let output = simulate(out.path(), &numbers);
    let dir = directory(&output);
    let text = stdout(&output);
    assert!(text.contains("chain, pack off: cycles/exec (simulated) bends up at"), "{text}");
    assert!(text.contains("simulated: L1 iTLB 16x4 entries of 4 KiB, L2 128x8"), "{text}");
    assert!(fs::read_to_string(dir.join("mail.txt")).unwrap().contains("Knees of the sweep"));
    assert!(fs::read_to_string(dir.join("report.json")).unwrap().contains("\"model_l1\""));
}

#[test]
fn company_stands_in_every_output_of_a_simulation() {
    let out = tempfile::tempdir().unwrap();
    let few = ["--programs", "8", "--trials", "2", "--samples", "2"];
    let more = ["--cpus", "0,1,2", "--churn", "200", "--victim", "code"];
    let output = simulate(out.path(), &[&few[..], &more].concat());
    let dir = directory(&output);
    for name in ["mail.txt", "report.html", "report.md"] {
        let text = fs::read_to_string(dir.join(name)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("on 3 CPUs at once") && text.contains("of 200 programs/s come and go"), "{name}: {text}");
    }
    let json = fs::read_to_string(dir.join("report.json")).unwrap();
    assert!(json.contains("\"parallel\"") && json.contains("\"churn\""));
    for (bad, said) in [(["--churn", "401"], "between 1 and 400"), (["--cpus", "0,x"], "no list of CPUs")] {
        let refused = simulate(out.path(), &bad);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains(said));
    }
}
