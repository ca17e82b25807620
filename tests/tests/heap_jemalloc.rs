//! The `jemalloc` heap against the real jemalloc 5.3.0, call by call: places, usable sizes, break, mapped and resident bytes.
//!
//! `tests/data/heap` has what is small; longer recordings are read from `../shared` beside the repository where they are.

use std::io::Write;
use std::path::{Path, PathBuf};

use framesim::conform::heap::{HeapCase, HeapVerdict, ReplaySetting, hold};
use framesim_models::heap::flat_memory::FlatMemory;
use framesim_models::heap::{HeapAllocator, HeapChoice, HeapRegistry, HeapSetting};
use framesim_models::{Address, Coins, ThreadId};
use framesim_tests::packed::{self, beside, text};

/// One thread makes all calls.
const SMALL: &[&str] = &["ls", "gen-edge", "gen-small"];
const LONG: &[&str] = &["pigz", "gen-mixed", "gen-large", "git-log", "jq", "sqlite", "python-threads", "python-mix"];
/// Each thread makes its own.
const SMALL_THREADS: &[&str] = &["pigz", "gen-threads4"];
const LONG_THREADS: &[&str] = &["gen-threads20", "python-threads"];
/// Resident bytes may differ by so much: pages of the library and of its tables.
const RESIDENT_TOLERANCE: u64 = 160 << 10;

fn jemalloc() -> Box<dyn HeapAllocator> {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let built = HeapRegistry::default().build("jemalloc", &HeapChoice::named("jemalloc"), setting);
    built.expect("a heap of that name").expect("its default options")
}

fn data() -> PathBuf {
    packed::data().join("heap")
}

/// Says on the terminal that a test saw less than it could: `cargo test` hides what a passing test prints.
fn say_skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: ../shared is not beside the repository");
}

/// Holds the heap against a recording made by one thread.
fn one_thread(name: &str, traces: &Path, reference: &Path) -> HeapVerdict {
    let case = HeapCase {
        name,
        trace: &text(&traces.join(format!("{name}.trace.zst"))),
        places: &text(&reference.join(format!("{name}.jemalloc.addr.zst"))),
        series: Some(&text(&reference.join(format!("{name}.jemalloc.csv")))),
        maps: None,
    };
    let setting = ReplaySetting::one_thread_with("jemalloc");
    hold(&case, "jemalloc", &mut *jemalloc(), &setting).unwrap_or_else(|bad| panic!("{name}: {bad}"))
}

fn each_thread(name: &str, traces: &Path, reference: &Path) -> HeapVerdict {
    let case = HeapCase {
        name,
        trace: &text(&traces.join(format!("{name}.trace.zst"))),
        places: &text(&reference.join(format!("{name}.jemalloc.addr.zst"))),
        series: None,
        maps: Some(&text(&reference.join(format!("{name}.jemalloc.maps")))),
    };
    let setting = ReplaySetting::threads_with("jemalloc");
    hold(&case, "jemalloc", &mut *jemalloc(), &setting).unwrap_or_else(|bad| panic!("{name}: {bad}"))
}

fn assert_exact(verdict: &HeapVerdict) {
    assert!(verdict.differs.is_none() && verdict.blocks > 0, "{verdict}");
    let Some(series) = &verdict.series else { return };
    assert!(series.differs.is_none() && series.rows > 0, "{verdict}\n{:?}", series.differs);
    assert!(series.resident_difference <= RESIDENT_TOLERANCE, "{verdict}\n{:?}", series.resident_differs);
}

#[test]
fn every_place_and_row_of_the_small_recordings_is_the_real_one() {
    for name in SMALL {
        assert_exact(&one_thread(name, &data().join("traces"), &data().join("reference")));
    }
}

#[test]
fn every_place_and_row_of_the_long_recordings_is_the_real_one() {
    let Some(beside) = beside() else { return say_skipped("eight long recordings") };
    for name in LONG {
        assert_exact(&one_thread(name, &beside.join("traces/heap"), &beside.join("reference/heap")));
    }
}

#[test]
fn every_page_of_the_small_recordings_with_threads_is_the_real_one() {
    for name in SMALL_THREADS {
        assert_exact(&each_thread(name, &data().join("traces"), &data().join("threads")));
    }
}

#[test]
fn every_page_of_the_long_recordings_with_threads_is_the_real_one() {
    let Some(beside) = beside() else { return say_skipped("two long recordings with threads") };
    for name in LONG_THREADS {
        assert_exact(&each_thread(name, &beside.join("traces/heap"), &beside.join("reference/heap-threads")));
    }
}

#[test]
fn every_usable_size_is_the_real_one() {
    let table = text(&data().join("reference/usable-jemalloc.csv.zst"));
    let (mut heap, mut memory) = (jemalloc(), FlatMemory::at(Address(0x5555_5555_9000)));
    let mut compared = 0;
    for line in table.lines().skip(1) {
        let (request, usable) = line.split_once(',').expect("request,usable");
        let bytes = request.parse().expect("a number");
        let at = heap.malloc(ThreadId(0), bytes, &mut memory).expect("memory without a limit");
        assert_eq!(heap.usable_size(at).map(|usable| usable.to_string()).as_deref(), Some(usable), "request {bytes}");
        heap.free(ThreadId(0), at, &mut memory).expect("a live block");
        compared += 1;
    }
    assert_eq!(compared, 17_010);
}
