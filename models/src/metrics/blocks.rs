//! Free memory as blocks of powers of two: what the kernel's own indices are defined on.

use std::fmt;

use super::Ratio;
use crate::frames::{FrameAllocator, FrameRun};
use crate::index;

/// Orders that are told apart: 0 to 63.
pub const ORDERS: u32 = 64;

/// Free blocks by order: `n[k]` aligned blocks of `2^k` frames.
///
/// The three indices are those of Linux (mm/vmstat.c `unusable_free_index`, `fragmentation_index`; `extfrag_for_order`), in
/// its integer arithmetic, with its conventions for memory that is full.
///
/// ```
/// use framesim_models::metrics::FreeBlocks;
/// let scattered = FreeBlocks::from_counts(&[8]);
/// assert_eq!(scattered.unusable_free_index(2), 1000);
/// assert_eq!(scattered.fragmentation_index(2), 625);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct FreeBlocks {
    counts: [u64; ORDERS as usize],
}

impl Default for FreeBlocks {
    fn default() -> Self {
        FreeBlocks { counts: [0; ORDERS as usize] }
    }
}

impl FreeBlocks {
    /// `counts[k]` free blocks of order `k`.
    ///
    /// # Panics
    /// When there are more than [`ORDERS`] of them.
    #[must_use]
    pub fn from_counts(counts: &[u64]) -> FreeBlocks {
        let mut blocks = FreeBlocks::default();
        blocks.counts[..counts.len()].copy_from_slice(counts);
        blocks
    }

    /// The free runs of a policy, each cut as a buddy system of that top order would cut it. For buddy itself these are its
    /// own blocks. A walk over all free runs; a policy that counts blocks anyway answers faster
    /// ([`FrameAllocator::free_blocks`]).
    #[must_use]
    pub fn of(frames: &(impl FrameAllocator + ?Sized), top_order: u32) -> FreeBlocks {
        let mut blocks = FreeBlocks::default();
        frames.for_each_free(&mut |run| blocks.add_run(run, top_order));
        blocks
    }

    /// Adds the aligned blocks, each as large as alignment, run and `top_order` allow, that tile `run`.
    pub fn add_run(&mut self, run: FrameRun, top_order: u32) {
        let top = top_order.min(ORDERS - 1);
        let (mut at, end) = (run.start.0, run.end().0);
        // Upwards while the alignment of `at` is what limits a block.
        while at < end {
            let order = at.trailing_zeros().min(top).min((end - at).ilog2());
            let size = 1 << order;
            // Blocks of the top order follow each other: count them at once.
            let many = if order == top { (end - at) / size } else { 1 };
            self.counts[index(u64::from(order))] += many;
            at += many * size;
        }
    }

    /// Free blocks of exactly this order.
    #[must_use]
    pub fn of_order(&self, order: u32) -> u64 {
        self.counts.get(index(u64::from(order))).copied().unwrap_or(0)
    }

    /// The highest order that has a free block.
    #[must_use]
    pub fn largest_order(&self) -> Option<u32> {
        (0..ORDERS).rev().find(|order| self.of_order(*order) > 0)
    }

    /// All free frames.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames_from(0)
    }

    /// All free blocks, of any order.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many requests of `order` the free blocks could serve.
    #[must_use]
    pub fn servings(&self, order: u32) -> u64 {
        self.frames_from(order).checked_shr(order).unwrap_or(0)
    }

    /// The free memory that a request of `order` cannot use, in thousandths rounded down: 0 good, 1000 bad.
    /// Memory that is full is 1000.
    #[must_use]
    pub fn unusable_free_index(&self, order: u32) -> u64 {
        match self.frames() {
            0 => 1_000,
            _ => self.unusable(order).permille(),
        }
    }

    /// The same in hundredths, but memory that is full is 0: what proactive compaction weighs.
    #[must_use]
    pub fn extfrag_for_order(&self, order: u32) -> u64 {
        let unusable = self.frames() - self.frames_from(order);
        if unusable == 0 { 0 } else { narrow(u128::from(unusable) * 100 / u128::from(self.frames())) }
    }

    /// Why a request of `order` would fail: towards 0 memory is short, towards 1000 it is scattered; -1000 when it would
    /// succeed, 0 when memory is full. Very short memory gives other numbers below 0: only -1000 means success.
    #[must_use]
    pub fn fragmentation_index(&self, order: u32) -> i64 {
        if self.blocks() == 0 {
            return 0;
        }
        if self.servings(order) > 0 {
            return -1_000;
        }
        let wanted_times = (u128::from(self.frames()) * 1_000).checked_shr(order).unwrap_or(0);
        let index = (1_000 + wanted_times) / u128::from(self.blocks());
        1_000 - i64::try_from(index).unwrap_or(i64::MAX)
    }

    /// The share of the free memory that requests of `order` can use; 0 when none is free.
    #[must_use]
    pub fn availability(&self, order: u32) -> Ratio {
        Ratio::share(self.frames_from(order), self.frames())
    }

    fn unusable(&self, order: u32) -> Ratio {
        Ratio::share(self.frames() - self.frames_from(order), self.frames())
    }

    /// Free frames in blocks of at least this order.
    fn frames_from(&self, order: u32) -> u64 {
        (order..ORDERS).map(|order| self.of_order(order) << order).sum()
    }
}

/// The counts from order 0 up to the last that is not 0.
impl fmt::Debug for FreeBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.largest_order().map_or(0, |order| index(u64::from(order)) + 1);
        f.debug_list().entries(&self.counts[..shown]).finish()
    }
}

fn narrow(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(counts: &[u64]) -> FreeBlocks {
        FreeBlocks::from_counts(counts)
    }

    /// What `run` is cut into with that top order, as counts by order.
    fn cut(start: u64, frames: u64, top_order: u32) -> String {
        let mut cut = FreeBlocks::default();
        cut.add_run(FrameRun::new(start, frames), top_order);
        assert_eq!(cut.frames(), frames);
        format!("{cut:?}")
    }

    #[test]
    fn the_fragmentation_index_has_the_golden_values() {
        for (counts, order, index) in [
            (&[1, 0, 0][..], 1, -500),
            (&[1, 1, 0], 2, 125),
            (&[8, 0, 0], 2, 625),
            (&[4, 4, 4, 0], 3, 625),
            (&[100, 0, 0, 0], 3, 865),
            (&[0, 0, 0], 1, 0),
            (&[3, 0, 2, 0], 2, -1_000),
            (&[1], 9, -1),
        ] {
            assert_eq!(blocks(counts).fragmentation_index(order), index, "{counts:?} order {order}");
        }
    }

    #[test]
    fn unusable_memory_is_counted_in_thousandths_and_in_hundredths_rounded_down() {
        let free = blocks(&[3, 0, 2, 0]);
        assert_eq!(free.unusable_free_index(2), 272);
        assert_eq!(free.extfrag_for_order(2), 27);
        assert_eq!(free.unusable_free_index(0), 0);
        assert_eq!(free.unusable_free_index(3), 1_000);
        assert_eq!(free.extfrag_for_order(3), 100);
        assert_eq!(format!("{:.3}", free.availability(2)), "0.727");
    }

    #[test]
    fn full_memory_is_unusable_by_one_index_and_not_fragmented_by_the_other() {
        let full = FreeBlocks::default();
        assert_eq!(full.unusable_free_index(0), 1_000);
        assert_eq!(full.extfrag_for_order(0), 0);
        assert_eq!(full.fragmentation_index(0), 0);
        assert_eq!(full.availability(0), Ratio::ZERO);
        assert_eq!(full.largest_order(), None);
    }

    #[test]
    fn orders_beyond_the_last_are_answered_like_any_other() {
        let free = blocks(&[4]);
        assert_eq!(free.servings(1_000), 0);
        assert_eq!(free.unusable_free_index(1_000), 1_000);
        assert_eq!(free.fragmentation_index(1_000), 750);
    }

    #[test]
    fn a_run_is_cut_into_aligned_blocks_as_large_as_fit() {
        assert_eq!(cut(0, 16, 10), "[0, 0, 0, 0, 1]");
        assert_eq!(cut(1, 15, 10), "[1, 1, 1, 1]");
        assert_eq!(cut(0, 5, 10), "[1, 0, 1]");
        assert_eq!(cut(6, 5, 10), "[1, 2]"); // 6..7, 8..9, 10
        assert_eq!(cut(7, 0, 10), "[]");
    }

    #[test]
    fn a_top_order_bounds_the_blocks() {
        assert_eq!(cut(0, 16, 2), "[0, 0, 4]");
        assert_eq!(cut(2, 16, 2), "[0, 2, 3]");
        assert_eq!(cut(0, 1 << 40, 10), format!("[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {}]", 1 << 30));
    }
}
