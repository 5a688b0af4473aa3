//! The bpf tier of placement: every arm in the running kernel, with addresses held against what others say of the same programs,
//! with a neighbour that loads and unloads, and under constant blinding.
#![cfg(feature = "kernel")]
#![allow(clippy::unwrap_used)]

mod tier;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use itlbench::machine::kernel::pace::Pace;
use itlbench::machine::kernel::place::verified;
use itlbench::machine::kernel::settle::Settle;
use itlbench::machine::kernel::{KernelMachine, sys};
use itlbench::machine::{Machine, Target};
use itlbench::placement::{Footprint, Image, pack};
use itlbench::workload::{Body, Case, FillerRule, OffsetRule, PackMode, Spec};
use libbpf_sys::bpf_insn;
use socket2::{Domain, SockFilter, Socket, Type};

/// The machine of the test before has waited until all of it was free.
fn machine(harden: bool) -> Option<KernelMachine> {
    let machine = KernelMachine::new(None, harden, Arc::new(AtomicBool::new(false))).unwrap();
    if !machine.packs() {
        println!("SKIP: this kernel does not pack BPF programs (before 5.18)");
    }
    machine.packs().then_some(machine)
}

fn chain(arms: &[PackMode], programs: u32) -> Vec<Case> {
    let spec = Spec { pack: arms.to_vec(), ..Spec::builtin("chain").unwrap() };
    arms.iter().map(|&arm| spec.case(programs, arm)).collect()
}

/// Loads, checks that all run, fires once; where everything lies, and how many fillers there were.
fn place(machine: &mut KernelMachine, case: &Case) -> (Vec<Image>, u32) {
    let mut loaded = machine.load(case, 11).unwrap();
    let check = loaded.check().unwrap();
    assert_eq!(check.executed, case.programs, "{case}");
    loaded.fire(Target::Programs, 100).unwrap();
    let placed = (loaded.images().to_vec(), loaded.load_cost().fillers);
    loaded.unload().unwrap();
    placed
}

#[test]
fn every_arm_lies_as_it_should_with_as_many_fillers() {
    let Some(_turn) = tier::bpf() else { return };
    let Some(mut machine) = machine(false) else { return };
    let arms = [PackMode::On, PackMode::Off, PackMode::OffTwoMeg, PackMode::Placebo];
    let mut fillers = BTreeMap::new();
    for case in chain(&arms, 12) {
        let Some((images, loaded)) = tier::undisturbed(|| place(&mut machine, &case)) else { return };
        let print = Footprint::of(&images);
        assert_eq!(print.missed(case.pack), None, "{case}: {print:?}");
        fillers.insert(case.pack, loaded);
    }
    let (least, most) = (fillers.values().min().unwrap(), fillers.values().max().unwrap());
    assert!(f64::from(*most) <= f64::from(*least) * 1.15, "{fillers:?}");
}

#[test]
fn a_trial_begins_when_all_fillers_of_the_one_before_are_gone() {
    let Some(_turn) = tier::bpf() else { return };
    let Some(mut machine) = machine(false) else { return };
    let case = chain(&[PackMode::On, PackMode::Off, PackMode::OffTwoMeg], 24).remove(2);
    // The first meets whatever holes there are.
    place(&mut machine, &case);
    let loads: Vec<u32> = (0..3).map_while(|_| tier::undisturbed(|| place(&mut machine, &case).1)).collect();
    // 37 fillers of the longest kind to a region; a trial that finds fillers of the one before goes round them with as many again.
    assert!(loads.iter().all(|fillers| *fillers <= 24 * 38 + 120), "{loads:?}");
}

#[test]
fn the_placebo_lies_as_dense_as_pack_on_in_another_order() {
    let Some(_turn) = tier::bpf() else { return };
    let Some(mut machine) = machine(false) else { return };
    let cases = chain(&[PackMode::On, PackMode::Placebo], 512);
    let [(on, _), (placebo, _)] = [0, 1].map(|at: usize| place(&mut machine, &cases[at]));
    let order = |images: &[Image]| {
        let mut order: Vec<usize> = (0..images.len()).collect();
        order.sort_by_key(|&position| images[position].addr);
        order
    };
    for (case, images) in cases.iter().zip([&on, &placebo]) {
        assert_eq!(Footprint::of(images).missed(case.pack), None, "{case}");
    }
    assert_ne!(order(&on), order(&placebo));
}

#[test]
fn random_offsets_are_those_of_the_seed_and_no_walk() {
    let Some(_turn) = tier::bpf() else { return };
    let Some(mut machine) = machine(false) else { return };
    let case = Case { offset: OffsetRule::Random, ..chain(&[PackMode::Off], 512).remove(0) };
    let print = Footprint::of(&place(&mut machine, &case).0);
    assert_eq!(print.missed(PackMode::Off), None, "{print:?}");
    assert!((50..=62).contains(&print.line_offsets), "{print:?}");
}

#[test]
fn bpftool_and_kallsyms_say_the_same_of_every_program() {
    let Some(_turn) = tier::bpf() else { return };
    if !tier::kallsyms() {
        return;
    }
    let Some(mut machine) = machine(false) else { return };
    for case in chain(&[PackMode::On, PackMode::Off], 64) {
        let loaded = machine.load(&case, 3).unwrap();
        let theirs = kallsyms();
        for image in loaded.images() {
            assert!(theirs.contains(&image.addr.0), "{case}: {} is not in kallsyms", image.addr);
        }
        let Some(lengths) = bpftool_lengths() else {
            println!("SKIP bpftool: not here, or without JSON");
            continue;
        };
        let ours = loaded.images().iter().map(|image| image.len).collect::<HashSet<u32>>();
        for len in ours {
            assert!(lengths.contains(&len), "{case}: bpftool knows no program of ours with {len} bytes: {lengths:?}");
        }
    }
}

/// Addresses of the programs named as ours.
fn kallsyms() -> HashSet<u64> {
    kallsyms_with("_itlbench")
}

fn kallsyms_with(part: &str) -> HashSet<u64> {
    let text = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let symbols = text.lines().filter(|line| line.contains(part));
    symbols.filter_map(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok()).collect()
}

/// `bytes_jited` of the programs named as ours.
fn bpftool_lengths() -> Option<HashSet<u32>> {
    let output =
        Command::new("bpftool").args(["-j", "prog", "show"]).output().ok().filter(|out| out.status.success())?;
    let programs: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let ours = programs.as_array()?.iter().filter(|program| program["name"] == "itlbench");
    Some(ours.filter_map(|program| u32::try_from(program["bytes_jited"].as_u64()?).ok()).collect())
}

#[test]
fn released_fillers_are_gone_before_anything_runs() {
    let Some(_turn) = tier::bpf() else { return };
    let Some(mut machine) = machine(false) else { return };
    let kept = chain(&[PackMode::Off], 256).remove(0);
    let released = Case { fillers: FillerRule::Release, ..kept.clone() };
    let memory = |case: &Case, machine: &mut KernelMachine| {
        let loaded = machine.load(case, 3).unwrap();
        let print = Footprint::of(loaded.images());
        assert_eq!(print.missed(PackMode::Off), None, "{case}: {print:?}");
        assert!(loaded.load_cost().fillers >= 256);
        let sockets =
            std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.ok()?.path().read_link().ok());
        let sockets = sockets.filter(|target| target.to_string_lossy().starts_with("socket:")).count();
        loaded.unload().unwrap();
        sockets
    };
    let (kept, released) = (memory(&kept, &mut machine), memory(&released, &mut machine));
    // Those of an exact length are programs, not sockets: a host whose packs have holes needs some.
    assert!(kept >= 100 && released < 20, "{kept} and {released} sockets");
}

/// Loads and unloads programs at a rate until dropped, as a busy host does.
struct Neighbour {
    stop: Arc<AtomicBool>,
    loads: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    fn loading(per_second: u32) -> Self {
        let (stop, loads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&loads));
        let thread = std::thread::spawn(move || {
            let (began, mut held, mut random) = (Instant::now(), VecDeque::new(), oorandom::Rand32::new(5));
            while !stopped.load(Ordering::Relaxed) {
                let due = began + Duration::from_secs(1) / per_second * counted.load(Ordering::Relaxed);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                held.push_back(classic(random.rand_range(4..200)));
                if held.len() > 40 {
                    held.remove(random.rand_range(0..40) as usize);
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, loads, thread: Some(thread) }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn classic(steps: u32) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
    let add = (0..steps).map(|_| SockFilter::new(0x04, 0, 0, 0x12345));
    let filter: Vec<SockFilter> = add.chain([SockFilter::new(0x06, 0, 0, 0)]).collect();
    socket.attach_filter(&filter).unwrap();
    socket
}

#[test]
fn a_neighbour_who_loads_and_unloads_does_not_spoil_the_placement() {
    let Some(_turn) = tier::bpf() else { return };
    let neighbour = Neighbour::loading(200);
    let Some(mut machine) = machine(false) else { return };
    for case in chain(&[PackMode::Off, PackMode::On, PackMode::Off, PackMode::Placebo], 1024) {
        let before = neighbour.loads.load(Ordering::Relaxed);
        let print = Footprint::of(&place(&mut machine, &case).0);
        let meanwhile = neighbour.loads.load(Ordering::Relaxed) - before;
        assert!(meanwhile > 5, "the neighbour is idle");
        // What others put between our programs stays there: dense is only what the host lets be dense.
        if case.pack == PackMode::Off || meanwhile < 100 {
            assert_eq!(print.missed(case.pack), None, "{case}: {print:?}, {meanwhile} foreign loads");
        }
    }
}

#[test]
fn unloading_waits_for_a_free_every_few_hundred_programs() {
    let Some(_turn) = tier::bpf() else { return };
    let settle = Settle::watching();
    for mut pace in [Pace::seeing(&settle), Pace::blind()] {
        let took = |pace: &mut Pace<'_>, steps| {
            let began = Instant::now();
            (0..steps).for_each(|_| pace.step());
            began.elapsed()
        };
        // Again where the thread lost the CPU for a while.
        let times: Vec<(Duration, Duration)> = (0..4).map(|_| (took(&mut pace, 255), took(&mut pace, 1))).collect();
        assert!(
            times.iter().any(|(steps, _)| *steps < Duration::from_millis(1)),
            "nothing is waited for yet: {times:?}"
        );
        // A grace period, and the work queue behind it.
        let waited = |pause: Duration| pause > Duration::from_millis(1) && pause < Duration::from_secs(10);
        assert!(times.iter().all(|(_, pause)| waited(*pause)), "{times:?}");
    }
}

#[test]
fn a_body_of_three_functions_lies_where_its_arm_wants_it_as_kallsyms_says() {
    let Some(_turn) = tier::bpf() else { return };
    if !tier::kallsyms() {
        return;
    }
    let Some(mut machine) = machine(false) else { return };
    for case in chain(&[PackMode::On, PackMode::Off, PackMode::Placebo], 128) {
        let case = Case { body: Body::Subprograms, ..case };
        let mut loaded = machine.load(&case, 3).unwrap();
        assert_eq!(loaded.check().unwrap().executed, 128, "{case}");
        let (theirs, print) = (kallsyms_with("bpf_prog_"), Footprint::of(loaded.images()));
        for image in loaded.images() {
            let functions = theirs.iter().filter(|addr| (image.addr.0..image.end().0).contains(addr)).count();
            assert_eq!(functions, 3, "{case}: {image:?}");
        }
        assert_eq!(print.missed(case.pack), None, "{case}: {print:?}");
        loaded.unload().unwrap();
    }
}

#[test]
fn a_program_of_two_functions_is_one_piece_where_both_lie_as_others_say() {
    let Some(_turn) = tier::bpf() else { return };
    if !tier::kallsyms() {
        return;
    }
    let insn = |code, imm| bpf_insn { code, imm, ..Default::default() };
    let mut call = insn(0x85, 1);
    call.set_src_reg(1);
    let (zero, exit) = (insn(0xb7, 0), insn(0x95, 0));
    let load = || sys::load_sched_cls(&[call, exit, zero, exit]).unwrap();
    // What was loaded first may lie in two holes, and is kept; behind it there are none.
    let (mut held, mut together) = (Vec::new(), Vec::new());
    while together.len() < 32 && held.len() < 4096 {
        held.push(load());
        together.extend(held.last().and_then(|program| verified(program).ok()));
    }
    // A function that is called has a symbol of another name.
    let theirs = kallsyms_with("bpf_prog_");
    let (mut pace, loaded) = (Pace::blind(), held.len());
    for program in held {
        drop(program);
        pace.step();
    }
    assert_eq!(together.len(), 32, "of {loaded} in one piece");
    for image in &together {
        let (base, end) = (pack::base(image), pack::end(image));
        let functions: Vec<u64> = theirs.iter().copied().filter(|addr| (base..end).contains(addr)).collect();
        assert_eq!(functions.len(), 2, "{image:?}: {functions:x?}");
        assert!(functions.contains(&image.addr.0));
    }
}

/// A sysctl that goes back to what it was once this process lets go of it, or is killed: another one waits for that.
struct Sysctl(Child);

impl Sysctl {
    fn set(path: &str, value: &str) -> Option<Self> {
        let before = std::fs::read_to_string(path).ok()?;
        // A session of its own: what kills the tests must not kill it.
        let mut command = Command::new("setsid");
        command.arg(env!("CARGO_BIN_EXE_itlbench"));
        command.args(["selftest", "--restore", &format!("{path}={}", before.trim())]);
        let restorer = Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
        std::fs::write(path, value).ok()?;
        Some(restorer)
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success(), "the sysctl is not what it was");
    }
}

#[test]
fn blinded_constants_change_lengths_and_not_the_placement() {
    let Some(_turn) = tier::bpf() else { return };
    const HARDEN: &str = "/proc/sys/net/core/bpf_jit_harden";
    let Some(_plain) = Sysctl::set(HARDEN, "0") else {
        println!("SKIP: net.core.bpf_jit_harden cannot be set here");
        return;
    };
    let Some(mut unhardened) = machine(false) else { return };
    let plain = place(&mut unhardened, &chain(&[PackMode::On], 8)[0]).0;
    drop(unhardened);
    for level in ["1", "2"] {
        let _sysctl = Sysctl::set(HARDEN, level).unwrap();
        let mut machine = machine(true).unwrap();
        for case in chain(&[PackMode::On, PackMode::Off], 128) {
            let (images, _) = place(&mut machine, &case);
            let print = Footprint::of(&images);
            assert_eq!(print.missed(case.pack), None, "harden={level}, {case}: {print:?}");
            // Root's programs are blinded at 2 only.
            assert_eq!(images[0].len > plain[0].len, level == "2", "{} and {}", images[0].len, plain[0].len);
        }
    }
}
