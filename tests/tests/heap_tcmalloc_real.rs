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
use framesim_tests::real_heap::{Asks, Call, RealHeap};

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

/// Found by the long run: the heap grows across 128 MiB, gives all that is free back, and goes on with its rounds of releases.
#[test]
fn rounds_of_releases_go_on_as_in_the_real_one_after_all_was_released() {
    fuzz(&TcmallocOptions::default(), 1_120, 30_000, 1);
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

#[test]
fn aligned_pages_alone_give_a_thread_no_cache_and_whole_ones_do() {
    let by = |thread, asks| Call { thread, asks };
    for first in [Asks::Aligned(1, 16_384, 100), Asks::Malloc(1, 300_000), Asks::Aligned(1, 64, 100)] {
        let mut calls: Vec<Call> = (10..20).map(|id| by(0, Asks::Malloc(id, 500))).collect();
        calls.push(by(1, first));
        calls.extend((10..20).map(|id| by(1, Asks::Free(id))));
        calls.extend((20..40).map(|id| by(0, Asks::Malloc(id, 500))));
        calls.extend((40..60).map(|id| by(1, Asks::Malloc(id, 500))));
        assert_same(&calls, 2);
    }
}

#[test]
fn more_threads_than_one_piece_of_tables_has_caches_for_are_served() {
    let threads = 40;
    let mut calls = Vec::new();
    for thread in 0..threads {
        let first = 100 * u32::from(thread);
        calls.extend((first + 1..first + 60).map(|id| Call { thread, asks: Asks::Malloc(id, 3_000) }));
    }
    for thread in (1..threads).rev() {
        let before = 100 * u32::from(thread - 1);
        calls.extend((before + 1..before + 60).map(|id| Call { thread, asks: Asks::Free(id) }));
        if thread % 3 == 0 {
            calls.push(Call { thread, asks: Asks::Exit });
        }
    }
    calls.extend((10_000..10_400).map(|id| Call { thread: 2, asks: Asks::Malloc(id, 3_000) }));
    assert_same(&calls, threads);
}

#[test]
#[ignore = "needs 1.3 GiB of memory"]
fn a_heap_that_outgrows_its_first_tables_is_the_real_one() {
    let malloc = |id| Call { thread: 0, asks: Asks::Malloc(id, 1_024) };
    assert_same(&(1..=1_150_000).map(malloc).collect::<Vec<_>>(), 1);
}

#[test]
#[ignore = "needs 1.3 GiB of memory"]
fn free_memory_merges_before_a_large_heap_grows_as_in_the_real_one() {
    let by_main = |asks| Call { thread: 0, asks };
    let mut calls: Vec<Call> = (1..1_500).map(|id| by_main(Asks::Malloc(id, 300_000 + u64::from(id) * 200))).collect();
    calls.extend((1..1_500).filter(|id| id % 3 != 0).map(|id| by_main(Asks::Free(id))));
    calls.extend((2_001..2_300).map(|id| by_main(Asks::Malloc(id, 500_000 + u64::from(id % 64) * 30_000))));
    calls.extend((2_301..2_320).map(|id| by_main(Asks::Malloc(id, 20 << 20))));
    assert_same(&calls, 1);
}

/// Holds calls with default settings against the real one.
fn assert_same(calls: &[Call], threads: u8) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    match RealHeap::preloading(folder.path(), LIBRARY) {
        Ok(real) => assert_eq!(held_against(real, &TcmallocOptions::default()).differs(calls, threads), None),
        Err(why) => say_skipped(&why),
    }
}

fn say_skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: calls to the real tcmalloc: {why}");
}

fn fuzz(options: &TcmallocOptions, first: u64, calls: usize, total: usize) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    match RealHeap::preloading(folder.path(), LIBRARY) {
        Ok(real) => held_against(real, options).run(first, calls, total),
        Err(why) => say_skipped(&why),
    }
}

fn held_against(real: RealHeap, options: &TcmallocOptions) -> Fuzz {
    let rate = options.release_rate_thousandths;
    let real = real
        .with("TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES", &options.max_total_thread_cache_bytes.to_string())
        .with("TCMALLOC_RELEASE_RATE", &format!("{}.{:03}", rate / 1000, rate % 1000))
        .with("TCMALLOC_SKIP_SBRK", if options.skip_sbrk { "1" } else { "0" });
    let setting = ReplaySetting::threads_with("tcmalloc");
    Fuzz { real, model: HeapChoice::Tcmalloc(options.clone()), setting, edges: EDGES, resident_tolerance: 0 }
}
