//! How a page with a free block is found (`mi_find_page`, `mi_page_queue_find_free_ex`, `mi_segments_page_alloc`).

use super::Mimalloc;
use super::page::{END, NONE, Page};
use super::sizes::{
    BIN_FULL, BIN_LARGE, LARGE_BLOCK_MAX, MEDIUM_BLOCK_MAX, REQUEST_MAX, bin_of, block_bytes_of, good_bytes,
    page_slices,
};
use crate::heap::{Advice, OutOfMemory, SystemMemory};
use crate::{Address, index};

/// Links are written into blocks that are made: of longer blocks each start is touched by itself.
const TOUCHED_AS_ONE_MAX: u64 = 4096;
const LINK_BYTES: u64 = 8;

impl Mimalloc {
    /// A page of the thread that has a free block for the request. `align` is 0, or more than 16 MiB.
    pub(super) fn find_page(
        &mut self,
        thread: u32,
        bytes: u64,
        align: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<u32, OutOfMemory> {
        if bytes > REQUEST_MAX {
            return Err(OutOfMemory);
        }
        if bytes > MEDIUM_BLOCK_MAX || align > 0 {
            return self.make_large(thread, bytes, align, os);
        }
        let bin = bin_of(bytes);
        let first = self.queues.first(thread, bin);
        if first != NONE {
            let page = self.page(first);
            page.collect();
            if page.free != END {
                page.retire_expire = 0;
                return Ok(first);
            }
        }
        loop {
            if let Some(found) = self.search_queue(thread, bin, os) {
                self.page(found).retire_expire = 0;
                return Ok(found);
            }
            self.retire_round(thread, false, os);
            if let Some(fresh) = self.make_page(thread, bin, block_bytes_of(bin), os)? {
                return Ok(fresh);
            }
            // A page of that size came with a segment of another thread: it is in the queue now.
        }
    }

    /// Walks a queue from its front: full pages leave it for the queue of full pages, until one has a free block or can make some.
    fn search_queue(&mut self, thread: u32, bin: u8, os: &mut dyn SystemMemory) -> Option<u32> {
        let mut id = self.queues.first(thread, bin);
        while id != NONE {
            self.searched += 1;
            let page = self.page(id);
            let next = page.next;
            page.collect();
            if page.free != END {
                return Some(id);
            }
            if page.can_extend() {
                self.extend(id, os);
                return Some(id);
            }
            self.move_to_full(id);
            id = next;
        }
        None
    }

    fn move_to_full(&mut self, id: u32) {
        let Page { owner, bin, .. } = *self.page(id);
        self.queues.of(owner, bin).remove(&mut self.pages, id);
        self.page(id).is_full = true;
        self.queues.of(owner, BIN_FULL).push_back(&mut self.pages, id);
    }

    /// A full page has a free block again: to the end of its queue (`_mi_page_unfull`).
    pub(super) fn move_from_full(&mut self, id: u32) {
        let Page { owner, bin, .. } = *self.page(id);
        self.queues.of(owner, BIN_FULL).remove(&mut self.pages, id);
        self.page(id).is_full = false;
        self.queues.of(owner, bin).push_back(&mut self.pages, id);
    }

    /// A page for one block (`mi_large_huge_page_alloc`).
    fn make_large(
        &mut self,
        thread: u32,
        bytes: u64,
        align: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<u32, OutOfMemory> {
        let bytes = good_bytes(bytes).ok_or(OutOfMemory)?;
        if bytes > LARGE_BLOCK_MAX || align > 0 {
            let id = self.make_huge(thread, bytes, align, os)?;
            self.enqueue_fresh(id, thread, os);
            if align > 0 {
                self.give_back_before(id, align, os);
            }
            return Ok(id);
        }
        loop {
            // A whole page is the block, so no abandoned page of that size has room: what was reclaimed is another segment.
            if let Some(id) = self.make_page(thread, BIN_LARGE, bytes, os)? {
                return Ok(id);
            }
        }
    }

    /// Of a block that is handed out from an aligned place on, what lies before it is given back but for the first link.
    fn give_back_before(&mut self, id: u32, align: u64, os: &mut dyn SystemMemory) {
        let start = self.page(id).start;
        let from = (start + LINK_BYTES).next_multiple_of(os.page_bytes());
        let to = start.next_multiple_of(align);
        if to > from {
            os.madvise(Address(from), to - from, Advice::DontNeed);
        }
    }

    /// A fresh page at the front of its queue; `None` when a page of that size with room came along with an abandoned segment.
    fn make_page(
        &mut self,
        thread: u32,
        bin: u8,
        block_bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<u32>, OutOfMemory> {
        let slices = page_slices(block_bytes);
        let id = loop {
            if let Some(id) = self.take_slices(thread, slices, os)? {
                break id;
            }
            match self.try_reclaim(thread, slices, block_bytes, os) {
                Some(reclaimed) if reclaimed.has_page => return Ok(None),
                Some(_) => {}
                None => self.make_segment(thread, os)?,
            }
        };
        let block_bytes = if bin == BIN_LARGE { self.page(id).bytes() } else { block_bytes };
        self.lay_out(id, bin, block_bytes);
        self.enqueue_fresh(id, thread, os);
        Ok(Some(id))
    }

    /// Makes slices that were taken a page.
    pub(super) fn lay_out(&mut self, id: u32, bin: u8, block_bytes: u64) {
        let segment = self.segments.get(self.pages[index(id.into())].segment);
        let at = segment.slice_address(segment.nth(id)).0;
        let page = self.page(id);
        page.lay_out(at, bin, block_bytes);
        let carved = page.bytes_of_blocks();
        self.counts.carved += carved;
    }

    fn enqueue_fresh(&mut self, id: u32, thread: u32, os: &mut dyn SystemMemory) {
        self.enqueue_front(id, thread);
        self.extend(id, os);
    }

    /// Puts a page in front of its queue in the heap of a thread.
    pub(super) fn enqueue_front(&mut self, id: u32, thread: u32) {
        let page = self.page(id);
        (page.owner, page.is_full) = (thread, false);
        let bin = page.bin;
        self.queues.of(thread, bin).push_front(&mut self.pages, id);
    }

    /// Makes the next blocks of a page; links are written into them.
    fn extend(&mut self, id: u32, os: &mut dyn SystemMemory) {
        let page = self.page(id);
        let made = page.extend();
        let (first, last) = (page.address(made.start), page.address(made.end - 1));
        if page.block_bytes <= TOUCHED_AS_ONE_MAX {
            os.touch(first, last.0 - first.0 + LINK_BYTES);
        } else {
            for block in made {
                os.touch(page.address(block), LINK_BYTES);
            }
        }
    }
}
