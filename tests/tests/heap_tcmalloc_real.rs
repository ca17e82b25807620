//! The `tcmalloc` heap against gperftools 2.10 on this machine, where that is installed: random calls of one thread and of many.
//!
//! `cargo test` makes 100,000 calls with default settings and some with others; `cargo test --release --test heap_tcmalloc_real
//! -- --ignored --nocapture` makes 10 million. What differs is made as short as possible and printed as a heap trace.

use std::io::Write as _;

use framesim::conform::heap::ReplaySetting;
use framesim_models::heap::HeapChoice;
use framesim_models::heap::tcmalloc::TcmallocOptions;
use framesim_tests::heap_calls::Edges;
use framesim_tests::heap_fuzz::Fuzz;
use framesim_tests::real_heap::RealHeap;

/// The file of this version.
const LIBRARY: &str = "libtcmalloc_minimal.so.4.5.10";
const EDGES: Edges = [128, 1_024, 2_048, 4_096, 8_192, 32_768, 65_536, 262_144, 1 << 20, 24 << 20];

#[test]
fn a_hundred_thousand_random_calls_are_answered_as_by_the_real_one() {
    fuzz(&TcmallocOptions::default(), 0, 5_000, 100_000);
}

#[test]
#[ignore = "takes minutes"]
fn ten_million_random_calls_are_answered_as_by_the_real_one() {
    fuzz(&TcmallocOptions::default(), 1_000, 30_000, 10_000_000);
}

#[test]
fn small_budgets_are_lent_and_taken_as_by_the_real_one() {
    for max_total_thread_cache_bytes in [512 << 10, 2 << 20] {
        // Seeds of 20 threads: there is not enough for all.
        fuzz(&TcmallocOptions { max_total_thread_cache_bytes, ..Default::default() }, 24, 3_000, 20_000);
    }
}

#[test]
fn memory_goes_back_as_fast_as_by_the_real_one() {
    for release_rate_thousandths in [0, 100, 500_000] {
        fuzz(&TcmallocOptions { release_rate_thousandths, ..Default::default() }, 2, 3_000, 20_000);
    }
}

#[test]
fn memory_from_mappings_is_that_of_the_real_one() {
    fuzz(&TcmallocOptions { skip_sbrk: true, ..Default::default() }, 0, 3_000, 20_000);
}

fn fuzz(options: &TcmallocOptions, first: u64, calls: usize, total: usize) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    match RealHeap::preloading(folder.path(), LIBRARY) {
        Ok(real) => run(real, options, first, calls, total),
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: calls to the real tcmalloc: {why}");
        }
    }
}

fn run(real: RealHeap, options: &TcmallocOptions, first: u64, calls: usize, total: usize) {
    let rate = options.release_rate_thousandths;
    let real = real
        .with("TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES", &options.max_total_thread_cache_bytes.to_string())
        .with("TCMALLOC_RELEASE_RATE", &format!("{}.{:03}", rate / 1000, rate % 1000))
        .with("TCMALLOC_SKIP_SBRK", if options.skip_sbrk { "1" } else { "0" });
    let setting = ReplaySetting::threads_with("tcmalloc");
    Fuzz { real, model: HeapChoice::Tcmalloc(options.clone()), setting, edges: EDGES }.run(first, calls, total);
}
