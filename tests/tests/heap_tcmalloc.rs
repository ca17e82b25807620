//! The `tcmalloc` heap against gperftools 2.10, call by call: places, usable sizes, break, mapped and resident bytes.
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
const SMALL: &[&str] = &["ls", "pigz", "gen-edge", "gen-align"];
const LONG: &[&str] =
    &["gen-small", "gen-mixed", "gen-large", "gen-huge", "git-log", "jq", "sqlite", "python-threads", "python-mix"];
/// Each thread makes its own.
const SMALL_THREADS: &[&str] = &["pigz", "gen-threads4", "gen-threads20"];
const LONG_THREADS: &[&str] = &["python-threads"];

fn tcmalloc() -> Box<dyn HeapAllocator> {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let built = HeapRegistry::default().build("tcmalloc", &HeapChoice::named("tcmalloc"), setting);
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
        places: &text(&reference.join(format!("{name}.tcmalloc.addr.zst"))),
        series: Some(&text(&reference.join(format!("{name}.tcmalloc.csv")))),
        maps: None,
    };
    let setting = ReplaySetting::one_thread_with("tcmalloc");
    hold(&case, "tcmalloc", &mut *tcmalloc(), &setting).unwrap_or_else(|bad| panic!("{name}: {bad}"))
}

fn each_thread(name: &str, traces: &Path, reference: &Path) -> HeapVerdict {
    let case = HeapCase {
        name,
        trace: &text(&traces.join(format!("{name}.trace.zst"))),
        places: &text(&reference.join(format!("{name}.tcmalloc.addr.zst"))),
        series: None,
        maps: Some(&text(&reference.join(format!("{name}.tcmalloc.maps")))),
    };
    let setting = ReplaySetting::threads_with("tcmalloc");
    hold(&case, "tcmalloc", &mut *tcmalloc(), &setting).unwrap_or_else(|bad| panic!("{name}: {bad}"))
}

fn assert_exact(verdict: &HeapVerdict) {
    let series = verdict.series.as_ref();
    assert!(verdict.is_exact(), "{verdict}\nresident: {:?}", series.map(|series| &series.resident_differs));
    assert!(verdict.blocks > 0 && series.is_none_or(|series| series.rows > 100), "{verdict}");
    // Code of the libraries that is read in by the first memset or memcpy: 33 pages. `ls` makes none.
    let constant = series.map_or(0, |series| series.resident_constant);
    assert!([0, 135_168].contains(&constant), "{verdict}");
}

#[test]
fn every_place_and_row_of_the_small_recordings_is_the_real_one() {
    for name in SMALL {
        assert_exact(&one_thread(name, &data().join("traces"), &data().join("reference")));
    }
}

#[test]
fn every_place_and_row_of_the_long_recordings_is_the_real_one() {
    let Some(beside) = beside() else { return say_skipped("nine recordings of tcmalloc") };
    for name in LONG {
        assert_exact(&one_thread(name, &beside.join("traces/heap"), &beside.join("reference/heap")));
    }
}

#[test]
fn every_place_of_the_small_recordings_with_threads_is_the_real_one() {
    for name in SMALL_THREADS {
        assert_exact(&each_thread(name, &data().join("traces"), &data().join("threads")));
    }
}

#[test]
fn every_place_of_the_long_recording_with_threads_is_the_real_one() {
    let Some(beside) = beside() else { return say_skipped("a recording of tcmalloc with threads") };
    for name in LONG_THREADS {
        assert_exact(&each_thread(name, &beside.join("traces/heap"), &beside.join("reference/heap-threads")));
    }
}

#[test]
fn every_usable_size_is_the_real_one() {
    let table = text(&data().join("reference/usable-tcmalloc.csv.zst"));
    let (mut heap, mut memory) = (tcmalloc(), FlatMemory::at(Address(0x5555_5555_9000)));
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
