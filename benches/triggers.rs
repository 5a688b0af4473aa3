//! What a hit of each trigger costs through the tool, against a bare loop that does the same: same hook, same programs, raw system
//! calls. A ratio within this run; `cargo bench --bench triggers`. CPU time of the thread, in many short rounds in turns: by wall
//! time a busy host gives the two loops shares of the CPU that differ by more than what is looked for.
#![allow(clippy::unwrap_used, unsafe_code)]

mod figures;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use figures::{median, say};
use itlbench::machine::kernel::KernelMachine;
use itlbench::machine::kernel::pace::Pace;
use itlbench::machine::kernel::probe;
use itlbench::machine::kernel::programs::Programs;
use itlbench::machine::kernel::sys::attach;
use itlbench::machine::kernel::trigger::attached::Attached;
use itlbench::machine::kernel::trigger::{Trigger, cgroup, cls, hits, offer, socket, xdp};
use itlbench::machine::{Machine, Target};
use itlbench::workload::{Body, PackMode, Spec, TriggerKind};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bench.bpf.o"));
const PROGRAMS: u32 = 64;
const ROUNDS: usize = 201;
/// `BPF_PROG_TEST_RUN`.
const TEST_RUN: libc::c_long = 10;

fn main() {
    if let Err(reason) = probe::test_run() {
        println!("SKIP triggers: {reason}");
        return;
    }
    for kind in TriggerKind::ALL.into_iter().filter(|kind| !kind.is_tail_calls()) {
        match offer::try_out(kind) {
            Ok(_) => compare(kind),
            Err(reason) => println!("SKIP {kind}: {reason}"),
        }
    }
    against_batches();
}

/// Programs of `kind`, loaded alike for both loops.
fn load(kind: TriggerKind, programs: u32) -> (Programs, Vec<OwnedFd>) {
    let objects = Programs::open(kind, Body::B128).unwrap();
    let maps = objects.maps(programs).unwrap();
    for position in 0..programs {
        let program = objects.load_body(&maps, position, programs).unwrap();
        maps.publish(position, program.as_fd()).unwrap();
    }
    (objects, maps.attachable())
}

/// Ours and bare, in turns so that both meet the same noise, and each first in every other round; nanoseconds a hit.
fn in_turns(hits: u32, mut ours: impl FnMut(u32), mut bare: impl FnMut(u32)) -> (f64, f64) {
    let time = |work: &mut dyn FnMut(u32)| {
        let began = cpu_ns();
        work(hits);
        (cpu_ns() - began) as f64 / f64::from(hits)
    };
    let (mut all_ours, mut all_bare) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        if round % 2 == 0 {
            all_ours.push(time(&mut ours));
        }
        all_bare.push(time(&mut bare));
        if round % 2 == 1 {
            all_ours.push(time(&mut ours));
        }
    }
    (median(all_ours.split_off(1)), median(all_bare.split_off(1)))
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable and outlives the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn compare(kind: TriggerKind) {
    let (objects, programs) = load(kind, PROGRAMS);
    let copies: Vec<OwnedFd> = programs.iter().map(|program| program.try_clone().unwrap()).collect();
    let bare = bare(kind, &objects, &copies);
    let mut trigger = Attached::new(kind, &objects, programs).unwrap();
    trigger.prepare(Target::Programs).unwrap();
    // Some milliseconds, as a window takes.
    let hits = match kind {
        TriggerKind::Socket | TriggerKind::Syscall => 20,
        TriggerKind::Tracepoint | TriggerKind::Kprobe => 8 * BATCH,
        _ => BATCH,
    };
    let (ours, bare) = in_turns(
        hits,
        |hits| {
            trigger.fire(Target::Programs, hits).unwrap();
        },
        bare,
    );
    let ratio = ours / bare;
    let detail = format!("{ours:.0} ns ours, {bare:.0} ns bare a hit of {PROGRAMS} programs, n {ROUNDS} x {hits}");
    say(&format!("{kind}: a hit against a bare loop"), ratio, "at most 1.2", ratio <= 1.2, &detail);
    trigger.release(&mut Pace::blind());
}

/// The same hook with the same programs, hit by raw system calls.
fn bare(kind: TriggerKind, objects: &Programs, programs: &[OwnedFd]) -> Box<dyn FnMut(u32)> {
    let drop = |returns| objects.load_empty_at(0, returns).unwrap();
    match kind {
        TriggerKind::Cls => packets(cls::Cls::open(programs, &drop(cls::DROP)).unwrap()),
        TriggerKind::Cgroup => packets(cgroup::Cgroup::open(programs, &drop(cgroup::DROP)).unwrap()),
        TriggerKind::Xdp => packets(xdp::Xdp::open(programs).unwrap()),
        TriggerKind::Socket => {
            let sockets = socket::Sockets::open(programs.iter().map(AsFd::as_fd)).unwrap();
            let fds: Vec<RawFd> = sockets.senders().map(|fd| fd.as_raw_fd()).collect();
            Box::new(move |hits| {
                let _keep = &sockets;
                (0..hits).for_each(|_| fds.iter().for_each(|&fd| send(fd)));
            })
        }
        TriggerKind::Syscall => {
            let fds: Vec<RawFd> = programs.iter().map(AsRawFd::as_raw_fd).collect();
            Box::new(move |hits| (0..hits).for_each(|_| fds.iter().for_each(|&fd| test_run(fd, 0, &[]))))
        }
        // Both hit what ours has attached: a hook that is there once.
        TriggerKind::Uprobe => Box::new(|hits| (0..hits).for_each(|_| attach::probed())),
        TriggerKind::Fentry => {
            let spots = objects.form().spots.as_ref().unwrap()[0].target(0).unwrap().0.try_clone_to_owned().unwrap();
            Box::new(move |hits| test_run(spots.as_raw_fd(), hits, &[0; 64]))
        }
        _ => {
            let hit = program("hit_in_batches");
            Box::new(move |hits| batches(&hit, hits))
        }
    }
}

fn packets<T: AsFd + 'static>(hook: T) -> Box<dyn FnMut(u32)> {
    Box::new(move |hits| (0..hits).for_each(|_| send(hook.as_fd().as_raw_fd())))
}

fn send(fd: RawFd) {
    // SAFETY: one byte, which outlives the call.
    let sent = unsafe { libc::send(fd, [0u8].as_ptr().cast(), 1, 0) };
    // The last filter of a control group forbids it.
    assert!(sent == 1 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM));
}

/// BPF_PROG_TEST_RUN by its own system call: `union bpf_attr` as words.
fn test_run(program: RawFd, repeat: u32, packet: &[u8]) {
    let mut attr = [0u64; 10];
    attr[0] = program as u64;
    attr[1] = packet.len() as u64;
    attr[2] = if packet.is_empty() { 0 } else { packet.as_ptr() as u64 };
    attr[4] = u64::from(repeat);
    // SAFETY: `attr` is as large as said; the packet it names outlives the call, and there is no buffer to write to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, TEST_RUN, attr.as_ptr(), size_of_val(&attr)) };
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
}

/// Tracepoint hits of one program by another, run by one system call after the other: the loop of the kernel's selftests.
const BATCH: u32 = 100;

fn batches(hit: &OwnedFd, hits: u32) {
    (0..hits / BATCH).for_each(|_| test_run(hit.as_raw_fd(), 0, &[]));
}

/// Program `name` of bpf/bench.bpf.c.
fn program(name: &str) -> OwnedFd {
    hits::descriptor(&hits::load_alone(OBJECT, name).unwrap(), name).unwrap()
}

/// Executions a second against that loop: of the same programs on the tracepoint, and of a chain against one that counts as theirs.
fn against_batches() {
    if offer::try_out(TriggerKind::Tracepoint).is_err() {
        return;
    }
    for count in [1, PROGRAMS] {
        on_tracepoint(count, |trigger, hit| {
            let fire = |hits| {
                trigger.fire(Target::Programs, hits).unwrap();
            };
            let (ours, bare) =
                in_turns(if count == 1 { 20 * BATCH } else { 8 * BATCH }, fire, |hits| batches(hit, hits));
            say_rates(&format!("tracepoint, {count} programs"), 0.9, f64::from(count), ours, bare);
        });
    }
    let mut machine = KernelMachine::new(None, false, Arc::new(AtomicBool::new(false))).unwrap();
    let case = Spec::builtin("chain").unwrap().case(PROGRAMS, PackMode::On);
    let mut loaded = machine.load(&case, 1).unwrap();
    let per_run = loaded.check().unwrap().executions_per_run;
    let (hit, count) = (program("hit_in_batches"), program("count_hit"));
    let link = attach::raw_tracepoint(count.as_fd(), c"bpf_trigger_tp").unwrap();
    let fire = |hits: u32| {
        loaded.fire(Target::Programs, hits / per_run).unwrap();
    };
    let (ours, bare) = in_turns(10 * per_run * BATCH, fire, |hits| batches(&hit, hits));
    say_rates(&format!("chain, {PROGRAMS} programs, against one that counts"), 5.0, 1.0, ours, bare);
    drop(link);
    loaded.unload().unwrap();
}

fn on_tracepoint(count: u32, measure: impl FnOnce(&mut Attached, &OwnedFd)) {
    let (objects, programs) = load(TriggerKind::Tracepoint, count);
    let mut trigger = Attached::new(TriggerKind::Tracepoint, &objects, programs).unwrap();
    trigger.prepare(Target::Programs).unwrap();
    measure(&mut trigger, &program("hit_in_batches"));
    trigger.release(&mut Pace::blind());
}

/// `count` executions take `ours` and `bare` nanoseconds.
fn say_rates(what: &str, least: f64, count: f64, ours: f64, bare: f64) {
    let (rate, ratio) = (|ns: f64| 1000.0 * count / ns, bare / ours);
    let detail = format!("{:.1} M/s ours, {:.1} M/s in batches, medians of {ROUNDS}", rate(ours), rate(bare));
    say(&format!("{what}: executions/s"), ratio, &format!("at least {least}"), ratio >= least, &detail);
}
