//! Models of real heaps against the real ones: calls a second on the same trace, in turns, in one run, in processor time; and
//! the memory that a model itself needs for each live block.
//!
//!     cargo bench -p framesim-bench --bench real_heaps [-- [TRACE] [--heap NAME] [--rounds N] [--bar TIMES]]
//!
//! Real: the library's malloc with every page of each block written (`tests/real/replay.c`): that of the C library, others
//! through `LD_PRELOAD` where they are installed. Model alone: the heap on a kernel that only counts. With residency: on an
//! address space that knows which pages were written, and with the program's own writes.
//!
//! `--bar 1.5` fails where a model alone is not 1.5 times as fast as the real one; those that are not installed are passed over.
//! `--once` plays one model one time, for profilers.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures and prints"
)]
#![allow(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "and prints it as a decimal")]

use std::path::{Path, PathBuf};
use std::process::Command;

use framesim_models::heap::{
    Access, Advice, HeapAllocator, HeapChoice, HeapRegistry, HeapSetting, MapRequest, OutOfMemory, SystemMemory,
};
use framesim_models::kernel::AddressSpace;
use framesim_models::kernel::space::SpaceSettings;
use framesim_models::{Address, Coins, ThreadId, index};
use framesim_tests::packed::{beside, data, text};
use framesim_tests::real_heap::{Asks, Call, RealHeap, recorded_calls};

/// Each real heap: the model's name and the library of its version; without one it is that of the C library.
const HEAPS: [(&str, Option<&str>); 4] = [
    ("glibc", None),
    ("tcmalloc", Some("libtcmalloc_minimal.so.4.5.10")),
    ("jemalloc", Some("libjemalloc.so.2")),
    ("mimalloc", Some("libmimalloc.so.2.0")),
];
const GLIBC_VERSION: &str = "2.36";

fn main() {
    let asked = Asked::from_arguments();
    let calls = recorded_calls(&text(&asked.trace));
    let heaps = HEAPS.iter().filter(|(name, _)| asked.heap.as_deref().is_none_or(|heap| heap == *name));
    let heaps: Vec<_> = heaps.filter(|(name, _)| HeapChoice::NAMES.contains(name)).collect();
    match asked.part {
        Part::Once => heaps.iter().for_each(|(name, _)| once(name, &calls)),
        Part::Memory => heaps.iter().for_each(|(name, _)| println!("{:.1}", own_bytes_per_block(name, &calls))),
        Part::All => {
            let file = asked.trace.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            println!("{file}: {} calls; best of {} rounds, million calls a second", calls.len(), asked.rounds);
            let heading = ["real", "model alone", "", "with residency", "", "own bytes a live block"];
            println!(
                "{:<10}{:>8}{:>13}{:>8}{:>16}{:>8}{:>24}",
                "", heading[0], heading[1], heading[2], heading[3], heading[4], heading[5]
            );
            let slowest = compare(&heaps, &calls, &asked);
            if let Some(bar) = asked.bar.filter(|&bar| slowest < bar) {
                println!("below the bar: {slowest:.2} times the real one, at least {bar:.2} are wanted");
                std::process::exit(1);
            }
        }
    }
}

/// What the command line asks for.
struct Asked {
    trace: PathBuf,
    heap: Option<String>,
    rounds: u32,
    /// Times the speed of the real one that each model alone must reach.
    bar: Option<f64>,
    part: Part,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    Once,
    Memory,
}

impl Asked {
    fn from_arguments() -> Asked {
        let trace = match beside() {
            Some(beside) => beside.join("traces/heap/python-mix.trace.zst"),
            None => data().join("heap/traces/ls.trace.zst"),
        };
        let mut asked = Asked { trace, heap: None, rounds: 9, bar: None, part: Part::All };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // `cargo bench` adds it.
                "--bench" => {}
                "--once" => asked.part = Part::Once,
                "--memory" => asked.part = Part::Memory,
                "--heap" => asked.heap = arguments.next(),
                "--rounds" => {
                    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok());
                    asked.rounds = rounds.expect("--rounds needs a number");
                }
                "--bar" => {
                    let bar = arguments.next().and_then(|bar| bar.parse().ok());
                    asked.bar = Some(bar.expect("--bar needs a number"));
                }
                path => asked.trace = PathBuf::from(path),
            }
        }
        asked
    }
}

/// The fastest of all rounds, calls a second in millions.
#[derive(Clone, Copy, Default)]
struct Best {
    real: f64,
    alone: f64,
    resident: f64,
}

/// Prints a line for each model; returns the least that one alone is times as fast as the real one.
fn compare(heaps: &[&(&str, Option<&str>)], calls: &[Call], asked: &Asked) -> f64 {
    let folder = std::env::temp_dir();
    let real: Vec<_> = heaps.iter().map(|(_, library)| real_heap(&folder, *library)).collect();
    let mut best = vec![Best::default(); heaps.len()];
    let per_second = |nanos: f64| calls.len() as f64 * 1e3 / nanos;
    for _ in 0..asked.rounds {
        for (((name, _), real), best) in heaps.iter().zip(&real).zip(&mut best) {
            if let Ok(real) = real {
                let nanos = real.time(calls, 1).expect("the real library can be called");
                best.real = best.real.max(per_second(nanos as f64));
            }
            best.alone = best.alone.max(per_second(time(name, calls, &mut Counting::default(), false)));
            let mut space = AddressSpace::new(SpaceSettings::linux(4096));
            best.resident = best.resident.max(per_second(time(name, calls, &mut space, true)));
        }
    }
    for (((name, _), real), best) in heaps.iter().zip(&real).zip(&best) {
        let Best { real: real_rate, alone, resident } = *best;
        let memory = memory_of(name, asked);
        let times = |rate: f64| if real_rate > 0.0 { format!("{:.2} x", rate / real_rate) } else { "-".to_owned() };
        let shown = if real_rate > 0.0 { format!("{real_rate:.1}") } else { "-".to_owned() };
        let (alone_times, resident_times) = (times(alone), times(resident));
        println!("{name:<10}{shown:>8}{alone:>13.1}{alone_times:>8}{resident:>16.1}{resident_times:>8}{memory:>24}");
        if let Err(why) = real {
            println!("{:<10}  the real one is SKIPPED: {why}", "");
        }
    }
    best.iter().filter(|best| best.real > 0.0).map(|best| best.alone / best.real).fold(f64::INFINITY, f64::min)
}

fn real_heap(folder: &Path, library: Option<&str>) -> Result<RealHeap, String> {
    match library {
        None => RealHeap::build(folder, GLIBC_VERSION),
        Some(library) => RealHeap::preloading(folder, library),
    }
}

/// A process of its own measures the memory of one model: nothing else has used its pages then.
fn memory_of(name: &str, asked: &Asked) -> String {
    let myself = std::env::current_exe().expect("a program has a file");
    let output = Command::new(myself).args(["--memory", "--heap", name]).arg(&asked.trace).output();
    output.map_or_else(|why| why.to_string(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Resident bytes that the model adds to the process until most blocks live, for each of them.
fn own_bytes_per_block(name: &str, calls: &[Call]) -> f64 {
    let mut os = Counting::default();
    let mut blocks = resident_table(calls);
    let (peak, most) = peak_of_live_blocks(calls);
    let before = resident_bytes();
    let mut heap = heap(name);
    play(&mut *heap, &mut os, &mut blocks, &calls[..peak], false);
    let bytes = resident_bytes() - before;
    assert!(heap.stats().blocks >= most, "{name} has the blocks of the trace");
    bytes as f64 / most as f64
}

/// One more than the highest number of a block.
fn ids(calls: &[Call]) -> usize {
    let highest = calls.iter().map(|call| match call.asks {
        Asks::Malloc(id, _) | Asks::Calloc(id, ..) | Asks::Aligned(id, ..) | Asks::Free(id) => id,
        Asks::Realloc(id, old, _) => id.max(old),
        Asks::Exit => 0,
    });
    index(highest.max().unwrap_or(0).into()) + 1
}

/// After how many calls most blocks live, and how many they are.
fn peak_of_live_blocks(calls: &[Call]) -> (usize, u64) {
    let mut is_live = vec![false; ids(calls)];
    let (mut live, mut most) = (0_u64, (0, 0));
    let mut set = |id: u32, to: bool| std::mem::replace(&mut is_live[index(id.into())], to);
    for (call, made) in calls.iter().zip(1..) {
        match call.asks {
            Asks::Malloc(id, _) | Asks::Calloc(id, ..) | Asks::Aligned(id, ..) => live += u64::from(!set(id, true)),
            Asks::Free(id) => live -= u64::from(set(id, false)),
            Asks::Realloc(id, old, _) => {
                live -= u64::from(set(old, false));
                live += u64::from(!set(id, true));
            }
            Asks::Exit => {}
        }
        if live > most.1 {
            most = (made, live);
        }
    }
    most
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Nanoseconds that this process has had a processor, brought up to date by offering it to others.
fn processor_nanos() -> f64 {
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells how long a thread ran");
    text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).expect("a number of nanoseconds") as f64
}

fn once(name: &str, calls: &[Call]) {
    let nanos = time(name, calls, &mut Counting::default(), false);
    println!("{name}: {:.1} ns a call", nanos / calls.len() as f64);
}

fn heap(name: &str) -> Box<dyn HeapAllocator> {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let heap = HeapRegistry::default().build(name, &HeapChoice::named(name), setting);
    heap.expect("a heap of that name").expect("its default options")
}

/// Nanoseconds of all calls.
fn time(name: &str, calls: &[Call], os: &mut dyn SystemMemory, writes: bool) -> f64 {
    let mut heap = heap(name);
    let mut blocks = resident_table(calls);
    let start = processor_nanos();
    play(&mut *heap, os, &mut blocks, calls, writes);
    processor_nanos() - start
}

/// A place for the address of each block. Written to before the calls, as the tables of the real replay are, so that its page
/// faults are not counted.
fn resident_table(calls: &[Call]) -> Vec<Address> {
    let mut blocks = vec![Address(1); ids(calls)];
    blocks.fill(Address(0));
    blocks
}

fn play(heap: &mut dyn HeapAllocator, os: &mut dyn SystemMemory, blocks: &mut [Address], calls: &[Call], writes: bool) {
    if writes { play_all::<true>(heap, os, blocks, calls) } else { play_all::<false>(heap, os, blocks, calls) }
}

/// What the loop of the real replay does: a jump by the kind of call, a look at the table for each block named, the call.
fn play_all<const WRITES: bool>(
    heap: &mut dyn HeapAllocator,
    os: &mut dyn SystemMemory,
    blocks: &mut [Address],
    calls: &[Call],
) {
    let main = ThreadId(0);
    let got = "memory without a limit";
    for call in calls {
        let (id, bytes, at) = match call.asks {
            Asks::Malloc(id, bytes) => (id, bytes, heap.malloc(main, bytes, os).expect(got)),
            Asks::Free(id) => {
                let at = std::mem::take(&mut blocks[index(id.into())]);
                heap.free(main, at, os).expect("a live block");
                continue;
            }
            Asks::Realloc(id, old, bytes) => {
                let at = std::mem::take(&mut blocks[index(old.into())]);
                (id, bytes, resize(heap, os, at, bytes).expect(got))
            }
            Asks::Calloc(id, count, bytes) => (id, count * bytes, heap.calloc(main, count, bytes, os).expect(got)),
            Asks::Aligned(id, align, bytes) => (id, bytes, heap.aligned_alloc(main, align, bytes, os).expect(got)),
            Asks::Exit => continue,
        };
        blocks[index(id.into())] = at;
        if WRITES && bytes > 0 {
            os.touch(at, bytes);
        }
    }
}

fn resize(heap: &mut dyn HeapAllocator, os: &mut dyn SystemMemory, at: Address, bytes: u64) -> Option<Address> {
    match at {
        Address(0) => heap.malloc(ThreadId(0), bytes, os).ok(),
        at => heap.realloc(ThreadId(0), at, bytes, os).ok().flatten(),
    }
}

/// A kernel that gives addresses and knows nothing else.
#[derive(Default)]
struct Counting {
    brk: u64,
    mapped: u64,
}

const START_BREAK: u64 = 0x5555_5555_9000;
const TOP: u64 = 0x7fff_f7ff_f000;

impl SystemMemory for Counting {
    fn page_bytes(&self) -> u64 {
        4096
    }

    fn cpus(&self) -> u32 {
        1
    }

    fn program_break(&self) -> Address {
        Address(START_BREAK + self.brk)
    }

    fn brk(&mut self, end: Address) -> Result<(), OutOfMemory> {
        self.brk = end.0 - START_BREAK;
        Ok(())
    }

    fn mmap(&mut self, request: &MapRequest) -> Result<Address, OutOfMemory> {
        self.mapped += request.bytes;
        Ok(Address(TOP - self.mapped))
    }

    fn munmap(&mut self, _at: Address, _bytes: u64) {}

    fn mremap(&mut self, _at: Address, _old_bytes: u64, new_bytes: u64) -> Result<Address, OutOfMemory> {
        self.mmap(&MapRequest::anywhere(new_bytes))
    }

    fn mprotect(&mut self, _at: Address, _bytes: u64, _access: Access) -> Result<(), OutOfMemory> {
        Ok(())
    }

    fn madvise(&mut self, _at: Address, _bytes: u64, _advice: Advice) {}

    fn touch(&mut self, _at: Address, _bytes: u64) {}

    fn resident_pages(&self, _at: Address, _bytes: u64) -> u64 {
        0
    }
}
