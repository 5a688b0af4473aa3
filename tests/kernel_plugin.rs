//! The plugin that `itlbench kernels` hands to qemu, with a script in qemu's place: what a qemu makes of it that cannot load it, and
//! what becomes of the counts that it leaves.
#![allow(clippy::unwrap_used)]

mod guests;
mod tier;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use guests::{Bench, Script, directory, refusal, stderr};
use itlbench::model::fetched::{Counts, End, FORMAT, Header, Record, Window, ready};
use itlbench::runfile::manifest::Fetches;
use itlbench::runfile::{Run, Writer};

/// What qemu 9.1 says.
const TOO_OLD: &str = "echo 'qemu-system-x86_64: Could not load plugin p.so: plugin requires API version 4, but this QEMU supports \
                       only up to version 3' >&2; exit 1";
/// Says what the guest was told of its fetches.
const TELLS: &str = "case $* in *-plugin*) printf 'H\\nF1 a plugin\\n'; exit;; esac\n\
                     for a; do case $p in -initrd) f=$a;; esac; p=$a; done\n\
                     echo H; grep -a -o '\"fetches\":{[^}]*}' \"$f\" | sed 's/^/F3 /'";

/// The plugin is found in the cache, or beside the program if it was built.
fn run_unnamed(bench: &Bench, args: &[&str]) -> Output {
    let cache = bench.path("cache/itlbench");
    fs::create_dir_all(&cache).unwrap();
    fs::write(cache.join(itlbench::vm::qemu::PLUGIN), "").unwrap();
    bench.command(args).env("XDG_CACHE_HOME", bench.path("cache")).output().unwrap()
}

#[test]
fn without_a_plugin_that_works_placement_is_left_and_the_reason_said() {
    let bench = Bench::of(&Script { version: "9.1.0", probed: Some(TOO_OLD), guest: TELLS });
    let output = run_unnamed(&bench, &["a=image"]);
    let told = "a: the guest gave up: \"fetches\":{\"not-modelled\":{\"reason\":\"the plugin does not work in qemu 9.1.0: \
                qemu-system-x86_64: Could not load plugin p.so: plugin requires API version 4, but this QEMU supports only up to version 3\"}";
    let said = stderr(&output);
    assert!(said.contains(told), "{said}");
    assert_eq!((output.status.code(), bench.pids().len()), (Some(1), 1), "{said}");
}

#[test]
fn a_plugin_that_was_named_must_work() {
    for (probed, words) in [
        (Some(TOO_OLD), "only up to version 3; build it anew"),
        (Some("echo 'itlbench plugin: too new' >&2; exit 1"), "the plugin does not work in qemu 9.1.0: too new; build"),
        (
            Some("echo 'itlbench plugin: ready, format 99, plugin API 9'"),
            "the plugin wrote format 99, this build reads",
        ),
        // It takes the question for an argument that it does not know, or for none.
        (Some(":"), "it says nothing (exit status: 0); build"),
        (None, "was built without plugins; build"),
    ] {
        let bench = Bench::of(&Script { version: "9.1.0", probed, guest: TELLS });
        fs::write(bench.path("p.so"), "").unwrap();
        let (code, line) = refusal(&bench.run(&["a=image", "--plugin", "p.so"]));
        assert!(code == Some(3) && line.contains("--plugin `p.so`: ") && line.contains(words), "{line}");
        assert!(bench.pids().is_empty() && !bench.path("out").exists(), "nothing was begun");
    }
}

#[test]
fn a_qemu_that_cannot_start_is_quoted_and_an_old_one_warned_of() {
    let bench = Bench::new("");
    bench.qemu(
        "echo; echo 'qemu: error while loading shared libraries: libx.so.1: cannot open' >&2; echo more >&2; exit 127",
    );
    let (code, line) = refusal(&bench.run(&["a=image"]));
    let words = "does not start (exit status: 127): qemu: error while loading shared libraries: libx.so.1: cannot open; give another";
    assert!(code == Some(3) && line.contains(words), "{line}");
    for (version, warned) in [("7.2.0", true), ("10.0.2", false)] {
        let bench = Bench::of(&Script { version, probed: None, guest: "printf 'H\\nF3 no JIT\\n'" });
        let said = stderr(&bench.run(&["a=image"]));
        assert_eq!(said.contains(&format!("itlbench: qemu {version} is older than 10.0, and ")), warned, "{said}");
    }
}

/// A guest that sends the recorded run of 6.12, without counts, and a plugin that leaves `windows`.
fn counting(spoil: &dyn Fn(&mut Run, &mut Vec<Window>)) -> Bench {
    let ready = format!("echo '{}'", ready(4));
    let guest = "for a; do case $a in *,out=*) out=${a#*,out=}; out=${out%%,*};; esac; done\n\
                 cat counts >\"$out\"; echo H; sed 's/^/R/' sent/run.jsonl; echo D";
    let bench = Bench::of(&Script { version: "10.0.2", probed: Some(&ready), guest });
    fs::write(bench.path("p.so"), "").unwrap();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/2026-11-26-kernels-qemu/6.12");
    let mut run = Run::read(&recorded).unwrap();
    run.trials.iter_mut().for_each(|trial| trial.fetched.clear());
    let ran: usize = run.trials.iter().map(|trial| trial.baseline.len() + trial.samples.len()).sum();
    let window = |tag| Window {
        tag,
        jit: Counts { fetches: 1000, l1_misses: 10, walks: 1 },
        tables_read: 3,
        ..Window::default()
    };
    let mut windows: Vec<Window> = (0..ran as u64).map(window).collect();
    spoil(&mut run, &mut windows);
    fs::create_dir(bench.path("sent")).unwrap();
    let mut writer = Writer::create(&bench.path("sent/run.jsonl"), &run.manifest).unwrap();
    run.trials.iter().zip(&run.histograms).for_each(|(trial, histograms)| writer.append(trial, histograms).unwrap());
    writer.finish(false).unwrap();
    fs::write(bench.path("counts"), written(windows)).unwrap();
    bench
}

/// As the plugin writes it.
fn written(windows: Vec<Window>) -> String {
    let (jit_from, jit_to) = ("0xffffffffc0000000".to_owned(), "0xffffffffff000000".to_owned());
    let header = Header { format: FORMAT, model: "zen3".to_owned(), jit_from, jit_to, api: 4 };
    let end = End { windows: windows.len() as u64, stray_ends: 0 };
    let windows = windows.into_iter().map(Record::Window);
    let records = [Record::Header(header)].into_iter().chain(windows).chain([Record::End(end)]);
    records.map(|record| serde_json::to_string(&record).unwrap() + "\n").collect()
}

const ARGS: [&str; 3] = ["a=image", "--plugin", "p.so"];

/// The run as it was kept, and how many of its trials have counts.
fn kept(output: &Output) -> (Run, usize) {
    let run = Run::read(&directory(output).join("a")).unwrap();
    assert!(run.complete, "every trial is there");
    let counted = run.trials.iter().filter(|trial| !trial.fetched.is_empty()).count();
    (run, counted)
}

/// Without line ends, which fall where they must.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn table(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn counts_that_are_believed_stand_beside_the_placement() {
    let bench = counting(&|_, _| {});
    let output = bench.run(&ARGS);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (run, counted) = kept(&output);
    assert_eq!(counted, run.trials.len());
    assert!(table(&output).contains("modelled (emulated fetch)"), "{}", table(&output));
}

#[test]
fn a_run_whose_walks_failed_loses_its_counts_and_keeps_its_placement() {
    let bench = counting(&|_, windows| windows[1].tables_failed = 1);
    let output = bench.run(&ARGS);
    let line = "a: the plugin's counts were rejected, the placement was kept: window 1: the page tables could not be read for 1 of 3 pages";
    assert!(stderr(&output).contains(line), "{}", stderr(&output));
    assert_eq!((output.status.code(), bench.pids().len()), (Some(1), 1), "it is no death to try again");
    assert_eq!(kept(&output).1, 0);
    let mail = words(&fs::read_to_string(directory(&output).join("mail.txt")).unwrap());
    for text in [words(&table(&output)), mail] {
        assert!(text.contains("64x4K") && text.contains(line), "{text}");
        assert!(
            text.contains("iTLB misses of the fetched instructions: 6.12: the plugin's counts were rejected"),
            "{text}"
        );
        assert!(!text.contains("modelled (emulated fetch)"), "{text}");
    }
}

#[test]
fn a_guest_that_could_set_no_marks_says_why_and_has_not_failed() {
    let why = "6.12 does not show where it maps all memory: `/proc/kcore`: Operation not permitted";
    let bench = counting(&|run, windows| {
        windows.clear();
        run.manifest.guest.as_mut().unwrap().fetches = Fetches::NotModelled { reason: why.to_owned() };
    });
    let output = bench.run(&ARGS);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(kept(&output).1, 0);
    let text = words(&table(&output));
    assert!(text.contains("64x4K") && text.contains(why), "{text}");
}

#[test]
fn a_disk_that_is_full_when_counts_are_added_is_no_rejection() {
    let bench = counting(&|_, _| {});
    let blocks = fs::metadata(bench.path("sent/run.jsonl")).unwrap().len() / 512 + 2;
    let command = bench.command(&ARGS);
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]).args(words);
    let said = stderr(&limited.current_dir(bench.dir.path()).output().unwrap());
    let line = "a: failed to add the plugin's counts to the run, the placement was kept: failed to write run file `";
    assert!(said.contains(line) && said.contains("run.jsonl.new`: File too large"), "{said}");
    assert!(said.contains("free some space") && !said.contains("rejected"), "{said}");
    let matrix = fs::read_dir(bench.path("out")).unwrap().next().unwrap().unwrap().path();
    let left: Vec<_> = fs::read_dir(matrix.join("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["run.jsonl"]);
}
