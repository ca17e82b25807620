//! Segments: 32 MiB of address space cut into slices, and the few that are kept for later use (`mi_segment_alloc`,
//! `mi_segment_free`, segment-cache.c).

use serde::{Deserialize, Serialize};

use super::decommit::Commitment;
use super::mask::Mask;
use super::page::{NONE, Page};
use super::sizes::{BIN_LARGE, SEGMENT_BYTES, SLICE_BYTES, SLICES, good_bytes};
use super::system::Places;
use super::{Mimalloc, MimallocOptions};
use crate::heap::block_map::BlockMap;
use crate::heap::{Access, Advice, OutOfMemory, SystemMemory};
use crate::{Address, Coins, index};

/// Of a huge segment only its header and its one page are told of.
const HUGE_RECORDS: u32 = 2;
/// Segments that are kept at most.
const SLOTS: usize = 1024;
/// Slots that one put looks at, from a random one on.
const SLOTS_VISITED: usize = 16;

/// The header: what stands before the records of the slices, and each of those.
const HEADER_BYTES: u64 = 288;
const RECORD_BYTES: u64 = 80;
const RECORDS_OF_PAGE_MAX: u32 = 256;

/// A segment, or the record of one that is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Segment {
    pub start: u64,
    /// Its mapping; it starts earlier where an alignment beyond 32 MiB asks for it.
    pub mapping: u64,
    /// 0 when it is gone.
    pub mapped_bytes: u64,
    /// Its slice 0 among all slices.
    pub first: u32,
    /// With that of the header.
    pub slices: u32,
    pub is_huge: bool,
    pub is_cached: bool,
    /// The thread whose heap has it; none when it is abandoned.
    pub owner: u32,
    /// Pages in use, and those of them that are abandoned.
    pub used: u32,
    pub abandoned: u32,
    /// Times a heap that looked for memory has met it; counts from 1 when it is abandoned.
    pub visits: u32,
    /// Blocks of it came back since it was abandoned.
    pub has_frees: bool,
    pub commitment: Commitment,
}

impl Segment {
    fn gone(first: u32, is_huge: bool) -> Segment {
        Segment {
            start: 0,
            mapping: 0,
            mapped_bytes: 0,
            first,
            slices: 0,
            is_huge,
            is_cached: false,
            owner: NONE,
            used: 0,
            abandoned: 0,
            visits: 0,
            has_frees: false,
            commitment: Commitment::of_all(),
        }
    }

    /// The number of a slice within the segment.
    pub fn nth(&self, slice: u32) -> u32 {
        slice - self.first
    }

    /// The records of slices are written in the header.
    pub fn touch_records(&self, nth: u32, slices: u32, os: &mut dyn SystemMemory) {
        let at = Address(self.start + HEADER_BYTES + u64::from(nth) * RECORD_BYTES);
        os.touch(at, u64::from(slices) * RECORD_BYTES);
    }

    /// All slices of a page are told where it starts: but not beyond the longest alignment within a block, then the last one.
    pub fn touch_page_records(&self, nth: u32, slices: u32, os: &mut dyn SystemMemory) {
        let end = (nth + slices).min(SLICES);
        self.touch_records(nth, slices.min(RECORDS_OF_PAGE_MAX).min(end - nth), os);
        self.touch_records(end - 1, 1, os);
    }
}

/// All segments of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Segments {
    pub list: Vec<Segment>,
    /// Records to be used again.
    spare_normal: Vec<u32>,
    spare_huge: Vec<u32>,
    /// By start: `first * 2`, and 1 more for a huge one.
    by_start: BlockMap,
    /// Free segments that are kept, and when each is decommitted.
    slots: Vec<Option<Slot>>,
    /// Segments without an owner, the next one last; those that a heap has looked at.
    pub abandoned: Vec<u32>,
    pub visited: Vec<u32>,
    pub places: Places,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Slot {
    segment: u32,
    /// In milliseconds; none when it has been.
    expire_ms: Option<u64>,
}

impl Segments {
    pub fn new(coins: Coins) -> Segments {
        Segments {
            list: Vec::new(),
            spare_normal: Vec::new(),
            spare_huge: Vec::new(),
            by_start: BlockMap::new(SEGMENT_BYTES),
            slots: Vec::new(),
            abandoned: Vec::new(),
            visited: Vec::new(),
            places: Places::new(coins),
        }
    }

    pub fn of(&mut self, segment: u32) -> &mut Segment {
        &mut self.list[index(segment.into())]
    }

    pub fn get(&self, segment: u32) -> &Segment {
        &self.list[index(segment.into())]
    }

    /// The slice that a block at `at` lies in. A block never starts where a segment does, but the one that is aligned to a segment
    /// starts where the next one would.
    #[inline]
    pub fn slice_at(&self, at: u64) -> Option<u32> {
        let below = at.wrapping_sub(1);
        let found = self.by_start.get(below & !(SEGMENT_BYTES - 1))?;
        let first = u32::try_from(found / 2).ok()?;
        if found % 2 == 1 {
            return Some(first + 1);
        }
        let nth = (at & (SEGMENT_BYTES - 1)) / SLICE_BYTES;
        (at & (SEGMENT_BYTES - 1) != 0).then(|| first + u32::try_from(nth).expect("a slice of a segment"))
    }

    /// Segments that are there, ascending by address.
    pub fn ascending(&self) -> impl Iterator<Item = &Segment> {
        let records = self.list.iter().filter(|segment| segment.mapped_bytes > 0);
        let mut ascending: Vec<&Segment> = records.collect();
        ascending.sort_unstable_by_key(|segment| segment.mapping);
        ascending.into_iter()
    }

    /// The next segment without an owner (`mi_abandoned_pop`).
    pub fn pop_abandoned(&mut self) -> Option<u32> {
        if self.abandoned.is_empty() {
            self.revisit();
        }
        self.abandoned.pop()
    }

    /// What was looked at comes up again, before the others.
    pub fn revisit(&mut self) {
        self.abandoned.append(&mut self.visited);
    }

    /// Takes the kept segment of the lowest slot.
    fn pop_kept(&mut self) -> Option<u32> {
        let slot = self.slots.iter_mut().find(|slot| slot.is_some())?;
        slot.take().map(|slot| slot.segment)
    }

    /// Keeps a segment in the lowest free slot; whether there is one.
    fn keep(&mut self, segment: u32, expire_ms: u64) -> bool {
        let slot = Some(Slot { segment, expire_ms: Some(expire_ms) });
        if let Some(free) = self.slots.iter_mut().find(|slot| slot.is_none()) {
            *free = slot;
            return true;
        }
        let has_room = self.slots.len() < SLOTS;
        if has_room {
            self.slots.push(slot);
        }
        has_room
    }

    /// Kept segments, for checks.
    pub fn kept(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().flatten().map(|slot| slot.segment)
    }

    /// Decommits kept segments whose time has come, in that many slots from one on (`mi_segment_cache_purge`).
    fn purge(&mut self, from: usize, slots: usize, now_ms: u64, is_forced: bool, os: &mut dyn SystemMemory) {
        for nth in from..from + slots {
            let Some(Some(slot)) = self.slots.get_mut(nth % SLOTS) else { continue };
            if slot.expire_ms.is_some_and(|expire_ms| is_forced || expire_ms <= now_ms) {
                slot.expire_ms = None;
                self.list[index(slot.segment.into())].decommit_whole(os);
            }
        }
    }

    /// The same in all slots.
    pub fn purge_all(&mut self, now_ms: u64, is_forced: bool, os: &mut dyn SystemMemory) {
        self.purge(0, SLOTS, now_ms, is_forced, os);
    }

    /// A record for a new segment, with its slices.
    fn record(&mut self, pages: &mut Vec<Page>, is_huge: bool) -> Result<u32, OutOfMemory> {
        let spare = if is_huge { &mut self.spare_huge } else { &mut self.spare_normal };
        if let Some(segment) = spare.pop() {
            return Ok(segment);
        }
        let number = u32::try_from(self.list.len()).map_err(|_| OutOfMemory)?;
        let first = u32::try_from(pages.len()).map_err(|_| OutOfMemory)?;
        let slices = if is_huge { HUGE_RECORDS } else { SLICES };
        // Twice the number of a slice fits an entry of the map by address.
        if first > u32::MAX / 4 {
            return Err(OutOfMemory);
        }
        pages.resize(index(u64::from(first + slices)), Page::unknown(number));
        self.list.push(Segment::gone(first, is_huge));
        Ok(number)
    }

    fn spare(&mut self, segment: u32) {
        let Segment { is_huge, .. } = *self.get(segment);
        if is_huge { &mut self.spare_huge } else { &mut self.spare_normal }.push(segment);
    }

    fn enter(&mut self, segment: u32) {
        let Segment { start, first, is_huge, .. } = *self.get(segment);
        self.by_start.insert(start, u64::from(first) * 2 + u64::from(is_huge));
    }
}

impl Mimalloc {
    /// A segment for common pages: one that was kept, else a new one. All of it is one free span of the thread.
    pub(super) fn make_segment(&mut self, thread: u32, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let segment = match self.segments.pop_kept() {
            Some(segment) => {
                self.segments.of(segment).is_cached = false;
                self.counts.cached_segments -= 1;
                segment
            }
            None => self.map_segment(thread, os)?,
        };
        self.start_segment(segment, thread, os)
    }

    /// The first segment of a thread that is not alone is committed as it is used (`eager_commit_delay`).
    fn map_segment(&mut self, thread: u32, os: &mut dyn SystemMemory) -> Result<u32, OutOfMemory> {
        let is_lazy = self.threads_alive > 1 && self.heap(thread).segments == 0;
        let number = self.segments.record(&mut self.pages, false)?;
        let access = if is_lazy { Access::None } else { Access::ReadWrite };
        let start = match self.segments.places.map(SEGMENT_BYTES, SEGMENT_BYTES, access, os) {
            Ok(start) => start,
            Err(refused) => {
                self.segments.spare(number);
                return Err(refused);
            }
        };
        let segment = self.segments.of(number);
        let first = segment.first;
        *segment = Segment {
            start,
            mapping: start,
            mapped_bytes: SEGMENT_BYTES,
            slices: SLICES,
            commitment: if is_lazy { Commitment::of_none() } else { Commitment::of_all() },
            ..Segment::gone(first, false)
        };
        self.counts.held += SEGMENT_BYTES;
        Ok(number)
    }

    /// Gives a segment without pages to a heap.
    fn start_segment(&mut self, number: u32, thread: u32, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let segment = self.segments.of(number);
        let header = Mask::range(0, 1);
        if !segment.commitment.committed.contains(&header) {
            if let Err(refused) = os.mprotect(Address(segment.start), SLICE_BYTES, Access::ReadWrite) {
                self.unmap_segment(number, os);
                return Err(refused);
            }
            segment.commitment.committed.insert(&header);
        }
        segment.commitment.expire_ms = 0;
        (segment.owner, segment.used, segment.abandoned, segment.visits) = (thread, 0, 0, 0);
        os.touch(Address(segment.start), HEADER_BYTES + RECORD_BYTES);
        let first = segment.first;
        self.segments.enter(number);
        self.heap(thread).segments += 1;
        let header = self.page(first);
        // Something in use: no free span is merged with it.
        (header.block_bytes, header.slices, header.head) = (1, 1, first);
        self.add_free_span(first + 1, SLICES - 1, os);
        Ok(())
    }

    /// A segment with one page of one block (`mi_segment_huge_page_alloc`). `align` is 0, or more than 16 MiB: then the multiple of
    /// it that follows the header by 32 MiB or more is inside the block.
    pub(super) fn make_huge(
        &mut self,
        thread: u32,
        bytes: u64,
        align: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<u32, OutOfMemory> {
        let ahead = if align == 0 { SLICE_BYTES } else { SEGMENT_BYTES };
        let segment_bytes = bytes.checked_add(ahead).and_then(|sum| sum.checked_next_multiple_of(SLICE_BYTES));
        let segment_bytes = segment_bytes.ok_or(OutOfMemory)?;
        // The kernel gives a multiple of `align`; the header has to lie 32 MiB below one.
        let before = align.saturating_sub(SEGMENT_BYTES);
        let mapped_bytes = segment_bytes.checked_add(before).and_then(good_bytes).ok_or(OutOfMemory)?;
        let slices = u32::try_from(segment_bytes / SLICE_BYTES).map_err(|_| OutOfMemory)?;
        let number = self.segments.record(&mut self.pages, true)?;
        let mapping = match self.segments.places.map(mapped_bytes, align.max(SEGMENT_BYTES), Access::ReadWrite, os) {
            Ok(mapping) => mapping,
            Err(refused) => {
                self.segments.spare(number);
                return Err(refused);
            }
        };
        if before > 0 {
            os.madvise(Address(mapping), before, Advice::DontNeed);
        }
        let segment = self.segments.of(number);
        let (first, start) = (segment.first, mapping + before);
        *segment =
            Segment { start, mapping, mapped_bytes, slices, owner: thread, used: 1, ..Segment::gone(first, true) };
        self.counts.held += mapped_bytes;
        os.touch(Address(start), HEADER_BYTES + RECORD_BYTES);
        segment.touch_page_records(1, slices - 1, os);
        self.segments.enter(number);
        self.heap(thread).segments += 1;
        let page = self.page(first + 1);
        (page.head, page.slices) = (first + 1, slices - 1);
        let block_bytes = page.bytes();
        self.lay_out(first + 1, BIN_LARGE, block_bytes);
        Ok(first + 1)
    }

    /// No page of the segment is used: it is kept, or goes back to the kernel.
    pub(super) fn free_segment(&mut self, number: u32, os: &mut dyn SystemMemory) {
        let Segment { first, owner, is_huge, start, .. } = *self.segments.get(number);
        self.heap(owner).segments -= 1;
        self.segments.by_start.remove(start);
        self.segments.of(number).owner = NONE;
        if is_huge {
            return self.unmap_segment(number, os);
        }
        self.remove_free_span(first + 1, owner);
        self.counts.free_slices -= u64::from(SLICES - 1);
        let from = index(self.segments.places.coin(SLOTS as u64));
        self.segments.purge(from, SLOTS_VISITED, self.now_ms, false, os);
        let MimallocOptions { segment_decommit_delay_ms, allow_decommit, .. } = self.options;
        let expire_ms = if allow_decommit { self.now_ms + segment_decommit_delay_ms } else { u64::MAX };
        if !self.segments.keep(number, expire_ms) {
            return self.unmap_segment(number, os);
        }
        self.segments.of(number).is_cached = true;
        self.counts.cached_segments += 1;
        if segment_decommit_delay_ms == 0 && allow_decommit {
            self.segments.of(number).decommit_whole(os);
        }
    }

    fn unmap_segment(&mut self, number: u32, os: &mut dyn SystemMemory) {
        let segment = self.segments.of(number);
        let Segment { mapping, mapped_bytes, .. } = *segment;
        segment.mapped_bytes = 0;
        os.munmap(Address(mapping), mapped_bytes);
        self.counts.held -= mapped_bytes;
        self.segments.spare(number);
    }
}
