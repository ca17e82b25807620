//! The `dlmalloc` heap against the real dlmalloc 2.8.6, call by call: places, usable sizes, break, mapped and resident bytes.

use framesim::conform::heap::HeapVerdict;
use framesim_tests::recorded_heap::{
    RecordedHeap, assert_resident_constant, assert_resident_within, assert_same_places,
};

const RECORDED: RecordedHeap = RecordedHeap {
    heap: "dlmalloc",
    small: &["ls", "pigz", "gen-small", "gen-mixed", "gen-align", "gen-edge"],
    long: &["git-log", "jq", "sqlite", "python-threads", "python-mix"],
    small_threads: &[],
    long_threads: &[],
};

fn assert_exact(verdict: &HeapVerdict) {
    assert_same_places(verdict);
    assert_resident_within(verdict, 0);
    // Code of the libraries that is read in by the first calls: 41 pages.
    assert_resident_constant(verdict, &[167_936]);
}

#[test]
fn every_place_and_row_of_the_small_recordings_is_the_real_one() {
    RECORDED.small().iter().for_each(assert_exact);
}

#[test]
fn every_place_and_row_of_the_long_recordings_is_the_real_one() {
    RECORDED.long().iter().for_each(assert_exact);
}
