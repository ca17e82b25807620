//! Which blocks memory is cut into, live or free: two bits a frame.

use serde::{Deserialize, Serialize};

use crate::index;

/// The order of a block that fills one word of the map.
pub(super) const WORD_ORDER: u32 = 6;

/// `EVERY[k]`: the frames of a word at multiples of `2^k`.
const EVERY: [u64; 7] = [
    u64::MAX,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    1,
];

/// The blocks of 64 frames.
///
/// Blocks lie as a buddy system cuts them, so a block that starts at frame `i` is larger than `2^m` frames exactly when
/// none starts at `i + 2^m`: its size needs no field of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Bit `i`: a block, live or free, starts at frame `i`.
    pub(super) starts: u64,
    /// Bit `i`: a free block starts at frame `i`.
    pub(super) free: u64,
}

impl Word {
    /// Where free blocks of exactly `order`, below [`WORD_ORDER`], start.
    ///
    /// Like the other questions on the way of every request, it has no branch: which order comes next cannot be predicted.
    #[inline]
    pub(super) fn free_of_order(self, order: u32) -> u64 {
        let size = 1_u32 << (order % WORD_ORDER);
        let at = index(u64::from(order % WORD_ORDER));
        let as_large = !(self.starts >> (size / 2)) | every_bit_if(order == 0);
        // Only a block at a multiple of twice its size could be larger.
        let no_larger = (self.starts >> size) | !EVERY[at + 1];
        self.free & EVERY[at] & as_large & no_larger
    }

    /// Whether the buddy of a block, itself not part of a larger one, is a free block of `order`, below [`WORD_ORDER`].
    #[inline]
    pub(super) fn is_free_buddy(self, buddy: u32, order: u32) -> bool {
        let half = (1_u32 << (order % WORD_ORDER)) / 2;
        let as_large = !(self.starts >> ((buddy + half) % 64)) | every_bit_if(order == 0);
        (self.free >> (buddy % 64)) & as_large & 1 == 1
    }

    /// Whether the frame below `at` is free, and the one at `end`, where a block starts. `None` when the word does not tell:
    /// the one below is in a block that starts in an earlier word, or `end` is in the next one.
    #[inline]
    pub(super) fn neighbours_are_free(self, at: u32, end: u64) -> Option<(bool, bool)> {
        // With the frame below `at` as the highest bit; the bits from `at` up are gone.
        let starts = (self.starts << (63 - at % 64)) << 1;
        let free = (self.free << (63 - at % 64)) << 1;
        // The block of that frame starts at the highest start.
        let below = (free << (starts.leading_zeros() % 64)) >> 63 == 1;
        let above = (self.free >> (end % 64)) & 1 == 1;
        (starts != 0 && end < 64).then_some((below, above))
    }

    /// Whether a live block of exactly `order`, below [`WORD_ORDER`], starts at `at`, a multiple of its size. With `largest`
    /// there are no larger ones.
    #[inline]
    pub(super) fn is_live_block(self, at: u32, order: u32, largest: bool) -> bool {
        let size = 1_u32 << (order % WORD_ORDER);
        let own = 1_u64 << (at % 64);
        let span = ((1_u64 << size) - 1) << (at % 64);
        let as_large = (self.starts & span) == own;
        let upper_half = at & size != 0;
        let no_larger = upper_half | largest | ((self.starts >> ((at + size) % 64)) & 1 == 1);
        as_large & no_larger & (self.free & own == 0)
    }
}

#[inline]
fn every_bit_if(condition: bool) -> u64 {
    u64::from(condition).wrapping_neg()
}

/// Two bits for each frame of a memory, written down as the difference from the first state: memory that was never
/// touched costs the host nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BlockMap {
    /// For each 64 frames: starts, free.
    changed: Vec<[u64; 2]>,
    /// A word whose number has none of these bits holds starts of blocks of the top order ...
    top_words: u64,
    /// ... at these frames.
    top_starts: u64,
}

impl BlockMap {
    /// `frames` frames as free blocks of `top_order`; the frames from `whole` on, fewer than one such block, are no blocks
    /// yet.
    pub(super) fn new(frames: u64, whole: u64, top_order: u32) -> BlockMap {
        let mut map = BlockMap {
            changed: vec![[0; 2]; index(frames.div_ceil(64))],
            top_words: (1 << top_order.saturating_sub(WORD_ORDER)) - 1,
            top_starts: EVERY[index(u64::from(top_order.min(WORD_ORDER)))],
        };
        // Frames past the end of the last word are live for ever, one by one: no block merges with them.
        for word in whole / 64..frames.div_ceil(64) {
            let below = bits_below(whole.saturating_sub(word * 64));
            let past = !bits_below(frames.saturating_sub(word * 64));
            let first = map.load(word);
            map.store(word, Word { starts: (first.starts & below) | past, free: first.free & below });
        }
        map
    }

    #[inline]
    pub(super) fn load(&self, word: u64) -> Word {
        let first = self.first_state(word);
        let [starts, free] = self.changed[index(word)];
        Word { starts: starts ^ first, free: free ^ first }
    }

    #[inline]
    pub(super) fn store(&mut self, word: u64, blocks: Word) {
        let first = self.first_state(word);
        self.changed[index(word)] = [blocks.starts ^ first, blocks.free ^ first];
    }

    #[inline]
    fn first_state(&self, word: u64) -> u64 {
        self.top_starts & every_bit_if(word & self.top_words == 0)
    }

    /// Whether a block starts at `frame`, which is in memory.
    #[inline]
    pub(super) fn starts_at(&self, frame: u64) -> bool {
        self.load(frame / 64).starts >> (frame % 64) & 1 == 1
    }

    /// Whether a free block starts at `frame`, which is in memory.
    #[inline]
    pub(super) fn free_at(&self, frame: u64) -> bool {
        self.load(frame / 64).free >> (frame % 64) & 1 == 1
    }

    /// Marks the start of a block, free or live.
    #[inline]
    pub(super) fn mark(&mut self, frame: u64, free: bool) {
        let (mut word, bit) = (self.load(frame / 64), 1 << (frame % 64));
        word.starts |= bit;
        word.free = if free { word.free | bit } else { word.free & !bit };
        self.store(frame / 64, word);
    }

    /// No block starts at `frame` any more.
    #[inline]
    pub(super) fn unmark(&mut self, frame: u64) {
        let (mut word, bit) = (self.load(frame / 64), 1 << (frame % 64));
        word.starts &= !bit;
        word.free &= !bit;
        self.store(frame / 64, word);
    }

    /// The start of the block that holds `frame`, which is in memory. One step an order, at most.
    #[inline]
    pub(super) fn block_start(&self, frame: u64) -> u64 {
        let up_to = self.load(frame / 64).starts << (63 - frame % 64);
        if up_to != 0 {
            return frame - u64::from(up_to.leading_zeros());
        }
        // The block is larger than a word: it starts at the first multiple of a power of two, going up, where one does.
        let larger = (WORD_ORDER + 1..64).map(|order| frame >> order << order);
        larger.into_iter().find(|start| self.starts_at(*start)).unwrap_or(0)
    }

    #[inline]
    pub(super) fn frame_is_free(&self, frame: u64) -> bool {
        self.free_at(self.block_start(frame))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.words() * 16
    }

    /// Words of the map.
    pub(super) fn words(&self) -> u64 {
        self.changed.len() as u64
    }
}

/// The lowest `count` bits; all of them from 64 on.
fn bits_below(count: u64) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}
