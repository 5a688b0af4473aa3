//! `itlbench list models`: the iTLBs in the table, and what CPUID says of this CPU's.

use std::fmt::Write as _;

use crate::model::cpuid::{Reported, Tlb};
use crate::model::geometry::{COALESCING, Core, CoreKind, cores};
use crate::model::itlb::Level;
use crate::report::modelled::array;

/// Every model, and this CPU.
pub fn text() -> String {
    let mut text =
        "iTLB models, entries x ways (full: fully associative; 4K and 2M share an array where one is given):\n\n"
            .to_owned();
    let _ = writeln!(text, "  {:<14} {:<21} {:<22} {:>10} {:>10}  CPUs", "NAME", "L1", "L2", "L1 REACH", "L2 REACH");
    cores().iter().for_each(|core| row(&mut text, core));
    text += &notes();
    text += &this_cpu(&Reported::here());
    text
}

fn row(text: &mut String, core: &Core) {
    let geometry = core.geometry();
    let (l1, l2) = (level(geometry.l1), level(geometry.l2));
    let reach = |level: Level| format!("{} KiB", level.small.entries() * 4);
    let data = if core.l2_holds_data { "*" } else { "" };
    let coalesces = if core.coalesces > 1 { "+" } else { "" };
    let _ = writeln!(
        text,
        "  {:<14} {l1:<21} {:<22} {:>10} {:>10}  {}",
        format!("{}{coalesces}", core.name),
        l2 + data,
        reach(geometry.l1),
        reach(geometry.l2),
        core.title
    );
}

fn level(level: Level) -> String {
    match level.huge {
        Some(huge) => format!("4K {}, 2M {}", array(level.small), array(huge)),
        None => array(level.small),
    }
}

fn notes() -> String {
    let mut text = format!(
        "\n*  holds data translations too: data pushes out code, which the model leaves out\n\
         +  `NAME{COALESCING}`: one entry for adjacent 4 KiB pages, as if all were contiguous in memory\n\n\
         Not settled by a primary source:\n"
    );
    for core in cores() {
        if let Some(uncertain) = &core.uncertain {
            let _ = writeln!(text, "  {}: {uncertain}", core.name);
        }
    }
    text
}

fn this_cpu(reported: &Reported) -> String {
    let kind = match reported.kind {
        Some(CoreKind::Performance) => ", performance core",
        Some(CoreKind::Efficient) => ", efficient core",
        None => "",
    };
    let (vendor, family, model) = (&reported.vendor, reported.family, reported.model);
    let mut text = format!("\nThis CPU: {vendor} family {family:#x} model {model:#x}{kind}: ");
    let core = Core::of(reported.cpu_id());
    text += core.map_or("not in the table", |core| &core.name);
    let tlbs =
        [("L1 4K", reported.l1_4k), ("L1 2M", reported.l1_2m), ("L2 4K", reported.l2_4k), ("L2 2M", reported.l2_2m)];
    let known: Vec<String> =
        tlbs.into_iter().filter_map(|(name, tlb)| Some(format!("{name} {}", tlb_text(tlb?)))).collect();
    match known.is_empty() {
        true => text += "\nCPUID lists no iTLB",
        false => text += &format!("\nCPUID lists {}", known.join(", ")),
    }
    if reported.hypervisor {
        text += "\n(a virtual machine: CPUID says what the hypervisor wants it to say; the table is believed instead)";
    }
    let differ = core.map(|core| reported.against(core)).unwrap_or_default();
    differ.iter().for_each(|line| text += &format!("\nthe table disagrees: {line}"));
    text + "\n"
}

fn tlb_text(tlb: Tlb) -> String {
    match tlb.ways {
        Some(ways) => format!("{}x{ways}", tlb.entries),
        None => format!("{} full", tlb.entries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_core_once_with_its_reach() {
        let text = text();
        for core in cores() {
            let rows = text.lines().filter(|line| line.trim_start().starts_with(&core.name) && line.contains(" KiB "));
            assert!(rows.count() >= 1, "{}", core.name);
        }
        assert!(text.lines().any(|line| line.starts_with("  zen3+") && line.contains("256 KiB   2048 KiB")), "{text}");
    }

    #[test]
    fn a_guest_is_told_that_cpuid_is_not_believed() {
        let l1_4k = Some(Tlb { entries: 32, ways: Some(4) });
        let vendor = "AuthenticAMD".to_owned();
        let reported = Reported { vendor, family: 0x19, model: 1, hypervisor: true, l1_4k, ..Reported::default() };
        let text = this_cpu(&reported);
        assert!(text.contains("zen3") && text.contains("the table is believed instead"), "{text}");
        assert!(text.contains("the table disagrees: L1, 4 KiB: CPUID says 32 entries, the table 64"), "{text}");
        assert!(!this_cpu(&Reported { hypervisor: false, ..reported }).contains("virtual machine"));
    }
}
