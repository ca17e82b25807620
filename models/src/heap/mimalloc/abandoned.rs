//! Segments whose thread has ended, and how others take them over (`mi_segment_abandon`, `mi_segment_try_reclaim`,
//! `mi_segment_reclaim`, `_mi_abandoned_collect`).

use super::Mimalloc;
use super::page::{NONE, Page, RemoteFree};
use crate::heap::SystemMemory;

/// Visits after which a segment is taken over whether it is of use or not.
const VISITS_MAX: u32 = 3;
/// Segments without an owner that the end of a thread looks at, and a forced collection.
const COLLECTED_MAX: u32 = 1024;
const COLLECTED_FORCED_MAX: u32 = 16 * 1024;

/// A segment was taken over that serves the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reclaimed {
    /// By a page of the wanted size that has room, else by a free span.
    pub has_page: bool,
}

impl Mimalloc {
    /// All pages of the segment are abandoned: it leaves its heap.
    pub(super) fn abandon_segment(&mut self, number: u32, os: &mut dyn SystemMemory) {
        let owner = self.segments.get(number).owner;
        for first in self.parts(number) {
            if self.page(first).is_free_span() {
                self.remove_free_span(first, owner);
            }
        }
        self.heap(owner).segments -= 1;
        let now_ms = self.now_ms;
        let segment = self.segments.of(number);
        segment.decommit_expired(now_ms, os);
        (segment.owner, segment.visits) = (NONE, 1);
        self.segments.abandoned.push(number);
    }

    /// The pages and free spans of a segment, ascending, by their first slices.
    pub(super) fn parts(&self, number: u32) -> Vec<u32> {
        let segment = self.segments.get(number);
        if segment.is_huge {
            return vec![segment.first + 1];
        }
        let end = segment.first + segment.slices;
        let behind = |&part: &u32| Some(part + self.pages[crate::index(part.into())].slices).filter(|&next| next < end);
        std::iter::successors(Some(segment.first + 1), behind).collect()
    }

    /// Looks through segments without an owner for one that can serve a page of `slices` slices or of that block size; the first
    /// that can is taken over.
    pub(super) fn try_reclaim(
        &mut self,
        thread: u32,
        slices: u32,
        block_bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Option<Reclaimed> {
        for _ in 0..self.options.max_segment_reclaim {
            let number = self.segments.pop_abandoned()?;
            self.searched += 1;
            self.segments.of(number).visits += 1;
            let is_of_use = self.free_unused_pages(number, slices, block_bytes, os);
            let segment = self.segments.get(number);
            if segment.used == 0 {
                self.take_over(number, thread, 0, os);
            } else if is_of_use {
                let has_page = self.take_over(number, thread, block_bytes, os);
                return Some(Reclaimed { has_page });
            } else if segment.visits > VISITS_MAX {
                self.take_over(number, thread, 0, os);
            } else {
                self.segments.of(number).decommit_waiting(os);
                self.segments.visited.push(number);
            }
        }
        None
    }

    /// Frees the unused pages of a segment without an owner; whether it then has `slices` free slices in a row, or a page of
    /// that block size with room (`mi_segment_check_free`).
    fn free_unused_pages(&mut self, number: u32, slices: u32, block_bytes: u64, os: &mut dyn SystemMemory) -> bool {
        let segment = self.segments.get(number);
        let end = segment.first + if segment.is_huge { 2 } else { segment.slices };
        let mut part = segment.first + 1;
        let mut is_of_use = false;
        while part < end {
            let page = self.page(part);
            if page.is_free_span() {
                is_of_use |= page.slices >= slices;
            } else {
                page.collect();
                if page.used == 0 {
                    self.segments.of(number).abandoned -= 1;
                    part = self.clear_page(part, os);
                    is_of_use |= self.page(part).slices >= slices;
                } else {
                    is_of_use |= page.block_bytes == block_bytes && page.has_room();
                }
            }
            part += self.page(part).slices;
        }
        is_of_use
    }

    /// A thread takes a segment over: pages to the front of its queues, free spans into its queues. Whether a page of that block size
    /// with room is among them. A segment without pages is freed.
    pub(super) fn take_over(&mut self, number: u32, thread: u32, block_bytes: u64, os: &mut dyn SystemMemory) -> bool {
        let segment = self.segments.of(number);
        (segment.owner, segment.visits) = (thread, 0);
        let end = segment.first + if segment.is_huge { 2 } else { segment.slices };
        let mut part = segment.first + 1;
        let is_huge = segment.is_huge;
        let mut has_page = false;
        self.heap(thread).segments += 1;
        while part < end {
            let page = self.page(part);
            if page.is_free_span() {
                // What a huge segment's page was is in no queue.
                if !is_huge {
                    part = self.free_slices(part, os);
                }
            } else {
                page.remote = RemoteFree::Delayed;
                page.collect();
                self.segments.of(number).abandoned -= 1;
                if self.page(part).used == 0 {
                    part = self.clear_page(part, os);
                } else {
                    self.enqueue_front(part, thread);
                    let Page { block_bytes: found, .. } = *self.page(part);
                    has_page |= found == block_bytes && self.page(part).has_room();
                }
            }
            part += self.page(part).slices;
        }
        if self.segments.get(number).used == 0 {
            self.free_segment(number, os);
            return false;
        }
        has_page
    }

    /// Frees the unused pages of segments without an owner, and segments that have no others.
    pub(super) fn collect_abandoned(&mut self, thread: u32, is_forced: bool, os: &mut dyn SystemMemory) {
        if is_forced {
            self.segments.revisit();
        }
        for _ in 0..if is_forced { COLLECTED_FORCED_MAX } else { COLLECTED_MAX } {
            let Some(number) = self.segments.pop_abandoned() else { return };
            // Without frees since it was last looked at there is nothing to find.
            if std::mem::take(&mut self.segments.of(number).has_frees) {
                self.free_unused_pages(number, 0, 0, os);
                if self.segments.get(number).used == 0 {
                    self.take_over(number, thread, 0, os);
                    continue;
                }
            }
            let now_ms = self.now_ms;
            let segment = self.segments.of(number);
            if is_forced {
                segment.decommit_waiting(os);
            } else {
                segment.decommit_expired(now_ms, os);
            }
            self.segments.visited.push(number);
        }
    }

    /// The main thread takes over whatever has no owner.
    pub(super) fn take_over_all(&mut self, thread: u32, os: &mut dyn SystemMemory) {
        while let Some(number) = self.segments.pop_abandoned() {
            self.take_over(number, thread, 0, os);
        }
    }
}
