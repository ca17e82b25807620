//! The `mimalloc` heap against mimalloc 2.0.9 on this machine, where that is installed: random calls of one thread and of many.
//!
//! `cargo test` makes 100,000 calls; `cargo test --release --test heap_mimalloc_real -- --ignored --nocapture` makes 10 million. What
//! differs is made as short as possible and printed as a heap trace. Places are counted from the first block: the real one starts
//! at a random address.

use std::io::Write as _;

use framesim::conform::heap::ReplaySetting;
use framesim_models::heap::HeapChoice;
use framesim_tests::heap_calls::Edges;
use framesim_tests::heap_fuzz::Fuzz;
use framesim_tests::real_heap::{Asks, Call, RealHeap};
use tempfile::TempDir;

/// Debian 12 has version 2.0.9 under that name.
const LIBRARY: &str = "libmimalloc.so.2.0";
/// Sizes at which a rule changes.
const EDGES: Edges = [64, 128, 1_024, 4_096, 16_384, 65_536, 131_072, 524_288, 8 << 20, 16 << 20];

#[test]
fn a_hundred_thousand_random_calls_are_answered_as_by_the_real_one() {
    let folder = folder();
    if let Some(fuzz) = fuzz(&folder) {
        fuzz.run(0, 5_000, 100_000);
    }
}

#[test]
#[ignore = "takes minutes"]
fn ten_million_random_calls_are_answered_as_by_the_real_one() {
    let folder = folder();
    if let Some(fuzz) = fuzz(&folder) {
        fuzz.run(1_000, 30_000, 10_000_000);
    }
}

/// Tens of segments have no owner at one time: they are met often, and change their order.
#[test]
fn threads_that_end_leave_segments_that_the_real_one_finds_in_the_same_order() {
    let folder = folder();
    let Some(fuzz) = fuzz(&folder) else { return };
    let by = |thread, asks| Call { thread, asks };
    let mut calls = Vec::new();
    let mut id = 0;
    let mut next = |blocks: &mut Vec<u32>| {
        id += 1;
        blocks.push(id);
        id
    };
    let mut blocks = Vec::new();
    for thread in 1..60_u8 {
        for nth in 0..12_u64 {
            let bytes =
                [40, 700, 9_000, 100_000, 300_000, 3_000_000][usize::from(thread + u8::try_from(nth).unwrap()) % 6];
            calls.push(by(thread, Asks::Malloc(next(&mut blocks), bytes + 16 * nth)));
        }
        // Some blocks come back before the end, some after it, by others.
        calls.push(by(thread, Asks::Free(blocks.swap_remove(blocks.len() / 2))));
        calls.push(by(thread, Asks::Exit));
        if thread % 3 == 0 {
            for _ in 0..10 {
                calls.push(by(0, Asks::Free(blocks.swap_remove(blocks.len() / 3))));
            }
        }
        if thread % 7 == 0 {
            for bytes in [40, 700, 300_000, 3_000_000, 700] {
                calls.push(by(0, Asks::Malloc(next(&mut blocks), bytes)));
            }
        }
    }
    assert_eq!(fuzz.differs(&calls, 60), None);
}

#[test]
fn alignments_of_segments_are_reached_as_by_the_real_one() {
    let folder = folder();
    let Some(fuzz) = fuzz(&folder) else { return };
    let by = |asks| Call { thread: 0, asks };
    let mut calls = Vec::new();
    for (id, (align, bytes)) in
        (1..).zip([(16, 100), (4 << 20, 50), (16 << 20, 1_000), (32 << 20, 1_000), (32 << 20, 20 << 20)])
    {
        calls.push(by(Asks::Aligned(id, align, bytes)));
        calls.push(by(Asks::Realloc(id + 100, id, 2 * bytes)));
        calls.push(by(Asks::Aligned(id + 200, align, bytes + 1)));
        calls.push(by(Asks::Free(id + 100)));
    }
    assert_eq!(fuzz.differs(&calls, 1), None);
}

/// The model and the real one; none where that is not installed.
fn fuzz(folder: &TempDir) -> Option<Fuzz> {
    match RealHeap::preloading(folder.path(), LIBRARY) {
        Ok(real) => {
            let model = HeapChoice::named("mimalloc");
            Some(Fuzz {
                real,
                model,
                setting: ReplaySetting::threads_with("mimalloc"),
                edges: EDGES,
                resident_tolerance: 0,
            })
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: calls to the real mimalloc: {why}");
            None
        }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for temporary files")
}
