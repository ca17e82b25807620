//! The `jemalloc` heap against the real jemalloc 5.3.0, call by call: places, usable sizes, break, mapped and resident bytes.

use framesim::conform::heap::HeapVerdict;
use framesim_tests::recorded_heap::{RecordedHeap, assert_resident_within, assert_same_places};

const RECORDED: RecordedHeap = RecordedHeap {
    heap: "jemalloc",
    small: &["ls", "gen-edge", "gen-small"],
    long: &["pigz", "gen-mixed", "gen-large", "git-log", "jq", "sqlite", "python-threads", "python-mix"],
    small_threads: &["pigz", "gen-threads4"],
    long_threads: &["gen-threads20", "python-threads"],
};

fn assert_exact(verdict: &HeapVerdict) {
    assert_same_places(verdict);
    // Pages of the library and of its tables.
    assert_resident_within(verdict, 160 << 10);
}

#[test]
fn every_place_and_row_of_the_small_recordings_is_the_real_one() {
    RECORDED.small().iter().for_each(assert_exact);
}

#[test]
fn every_place_and_row_of_the_long_recordings_is_the_real_one() {
    RECORDED.long().iter().for_each(assert_exact);
}

#[test]
fn every_page_of_the_small_recordings_with_threads_is_the_real_one() {
    RECORDED.small_threads().iter().for_each(assert_exact);
}

#[test]
fn every_page_of_the_long_recordings_with_threads_is_the_real_one() {
    RECORDED.long_threads().iter().for_each(assert_exact);
}

#[test]
fn every_usable_size_is_the_real_one() {
    assert_eq!(RECORDED.equal_usable_sizes(), 17_010);
}
