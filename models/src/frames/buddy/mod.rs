//! Binary buddy: blocks of `2^k` frames that split in halves and merge again.
//!
//! # Models
//! The binary buddy system of Knowlton (1965), as in Knuth, TAOCP vol. 1, section 2.5, algorithms R and S, with the lowest
//! free address taken first. The default top order is that of Linux on x86-64 (10: blocks of at most 4 MiB), whose free
//! lists are last in, first out instead.
//!
//! # Rules
//! 1. Memory is cut from the low end into aligned blocks, each as large as its alignment, the memory and the top order allow.
//! 2. A request is rounded up to `2^k` frames. The smallest order that has a free block serves it, from its lowest block.
//! 3. A block that is too large is halved until it is not; the low half is kept, or the half that holds the first aligned
//!    frame where the request asks for more alignment than its size gives.
//! 4. A freed block merges at once with its buddy, the other half it was once cut from, while that is free and whole. Two
//!    blocks that touch but are no halves of one stay apart.
//!
//! # Invariants
//! Verified by `check`: live and free blocks tile memory; each starts at a multiple of its size; no two free halves of one
//! block are both whole (rule 4); the sets by order, the counts, the free frames and the holes are those of the tiling.
//!
//! # Cost
//! `allocate` and `free` O(orders) words, most often one cache line of the map and one word a level of one set: the map has
//! two bits a frame, 64 frames in 16 bytes. With the sets 0.27 bytes a frame (17 MiB at `2^26` frames), whatever is live;
//! the map is written only where blocks were cut, so a large memory starts at the cost of its sets. A request with a limit,
//! or with more alignment than its size gives, steps over the blocks that are not aligned.
//!
//! # Left out
//! Migrate types, zones, watermarks and per-cpu lists, which a request's other fields are for; LIFO lists. How many frames
//! of a block were asked for is the caller's to remember.

mod block_map;
mod check;
mod search;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::block_map::{BlockMap, WORD_ORDER, Word};
use super::bit_tree::BitTree;
use super::{AllocError, Explanation, FrameAllocator, FrameRequest, FrameRun, FrameSetting, FreeError};
use crate::metrics::FreeBlocks;
use crate::registry::{BadOptions, Model};
use crate::{Violation, index};

/// The highest top order that can be chosen.
const MAX_ORDER_LIMIT: u32 = 40;
/// How many orders that makes.
const ORDERS: usize = 41;

/// What a workload can set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuddyOptions {
    /// Blocks have at most `2^max_order` frames, and so has a request; 10 as in Linux, up to 40. Blocks are never larger than
    /// memory.
    pub max_order: u32,
}

impl Default for BuddyOptions {
    fn default() -> Self {
        BuddyOptions { max_order: 10 }
    }
}

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Buddy {
    map: BlockMap,
    /// Free blocks by order: up to the highest order that fits memory.
    sets: Vec<FreeSet>,
    /// Bit `k`: there is a free block of order `k`.
    orders_with_free: u64,
    /// As chosen: the largest request.
    max_order: u32,
    /// The highest order a block of this memory can have.
    top_order: u32,
    frames: u64,
    free_frames: u64,
    holes: u64,
    last_search: u64,
}

/// Free blocks of one order.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct FreeSet {
    /// Below [`WORD_ORDER`]: the words of the map that have such a block. From there on: the blocks, numbered by address.
    places: BitTree,
    blocks: u64,
}

/// `2^order` frames from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: u64,
    order: u32,
}

impl Model<dyn FrameAllocator> for Buddy {
    const NAME: &'static str = "buddy";
    const SUMMARY: &'static str = "blocks of 2^k frames that split in halves and merge again";
    const RULES: &'static str = "\
A request is rounded up to 2^k frames; what it did not ask for is wasted
inside the block (internal fragmentation). The smallest order that has a free
block serves it, from its lowest block, which is halved until it fits, the
low half kept. A freed block merges with its buddy, the other half of the
block it was cut from, as often as that is free. No block exceeds
2^max_order frames (10 if not set).

  take A, 1    A.......    8 is halved to 4, 2, 1: free are 1, 2 and 4
  take B, 2    A.BB....    the free 2 fits exactly
  take C, 3    A.BBCCCc    3 is rounded up to 4; c is wasted
  give A       ..BBCCCc    merges with its buddy: one free block of 2";
    type Options = BuddyOptions;

    fn build(setting: FrameSetting, options: &BuddyOptions) -> Result<Buddy, BadOptions> {
        if options.max_order > MAX_ORDER_LIMIT {
            return Err(BadOptions {
                option: "max_order",
                found: options.max_order.to_string(),
                allowed: format!("the top order must be 0 to {MAX_ORDER_LIMIT}"),
            });
        }
        Ok(Buddy::new(setting.frames, options.max_order))
    }
}

impl FrameAllocator for Buddy {
    fn allocate(&mut self, request: &FrameRequest) -> Result<FrameRun, AllocError> {
        let need = self.need(request)?;
        let lowest_order = (self.orders_with_free & (u64::MAX << need.order)).trailing_zeros();
        if need.plain && lowest_order < WORD_ORDER {
            return Ok(self.allocate_in_word(lowest_order, need.order));
        }
        let Some(found) = self.find(need) else {
            self.last_search = u64::from((self.top_order + 1).saturating_sub(need.order));
            return Err(self.refusal(request));
        };
        self.last_search = u64::from(found.block.order - need.order) + 1;
        let taken = Block { start: found.at, order: need.order };
        self.carve(found.block, taken);
        let neighbours = self.free_neighbours(self.map.load(taken.start / 64), taken);
        self.count_taken(taken, neighbours);
        Ok(taken.run())
    }

    fn free(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let Some((block, word)) = self.live_block(run) else {
            return Err(self.free_error(run));
        };
        self.holes = self.holes + 1 - self.free_neighbours(word, block);
        self.free_frames += block.frames();
        let whole = if block.order < WORD_ORDER { self.merge_in_word(word, block) } else { block };
        if whole.order >= WORD_ORDER {
            self.merge(whole);
        }
        Ok(())
    }

    fn total_frames(&self) -> u64 {
        self.frames
    }

    fn free_frames(&self) -> u64 {
        self.free_frames
    }

    fn largest_request(&self) -> u64 {
        self.orders_with_free.checked_ilog2().map_or(0, |order| 1 << order)
    }

    fn largest_together(&self) -> u64 {
        self.free_frames.checked_ilog2().map_or(0, |order| 1 << order.min(self.top_order))
    }

    fn holes(&self) -> u64 {
        self.holes
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(FrameRun)) {
        let mut next: Vec<Option<Block>> = (0..=self.top_order).map(|order| self.first_of(order, 0)).collect();
        while let Some(block) = next.iter().flatten().min_by_key(|block| block.start).copied() {
            visit(block.run());
            next[block.at()] = self.first_of(block.order, block.end());
        }
    }

    /// O(orders).
    fn free_blocks(&self, top_order: u32) -> FreeBlocks {
        let mut counts = [0; ORDERS];
        for (order, set) in (0..).zip(&self.sets) {
            let counted_as = top_order.min(order);
            counts[index(u64::from(counted_as))] += set.blocks << (order - counted_as);
        }
        FreeBlocks::from_counts(&counts)
    }

    fn explain(&self, request: &FrameRequest) -> Explanation {
        self.explain_search(request)
    }

    /// Orders looked at.
    fn last_search(&self) -> u64 {
        self.last_search
    }

    fn check(&self) -> Result<(), Violation> {
        self.check_tiling()
    }
}

impl Block {
    #[inline]
    fn frames(self) -> u64 {
        1 << (self.order % 64)
    }

    #[inline]
    fn end(self) -> u64 {
        self.start + self.frames()
    }

    fn run(self) -> FrameRun {
        FrameRun::new(self.start, self.frames())
    }

    /// Its order as an index into the sets.
    #[inline]
    fn at(self) -> usize {
        index(u64::from(self.order))
    }

    /// The other half of the block this one was cut from.
    #[inline]
    fn buddy(self) -> Block {
        Block { start: self.start ^ self.frames(), order: self.order }
    }

    /// The block this one was cut from.
    #[inline]
    fn parent(self) -> Block {
        Block { start: self.start & !self.frames(), order: self.order + 1 }
    }

    /// Where it is in the set of its order.
    #[inline]
    fn place(self) -> u64 {
        self.start >> self.order.max(WORD_ORDER)
    }
}

impl Buddy {
    /// `frames` free frames, at least 1, and blocks of at most `2^max_order` of them.
    fn new(frames: u64, max_order: u32) -> Buddy {
        let top_order = max_order.min(frames.max(1).ilog2());
        let tops = frames >> top_order;
        let whole = tops << top_order;
        let mut buddy = Buddy {
            map: BlockMap::new(frames, whole, top_order),
            sets: (0..=top_order).map(|order| FreeSet::new(frames, order)).collect(),
            orders_with_free: 0,
            max_order,
            top_order,
            frames,
            free_frames: frames,
            holes: u64::from(frames > 0),
            last_search: 0,
        };
        buddy.sets[index(u64::from(top_order))] = FreeSet::filled(frames, top_order, tops);
        buddy.orders_with_free = u64::from(tops > 0) << top_order;
        buddy.cut_the_rest(whole);
        buddy
    }

    /// Bytes of the whole structure.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.map.bytes() + self.sets.iter().map(|set| set.places.bytes()).sum::<u64>()
    }

    /// Rule 1 for what is left above the blocks of the top order.
    fn cut_the_rest(&mut self, whole: u64) {
        let mut start = whole;
        while start < self.frames {
            let order = (self.frames - start).ilog2();
            let block = Block { start, order };
            self.map.mark(start, true);
            self.add_to_set(block);
            start = block.end();
        }
    }

    fn refusal(&self, request: &FrameRequest) -> AllocError {
        let (asked, free, longest, holes) = (request.frames, self.free_frames, self.largest_request(), self.holes);
        if asked > free {
            AllocError::Shortage { asked, free, longest, holes }
        } else {
            AllocError::Fragmentation { asked, free, longest, holes }
        }
    }

    /// Rules 2 and 3 for most requests: a block of `order` from the lowest one of `from`, both smaller than a word.
    #[inline]
    fn allocate_in_word(&mut self, from: u32, order: u32) -> FrameRun {
        let place = self.sets[index(u64::from(from))].places.lowest();
        let word = self.map.load(place);
        let blocks = word.free_of_order(from);
        let start = place * 64 + u64::from(blocks.trailing_zeros());
        let taken = Block { start, order };
        let left = self.carve_in_word(word, Block { start, order: from }, taken);
        // The lowest of them is gone, and what was cut off is smaller.
        self.left_set(from, place, blocks & (blocks - 1) == 0);
        self.last_search = u64::from(from - order) + 1;
        self.count_taken(taken, self.free_neighbours(left, taken));
        taken.run()
    }

    #[inline]
    fn count_taken(&mut self, taken: Block, free_neighbours: u64) {
        self.free_frames -= taken.frames();
        self.holes = self.holes + free_neighbours - 1;
    }

    /// Rule 3: cuts the live block `taken` out of the free block `block`.
    fn carve(&mut self, block: Block, taken: Block) {
        let mut kept = block;
        if block.order >= WORD_ORDER {
            self.remove_large(block);
            while kept.order > taken.order.max(WORD_ORDER) {
                kept = self.halve(kept, taken.start);
            }
        }
        if taken.order >= WORD_ORDER {
            return self.map.mark(taken.start, false);
        }
        let place = kept.start / 64;
        let left = self.carve_in_word(self.map.load(place), kept, taken);
        if block.order < WORD_ORDER {
            self.left_set(block.order, place, left.free_of_order(block.order) == 0);
        }
    }

    /// Frees the half of `block` that does not hold `frame`, and gives the other: both larger than a word, or one.
    fn halve(&mut self, block: Block, frame: u64) -> Block {
        let order = block.order - 1;
        let kept = Block { start: frame >> order << order, order };
        self.map.mark(kept.start, false);
        self.map.mark(kept.buddy().start, true);
        self.add_to_set(kept.buddy());
        kept
    }

    /// The same down to `taken`, for a block of at most one word. The block itself leaves its set at the caller's.
    #[inline]
    fn carve_in_word(&mut self, word: Word, block: Block, taken: Block) -> Word {
        let mut word = word;
        word.free &= !(1 << (block.start % 64));
        let mut order = block.order;
        while order > taken.order {
            order -= 1;
            let kept = Block { start: taken.start >> order << order, order };
            word.starts |= 1 << ((kept.start | kept.frames()) % 64);
            word.free |= 1 << (kept.buddy().start % 64);
            self.joined_set(order, block.start / 64);
        }
        self.map.store(block.start / 64, word);
        word
    }

    /// Rule 4 for a block of at least one word.
    fn merge(&mut self, block: Block) {
        let mut block = block;
        while block.order < self.top_order && self.sets[block.at()].places.contains(block.buddy().place()) {
            self.remove_large(block.buddy());
            self.map.unmark(block.start | block.frames());
            block = block.parent();
        }
        self.map.mark(block.start, true);
        self.add_to_set(block);
    }

    /// Rule 4 within the word of a block: merges and frees it there. One that becomes the whole word is left for `merge`.
    #[inline]
    fn merge_in_word(&mut self, word: Word, block: Block) -> Block {
        let place = block.start / 64;
        let (mut word, mut merged) = (word, block);
        let top = self.top_order.min(WORD_ORDER);
        while merged.order < top {
            let buddy = bit_of(merged.buddy().start);
            if !word.is_free_buddy(buddy, merged.order) {
                break;
            }
            word.free &= !(1 << buddy);
            word.starts &= !(1 << bit_of(merged.start | merged.frames()));
            merged = merged.parent();
        }
        if merged.order < WORD_ORDER {
            word.free |= 1 << bit_of(merged.start);
            self.joined_set(merged.order, place);
        }
        self.map.store(place, word);
        for order in block.order..merged.order {
            self.left_set(order, place, word.free_of_order(order) == 0);
        }
        merged
    }

    fn add_to_set(&mut self, block: Block) {
        self.joined_set(block.order, block.place());
    }

    /// A block of `order` is free from now on.
    #[inline]
    fn joined_set(&mut self, order: u32, place: u64) {
        let set = &mut self.sets[index(u64::from(order))];
        set.places.insert(place);
        set.blocks += 1;
        self.orders_with_free |= 1 << (order % 64);
    }

    /// Takes a free block of at least one word out of its set; it is a live one then.
    fn remove_large(&mut self, block: Block) {
        self.map.mark(block.start, false);
        self.left_set(block.order, block.place(), true);
    }

    /// A block of `order` is not free any more; its place has no other where `emptied`.
    #[inline]
    fn left_set(&mut self, order: u32, place: u64, emptied: bool) {
        let set = &mut self.sets[index(u64::from(order))];
        if emptied {
            set.places.remove(place);
        }
        set.blocks -= 1;
        if set.blocks == 0 {
            self.orders_with_free &= !(1 << (order % 64));
        }
    }

    /// How many of the two frames next to `block`, which starts in `word`, are free.
    #[inline]
    fn free_neighbours(&self, word: Word, block: Block) -> u64 {
        let at = bit_of(block.start);
        match word.neighbours_are_free(at, u64::from(at).saturating_add(block.frames())) {
            Some((below, above)) => u64::from(below) + u64::from(above),
            None => self.free_neighbours_beyond(block),
        }
    }

    /// The same when one of them is in another word, or outside memory.
    fn free_neighbours_beyond(&self, block: Block) -> u64 {
        let below = block.start > 0 && self.map.frame_is_free(block.start - 1);
        let above = block.end() < self.frames && self.map.free_at(block.end());
        u64::from(below) + u64::from(above)
    }

    /// `run` as a block, when it is exactly a live one, and the word where it starts.
    #[inline]
    fn live_block(&self, run: FrameRun) -> Option<(Block, Word)> {
        let end = run.start.0.checked_add(run.frames)?;
        if end > self.frames || !run.frames.is_power_of_two() || run.start.0 & (run.frames - 1) != 0 {
            return None;
        }
        let block = Block { start: run.start.0, order: run.frames.trailing_zeros() };
        let word = self.map.load(block.start / 64);
        let live = if block.order < WORD_ORDER {
            word.is_live_block(bit_of(block.start), block.order, block.order == self.top_order)
        } else {
            word.starts & !word.free & 1 == 1 && self.block_from(block.start) == block
        };
        live.then_some((block, word))
    }

    fn free_error(&self, given: FrameRun) -> FreeError {
        if given.start.0 >= self.frames {
            return FreeError::NotLive(given);
        }
        let block = self.block_from(self.map.block_start(given.start.0));
        if self.map.free_at(block.start) || given.is_empty() {
            return FreeError::NotLive(given);
        }
        FreeError::NotWhole { given, live: block.run() }
    }

    /// The block that starts at `start`: it goes on until another starts.
    fn block_from(&self, start: u64) -> Block {
        let goes_on = |order: u32| {
            let larger = Block { start, order: order + 1 };
            start.is_multiple_of(larger.frames())
                && larger.end() <= self.frames
                && !self.map.starts_at(start + larger.frames() / 2)
        };
        let order = (0..self.top_order).find(|order| !goes_on(*order)).unwrap_or(self.top_order);
        Block { start, order }
    }
}

impl FreeSet {
    fn new(frames: u64, order: u32) -> FreeSet {
        FreeSet::filled(frames, order, 0)
    }

    /// With the lowest `blocks` blocks of the order in it.
    fn filled(frames: u64, order: u32, blocks: u64) -> FreeSet {
        let in_place = WORD_ORDER.saturating_sub(order);
        let bound = frames.div_ceil(1 << order.max(WORD_ORDER));
        FreeSet { places: BitTree::filled(bound, blocks.div_ceil(1 << in_place)), blocks }
    }
}

#[inline]
fn bit_of(frame: u64) -> u32 {
    u32::try_from(frame % 64).expect("below 64")
}
