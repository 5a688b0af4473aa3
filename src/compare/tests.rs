mod alarms;
mod gate;
mod simulation;

use super::*;
use crate::caveat::Caveat;
use crate::report::fixture;
use crate::runfile::Run;
use crate::samples::Metric;
use crate::trial::Sample;

/// Small steps up and down around 1, so that boots differ among themselves.
const BOOT_NOISE: [f64; 6] = [1.004, 0.997, 1.001, 0.999, 1.006, 0.994];

/// A run of `kernel` in a boot of its own whose programs take `factor` times as long.
fn digest(run: &Run, kernel: &str, boot: usize, factor: f64) -> Digest {
    let mut run = run.clone();
    run.manifest.host.kernel_release = Some(kernel.to_owned());
    run.manifest.host.boot_id = Some(format!("{kernel}, boot {boot}"));
    run.manifest.started = format!("2026-01-02T03:{:02}:{:02}Z", boot, kernel.len());
    let scale = |sample: &mut Sample| {
        let factor = factor * BOOT_NOISE[boot % BOOT_NOISE.len()];
        sample.wall_ns = (sample.wall_ns as f64 * factor) as u64;
        let counts = sample.readings.iter_mut().flat_map(|reading| &mut reading.counts);
        counts.for_each(|count| *count = (*count as f64 * factor) as u64);
    };
    run.trials.iter_mut().flat_map(|trial| &mut trial.samples).for_each(scale);
    Digest::of(&format!("{kernel}/{boot}"), &run)
}

fn boots(kernel: &str, boots: usize, factor: f64) -> Vec<Digest> {
    let run = fixture::pmu_run();
    (0..boots).map(|boot| digest(&run, kernel, boot, factor)).collect()
}

fn against(base: Vec<Digest>, new: Vec<Digest>) -> Comparison {
    Comparison::of(base, vec![new], Force::No).unwrap()
}

fn effect(comparison: &Comparison, programs: u32, metric: Metric) -> &Effect {
    let mut effects = comparison.candidates[0].effects();
    effects.find(|effect| effect.case.programs == programs && effect.metric == metric).unwrap()
}

#[test]
fn a_slower_kernel_is_called_slower_by_as_much_as_it_is() {
    let comparison = against(boots("6.1", 5, 1.0), boots("6.2", 5, 1.1));
    assert_eq!(comparison.baseline.name, "6.1");
    assert_eq!(comparison.candidates[0].side.name, "6.2");
    assert_eq!(comparison.primary(), Metric::Cycles);
    let effect = effect(&comparison, 2048, Metric::Cycles);
    assert_eq!((effect.verdict, effect.method, effect.unit), (Verdict::Slower, Method::Welch, Unit::Boot));
    assert_eq!(effect.n(), "5+5 boots, 40+40 trials");
    let (low, high) = effect.interval.unwrap();
    assert!(low < effect.ratio.unwrap() && effect.ratio.unwrap() < high && low > 1.05, "{effect:?}");
    assert!(effect.p_holm.unwrap() >= effect.p.unwrap());
}

#[test]
fn ten_boots_a_side_are_compared_by_rank() {
    let comparison = against(boots("6.1", 10, 1.0), boots("6.2", 10, 0.9));
    let effect = effect(&comparison, 64, Metric::WallNs);
    assert_eq!(effect.verdict, Verdict::Faster);
    assert!(matches!(effect.method, Method::MannWhitney { .. }), "{:?}", effect.method);
}

#[test]
fn three_boots_are_shown_and_not_judged() {
    let comparison = against(boots("6.1", 3, 1.0), boots("6.2", 12, 2.0));
    let effect = effect(&comparison, 64, Metric::WallNs);
    assert_eq!((effect.verdict, effect.method), (Verdict::NotEnough, Method::Descriptive));
    assert_eq!((effect.p, effect.interval), (None, None));
    assert!(effect.ratio.unwrap() > 1.9);
    assert_eq!(effect.conclusion(), "too few boots");
}

#[test]
fn trials_of_one_boot_are_one_observation_however_many_runs_they_came_in() {
    let mut base = boots("6.1", 6, 1.0);
    for run in &mut base {
        run.manifest.host.boot_id = Some("the same".to_owned());
    }
    let comparison = against(base, boots("6.2", 6, 2.0));
    let effect = effect(&comparison, 64, Metric::WallNs);
    assert_eq!((effect.baseline.units.len(), effect.baseline.trials), (1, 48));
    assert_eq!(effect.verdict, Verdict::NotEnough);
}

#[test]
fn runs_that_do_not_name_their_boot_are_one_boot_and_that_is_said() {
    let mut base = boots("6.1", 6, 1.0);
    base.iter_mut().for_each(|run| run.manifest.host.boot_id = None);
    let comparison = against(base, boots("6.2", 6, 2.0));
    assert_eq!(comparison.baseline.boots.len(), 1);
    assert!(comparison.candidates[0].caveats.contains(&Caveat::BootUnknown { runs: 6 }));
}

#[test]
fn three_kernels_share_one_correction() {
    let one = against(boots("6.1", 5, 1.0), boots("6.2", 5, 1.003));
    let two =
        Comparison::of(boots("6.1", 5, 1.0), vec![boots("6.2", 5, 1.003), boots("6.20", 5, 1.0)], Force::No).unwrap();
    assert_eq!(two.candidates.len(), 2);
    let (alone, among) = (effect(&one, 64, Metric::WallNs), effect(&two, 64, Metric::WallNs));
    assert_eq!(alone.p, among.p);
    assert!(alone.detectable_percent < among.detectable_percent);
    assert!(alone.p_holm <= among.p_holm);
}

#[test]
fn what_differs_is_classed_by_what_it_does() {
    let mut new = boots("6.2", 4, 1.0);
    for run in &mut new {
        let host = &mut run.manifest.host;
        host.microcode = Some("0xa0011d6".to_owned());
        host.cmdline = Some("root=/dev/sda1 quiet".to_owned());
        host.mitigations.insert("its".to_owned(), "Not affected".to_owned());
        host.mitigations.insert("retbleed".to_owned(), "Vulnerable".to_owned());
    }
    let mut base = boots("6.1", 4, 1.0);
    base.iter_mut().for_each(|run| run.manifest.host.cmdline = Some("quiet root=/dev/sdb1".to_owned()));
    let comparison = against(base, new);
    let class = |name: &str| {
        let facts = &comparison.candidates[0].fingerprint;
        facts.iter().find(|fact| fact.fact == name).unwrap_or_else(|| panic!("{name} in {facts:?}")).class
    };
    for (name, expected) in [
        ("CPU", Class::Equal),
        ("microcode", Class::Confounds),
        ("boot line", Class::Equal),
        ("boot line, rest", Class::Harmless),
        ("kernel release", Class::Harmless),
        ("mitigation its", Class::Harmless),
        ("mitigation retbleed", Class::Confounds),
    ] {
        assert_eq!(class(name), expected, "{name}");
    }
    let confounded = Caveat::Confounded { facts: "microcode, mitigation retbleed".to_owned() };
    assert!(comparison.candidates[0].caveats.contains(&confounded), "{:?}", comparison.candidates[0].caveats);
}

#[test]
fn files_are_read_at_once_and_stay_in_order() {
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/run-v1.jsonl");
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..9).map(|at| dir.path().join(format!("{at}.jsonl"))).collect();
    for path in &paths {
        std::fs::copy(&fixture, path).unwrap();
    }
    let names: Vec<String> = Digest::read_all(&paths).unwrap().into_iter().map(|run| run.name).collect();
    assert_eq!(names, paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>());
    for at in [3, 7] {
        std::fs::remove_file(&paths[at]).unwrap();
    }
    let error = Digest::read_all(&paths).unwrap_err().to_string();
    assert!(error.contains("3.jsonl"), "{error}");
}

#[test]
fn builds_of_the_kernel_are_told_apart_option_by_option() {
    let with = |run: &mut Digest, options: &[(&str, &str)]| {
        let config = &mut run.manifest.host.kernel_config;
        config.clear();
        config.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    };
    let (mut base, mut new) = (boots("6.1", 4, 1.0), boots("6.2", 4, 1.0));
    base.iter_mut().for_each(|run| with(run, &[("BPF_JIT", "y"), ("CC_VERSION_TEXT", "gcc 14"), ("HZ", "250")]));
    new.iter_mut().for_each(|run| {
        with(
            run,
            &[
                ("BPF_JIT", "y"),
                ("CC_VERSION_TEXT", "gcc 15"),
                ("HZ", "250"),
                ("KASAN", "y"),
                ("ARCH_HAS_EXECMEM_ROX", "y"),
            ],
        );
    });
    let differences = |base: &[Digest], new: &[Digest]| {
        let comparison = against(base.to_vec(), new.to_vec());
        let of_config = |fact: &&FactDiff| fact.fact.contains("config") && fact.class != Class::Equal;
        let facts = comparison.candidates[0].fingerprint.iter().filter(of_config);
        facts.map(|f| format!("{} {} {:?}", f.fact, f.candidate.join("/"), f.class)).collect::<Vec<_>>()
    };
    let expected = [
        "config ARCH_HAS_EXECMEM_ROX y Harmless",
        "config CC_VERSION_TEXT gcc 15 Confounds",
        "config KASAN y Confounds",
    ];
    assert_eq!(differences(&base, &new), expected);
    new.iter_mut().for_each(|run| with(run, &[]));
    assert_eq!(differences(&base, &new), ["kernel's configuration not recorded Confounds"]);
}

/// Two slow boots of six: the median does not see them, the mean does, and the interval must be about what is printed.
#[test]
fn the_ratio_lies_in_its_interval_however_skewed_the_boots() {
    let skewed = |kernel: &str, slow: &[usize]| {
        let factor = |boot| if slow.contains(&boot) { 1.6 } else { 1.0 };
        (0..6).map(|boot| digest(&fixture::timed_run(), kernel, boot, factor(boot))).collect::<Vec<_>>()
    };
    let comparison = against(skewed("6.1", &[]), skewed("6.2", &[1, 4]));
    let found = effect(&comparison, 2048, Metric::WallNs);
    assert_eq!(found.method, Method::Welch);
    let (ratio, (low, high)) = (found.ratio.unwrap(), found.interval.unwrap());
    assert!(low < ratio && ratio < high, "{found:?}");
    assert!((ratio / (low * high).sqrt() - 1.0).abs() < 1e-9, "{ratio} is the middle of {low} and {high} on logs");
    assert!((found.candidate.median / found.baseline.median - 1.0).abs() < 0.01 && ratio > 1.15, "{found:?}");
}

#[test]
fn another_cpu_is_refused_and_forced_figures_get_no_verdict() {
    let mut new = boots("6.2", 5, 1.5);
    new.iter_mut().for_each(|run| run.manifest.host.cpu_model = Some("Another".to_owned()));
    let error = Comparison::of(boots("6.1", 5, 1.0), vec![new.clone()], Force::No).unwrap_err().to_string();
    assert!(error.starts_with("`CPU` differs: AMD EPYC") && error.contains("Another, family 25"), "{error}");
    assert_eq!(error.lines().count(), 1);
    let forced = Comparison::of(boots("6.1", 5, 1.0), vec![new], Force::Yes).unwrap();
    assert!(forced.candidates[0].effects().all(|effect| effect.verdict == Verdict::Incomparable));
    assert!(forced.candidates[0].caveats.contains(&Caveat::Forced { facts: "CPU".to_owned() }));
}

#[test]
fn an_event_of_another_code_voids_its_metric_and_no_other() {
    let mut new = boots("6.2", 5, 1.5);
    for event in new.iter_mut().flat_map(|run| &mut run.manifest.groups).flat_map(|group| &mut group.events) {
        if event.name == "iTLB-load-misses" {
            event.code.config += 1;
        }
    }
    let comparison = against(boots("6.1", 5, 1.0), new);
    assert_eq!(effect(&comparison, 2048, Metric::ItlbMissesPer1000).verdict, Verdict::Incomparable);
    assert_eq!(effect(&comparison, 2048, Metric::Cycles).verdict, Verdict::Slower);
}

#[test]
fn simulated_and_measured_runs_are_never_compared_not_even_by_force() {
    let sim = digest(&fixture::sim_run(), "6.2", 0, 1.0);
    let error = Comparison::of(boots("6.1", 5, 1.0), vec![vec![sim]], Force::Yes).unwrap_err().to_string();
    assert_eq!(error, "run `6.2/0` is simulated and `6.1/0` is not; they are never compared");
}

#[test]
fn the_same_run_twice_is_refused() {
    let base = boots("6.1", 5, 1.0);
    let mut copy = base[3].clone();
    copy.name = "elsewhere".to_owned();
    let error = Comparison::of(base, vec![vec![copy]], Force::No).unwrap_err().to_string();
    assert_eq!(error, "run `elsewhere` is given twice, also as `6.1/3`; name each run once");
}

#[test]
fn sides_without_a_common_case_say_what_each_has() {
    let mut new = boots("6.2", 5, 1.0);
    for trial in new.iter_mut().flat_map(|run| &mut run.trials) {
        trial.case.body = crate::workload::Body::B256;
    }
    let error = Comparison::of(boots("6.1", 5, 1.0), vec![new], Force::No).unwrap_err().to_string();
    assert!(error.contains("128 bytes") && error.contains("256 bytes") && error.lines().count() == 1, "{error}");
}

#[test]
fn cases_of_one_side_alone_are_named() {
    let mut new = boots("6.2", 5, 1.0);
    new.iter_mut().for_each(|run| run.trials.retain(|trial| trial.case.programs != 512));
    let comparison = against(boots("6.1", 5, 1.0), new);
    let missing: Vec<u32> = comparison.candidates[0].only_baseline.iter().map(|case| case.programs).collect();
    assert_eq!(missing, [512, 512]);
    assert!(comparison.candidates[0].only_candidate.is_empty());
}

#[test]
fn kernels_of_one_release_are_told_apart_by_build_or_number() {
    let mut new = boots("6.1", 4, 1.0);
    new.iter_mut().for_each(|run| run.name.push_str(" again"));
    new.iter_mut().for_each(|run| run.manifest.seed = 9);
    let same = against(boots("6.1", 4, 1.0), new.clone());
    assert_eq!((&*same.baseline.name, &*same.candidates[0].side.name), ("6.1 (base)", "6.1 (new 1)"));
    assert!(same.candidates[0].caveats.contains(&Caveat::SharedBoot));
    new.iter_mut().for_each(|run| run.manifest.host.kernel_version = Some("#2 SMP".to_owned()));
    let builds = against(boots("6.1", 4, 1.0), new);
    assert_eq!(builds.candidates[0].side.name, "6.1 #2 SMP");
}

#[test]
fn kernels_booted_one_after_the_other_are_pointed_out() {
    let mut late = boots("6.2", 4, 1.0);
    late.iter_mut().for_each(|run| run.manifest.started = run.manifest.started.replace("2026", "2027"));
    let comparison = against(boots("6.1", 4, 1.0), late);
    assert!(comparison.candidates[0].caveats.contains(&Caveat::NotInterleaved));
    let comparison = against(boots("6.1", 4, 1.0), boots("6.2", 4, 1.0));
    assert!(!comparison.candidates[0].caveats.contains(&Caveat::NotInterleaved));
}

#[test]
fn longer_jited_code_is_pointed_out() {
    let mut new = boots("6.2", 4, 1.0);
    new.iter_mut().flat_map(|run| &mut run.trials).for_each(|trial| trial.footprint.jited_bytes += 64);
    let comparison = against(boots("6.1", 4, 1.0), new);
    let found = &comparison.candidates[0].caveats;
    assert!(found.iter().any(|caveat| matches!(caveat, Caveat::JitedLengthDiffers { .. })), "{found:?}");
}
