//! Pages without a used block: kept for a while, or given back (`_mi_page_retire`, `_mi_heap_collect_retired`, `_mi_page_free`).

use super::Mimalloc;
use super::page::{NONE, Page};
use super::sizes::{BIN_FULL, MEDIUM_BLOCK_MAX, SMALL_BLOCK_MAX};
use crate::heap::SystemMemory;

/// Rounds that an unused page stays, small blocks and medium ones.
const ROUNDS_SMALL: u8 = 9;
const ROUNDS_MEDIUM: u8 = 3;

/// The bins in which a page may wait to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct RetiredBins {
    pub low: u8,
    pub high: u8,
}

impl RetiredBins {
    pub const NONE: RetiredBins = RetiredBins { low: BIN_FULL, high: 0 };

    fn add(&mut self, bin: u8) {
        self.low = self.low.min(bin);
        self.high = self.high.max(bin);
    }
}

impl Mimalloc {
    /// The last block of a page came back: the page stays if it is alone in its queue and its blocks are not long.
    pub(super) fn retire(&mut self, id: u32, os: &mut dyn SystemMemory) {
        let Page { owner, bin, block_bytes, is_full, previous, next, .. } = *self.page(id);
        let is_alone = previous == NONE && next == NONE;
        if block_bytes <= MEDIUM_BLOCK_MAX && !is_full && is_alone {
            let rounds = if block_bytes <= SMALL_BLOCK_MAX { ROUNDS_SMALL } else { ROUNDS_MEDIUM };
            self.page(id).retire_expire = rounds;
            self.heap(owner).retired.add(bin);
            return;
        }
        self.free_page(id, os);
    }

    /// One round of retiring: each unused page at the front of a queue has one round less. Forced, all of them go.
    pub(super) fn retire_round(&mut self, thread: u32, is_forced: bool, os: &mut dyn SystemMemory) {
        let RetiredBins { low, high } = std::mem::replace(&mut self.heap(thread).retired, RetiredBins::NONE);
        for bin in low..=high {
            let id = self.queues.first(thread, bin);
            if id == NONE {
                continue;
            }
            let page = self.page(id);
            if page.retire_expire == 0 {
                continue;
            }
            if page.used > 0 {
                page.retire_expire = 0;
                continue;
            }
            page.retire_expire -= 1;
            if is_forced || page.retire_expire == 0 {
                self.free_page(id, os);
            } else {
                self.heap(thread).retired.add(bin);
            }
        }
    }

    /// Gives a page of a heap back to its segment.
    pub(super) fn free_page(&mut self, id: u32, os: &mut dyn SystemMemory) {
        self.dequeue(id);
        let segment = self.page(id).segment;
        self.clear_page(id, os);
        self.settle_segment(segment, os);
    }

    /// Takes a page out of the queue it is in.
    pub(super) fn dequeue(&mut self, id: u32) {
        let Page { owner, bin, is_full, .. } = *self.page(id);
        self.queues.of(owner, if is_full { BIN_FULL } else { bin }).remove(&mut self.pages, id);
        self.page(id).is_full = false;
    }

    /// The slices of a page become free; it is in no queue. The span they are in now.
    pub(super) fn clear_page(&mut self, id: u32, os: &mut dyn SystemMemory) -> u32 {
        let page = self.page(id);
        let carved = page.bytes_of_blocks();
        page.links.clear();
        page.owner = NONE;
        let number = page.segment;
        self.counts.carved -= carved;
        let segment = self.segments.of(number);
        segment.used -= 1;
        if segment.is_huge {
            self.page(id).block_bytes = 0;
            return id;
        }
        self.free_slices(id, os)
    }

    /// A page of the segment was given back or abandoned: a segment without pages is freed, one with abandoned pages only is abandoned.
    pub(super) fn settle_segment(&mut self, number: u32, os: &mut dyn SystemMemory) {
        let segment = self.segments.get(number);
        if segment.used == 0 {
            self.free_segment(number, os);
        } else if segment.used == segment.abandoned {
            self.abandon_segment(number, os);
        }
    }
}
