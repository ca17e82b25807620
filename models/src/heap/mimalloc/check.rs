//! The invariants, and the pieces that a map of the heap is made of.

use super::Mimalloc;
use super::page::{DELAYED, LIVE, LIVE_INSIDE, NONE, Page, RemoteFree};
use super::segments::Segment;
use super::sizes::{BIN_FULL, SLICE_BYTES, SLICES, span_bin};
use super::threads::DATA_BYTES;
use crate::heap::{Piece, PieceKind};
use crate::{Address, Violation, ensure, index};

/// What a walk over all pages counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Walk {
    blocks: u64,
    /// Of live blocks, with what lies before their aligned place.
    live_bytes: u64,
    carved: u64,
    free_slices: u64,
    held: u64,
    inside: u64,
}

impl Mimalloc {
    pub(super) fn check_all(&self) -> Result<(), Violation> {
        self.inside.check()?;
        let mut walk = Walk { held: self.counts.thread_data * DATA_BYTES, ..Walk::default() };
        for (number, segment) in (0..).zip(&self.segments.list).filter(|(_, segment)| segment.mapped_bytes > 0) {
            walk.held += segment.mapped_bytes;
            if segment.is_cached {
                continue;
            }
            self.check_segment(number, segment, &mut walk)?;
        }
        let counts = &self.counts;
        let counted = Walk {
            blocks: counts.blocks,
            live_bytes: counts.usable + counts.skipped,
            carved: counts.carved,
            free_slices: counts.free_slices,
            held: counts.held,
            inside: self.inside.len(),
        };
        ensure(walk == counted, || format!("a walk finds {walk:?}, counted {counted:?}"))?;
        let kept = self.segments.kept().filter(|&number| self.segments.get(number).is_cached).count() as u64;
        ensure(kept == counts.cached_segments, || format!("{kept} segments kept, {} counted", counts.cached_segments))?;
        (0..).zip(&self.heaps).try_for_each(|(thread, _)| self.check_heap(thread))
    }

    fn check_segment(&self, number: u32, segment: &Segment, walk: &mut Walk) -> Result<(), Violation> {
        let Segment { first, owner, used, abandoned, is_huge, .. } = *segment;
        let stacked = self.segments.abandoned.iter().chain(&self.segments.visited).filter(|&&other| other == number);
        let stacked = stacked.count();
        ensure(stacked == usize::from(owner == NONE), || format!("segment {number} without owner: {stacked} times"))?;
        ensure(abandoned == if owner == NONE { used } else { 0 }, || {
            format!("segment {number}: {abandoned} of {used} pages abandoned, owner {owner}")
        })?;
        let waits = segment.commitment.committed.contains(&segment.commitment.waiting);
        ensure(waits, || format!("segment {number}: slices wait that are not committed"))?;
        let (mut part, mut pages, mut is_after_free) = (first + 1, 0, false);
        let end = first + if is_huge { 2 } else { SLICES };
        while part < end {
            let page = self.page_ref(part);
            ensure(page.segment == number && page.head == part && page.slices > 0, || {
                format!("slice {part} of segment {number} starts no page: {page:?}")
            })?;
            let last = if is_huge { part } else { part + page.slices - 1 };
            ensure(self.page_ref(last).head == part, || format!("slice {last} does not know that it is of {part}"))?;
            if page.is_free_span() {
                ensure(!is_after_free, || format!("free spans touch at slice {part}"))?;
                ensure(page.is_queued == (owner != NONE), || format!("span {part} is queued: {}", page.is_queued))?;
                walk.free_slices += u64::from(page.slices);
            } else {
                ensure(page.owner == owner, || format!("page {part} is of heap {}, not {owner}", page.owner))?;
                self.check_page(part, page, walk)?;
                pages += 1;
            }
            is_after_free = page.is_free_span();
            part += page.slices;
        }
        ensure(pages == used, || format!("segment {number} has {pages} pages, {used} counted"))?;
        ensure(is_huge || part == end, || format!("segment {number} ends at slice {part}, not {end}"))
    }

    /// Each block is on one list or live, and `used` counts those that the owner's lists do not have.
    fn check_page(&self, id: u32, page: &Page, walk: &mut Walk) -> Result<(), Violation> {
        let mut seen = vec![false; page.links.len()];
        let mut counts = [0_usize; 3];
        for (count, first) in counts.iter_mut().zip([page.free, page.local_free, page.thread_free]) {
            for block in page.list(first) {
                let is_new = seen.get_mut(usize::from(block)).is_some_and(|seen| !std::mem::replace(seen, true));
                ensure(is_new, || format!("block {block} of page {id} is on two lists, or not made"))?;
                *count += 1;
            }
        }
        let mut others = [0_usize; 3];
        for (&link, _) in page.links.iter().zip(&seen).filter(|&(_, &seen)| !seen) {
            let kind = [LIVE, LIVE_INSIDE, DELAYED].iter().position(|&kind| kind == link);
            let kind = kind.ok_or_else(|| Violation(format!("a block of page {id} is on no list and not live")))?;
            others[kind] += 1;
        }
        let [live, inside, delayed] = others;
        let used = live + inside + delayed + counts[2];
        ensure(used == usize::from(page.used), || format!("page {id} has {used} blocks used, {} counted", page.used))?;
        ensure(delayed == 0 || page.remote != RemoteFree::Never, || format!("page {id} without owner: delayed frees"))?;
        ensure(page.links.len() <= usize::from(page.reserved), || format!("page {id} made too many blocks"))?;
        walk.blocks += (live + inside) as u64;
        walk.inside += inside as u64;
        walk.live_bytes += (live + inside) as u64 * page.block_bytes;
        walk.carved += page.bytes_of_blocks();
        Ok(())
    }

    fn check_heap(&self, thread: u32) -> Result<(), Violation> {
        let heap = &self.heaps[index(thread.into())];
        for bin in 0..=BIN_FULL {
            let mut previous = NONE;
            for id in self.queues.get(thread, bin).iter(&self.pages) {
                let page = self.page_ref(id);
                let is_here =
                    page.owner == thread && page.is_full == (bin == BIN_FULL) && (page.is_full || page.bin == bin);
                ensure(heap.is_alive && is_here, || {
                    format!("page {id} is in queue {bin} of thread {thread}: {page:?}")
                })?;
                ensure(page.previous == previous, || format!("page {id} does not know the one before it"))?;
                let has_free = page.free != super::page::END || page.local_free != super::page::END;
                ensure(!page.is_full || !has_free, || format!("page {id} is in the queue of full pages"))?;
                previous = id;
            }
            ensure(self.queues.get(thread, bin).last == previous, || format!("the end of queue {bin}"))?;
        }
        for (bin, queue) in (0..).zip(&heap.spans) {
            ensure((heap.span_bits >> bin & 1 == 1) == (queue.first != NONE), || {
                format!("the bit of span queue {bin}")
            })?;
            for span in queue.iter(&self.pages) {
                let page = self.page_ref(span);
                let is_here = page.is_free_span() && page.is_queued && span_bin(page.slices) == bin;
                ensure(is_here, || format!("span {span} is in span queue {bin}: {page:?}"))?;
            }
        }
        let owned = |segment: &&Segment| segment.mapped_bytes > 0 && !segment.is_cached && segment.owner == thread;
        let segments = self.segments.list.iter().filter(owned).count();
        ensure(segments as u64 == u64::from(heap.segments), || format!("thread {thread} has {segments} segments"))
    }

    pub(super) fn visit_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.visit_pieces(&mut |piece| {
            if matches!(piece.kind, PieceKind::Free | PieceKind::Cached | PieceKind::FreeInPage) {
                visit(piece.at, piece.bytes);
            }
        });
    }

    pub(super) fn visit_pieces(&self, visit: &mut dyn FnMut(Piece)) {
        let data = self.heaps.iter().filter_map(|heap| heap.data).chain(self.data_kept.iter().flatten().copied());
        let mut data: Vec<Address> = data.collect();
        data.sort_unstable();
        let mut data = data.into_iter().peekable();
        let piece = |at| Piece { at, bytes: DATA_BYTES, kind: PieceKind::Overhead };
        for segment in self.segments.ascending() {
            while let Some(at) = data.next_if(|at| at.0 < segment.mapping) {
                visit(piece(at));
            }
            self.visit_segment(segment, visit);
        }
        data.for_each(|at| visit(piece(at)));
    }

    fn visit_segment(&self, segment: &Segment, visit: &mut dyn FnMut(Piece)) {
        let Segment { first, mapping, mapped_bytes, start, .. } = *segment;
        let mut reached = mapping;
        let mut emit = |to: u64, kind| {
            if to > reached {
                visit(Piece { at: Address(reached), bytes: to - reached, kind });
                reached = to;
            }
        };
        if segment.is_cached {
            return emit(mapping + mapped_bytes, PieceKind::Cached);
        }
        emit(start + SLICE_BYTES, PieceKind::Overhead);
        let (mut part, end) = (first + 1, first + if segment.is_huge { 2 } else { SLICES });
        while part < end {
            let page = self.page_ref(part);
            let page_end = segment.slice_address(segment.nth(part)).0 + page.bytes();
            if page.is_free_span() {
                emit(page_end, PieceKind::Free);
            } else {
                self.visit_blocks(page, &mut emit);
            }
            emit(page_end, PieceKind::Overhead);
            part += page.slices;
        }
        emit(mapping + mapped_bytes, PieceKind::Overhead);
    }

    fn visit_blocks(&self, page: &Page, emit: &mut dyn FnMut(u64, PieceKind)) {
        emit(page.start, PieceKind::Overhead);
        for (block, &link) in (0..).zip(&page.links) {
            let (at, end) = (page.address(block).0, page.address(block).0 + page.block_bytes);
            let usable = match link {
                LIVE => page.block_bytes,
                LIVE_INSIDE => end - self.inside_of(at, end),
                _ => 0,
            };
            emit(end, if usable > 0 { PieceKind::Live { usable } } else { PieceKind::FreeInPage });
        }
        emit(page.start + page.bytes_of_blocks(), PieceKind::FreeInPage);
    }

    /// Where the program has the block from.
    fn inside_of(&self, at: u64, end: u64) -> u64 {
        let mut places = (at..end).step_by(8).skip(1);
        places.find(|&place| self.inside.get(place).is_some()).expect("an aligned block has its place")
    }
}
