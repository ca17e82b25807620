//! Rules that recorded programs leave untested. What they say was seen on the real one, see the module page.

use insta::assert_snapshot;

use super::{Glibc, GlibcOptions};
use crate::heap::flat_memory::FlatMemory;
use crate::heap::{HeapAllocator, HeapSetting, OutOfMemory, ReallocError, SystemMemory};
use crate::kernel::AddressSpace;
use crate::kernel::space::{MapAt, MapOptions, SpaceSettings};
use crate::registry::{BadOptions, Model};
use crate::{Address, Coins, ThreadId};

const BREAK: u64 = 0x5555_5555_9000;
const MIB: u64 = 1 << 20;

/// A heap on memory without a kernel, called by one thread at a time.
struct Program {
    heap: Glibc,
    memory: FlatMemory,
    thread: ThreadId,
}

fn program() -> Program {
    with(&GlibcOptions::default())
}

fn with(options: &GlibcOptions) -> Program {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let heap = Glibc::build(setting, options).expect("options that fit");
    Program { heap, memory: FlatMemory::at(Address(BREAK)), thread: ThreadId(0) }
}

impl Program {
    fn malloc(&mut self, bytes: u64) -> Address {
        self.try_malloc(bytes).expect("memory")
    }

    fn try_malloc(&mut self, bytes: u64) -> Result<Address, OutOfMemory> {
        self.heap.malloc(self.thread, bytes, &mut self.memory)
    }

    fn aligned(&mut self, align: u64, bytes: u64) -> Address {
        self.heap.aligned_alloc(self.thread, align, bytes, &mut self.memory).expect("memory")
    }

    fn realloc(&mut self, at: Address, bytes: u64) -> Address {
        self.try_realloc(at, bytes).expect("memory").expect("a block")
    }

    fn try_realloc(&mut self, at: Address, bytes: u64) -> Result<Option<Address>, ReallocError> {
        self.heap.realloc(self.thread, at, bytes, &mut self.memory)
    }

    fn free(&mut self, at: Address) {
        self.heap.free(self.thread, at, &mut self.memory).expect("a live block");
        self.heap.check().expect("a heap in order");
    }

    fn by(&mut self, thread: u32) -> &mut Program {
        self.thread = ThreadId(thread);
        self
    }

    fn end(&mut self, thread: u32) {
        self.heap.thread_exit(ThreadId(thread), &mut self.memory);
        self.heap.check().expect("a heap in order");
    }

    fn brk(&self) -> u64 {
        self.memory.program_break().0 - BREAK
    }

    fn usable(&self, at: Address) -> u64 {
        self.heap.usable_size(at).expect("a live block")
    }
}

/// Where a block is: from the first break, or that it is mapped.
fn place(at: Address) -> String {
    if at.0 < BREAK + (1 << 32) { format!("{:#x}", at.0 - BREAK) } else { "mapped".to_owned() }
}

fn heap_of(at: Address) -> u64 {
    at.0 >> 26
}

#[test]
fn the_first_block_lies_behind_the_caches_table() {
    assert_eq!(place(program().malloc(1)), "0x2a0");
    let mut calloc = program();
    let at = calloc.heap.calloc(ThreadId(0), 3, 7, &mut calloc.memory).expect("memory");
    assert_eq!(place(at), "0x2a0");
}

#[test]
fn an_aligned_first_block_starts_no_cache_and_the_lead_is_given_back() {
    let mut program = program();
    // The lead of 48 bytes and the tail of 64 lie in fast bins; the cache's table comes after them.
    assert_eq!(place(program.aligned(64, 100)), "0x40");
    assert_eq!(program.heap.stats().cached, 48 + 64);
    assert_eq!(place(program.malloc(40)), "0x10");
}

#[test]
fn alignments_that_are_no_powers_of_two_are_rounded_up() {
    let mut program = program();
    for (asked, multiple) in [(17, 32), (24, 32), (33, 64), (5_000, 8_192), (1 << 20, 1 << 20)] {
        let at = program.aligned(asked, 10);
        assert!(at.0.is_multiple_of(multiple), "{asked}: {at}");
    }
    assert!(program.heap.aligned_alloc(ThreadId(0), (1 << 63) + 1, 1, &mut program.memory).is_err());
}

#[test]
fn an_aligned_mapped_block_keeps_its_lead_when_it_is_resized() {
    let mut program = program();
    let at = program.aligned(65_536, 200_000);
    assert_eq!((place(at).as_str(), at.0 % 65_536), ("mapped", 0));
    let held = program.memory.held_bytes();
    let larger = program.realloc(at, 400_000);
    assert_eq!(program.usable(larger) % 4096, (4096 - 16 - (at.0 - 16) % 4096) % 4096);
    program.free(larger);
    assert!(program.memory.held_bytes() < held);
}

#[test]
fn a_mapping_has_one_page_more_where_the_chunk_fills_whole_pages() {
    let mut program = program();
    let (full, one_less) = (program.malloc(33 * 4096 - 8), program.malloc(33 * 4096 - 24));
    assert_eq!((program.usable(full), program.usable(one_less)), (34 * 4096 - 16, 33 * 4096 - 16));
}

#[test]
fn a_mapped_block_stays_mapped_even_for_one_byte() {
    let mut program = program();
    let at = program.malloc(MIB);
    let small = program.realloc(at, 1);
    assert_eq!((place(small).as_str(), program.usable(small)), ("mapped", 4096 - 16));
}

#[test]
fn a_freed_mapping_raises_the_threshold_below_32_mib_only() {
    let mut program = program();
    let whole = program.malloc(32 * MIB - 24);
    program.free(whole);
    assert_eq!(place(program.malloc(MIB)), "mapped");
    let page_less = program.malloc(32 * MIB - 24 - 4096);
    program.free(page_less);
    assert_eq!(place(program.malloc(MIB)), "0x2a0");
}

#[test]
fn beyond_the_most_mapped_blocks_the_break_serves() {
    assert_eq!(GlibcOptions::default().mmap_max, 65_536);
    let mut program = with(&GlibcOptions { mmap_max: 3, ..GlibcOptions::default() });
    let places: Vec<String> = (0..4).map(|_| place(program.malloc(MIB))).collect();
    assert_eq!(places, ["mapped", "mapped", "mapped", "0x2a0"]);
}

#[test]
fn a_pass_stops_after_10_000_sorted_chunks() {
    let mut program = program();
    // Chunks too long for the cache, each with a block between that keeps it from merging.
    let freed: Vec<Address> = (0..10_003)
        .map(|_| {
            let at = program.malloc(1_100);
            program.malloc(24);
            at
        })
        .collect();
    for at in freed {
        program.heap.free(ThreadId(0), at, &mut program.memory).expect("a live block");
    }
    program.malloc(2_000);
    assert_eq!(program.heap.last_search(), 10_000);
    program.malloc(2_000);
    assert_eq!(program.heap.last_search(), 3);
}

#[test]
fn a_block_grows_into_top_only_if_a_whole_chunk_is_left() {
    // Top has 32 bytes more than the chunk needs, or 16: then the block moves.
    for (spare, stays) in [(32, true), (16, false)] {
        let mut program = program();
        let at = program.malloc(2_000);
        let top_end = BREAK + program.brk();
        let chunk = top_end - (at.0 - 16) - spare;
        assert_eq!(program.realloc(at, chunk - 8) == at, stays, "{spare} bytes left");
    }
}

#[test]
fn a_trimmed_top_keeps_the_pad() {
    let mut program = program();
    let at = program.malloc(120_000);
    let more = program.malloc(120_000);
    assert_eq!(program.brk(), 270_336 + 102_400);
    program.free(more);
    program.free(at);
    assert_eq!(program.brk(), 135_168);
}

#[test]
fn what_is_not_live_is_refused_and_nothing_moves() {
    let mut program = program();
    let (at, mapped) = (program.malloc(100), program.malloc(MIB));
    program.free(at);
    let before = program.heap.stats();
    for wrong in [at.0, at.0 + 16, at.0 - 16, 0, 8, u64::MAX, mapped.0 + 4096] {
        let refused = program.heap.free(ThreadId(0), Address(wrong), &mut program.memory);
        assert_eq!(refused.unwrap_err().0, Address(wrong));
        assert!(program.try_realloc(Address(wrong), 5).is_err());
    }
    assert_eq!(program.heap.stats(), before);
}

#[test]
fn where_the_break_is_refused_a_mapping_takes_its_place_and_top_is_fenced() {
    let start = Address(BREAK);
    let mut space = AddressSpace::new(SpaceSettings { start_brk: start, ..SpaceSettings::linux(4096) });
    let (mut heap, main) = (program().heap, ThreadId(0));
    let first = heap.malloc(main, 100, &mut space).expect("memory");
    // Something else is mapped right above the break.
    let wall = MapOptions::anonymous(4096).at(MapAt::FixedIfFree(Address(space.program_break().0 + 4096)));
    space.map(&wall).expect("a free page");
    let in_top = heap.malloc(main, 100_000, &mut space).expect("memory");
    let moved = heap.malloc(main, 100_000, &mut space).expect("memory");
    assert_eq!((place(in_top).as_str(), place(moved).as_str()), ("0x310", "mapped"));
    heap.check().expect("a heap in order");
    // 132 KiB below the break; the new region is as long as a mapping in its place is at least.
    assert_eq!(heap.stats().held, 135_168 + MIB);
    for at in [moved, in_top, first] {
        heap.free(main, at, &mut space).expect("a live block");
        heap.check().expect("a heap in order");
    }
    // Top does not lie at the break any more: nothing is trimmed there.
    assert_eq!(heap.stats().held, 135_168 + MIB);
}

#[test]
fn each_thread_gets_an_arena_until_there_are_eight_for_each_processor() {
    let mut program = program();
    program.malloc(1);
    let heaps: Vec<u64> = (1..=19).map(|thread| heap_of(program.by(thread).malloc(1))).collect();
    let main = heap_of(Address(BREAK));
    // Two processors: 16 arenas, the main one among them.
    assert!(heaps[..15].iter().enumerate().all(|(nth, heap)| *heap != main && !heaps[..nth].contains(heap)));
    // Then in turns: the main arena, and from the newest back.
    assert_eq!(heaps[15..], [main, heaps[14], heaps[13], heaps[12]]);
}

#[test]
fn an_arena_whose_threads_have_ended_is_taken_by_the_next() {
    let mut program = program();
    program.malloc(1);
    let first = program.by(1).malloc(1_000);
    program.end(1);
    let second = program.by(2).malloc(1_000);
    assert_eq!(heap_of(second), heap_of(first));
    assert_eq!(program.heap.stats().blocks, 3);
}

#[test]
fn a_block_goes_to_the_cache_of_the_thread_that_frees_it() {
    let mut program = program();
    program.malloc(1);
    let of_thread_1 = program.by(1).malloc(100);
    program.by(0).free(of_thread_1);
    assert_eq!(program.by(0).malloc(100), of_thread_1);
}

#[test]
fn a_thread_that_ends_gives_its_cache_and_the_caches_table_back() {
    let mut program = program();
    program.malloc(1);
    let blocks: Vec<Address> = (0..7).map(|_| program.by(1).malloc(1_000)).collect();
    for at in blocks {
        program.by(1).free(at);
    }
    assert_eq!(program.heap.stats().cached, 7 * 1_008);
    program.end(1);
    let left = program.heap.stats();
    // What is left of use: the first block and the table of the main thread's cache.
    assert_eq!((left.blocks, left.cached), (1, 0));
    let mut pieces = Vec::new();
    program.heap.for_each_free(&mut |at, _| pieces.push(heap_of(at)));
    assert_eq!(pieces.iter().filter(|&&heap| heap != heap_of(Address(BREAK))).count(), 1);
}

#[test]
fn a_full_heap_is_followed_by_another_that_goes_when_it_is_empty() {
    let mut program = program();
    program.malloc(1);
    // 90 KB is below the mmap threshold: 64 MiB hold 745 of them, and what is left is too long for the cache.
    let blocks: Vec<Address> = (0..1_000).map(|_| program.by(1).malloc(90_000)).collect();
    let heaps = |program: &Program| (program.memory.held_bytes() - program.brk()) / (64 * MIB);
    assert_eq!(heaps(&program), 2);
    program.heap.check().expect("a heap in order");
    for at in blocks.into_iter().rev() {
        program.heap.free(ThreadId(1), at, &mut program.memory).expect("a live block");
    }
    program.heap.check().expect("a heap in order");
    assert_eq!(heaps(&program), 1);
    assert_eq!(program.heap.stats().held, program.memory.held_bytes());
}

#[test]
fn a_full_arena_lets_the_main_one_serve() {
    let mut program = program();
    program.malloc(1);
    let in_heap = program.by(1).malloc(10);
    program.memory.set_limit(program.memory.held_bytes());
    // Neither heap nor mapping can be had, but the main arena has top left.
    let blocks: Vec<u64> = std::iter::from_fn(|| program.try_malloc(50_000).ok().map(heap_of)).collect();
    assert_eq!(blocks.iter().filter(|&&heap| heap == heap_of(Address(BREAK))).count(), 2);
    assert!(blocks.contains(&heap_of(in_heap)));
    program.heap.check().expect("a heap in order");
}

#[test]
fn calloc_writes_all_pages_of_a_block_that_is_used_again() {
    let mut program = program();
    let at = program.malloc(12 << 10);
    program.malloc(1);
    program.free(at);
    // Nobody wrote to the block itself: what is resident are the headers in front of it and behind it.
    assert_eq!(program.memory.resident_pages(at, 12 << 10), 2);
    let again = program.heap.calloc(ThreadId(0), 3, 4 << 10, &mut program.memory);
    assert_eq!((again, program.memory.resident_pages(at, 12 << 10)), (Ok(at), 4));
}

#[test]
fn tunables_change_what_they_name() {
    let mut no_cache = with(&GlibcOptions { tcache_count: 0, ..GlibcOptions::default() });
    let at = no_cache.malloc(100);
    no_cache.free(at);
    // A fast bin has it instead.
    assert_eq!((no_cache.heap.stats().cached, no_cache.malloc(100)), (112, at));

    let mut fixed = with(&GlibcOptions { mmap_threshold: Some(1 << 20), ..GlibcOptions::default() });
    let at = fixed.malloc(2 * MIB);
    fixed.free(at);
    assert_eq!(place(fixed.malloc(MIB)), "mapped");
    assert_eq!(place(fixed.malloc(MIB - 4096)), "0x2a0");

    let mut one_arena = with(&GlibcOptions { arena_max: Some(1), ..GlibcOptions::default() });
    one_arena.malloc(1);
    assert_eq!(heap_of(one_arena.by(5).malloc(1)), heap_of(Address(BREAK)));
}

#[test]
fn options_that_fit_nothing_are_refused() {
    let refused = |options: GlibcOptions| {
        let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
        Glibc::build(setting, &options).map(|_| ()).map_err(|error: BadOptions| error.to_string()).unwrap_err()
    };
    let default = GlibcOptions::default;
    assert_snapshot!(refused(GlibcOptions { tcache_count: 8, ..default() }), @"`tcache_count` is 8; a thread's cache keeps at most 7 chunks of a size");
    assert_snapshot!(refused(GlibcOptions { mmap_threshold: Some(64 << 20), ..default() }), @"`mmap_threshold` is 67108864; a threshold is 1 KiB to 32 MiB");
    assert_snapshot!(refused(GlibcOptions { arena_max: Some(0), ..default() }), @"`arena_max` is 0; there is at least 1 arena");
    assert_snapshot!(refused(GlibcOptions { top_pad: 1 << 40, ..default() }), @"`top_pad` is 1099511627776; top is padded with at most 1 GiB");
}
