//! Free spans of slices: found, cut, merged (`mi_segments_page_find_and_allocate`, `mi_segment_span_free_coalesce`).

use super::Mimalloc;
use super::page::{NONE, Page};
use super::sizes::{SPAN_BINS, span_bin};
use crate::heap::{OutOfMemory, SystemMemory};
use crate::index;

impl Mimalloc {
    /// Takes `slices` slices from the free spans of a thread: the first span of the lowest queue that has one that long, its low
    /// part. `None` where no span is long enough.
    pub(super) fn take_slices(
        &mut self,
        thread: u32,
        slices: u32,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<u32>, OutOfMemory> {
        let Some(span) = self.find_span(thread, slices) else { return Ok(None) };
        self.remove_free_span(span, thread);
        let Page { slices: found, segment: number, .. } = *self.page(span);
        if found > slices {
            self.push_free_span(span + slices, found - slices, os);
        }
        self.counts.free_slices -= u64::from(slices);
        let (now_ms, options) = (self.now_ms, &self.options);
        let segment = self.segments.of(number);
        let nth = segment.nth(span);
        if let Err(refused) = segment.commit(nth, nth + slices, now_ms, options, os) {
            let page = self.page(span);
            (page.slices, page.block_bytes) = (slices, 1);
            self.free_slices(span, os);
            return Err(refused);
        }
        segment.used += 1;
        segment.touch_page_records(nth, slices, os);
        segment.decommit_expired(now_ms, os);
        for slice in span..span + slices {
            self.page(slice).head = span;
        }
        self.page(span).slices = slices;
        Ok(Some(span))
    }

    fn find_span(&self, thread: u32, slices: u32) -> Option<u32> {
        let heap = &self.heaps[index(thread.into())];
        let mut bins = heap.span_bits >> span_bin(slices) << span_bin(slices);
        while bins != 0 {
            let queue = heap.spans[index(bins.trailing_zeros().into())];
            let found = queue.iter(&self.pages).find(|&span| self.pages[index(span.into())].slices >= slices);
            if found.is_some() {
                return found;
            }
            bins &= bins - 1;
        }
        None
    }

    /// A page, or what waits to be a span, becomes free: it is merged with the free spans behind and before it, which leave
    /// their queues. The first slice of the whole.
    pub(super) fn free_slices(&mut self, first: u32, os: &mut dyn SystemMemory) -> u32 {
        let Page { segment, slices, .. } = *self.page(first);
        let segment = self.segments.get(segment);
        let (owner, end) = (segment.owner, segment.first + segment.slices);
        let (mut start, mut total) = (first, slices);
        if !self.page(first).is_free_span() {
            self.counts.free_slices += u64::from(slices);
        }
        let next = first + slices;
        if next < end && self.page(next).is_free_span() {
            total += self.page(next).slices;
            self.remove_free_span(next, owner);
        }
        let previous = self.page(first - 1).head;
        if self.page(previous).is_free_span() {
            total += self.page(previous).slices;
            self.remove_free_span(previous, owner);
            start = previous;
        }
        self.note_freed(start, total, os);
        self.push_free_span(start, total, os);
        start
    }

    fn note_freed(&mut self, first: u32, slices: u32, os: &mut dyn SystemMemory) {
        let number = self.page(first).segment;
        let segment = self.segments.of(number);
        let nth = segment.nth(first);
        segment.note_freed(nth, nth + slices, self.now_ms, &self.options, os);
    }

    /// The first span of a segment.
    pub(super) fn add_free_span(&mut self, first: u32, slices: u32, os: &mut dyn SystemMemory) {
        self.counts.free_slices += u64::from(slices);
        self.push_free_span(first, slices, os);
    }

    /// Makes the slices a free span, in the queue of the segment's owner if it has one.
    fn push_free_span(&mut self, first: u32, slices: u32, os: &mut dyn SystemMemory) {
        let last = first + slices - 1;
        self.page(last).head = first;
        let span = self.page(first);
        (span.block_bytes, span.slices, span.head, span.is_queued) = (0, slices, first, false);
        let number = span.segment;
        let segment = self.segments.get(number);
        segment.touch_records(segment.nth(first), 1, os);
        segment.touch_records(segment.nth(last), 1, os);
        let owner = segment.owner;
        if owner != NONE {
            let bin = span_bin(slices);
            self.page(first).is_queued = true;
            let heap = &mut self.heaps[index(owner.into())];
            heap.spans[usize::from(bin)].push_front(&mut self.pages, first);
            heap.span_bits |= 1 << bin;
        }
    }

    /// Takes a span out of the queue it is in, if it is in one.
    pub(super) fn remove_free_span(&mut self, span: u32, owner: u32) {
        let page = self.page(span);
        if !std::mem::take(&mut page.is_queued) {
            return;
        }
        let bin = span_bin(page.slices);
        let heap = &mut self.heaps[index(owner.into())];
        let queue = &mut heap.spans[usize::from(bin)];
        queue.remove(&mut self.pages, span);
        if queue.first == NONE {
            heap.span_bits &= !(1 << bin);
        }
    }
}

const _: () = assert!(SPAN_BINS < 64, "a bit for each queue");
