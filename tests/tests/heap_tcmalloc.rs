//! The `tcmalloc` heap against the real tcmalloc of gperftools 2.10, call by call: places, usable sizes, break, mapped and resident bytes.

use framesim::conform::heap::HeapVerdict;
use framesim_tests::recorded_heap::{
    RecordedHeap, assert_resident_constant, assert_resident_within, assert_same_places,
};

const RECORDED: RecordedHeap = RecordedHeap {
    heap: "tcmalloc",
    small: &["ls", "pigz", "gen-edge", "gen-align"],
    long: &[
        "gen-small",
        "gen-mixed",
        "gen-large",
        "gen-huge",
        "git-log",
        "jq",
        "sqlite",
        "python-threads",
        "python-mix",
    ],
    small_threads: &["pigz", "gen-threads4", "gen-threads20"],
    long_threads: &["python-threads"],
};

fn assert_exact(verdict: &HeapVerdict) {
    assert_same_places(verdict);
    assert_resident_within(verdict, 0);
    // Code of the libraries that is read in by the first memset or memcpy: 33 pages. `ls` makes none.
    assert_resident_constant(verdict, &[0, 135_168]);
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
fn every_place_of_the_small_recordings_with_threads_is_the_real_one() {
    RECORDED.small_threads().iter().for_each(assert_exact);
}

#[test]
fn every_place_of_the_long_recordings_with_threads_is_the_real_one() {
    RECORDED.long_threads().iter().for_each(assert_exact);
}

#[test]
fn every_usable_size_is_the_real_one() {
    assert_eq!(RECORDED.equal_usable_sizes(), 17_010);
}
