//! The `glibc` heap against the real glibc 2.36, call by call: places, usable sizes, break, mapped and resident bytes.

use framesim::conform::heap::HeapVerdict;
use framesim_tests::recorded_heap::{
    RecordedHeap, assert_resident_constant, assert_resident_within, assert_same_places,
};

const RECORDED: RecordedHeap = RecordedHeap {
    heap: "glibc",
    small: &["ls", "pigz", "gen-small", "gen-mixed", "gen-large", "gen-huge", "gen-align", "gen-edge"],
    long: &["git-log", "jq", "sqlite", "python-threads", "python-mix"],
    small_threads: &["pigz", "gen-threads4", "gen-threads20"],
    long_threads: &["python-threads"],
};

fn assert_exact(verdict: &HeapVerdict) {
    assert_same_places(verdict);
    assert_resident_within(verdict, 0);
    // Code of the C library that is read in by the first memset or memcpy: 16 pages.
    assert_resident_constant(verdict, &[65_536]);
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
