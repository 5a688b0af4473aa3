//! What reading, comparing and reporting run files costs. The files are the recorded run under `reports/`, its windows repeated
//! until there are as many as a budget speaks of. Each figure is the median of processes of their own, their peak memory beside it.
#![allow(clippy::unwrap_used)]

mod figures;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use itlbench::compare::{Comparison, Digest, Force};
use itlbench::report::comparison::{View, table};
use itlbench::runfile::{Run, Writer};
use itlbench::samples::histogram;

const ROUNDS: usize = 5;
/// `veristat -C` on 2 x 10 000 rows took so long on the machine of the readme.
const VERISTAT_MS: f64 = 117.0;
/// First argument of a process that compares and prints its peak memory.
const CHILD: &str = "compare-and-say-peak";

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == CHILD) {
        child(&words[2], &words[3]);
        return;
    }
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/2026-11-25-epyc-zen4-kvm");
    let dir = tempfile::tempdir().unwrap();
    let run = Run::read(&recorded).unwrap();
    let pair = |windows: usize| {
        let file = |side: &str, at: u32| grown(&run, windows, &dir.path().join(format!("{side}-{windows}.jsonl")), at);
        (file("base", 0), file("new", 1))
    };
    compare(&pair(1_000_000), "2 x 1 000 000 windows", 2000.0, 500.0);
    compare(&pair(10_000), "2 x 10 000 windows (veristat -C on as many rows: 117 ms)", VERISTAT_MS, 500.0);
    report(&recorded, dir.path());
}

/// `run` with `windows` windows, in a boot of another kernel for each `at`.
fn grown(run: &Run, windows: usize, path: &Path, at: u32) -> PathBuf {
    let mut manifest = run.manifest.clone();
    let each = windows.div_ceil(run.trials.len());
    manifest.host.boot_id = Some(format!("boot {at}"));
    manifest.host.kernel_release = Some(format!("6.{at}"));
    manifest.workloads.iter_mut().for_each(|spec| spec.samples = each as u32);
    let mut writer = Writer::create(path, &manifest).unwrap();
    for trial in &run.trials {
        let mut trial = trial.clone();
        trial.samples = trial.samples.iter().cycle().take(each).cloned().collect();
        let histograms = histogram::encode_trial(&trial, &manifest.groups).unwrap();
        writer.append(&trial, &histograms).unwrap();
    }
    writer.finish(false).unwrap();
    path.to_path_buf()
}

fn child(base: &str, new: &str) {
    let mut read = Digest::read_all(&[base, new]).unwrap();
    let new = read.pop().unwrap();
    let comparison = Comparison::of(read, vec![vec![new]], Force::No).unwrap();
    assert!(table::table(&View::of(&comparison)).contains("chain"));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("{}", peak.trim().trim_end_matches(" kB"));
}

fn compare((base, new): &(PathBuf, PathBuf), what: &str, most_ms: f64, most_mb: f64) {
    let mut peak: f64 = 0.0;
    let took = median(|| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([CHILD.as_ref(), base.as_os_str(), new.as_os_str()])
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let kib: f64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        peak = peak.max(kib / 1024.0);
    });
    let mib = |path: &Path| fs::metadata(path).unwrap().len() / (1 << 20);
    let files = format!("files of {} and {} MiB, median of {ROUNDS}", mib(base), mib(new));
    let say = |what: &str, value: f64, most: f64, unit: &str, detail: &str| {
        figures::say(what, value, &format!("below {most:.0} {unit}"), value < most, detail);
    };
    say(&format!("read and compare {what}"), took, most_ms, "ms", &files);
    say("  its peak memory", peak, most_mb, "MiB", "most of the same");
}

fn report(run: &Path, dir: &Path) {
    let took = median(|| {
        let output = Command::new(env!("CARGO_BIN_EXE_itlbench"))
            .arg("report")
            .arg(run)
            .arg("--out")
            .arg(dir.join("out"))
            .output();
        assert!(output.unwrap().status.success());
    });
    let files = fs::read_dir(dir.join("out")).unwrap().count();
    let detail = format!("{files} files, median of {ROUNDS}");
    figures::say("every output of a default run", took, "below 2000 ms", took < 2000.0, &detail);
}

/// Milliseconds.
fn median(mut work: impl FnMut()) -> f64 {
    let took = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64() * 1000.0
    });
    figures::median(took.collect())
}
