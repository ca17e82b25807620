//! The `jemalloc` heap against jemalloc 5.3.0 on this machine, where that is installed: random calls of one thread and of many.
//!
//! `cargo test` makes 100,000 calls; `cargo test --release --test heap_jemalloc_real -- --ignored --nocapture` makes 10 million.
//! What differs is made as short as possible and printed as a heap trace. Pages fade so slowly here that no clock is needed, but for
//! one test, where nothing stays dirty.

use std::io::Write as _;

use framesim::conform::heap::ReplaySetting;
use framesim_models::heap::HeapChoice;
use framesim_models::heap::jemalloc::JemallocOptions;
use framesim_tests::heap_calls::Edges;
use framesim_tests::heap_fuzz::Fuzz;
use framesim_tests::real_heap::RealHeap;

/// The file of version 5; the version is not in its name.
const LIBRARY: &str = "libjemalloc.so.2";
const EDGES: Edges = [128, 1_024, 4_096, 14_336, 16_384, 32_768, 65_536, 2 << 20, 7 << 20, 8 << 20];
/// Longer than any test.
const SLOWLY: i64 = 1_000_000_000;

#[test]
fn a_hundred_thousand_random_calls_are_answered_as_by_the_real_one() {
    fuzz(&JemallocOptions { dirty_decay_ms: SLOWLY, ..Default::default() }, 0, 5_000, 100_000);
}

#[test]
#[ignore = "takes minutes"]
fn ten_million_random_calls_are_answered_as_by_the_real_one() {
    fuzz(&JemallocOptions { dirty_decay_ms: SLOWLY, ..Default::default() }, 1_000, 30_000, 10_000_000);
}

/// Found by the long run: slabs were taken in another order than by age, since the root of their heap went while others waited.
#[test]
fn slabs_are_taken_in_the_order_of_the_real_ones_heap() {
    fuzz(&JemallocOptions { dirty_decay_ms: SLOWLY, ..Default::default() }, 1_010, 30_000, 1);
}

#[test]
fn what_is_purged_at_once_or_never_lies_as_in_the_real_one() {
    for dirty_decay_ms in [0, -1] {
        fuzz(&JemallocOptions { dirty_decay_ms, ..Default::default() }, 2, 3_000, 20_000);
    }
}

#[test]
fn few_arenas_are_shared_as_in_the_real_one() {
    for arenas in [1, 3] {
        // Seeds of 20 threads.
        let options = JemallocOptions { dirty_decay_ms: SLOWLY, arenas: Some(arenas), ..Default::default() };
        fuzz(&options, 24, 3_000, 20_000);
    }
}

fn fuzz(options: &JemallocOptions, first: u64, calls: usize, total: usize) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let real = match RealHeap::preloading(folder.path(), LIBRARY) {
        Ok(real) => real,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: calls to the real jemalloc: {why}");
            return;
        }
    };
    // Without `arenas` as many as for the two processors of the setting.
    let arenas = options.arenas.unwrap_or(8);
    let conf = format!("dirty_decay_ms:{},narenas:{arenas}", options.dirty_decay_ms);
    let real = real.with("MALLOC_CONF", &conf);
    let setting = ReplaySetting::threads_with("jemalloc");
    let model = HeapChoice::Jemalloc(options.clone());
    Fuzz { real, model, setting, edges: EDGES, resident_tolerance: 160 << 10 }.run(first, calls, total);
}
