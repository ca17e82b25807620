//! The `glibc` heap against the real one: calls a second on the same trace, in turns, in one run.
//!
//!     cargo bench -p framesim-bench --bench heap_glibc [-- --once]
//!
//! Real: malloc of the C library with every page written (`tests/real/replay.c`). Model alone: the heap with a kernel that
//! only counts. With residency: an address space that knows which pages were written, and the program's own writes.
#![allow(clippy::disallowed_types, clippy::print_stdout, reason = "a benchmark measures time and prints it")]
#![allow(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "and prints it as a decimal")]

use std::time::Instant;

use framesim_models::heap::{
    Access, Advice, HeapAllocator, HeapChoice, HeapRegistry, HeapSetting, MapRequest, OutOfMemory, SystemMemory,
};
use framesim_models::kernel::AddressSpace;
use framesim_models::kernel::space::SpaceSettings;
use framesim_models::{Address, Coins, ThreadId, index};
use framesim_tests::packed::{beside, data, text};
use framesim_tests::real_heap::{Asks, Call, RealHeap, recorded_calls};

const ROUNDS: usize = 9;

fn main() {
    let (name, trace) = match beside() {
        Some(beside) => ("python-mix", text(&beside.join("traces/heap/python-mix.trace.zst"))),
        None => ("ls", text(&data().join("heap/traces/ls.trace.zst"))),
    };
    let calls = recorded_calls(&trace);
    if std::env::args().any(|arg| arg == "--once") {
        // For profilers: the model alone, one time.
        let nanos = time(&calls, &mut Counting::default(), false, &mut 0);
        println!("{:.1} ns a call", nanos / calls.len() as f64);
        return;
    }
    let folder = std::env::temp_dir();
    let real = RealHeap::build(&folder, "2.36");
    let mut best = [0.0_f64; 3];
    let mut live_peak = 0;
    for _ in 0..ROUNDS {
        let per_second = |nanos: f64| calls.len() as f64 * 1e3 / nanos;
        if let Ok(real) = &real {
            let run = real.play(&calls, 1).expect("the real malloc can be called");
            best[0] = best[0].max(per_second(run.nanos as f64));
        }
        let alone = time(&calls, &mut Counting::default(), false, &mut live_peak);
        best[1] = best[1].max(per_second(alone));
        let resident = time(&calls, &mut AddressSpace::new(SpaceSettings::linux(4096)), true, &mut live_peak);
        best[2] = best[2].max(per_second(resident));
    }
    println!("{name}: {} calls, at most {live_peak} live; best of {ROUNDS}, million calls a second", calls.len());
    match &real {
        Ok(_) => println!("  real glibc 2.36      {:6.1}", best[0]),
        Err(why) => println!("  real glibc           skipped: {why}"),
    }
    println!("  model alone          {:6.1}   {:.2} times the real one", best[1], best[1] / best[0]);
    println!("  with residency       {:6.1}   {:.2} times the real one", best[2], best[2] / best[0]);
}

/// Nanoseconds of all calls.
fn time(calls: &[Call], os: &mut dyn SystemMemory, writes: bool, live_peak: &mut u64) -> f64 {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let heap = HeapRegistry::default().build("glibc", &HeapChoice::named("glibc"), setting);
    let mut heap = heap.expect("a heap of that name").expect("its default options");
    let mut blocks = vec![Address(0); calls.len() + 1];
    let start = Instant::now();
    for call in calls {
        let (id, bytes, at) = make(&mut *heap, os, &mut blocks, call.asks);
        blocks[index(id.into())] = at;
        if writes && bytes > 0 {
            os.touch(at, bytes);
        }
    }
    let nanos = start.elapsed().as_nanos() as f64;
    *live_peak = (*live_peak).max(heap.stats().blocks);
    nanos
}

#[inline(always)]
fn make(
    heap: &mut dyn HeapAllocator,
    os: &mut dyn SystemMemory,
    blocks: &mut [Address],
    asks: Asks,
) -> (u32, u64, Address) {
    let main = ThreadId(0);
    let got = "memory without a limit";
    match asks {
        Asks::Malloc(id, bytes) => (id, bytes, heap.malloc(main, bytes, os).expect(got)),
        Asks::Calloc(id, count, bytes) => (id, count * bytes, heap.calloc(main, count, bytes, os).expect(got)),
        Asks::Aligned(id, align, bytes) => (id, bytes, heap.aligned_alloc(main, align, bytes, os).expect(got)),
        Asks::Realloc(id, old, bytes) => {
            let at = std::mem::take(&mut blocks[index(old.into())]);
            let to = if at == Address(0) {
                heap.malloc(main, bytes, os).ok()
            } else {
                heap.realloc(main, at, bytes, os).ok().flatten()
            };
            (id, bytes, to.expect(got))
        }
        Asks::Free(id) => {
            heap.free(main, blocks[index(id.into())], os).expect("a live block");
            (id, 0, Address(0))
        }
        Asks::Exit => (0, 0, Address(0)),
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
