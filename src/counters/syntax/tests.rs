use super::*;
use crate::counters::CpuId;
use crate::counters::layout::Layout;
use crate::counters::pmu::tests::sysfs;

const DEVICES: &str = "bus/event_source/devices";

/// An Intel box: the formats that arch/x86/events/intel/core.c shows on Skylake, and some events of its sysfs.
fn skylake() -> Fixture {
    let formats = [
        ("event", "config:0-7"),
        ("umask", "config:8-15"),
        ("edge", "config:18"),
        ("pc", "config:19"),
        ("any", "config:21"),
        ("inv", "config:23"),
        ("cmask", "config:24-31"),
        ("in_tx", "config:32"),
        ("frontend", "config1:0-23"),
        ("ldlat", "config1:0-15"),
        ("offcore_rsp", "config1:0-63"),
    ];
    let mut files: Vec<(String, String)> =
        formats.iter().map(|(name, bits)| (format!("{DEVICES}/cpu/format/{name}"), (*bits).to_owned())).collect();
    for (path, text) in [
        ("cpu/type", "4"),
        ("cpu/events/cpu-cycles", "event=0x3c"),
        ("cpu/events/mem-loads", "event=0xcd,umask=0x1,ldlat=3"),
        ("cpu/events/topdown-fetch-bubbles", "event=0x9c,umask=0x01"),
        ("cpu/events/topdown-fetch-bubbles.scale", "2"),
        ("cpu/events/core-part", "event=0x9,umask=?"),
        ("msr/type", "9"),
        ("msr/format/event", "config:0-63"),
        ("msr/events/tsc", "event=0x00"),
        ("msr/events/aperf", "event=0x01"),
        ("software/type", "1"),
        ("uncore_imc_0/type", "14"),
        ("uncore_imc_0/cpumask", "0"),
        ("uncore_imc_0/format/event", "config:0-7"),
    ] {
        files.push((format!("{DEVICES}/{path}"), text.to_owned()));
    }
    files.push(("kernel/tracing/events/irq/irq_handler_entry/id".to_owned(), "225\n".to_owned()));
    host(&files, 0x9e, 0)
}

/// A hybrid box, P-cores 0-1 and E-cores 2-3.
fn alder_lake(cpu: u32) -> Fixture {
    let files: Vec<(String, String)> = [
        ("cpu_core/type", "4"),
        ("cpu_core/cpus", "0-1"),
        ("cpu_core/format/event", "config:0-7"),
        ("cpu_core/format/umask", "config:8-15"),
        ("cpu_atom/type", "10"),
        ("cpu_atom/cpus", "2-3"),
        ("cpu_atom/format/event", "config:0-7"),
        ("cpu_atom/format/umask", "config:8-15"),
    ]
    .iter()
    .map(|(path, text)| (format!("{DEVICES}/{path}"), (*text).to_owned()))
    .collect();
    host(&files, 0x97, cpu)
}

/// A host, and the directory its tracepoints are looked up in.
struct Fixture {
    host: Host,
    _sysfs: tempfile::TempDir,
}

impl std::ops::Deref for Fixture {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

fn host(files: &[(String, String)], model: u32, cpu: u32) -> Fixture {
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let id = CpuId { vendor: "GenuineIntel".to_owned(), family: 6, model, stepping: 1 };
    let sysfs = sysfs(&files);
    Fixture { host: Host::read(sysfs.path(), Some(&id), cpu, Layout::UNKNOWN), _sysfs: sysfs }
}

fn code(word: &str) -> EventCode {
    parse(word, &skylake()).unwrap_or_else(|error| panic!("{error}"))[0].code
}

fn reason(word: &str) -> String {
    parse(word, &skylake()).expect_err(word).to_string()
}

#[test]
fn terms_fill_the_bits_their_formats_name() {
    for (word, config, config1) in [
        ("cpu/event=0x85,umask=0xe/", 0xe85, 0),
        ("cpu/umask=14,event=133/", 0xe85, 0),
        ("cpu/event=0x85,umask=0x10,cmask=1/", 0x100_1085, 0),
        ("cpu/event=0x85,umask=0x10,cmask=1,inv/", 0x180_1085, 0),
        ("cpu/event=0xc6,umask=0x1,frontend=0x14/", 0x1c6, 0x14),
        ("cpu/r0e85/", 0xe85, 0),
        ("cpu/config=0xe85,config1=0x14/", 0xe85, 0x14),
        ("cpu/event=0xb7,umask=0x1,offcore_rsp=0xffffffffffffffff/", 0x1b7, u64::MAX),
        ("cpu/event=0x81,event=0x04/", 0x85, 0), // perf ors what overlaps
    ] {
        assert_eq!(code(word), EventCode { config1, ..EventCode::new(4, config) }, "{word}");
    }
}

#[test]
fn every_word_of_the_attr_can_be_set_and_a_format_may_lead_to_it() {
    let with = |config2, config3| EventCode { config2, config3, ..EventCode::new(14, 1) };
    let files = [
        ("uncore_upi/type", "14"),
        ("uncore_upi/format/event", "config:0-7"),
        ("uncore_upi/format/filter", "config2:4-7,0-1"),
        ("uncore_upi/format/swfilt", "config3:63"),
    ];
    let files: Vec<(String, String)> =
        files.iter().map(|(path, text)| (format!("{DEVICES}/{path}"), (*text).to_owned())).collect();
    let host = host(&files, 0x9e, 0);
    let code = |word| parse(word, &host).unwrap()[0].code;
    assert_eq!(code("uncore_upi/event=1,filter=0x3f/"), with(0xf3, 0));
    assert_eq!(code("uncore_upi/event=1,filter=0x4,swfilt/"), with(0x10, 1 << 63), "lowest bit to lowest place");
    assert_eq!(code("uncore_upi/event=1,config2=0x5,config3=6/"), with(5, 6));
    assert_eq!(host_reason("uncore_upi/event=1,filter=0x40/", &host), "the most is 0x3f");
}

fn host_reason(word: &str, host: &Host) -> String {
    let reason = parse(word, host).expect_err(word).reason;
    reason.rsplit(", ").next().unwrap_or_default().to_owned()
}

/// Lunar Lake's `STLB_HIT` has a ninth bit of the unit mask, which older kernels have no place for.
#[test]
fn an_event_that_the_kernel_would_take_for_another_is_refused() {
    let lunar_lake = |umask: &str| {
        let files: Vec<(String, String)> = [
            ("cpu_core/type", "4"),
            ("cpu_core/cpus", "0-3"),
            ("cpu_core/format/event", "config:0-7"),
            ("cpu_core/format/umask", umask),
            ("cpu_core/format/cmask", "config:24-31"),
        ]
        .iter()
        .map(|(path, text)| (format!("{DEVICES}/{path}"), (*text).to_owned()))
        .collect();
        host(&files, 0xbd, 0)
    };
    let (new, old) = (lunar_lake("config:8-15,40-47"), lunar_lake("config:8-15"));
    let config = |host: &Host, role| host.role(role).map(|wanted| wanted.code.config);
    assert_eq!(config(&new, Role::StlbHits), Some(0x100_0000_2011));
    assert_eq!(config(&old, Role::StlbHits), None);
    assert_eq!(config(&old, Role::WalkCycles), Some(0x100_1011), "the others are counted");
    assert!(new.lacking(&[Role::StlbHits]).is_empty());
    let lacking = old.lacking(&[Role::StlbHits, Role::WalkCycles]);
    assert_eq!((lacking.len(), lacking[0].0.role), (1, Role::StlbHits));
    let reason = parse("stlb-hits", &old).expect_err("not encodable").to_string();
    assert!(reason.contains("PMU `cpu_core` has no place for bits 0x10000000000 of r10000002011"), "{reason}");
}

#[test]
fn cores_of_a_third_kind_are_not_taken_for_the_ones_the_catalogue_knows() {
    let files: Vec<(String, String)> = [
        ("cpu_core/type", "4"),
        ("cpu_core/cpus", "0-5"),
        ("cpu_atom/type", "10"),
        ("cpu_atom/cpus", "6-13"),
        ("cpu_lowpower/type", "11"),
        ("cpu_lowpower/cpus", "14-15"),
    ]
    .iter()
    .map(|(path, text)| (format!("{DEVICES}/{path}"), (*text).to_owned()))
    .collect();
    let arrow_lake_h = |cpu| host(&files, 0xc5, cpu);
    assert!(arrow_lake_h(0).is_known() && arrow_lake_h(6).is_known());
    assert!(!arrow_lake_h(14).is_known());
    assert_eq!(arrow_lake_h(14).raw_type(), 11);
    assert!(host(&[], 0xc5, 0).is_known(), "no PMU in sysfs: the cores of the model");
}

#[test]
fn an_event_of_the_pmu_stands_for_its_terms_and_what_follows_is_added() {
    assert_eq!(code("cpu/mem-loads/"), EventCode { config1: 3, ..EventCode::new(4, 0x1cd) });
    assert_eq!(code("cpu/cpu-cycles,edge/"), EventCode::new(4, 1 << 18 | 0x3c));
    assert_eq!(code("cpu/topdown-fetch-bubbles=1/"), EventCode::new(4, 0x19c), "perf takes `name=1` as the name");
    assert_eq!(code("cpu/core-part,umask=0x7/"), EventCode::new(4, 0x709), "a parameter takes the value given");
    assert_eq!(code("msr/aperf/"), EventCode::new(9, 1));
    assert!(reason("cpu/core-part/").contains("parameter `umask` must be given a value"));
}

#[test]
fn names_of_perf_raw_codes_and_tracepoints_are_taken() {
    for (word, pmu_type, config) in [
        ("r0e85", 4, 0xe85),
        ("r0x1001085", 4, 0x100_1085),
        ("iTLB-load-misses", 3, 0x1_0004),
        ("cycles", 0, 0),
        ("task-clock", 1, 1),
        ("irq:irq_handler_entry", 2, 225),
        ("uncore_imc_0/event=4/", 14, 4),
    ] {
        assert_eq!(code(word), EventCode::new(pmu_type, config), "{word}");
    }
}

#[test]
fn names_of_the_catalogue_are_taken_by_vendor_and_by_role() {
    let list = "ITLB_MISSES.WALK_COMPLETED,itlb_misses.stlb_hit,walk-cycles,l1i-misses";
    let wanted = parse(list, &skylake()).unwrap();
    let found: Vec<(Role, u64)> = wanted.iter().map(|event| (event.role, event.code.config)).collect();
    let expected = [
        (Role::WalksCompleted, 0xe85),
        (Role::StlbHits, 0x2085),
        (Role::WalkCycles, 0x100_1085),
        (Role::L1iMisses, 0x283),
    ];
    assert_eq!(found, expected);
    assert_eq!(wanted[1].name, "ITLB_MISSES.STLB_HIT", "under the vendor's spelling");
    assert!(wanted.iter().all(|event| event.counters == 0xf));
}

#[test]
fn modifiers_choose_the_side_of_one_event() {
    let side = |word| parse(word, &skylake()).unwrap()[0].side;
    assert_eq!(side("cycles"), None);
    assert_eq!(side("cycles:k"), Some(CountSide::Kernel));
    assert_eq!(side("r0e85:u"), Some(CountSide::User));
    assert_eq!(side("cpu/event=0x85/k"), Some(CountSide::Kernel));
    assert_eq!(side("cpu/event=0x85/:uk"), Some(CountSide::Both));
    assert!(reason("cycles:pp").contains("modifier `:pp` is not taken"));
    assert!(reason("cpu/event=1/pp").contains("modifier `:pp` is not taken"));
}

#[test]
fn on_a_hybrid_part_codes_go_to_the_pmu_of_the_cpu() {
    let codes = |cpu| -> Vec<EventCode> {
        let list = "cycles,iTLB-load-misses,r0e85,walks-completed,task-clock";
        parse(list, &alder_lake(cpu)).unwrap().iter().map(|event| event.code).collect()
    };
    let on = |pmu: u64, walks| {
        vec![
            EventCode::new(0, pmu << 32),
            EventCode::new(3, pmu << 32 | 0x1_0004),
            EventCode::new(pmu as u32, 0xe85),
            EventCode::new(pmu as u32, walks),
            EventCode::new(1, 1),
        ]
    };
    assert_eq!(codes(0), on(4, 0xe11));
    let distinct = parse("cycles,walks-completed", &alder_lake(3)).unwrap();
    assert_eq!(distinct[1].code, EventCode::new(10, 0xe85), "the same role has another code on an E-core");
    assert_eq!(distinct[0].code, EventCode::new(0, 10 << 32));
}

#[test]
fn an_error_names_the_term_and_what_the_pmu_offers() {
    for (word, expected) in [
        ("cpu/evnt=1/", "PMU `cpu` has no term `evnt`; it has terms any, cmask, edge, event, "),
        ("cpu/event=0x85,period=1000/", "term `period` is for perf's sampling and printing, leave it out"),
        ("cpu/event=0x85,umask=0xe,name=walks/", "term `name` is for perf's sampling and printing"),
        ("cpu/event=0x185/", "value 0x185 of term `event` is too big, the most is 0xff"),
        ("cpu/event/", "term `event` needs a value"),
        ("cpu/edge=2/", "value 0x2 of term `edge` is too big, the most is 0x1"),
        ("cpu/event=x/", "value `x` of term `event` is no number"),
        ("cpu//", "nothing stands between its slashes"),
        ("cpu/event=1", "the second slash is missing"),
        ("cpux/event=1/", "no PMU `cpux` on this host; it has cpu, msr, software, uncore_imc_0"),
        ("irq:none", "no tracepoint `none` in tracefs under events/irq"),
        ("walks", "it is no event of this CPU's catalogue (`itlbench list events`), no generic name"),
        ("walks-coalesced-4k", "this CPU has no event for that role"),
        ("cycles,,instructions", "the list has an empty place"),
        ("{cycles,instructions}", "leave out the braces"),
        ("cycles,cpu-cycles", "it is named twice, as `cycles` before"),
        ("rxyz", "no raw code such as r0e85"),
        ("r", "no raw code such as r0e85"),
    ] {
        let reason = reason(word);
        assert!(reason.starts_with("no event `") && reason.contains(expected), "{word}: {reason}");
    }
}

#[test]
fn events_are_sorted_by_what_counts_them() {
    let source = |word| parse(word, &skylake()).unwrap()[0].source.clone();
    assert_eq!(source("r0e85"), Source::Core);
    assert_eq!(source("cpu/event=1/"), Source::Core);
    assert_eq!(source("page-faults"), Source::Kernel);
    assert_eq!(source("irq:irq_handler_entry"), Source::Kernel);
    assert_eq!(source("msr/tsc/"), Source::Other { pmu: "msr".to_owned(), system_wide: false });
    assert_eq!(source("uncore_imc_0/event=4/"), Source::Other { pmu: "uncore_imc_0".to_owned(), system_wide: true });
}

#[test]
fn no_list_whatever_makes_it_panic() {
    let host = skylake();
    proptest::proptest!(|(list in "[a-z0-9/=,:{}. x-]{0,40}")| {
        let _ = parse(&list, &host);
    });
}
