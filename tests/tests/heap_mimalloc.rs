//! The `mimalloc` heap against the real mimalloc 2.0.9, call by call: places, usable sizes, break, mapped and resident bytes.
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
const SMALL: &[&str] = &["ls", "gen-small", "gen-edge"];
const LONG: &[&str] = &["pigz", "gen-mixed", "gen-large", "git-log", "jq", "sqlite", "python-threads", "python-mix"];
/// Each thread makes its own.
const SMALL_THREADS: &[&str] = &["pigz", "gen-threads4"];
const LONG_THREADS: &[&str] = &["gen-threads20", "python-threads"];

/// Resident bytes may differ by this: the library's own code and data are read in bit by bit.
const RESIDENT_DIFFERENCE_MAX: u64 = 160 << 10;

fn mimalloc() -> Box<dyn HeapAllocator> {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let built = HeapRegistry::default().build("mimalloc", &HeapChoice::named("mimalloc"), setting);
    built.expect("a heap of that name").expect("its default options")
}

fn data() -> PathBuf {
    packed::data().join("heap")
}

/// Says on the terminal that a test saw less than it could: `cargo test` hides what a passing test prints.
fn say_skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: ../shared is not beside the repository");
}

/// Holds the heap against a recording made by one thread: places and sizes, and every row of the series.
fn assert_one_thread(name: &str, traces: &Path, reference: &Path) {
    let case = HeapCase {
        name,
        trace: &text(&traces.join(format!("{name}.trace.zst"))),
        places: &text(&reference.join(format!("{name}.mimalloc.addr.zst"))),
        series: Some(&text(&reference.join(format!("{name}.mimalloc.csv")))),
        maps: None,
    };
    let verdict = played(&case, &ReplaySetting::one_thread_with("mimalloc"));
    let series = verdict.series.as_ref().expect("a series was recorded");
    assert!(series.rows > 100, "{verdict}");
    assert!(series.differs.is_none(), "{verdict}\n{:?}", series.differs);
    assert!(
        series.resident_difference <= RESIDENT_DIFFERENCE_MAX,
        "{verdict}\nresident: {:?}",
        series.resident_differs
    );
}

fn assert_each_thread(name: &str, traces: &Path, reference: &Path) {
    let case = HeapCase {
        name,
        trace: &text(&traces.join(format!("{name}.trace.zst"))),
        places: &text(&reference.join(format!("{name}.mimalloc.addr.zst"))),
        series: None,
        maps: None,
    };
    played(&case, &ReplaySetting::threads_with("mimalloc"));
}

fn played(case: &HeapCase<'_>, setting: &ReplaySetting) -> HeapVerdict {
    let mut heap = mimalloc();
    let verdict = hold(case, "mimalloc", &mut *heap, setting).unwrap_or_else(|bad| panic!("{}: {bad}", case.name));
    assert!(verdict.differs.is_none() && verdict.blocks > 0, "{verdict}");
    heap.check().unwrap_or_else(|violation| panic!("{}: {violation}", case.name));
    verdict
}

#[test]
fn every_place_and_row_of_the_small_recordings_is_the_real_one() {
    for name in SMALL {
        assert_one_thread(name, &data().join("traces"), &data().join("reference"));
    }
}

#[test]
fn every_place_and_row_of_the_long_recordings_is_the_real_one() {
    let Some(beside) = beside() else { return say_skipped("eight long recordings") };
    for name in LONG {
        assert_one_thread(name, &beside.join("traces/heap"), &beside.join("reference/heap"));
    }
}

#[test]
fn every_place_of_the_small_recordings_with_threads_is_the_real_one() {
    for name in SMALL_THREADS {
        assert_each_thread(name, &data().join("traces"), &data().join("threads"));
    }
}

#[test]
fn every_place_of_the_long_recordings_with_threads_is_the_real_one() {
    let Some(beside) = beside() else { return say_skipped("two long recordings with threads") };
    for name in LONG_THREADS {
        assert_each_thread(name, &beside.join("traces/heap"), &beside.join("reference/heap-threads"));
    }
}

#[test]
fn every_usable_size_is_the_real_one() {
    let table = text(&data().join("reference/usable-mimalloc.csv.zst"));
    let (mut heap, mut memory) = (mimalloc(), FlatMemory::at(Address(0x5555_5555_9000)));
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
