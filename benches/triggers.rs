//! What a hit of each trigger costs through the tool, against a bare loop that does the same: same hook, same programs, raw system
//! calls. A ratio within this run; `cargo bench --bench triggers`.
#![allow(clippy::unwrap_used, unsafe_code)]

mod figures;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Instant;

use figures::{median, say};
use itlbench::machine::Target;
use itlbench::machine::kernel::pace::Pace;
use itlbench::machine::kernel::probe;
use itlbench::machine::kernel::programs::Programs;
use itlbench::machine::kernel::sys::attach;
use itlbench::machine::kernel::trigger::attached::Attached;
use itlbench::machine::kernel::trigger::{Trigger, cgroup, cls, hits, offer, socket, xdp};
use itlbench::workload::{Body, TriggerKind};

const PROGRAMS: u32 = 64;
const ROUNDS: usize = 15;
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

/// Ours and bare, in turns so that both meet the same noise; nanoseconds a hit.
fn in_turns(hits: u32, mut ours: impl FnMut(u32), mut bare: impl FnMut(u32)) -> (f64, f64) {
    let time = |work: &mut dyn FnMut(u32)| {
        let began = Instant::now();
        work(hits);
        began.elapsed().as_nanos() as f64 / f64::from(hits)
    };
    let (mut all_ours, mut all_bare) = (Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        all_ours.push(time(&mut ours));
        all_bare.push(time(&mut bare));
    }
    (median(all_ours.split_off(1)), median(all_bare.split_off(1)))
}

fn compare(kind: TriggerKind) {
    let (objects, programs) = load(kind, PROGRAMS);
    let copies: Vec<OwnedFd> = programs.iter().map(|program| program.try_clone().unwrap()).collect();
    let bare = bare(kind, &objects, &copies);
    let mut trigger = Attached::new(kind, &objects, programs).unwrap();
    trigger.prepare(Target::Programs).unwrap();
    let hits = if matches!(kind, TriggerKind::Socket | TriggerKind::Syscall) { 40 } else { 1000 };
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
            let hit = hits::program("hit_kernel_function").unwrap();
            Box::new(move |hits| test_run(hit.as_raw_fd(), hits, &[0; 64]))
        }
    }
}

fn packets<T: AsFd + 'static>(hook: T) -> Box<dyn FnMut(u32)> {
    Box::new(move |hits| (0..hits).for_each(|_| send(hook.as_fd().as_raw_fd())))
}

fn send(fd: RawFd) {
    // SAFETY: one byte, which outlives the call.
    unsafe { libc::send(fd, [0u8].as_ptr().cast(), 1, 0) };
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

/// Executions a second against a loop like that of the kernel's selftests: a program that hits the tracepoint a hundred times,
/// run by one system call after the other.
fn against_batches() {
    const BATCH: u32 = 100;
    let kind = TriggerKind::Tracepoint;
    if offer::try_out(kind).is_err() {
        return;
    }
    for count in [1, PROGRAMS] {
        let (objects, programs) = load(kind, count);
        let mut trigger = Attached::new(kind, &objects, programs).unwrap();
        trigger.prepare(Target::Programs).unwrap();
        let batch = Rc::new(hits::program("hit_in_batches").unwrap());
        let batches = |hits: u32| (0..hits / BATCH).for_each(|_| test_run(batch.as_raw_fd(), 0, &[]));
        let (ours, bare) = in_turns(
            20_000,
            |hits| {
                trigger.fire(Target::Programs, hits).unwrap();
            },
            batches,
        );
        let (rate, ratio) = (|ns: f64| 1000.0 * f64::from(count) / ns, bare / ours);
        let detail = format!("{:.1} M/s ours, {:.1} M/s in batches, n {ROUNDS} x 20000", rate(ours), rate(bare));
        say(&format!("tracepoint, {count} programs: executions/s"), ratio, "at least 0.9", ratio >= 0.9, &detail);
        trigger.release(&mut Pace::blind());
    }
}
