//! Where and how it was measured, what was verified, and how to do it again.

use super::super::mapping;
use super::super::summary::Summary;
use super::super::wording::{ascii, wrap};
use super::{Block, COLUMNS, items};
use crate::host::Facts;
use crate::runfile::Manifest;
use crate::runfile::manifest::MachineKind;
use crate::workload::{Body, Spec, Stride};

/// Mitigations that change what an indirect branch, a kernel entry or a huge code page costs.
const MITIGATIONS: [&str; 4] = ["itlb_multihit", "meltdown", "retbleed", "spectre_v2"];

/// The host and the build of the tool, one fact a line; what is not known has no line.
pub(super) fn host(manifest: &Manifest) -> Vec<String> {
    let itlbench = format!("{}, seed {}, windows on CPU {}", manifest.tool_version, manifest.seed, manifest.cpu);
    let own = [("itlbench", itlbench), ("started", manifest.started.clone())];
    machine_rows(manifest).into_iter().chain(own.iter().flat_map(|(key, value)| row(key, value))).collect()
}

/// The machine and its kernel.
pub(super) fn machine_rows(manifest: &Manifest) -> Vec<String> {
    let facts = &manifest.host;
    let rows = [
        ("machine", machine(manifest.machine, facts)),
        ("CPU", cpu(facts)),
        ("kernel", join(" ", [facts.kernel_release.clone(), facts.kernel_version.clone()])),
        ("config", Some(config(facts))),
        ("mitigations", mitigations(facts)),
        ("governor", Some(facts.governor.clone().unwrap_or_else(|| "not known: no cpufreq here".to_owned()))),
        ("SMT", facts.smt.clone()),
        ("THP", facts.thp.clone()),
        ("BPF JIT", jit_sysctls(facts)),
    ];
    rows.into_iter().filter_map(|(key, value)| Some(row(key, &value?))).flatten().collect()
}

pub(super) fn row(key: &str, value: &str) -> Vec<String> {
    wrap(&ascii(value), COLUMNS, &format!("  {key:<12} "), &" ".repeat(15))
}

fn join<const N: usize>(between: &str, parts: [Option<String>; N]) -> Option<String> {
    let known: Vec<String> = parts.into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.join(between))
}

fn machine(kind: MachineKind, facts: &Facts) -> Option<String> {
    match (kind, &facts.hypervisor) {
        (MachineKind::Sim, _) => Some("SIMULATED; the host below only ran the simulation".to_owned()),
        (MachineKind::Kernel, Some(hypervisor)) => Some(format!("virtual machine ({hypervisor})")),
        // Without /proc/cpuinfo nobody looked for a hypervisor.
        (MachineKind::Kernel, None) => facts.cpu_model.is_some().then(|| "bare metal".to_owned()),
    }
}

fn cpu(facts: &Facts) -> Option<String> {
    let part = |name: &str, value: Option<u32>| value.map(|value| format!("{name} {value}"));
    let signature = join(
        " ",
        [part("family", facts.cpu_family), part("model", facts.cpu_model_number), part("stepping", facts.cpu_stepping)],
    );
    let microcode = facts.microcode.as_ref().map(|version| format!("microcode {version}"));
    join(", ", [facts.cpu_model.clone(), signature, microcode])
}

/// The ones that matter, each cut at its first semicolon, and what the command line says.
fn mitigations(facts: &Facts) -> Option<String> {
    let short = |state: &str| {
        let head = state.split(';').next().unwrap_or(state).trim();
        head.strip_prefix("Mitigation: ").unwrap_or(head).to_owned()
    };
    let known = MITIGATIONS.iter().filter_map(|name| Some(format!("{name}: {}", short(facts.mitigations.get(*name)?))));
    let words = facts.cmdline.as_deref().unwrap_or_default().split_whitespace();
    let asked = words.filter(|word| word.starts_with("mitigations=") || word.starts_with("spectre_v2="));
    let all: Vec<String> = known.chain(asked.map(|word| format!("command line {word}"))).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Shown set or not, since they decide where code lies, by which pages it is mapped and how it is entered.
const ALWAYS: [&str; 8] = [
    "BPF_JIT_ALWAYS_ON",
    "EXECMEM",
    "ARCH_HAS_EXECMEM_ROX",
    "HAVE_ARCH_HUGE_VMALLOC",
    "STRICT_MODULE_RWX",
    "X86_KERNEL_IBT",
    "PARAVIRT",
    "HZ",
];

/// How the kernel was built: what decides the placement, the model of preemption, what makes code slow, the compiler.
fn config(facts: &Facts) -> String {
    let config = &facts.kernel_config;
    if config.is_empty() {
        return "not recorded: neither /proc/config.gz nor a config under /boot".to_owned();
    }
    let always = ALWAYS.iter().filter_map(|name| Some(format!("{name}={}", facts.option(name)?)));
    let preempt = config.keys().filter(|name| name.starts_with("PREEMPT")).map(|name| format!("{name}=y"));
    let costly = facts.costly_options();
    let costly = match costly.is_empty() {
        true => "no costly debugging".to_owned(),
        false => format!("COSTLY: {}", costly.join(" ")),
    };
    let mut all: Vec<String> = always.chain(preempt).collect();
    all.push(format!("({costly})"));
    all.extend(config.get("CC_VERSION_TEXT").map(|compiler| format!("by {compiler}")));
    all.join(" ")
}

fn jit_sysctls(facts: &Facts) -> Option<String> {
    let of_jit = |(name, value): (&String, &String)| {
        let name = name.strip_prefix("net.core.")?;
        name.starts_with("bpf_jit").then(|| format!("{name}={value}"))
    };
    let known: Vec<String> = facts.sysctls.iter().filter_map(of_jit).collect();
    (!known.is_empty()).then(|| known.join(" "))
}

/// One block for each workload of the run.
pub(super) fn workloads(manifest: &Manifest) -> Vec<Block> {
    let block = |spec: &Spec| Block { title: "Workload", lines: workload(spec) };
    manifest.workloads.iter().map(block).collect()
}

fn workload(spec: &Spec) -> Vec<String> {
    let stride = match spec.stride {
        Stride::Page => "a page each, 4 KiB apart",
        Stride::PageAndGuard => "a page and a guard page each, 8 KiB apart",
    };
    let about = format!("aims at {} bytes of JITed code", spec.body.nominal_bytes());
    let body = if Body::SIZES.contains(&spec.body) { about } else { format!("{}: {about}", spec.body) };
    let mut rows = vec![
        ("name", spec.name.clone()),
        ("trigger", format!("{}: {}", spec.trigger, spec.trigger.meaning())),
        ("body", body),
        ("pack off", format!("{stride}; offsets inside the page: {}", spec.offset)),
        ("design", format!("{} fresh loads x {} windows a case, arms interleaved", spec.trials, spec.samples)),
    ];
    rows.extend(spec.order.map(|order| ("order", order.to_string())));
    rows.extend(
        spec.loaded.map(|n| ("loaded", format!("{n} programs in every case, which runs the first of the order"))),
    );
    rows.iter().flat_map(|(key, value)| row(key, value)).collect()
}

/// What was checked, and how far it held.
pub(super) fn verified(summary: &Summary<'_>) -> Vec<String> {
    let trials = &summary.run.trials;
    let source = match summary.run.manifest.machine {
        MachineKind::Kernel => "read back from jited_ksyms of every program",
        MachineKind::Sim => "as the simulation laid it out",
    };
    let (all, missed) = (trials.len(), trials.iter().filter(|trial| !trial.placed).count());
    let ran = trials.iter().filter(|trial| trial.check.executed >= trial.case.programs).count();
    let windows: usize = trials.iter().map(|trial| trial.samples.len()).sum();
    let kept: usize = trials.iter().map(|trial| trial.kept().count()).sum();
    let placement =
        format!("placement: {source}; {} of {all} trials reached their goal, the others are left out", all - missed);
    let others = [
        format!("execution: every program ran in the check pass of {ran} of {all} trials"),
        format!("windows: {kept} of {windows} kept; none is scaled"),
    ];
    [placement].into_iter().chain(mapping::sentences(summary.run)).chain(others).collect()
}

/// The command, with its seed.
pub(super) fn reproduce(manifest: &Manifest) -> Vec<String> {
    if manifest.argv.is_empty() {
        return items([format!("itlbench run --seed {}; the other arguments are not known", manifest.seed)]);
    }
    command(&seeded(&manifest.argv, manifest.seed))
}

/// The arguments with the seed that was drawn, if none was given; before `--`, behind which a command of its own begins.
pub(in crate::report) fn seeded(argv: &[String], seed: u64) -> Vec<String> {
    let mut argv = argv.to_vec();
    if let Some(tool) = argv.first_mut() {
        *tool = tool.rsplit('/').next().unwrap_or(tool).to_owned();
    }
    let own = argv.iter().position(|word| word == "--").unwrap_or(argv.len());
    if !argv[..own].iter().any(|word| word == "--seed" || word.starts_with("--seed=")) {
        argv.splice(own..own, ["--seed".to_owned(), seed.to_string()]);
    }
    argv
}

/// The words quoted for a shell, lines continued by backslashes. A word too long for a line is cut in pieces that follow each other at
/// column 0, where the shell joins them again.
pub(in crate::report) fn command(argv: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = " ".to_owned();
    for word in argv {
        let pieces = pieces(&ascii(word));
        if line.len() > 4 && line.len() + 1 + pieces[0].len() > COLUMNS - 2 {
            lines.push(std::mem::replace(&mut line, "   ".to_owned()) + " \\");
        }
        line.push(' ');
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 {
                lines.push(std::mem::take(&mut line) + "\\");
            }
            line.push_str(piece);
        }
    }
    lines.push(line);
    lines
}

/// The word quoted, in pieces of at most [`PIECE`] columns.
fn pieces(word: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for letter in word.chars() {
        let longer = format!("{piece}{letter}");
        if quoted(&longer).len() > PIECE {
            pieces.push(quoted(&piece));
            piece = letter.to_string();
        } else {
            piece = longer;
        }
    }
    pieces.push(quoted(&piece));
    pieces
}

/// Columns of one piece of a word: with the indent and a backslash it fits a line.
const PIECE: usize = 60;

fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    match !word.is_empty() && word.chars().all(harmless) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_seed_is_added_once_and_before_the_wrapped_command() {
        assert_eq!(seeded(&words("/x/itlbench run chain"), 7), words("itlbench run chain --seed 7"));
        assert_eq!(seeded(&words("itlbench run --seed=7"), 7), words("itlbench run --seed=7"));
        assert_eq!(seeded(&words("itlbench run -- make --seed 3"), 7), words("itlbench run --seed 7 -- make --seed 3"));
    }

    fn joined_by_a_shell(argv: &[String]) -> Vec<String> {
        let lines = command(argv);
        assert!(lines.iter().all(|line| line.len() <= COLUMNS), "{lines:?}");
        let script = format!("printf '%s\\n' {}", lines.join("\n").trim_start());
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_shell_reads_the_command_as_it_was() {
        let long = "it's a/".repeat(40);
        let plain = "/long/path".repeat(30);
        let mut argv = words("itlbench run --programs 64,512,2048 --trials 12 --samples 40 --pack on,off --cpu 3");
        argv.extend(["".to_owned(), long, "$(x) \\ `y`".to_owned(), plain, "end".to_owned()]);
        assert_eq!(joined_by_a_shell(&argv), argv);
    }
}
