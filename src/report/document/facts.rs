//! What is known of a run beside its figures: how it was made, on which host, counting which events.

use crate::host::Facts;
use crate::report::Summary;
use crate::runfile::Manifest;

/// The command line as a shell takes it.
pub(super) fn command(manifest: &Manifest) -> String {
    manifest.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word of a command line as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Where, when and by which build.
pub(super) fn origin(summary: &Summary) -> Vec<(String, String)> {
    let manifest = &summary.run.manifest;
    let facts = [
        ("itlbench", manifest.tool_version.clone()),
        ("started", manifest.started.clone()),
        ("seed", manifest.seed.to_string()),
        ("CPU of the windows", manifest.cpu.to_string()),
        ("ended", if summary.run.complete { "as planned".to_owned() } else { "interrupted".to_owned() }),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// Every event with its raw code and its group.
pub(super) fn events(manifest: &Manifest) -> Vec<(String, String)> {
    let groups = manifest.groups.iter();
    groups
        .flat_map(|group| {
            let code = move |event: &crate::counters::Event| format!("{}, {group}", event.code);
            group.events.iter().map(move |event| (event.name.clone(), code(event)))
        })
        .collect()
}

/// All that is known of the host.
pub(super) fn host(facts: &Facts) -> Vec<(String, String)> {
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    let named = [
        ("CPU vendor", facts.cpu_vendor.clone()),
        ("CPU model", facts.cpu_model.clone()),
        ("CPU family", number(facts.cpu_family)),
        ("CPU model number", number(facts.cpu_model_number)),
        ("CPU stepping", number(facts.cpu_stepping)),
        ("microcode", facts.microcode.clone()),
        ("CPUs online", facts.cpus_online.clone()),
        ("hypervisor", facts.hypervisor.clone()),
        ("kernel release", facts.kernel_release.clone()),
        ("kernel version", facts.kernel_version.clone()),
        ("kernel command line", facts.cmdline.clone()),
        ("SMT", facts.smt.clone()),
        ("governor", facts.governor.clone()),
        ("transparent huge pages", facts.thp.clone()),
        ("lockdown", facts.lockdown.clone()),
        ("NUMA nodes possible", facts.numa_possible.clone()),
        ("clock source", facts.clocksource.clone()),
    ];
    let known = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let mitigations = facts.mitigations.iter().map(|(name, value)| (format!("mitigation {name}"), value.clone()));
    let sysctls = facts.sysctls.iter().map(|(name, value)| (name.clone(), value.clone()));
    let memory = facts.memory_kib.iter().map(|(name, kib)| (name.clone(), format!("{kib} KiB")));
    let pmus = facts.pmus.iter().map(|(name, kind)| (format!("PMU {name}"), format!("type {kind}")));
    let config = facts.kernel_config.iter().map(|(name, value)| (format!("CONFIG_{name}"), value.clone()));
    known.chain(config).chain(mitigations).chain(sysctls).chain(memory).chain(pmus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        for (word, expected) in
            [("--seed=4", "--seed=4"), ("a b", "'a b'"), ("", "''"), ("it's", r"'it'\''s'"), ("$x", "'$x'")]
        {
            assert_eq!(quoted(word), expected);
        }
    }
}
