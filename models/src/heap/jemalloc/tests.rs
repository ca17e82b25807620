//! Rules of jemalloc, one by one.

use insta::assert_snapshot;

use super::*;
use crate::Coins;
use crate::heap::flat_memory::FlatMemory;
use crate::heap::{HeapChoice, HeapRegistry, PieceKind};

const MAIN: ThreadId = ThreadId(0);
const OTHER: ThreadId = ThreadId(1);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SECOND: u64 = 1_000_000_000;

/// A heap, the memory below it, and short names for calls.
struct Case {
    heap: Jemalloc,
    memory: FlatMemory,
}

fn jemalloc() -> Case {
    with(&JemallocOptions::default())
}

fn with(options: &JemallocOptions) -> Case {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let heap = Jemalloc::build(setting, options).expect("options that fit");
    Case { heap, memory: FlatMemory::at(Address(0x5555_5555_9000)) }
}

impl Case {
    fn malloc(&mut self, thread: ThreadId, bytes: u64) -> Address {
        self.heap.malloc(thread, bytes, &mut self.memory).expect("memory without a limit")
    }

    fn mallocs(&mut self, count: usize, bytes: u64) -> Vec<Address> {
        (0..count).map(|_| self.malloc(MAIN, bytes)).collect()
    }

    fn aligned(&mut self, align: u64, bytes: u64) -> Address {
        self.heap.aligned_alloc(MAIN, align, bytes, &mut self.memory).expect("memory without a limit")
    }

    fn realloc(&mut self, at: Address, bytes: u64) -> Option<Address> {
        self.heap.realloc(MAIN, at, bytes, &mut self.memory).expect("a live block")
    }

    fn free(&mut self, thread: ThreadId, at: Address) {
        self.heap.free(thread, at, &mut self.memory).expect("a live block");
        self.heap.check().expect("no rule of its own is broken");
    }

    fn tick(&mut self, nanos: u64) {
        self.heap.tick(Nanos(nanos), &mut self.memory);
    }

    fn exit(&mut self, thread: ThreadId) {
        self.heap.thread_exit(thread, &mut self.memory);
        self.heap.check().expect("no rule of its own is broken");
    }

    /// Blocks of a class that the thread's stack has.
    fn cached(&self, thread: ThreadId, bytes: u64) -> u32 {
        let thread = &self.heap.threads[index(thread.0.into())];
        thread.cache.as_ref().map_or(0, |cache| cache.stacks[class_of(bytes)].count)
    }

    fn arena_of(&self, thread: ThreadId) -> u32 {
        self.heap.threads[index(thread.0.into())].arena
    }

    fn dirty_pages(&self, arena: usize) -> u64 {
        self.heap.arenas[arena].as_ref().map_or(0, |arena| arena.dirty.pages)
    }

    /// The first pages of the first mapping: `#` live, `.` free, `T` tables.
    fn draw(&self, pages: usize) -> String {
        let (start, _) = self.heap.store.mappings[0];
        let mut drawn = String::new();
        self.heap.for_each_piece(&mut |piece| {
            let letter = match piece.kind {
                PieceKind::Live { .. } => "#",
                PieceKind::Overhead => "T",
                _ => ".",
            };
            if (start..start + 2 * MIB).contains(&piece.at.0) {
                drawn += &letter.repeat(index(piece.bytes / 4096));
            }
        });
        drawn.truncate(pages);
        drawn
    }
}

#[test]
fn a_stack_is_refilled_with_half_of_what_it_holds_lowest_address_first() {
    let mut case = jemalloc();
    let blocks = case.mallocs(3, 512);
    assert_eq!(blocks[1].0 - blocks[0].0, 512);
    assert_eq!(blocks[2].0 - blocks[1].0, 512);
    assert_eq!(case.cached(MAIN, 512), 20 / 2 - 3);
}

#[test]
fn what_was_freed_last_is_served_first() {
    let mut case = jemalloc();
    let blocks = case.mallocs(3, 100);
    case.free(MAIN, blocks[0]);
    case.free(MAIN, blocks[2]);
    assert_eq!(case.malloc(MAIN, 112), blocks[2]);
    assert_eq!(case.malloc(MAIN, 97), blocks[0]);
}

#[test]
fn the_older_half_of_a_full_stack_goes_back_and_empty_slabs_with_it() {
    let mut case = jemalloc();
    let blocks = case.mallocs(40, 4096);
    for &at in &blocks[..20] {
        case.free(MAIN, at);
    }
    assert_eq!((case.cached(MAIN, 4096), case.dirty_pages(0)), (20, 0));
    case.free(MAIN, blocks[20]);
    assert_eq!((case.cached(MAIN, 4096), case.dirty_pages(0)), (11, 10), "slabs of one region each");
}

#[test]
fn the_collector_takes_three_quarters_of_what_was_not_needed() {
    let mut case = jemalloc();
    let blocks = case.mallocs(200, 8);
    for at in blocks {
        case.free(MAIN, at);
    }
    assert_eq!(case.cached(MAIN, 8), 200);
    // Two looks for each turn of the loop, one of 41 at this class.
    let mut counts = Vec::new();
    for _ in 0..84 {
        let at = case.malloc(MAIN, 64 * KIB);
        case.free(MAIN, at);
        counts.push(case.cached(MAIN, 8));
    }
    counts.dedup();
    assert_snapshot!(format!("{counts:?}"), @"[200, 50, 12, 3, 0]");
}

#[test]
fn a_large_block_has_an_extent_of_its_own_a_page_longer_than_its_class() {
    let mut case = jemalloc();
    case.malloc(MAIN, 20_000);
    case.malloc(MAIN, 16_384);
    // Stacks of the cache (8 pages), then 6 and 5 pages.
    assert_snapshot!(case.draw(24), @"TTTTTTTT###########.....");
    assert_eq!(case.heap.stats().overhead % MIB, 32 * KIB + 2 * 4 * KIB);
}

#[test]
fn a_large_block_lies_on_a_random_line_of_its_first_page() {
    let mut case = jemalloc();
    let blocks = case.mallocs(64, 16 * KIB);
    let offsets: std::collections::BTreeSet<u64> = blocks.iter().map(|at| at.0 % 4096).collect();
    assert!(offsets.iter().all(|offset| offset.is_multiple_of(64)) && offsets.len() > 30, "{offsets:?}");
    let at = case.aligned(1024, 16 * KIB);
    assert_eq!(at.0 % 1024, 0);
}

#[test]
fn of_the_free_extents_that_are_long_enough_the_lowest_serves_not_the_shortest() {
    let mut case = jemalloc();
    let blocks = case.mallocs(4, 60 * KIB);
    case.malloc(MAIN, 40 * KIB);
    case.malloc(MAIN, 60 * KIB);
    case.free(MAIN, blocks[0]);
    case.free(MAIN, blocks[1]);
    let short = case.malloc(MAIN, 100 * KIB);
    assert_eq!(short.0 >> 12, blocks[0].0 >> 12, "the two are one now");
}

#[test]
fn freed_extents_merge_but_short_ones_only_before_they_are_purged() {
    let mut case = jemalloc();
    let large = case.mallocs(3, 60 * KIB);
    for at in large {
        case.free(MAIN, at);
    }
    let extents = |case: &Case| {
        let arena = case.heap.arenas[0].as_ref().unwrap();
        arena.dirty.members(&case.heap.store).map(|id| case.heap.store.extent(id).bytes >> 12).collect::<Vec<_>>()
    };
    assert_eq!(extents(&case), [3 * 17]);
    let mut case = jemalloc();
    let slabs = case.mallocs(21, 4096);
    for at in slabs {
        case.free(MAIN, at);
    }
    assert_eq!(extents(&case), [1; 10]);
}

#[test]
fn an_arena_grows_along_the_page_classes() {
    let mut case = jemalloc();
    case.mallocs(60, MIB);
    let steps: Vec<_> = case.heap.store.mappings.iter().map(|&(_, bytes)| bytes / (MIB / 2)).collect();
    assert_eq!(steps, [4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28]);
}

#[test]
fn a_huge_block_has_an_arena_of_its_own_where_nothing_stays_dirty() {
    let mut case = jemalloc();
    let at = case.malloc(MAIN, 8 * MIB);
    let huge = case.heap.arenas.len() - 1;
    assert_eq!(huge, 8, "the one after four for each of two processors");
    case.memory.touch(at, 8 * MIB);
    let resident = |case: &Case| case.memory.resident_pages(Address(at.0 & !4095), 8 * MIB);
    assert_eq!(resident(&case), 2048);
    let to = case.realloc(at, 3 * MIB);
    assert_eq!((to, case.dirty_pages(huge), resident(&case)), (Some(at), 0, 769));
    case.free(MAIN, at);
    assert_eq!((case.dirty_pages(huge), resident(&case)), (0, 0));
}

#[test]
fn what_is_asked_says_whether_a_block_is_huge_not_its_class() {
    let mut case = jemalloc();
    case.malloc(MAIN, 8 * MIB - 1);
    assert_eq!(case.heap.arenas.len(), 1);
    case.aligned(64, 8 * MIB - 1);
    assert_eq!(case.heap.arenas.len(), 9, "but of an aligned one the class does");
}

#[test]
fn a_small_block_stays_while_its_class_does() {
    let mut case = jemalloc();
    let at = case.malloc(MAIN, 100);
    assert_eq!(case.realloc(at, 112), Some(at));
    assert_ne!(case.realloc(at, 96), Some(at));
}

#[test]
fn a_large_block_grows_into_what_is_free_behind_it_and_shrinks_in_place() {
    let mut case = jemalloc();
    let at = case.malloc(MAIN, 40 * KIB);
    assert_eq!(case.realloc(at, 80 * KIB), Some(at));
    let behind = case.malloc(MAIN, 40 * KIB);
    assert_eq!(case.realloc(at, 48 * KIB), Some(at));
    assert_eq!((case.heap.usable_size(at), case.dirty_pages(0)), (Some(48 * KIB), 8));
    assert_eq!(case.realloc(at, 80 * KIB), Some(at), "into what it gave back");
    assert_ne!(case.realloc(at, 96 * KIB), Some(at), "the other block is in the way");
    assert!(case.heap.usable_size(behind).is_some());
}

#[test]
fn a_large_block_that_moves_to_a_large_class_passes_the_cache_by() {
    let mut case = jemalloc();
    let cached = case.malloc(MAIN, 20 * KIB);
    let at = case.malloc(MAIN, 16 * KIB);
    case.malloc(MAIN, 16 * KIB);
    case.free(MAIN, cached);
    let to = case.realloc(at, 20 * KIB);
    assert_ne!(to, Some(cached));
    assert_eq!((case.cached(MAIN, 20 * KIB), case.cached(MAIN, 16 * KIB)), (1, 1), "the old one goes there");
    assert_eq!(case.malloc(MAIN, 20 * KIB), cached);
}

#[test]
fn realloc_to_nothing_frees() {
    let mut case = jemalloc();
    let at = case.malloc(MAIN, 100);
    assert_eq!(case.realloc(at, 0), None);
    assert_eq!(case.heap.stats().blocks, 0);
}

#[test]
fn a_small_block_is_aligned_by_its_class_a_large_one_by_its_place() {
    let mut case = jemalloc();
    let usable = |case: &mut Case, align, bytes| {
        let at = case.aligned(align, bytes);
        assert!(at.0.is_multiple_of(align) || bytes == 0);
        case.heap.usable_size(at).unwrap()
    };
    let table: Vec<_> = [(64, 1), (256, 300), (4096, 1), (4096, 13_000), (8192, 1), (8192, 30_000), (4096, 0)]
        .map(|(align, bytes)| format!("{align},{bytes}: {}", usable(&mut case, align, bytes)))
        .into();
    assert_snapshot!(table.join("\n"), @r"
    64,1: 64
    256,300: 512
    4096,1: 4096
    4096,13000: 16384
    8192,1: 16384
    8192,30000: 32768
    4096,0: 8
    ");
}

#[test]
fn an_alignment_that_is_no_power_of_two_is_refused() {
    let mut case = jemalloc();
    for align in [0, 3, 48] {
        assert_eq!(case.heap.aligned_alloc(MAIN, align, 100, &mut case.memory), Err(OutOfMemory));
    }
}

#[test]
fn threads_take_an_arena_each_until_all_are_made_then_the_one_with_the_fewest() {
    let mut case = with(&JemallocOptions { arenas: Some(3), ..Default::default() });
    for thread in 0..5 {
        case.malloc(ThreadId(thread), 8);
    }
    let arenas: Vec<_> = (0..5).map(|thread| case.arena_of(ThreadId(thread))).collect();
    assert_eq!(arenas, [0, 1, 2, 0, 1]);
    case.exit(ThreadId(2));
    case.malloc(ThreadId(5), 8);
    assert_eq!(case.arena_of(ThreadId(5)), 2, "no thread had it");
}

#[test]
fn a_thread_that_has_only_freed_has_no_cache_and_frees_to_the_arena() {
    let mut case = jemalloc();
    let at = case.malloc(MAIN, 4096);
    case.free(OTHER, at);
    assert_eq!((case.cached(OTHER, 4096), case.dirty_pages(0)), (0, 1));
    let at = case.malloc(MAIN, 4096);
    case.malloc(OTHER, 8);
    case.free(OTHER, at);
    assert_eq!(case.cached(OTHER, 4096), 1, "now it has one");
}

#[test]
fn a_block_goes_to_the_cache_of_who_frees_it_and_from_there_to_its_own_arena() {
    let mut case = jemalloc();
    case.malloc(MAIN, 8);
    case.malloc(OTHER, 8);
    let blocks = case.mallocs(21, 4096);
    for at in blocks {
        case.free(OTHER, at);
    }
    assert_eq!((case.cached(OTHER, 4096), case.dirty_pages(0), case.dirty_pages(1)), (11, 10, 0));
}

#[test]
fn when_a_thread_ends_its_stacks_are_flushed_and_its_arena_purged() {
    let mut case = jemalloc();
    case.malloc(MAIN, 8);
    let at = case.malloc(OTHER, 4096);
    let kept = case.malloc(OTHER, 100);
    case.free(OTHER, at);
    case.exit(OTHER);
    assert_eq!(case.dirty_pages(1), 0, "no other thread has it");
    assert_eq!(case.dirty_pages(0), 8, "its stacks");
    assert!(case.heap.usable_size(kept).is_some());
    assert_eq!(case.heap.stats().cached, 99 * 8, "what the main thread has");
}

#[test]
fn free_pages_fade_over_ten_seconds() {
    let mut case = jemalloc();
    // Every other block, so that none merges.
    let blocks = case.mallocs(400, 100 * KIB);
    for &at in blocks.iter().step_by(2) {
        case.free(MAIN, at);
    }
    let all = case.dirty_pages(0);
    // Each step 3,000 ticks: several looks at the clock.
    let mut left = Vec::new();
    for step in 0..13 {
        case.tick(step * SECOND);
        let at = case.malloc(MAIN, 8);
        for _ in 0..3_000 {
            case.realloc(at, 7);
        }
        left.push(case.dirty_pages(0) * 100 / all);
    }
    // Of 100 pages, second by second.
    assert_snapshot!(format!("{left:?}"), @"[99, 99, 98, 93, 83, 67, 49, 31, 15, 5, 0, 0, 0]");
    case.heap.check().unwrap();
}

#[test]
fn without_a_clock_nothing_fades() {
    let mut case = with(&JemallocOptions { dirty_decay_ms: -1, ..Default::default() });
    let small = case.malloc(MAIN, 8);
    let at = case.malloc(MAIN, 100 * KIB);
    case.free(MAIN, at);
    case.tick(3_600 * SECOND);
    for _ in 0..10_000 {
        case.realloc(small, 7);
    }
    assert_eq!(case.dirty_pages(0), 29);
}

#[test]
fn options_out_of_range_are_refused() {
    for options in [
        JemallocOptions { arenas: Some(0), ..Default::default() },
        JemallocOptions { dirty_decay_ms: -2, ..Default::default() },
    ] {
        let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
        let built = HeapRegistry::default().build("jemalloc", &HeapChoice::Jemalloc(options), setting);
        assert!(built.expect("a heap of that name").is_err());
    }
}

#[test]
fn the_second_block_of_tables_is_mapped_when_the_first_has_no_room_for_a_record() {
    let mut case = jemalloc();
    // Where the real one maps it, with 16 KiB blocks and libstdc++'s block before.
    case.malloc(MAIN, 72_704);
    case.mallocs(32_023, 16 * KIB);
    assert_eq!(case.heap.store.metadata.bytes, 6 * MIB);
    case.malloc(MAIN, 16 * KIB);
    assert_eq!(case.heap.store.metadata.bytes, 12 * MIB);
    case.heap.check().unwrap();
}
