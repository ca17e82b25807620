//! Buddy heap: blocks of powers of two, each with one buddy to join.
//!
//! # Models
//! The binary buddy system as a user-level heap. Sources: Knowlton 1965, "A fast storage allocator"; Knuth, TAOCP vol. 1,
//! section 2.5, algorithms R (reservation) and S (liberation).
//!
//! # Rules
//! 1. A block is the smallest power of two, at least 32 bytes, that holds the request and a header of 16 bytes.
//! 2. The last freed block of that size is taken; without one, that of the next larger size is halved until it fits. The lower
//!    half is used, the upper one becomes free.
//! 3. A block at offset `x` of the heap with `2^k` bytes has its buddy at `x xor 2^k`. A freed block joins its buddy while that is
//!    free and whole.
//! 4. Where nothing fits, the break rises to the next multiple of the block's size or of `growth_bytes`, if that is larger, and
//!    by as much again if what lies below is not all free. New memory comes as the largest blocks that offsets allow.
//! 5. `realloc` stays in its block if it fits and gives upper halves back; otherwise it is `malloc`, copy, `free`. An aligned
//!    block lies within a block with room for the alignment.
//!
//! # Invariants
//! Verified by `check`: blocks tile the heap, each a power of two at a multiple of its size; no two free ones are buddies; each is
//! in the list of its size.
//!
//! # Cost
//! O(orders): at most one split or join for each power of two. Up to half of a block is lost to rounding, a third on average.
//!
//! # Left out
//! The heap never shrinks.

use serde::{Deserialize, Serialize};

use super::tiling::{Bin, PieceId, Tiling};
use super::{HeapAllocator, HeapFreeError, HeapSetting, HeapStats, OutOfMemory, Piece, ReallocError, SystemMemory};
use crate::registry::{BadOptions, Model};
use crate::{Address, ThreadId, Violation, ensure, index};

const ALIGN: u64 = 16;
const HEADER_BYTES: u64 = 16;
/// Order of the smallest block: a header and 16 bytes.
const ORDER_MIN: u32 = 5;
const ORDERS: u64 = 64;

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuddyHeap {
    options: BuddyHeapOptions,
    tiling: Tiling,
    /// Free blocks of each order.
    bins: Vec<Bin>,
    /// Bit `k`: order `k` has a free block.
    marks: u64,
    start: u64,
    end: u64,
    /// The highest block.
    top: Option<PieceId>,
    usable: u64,
}

/// What a workload can set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuddyHeapOptions {
    /// The break rises to multiples of this, a power of two.
    pub growth_bytes: u64,
}

impl Default for BuddyHeapOptions {
    fn default() -> BuddyHeapOptions {
        BuddyHeapOptions { growth_bytes: 64 * 1024 }
    }
}

impl Model<dyn HeapAllocator> for BuddyHeap {
    const NAME: &'static str = "buddy_heap";
    const SUMMARY: &'static str = "powers of two, halved to serve and joined with buddies";
    const RULES: &'static str = "\
A request with its header takes the smallest power of two that holds it.
A larger free block is halved until it fits; the lower half is used.
A freed block joins its buddy, the other half of the block both came from,
while that is free.

    ................................   2 KiB, 64 bytes a dot
    aa..............................   malloc 100: halved four times
    aab.............................   malloc 40
    ..b.............................   free a: its buddy is not whole
    ................................   free b: joined five times";
    type Options = BuddyHeapOptions;

    fn build(_setting: HeapSetting, options: &BuddyHeapOptions) -> Result<BuddyHeap, BadOptions> {
        if !options.growth_bytes.is_power_of_two() || options.growth_bytes < 4096 {
            return Err(BadOptions {
                option: "growth_bytes",
                found: options.growth_bytes.to_string(),
                allowed: "a buddy heap grows by a power of two, at least 4096".to_owned(),
            });
        }
        Ok(BuddyHeap {
            options: *options,
            tiling: Tiling::new(ALIGN),
            bins: vec![Bin::default(); index(ORDERS)],
            marks: 0,
            start: 0,
            end: 0,
            top: None,
            usable: 0,
        })
    }
}

impl HeapAllocator for BuddyHeap {
    fn malloc(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        self.aligned_alloc(thread, ALIGN, bytes, os)
    }

    fn aligned_alloc(
        &mut self,
        _thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let align = align.checked_next_power_of_two().ok_or(OutOfMemory)?.max(ALIGN);
        let order = order_for(bytes, align - ALIGN)?;
        let block = match self.take(order) {
            Some(block) => block,
            None => self.grow(order, os)?,
        };
        let start = self.tiling.start(block);
        let at = (start + HEADER_BYTES).next_multiple_of(align);
        self.tiling.make_live(block, at);
        self.usable += self.tiling.end(block) - at;
        os.touch(Address(start), HEADER_BYTES);
        Ok(Address(at))
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        let block = self.tiling.find(at.0).ok_or(HeapFreeError(at))?;
        let (lead, all) = (at.0 - self.tiling.start(block), self.tiling.bytes(block));
        let needed = lead.checked_add(bytes.max(ALIGN)).ok_or(OutOfMemory)?;
        if needed <= all {
            self.halve(block, needed);
            self.usable -= all - self.tiling.bytes(block);
            return Ok(Some(at));
        }
        let moved = self.malloc(thread, bytes, os)?;
        os.touch(moved, all - lead);
        self.free(thread, at, os)?;
        Ok(Some(moved))
    }

    fn free(&mut self, _thread: ThreadId, at: Address, _os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        let block = self.tiling.make_free(at.0).ok_or(HeapFreeError(at))?;
        self.usable -= self.tiling.end(block) - at.0;
        self.join_buddies_and_insert(block);
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        self.tiling.find(at.0).map(|block| self.tiling.end(block) - at.0)
    }

    fn stats(&self) -> HeapStats {
        let (free, held) = (self.tiling.free_bytes(), self.end - self.start);
        let overhead = held - free - self.usable;
        HeapStats {
            blocks: self.tiling.live_blocks(),
            usable: self.usable,
            overhead,
            free,
            cached: 0,
            in_page: 0,
            held,
        }
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        for block in self.bins.iter().flat_map(|&bin| self.tiling.in_list(bin)) {
            visit(Address(self.tiling.start(block)), self.tiling.bytes(block));
        }
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        self.tiling.for_each_piece(visit);
    }

    fn check(&self) -> Result<(), Violation> {
        self.tiling.check(|_, _| true)?;
        let mut listed = 0;
        for (order, &bin) in (0..).zip(&self.bins) {
            let marked = self.marks >> order & 1 == 1;
            ensure(marked != bin.is_empty(), || format!("the mark of order {order} is {marked}"))?;
            for block in self.tiling.in_list(bin) {
                self.check_free(block, order)?;
                listed += self.tiling.bytes(block);
            }
        }
        let free = self.tiling.free_bytes();
        ensure(listed == free, || format!("{listed} bytes in lists, {free} are free"))
    }
}

impl BuddyHeap {
    /// A free block of that order, in no list any more (rule 2).
    fn take(&mut self, order: u32) -> Option<PieceId> {
        let larger = self.marks & (u64::MAX << order);
        if larger == 0 {
            return None;
        }
        let block = self.bins[index(larger.trailing_zeros().into())].first()?;
        self.remove_free(block);
        self.halve(block, 1 << order);
        Some(block)
    }

    /// Frees upper halves of a block, live or in no list, as long as the lower one holds `bytes` bytes.
    fn halve(&mut self, block: PieceId, bytes: u64) {
        loop {
            let half = self.tiling.bytes(block) / 2;
            if half < bytes || half < 1 << ORDER_MIN {
                return;
            }
            let upper = self.tiling.split(block, half);
            self.top = if self.top == Some(block) { Some(upper) } else { self.top };
            self.insert_free(upper);
        }
    }

    /// Rule 4.
    fn grow(&mut self, order: u32, os: &mut dyn SystemMemory) -> Result<PieceId, OutOfMemory> {
        if self.end == 0 {
            let start = os.program_break().0.checked_next_multiple_of(ALIGN).ok_or(OutOfMemory)?;
            (self.start, self.end) = (start, start);
        }
        let unit = self.options.growth_bytes.max(1 << order);
        self.raise_break(unit, os)?;
        if let Some(block) = self.take(order) {
            return Ok(block);
        }
        self.raise_break(unit, os)?;
        Ok(self.take(order).expect("a whole new unit holds the block"))
    }

    /// Raises the break to the next multiple of `unit` bytes of heap.
    fn raise_break(&mut self, unit: u64, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let held = self.end - self.start;
        let target = (held + 1).checked_next_multiple_of(unit).ok_or(OutOfMemory)?;
        let end = self.start.checked_add(target).ok_or(OutOfMemory)?;
        os.brk(Address(end))?;
        while self.end < end {
            let offset = self.end - self.start;
            let room = 1 << (end - self.end).ilog2();
            let bytes = if offset == 0 { room } else { room.min(1 << offset.trailing_zeros()) };
            let block = self.tiling.add(self.end, bytes, self.top);
            (self.end, self.top) = (self.end + bytes, Some(block));
            self.join_buddies_and_insert(block);
        }
        Ok(())
    }

    /// Rule 3. A buddy that is whole is the neighbour of the same size.
    fn join_buddies_and_insert(&mut self, freed: PieceId) {
        let mut block = freed;
        while let Some(buddy) = self.buddy(block).filter(|&buddy| self.tiling.is_free(buddy)) {
            self.remove_free(buddy);
            let (lower, upper) = if self.is_lower(block) { (block, buddy) } else { (buddy, block) };
            self.top = if self.top == Some(upper) { Some(lower) } else { self.top };
            self.tiling.join_above(lower, upper);
            block = lower;
        }
        self.insert_free(block);
    }

    fn is_lower(&self, block: PieceId) -> bool {
        (self.tiling.start(block) - self.start) & self.tiling.bytes(block) == 0
    }

    /// The buddy, if it is whole.
    fn buddy(&self, block: PieceId) -> Option<PieceId> {
        let neighbour = if self.is_lower(block) { self.tiling.above(block) } else { self.tiling.below(block) };
        neighbour.filter(|&neighbour| self.tiling.bytes(neighbour) == self.tiling.bytes(block))
    }

    fn insert_free(&mut self, block: PieceId) {
        let order = self.tiling.bytes(block).ilog2();
        self.tiling.push_first(&mut self.bins[index(order.into())], block);
        self.marks |= 1 << order;
    }

    fn remove_free(&mut self, block: PieceId) {
        let order = self.tiling.bytes(block).ilog2();
        let bin = &mut self.bins[index(order.into())];
        self.tiling.unlink(bin, block);
        if bin.is_empty() {
            self.marks &= !(1 << order);
        }
    }

    fn check_free(&self, block: PieceId, order: u32) -> Result<(), Violation> {
        let (offset, bytes) = (self.tiling.start(block) - self.start, self.tiling.bytes(block));
        ensure(bytes == 1 << order, || format!("a free block of {bytes} bytes is in order {order}"))?;
        ensure(offset.is_multiple_of(bytes), || format!("a block of {bytes} bytes lies at offset {offset}"))?;
        let joins = self.buddy(block).is_some_and(|buddy| self.tiling.is_free(buddy));
        ensure(!joins, || format!("the block of {bytes} bytes at offset {offset} and its buddy are both free"))
    }
}

/// The order of the smallest block with room for `bytes`, the header and what aligning may skip.
fn order_for(bytes: u64, skip: u64) -> Result<u32, OutOfMemory> {
    let all = bytes.max(ALIGN).checked_add(HEADER_BYTES).and_then(|sum| sum.checked_add(skip)).ok_or(OutOfMemory)?;
    Ok(all.checked_next_power_of_two().ok_or(OutOfMemory)?.ilog2())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::heap::drawing::Drawn;

    /// One character for 16 bytes.
    fn buddy() -> Drawn<BuddyHeap> {
        Drawn::new(&BuddyHeapOptions { growth_bytes: 4096 }, 16)
    }

    #[test]
    fn halves_a_larger_block_and_uses_the_lower_half() {
        let mut drawn = buddy();
        drawn.malloc('a', 100);
        drawn.malloc('b', 40);
        drawn.malloc('c', 16);
        assert_snapshot!(format!("{}\n{}", drawn.draw(), drawn.free_pieces()), @r"
        HaaaaaaaHbbbHc... and 3872 free
        224+32 256+256 512+512 1024+1024 2048+2048
        ");
    }

    #[test]
    fn a_power_of_two_takes_twice_as_much_for_its_header() {
        let mut drawn = buddy();
        drawn.malloc_all("abc", 64);
        assert_snapshot!(drawn.draw(), @"HaaaaaaaHbbbbbbbHccccccc... and 3712 free");
    }

    #[test]
    fn joins_buddies_and_only_buddies() {
        let mut drawn = buddy();
        drawn.malloc_all("abcd", 40);
        drawn.free("bc");
        let strangers = drawn.free_pieces();
        drawn.free("a");
        let halves = drawn.free_pieces();
        drawn.free("d");
        assert_snapshot!(format!("{strangers}\n{halves}\n{}", drawn.free_pieces()), @r"
        128+64 64+64 256+256 512+512 1024+1024 2048+2048
        128+64 0+128 256+256 512+512 1024+1024 2048+2048
        0+4096
        ");
    }

    #[test]
    fn a_block_larger_than_the_heap_takes_what_is_free_below_the_break_along() {
        let mut drawn = buddy();
        drawn.malloc('a', 16);
        drawn.malloc('b', 10_000);
        assert_snapshot!(format!("{} {}", drawn.offset('b'), drawn.free_pieces()), @"16400 32+32 64+64 128+128 256+256 512+512 1024+1024 2048+2048 4096+4096 8192+8192");
        let mut empty = buddy();
        empty.malloc('a', 16);
        empty.free("a");
        empty.malloc('b', 8000);
        assert_eq!(empty.memory.held_bytes(), 8192, "the first 4 KiB are the lower half");
    }

    #[test]
    fn realloc_gives_upper_halves_back() {
        let mut drawn = buddy();
        drawn.malloc('a', 400);
        drawn.realloc('a', 50);
        let shrunk = drawn.draw();
        drawn.realloc('a', 300);
        assert_snapshot!(format!("{shrunk}\n{}", drawn.draw()), @r"
        Haaaaaaa... and 3968 free
        ................................Haaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa... and 3072 free
        ");
    }

    #[test]
    fn an_aligned_block_lies_within_a_larger_one() {
        let mut drawn = buddy();
        drawn.malloc('a', 16);
        drawn.aligned('m', 128, 64);
        assert_snapshot!(drawn.draw(), @"Ha..............HHHHHHHHmmmmmmmm... and 3584 free");
    }

    #[test]
    fn with_nothing_live_the_heap_is_as_large_blocks_as_offsets_allow() {
        let mut drawn = buddy();
        drawn.malloc_all("abcdefgh", 1500);
        drawn.free("hbdfaceg");
        assert_snapshot!(format!("{} of {}", drawn.free_pieces(), drawn.memory.held_bytes()), @"0+16384 of 16384");
    }

    #[test]
    fn grows_by_powers_of_two_alone() {
        let setting = HeapSetting { coins: crate::Coins::from_key([0; 32]) };
        let error = BuddyHeap::build(setting, &BuddyHeapOptions { growth_bytes: 5000 }).unwrap_err();
        assert_snapshot!(error, @"`growth_bytes` is 5000; a buddy heap grows by a power of two, at least 4096");
    }
}
