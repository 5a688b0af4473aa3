//! `itlbench list events`: which event plays which role on a CPU, what it counts and what it does not.

use std::fmt::Write as _;
use std::path::Path;

use super::Failure;
use crate::counters::catalog::{Catalog, Core, Cpu, Entry, Generic};
use crate::host::Facts;

/// The events of the CPU called `name`, or of this host's.
pub fn text(name: Option<&str>) -> Result<String, Failure> {
    let catalog = Catalog::get();
    let cpu = match name {
        Some(name) => catalog.named(name).ok_or_else(|| unknown(name, catalog))?,
        None => {
            let facts = Facts::read(Path::new("/"));
            match facts.cpu_id().and_then(|id| catalog.identify(&id)) {
                Some(cpu) => cpu,
                None => return Ok(generic_only(&facts)),
            }
        }
    };
    Ok(of_cpu(catalog, cpu))
}

fn unknown(name: &str, catalog: &Catalog) -> Failure {
    let names: Vec<&str> = catalog.cpus().iter().map(|cpu| cpu.name).collect();
    Failure::Usage(format!("no CPU `{name}` in the catalogue; it has {}", names.join(", ")))
}

/// What an unknown model has.
fn generic_only(facts: &Facts) -> String {
    format!(
        "{}: not in the catalogue. Counted are the kernel's generic events (cycles, instructions, iTLB-load-misses, \
         iTLB-loads, ...);\nwhat they count on this model is not known here. `itlbench list events --cpu NAME` shows \
         a CPU that is known, `itlbench run --counters` takes raw codes.\n",
        facts.cpu_id().map_or_else(|| "unknown CPU".to_owned(), |id| id.to_string())
    )
}

fn of_cpu(catalog: &Catalog, cpu: &Cpu) -> String {
    let mut text = format!("{} ({}, event list {})\n", cpu.name, cpu.vendor, cpu.version);
    for &core in &cpu.cores {
        if core != Core::Only {
            let _ = writeln!(text, "\n{}:", core.pmu());
        }
        if let Some(generic) = catalog.generic(cpu, core) {
            text += &generic_names(catalog, cpu, core, generic);
        }
        for entry in catalog.entries(cpu, core) {
            text += &line(entry);
            if let Some(meaning) = catalog.meaning(entry.role, cpu.vendor) {
                let _ = writeln!(text, "  counts {}\n  not    {}", meaning.counts, meaning.not);
            }
        }
    }
    text
}

fn line(entry: &Entry) -> String {
    let errata = if entry.errata.is_empty() { String::new() } else { format!("  errata {}", entry.errata) };
    format!("\n{}  {}  {}{errata}\n", entry.role, entry.name, entry.raw())
}

fn generic_names(catalog: &Catalog, cpu: &Cpu, core: Core, generic: Generic) -> String {
    let name = |code: Option<u64>| match code {
        None => "EINVAL, the kernel has none here".to_owned(),
        Some(code) => {
            let event = catalog.entries(cpu, core).find(|entry| entry.config == code && entry.config1 == 0);
            let known = event.map(|entry| format!(" = {} ({})", entry.name, entry.role));
            format!("r{code:04x}{}", known.unwrap_or_else(|| ", not in the vendor's list".to_owned()))
        }
    };
    format!("iTLB-load-misses: {}\niTLB-loads: {}\n", name(generic.misses), name(generic.loads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_cpu_lists_role_name_raw_code_and_meaning() {
        insta::assert_snapshot!("skylake", text(Some("skylake")).unwrap());
        insta::assert_snapshot!("alderlake", text(Some("alderlake")).unwrap());
        insta::assert_snapshot!("amdzen3", text(Some("amdzen3")).unwrap());
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_names_there_are() {
        let error = text(Some("pentium")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`pentium`") && error.to_string().contains("amdzen1"), "{error}");
    }

    #[test]
    fn an_unknown_model_has_the_generic_events_and_says_so() {
        let facts = Facts {
            cpu_vendor: Some("GenuineIntel".to_owned()),
            cpu_family: Some(6),
            cpu_model_number: Some(0xff),
            ..Facts::default()
        };
        let text = generic_only(&facts);
        assert!(text.starts_with("GenuineIntel family 6 model 255 stepping 0: not in the catalogue"), "{text}");
        assert!(text.contains("iTLB-load-misses"));
    }
}
