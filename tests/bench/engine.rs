//! The event loop: ns per event at several numbers of pending events, the main job, a replayed trace, and the memory of a
//! million live processes.
//!
//! `queue` is the pending set alone: one event leaves, one comes. `std_heap` is the same on the standard library's heap with keys
//! of 128 bits, in the same process. `parts` adds what a simulator's event needs at least: a process record of 64 bytes, a random
//! draw, the digest. `event` is a whole event of a [`Simulation`]: processes that sleep at random times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;
use std::path::Path;

use criterion::{BatchSize, Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use framesim::Registries;
use framesim::digest::Trajectory;
use framesim::queue::EventQueue;
use framesim::simulation::{Setting, Simulation};
use framesim_models::{Coins, Nanos, index};
use framesim_workloads::load::{self, Known};

const PENDING: [u32; 3] = [100, 10_000, 1_000_000];

fn simulation(text: &str, settings: &[(&str, &str)], folder: &Path) -> Simulation {
    let registries = Registries::default();
    let known = Known { frames: &registries.frames, heaps: &registries.heaps };
    let setting = |&(path, value): &(&str, &str)| load::Setting { path: path.to_owned(), value: value.to_owned() };
    let settings: Vec<load::Setting> = settings.iter().map(setting).collect();
    let Ok(loaded) = load::load("bench", text, &settings, known) else { panic!("a benchmark's workload is sound") };
    let setting = Setting { workload: loaded.workload, replica: 0, folder: folder.to_owned() };
    Simulation::new(setting, &registries).expect("a sound workload")
}

/// Gaps between events, much as an exponential law has them: the leading zeros of a draw, and its low bits.
fn gap(draw: u64) -> u64 {
    let halvings = u64::from((draw | 1).leading_zeros());
    halvings * 700_000 + draw % 700_000
}

fn hold(b: &mut Bencher<'_>, pending: u32) {
    let mut coins = Coins::from_key([1; 32]);
    let mut queue = EventQueue::default();
    for event in 0..pending {
        queue.push(Nanos(gap(coins.next_u64())), 0, event);
    }
    b.iter(|| {
        let due = queue.pop().expect("as many come as leave");
        queue.push(Nanos(due.time.0 + gap(coins.next_u64())), 0, due.event)
    });
}

fn hold_std(b: &mut Bencher<'_>, pending: u32) {
    let mut coins = Coins::from_key([1; 32]);
    let mut heap = BinaryHeap::new();
    let mut sequence = 0_u128;
    let mut key = |time: u64, event: u32| {
        sequence += 1;
        Reverse((u128::from(time) << 64) | (sequence << 24) | u128::from(event))
    };
    for event in 0..pending {
        heap.push(key(gap(coins.next_u64()), event));
    }
    b.iter(|| {
        let Reverse(due) = heap.pop().expect("as many come as leave");
        let time = u64::try_from(due >> 64).expect("the upper half");
        let event = u32::try_from(due & 0xff_ffff).expect("24 bits");
        heap.push(key(time + gap(coins.next_u64()), event));
    });
}

/// What an event loop touches of a process.
#[derive(Clone, Default)]
#[repr(align(64))]
struct Record {
    events: u64,
    last: u64,
}

fn parts(b: &mut Bencher<'_>, pending: u32) {
    let mut coins = Coins::from_key([1; 32]);
    let mut queue = EventQueue::default();
    let mut records = vec![Record::default(); index(u64::from(pending))];
    let mut trajectory = Trajectory::default();
    for event in 0..pending {
        queue.push(Nanos(gap(coins.next_u64())), 0, event);
    }
    b.iter(|| {
        let due = queue.pop().expect("as many come as leave");
        let record = &mut records[due.event as usize];
        record.events += 1;
        trajectory.absorb_pair(due.time.0, u64::from(due.event));
        trajectory.absorb_pair(record.events, due.time.0 - record.last);
        record.last = due.time.0;
        queue.push(Nanos(due.time.0 + gap(coins.next_u64())), 0, due.event)
    });
}

/// Processes that sleep for ever, each group for another time.
fn sleepers(processes: u32) -> Simulation {
    let group = |number: u32| {
        let (count, sleep) = (processes / 10, 1_000_000 + 77_777 * number);
        format!(
            r#"(name: "g{number}", count: {count}, arrive: at({}), does: script([repeat(100000000, [sleep({sleep})])]))"#,
            number * 1000
        )
    };
    let groups: Vec<String> = (0..10).map(group).collect();
    let text = format!(
        r#"(machine: (memory: "64KiB", frames: first_fit, kernel: free_of_charge, costs: (spawn: 0, context_switch: 0)),
            limits: (processes: 2000000), processes: [{}])"#,
        groups.join(",")
    );
    let mut simulation = simulation(&text, &[], Path::new("."));
    for _ in 0..2 * processes {
        simulation.step().expect("sleepers need nothing");
    }
    simulation
}

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    for pending in PENDING {
        group.bench_with_input(BenchmarkId::new("queue", pending), &pending, |b, &pending| hold(b, pending));
        group.bench_with_input(BenchmarkId::new("std_heap", pending), &pending, |b, &pending| hold_std(b, pending));
        group.bench_with_input(BenchmarkId::new("parts", pending), &pending, |b, &pending| parts(b, pending));
        let mut simulation = sleepers(pending);
        group.bench_function(BenchmarkId::new("event", pending), |b| b.iter(|| simulation.step()));
    }
}

/// A generated program of 30,000 calls on the textbook's heap, as fast as it goes.
const REPLAY: &str = r#"(machine: (memory: "1GiB", frames: buddy), processes: [
    (name: "program", does: trace(file: "traces/gen-mixed.trace.zst", pace: every(0), touch: none)),
])"#;

/// Whole runs: half a second of `web.ron`, and a recorded program.
fn jobs(c: &mut Criterion) {
    let mut group = c.benchmark_group("jobs");
    group.sample_size(10);
    let library = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../workloads"));
    let web = std::fs::read_to_string(library.join("web.ron")).expect("the library is there");
    for (name, text, until) in [("web", web.as_str(), "500ms"), ("replay", REPLAY, "1h")] {
        let start = simulation(text, &[("until", until)], library);
        let mut whole = start.clone();
        whole.run().expect("a library workload runs");
        group.throughput(Throughput::Elements(whole.events()));
        group.bench_function(name, |b| {
            b.iter_batched(|| start.clone(), |mut run| run.run(), BatchSize::LargeInput);
        });
    }
}

/// Bytes of memory this process has, where the system tells.
fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split_whitespace().nth(1)?.parse::<u64>().ok()? * 4096)
}

/// A million processes that have started, each with one page, and sleep.
fn million(_: &mut Criterion) {
    let text = r#"(machine: (memory: "4GiB", frames: first_fit, kernel: free_of_charge), limits: (processes: 2000000),
        programs: {"small": (stack: "4KiB")}, until: "1h",
        processes: [(name: "p", program: "small", count: 1000000, does: script([sleep("10h")]))])"#;
    let before = resident_bytes();
    let mut run = simulation(text, &[], Path::new("."));
    run.run().expect("sleepers need nothing");
    assert_eq!(run.levels().processes, 1_000_000, "all are alive");
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let mib = (after - before) >> 20;
        writeln!(std::io::stderr(), "a million live processes: {mib} MiB").expect("the screen is there");
    }
}

criterion_group!(benches, million, events, jobs);
criterion_main!(benches);
