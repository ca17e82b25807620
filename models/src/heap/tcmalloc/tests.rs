//! The rules one by one.

use insta::assert_snapshot;

use super::classes::CLASSES;
use super::page_heap::delay_pages;
use super::*;
use crate::Coins;
use crate::heap::flat_memory::FlatMemory;

const MAIN: ThreadId = ThreadId(0);
const OTHER: ThreadId = ThreadId(1);
const PAGE: u64 = PAGE_BYTES;

/// A heap on memory of its own.
struct Trial {
    heap: Tcmalloc,
    memory: FlatMemory,
}

impl Trial {
    fn new(options: &TcmallocOptions) -> Trial {
        let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
        let heap = Tcmalloc::build(setting, options).expect("options that fit");
        Trial { heap, memory: FlatMemory::at(Address(0x5555_5560_0000)) }
    }

    fn malloc(&mut self, thread: ThreadId, bytes: u64) -> Address {
        self.heap.malloc(thread, bytes, &mut self.memory).expect("memory without a limit")
    }

    fn many(&mut self, thread: ThreadId, bytes: u64, count: usize) -> Vec<Address> {
        let blocks = (0..count).map(|_| self.malloc(thread, bytes)).collect();
        self.heap.check().expect("a sound heap");
        blocks
    }

    fn free(&mut self, thread: ThreadId, at: Address) {
        self.heap.free(thread, at, &mut self.memory).expect("a live block");
    }

    fn free_all(&mut self, thread: ThreadId, blocks: &[Address]) {
        for &at in blocks {
            self.free(thread, at);
        }
        self.heap.check().expect("a sound heap");
    }

    fn exit(&mut self, thread: ThreadId) {
        self.heap.thread_exit(thread, &mut self.memory);
        self.heap.check().expect("a sound heap");
    }

    /// Objects of the class of `bytes` in a thread's cache.
    fn cached(&mut self, thread: ThreadId, bytes: u64) -> usize {
        let cache = self.heap.threads.cache(thread);
        cache.map_or(0, |cache| cache.lists[usize::from(CLASSES.of(bytes))].objects.len())
    }

    fn budget_kib(&mut self, thread: ThreadId) -> i64 {
        self.heap.threads.cache(thread).map_or(0, |cache| cache.budget >> 10)
    }

    fn unclaimed_kib(&self) -> i64 {
        self.heap.threads.unclaimed >> 10
    }

    /// Batches in the transfer cache of the class of `bytes`, and its room.
    fn transfer(&self, bytes: u64) -> (usize, u32) {
        let class = CLASSES.of(bytes);
        let list = &self.heap.central.lists[usize::from(class)];
        let batch = usize::try_from(CLASSES.get(class).batch).expect("at most 32");
        (list.batches.len() / batch, list.slots)
    }

    /// The spans, ascending, with their pages: `#` a block, a letter a span of objects, `.` free, `_` free and given back.
    fn draw(&self) -> String {
        let pages = &self.heap.central.pages;
        let mut spans = Vec::new();
        for region in pages.tables.system.regions() {
            let mut page = region.start >> PAGE_SHIFT;
            while region.is_for == system::Use::Heap && page < region.end >> PAGE_SHIFT {
                let span = pages.spans.get(pages.map.get(page).expect("a span"));
                let kind = match (span.state, span.class) {
                    (State::InUse, 0) => '#',
                    (State::InUse, _) => 'o',
                    (State::Returned, _) => '_',
                    _ => '.',
                };
                spans.push(format!("{kind}{}", span.pages));
                page += span.pages;
            }
        }
        spans.join(" ")
    }
}

fn trial() -> Trial {
    Trial::new(&TcmallocOptions::default())
}

#[test]
fn a_list_that_runs_empty_fetches_one_object_more_each_time() {
    let mut trial = trial();
    let cached: Vec<usize> = (0..10)
        .map(|_| {
            trial.malloc(MAIN, 64);
            trial.cached(MAIN, 64)
        })
        .collect();
    assert_eq!(cached, [0, 1, 0, 2, 1, 0, 3, 2, 1, 0]);
}

#[test]
fn what_a_thread_frees_it_gets_back_first() {
    let mut trial = trial();
    let blocks = trial.many(MAIN, 64, 3);
    trial.free_all(MAIN, &blocks[..2]);
    assert_eq!([trial.malloc(MAIN, 64), trial.malloc(MAIN, 60)], [blocks[1], blocks[0]]);
}

#[test]
fn a_list_that_is_too_long_gives_all_it_may_back() {
    let mut trial = trial();
    // Three fetches: it may have 4 objects then.
    let blocks = trial.many(MAIN, 64, 6);
    for (at, cached) in blocks.into_iter().zip([1, 2, 3, 4, 0, 1]) {
        trial.free(MAIN, at);
        assert_eq!(trial.cached(MAIN, 64), cached);
    }
}

#[test]
fn a_block_goes_to_the_cache_of_the_thread_that_frees_it() {
    let mut trial = trial();
    let at = trial.malloc(MAIN, 100);
    trial.malloc(OTHER, 1);
    trial.free(OTHER, at);
    assert_eq!((trial.cached(MAIN, 100), trial.cached(OTHER, 100)), (0, 1));
    assert_eq!(trial.malloc(OTHER, 100), at);
}

#[test]
fn a_thread_without_a_cache_frees_to_the_span() {
    let mut trial = trial();
    let at = trial.malloc(MAIN, 100);
    trial.free(OTHER, at);
    assert_eq!(trial.cached(OTHER, 100), 0);
    assert_snapshot!(trial.draw(), @".128");
}

#[test]
fn a_cache_beyond_its_budget_gives_half_of_what_it_never_needed_back() {
    let mut trial = trial();
    let blocks = trial.many(MAIN, 8192, 60);
    trial.free_all(MAIN, &blocks[..8]);
    assert_eq!((trial.budget_kib(MAIN), trial.cached(MAIN, 8192)), (64, 8));
    // 72 KiB: it scavenges, and notes that all 9 are there.
    trial.free(MAIN, blocks[8]);
    assert_eq!((trial.budget_kib(MAIN), trial.cached(MAIN, 8192)), (128, 9));
    trial.free_all(MAIN, &blocks[9..16]);
    assert_eq!((trial.budget_kib(MAIN), trial.cached(MAIN, 8192)), (128, 16));
    // 136 KiB: of the 9 that were always there 4 go.
    trial.free(MAIN, blocks[16]);
    assert_eq!((trial.budget_kib(MAIN), trial.cached(MAIN, 8192)), (192, 13));
}

/// Lets a thread have and free so much that it scavenges often.
fn churn(trial: &mut Trial, thread: ThreadId, rounds: usize) {
    for _ in 0..rounds {
        let blocks = trial.many(thread, 1_000, 200);
        let more = trial.many(thread, 16_000, 100);
        trial.free_all(thread, &blocks);
        trial.free_all(thread, &more);
    }
}

fn trial_with_total(kib: u64) -> Trial {
    Trial::new(&TcmallocOptions { max_total_thread_cache_bytes: kib << 10, ..Default::default() })
}

#[test]
fn budget_comes_from_what_is_unclaimed_then_from_a_thread_with_much() {
    let mut trial = trial_with_total(1024);
    trial.malloc(MAIN, 1);
    assert_eq!((trial.budget_kib(MAIN), trial.unclaimed_kib()), (64, 960));
    churn(&mut trial, MAIN, 40);
    assert_eq!((trial.budget_kib(MAIN), trial.unclaimed_kib()), (1024, 0));
    trial.malloc(OTHER, 1);
    assert_eq!((trial.budget_kib(MAIN), trial.budget_kib(OTHER)), (960, 64));
    churn(&mut trial, OTHER, 40);
    assert_eq!((trial.budget_kib(MAIN), trial.budget_kib(OTHER)), (512, 512), "nobody gets below that");
    trial.exit(MAIN);
    assert_eq!((trial.budget_kib(OTHER), trial.unclaimed_kib()), (512, 512));
}

#[test]
fn a_thread_that_finds_no_budget_gets_512_kib_that_are_owed() {
    let mut trial = trial_with_total(512);
    trial.malloc(MAIN, 1);
    churn(&mut trial, MAIN, 40);
    assert_eq!((trial.budget_kib(MAIN), trial.unclaimed_kib()), (512, 0));
    trial.malloc(OTHER, 1);
    assert_eq!((trial.budget_kib(OTHER), trial.unclaimed_kib()), (512, -512));
}

#[test]
fn a_thread_that_ends_gives_its_objects_and_its_budget_back() {
    let mut trial = trial();
    let at = trial.malloc(OTHER, 100);
    trial.malloc(MAIN, 1);
    assert_eq!(trial.unclaimed_kib(), (32 << 10) - 128);
    trial.free(OTHER, at);
    assert_snapshot!(trial.draw(), @"o1 o1 .126");
    trial.exit(OTHER);
    assert_eq!((trial.cached(OTHER, 100), trial.unclaimed_kib()), (0, (32 << 10) - 64));
    assert_snapshot!(trial.draw(), @".1 o1 .126");
    // Its cache is the next thread's.
    trial.malloc(ThreadId(7), 100);
    assert_snapshot!(trial.draw(), @"o1 o1 .126");
}

#[test]
fn whole_batches_wait_in_the_transfer_cache() {
    let mut trial = trial();
    let blocks = trial.many(MAIN, 8192, 400);
    assert_eq!(trial.transfer(8192), (0, 16));
    trial.free_all(MAIN, &blocks);
    let (batches, room) = trial.transfer(8192);
    assert_eq!((batches, room), (16, 16), "1 MiB and no more");
    trial.many(MAIN, 8192, 400);
    assert_eq!(trial.transfer(8192), (0, 16));
}

#[test]
fn a_full_transfer_cache_takes_room_from_the_others_in_turn() {
    let mut trial = trial();
    let blocks = trial.many(MAIN, 64, 32 * 60);
    trial.free_all(MAIN, &blocks);
    let (batches, room) = trial.transfer(64);
    assert!(room > 16 && batches > 16, "{batches} batches in {room}");
    let lost: Vec<u32> = trial.heap.central.lists[..3].iter().map(|list| 16 - list.slots).collect();
    assert_eq!(lost.iter().sum::<u32>(), room - 16, "{lost:?}");
    assert_eq!(lost[0], 1, "class 0, which has no objects, is the first");
}

#[test]
fn a_request_takes_the_low_pages_of_the_shortest_span_that_is_enough() {
    let mut trial = trial();
    let blocks = trial.many(MAIN, 40 * PAGE, 3);
    assert_snapshot!(trial.draw(), @"#40 #40 #40 .8");
    trial.free(MAIN, blocks[1]);
    let long = trial.malloc(MAIN, 200 * PAGE);
    assert_snapshot!(trial.draw(), @"#40 .40 #40 #200 .8");
    assert_eq!(trial.malloc(MAIN, 34 * PAGE), blocks[1]);
    assert_snapshot!(trial.draw(), @"#40 #34 .6 #40 #200 .8");
    trial.free_all(MAIN, &[long, blocks[2], blocks[1]]);
    assert_snapshot!(trial.draw(), @"#40 .288");
}

#[test]
fn pages_before_and_behind_an_aligned_block_are_free() {
    let mut trial = trial();
    trial.malloc(MAIN, 40 * PAGE);
    let at = trial.heap.aligned_alloc(MAIN, 16 * PAGE, 3 * PAGE, &mut trial.memory).expect("memory");
    assert!(at.0.is_multiple_of(16 * PAGE));
    assert_snapshot!(trial.draw(), @"#40 .8 #3 .77");
}

#[test]
fn memory_goes_back_page_by_page_the_oldest_of_each_length_first() {
    let mut trial = trial();
    let [first, _, second, ..] = trial.many(MAIN, 34 * PAGE, 4)[..] else { unreachable!("four blocks") };
    trial.memory.touch(second, 34 * PAGE);
    trial.free_all(MAIN, &[second, first]);
    assert_snapshot!(trial.draw(), @".34 #34 .34 #34 .120");
    // After the first growth 2^18 pages are freed before any goes back: the 128 of the second growth, two blocks and this one
    // 7704 times.
    for _ in 0..7704 {
        assert_eq!(trial.malloc(MAIN, 34 * PAGE), first, "the last freed is the first used");
        trial.free(MAIN, first);
    }
    assert_snapshot!(trial.draw(), @".34 #34 .34 #34 .120");
    trial.malloc(MAIN, 34 * PAGE);
    trial.free(MAIN, first);
    assert_snapshot!(trial.draw(), @".34 #34 _34 #34 .120");
    assert_eq!(trial.memory.resident_pages(second, 34 * PAGE), 0);
    trial.heap.check().expect("a sound heap");
}

#[test]
fn a_release_of_all_that_is_free_ends_where_its_round_began() {
    let mut trial = trial();
    let blocks: Vec<Address> = [34, 94, 50, 78, 200].map(|pages| trial.malloc(MAIN, pages * PAGE)).into();
    trial.free(MAIN, blocks[0]);
    trial.heap.central.pages.release(u64::MAX, &mut trial.memory);
    trial.free_all(MAIN, &[blocks[2], blocks[4]]);
    assert_snapshot!(trial.draw(), @"_34 #94 .50 #78 .200");
    // The first round began at the long ones; from the span of 34 pages on it would be the turn of the one of 50.
    trial.heap.central.pages.release(1, &mut trial.memory);
    assert_snapshot!(trial.draw(), @"_34 #94 .50 #78 _200");
    trial.heap.check().expect("a sound heap");
}

#[test]
fn the_next_look_waits_a_thousand_pages_for_each_that_went() {
    assert_eq!([delay_pages(1, 1_000), delay_pages(5, 1_000), delay_pages(5, 10_000)], [1_000, 5_000, 500]);
    assert_eq!([delay_pages(1_000_000, 1_000), delay_pages(1, 1)], [1 << 20, 1_000_000]);
}

#[test]
fn a_block_stays_where_it_is_unless_it_grows_or_shrinks_to_less_than_half() {
    let mut trial = trial();
    let at = trial.malloc(MAIN, 1024);
    let mut to = |bytes| {
        let at = trial.heap.realloc(MAIN, at, bytes, &mut trial.memory).expect("memory").expect("a block");
        (at, trial.heap.usable_size(at).expect("a live block"))
    };
    assert_eq!([to(512), to(1024)], [(at, 1024); 2]);
    assert_eq!(to(1025).1, 1280, "a quarter more at least");
}

#[test]
fn the_first_aligned_page_is_the_one_that_a_search_finds() {
    for mask in 0..64 {
        for page in 1..200 {
            let searched = (page..).find(|page| page & mask == 0);
            assert_eq!(first_without(page, mask), searched, "from {page} on with {mask:#b}");
        }
    }
}

#[test]
fn a_request_is_rounded_up_with_the_bits_of_its_alignment() {
    let rounded = |align, bytes| rounded_up(bytes, align).ok();
    assert_eq!([rounded(64, 0), rounded(64, 1), rounded(64, 64), rounded(64, 65)], [64, 64, 64, 128].map(Some));
    // As the real one does: 4522 + 236 without the bits of 236.
    assert_eq!([rounded(237, 0), rounded(237, 1), rounded(237, 4522)], [237, 1, 4626].map(Some));
    assert_eq!(rounded(4096, u64::MAX - 4), None);
}
