//! The processor, and whether it is a real one.

use std::collections::BTreeMap;

use super::facts::Facts;
use super::tree::{Tree, value};

/// Fills the fields that `/proc/cpuinfo` and `/sys/devices/system/cpu` answer.
pub(super) fn read(tree: Tree<'_>, facts: &mut Facts) {
    let cpuinfo = tree.text("proc/cpuinfo").unwrap_or_default();
    let text = |key| value(&cpuinfo, key).filter(|found| !found.is_empty()).map(str::to_owned);
    let number = |key| value(&cpuinfo, key).and_then(|found| found.parse().ok());
    facts.cpu_vendor = text("vendor_id");
    facts.cpu_model = text("model name");
    facts.cpu_family = number("cpu family");
    facts.cpu_model_number = number("model");
    facts.cpu_stepping = number("stepping");
    facts.microcode = text("microcode");
    facts.cpus_online = tree.text("sys/devices/system/cpu/online");
    facts.hypervisor = hypervisor(tree, &cpuinfo);
    facts.mitigations = vulnerabilities(tree);
    facts.smt = smt(tree);
    facts.governor = tree.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
}

/// Whether there is a hypervisor is said by the CPU flag (CPUID.1:ECX[31]) or by Xen's sysfs directory; its name comes from
/// the clock sources and DMI. DMI alone proves nothing: a bare-metal box has vendor strings too.
fn hypervisor(tree: Tree<'_>, cpuinfo: &str) -> Option<String> {
    let xen = tree.text("sys/hypervisor/type");
    let flagged =
        value(cpuinfo, "flags").is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    if !flagged && xen.is_none() {
        return None;
    }
    let interface = xen.or_else(|| paravirtual_clock(tree).map(str::to_owned));
    let known: Vec<String> = interface.into_iter().chain(dmi(tree)).collect();
    Some(if known.is_empty() { "unknown, by CPU flag only".to_owned() } else { known.join(", ") })
}

/// The hypervisor whose clock the kernel offers; there also where DMI tables are not.
fn paravirtual_clock(tree: Tree<'_>) -> Option<&'static str> {
    let offered = tree.text("sys/devices/system/clocksource/clocksource0/available_clocksource")?;
    let known = [("kvm-clock", "KVM"), ("hyperv_clocksource", "Hyper-V"), ("xen", "Xen")];
    known
        .iter()
        .find(|(clock, _)| offered.split_whitespace().any(|name| name.starts_with(clock)))
        .map(|(_, name)| *name)
}

fn dmi(tree: Tree<'_>) -> Option<String> {
    let fields = ["sys_vendor", "product_name"];
    let known: Vec<String> =
        fields.iter().filter_map(|field| tree.text(&format!("sys/devices/virtual/dmi/id/{field}"))).collect();
    (!known.is_empty()).then(|| known.join(" "))
}

fn vulnerabilities(tree: Tree<'_>) -> BTreeMap<String, String> {
    let directory = "sys/devices/system/cpu/vulnerabilities";
    let state = |name: String| Some((name.clone(), tree.text(&format!("{directory}/{name}"))?));
    tree.names(directory).into_iter().filter_map(state).collect()
}

/// `smt/control`, except that siblings which are all offline are said so: `on` there only means that they may be onlined.
fn smt(tree: Tree<'_>) -> Option<String> {
    let active = tree.text("sys/devices/system/cpu/smt/active");
    match (tree.text("sys/devices/system/cpu/smt/control"), active.as_deref()) {
        (Some(control), Some("0")) if control == "on" => Some("on, no sibling online".to_owned()),
        (Some(control), _) => Some(control),
        (None, Some("0")) => Some("off".to_owned()),
        (None, Some(_)) => Some("on".to_owned()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Path and content.
    type File = (&'static str, &'static str);

    fn host(files: &[File]) -> Facts {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut facts = Facts::default();
        read(Tree::new(root.path()), &mut facts);
        facts
    }

    const FLAG: File = ("proc/cpuinfo", "flags\t\t: fpu hypervisor lm\n");
    const NO_FLAG: File = ("proc/cpuinfo", "flags\t\t: fpu lm\n");
    const VENDOR: File = ("sys/devices/virtual/dmi/id/sys_vendor", "QEMU\n");
    const PRODUCT: File = ("sys/devices/virtual/dmi/id/product_name", "Standard PC\n");
    const CLOCKS: File = ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc kvm-clock \n");
    const XEN: File = ("sys/hypervisor/type", "xen\n");

    #[test]
    fn a_hypervisor_is_named_by_what_there_is() {
        let cases: [(&[File], Option<&str>); 8] = [
            (&[NO_FLAG, VENDOR, PRODUCT], None),
            (&[], None),
            (&[FLAG], Some("unknown, by CPU flag only")),
            (&[FLAG, CLOCKS], Some("KVM")),
            (&[FLAG, CLOCKS, VENDOR, PRODUCT], Some("KVM, QEMU Standard PC")),
            (&[FLAG, VENDOR], Some("QEMU")),
            (&[NO_FLAG, XEN], Some("xen")),
            (&[XEN], Some("xen")),
        ];
        for (files, want) in cases {
            assert_eq!(host(files).hypervisor.as_deref(), want, "{files:?}");
        }
    }

    #[test]
    fn smt_counts_as_on_only_with_a_sibling_online() {
        const ACTIVE: &str = "sys/devices/system/cpu/smt/active";
        const CONTROL: &str = "sys/devices/system/cpu/smt/control";
        let cases: [(&[File], Option<&str>); 6] = [
            (&[(CONTROL, "on"), (ACTIVE, "1")], Some("on")),
            (&[(CONTROL, "on"), (ACTIVE, "0")], Some("on, no sibling online")),
            (&[(CONTROL, "notsupported"), (ACTIVE, "0")], Some("notsupported")),
            (&[(ACTIVE, "1")], Some("on")),
            (&[(ACTIVE, "0")], Some("off")),
            (&[], None),
        ];
        for (files, want) in cases {
            assert_eq!(host(files).smt.as_deref(), want, "{files:?}");
        }
    }
}
