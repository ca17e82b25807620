//! What every registered heap must keep, under random calls: the rules of [`framesim_models::heap::oracle`].

use framesim_models::heap::dlmalloc::DlmallocOptions;
use framesim_models::heap::flat_memory::FlatMemory;
use framesim_models::heap::free_list::{FreeListOptions, Order, Policy};
use framesim_models::heap::hoard::{HoardOptions, Preset};
use framesim_models::heap::oracle::{HeapCall, WatchedHeap};
use framesim_models::heap::tcmalloc::TcmallocOptions;
use framesim_models::heap::{HeapAllocator, HeapChoice, HeapRegistry, HeapSetting};
use framesim_models::{Address, Coins, ThreadId, Violation};
use proptest::prelude::*;

/// Heaps that join all free neighbours: with nothing live, what they hold is free in pieces that do not touch.
const COALESCING: &[&str] = &["free_list", "segregated_fit", "tlsf", "dlmalloc"];

fn setting() -> HeapSetting {
    HeapSetting { coins: Coins::from_key([7; 32]) }
}

/// Each heap of the registry with its default options, `free_list` with all combinations of its own, and other builds of `dlmalloc`.
fn choices() -> Vec<HeapChoice> {
    let mut choices: Vec<HeapChoice> = HeapChoice::NAMES.iter().map(|name| HeapChoice::named(name)).collect();
    for policy in [Policy::First, Policy::Best, Policy::Worst, Policy::Next] {
        for order in [Order::Address, Order::SizeUp, Order::SizeDown, Order::InsertFront, Order::InsertBack] {
            for coalesce in [true, false] {
                let split = coalesce || policy != Policy::Best;
                let trim_bytes = coalesce.then_some(100 * 1024);
                let options = FreeListOptions { policy, order, coalesce, split, trim_bytes, ..Default::default() };
                choices.push(HeapChoice::FreeList(options));
            }
        }
    }
    for skip_sbrk in [true, false] {
        let (max_total_thread_cache_bytes, release_rate_thousandths) = (512 << 10, 1_000_000);
        let options = TcmallocOptions { max_total_thread_cache_bytes, release_rate_thousandths, skip_sbrk };
        choices.push(HeapChoice::Tcmalloc(options));
    }
    choices.push(HeapChoice::Hoard(HoardOptions { preset: Preset::V3, ..Default::default() }));
    choices.push(HeapChoice::Hoard(HoardOptions {
        keep_empty: Some(1),
        large_cache: Some(true),
        ..Default::default()
    }));
    for use_break in [true, false] {
        let trim_threshold_bytes = Some(100_000);
        let options = DlmallocOptions { use_break, trim_threshold_bytes, release_rate: 8, ..Default::default() };
        choices.push(HeapChoice::Dlmalloc(options));
        choices.push(HeapChoice::Dlmalloc(DlmallocOptions { footers: true, mmap_threshold_bytes: None, ..options }));
    }
    choices
}

fn watched(choice: &HeapChoice) -> WatchedHeap {
    let heap = HeapRegistry::default().build(choice.name(), choice, setting());
    WatchedHeap::new(heap.expect("a heap of this crate").expect("options that fit"))
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0_u64..200,
        3 => 200_u64..5_000,
        2 => 5_000_u64..300_000,
        1 => 300_000_u64..4_000_000,
        1 => (0_u32..23, 0_u64..40).prop_map(|(power, off)| ((1_u64 << power) + off).saturating_sub(20)),
    ]
}

fn calls() -> impl Strategy<Value = Vec<HeapCall>> {
    let call = prop_oneof![
        30 => sizes().prop_map(HeapCall::Malloc),
        3 => (0_u64..9, sizes()).prop_map(|(count, bytes)| HeapCall::Calloc(count, bytes)),
        4 => (0_u32..14, sizes()).prop_map(|(power, bytes)| HeapCall::Aligned(1 << power, bytes)),
        8 => (any::<u64>(), sizes()).prop_map(|(nth, bytes)| HeapCall::Realloc(nth, bytes)),
        28 => any::<u64>().prop_map(HeapCall::Free),
        1 => (any::<u64>(), 1_u64..64).prop_map(|(nth, offset)| HeapCall::FreeInside(nth, offset)),
        2 => (0_u32..4).prop_map(HeapCall::Thread),
    ];
    // Half of the runs meet a kernel that gives no more, and at times one that gives again.
    let limit = prop_oneof![Just(u64::MAX), Just(u64::MAX), 0_u64..2_000_000, Just(0)];
    (prop::collection::vec(call, 1..250), prop::collection::vec((any::<prop::sample::Index>(), limit), 0..3)).prop_map(
        |(mut calls, limits)| {
            for (place, bytes) in limits {
                calls.insert(place.index(calls.len()), HeapCall::Limit(bytes));
            }
            calls
        },
    )
}

/// Plays the calls; half-way the heap is written and read back, and both must go on alike.
fn play(choice: &HeapChoice, calls: &[HeapCall]) -> Result<WatchedHeap, Violation> {
    let mut heap = watched(choice);
    let half = calls.len() / 2;
    for (step, call) in calls[..half].iter().enumerate() {
        heap.call(call)?;
        if step % 16 == 0 {
            heap.check()?;
        }
    }
    let saved = heap.heap().save();
    let restored = HeapRegistry::default().restore(choice.name(), &saved).expect("what `save` wrote");
    let mut other = heap.with_heap(restored);
    for (step, call) in calls[half..].iter().enumerate() {
        let (answer, other_answer) = (heap.call(call)?, other.call(call)?);
        assert_eq!(answer, other_answer, "{call:?} after reading the heap back");
        if step % 16 == 0 {
            heap.check()?;
        }
    }
    heap.check()?;
    Ok(heap)
}

/// With nothing live, no two free pieces touch.
fn is_merged(heap: &dyn HeapAllocator) -> Result<(), String> {
    let mut pieces = Vec::new();
    heap.for_each_free(&mut |at, bytes| pieces.push((at.0, bytes)));
    pieces.sort_unstable();
    let reported: u64 = pieces.iter().map(|(_, bytes)| bytes).sum();
    if reported != heap.stats().free {
        return Err(format!("{reported} bytes in free pieces, {} in stats", heap.stats().free));
    }
    match pieces.windows(2).find(|pair| pair[0].0 + pair[0].1 == pair[1].0) {
        Some(pair) => Err(format!("free pieces {pair:x?} touch")),
        None => Ok(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn keeps_the_rules_of_every_heap(calls in calls()) {
        for choice in choices() {
            let played = play(&choice, &calls).and_then(|mut heap| {
                heap.free_all()?;
                heap.check()?;
                Ok(heap)
            });
            match played {
                Err(violation) => prop_assert!(false, "{choice:?}: {violation}"),
                Ok(heap) if COALESCING.contains(&choice.name()) && choice == HeapChoice::named(choice.name()) => {
                    let merged = is_merged(heap.heap());
                    prop_assert!(merged.is_ok(), "{choice:?}: {merged:?}");
                }
                Ok(_) => {}
            }
        }
    }
}

#[test]
fn a_small_block_freed_and_asked_again_needs_no_system_call() {
    for choice in choices() {
        let mut heap = watched(&choice);
        heap.call(&HeapCall::Malloc(100)).unwrap();
        heap.call(&HeapCall::Malloc(100)).unwrap();
        let before = heap.memory().system_calls();
        for _ in 0..100 {
            heap.call(&HeapCall::Free(1)).unwrap();
            heap.call(&HeapCall::Malloc(100)).unwrap();
        }
        assert_eq!(heap.memory().system_calls(), before, "{choice:?}");
    }
}

#[test]
fn an_alignment_that_is_no_power_of_two_breaks_no_heap() {
    for choice in choices() {
        let mut heap = watched(&choice).heap().clone_boxed();
        let mut memory = FlatMemory::at(Address(0x5555_5560_0000));
        for align in [0, 3, 24, 48, 100, 4_097, 12_345] {
            if let Ok(at) = heap.aligned_alloc(ThreadId(0), align, 100, &mut memory) {
                assert!(heap.usable_size(at).is_some_and(|usable| usable >= 100), "{choice:?}: aligned to {align}");
                heap.free(ThreadId(0), at, &mut memory).unwrap_or_else(|error| panic!("{choice:?}: {error}"));
            }
            heap.check().unwrap_or_else(|violation| panic!("{choice:?}: {violation}"));
        }
    }
}

#[test]
fn makes_no_system_call_before_the_first_block() {
    for choice in choices() {
        let heap = watched(&choice);
        assert_eq!((heap.memory().system_calls(), heap.heap().stats().held), (0, 0), "{choice:?}");
    }
}

#[test]
fn impossible_requests_are_refused_and_change_nothing() {
    for choice in choices() {
        let mut heap = watched(&choice);
        heap.call(&HeapCall::Malloc(100)).unwrap();
        let usable = heap.heap().stats().usable;
        let huge = u64::MAX;
        for call in [
            HeapCall::Malloc(huge),
            HeapCall::Malloc(huge - 15),
            HeapCall::Malloc(huge / 2),
            HeapCall::Calloc(huge, huge),
            HeapCall::Calloc(1 << 33, 1 << 33),
            HeapCall::Aligned(huge, 1),
            HeapCall::Aligned(1 << 63, 1),
            HeapCall::Aligned(16, huge),
            HeapCall::Realloc(0, huge),
            HeapCall::Realloc(0, huge - 40),
        ] {
            assert_eq!(heap.call(&call), Ok(None), "{choice:?}: {call:?}");
            heap.check().unwrap();
        }
        assert_eq!(heap.heap().stats().usable, usable, "{choice:?}");
    }
}
