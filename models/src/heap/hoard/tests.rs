//! The rules one by one, the emptiness invariant after every call, and the bound of what is held.

use std::collections::VecDeque;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::superblock::NO_CLASS;
use super::*;
use crate::Coins;
use crate::heap::flat_memory::FlatMemory;
use crate::heap::private_heaps::{PrivateHeaps, PrivateHeapsOptions};
use crate::metrics::SharedLines;

const KIB: u64 = 1 << 10;
const V3: HoardOptions = HoardOptions {
    preset: Preset::V3,
    superblock_bytes: None,
    emptiness_eighths: None,
    slack_superblocks: None,
    heaps: None,
    thread_buffer_bytes: None,
    large_cache: None,
    keep_empty: None,
};

fn hoard(options: &HoardOptions) -> (Hoard, FlatMemory) {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    (Hoard::build(setting, options).unwrap(), FlatMemory::at(Address(0x1_0000)))
}

fn malloc_all(heap: &mut Hoard, memory: &mut FlatMemory, thread: u32, bytes: u64, count: usize) -> Vec<Address> {
    (0..count).map(|_| heap.malloc(ThreadId(thread), bytes, memory).unwrap()).collect()
}

/// Superblocks of a heap: blocks used of all, ascending by address.
fn draw(heap: &Hoard, of: u32) -> String {
    let superblocks = heap.by_start.iter().map(|(_, id)| &heap.heaps.superblocks[index(id)]);
    let of_heap = superblocks.filter(|superblock| superblock.heap == of && superblock.class != NO_CLASS);
    of_heap.map(|superblock| format!("[{}/{}]", superblock.used, superblock.blocks)).collect()
}

#[test]
fn a_request_takes_from_the_fullest_superblock_that_has_room() {
    let (mut heap, mut memory) = hoard(&HoardOptions { slack_superblocks: Some(8), ..HoardOptions::default() });
    let blocks = malloc_all(&mut heap, &mut memory, 0, 2_000, 9);
    assert_snapshot!(draw(&heap, 1), @"[3/3][3/3][3/3]");
    for nth in [0, 1, 3] {
        heap.free(ThreadId(0), blocks[nth], &mut memory).unwrap();
    }
    let taken = heap.malloc(ThreadId(0), 2_000, &mut memory).unwrap();
    assert_eq!(taken, blocks[3], "two of three are used there, one of three in the other");
    heap.check().unwrap();
}

#[test]
fn a_heap_that_is_too_empty_gives_its_emptiest_superblock_to_the_global_heap() {
    let (mut heap, mut memory) = hoard(&HoardOptions::default());
    let blocks = malloc_all(&mut heap, &mut memory, 0, 2_000, 12);
    assert_snapshot!(draw(&heap, 1), @"[3/3][3/3][3/3][3/3]");
    heap.free(ThreadId(0), blocks[0], &mut memory).unwrap();
    heap.free(ThreadId(0), blocks[3], &mut memory).unwrap();
    heap.free(ThreadId(0), blocks[6], &mut memory).unwrap();
    // Nine of twelve are not fewer than three quarters.
    assert_snapshot!(draw(&heap, 1), @"[3/3][2/3][2/3][2/3]");
    heap.free(ThreadId(0), blocks[7], &mut memory).unwrap();
    assert_snapshot!(draw(&heap, 1), @"[3/3][2/3][2/3]");
    assert_snapshot!(draw(&heap, 0), @"[1/3]");
    assert_eq!(heap.moved_superblocks(), (1, 0));
    // Another thread takes that one.
    heap.malloc(ThreadId(1), 2_000, &mut memory).unwrap();
    assert_snapshot!(draw(&heap, 2), @"[2/3]");
    assert_eq!(heap.moved_superblocks(), (1, 1));
    heap.check().unwrap();
}

#[test]
fn an_empty_superblock_of_the_global_heap_serves_any_class() {
    let (mut heap, mut memory) = hoard(&HoardOptions::default());
    let at = heap.malloc(ThreadId(0), 2_000, &mut memory).unwrap();
    heap.free(ThreadId(0), at, &mut memory).unwrap();
    assert_eq!((heap.heaps.empty.len(), heap.stats().held), (1, 8 * KIB));
    heap.malloc(ThreadId(3), 40, &mut memory).unwrap();
    assert_eq!((heap.heaps.empty.len(), heap.stats().held), (0, 8 * KIB));
    heap.check().unwrap();
}

#[test]
fn a_freed_block_goes_to_the_heap_of_its_superblock() {
    let (mut heap, mut memory) = hoard(&HoardOptions { slack_superblocks: Some(1), ..HoardOptions::default() });
    let blocks = malloc_all(&mut heap, &mut memory, 0, 100, 3);
    heap.free(ThreadId(1), blocks[1], &mut memory).unwrap();
    assert_eq!(heap.malloc(ThreadId(0), 100, &mut memory), Ok(blocks[1]));
    assert_eq!(heap.handovers(), 2, "to thread 1 and back");
}

#[test]
fn later_hoard_takes_unused_blocks_first_and_buffers_freed_ones() {
    let (mut heap, mut memory) = hoard(&V3);
    let blocks = malloc_all(&mut heap, &mut memory, 0, 100, 3);
    heap.free(ThreadId(1), blocks[0], &mut memory).unwrap();
    assert_eq!(heap.stats().cached, 112);
    assert_ne!(heap.malloc(ThreadId(0), 100, &mut memory), Ok(blocks[0]), "another thread has it");
    assert_eq!(heap.malloc(ThreadId(1), 100, &mut memory), Ok(blocks[0]));
    heap.free(ThreadId(1), blocks[1], &mut memory).unwrap();
    heap.thread_exit(ThreadId(1), &mut memory);
    assert_eq!(heap.stats().cached, 0);
    heap.check().unwrap();
}

#[test]
fn empty_superblocks_beyond_those_kept_are_unmapped() {
    let (mut heap, mut memory) = hoard(&HoardOptions { keep_empty: Some(2), ..HoardOptions::default() });
    for at in malloc_all(&mut heap, &mut memory, 0, 2_000, 30) {
        heap.free(ThreadId(0), at, &mut memory).unwrap();
    }
    assert_eq!((heap.stats().held, memory.held_bytes()), (2 * 8 * KIB, 2 * 8 * KIB));
    malloc_all(&mut heap, &mut memory, 0, 2_000, 30);
    heap.check().unwrap();
}

#[test]
fn large_objects_of_later_hoard_are_kept_until_much_less_is_live() {
    let (mut heap, mut memory) = hoard(&V3);
    let large = malloc_all(&mut heap, &mut memory, 0, 300 * KIB, 40);
    heap.free(ThreadId(0), large[0], &mut memory).unwrap();
    assert!(heap.stats().cached > 300 * KIB);
    assert_eq!(heap.malloc(ThreadId(0), 300 * KIB, &mut memory), Ok(large[0]));
    for &at in &large[..9] {
        heap.free(ThreadId(0), at, &mut memory).unwrap();
    }
    assert_eq!(heap.stats().cached, 0, "a fifth of the peak was freed");
    heap.check().unwrap();
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |options: HoardOptions| {
        Hoard::build(HeapSetting { coins: Coins::from_key([0; 32]) }, &options).unwrap_err().to_string()
    };
    let odd = HoardOptions { superblock_bytes: Some(5_000), ..HoardOptions::default() };
    assert_snapshot!(refused(odd), @"`superblock_bytes` is 5000; a power of two from 4 KiB to 512 KiB");
    assert!(refused(HoardOptions { emptiness_eighths: Some(8), ..V3 }).contains("emptiness_eighths"));
    assert!(refused(HoardOptions { heaps: Some(0), ..V3 }).contains("heaps"));
}

/// Thread 0 allocates, thread 1 frees what is more than 100 blocks old. What is held at the end of each tenth.
fn producer_and_consumer(heap: &mut dyn HeapAllocator) -> Vec<u64> {
    let mut memory = FlatMemory::at(Address(0x1_0000));
    let mut queue = VecDeque::new();
    let mut held = Vec::new();
    for step in 1..=20_000_u64 {
        queue.push_back(heap.malloc(ThreadId(0), 16 + step * 7 % 200, &mut memory).unwrap());
        if queue.len() > 100 {
            heap.free(ThreadId(1), queue.pop_front().unwrap(), &mut memory).unwrap();
        }
        if step % 2_000 == 0 {
            held.push(heap.stats().held);
        }
    }
    held
}

#[test]
fn a_producer_and_a_consumer_hold_what_they_need_where_private_heaps_grow_without_end() {
    let (mut hoard, _) = hoard(&HoardOptions::default());
    let bounded = producer_and_consumer(&mut hoard);
    assert_eq!(bounded.first(), bounded.last(), "{bounded:?}");
    assert!(bounded[9] < 256 * KIB, "{bounded:?}");
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let mut private = PrivateHeaps::build(setting, &PrivateHeapsOptions::default()).unwrap();
    let unbounded = producer_and_consumer(&mut private);
    assert!(unbounded.windows(2).all(|pair| pair[1] > pair[0] + 100 * KIB), "{unbounded:?}");
}

/// Each of eight threads in turn allocates much and frees it all: what the one freed serves the next.
#[test]
fn threads_that_take_turns_use_one_after_the_other_what_was_freed() {
    let peak = |heap: &mut dyn HeapAllocator| {
        let mut memory = FlatMemory::at(Address(0x1_0000));
        for thread in 0..8 {
            let blocks: Vec<Address> =
                (0..4_000).map(|_| heap.malloc(ThreadId(thread), 200, &mut memory).unwrap()).collect();
            blocks.into_iter().for_each(|at| heap.free(ThreadId(thread), at, &mut memory).unwrap());
        }
        heap.stats().held
    };
    let (mut hoard, _) = hoard(&HoardOptions { heaps: Some(8), ..HoardOptions::default() });
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let mut private = PrivateHeaps::build(setting, &PrivateHeapsOptions::default()).unwrap();
    let (shared, cached) = (peak(&mut hoard), peak(&mut private));
    assert!(shared * 10 < 4_000 * 200 * 15, "1.5 times what one thread has at most: {shared}");
    assert!(cached > 7 * shared, "each private heap keeps its own: {cached} and {shared}");
}

/// Four threads in turn ask for 8 bytes each, and free what a neighbour got.
fn lines_shared(heap: &mut dyn HeapAllocator, passes_on: bool) -> u64 {
    let mut memory = FlatMemory::at(Address(0x1_0000));
    let mut lines = SharedLines::new(64);
    let mut last: Vec<Option<Address>> = vec![None; 4];
    for step in 0..4_000_u32 {
        let thread = step % 4;
        let from = if passes_on { (thread + 1) % 4 } else { thread };
        if step % 8 >= 4
            && let Some(at) = last[index(from.into())].take()
        {
            heap.free(ThreadId(thread), at, &mut memory).unwrap();
            lines.remove(at);
        }
        let at = heap.malloc(ThreadId(thread), 8, &mut memory).unwrap();
        lines.insert(ThreadId(thread), at, 8);
        last[index(thread.into())] = Some(at);
    }
    lines.shared_max()
}

#[test]
fn heaps_of_different_threads_share_no_line_where_one_heap_for_all_does() {
    let with = |heaps, slack| {
        let options = HoardOptions { heaps: Some(heaps), slack_superblocks: Some(slack), ..HoardOptions::default() };
        hoard(&options).0
    };
    assert_eq!(lines_shared(&mut with(4, 4), false), 0);
    assert!(lines_shared(&mut with(1, 4), false) > 100);
    // Blocks that others free go back to their superblock: no thread gets a part of another's line.
    assert_eq!(lines_shared(&mut with(4, 4), true), 0);
    // But a superblock that goes through the global heap takes blocks of its old thread along.
    assert!(lines_shared(&mut with(4, 0), true) > 100);
}

fn any_options() -> impl Strategy<Value = HoardOptions> {
    let options = (any::<bool>(), 1_u64..8, 0_u64..4, 1_u32..6, prop::option::of(0_u64..4), 0_u64..2);
    options.prop_map(|(is_paper, emptiness, slack, heaps, keep_empty, buffers)| HoardOptions {
        preset: if is_paper { Preset::Paper } else { Preset::V3 },
        superblock_bytes: Some(8 << 10),
        emptiness_eighths: Some(emptiness),
        slack_superblocks: Some(slack),
        heaps: Some(heaps),
        thread_buffer_bytes: Some(buffers * 4_096),
        keep_empty,
        ..HoardOptions::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// `check` has the invariant: no heap is too empty after a free.
    #[test]
    fn no_heap_is_too_empty_after_any_free(
        options in any_options(),
        calls in prop::collection::vec((0_u32..8, any::<prop::sample::Index>(), 1_u64..1_024, 0_u8..5), 1..300),
    ) {
        let (mut heap, mut memory) = hoard(&options);
        let mut live: Vec<Address> = Vec::new();
        for (thread, nth, bytes, kind) in calls {
            let thread = ThreadId(thread);
            if kind < 2 && !live.is_empty() {
                let at = live.swap_remove(nth.index(live.len()));
                heap.free(thread, at, &mut memory).unwrap();
            } else if kind == 2 && bytes < 50 {
                heap.thread_exit(thread, &mut memory);
            } else {
                live.push(heap.malloc(thread, bytes, &mut memory).unwrap());
            }
            let checked = heap.check();
            prop_assert!(checked.is_ok(), "{checked:?}");
        }
    }

    /// Berger et al.: A(t) is at most the most that was used over 1 - f, and a constant for each heap and class.
    #[test]
    fn what_is_held_is_bounded_by_the_most_that_was_used(
        emptiness in 1_u64..7,
        threads in 1_u32..6,
        calls in prop::collection::vec((any::<prop::sample::Index>(), 1_u64..1_000, 0_u8..20), 1..600),
        grows in prop::collection::vec(0_u8..20, 8),
    ) {
        let options = HoardOptions { emptiness_eighths: Some(emptiness), heaps: Some(4), ..HoardOptions::default() };
        let (mut heap, mut memory) = hoard(&options);
        let (mut live, mut used, mut used_max) = (Vec::new(), 0, 0_u64);
        for (step, (nth, bytes, kind)) in calls.iter().enumerate() {
            let thread = ThreadId(u32::try_from(step).unwrap() / 7 % threads);
            if *kind < grows[step * 8 / calls.len()] {
                for _ in 0..4 {
                    let at = heap.malloc(thread, *bytes, &mut memory).unwrap();
                    used += heap.usable_size(at).unwrap();
                    live.push(at);
                }
            } else if !live.is_empty() {
                let at = live.swap_remove(nth.index(live.len()));
                used -= heap.usable_size(at).unwrap();
                heap.free(thread, at, &mut memory).unwrap();
            }
            used_max = used_max.max(used);
            let constant = (4 + 1) * heap.classes.len() as u64 * 8 * KIB;
            // A superblock of 8 KiB has at most 64 bytes of header and a block's length that is no block.
            let bound = 8 * used_max / (8 - emptiness) * 8 / 7 + constant;
            prop_assert!(heap.stats().held <= bound, "{} held, {used_max} used at most", heap.stats().held);
        }
    }
}
