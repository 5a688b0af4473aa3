use super::*;
use crate::counters::layout::Layout;
use crate::counters::pmu::tests::sysfs;
use crate::counters::replay::{Replay, stream as bytes};
use crate::counters::source::{Exclude, Scope};
use crate::counters::{CpuId, Unusable};

const SKYLAKE: Layout = Layout { general: 4, fixed_cycles: true, fixed_instructions: true };

fn host_of(vendor: &str, family: u32, model: u32, layout: Layout) -> Host {
    let root = sysfs(&[
        ("bus/event_source/devices/cpu/type", "4"),
        ("bus/event_source/devices/msr/type", "9"),
        ("bus/event_source/devices/msr/format/event", "config:0-63"),
        ("bus/event_source/devices/msr/events/tsc", "event=0x00"),
        ("bus/event_source/devices/msr/events/aperf", "event=0x01"),
        ("bus/event_source/devices/power/type", "12"),
        ("bus/event_source/devices/power/cpumask", "0"),
        ("bus/event_source/devices/power/format/event", "config:0-7"),
    ]);
    let id = CpuId { vendor: vendor.to_owned(), family, model, stepping: 1 };
    Host::read(root.path(), Some(&id), 3, layout)
}

fn skylake() -> Host {
    host_of("GenuineIntel", 6, 0x9e, SKYLAKE)
}

fn list(text: &str) -> Choice {
    Choice { events: Events::List(text.to_owned()), side: CountSide::Kernel }
}

fn open(replay: Replay, host: &Host, choice: &Choice) -> CounterSet<Replay> {
    CounterSet::open(replay, host, choice).expect("opens")
}

/// Roles of every core group, in order.
fn core(set: &CounterSet<Replay>) -> Vec<Vec<Role>> {
    let core = set.groups().iter().filter(|group| group.pinned);
    core.map(|group| group.events.iter().map(|event| event.role).collect()).collect()
}

#[test]
fn the_first_pass_on_intel_is_exactly_full() {
    let set = open(Replay { counters: Some(6), ..Replay::default() }, &skylake(), &Choice::default());
    let passes = core(&set);
    use Role::*;
    assert_eq!(passes[0], [Cycles, Instructions, WalksCompleted, StlbHits, FetchStallsTag, WalkCycles]);
    assert_eq!(passes[1], [Cycles, Instructions, L1iMisses, L2CodeMisses, Resteers, BranchMisses]);
    assert!(passes.iter().all(|pass| pass.len() <= 6 && pass[..2] == [Cycles, Instructions]), "{passes:?}");
    assert_eq!(set.passes() as usize, passes.len());
    assert!(passes.concat().contains(&ItlbMisses), "the generic name is counted beside");
    assert_eq!(set.refused(), []);
}

#[test]
fn the_first_pass_on_amd_and_on_an_e_core_is_the_ladder_of_that_cpu() {
    use Role::*;
    let zen = host_of("AuthenticAMD", 25, 0x01, Layout { general: 6, ..Layout::UNKNOWN });
    let first = core(&open(Replay::default(), &zen, &Choice::default())).remove(0);
    assert_eq!(first, [Cycles, Instructions, WalksCompleted, StlbHits, WalksCoalesced4k, FetchHits]);
    let watched = host_of("AuthenticAMD", 25, 0x01, Layout { general: 6, ..Layout::UNKNOWN }.without_watchdog());
    assert_eq!(core(&open(Replay::default(), &watched, &Choice::default()))[0].len(), 5, "the watchdog has one");
    let sierra_forest = host_of("GenuineIntel", 6, 0xaf, Layout { general: 8, ..SKYLAKE });
    let first = core(&open(Replay::default(), &sierra_forest, &Choice::default())).remove(0);
    assert_eq!(first[..5], [Cycles, Instructions, WalksCompleted, StlbHits, SlotsLostItlb]);
}

#[test]
fn events_bound_to_four_counters_are_at_most_four_in_a_pass() {
    let golden_cove = host_of("GenuineIntel", 6, 0x8f, Layout { general: 8, ..SKYLAKE });
    let set = open(Replay::default(), &golden_cove, &Choice::default());
    for group in set.groups().iter().filter(|group| group.pinned) {
        let bound = group.events.iter().filter(|event| event.code.pmu_type == 4 && event.code.config & 0xff < 0x90);
        assert!(bound.count() <= 4, "{group:?}");
    }
}

#[test]
fn an_unknown_model_has_the_generic_events() {
    let unknown = host_of("GenuineIntel", 6, 0xff, SKYLAKE);
    let set = open(Replay::default(), &unknown, &Choice::default());
    let names: Vec<&str> = set.groups()[0].events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names[..4], ["cycles", "instructions", "iTLB-load-misses", "iTLB-loads"]);
}

#[test]
fn generic_is_exactly_the_generic_four() {
    let choice = Choice { events: Events::Generic, ..Choice::default() };
    use Role::*;
    assert_eq!(core(&open(Replay::default(), &skylake(), &choice)), [[Cycles, Instructions, ItlbMisses, ItlbLoads]]);
}

#[test]
fn what_is_not_scheduled_goes_from_the_right_to_a_further_pass() {
    // Somebody else holds two counters, which opening does not see.
    let set = open(Replay { counters: Some(4), ..Replay::default() }, &skylake(), &Choice::default());
    let passes = core(&set);
    use Role::*;
    assert_eq!(passes[0], [Cycles, Instructions, WalksCompleted, StlbHits]);
    assert_eq!(passes[1], [Cycles, Instructions, FetchStallsTag, WalkCycles]);
    assert_eq!(set.refused(), [], "nothing is lost for it");
}

#[test]
fn a_group_that_is_too_large_is_told_from_an_event_that_does_not_exist() {
    const NO_STLB_HIT: (EventCode, i32) = (EventCode::new(4, 0x2085), 22);
    let replay = Replay { largest_group: Some(4), refuse: vec![NO_STLB_HIT], ..Replay::default() };
    let set = open(replay, &skylake(), &list("cycles,walks-completed,stlb-hits,walk-cycles,l1i-misses,l2-code-misses"));
    use Role::*;
    assert_eq!(core(&set), [vec![Cycles, WalksCompleted, WalkCycles, L1iMisses], vec![L2CodeMisses]]);
    assert_eq!(set.refused().iter().map(|refusal| refusal.errno.as_str()).collect::<Vec<_>>(), ["EINVAL"]);
}

#[test]
fn with_no_counter_free_everything_is_refused_and_it_ends() {
    let set = open(Replay { counters: Some(0), ..Replay::default() }, &skylake(), &Choice::default());
    assert_eq!(core(&set), Vec::<Vec<Role>>::new());
    assert!(set.refused().iter().all(|refusal| refusal.errno == "not scheduled"));
    assert!(set.refused().iter().any(|refusal| refusal.event.role == Role::Cycles));
    assert!(set.refused()[0].meaning.contains("kernel.nmi_watchdog=0"));
    assert_eq!(set.passes(), 1, "the clocks still count");
}

#[test]
fn every_error_of_the_kernel_is_named_with_its_remedy() {
    for (errno, name) in [
        (1, "EPERM"),
        (2, "ENOENT"),
        (7, "E2BIG"),
        (13, "EACCES"),
        (16, "EBUSY"),
        (19, "ENODEV"),
        (22, "EINVAL"),
        (24, "EMFILE"),
        (28, "ENOSPC"),
        (95, "EOPNOTSUPP"),
    ] {
        let set = open(Replay { refuse_all: Some(errno), ..Replay::default() }, &skylake(), &Choice::default());
        assert!(set.groups().is_empty());
        let names: Vec<&str> = set.refused().iter().map(|refusal| refusal.errno.as_str()).collect();
        assert!(names.len() > 10 && names.iter().all(|found| *found == name), "{names:?}");
        assert!(set.refused()[0].meaning.contains("; "), "a remedy follows");
        let refused = CounterSet::open(
            Replay { refuse_all: Some(errno), ..Replay::default() },
            &skylake(),
            &list("r0e85,walks-completed-4k"),
        );
        let OpenError::NoneCounts(refused) = refused.expect_err("none of what was named counts") else { panic!() };
        assert!(
            refused
                .iter()
                .any(|refusal| refusal.to_string().starts_with(&format!("r0e85 (type 4 config 0xe85): {name}")))
        );
    }
}

#[test]
fn an_event_that_this_kernel_would_take_for_another_is_named_among_the_refused() {
    let root = sysfs(&[
        ("bus/event_source/devices/cpu_core/type", "4"),
        ("bus/event_source/devices/cpu_core/cpus", "0-7"),
        ("bus/event_source/devices/cpu_core/format/event", "config:0-7"),
        ("bus/event_source/devices/cpu_core/format/umask", "config:8-15"),
        ("bus/event_source/devices/cpu_core/format/cmask", "config:24-31"),
    ]);
    let id = CpuId { vendor: "GenuineIntel".to_owned(), family: 6, model: 0xbd, stepping: 1 };
    let lunar_lake = Host::read(root.path(), Some(&id), 3, Layout { general: 10, ..SKYLAKE });
    let set = open(Replay::default(), &lunar_lake, &Choice::default());
    assert!(!core(&set).concat().contains(&Role::StlbHits));
    let refused: Vec<&Refusal> = set.refused().iter().filter(|refusal| refusal.event.role == Role::StlbHits).collect();
    assert_eq!((refused.len(), refused[0].errno.as_str()), (1, "not encodable"));
    assert!(refused[0].meaning.contains("use a newer kernel"), "{}", refused[0].meaning);
}

#[test]
fn one_refused_event_leaves_the_others_in_their_order() {
    let cycles = (EventCode::new(0, 0), 2);
    let set = open(Replay { refuse: vec![cycles], ..Replay::default() }, &skylake(), &Choice::default());
    assert_eq!(core(&set)[0][..2], [Role::Instructions, Role::WalksCompleted]);
    assert_eq!(set.refused().len(), 1, "refused once, not once a pass");
}

#[test]
fn core_events_are_pinned_and_kernel_only_and_the_rest_is_not() {
    let set = open(Replay::default(), &skylake(), &list("r0e85,power/event=2/,cycles:u"));
    let opened = &set.opener.source.opened;
    let request = |code| *opened.iter().find(|request| request.code == code).expect("opened");
    let kernel = Exclude { user: true, kernel: false, hv: true, guest: true };
    let raw = request(EventCode::new(4, 0xe85));
    assert_eq!((raw.exclude, raw.pinned, raw.scope), (kernel, true, Scope::Thread));
    assert_eq!(request(EventCode::new(0, 0)).exclude, Exclude { user: false, kernel: true, hv: true, guest: true });
    let guests = Exclude { guest: true, ..Exclude::default() };
    let power = request(EventCode::new(12, 2));
    assert_eq!((power.exclude, power.pinned, power.scope), (guests, false, Scope::Cpu(3)));
    let tsc = request(EventCode::new(9, 0));
    assert_eq!((tsc.exclude, tsc.pinned), (guests, false));
    let both = Choice { side: CountSide::Both, ..Choice::default() };
    let opened = open(Replay::default(), &skylake(), &both).opener.source.opened;
    assert_eq!(opened[0].exclude, guests);
}

#[test]
fn a_pmu_that_knows_no_guests_is_asked_again_without() {
    let set = open(Replay { knows_no_guests: true, ..Replay::default() }, &skylake(), &Choice::default());
    assert_eq!(set.refused(), []);
    assert!(set.opener.source.opened.iter().all(|request| !request.exclude.guest));
}

#[test]
fn msr_events_share_a_group_that_no_other_pmu_leads() {
    let set = open(Replay::default(), &skylake(), &list("cycles,msr/aperf/,power/event=2/,page-faults"));
    let names: Vec<(&str, usize)> =
        set.groups().iter().map(|group| (group.name.as_str(), group.events.len())).collect();
    assert_eq!(names, [("hardware", 1), ("tsc", 2), ("power", 1), ("software", 4)]);
    assert_eq!(set.groups()[1].events[0].role, Role::Tsc);
    assert_eq!(set.passes(), 1);
    assert!(set.groups().iter().all(|group| group.pass.is_none()), "one pass is every window");
}

/// A set of one core group of two events, one kernel group of four; what it reads from here on is `reads`.
fn replaying(reads: Vec<io::Result<Vec<u8>>>) -> CounterSet<Replay> {
    let mut set = open(Replay::default(), &skylake(), &list("cycles,r0e85"));
    set.opener.source.reads = reads.into();
    set.opener.source.started = true;
    set
}

fn ids(set: &CounterSet<Replay>) -> Vec<u64> {
    set.open[0].ids.clone()
}

#[test]
fn a_window_across_the_wrap_of_a_counter_is_the_difference() {
    let mut set = replaying(Vec::new());
    let (hardware, mut before, mut after) = (ids(&set), Vec::new(), Vec::new());
    set.opener.source.reads.push_back(Ok(bytes(&hardware, u64::MAX - 4, 1000, 1000)));
    set.read(&mut before).expect("reads");
    set.opener.source.reads.push_back(Ok(bytes(&hardware, 5, 3000, 3000)));
    set.read(&mut after).expect("reads");
    let window = after[0].since(&before[0]);
    assert_eq!((window.counts.as_slice(), window.enabled_ns, window.unusable()), (&[10, 10][..], 2000, None));
}

#[test]
fn running_below_enabled_and_no_bytes_make_the_window_unusable() {
    let mut set = replaying(Vec::new());
    let hardware = ids(&set);
    let mut readings = Vec::new();
    set.opener.source.reads.push_back(Ok(bytes(&hardware, 7, 3000, 2999)));
    set.read(&mut readings).expect("reads");
    assert_eq!(readings[0].unusable(), Some(Unusable::Multiplexed));
    set.opener.source.reads.push_back(Ok(Vec::new()));
    set.read(&mut readings).expect("reads");
    assert_eq!(readings[0].unusable(), Some(Unusable::Empty), "the pinned group lost its counters");
    assert!(readings[0].counts.is_empty(), "no count of the read before is left");
}

#[test]
fn bytes_that_are_no_reading_stop_the_run_and_say_so() {
    let mut set = replaying(Vec::new());
    let hardware = ids(&set);
    let mut readings = Vec::new();
    for (given, expected) in [
        (bytes(&hardware, 7, 3000, 3000)[..48].to_vec(), "the kernel gave 48 bytes where a group of 2 has 56"),
        (bytes(&[hardware[0], 4711], 7, 3000, 3000), "event 1 came with id 4711"),
        ([bytes(&hardware, 7, 1, 1)[8..].to_vec(), vec![0; 8]].concat(), "where the group has 2"),
    ] {
        set.opener.source.reads.push_back(Ok(given));
        let error = set.read(&mut readings).expect_err(expected).to_string();
        assert!(error.starts_with("failed to read group `hardware`: ") && error.contains(expected), "{error}");
        assert!(error.contains("please report"), "{error}");
    }
    set.opener.source.reads.push_back(Err(io::Error::from_raw_os_error(28)));
    let error = set.read(&mut readings).expect_err("ENOSPC").to_string();
    assert!(error.contains("failed to read group `hardware`: No space left"), "{error}");
}

#[test]
fn a_group_that_cannot_be_enabled_is_named() {
    let mut set = replaying(Vec::new());
    set.opener.source.enable = Some(19);
    let error = set.enable().expect_err("ENODEV").to_string();
    assert!(error.starts_with("failed to enable group `software`: No such device"), "{error}");
}

#[test]
fn only_the_groups_of_the_pass_count() {
    let mut set = open(Replay { counters: Some(4), ..Replay::default() }, &skylake(), &Choice::default());
    let mut readings = Vec::new();
    for pass in 0..set.passes() {
        set.select(pass);
        set.enable().expect("enables");
        set.disable().expect("disables");
        set.read(&mut readings).expect("reads");
        for (group, reading) in set.groups().iter().zip(&readings) {
            let counts = group.pass.is_none() || group.pass == Some(pass);
            assert_eq!(!reading.counts.is_empty(), counts, "{group} in pass {pass}");
        }
    }
}

/// Reads of a real group, recorded with strace on Linux 6.18: task-clock, context-switches, cpu-migrations, page-faults.
#[test]
fn a_recorded_stream_is_read_as_it_was_written() {
    let text = include_str!("../../../tests/data/readings/software-6.18.txt");
    let recorded: Vec<Vec<u64>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|word| word.parse().expect("a number")).collect())
        .collect();
    let ids: Vec<u64> = recorded[0][4..].iter().step_by(2).copied().collect();
    let mut last = Reading::default();
    for (at, words) in recorded.iter().enumerate() {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut reading = Reading::default();
        stream::decode(&bytes, &ids, &mut reading).expect("a reading");
        assert_eq!((reading.counts.len(), reading.enabled_ns), (4, words[1]));
        let window = reading.since(&last);
        if window.enabled_ns == 0 {
            assert_eq!(window.unusable(), Some(Unusable::Empty), "read again before anything ran");
        } else if at > 0 {
            assert_eq!(window.unusable(), None);
            assert!(
                window.counts[0].abs_diff(window.enabled_ns) < window.enabled_ns / 10,
                "task-clock is time enabled"
            );
        }
        last = reading;
    }
    assert!(recorded.len() > 5);
}
