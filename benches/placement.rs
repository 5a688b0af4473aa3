//! What placement costs and how well it hits, each as a ratio within this run; with and without a neighbour who loads and
//! unloads programs all the time.
#![allow(clippy::unwrap_used)]

mod figures;
mod unloading;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use figures::{median, say};
use itlbench::machine::Machine;
use itlbench::machine::kernel::fillers::Fillers;
use itlbench::machine::kernel::place::verified;
use itlbench::machine::kernel::programs::{Programs, SLOTS};
use itlbench::machine::kernel::{KernelMachine, probe};
use itlbench::placement::image::REGION_BYTES;
use itlbench::placement::planner::{Landing, Planner, Rules, Step, Wanted};
use itlbench::placement::{Addr, Footprint, Image, pack};
use itlbench::workload::{Body, Case, PackMode, Spec, TriggerKind};
use socket2::{Domain, SockFilter, Socket, Type};
use unloading::unload;

const ROUNDS: usize = 7;
const LOADS: u32 = 2048;

/// All parts, or those named: `cargo bench --bench placement -- pages walk`.
fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    if wanted("planner") {
        planner();
    }
    if let Err(reason) = probe::test_run() {
        println!("SKIP   placement: {reason}");
        return;
    }
    if wanted("pages") {
        own_pages("quiet", 100.0);
        dense_pages();
    }
    for (part, trigger) in [("walk", TriggerKind::Walk), ("chain", TriggerKind::Chain)] {
        if wanted(part) {
            load_time(trigger, "quiet", 1.3, Some(1.1));
        }
    }
    if wanted("arrays") {
        arrays();
    }
    if wanted("neighbour") {
        beside_a_neighbour();
    }
}

fn beside_a_neighbour() {
    let neighbour = Neighbour::loading(200);
    own_pages("neighbour at 200/s", 99.0);
    for trigger in [TriggerKind::Walk, TriggerKind::Chain] {
        load_time(trigger, "neighbour at 200/s", 2.5, None);
    }
    println!("       the neighbour loaded {} programs", neighbour.loads.load(Ordering::Relaxed));
}

fn range(values: &[f64]) -> String {
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), &v| (low.min(v), high.max(v)));
    format!("{low:.3} to {high:.3}")
}

/// Steps of a plan for 16 384 spread programs on an allocator that costs nothing: a frontier.
fn planner() {
    let case = Spec::builtin("chain").unwrap().case(16_384, PackMode::Off);
    let rules = Rules { pack_bytes: REGION_BYTES, longest_filler: 896 };
    let rate = (0..ROUNDS).map(|_| {
        let (began, mut steps, mut at) = (Instant::now(), 0u32, 0xffff_ffff_c000_0000u64);
        let mut plan = Planner::new(Wanted::of(&case, 1), rules, &[]);
        while let Some(step) = plan.next_step() {
            steps += 1;
            match step {
                Step::Filler { chunks, .. } => at += u64::from(chunks) * pack::CHUNK_BYTES,
                Step::Plug | Step::Measured { .. } => {
                    assert_ne!(plan.landed(&Image { addr: Addr(at + 8), len: 121 }), Landing::Restart { from: 0 });
                    at += 3 * pack::CHUNK_BYTES;
                }
            }
        }
        f64::from(steps) / began.elapsed().as_secs_f64()
    });
    let rate = median(rate.collect());
    let detail = format!("{rate:.0} steps/s, n {ROUNDS} x 16384 programs");
    say("planner: million steps a second", rate / 1e6, "at least 1", rate >= 1e6, &detail);
}

fn machine() -> KernelMachine {
    KernelMachine::new(None, false, Arc::new(AtomicBool::new(false))).unwrap()
}

fn chain(programs: u32, arm: PackMode) -> Case {
    Spec::builtin("chain").unwrap().case(programs, arm)
}

/// Loads once: the footprint, and seconds without the wait for earlier frees.
fn place(machine: &mut KernelMachine, case: &Case) -> (Footprint, f64) {
    let loaded = machine.load(case, 7).unwrap();
    let placed = (Footprint::of(loaded.images()), loaded.load_cost().load_ns as f64 / 1e9);
    loaded.unload().unwrap();
    placed
}

fn own_pages(when: &str, least: f64) {
    let mut machine = machine();
    for programs in [64, 512, 4096, 16_384] {
        let (print, _) = place(&mut machine, &chain(programs, PackMode::Off));
        let own = print.own_pages_percent();
        let what = format!("{when}, pack off, {programs} programs: own pages, percent");
        say(&what, own, &format!("at least {least}"), own >= least, &format!("{} pages", print.pages_4k));
    }
}

fn dense_pages() {
    let mut machine = machine();
    for programs in [512, 4096, 16_384] {
        let (print, _) = place(&mut machine, &chain(programs, PackMode::On));
        let ratio = f64::from(print.pages_4k) / f64::from(print.ideal_pages_4k);
        let what = format!("quiet, pack on, {programs} programs: pages over ideal");
        let detail = format!("{} and {} pages", print.pages_4k, print.ideal_pages_4k);
        say(&what, ratio, "at most 1.02", ratio <= 1.02, &detail);
    }
}

/// Our load of either arm against a bare loop over the same programs and as many bare classic fillers, which reads no address.
/// A chain is none until its jumps are patched, so there the bare loop publishes too.
fn load_time(trigger: TriggerKind, when: &str, most_off: f64, most_on: Option<f64>) {
    let mut machine = machine();
    let spec = Spec { trigger, ..Spec::builtin("chain").unwrap() };
    let programs = Programs::open(trigger, Body::B128).unwrap();
    let scratch = programs.maps(1).unwrap();
    let fillers = Fillers::calibrate(&mut || {
        let program = programs.load_plug(&scratch).unwrap();
        let image = verified(&program)?;
        Ok((program, image))
    });
    let (fillers, own) = (fillers.unwrap(), verified(&programs.load_plug(&scratch).unwrap()).unwrap());
    let gap = 129 - pack::chunks(own.len);
    let (mut off, mut on, mut unpublished) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (published, loaded) = bare(&programs, &fillers, gap, trigger == TriggerKind::Chain);
        let spread = place(&mut machine, &spec.case(LOADS, PackMode::Off)).1;
        off.push(spread / published);
        unpublished.push(spread / loaded);
        let (published, _) = bare(&programs, &fillers, gap, trigger == TriggerKind::Chain);
        on.push(place(&mut machine, &spec.case(LOADS, PackMode::On)).1 / published);
    }
    let mut detail = format!("{}, n {ROUNDS} x {LOADS}", range(&off));
    if trigger == TriggerKind::Chain {
        detail += &format!("; {:.3} of a bare loop that patches no jump", median(unpublished));
    }
    let ratio = median(off);
    say(
        &format!("{when}, {trigger}, pack off: load time of a bare loop"),
        ratio,
        &format!("at most {most_off}"),
        ratio <= most_off,
        &detail,
    );
    if let Some(most) = most_on {
        let (ratio, detail) = (median(on.clone()), format!("{}, n {ROUNDS} x {LOADS}", range(&on)));
        say(
            &format!("{when}, {trigger}, pack on: load time of a bare loop"),
            ratio,
            &format!("at most {most}"),
            ratio <= most,
            &detail,
        );
    }
}

/// Seconds of the loop with and without publishing.
fn bare(programs: &Programs, fillers: &Fillers, gap: u32, publish: bool) -> (f64, f64) {
    let maps = programs.maps(LOADS).unwrap();
    let mut publishing = Duration::ZERO;
    let began = Instant::now();
    let mut held = Vec::new();
    for position in 0..LOADS {
        let program = programs.load_body(&maps, position, LOADS).unwrap();
        if publish {
            let began = Instant::now();
            maps.publish(position, program.as_fd()).unwrap();
            publishing += began.elapsed();
        }
        held.push((program, fillers.bare(gap).map(Result::unwrap)));
    }
    let all = began.elapsed();
    unload(programs, maps, held);
    (all.as_secs_f64(), (all - publishing).as_secs_f64())
}

/// The kernel walks all programs that jump through an array at each of its updates: how large may one be?
fn arrays() {
    let programs = Programs::open(TriggerKind::Chain, Body::B128).unwrap();
    let load = |slots| {
        let maps = programs.maps_in_arrays(LOADS, slots).unwrap();
        let began = Instant::now();
        for position in 0..LOADS {
            let program = programs.load_body(&maps, position, LOADS).unwrap();
            maps.publish(position, program.as_fd()).unwrap();
        }
        let seconds = began.elapsed().as_secs_f64();
        unload::<OwnedFd>(&programs, maps, Vec::new());
        seconds
    };
    let sizes = [16, SLOTS, 256, LOADS];
    let rounds: Vec<Vec<f64>> = (0..ROUNDS).map(|_| sizes.iter().map(|&slots| load(slots)).collect()).collect();
    let of = |at: usize| median(rounds.iter().map(|round| round[at]).collect());
    let best = (0..sizes.len()).map(of).fold(f64::MAX, f64::min);
    let us: Vec<String> = sizes
        .iter()
        .enumerate()
        .map(|(at, slots)| format!("{slots}: {:.1}", of(at) * 1e6 / f64::from(LOADS)))
        .collect();
    let detail = format!("us a program by slots, {}; n {ROUNDS} x {LOADS}", us.join(", "));
    say(
        "chain, arrays of 64 slots: load time of the best size",
        of(1) / best,
        "at most 1.1",
        of(1) / best <= 1.1,
        &detail,
    );
}

/// Loads and unloads programs at a rate until dropped.
struct Neighbour {
    stop: Arc<AtomicBool>,
    loads: Arc<AtomicU32>,
}

impl Neighbour {
    fn loading(per_second: u32) -> Self {
        let neighbour = Self { stop: Arc::default(), loads: Arc::default() };
        let (stop, loads) = (Arc::clone(&neighbour.stop), Arc::clone(&neighbour.loads));
        std::thread::spawn(move || {
            let (mut held, mut random) = (VecDeque::new(), oorandom::Rand32::new(5));
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(1) / per_second);
                held.push_back(classic(random.rand_range(4..200)));
                if held.len() > 40 {
                    held.remove(random.rand_range(0..40) as usize);
                }
                loads.fetch_add(1, Ordering::Relaxed);
            }
        });
        neighbour
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn classic(steps: u32) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
    let add = (0..steps).map(|_| SockFilter::new(0x04, 0, 0, 0x12345));
    let filter: Vec<SockFilter> = add.chain([SockFilter::new(0x06, 0, 0, 0)]).collect();
    socket.attach_filter(&filter).unwrap();
    socket
}
