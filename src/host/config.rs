//! What the kernel was built with, as far as it decides what is measured.

use std::collections::BTreeMap;

use super::tree::Tree;

/// Fills in what the builder chose and what the kernel's source decides. Not even one option without a configuration to read.
pub(super) fn read(tree: Tree<'_>, release: Option<&str>) -> BTreeMap<String, String> {
    text(tree, release).map(|text| relevant(&text)).unwrap_or_default()
}

/// `/proc/config.gz` is the running kernel's by itself, the others are where distributions and `make install` put it.
fn text(tree: Tree<'_>, release: Option<&str>) -> Option<String> {
    let beside = |release: &str| {
        [
            format!("boot/config-{release}"),
            format!("lib/modules/{release}/config"),
            format!("usr/lib/modules/{release}/config"),
        ]
        .iter()
        .find_map(|path| tree.text(path))
    };
    tree.unzipped("proc/config.gz").or_else(|| beside(release?))
}

/// Whole families of options: all that are set are kept.
const FAMILIES: [&str; 5] = ["BPF_JIT", "MITIGATION_", "KASAN", "LTO_", "CFI"];

/// What places, maps, protects and enters JITed code, and what makes any code a little slower; [`COSTLY`] ones come on top.
const OPTIONS: [&str; 38] = [
    "HAVE_EBPF_JIT",
    "HAVE_ARCH_HUGE_VMALLOC",
    "ARCH_HAS_EXECMEM_ROX",
    "EXECMEM",
    "STRICT_KERNEL_RWX",
    "STRICT_MODULE_RWX",
    "TRANSPARENT_HUGEPAGE",
    "RANDOMIZE_BASE",
    "RANDOMIZE_MEMORY",
    "NUMA",
    "PARAVIRT",
    "CC_VERSION_TEXT",
    "CC_OPTIMIZE_FOR_SIZE",
    "AUTOFDO_CLANG",
    "PROPELLER_CLANG",
    "X86_KERNEL_IBT",
    "FINEIBT",
    "CALL_THUNKS",
    "CPU_MITIGATIONS",
    "HZ",
    "NO_HZ_FULL",
    "PREEMPT_NONE",
    "PREEMPT_VOLUNTARY",
    "PREEMPT",
    "PREEMPT_LAZY",
    "PREEMPT_RT",
    "PREEMPT_DYNAMIC",
    "FUNCTION_TRACER",
    "DEBUG_VM_PGTABLE",
    "DEBUG_LIST",
    "DEBUG_RWSEMS",
    "DEBUG_CREDENTIALS",
    "DEBUG_IRQFLAGS",
    "CALL_THUNKS_DEBUG",
    "KFENCE",
    "UBSAN",
    "SLUB_DEBUG_ON",
    "PAGE_TABLE_CHECK",
];

/// Options whose names changed, so that an older kernel is not said to differ: Linux 6.9 gave the mitigations one prefix.
const RENAMED: [(&str, &str); 11] = [
    ("PAGE_TABLE_ISOLATION", "MITIGATION_PAGE_TABLE_ISOLATION"),
    ("RETPOLINE", "MITIGATION_RETPOLINE"),
    ("RETHUNK", "MITIGATION_RETHUNK"),
    ("CPU_UNRET_ENTRY", "MITIGATION_UNRET_ENTRY"),
    ("CPU_IBPB_ENTRY", "MITIGATION_IBPB_ENTRY"),
    ("CPU_IBRS_ENTRY", "MITIGATION_IBRS_ENTRY"),
    ("CPU_SRSO", "MITIGATION_SRSO"),
    ("CALL_DEPTH_TRACKING", "MITIGATION_CALL_DEPTH_TRACKING"),
    ("SLS", "MITIGATION_SLS"),
    ("GDS_FORCE_MITIGATION", "MITIGATION_GDS_FORCE"),
    ("SPECULATION_MITIGATIONS", "CPU_MITIGATIONS"),
];

/// The set options of `text` that matter, without `CONFIG_`, under their newest names.
fn relevant(text: &str) -> BTreeMap<String, String> {
    let option = |line: &str| {
        let (name, value) = line.trim().strip_prefix("CONFIG_")?.split_once('=')?;
        let name = RENAMED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| *new);
        let kept =
            OPTIONS.contains(&name) || COSTLY.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family));
        kept.then(|| (name.to_owned(), value.trim_matches('"').to_owned()))
    };
    text.lines().filter_map(option).collect()
}

/// Options that make all code, or all allocation, slower than in the kernels people run.
const COSTLY: [&str; 15] = [
    "DEBUG_PAGEALLOC",
    "DEBUG_VM",
    "DEBUG_OBJECTS",
    "DEBUG_PREEMPT",
    "DEBUG_ATOMIC_SLEEP",
    "DEBUG_SPINLOCK",
    "DEBUG_MUTEXES",
    "DEBUG_LOCK_ALLOC",
    "PROVE_LOCKING",
    "LOCK_STAT",
    "KASAN",
    "KCSAN",
    "KMSAN",
    "KCOV",
    "GCOV_KERNEL",
];

/// The costly options that are set, in the order of the alphabet.
pub(super) fn costly(config: &BTreeMap<String, String>) -> Vec<&str> {
    config.keys().map(String::as_str).filter(|name| COSTLY.contains(name)).collect()
}

/// The value of an option: `n` where the configuration was read and does not set it, `None` where it was not read.
pub(super) fn value<'c>(config: &'c BTreeMap<String, String>, name: &str) -> Option<&'c str> {
    (!config.is_empty()).then(|| config.get(name).map_or("n", String::as_str))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use super::*;

    const TEXT: &str = "# CONFIG_KASAN is not set\nCONFIG_BPF_JIT=y\nCONFIG_BPF_JIT_ALWAYS_ON=y\nCONFIG_HZ=250\nCONFIG_HZ_250=y\n\
                        CONFIG_RETPOLINE=y\nCONFIG_CC_VERSION_TEXT=\"gcc (GCC) 15.3.0\"\nCONFIG_USB=m\nCONFIG_PROVE_LOCKING=y\n";

    fn write(root: &Path, path: &str, bytes: &[u8]) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn zipped(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_matters_is_kept_under_its_newest_name() {
        let found = relevant(TEXT);
        let shown: Vec<String> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "BPF_JIT=y",
            "BPF_JIT_ALWAYS_ON=y",
            "CC_VERSION_TEXT=gcc (GCC) 15.3.0",
            "HZ=250",
            "MITIGATION_RETPOLINE=y",
            "PROVE_LOCKING=y",
        ];
        assert_eq!(shown, expected);
        assert_eq!(costly(&found), ["PROVE_LOCKING"]);
        assert_eq!((value(&found, "KASAN"), value(&found, "BPF_JIT")), (Some("n"), Some("y")));
        assert_eq!(value(&BTreeMap::new(), "KASAN"), None);
    }

    #[test]
    fn the_running_kernels_own_copy_goes_before_those_on_disk() {
        let root = tempfile::tempdir().unwrap();
        let read = |release| read(Tree::new(root.path()), release);
        assert!(read(Some("6.1")).is_empty());
        write(root.path(), "lib/modules/6.1/config", b"CONFIG_HZ=100\n");
        assert_eq!(read(Some("6.1"))["HZ"], "100");
        assert!(read(Some("6.2")).is_empty() && read(None).is_empty());
        write(root.path(), "boot/config-6.1", b"CONFIG_HZ=300\n");
        assert_eq!(read(Some("6.1"))["HZ"], "300");
        write(root.path(), "proc/config.gz", &zipped(TEXT));
        assert_eq!(read(Some("6.1"))["HZ"], "250");
        write(root.path(), "proc/config.gz", b"no gzip");
        assert_eq!(read(Some("6.1"))["HZ"], "300");
    }
}
