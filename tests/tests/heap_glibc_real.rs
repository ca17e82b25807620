//! The `glibc` heap against this machine's own malloc, where that is glibc 2.36: random calls of one thread and of many.
//!
//! `cargo test` makes 100,000 calls; `cargo test --release --test heap_glibc_real -- --ignored --nocapture` makes 10 million.
//! What differs is made as short as possible and printed as a heap trace.

use std::io::Write as _;
use std::path::Path;

use framesim::conform::heap::ReplaySetting;
use framesim_models::heap::HeapChoice;
use framesim_tests::heap_calls::Edges;
use framesim_tests::heap_fuzz::Fuzz;
use framesim_tests::real_heap::{Asks, Call, RealHeap};

const VERSION: &str = "2.36";
const EDGES: Edges = [128, 1_024, 1_040, 4_096, 65_536, 131_072, 262_144, 2 << 20, 4 << 20, 32 << 20];

#[test]
fn a_hundred_thousand_random_calls_are_answered_as_by_the_real_one() {
    fuzz(0, 5_000, 100_000);
}

#[test]
#[ignore = "takes minutes"]
fn ten_million_random_calls_are_answered_as_by_the_real_one() {
    fuzz(1_000, 30_000, 10_000_000);
}

#[test]
fn an_arena_of_several_heaps_is_the_real_one() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let Some(fuzz) = fuzz_in(folder.path()) else { return };
    // What is left of a full heap goes into the cache (100,000), or keeps its own chunk (90,000).
    for bytes in [100_000, 90_000] {
        let blocks = 1..=1_500;
        let by = |thread, asks| Call { thread, asks };
        let mut calls: Vec<Call> = blocks.clone().map(|id| by(1, Asks::Malloc(id, bytes))).collect();
        calls.extend(blocks.clone().rev().take(400).map(|id| by(1, Asks::Free(id))));
        calls.extend((2_001..2_100).map(|id| by(1, Asks::Malloc(id, 20_000))));
        calls.extend(blocks.rev().skip(400).map(|id| by(0, Asks::Free(id))));
        calls.push(by(1, Asks::Malloc(2_500, 3_000)));
        calls.push(by(1, Asks::Exit));
        calls.push(by(2, Asks::Malloc(2_501, 5_000)));
        assert_eq!(fuzz.differs(&calls, 3), None, "blocks of {bytes}");
    }
}

fn fuzz(first: u64, calls: usize, total: usize) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    if let Some(fuzz) = fuzz_in(folder.path()) {
        fuzz.run(first, calls, total);
    }
}

fn fuzz_in(folder: &Path) -> Option<Fuzz> {
    match RealHeap::build(folder, VERSION) {
        Ok(real) => Some(Fuzz {
            real,
            model: HeapChoice::named("glibc"),
            setting: ReplaySetting::threads(),
            edges: EDGES,
            resident_tolerance: 0,
        }),
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: calls to the real malloc: {why}");
            None
        }
    }
}
