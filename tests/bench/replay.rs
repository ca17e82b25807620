//! A whole replay beside the real malloc on the same calls, and the reading of the trace by itself, in turns, in one run.
//!
//!     cargo bench -p framesim-bench --bench replay
//!
//! Real: malloc of the C library with every page written (`tests/real/replay.c`), in processor time. Whole: what `framesim replay`
//! does, from the text to the last event: threads that unpack and parse, the heap, the kernel with page tables and frames, the
//! reports of heaps, the digest; of the plain text and of the packed one. Its rate is given by the clock, and by the processor
//! time of the simulation's own thread: what the clock says on a machine with nothing else to do and processors enough.
#![allow(clippy::disallowed_types, clippy::print_stdout, reason = "a benchmark measures time and prints it")]
#![allow(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "and prints it as a decimal")]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Instant;

use framesim::Registries;
use framesim::simulation::{Setting, Simulation};
use framesim_tests::packed::{beside, data, text};
use framesim_tests::real_heap::{RealHeap, recorded_calls};
use framesim_workloads::load::{self, Known};
use framesim_workloads::trace::{TraceReader, open_text};

const ROUNDS: usize = 5;

/// The most of what was measured.
#[derive(Default)]
struct Best {
    parse: f64,
    unpack: f64,
    real: f64,
    plain: Whole,
    packed: Whole,
}

/// Of a whole replay, by the clock and by the processor time of its own thread.
#[derive(Default)]
struct Whole {
    clock: f64,
    own_thread: f64,
}

impl Whole {
    fn see(&mut self, calls: usize, trace: &Path) {
        let (clock, own_thread) = replay(trace);
        self.clock = self.clock.max(rate(calls, clock));
        self.own_thread = self.own_thread.max(rate(calls, own_thread));
    }

    fn report(&self, name: &str) {
        println!("  {name:22} {:7.1} million calls a second by the clock", self.clock);
        println!("                         {:7.1} by its own thread's processor time", self.own_thread);
    }
}

fn main() {
    let packed = match beside() {
        Some(beside) => beside.join("traces/heap/python-mix.trace.zst"),
        None => data().join("heap/traces/ls.trace.zst"),
    };
    let text = text(&packed);
    let folder = std::env::temp_dir();
    let plain = folder.join("framesim-bench.trace");
    std::fs::write(&plain, &text).expect("the folder for temporary files can be written");
    let calls = recorded_calls(&text);
    let real = RealHeap::build(&folder, "2.36");
    let mut best = Best::default();
    for _ in 0..ROUNDS {
        if let Ok(real) = &real {
            let nanos = real.time(&calls, 1).expect("the real malloc can be called");
            best.real = best.real.max(rate(calls.len(), nanos as f64));
        }
        best.parse = best.parse.max(rate(text.len(), parse(&text)));
        best.unpack = best.unpack.max(rate(text.len(), unpack(&packed)));
        best.plain.see(calls.len(), &plain);
        best.packed.see(calls.len(), &packed);
    }
    std::fs::remove_file(&plain).expect("it was written above");
    report(&best, calls.len(), text.len(), real.as_ref().err());
}

fn report(best: &Best, calls: usize, bytes: usize, why_no_real: Option<&String>) {
    println!("{calls} calls, {:.1} MB of text; best of {ROUNDS}", bytes as f64 / 1e6);
    println!("  unpack (zstd)          {:7.1} MB/s", best.unpack);
    println!("  parse                  {:7.1} MB/s", best.parse);
    match why_no_real {
        None => println!("  real glibc 2.36        {:7.1} million calls a second", best.real),
        Some(why) => println!("  real glibc             skipped: {why}"),
    }
    best.plain.report("whole, plain");
    best.packed.report("whole, packed");
}

/// Millions a second.
fn rate(count: usize, nanos: f64) -> f64 {
    count as f64 * 1e3 / nanos
}

/// Nanoseconds to read all records of a text in memory.
fn parse(text: &str) -> f64 {
    let source = Cursor::new(text.as_bytes().to_vec());
    let start = Instant::now();
    let mut reader = TraceReader::from_source("trace", source).expect("the recording is a trace");
    while reader.next_record().expect("the recording is sound").is_some() {}
    start.elapsed().as_nanos() as f64
}

/// Nanoseconds to unpack a file.
fn unpack(packed: &Path) -> f64 {
    let start = Instant::now();
    let mut reader = open_text(packed).expect("the recording is there");
    std::io::copy(&mut reader, &mut std::io::sink()).expect("the recording can be unpacked");
    start.elapsed().as_nanos() as f64
}

/// Nanoseconds of a whole replay: by the clock, and of the simulation's thread alone.
fn replay(trace: &Path) -> (f64, f64) {
    let (start, before) = (Instant::now(), processor_nanos());
    let mut run = simulation(trace);
    run.run().expect("the recording is sound");
    assert!(run.events() > 0, "it has run");
    let clock = start.elapsed().as_nanos() as f64;
    let own = processor_nanos().zip(before).map_or(clock, |(after, before)| (after - before) as f64);
    (clock, own)
}

/// What `framesim replay TRACE --heap glibc` runs.
fn simulation(trace: &Path) -> Simulation {
    let registries = Registries::default();
    let known = Known { frames: &registries.frames, heaps: &registries.heaps };
    let file = trace.file_name().expect("a file").to_string_lossy().into_owned();
    let text = format!(
        r#"(machine: (memory: "4GiB", frames: buddy), programs: {{"program": (heap: glibc)}},
            processes: [(name: "program", program: "program", does: trace(file: {file:?}))])"#
    );
    let Ok(loaded) = load::load("bench", &text, &[], known) else { panic!("a benchmark's workload is sound") };
    let folder = trace.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let setting = Setting { workload: loaded.workload, replica: 0, folder };
    Simulation::new(setting, &registries).expect("a sound workload")
}

/// Processor time of this thread, where the system tells.
fn processor_nanos() -> Option<u64> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    times.split_whitespace().next()?.parse().ok()
}
