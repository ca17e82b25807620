//! One rung of the ladder: buckets of equal width, each an unordered list of events.

use framesim_models::index;
use serde::{Deserialize, Serialize};

use super::{NONE, Slot};

const BUCKET_BITS_MIN: u32 = 6;
const BUCKET_BITS_MAX: u32 = 18;

/// Events in no order, linked through their slots.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Bucket {
    pub(super) head: u32,
    pub(super) count: u32,
}

impl Bucket {
    pub(super) const EMPTY: Bucket = Bucket { head: NONE, count: 0 };

    #[inline]
    pub(super) fn add<T>(&mut self, slot: u32, slots: &mut [Slot<T>]) {
        slots[slot as usize].next = self.head;
        self.head = slot;
        self.count += 1;
    }
}

/// Buckets over a span of time. Those that were opened are empty and stay so.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Rung {
    start: u64,
    /// A bucket is `2^shift` ns wide.
    shift: u32,
    /// Buckets in use: the first `count` of `buckets`.
    count: usize,
    buckets: Vec<Bucket>,
    /// Which buckets hold something, one bit each.
    filled: Vec<u64>,
    /// No bucket below this word of `filled` will hold anything again.
    cursor: usize,
}

impl Rung {
    /// Makes an empty rung over `2^span_bits` ns from `start`, for about `events` events.
    pub(super) fn reset(&mut self, start: u64, span_bits: u32, events: u32) {
        let wanted = (u32::BITS - events.leading_zeros()).clamp(BUCKET_BITS_MIN, BUCKET_BITS_MAX);
        let bits = wanted.min(span_bits);
        self.start = start;
        self.shift = span_bits - bits;
        self.count = 1 << bits;
        self.cursor = 0;
        // A rung that was opened to its end has only empty buckets.
        if self.buckets.len() < self.count {
            self.buckets.resize(self.count, Bucket::EMPTY);
            self.filled.resize(self.count.div_ceil(64), 0);
        }
    }

    pub(super) fn shift(&self) -> u32 {
        self.shift
    }

    /// The first time after this rung.
    pub(super) fn end(&self) -> u64 {
        let last = ((self.count as u64 - 1) << self.shift) | ((1_u64 << self.shift) - 1);
        self.start.saturating_add(last).saturating_add(1)
    }

    /// The bucket that covers `time`, when this rung reaches that far.
    #[inline]
    pub(super) fn bucket_of(&self, time: u64) -> Option<usize> {
        let number = (time - self.start) >> self.shift;
        (number < self.count as u64).then(|| index(number))
    }

    #[inline]
    pub(super) fn add<T>(&mut self, bucket: usize, slot: u32, slots: &mut [Slot<T>]) {
        self.buckets[bucket].add(slot, slots);
        self.filled[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Takes everything out of the earliest bucket that holds something: its first time, and its events.
    pub(super) fn open_next(&mut self) -> Option<(u64, Bucket)> {
        let words = self.count.div_ceil(64);
        while *self.filled[..words].get(self.cursor)? == 0 {
            self.cursor += 1;
        }
        let word = self.cursor;
        let bit = self.filled[word].trailing_zeros() as usize;
        self.filled[word] &= self.filled[word] - 1;
        let number = word * 64 + bit;
        let bucket = std::mem::replace(&mut self.buckets[number], Bucket::EMPTY);
        Some((self.start + ((number as u64) << self.shift), bucket))
    }

    /// Forgets all events.
    pub(super) fn clear(&mut self) {
        self.buckets[..self.count].fill(Bucket::EMPTY);
        self.filled[..self.count.div_ceil(64)].fill(0);
    }

    pub(super) fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets[..self.count].iter()
    }
}
