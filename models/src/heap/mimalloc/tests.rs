//! The rules one by one, as small pictures and against formulas of their own.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::page::{END, LIVE, LIVE_INSIDE};
use super::sizes::{BIN_FULL, bin_of, block_bytes_of};
use super::*;
use crate::Coins;
use crate::heap::flat_memory::FlatMemory;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Requests that get a page of 1 and of 4 slices to themselves, and one of four to a page.
const LARGE: u64 = 200 * KIB;
const QUARTER: u64 = 16 * KIB;

/// A process whose blocks have names.
struct Process {
    heap: Mimalloc,
    memory: FlatMemory,
    blocks: BTreeMap<char, Address>,
}

fn process() -> Process {
    process_with(&MimallocOptions::default())
}

fn process_with(options: &MimallocOptions) -> Process {
    let setting = HeapSetting { coins: Coins::from_key([0; 32]) };
    let heap = Mimalloc::build(setting, options).unwrap();
    Process { heap, memory: FlatMemory::at(Address(0x1_0000)), blocks: BTreeMap::new() }
}

impl Process {
    fn malloc_by(&mut self, thread: u32, names: &str, bytes: u64) {
        for name in names.chars() {
            let at = self.heap.malloc(ThreadId(thread), bytes, &mut self.memory).unwrap();
            self.blocks.insert(name, at);
        }
        self.heap.check().unwrap();
    }

    fn malloc(&mut self, names: &str, bytes: u64) {
        self.malloc_by(0, names, bytes);
    }

    fn free_by(&mut self, thread: u32, names: &str) {
        for name in names.chars() {
            let at = self.blocks.remove(&name).unwrap();
            self.heap.free(ThreadId(thread), at, &mut self.memory).unwrap();
            self.heap.check().unwrap();
        }
    }

    fn free(&mut self, names: &str) {
        self.free_by(0, names);
    }

    fn end(&mut self, thread: u32) {
        self.heap.thread_exit(ThreadId(thread), &mut self.memory);
        self.heap.check().unwrap();
    }

    fn at_ms(&mut self, now_ms: u64) {
        self.heap.tick(Nanos(now_ms * NANOS_PER_MS), &mut self.memory);
    }

    fn page_of(&self, name: char) -> &Page {
        let place = self.heap.live_block(self.blocks[&name]).unwrap();
        self.heap.page_ref(place.page)
    }

    /// The blocks of a page: their names, `.` free, `-` not made yet.
    fn draw_page(&self, of: char) -> String {
        let page = self.page_of(of);
        let named = |block| {
            let at = page.address(block);
            self.blocks.iter().find(|&(_, &other)| other == at).map_or('?', |(&name, _)| name)
        };
        let made = (0..).zip(&page.links).map(|(block, &link)| match link {
            LIVE | LIVE_INSIDE => named(block),
            _ => '.',
        });
        let rest = usize::from(page.reserved) - page.links.len();
        made.chain(std::iter::repeat_n('-', rest)).collect()
    }

    /// The pages of a queue from its front: who lives there.
    fn draw_queue(&self, thread: u32, bin: u8) -> String {
        let names = |page: u32| {
            let is_there = |&(_, &at): &(&char, &Address)| self.heap.live_block(at).unwrap().page == page;
            let names: String = self.blocks.iter().filter(is_there).map(|(name, _)| name).collect();
            format!("[{names}]")
        };
        self.heap.queues.get(thread, bin).iter(&self.heap.pages).map(names).collect()
    }

    /// The first 24 slices of the first segment: `H` header, `.` free, names of the blocks that start there, `=` what follows.
    fn draw_slices(&self) -> String {
        let segment = self.heap.segments.get(0);
        let mut picture = String::from("H");
        for part in self.heap.parts(0) {
            let page = self.heap.page_ref(part);
            let (at, slices) = (segment.slice_address(segment.nth(part)).0, index(page.slices.into()));
            let inside = |&(_, &block): &(&char, &Address)| (at..at + page.bytes()).contains(&block.0);
            let name = self.blocks.iter().find(inside).map_or('_', |(&name, _)| name);
            let (first, rest) = if page.is_free_span() { ('.', '.') } else { (name, '=') };
            picture.push(first);
            picture.extend(std::iter::repeat_n(rest, slices - 1));
        }
        picture.chars().take(24).collect()
    }

    /// The start of the block that the program has from `at` on.
    fn block_start(&self, at: Address) -> u64 {
        let place = self.heap.live_block(at).unwrap();
        self.heap.page_ref(place.page).address(place.block).0
    }

    /// Blocks that fill a segment to the last slice.
    fn fill_segment_by(&mut self, thread: u32) {
        for bytes in [16 * MIB, 8 * MIB, 4 * MIB, 2 * MIB, MIB, 512 * KIB, 448 * KIB] {
            self.malloc_by(thread, "_", bytes);
        }
    }

    fn resident(&self) -> u64 {
        let segments = self.heap.segments.list.iter().filter(|segment| segment.mapped_bytes > 0);
        segments.map(|segment| self.memory.resident_pages(Address(segment.mapping), segment.mapped_bytes)).sum()
    }

    /// Whether all of a place of `bytes` bytes is resident, or nothing of it.
    fn is_resident(&self, at: Address, bytes: u64) -> bool {
        match self.memory.resident_pages(at, bytes) {
            0 => false,
            pages if pages * 4096 == bytes => true,
            pages => panic!("{pages} pages of {bytes} bytes"),
        }
    }
}

#[test]
fn a_page_makes_four_kib_of_blocks_at_a_time_and_four_at_least() {
    let mut process = process();
    process.malloc("a", 1536);
    assert_snapshot!(process.draw_page('a'), @"a...--------------------------------------");
    process.malloc("bcd", 1536);
    assert_snapshot!(process.draw_page('a'), @"abcd--------------------------------------");
    process.malloc("e", 1536);
    assert_snapshot!(process.draw_page('a'), @"abcde...----------------------------------");
    process.malloc("f", 512);
    assert_eq!(process.page_of('f').links.len(), 8);
}

#[test]
fn what_was_freed_waits_until_the_blocks_that_were_made_are_used() {
    let mut process = process();
    process.malloc("abcd", 1536);
    process.malloc("e", 1536);
    process.free("ac");
    process.malloc("fgh", 1536);
    assert_snapshot!(process.draw_page('b'), @".b.defgh----------------------------------");
    process.malloc("i", 1536);
    assert_snapshot!(process.draw_page('b'), @".bidefgh----------------------------------");
}

#[test]
fn a_full_page_leaves_its_queue_and_comes_back_to_its_end() {
    let mut process = process();
    process.malloc("abcd", QUARTER);
    let bin = bin_of(QUARTER);
    assert_snapshot!(process.draw_queue(0, bin), @"[abcd]");
    process.malloc("efgh", QUARTER);
    assert_snapshot!(process.draw_queue(0, bin), @"[efgh]");
    assert_snapshot!(process.draw_queue(0, BIN_FULL), @"[abcd]");
    process.free("b");
    assert_snapshot!(process.draw_queue(0, bin), @"[efgh][acd]");
    assert_snapshot!(process.draw_queue(0, BIN_FULL), @"");
    // The first page has no block left and goes; the next one serves.
    process.malloc("i", QUARTER);
    assert_snapshot!(process.draw_queue(0, bin), @"[acdi]");
    assert_snapshot!(process.draw_queue(0, BIN_FULL), @"[efgh]");
}

#[test]
fn an_empty_page_alone_in_its_queue_stays_for_nine_rounds_or_three() {
    for (bytes, rounds) in [(100, 9), (QUARTER, 9), (QUARTER + 1, 3), (100 * KIB, 3)] {
        let mut process = process();
        process.malloc("a", bytes);
        let carved = process.page_of('a').bytes_of_blocks();
        process.free("a");
        assert_eq!(process.heap.stats().in_page, carved, "{bytes}");
        for round in 1..=rounds {
            // Each other size needs a fresh page: a round of retiring.
            process.malloc("x", block_bytes_of(20 + round));
            let is_kept = process.heap.queues.first(0, bin_of(bytes)) != NONE;
            assert_eq!(is_kept, round < rounds, "{bytes} bytes, round {round}");
        }
    }
}

#[test]
fn an_empty_page_that_is_not_alone_goes_at_once() {
    let mut process = process();
    process.malloc("abcdefgh", QUARTER);
    process.free("abcd");
    assert_snapshot!(process.draw_queue(0, bin_of(QUARTER)), @"[efgh]");
    assert_snapshot!(process.draw_slices(), @"H.e.....................");
}

#[test]
fn a_page_takes_the_low_part_of_the_first_span_that_is_long_enough() {
    let mut process = process();
    process.malloc("abcde", LARGE);
    assert_snapshot!(process.draw_slices(), @"Ha===b===c===d===e===...");
    process.free("bd");
    // Both spans hang in one queue: the one freed last comes first.
    process.malloc("f", 100);
    assert_snapshot!(process.draw_slices(), @"Ha===....c===f...e===...");
    process.malloc("g", 2_000);
    assert_snapshot!(process.draw_slices(), @"Ha===....c===fg..e===...");
    process.malloc("h", LARGE);
    assert_snapshot!(process.draw_slices(), @"Ha===h===c===fg..e===...");
}

#[test]
fn a_freed_page_joins_the_free_spans_on_both_sides() {
    let mut process = process();
    process.malloc("abcd", LARGE);
    process.free("ac");
    process.free("b");
    assert_eq!(process.heap.parts(0).len(), 3);
    process.malloc("e", 3 * LARGE);
    assert_snapshot!(process.draw_slices(), @"H............d===e======");
}

#[test]
fn others_leave_the_first_block_of_a_page_to_its_owner_and_further_ones_to_the_page() {
    let mut process = process();
    process.malloc("abcd", QUARTER);
    process.malloc_by(1, "x", 100);
    process.free_by(1, "ab");
    assert_eq!(process.heap.heaps[0].delayed.len(), 1);
    let page = process.page_of('c');
    assert_eq!((page.used, page.thread_free == END, page.free), (4, false, END));
    // The owner's next generic call collects `b` and then frees `a`: that one has to wait in local_free.
    process.malloc("e", QUARTER);
    assert_snapshot!(process.draw_page('c'), @".ecd");
    assert_eq!(process.page_of('c').remote, page::RemoteFree::Delayed);
}

#[test]
fn a_full_page_comes_back_when_another_thread_frees_a_block_of_it() {
    let mut process = process();
    process.malloc("abcdefgh", QUARTER);
    process.free_by(1, "b");
    assert_snapshot!(process.draw_queue(0, BIN_FULL), @"[acd]");
    process.malloc("i", LARGE);
    assert_snapshot!(process.draw_queue(0, BIN_FULL), @"");
    assert_snapshot!(process.draw_queue(0, bin_of(QUARTER)), @"[efgh][acd]");
}

#[test]
fn the_end_of_a_thread_abandons_what_is_used_and_frees_the_rest() {
    let mut process = process();
    process.malloc_by(1, "ab", 100);
    process.malloc_by(1, "c", 2_000);
    process.malloc_by(1, "d", LARGE);
    process.free_by(1, "cd");
    process.end(1);
    assert_snapshot!(process.draw_slices(), @"Ha......................");
    assert_eq!(process.page_of('a').owner, NONE);
    assert_eq!(process.heap.segments.visited, [0], "looked at once by the thread itself");
    // A thread without memory of its own takes the segment over, and finds a page of that size with room.
    process.malloc_by(2, "e", 100);
    assert_eq!(process.page_of('a').owner, 2);
    assert!(process.draw_page('a').starts_with("abe."));
}

#[test]
fn a_segment_whose_last_blocks_come_back_without_an_owner_is_kept() {
    let mut process = process();
    process.malloc_by(1, "abc", 100);
    process.end(1);
    process.free_by(0, "abc");
    process.malloc("x", 100);
    let stats = process.heap.stats();
    assert_eq!((stats.held, stats.blocks), (32 * MIB + threads::DATA_BYTES, 1), "the kept segment is used again");
    assert_eq!(process.heap.segments.list.len(), 1);
}

#[test]
fn a_segment_without_owner_is_taken_over_on_its_fourth_visit() {
    let mut process = process_with(&MimallocOptions { max_segment_reclaim: 1, ..MimallocOptions::default() });
    process.fill_segment_by(1);
    process.end(1);
    for visits in [2, 3, 0] {
        process.fill_segment_by(0);
        assert_eq!(process.heap.segments.get(0).visits, visits);
    }
    assert_eq!(process.heap.segments.get(0).owner, 0);
    assert_eq!(process.heap.segments.list.len(), 4, "it was of no use");
}

#[test]
fn a_huge_block_is_given_back_whoever_frees_it() {
    let mut process = process();
    process.malloc("a", 20 * MIB);
    assert_eq!(process.memory.held_bytes(), 21 * MIB, "with its header, rounded");
    let at = process.blocks[&'a'];
    process.memory.touch(at, 20 * MIB);
    process.free_by(1, "a");
    assert_eq!(process.memory.resident_pages(at, 20 * MIB), 1, "the link in its first page");
    process.malloc("b", 100);
    assert_eq!(process.memory.held_bytes(), 32 * MIB);
    process.malloc("c", 20 * MIB);
    process.free("c");
    assert_eq!(process.memory.held_bytes(), 32 * MIB);
}

#[test]
fn the_alignment_of_a_small_power_of_two_is_right_to_128_bytes() {
    let mut process = process();
    for (align, bytes, given) in [(64, 64, 64), (128, 512, 128), (256, 256, 128), (1024, 1024, 128), (256, 300, 256)] {
        for _ in 0..3 {
            let at = process.heap.aligned_alloc(ThreadId(0), align, bytes, &mut process.memory).unwrap();
            assert!(at.0.is_multiple_of(given), "{at} of {align}");
            assert_eq!(process.heap.alignment_given(align, bytes), given);
            assert!(given == align || !at.0.is_multiple_of(align), "{at} of {align}: the real one is wrong here");
        }
    }
}

#[test]
fn an_aligned_place_inside_a_block_is_freed_by_its_own_address_only() {
    let mut process = process();
    process.malloc("a", 4096 + 100);
    let at = process.heap.aligned_alloc(ThreadId(0), 4096, 100, &mut process.memory).unwrap();
    let block = process.block_start(at);
    assert!(block < at.0);
    assert!(process.heap.free(ThreadId(0), Address(block), &mut process.memory).is_err());
    assert!(process.heap.free(ThreadId(0), Address(at.0 + 16), &mut process.memory).is_err());
    assert!(process.heap.usable_size(at).unwrap() >= 100);
    process.heap.free(ThreadId(0), at, &mut process.memory).unwrap();
    assert_eq!(process.heap.usable_size(at), None);
    process.heap.check().unwrap();
}

/// Places of a 16 MiB page far from the blocks that the tests free.
const FAR: u64 = 8 * MIB;

#[test]
fn freed_slices_stay_for_25_ms_and_go_when_a_page_is_taken_then() {
    for (taken_ms, is_there) in [(1_024, true), (1_025, false)] {
        let mut process = process();
        process.at_ms(1_000);
        process.malloc("abc", MIB);
        let at = process.blocks[&'b'];
        process.memory.touch(at, MIB);
        process.free("b");
        process.at_ms(taken_ms);
        process.malloc("x", FAR);
        assert_eq!(process.is_resident(at, MIB), is_there, "{taken_ms} ms");
    }
}

#[test]
fn slices_that_are_used_again_keep_the_mib_around_them() {
    let mut process = process();
    // Of three slices each: `f`, `g` and `h` lie at slices 16 to 24.
    process.malloc("abcdefghij", 150 * KIB);
    assert_snapshot!(process.draw_slices(), @"Ha==b==c==d==e==f==g==h=");
    let at = |process: &Process, name| Address(process.blocks[&name].0);
    let (b, f) = (at(&process, 'b'), at(&process, 'f'));
    process.memory.touch(b, 192 * KIB);
    process.memory.touch(f, 192 * KIB);
    process.free("b");
    process.free("f");
    process.free("h");
    process.at_ms(10);
    // In the place of `h`: `f` no longer waits, `b` waits for 25 ms more.
    process.malloc("k", 150 * KIB);
    assert_snapshot!(process.draw_slices(), @"Ha==...c==d==e==...g==k=");
    process.at_ms(34);
    process.malloc("x", FAR);
    assert_eq!((process.is_resident(b, 192 * KIB), process.is_resident(f, 192 * KIB)), (true, true));
    process.at_ms(35);
    process.malloc("y", FAR);
    assert_eq!((process.is_resident(b, 192 * KIB), process.is_resident(f, 192 * KIB)), (false, true));
}

proptest! {
    /// The rule of the clock by itself: the expiry after frees at these times, and which frees give back at once.
    #[test]
    fn freed_slices_expire_by_the_formula(gaps in prop::collection::vec(0_u64..40, 1..12), after in 0_u64..60) {
        let mut process = process();
        let names: Vec<char> = ('a'..='z').take(gaps.len() * 2 + 1).collect();
        process.malloc(&names.iter().collect::<String>(), MIB);
        for &at in process.blocks.values() {
            process.memory.touch(at, MIB);
        }
        let (mut now, mut expiry) = (1_000, 0);
        let mut waiting: Vec<Address> = Vec::new();
        let mut gone: Vec<Address> = Vec::new();
        // Every second block, so that no two of them join.
        for (gap, name) in gaps.iter().zip(names.iter().skip(1).step_by(2)) {
            now += gap;
            process.at_ms(now);
            waiting.push(process.blocks[name]);
            process.free(&name.to_string());
            match expiry {
                0 => expiry = now + 25,
                _ if now < expiry => expiry += 1,
                _ if now < expiry + 1 => expiry = now + 1,
                _ => {
                    gone.append(&mut waiting);
                    expiry = 0;
                }
            }
        }
        now += after;
        process.at_ms(now);
        process.malloc("!", FAR);
        if expiry != 0 && now >= expiry {
            gone.append(&mut waiting);
        }
        for at in waiting {
            prop_assert!(process.is_resident(at, MIB), "{at} waits until {expiry}, now {now}");
        }
        for at in gone {
            prop_assert!(!process.is_resident(at, MIB), "{at} expired at {expiry}, now {now}");
        }
    }
}

#[test]
fn a_kept_segment_is_given_back_half_a_second_later_when_a_thread_ends() {
    for (end_ms, is_there) in [(1_499, true), (1_500, false)] {
        let mut process = process();
        process.at_ms(1_000);
        process.malloc("ab", 16 * MIB);
        let at = process.blocks[&'b'];
        process.memory.touch(at, 16 * MIB);
        process.free("b");
        assert_eq!(process.heap.stats().cached, 32 * MIB);
        process.at_ms(end_ms);
        // What ends has a huge block only: it takes no segment from the kept ones.
        process.malloc_by(1, "x", 20 * MIB);
        process.end(1);
        assert_eq!(process.heap.stats().cached, 32 * MIB);
        assert_eq!(process.is_resident(at, 16 * MIB), is_there, "{end_ms} ms");
    }
}

#[test]
fn a_thread_that_ends_leaves_its_own_mapping_to_the_next() {
    let mut process = process();
    process.malloc("a", 100);
    let alone = process.memory.held_bytes();
    for thread in 1..=20 {
        process.malloc_by(thread, "x", 100);
    }
    for thread in 1..=20 {
        process.end(thread);
    }
    // Eight are kept; the segments, with a block each, have no owner.
    assert_eq!(process.memory.held_bytes() - alone, 20 * 32 * MIB + 8 * threads::DATA_BYTES);
    process.malloc_by(21, "y", 100);
    assert_eq!(process.memory.held_bytes() - alone, 20 * 32 * MIB + 8 * threads::DATA_BYTES);
}

#[test]
fn without_decommit_nothing_goes_back() {
    let mut process = process_with(&MimallocOptions { allow_decommit: false, ..MimallocOptions::default() });
    process.malloc("abc", MIB);
    let at = process.blocks[&'b'];
    process.memory.touch(at, MIB);
    process.free("b");
    process.at_ms(100_000);
    process.malloc("x", FAR);
    process.free("xac");
    process.end(0);
    assert!(process.is_resident(at, MIB));
    assert!(process.resident() > 256);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let setting = || HeapSetting { coins: Coins::from_key([0; 32]) };
    let none = MimallocOptions { max_segment_reclaim: 0, ..MimallocOptions::default() };
    assert_snapshot!(Mimalloc::build(setting(), &none).unwrap_err(), @"`max_segment_reclaim` is 0; 1 to 1024 segments are looked at");
    let late = MimallocOptions { decommit_delay_ms: u64::MAX, ..MimallocOptions::default() };
    assert!(Mimalloc::build(setting(), &late).is_err());
}
