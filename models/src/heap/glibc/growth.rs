//! Memory from the kernel and back: the program break, heaps, and mappings of single blocks.

use super::call::{Call, Taken};
use super::chunk::{Chunk, MIN_UNITS, UNIT_BYTES, Units, Word, bytes_of, chunk_units};
use super::heaps::{HEAP_BYTES, HEAP_TABLE_BYTES};
use super::region::Region;
use crate::Address;
use crate::heap::{Access, Advice, MapRequest, OutOfMemory};

/// A mapping that takes the place of the break is at least so long (`MMAP_AS_MORECORE_SIZE`).
const BREAK_MAPPING_BYTES_MIN: u64 = 1 << 20;
const MIN_BYTES: u64 = bytes_of(MIN_UNITS);
/// Two headers that look like chunks in use: they keep a region's last chunk from merging with what lies behind.
const FENCE_UNITS: Units = 2;

impl Call<'_> {
    /// Serves a request that neither the lists nor top can serve (`sysmalloc`).
    pub(super) fn grow(&mut self, units: u64) -> Result<Taken, OutOfMemory> {
        let is_long = self.mapped.wants(units);
        if is_long && let Ok(at) = self.mapped.map(units, self.os) {
            return Ok(Taken::Mapped(at));
        }
        if self.is_main() {
            self.grow_main(units)?;
        } else if self.grow_heap(units).is_err() {
            if is_long {
                return Err(OutOfMemory);
            }
            return self.mapped.map(units, self.os).map(Taken::Mapped);
        }
        self.cut_top(chunk_units(units)).map(Taken::Chunk).ok_or(OutOfMemory)
    }

    /// Moves the break, or maps memory instead where it cannot be moved.
    fn grow_main(&mut self, units: u64) -> Result<(), OutOfMemory> {
        let wanted = units.checked_mul(UNIT_BYTES).ok_or(OutOfMemory)?;
        let wanted = wanted.checked_add(self.options.top_pad + MIN_BYTES).ok_or(OutOfMemory)?;
        let old_top = bytes_of(self.arena.top_units());
        let missing = if self.arena.is_contiguous { wanted.saturating_sub(old_top) } else { wanted };
        let growth = round_up(missing, self.os.page_bytes())?;
        self.grow_break(growth).or_else(|_| self.grow_by_mapping(growth, units))
    }

    fn grow_break(&mut self, growth: u64) -> Result<(), OutOfMemory> {
        let old_break = self.os.program_break().0;
        let adjacent = self.arena.regions.last().filter(|last| last.at_break && last.end() == old_break).copied();
        let Some(region) = adjacent else {
            return self.start_at_break(old_break, growth);
        };
        if !self.arena.regions.can_hold(region.bytes + growth) {
            return Err(OutOfMemory);
        }
        self.os.brk(Address(old_break.checked_add(growth).ok_or(OutOfMemory)?))?;
        self.arena.hold(growth);
        self.extend_top(region.bytes + growth);
        Ok(())
    }

    /// The first growth, or one after the arena went on elsewhere: top moves to the break.
    fn start_at_break(&mut self, old_break: u64, growth: u64) -> Result<(), OutOfMemory> {
        let start = old_break.next_multiple_of(UNIT_BYTES);
        // The old top is of no use here, although the growth counts on it.
        let old_top = if self.arena.is_contiguous { bytes_of(self.arena.top_units()) } else { 0 };
        let end = start.checked_add(growth).and_then(|end| end.checked_add(old_top)).ok_or(OutOfMemory)?;
        let end = round_up(end, self.os.page_bytes())?;
        self.os.brk(Address(end))?;
        self.move_top(start, end - start, true)
    }

    fn grow_by_mapping(&mut self, growth: u64, units: u64) -> Result<(), OutOfMemory> {
        let page_bytes = self.os.page_bytes();
        let old_top = if self.arena.is_contiguous { bytes_of(self.arena.top_units()) } else { 0 };
        let bytes = round_up(growth + old_top, page_bytes)?.max(BREAK_MAPPING_BYTES_MIN);
        if bytes / UNIT_BYTES <= units {
            return Err(OutOfMemory);
        }
        let Address(start) = self.os.mmap(&MapRequest::anywhere(bytes))?;
        self.arena.is_contiguous = false;
        self.move_top(start, bytes, false)
    }

    /// Makes a new region the place of top. The old top gets a fence, and the rest of it is free.
    fn move_top(&mut self, start: u64, bytes: u64, at_break: bool) -> Result<(), OutOfMemory> {
        let (old_top, old_units) = (self.arena.top, self.arena.top_units());
        let Some(region) = self.arena.regions.add(start, bytes, 0, at_break) else {
            self.give_region_back(start, bytes, at_break);
            return Err(OutOfMemory);
        };
        self.arena.hold(bytes);
        self.arena.top = region.first;
        self.set_header(region.first, chunk_units(bytes / UNIT_BYTES));
        if old_units > 0 {
            self.arena.own_bytes += bytes_of(FENCE_UNITS);
            let kept = old_units - FENCE_UNITS;
            self.set_header(old_top, kept);
            self.set_header(old_top.above(kept), 1);
            self.set_header(old_top.above(kept + 1), 1);
            if kept >= MIN_UNITS {
                self.give(old_top, kept);
            }
        }
        Ok(())
    }

    fn give_region_back(&mut self, start: u64, bytes: u64, at_break: bool) {
        if at_break {
            // Lowering the break is never refused.
            let _ = self.os.brk(Address(start));
        } else {
            self.os.munmap(Address(start), bytes);
        }
    }

    /// The last region has `bytes` now: top ends where it does.
    fn extend_top(&mut self, bytes: u64) {
        self.arena.regions.resize_last(bytes);
        let region = *self.arena.regions.last().expect("a region that was resized");
        let end = region.place(region.end());
        self.set_header(self.arena.top, end.0 - self.arena.top.0);
    }

    /// Makes more of the last heap writable, or maps another heap.
    fn grow_heap(&mut self, units: u64) -> Result<(), OutOfMemory> {
        let wanted = units.checked_mul(UNIT_BYTES).and_then(|bytes| bytes.checked_add(MIN_BYTES)).ok_or(OutOfMemory)?;
        self.extend_heap(wanted.saturating_sub(bytes_of(self.arena.top_units()))).or_else(|_| self.add_heap(wanted))
    }

    fn extend_heap(&mut self, missing: u64) -> Result<(), OutOfMemory> {
        let heap = *self.arena.regions.last().expect("an arena has a heap");
        let growth = round_up(missing, self.os.page_bytes())?;
        let bytes = heap.bytes.checked_add(growth).filter(|&bytes| bytes <= HEAP_BYTES).ok_or(OutOfMemory)?;
        if !self.arena.regions.can_hold(bytes) {
            return Err(OutOfMemory);
        }
        if bytes > heap.most_bytes {
            let from = Address(heap.start + heap.most_bytes);
            self.os.mprotect(from, bytes - heap.most_bytes, Access::ReadWrite)?;
        }
        self.arena.hold(growth);
        self.extend_top(bytes);
        Ok(())
    }

    fn add_heap(&mut self, wanted: u64) -> Result<(), OutOfMemory> {
        let bytes = wanted.checked_add(HEAP_TABLE_BYTES).ok_or(OutOfMemory)?;
        let (start, writable) = self.heaps.map(self.number, bytes, self.options, self.os)?;
        let (old_top, old_units) = (self.arena.top, self.arena.top_units());
        self.start_heap(start, writable, HEAP_TABLE_BYTES)?;
        self.fence_heap(old_top, old_units);
        Ok(())
    }

    /// Makes a mapped heap the last region of the arena, with top behind the table at its start.
    pub(super) fn start_heap(&mut self, start: u64, writable: u64, table_bytes: u64) -> Result<(), OutOfMemory> {
        let Some(region) = self.arena.regions.add(start, writable, table_bytes, false) else {
            self.heaps.unmap(start, self.os);
            return Err(OutOfMemory);
        };
        self.arena.hold(writable);
        self.arena.own_bytes += table_bytes;
        for unit in 0..chunk_units(table_bytes / UNIT_BYTES) {
            self.write(region.first.above(unit));
        }
        self.arena.top = region.place(start + table_bytes);
        self.set_header(self.arena.top, chunk_units((writable - table_bytes) / UNIT_BYTES));
        Ok(())
    }

    /// Ends a heap that is not the last any more: a fence, and the rest of its top is free.
    fn fence_heap(&mut self, old_top: Chunk, old_units: Units) {
        self.arena.own_bytes += bytes_of(FENCE_UNITS);
        let kept = old_units - FENCE_UNITS;
        self.set_header(old_top.above(kept + 1), 0);
        if kept >= MIN_UNITS {
            self.set_header(old_top.above(kept), 1);
            self.set_header(old_top, kept);
            self.give(old_top, kept);
        } else {
            self.arena.own_bytes += bytes_of(kept);
            // The last chunk of the heap, of one unit or two: what its last word says tells which, see `fence_start`.
            *self.arena.memory.at(old_top.above(kept).0) = Word::default();
            self.set_header(old_top, kept + 1);
        }
    }

    /// Where the fence of a heap starts: a header of length 0, and below it a chunk of one unit, or of two where top was that
    /// short.
    fn fence_start(&self, heap: &Region) -> Chunk {
        let last = heap.place(heap.end()).below(2);
        if self.units(last) == 1 { last } else { last.below(1) }
    }

    /// Lets the kernel have the end of top back, but for the pad.
    pub(super) fn trim(&mut self) {
        if self.is_main() {
            if bytes_of(self.arena.top_units()) >= self.mapped.trim_threshold {
                self.trim_break();
            }
        } else {
            self.drop_empty_heaps();
            if bytes_of(self.arena.top_units()) >= self.mapped.trim_threshold {
                self.shrink_heap();
            }
        }
    }

    /// Bytes at the end of top that the pad does not keep (`systrim`).
    fn spare_bytes(&self) -> u64 {
        let above_minimum = bytes_of(self.arena.top_units()).saturating_sub(MIN_BYTES + 1);
        let spare = above_minimum.saturating_sub(self.options.top_pad);
        spare - spare % self.os.page_bytes()
    }

    fn trim_break(&mut self) {
        let spare = self.spare_bytes();
        let Some(region) = self.arena.regions.last().copied() else { return };
        // Only when nobody else moved the break, and top lies there.
        if spare == 0 || !region.at_break || self.os.program_break().0 != region.end() {
            return;
        }
        if self.os.brk(Address(region.end() - spare)).is_ok() {
            self.cut_region(spare);
        }
    }

    fn shrink_heap(&mut self) {
        let spare = self.spare_bytes();
        let heap = *self.arena.regions.last().expect("an arena has a heap");
        if spare > 0 {
            self.os.madvise(Address(heap.end() - spare), spare, Advice::DontNeed);
            self.cut_region(spare);
        }
    }

    fn cut_region(&mut self, spare: u64) {
        let region = *self.arena.regions.last().expect("a region that is cut");
        self.arena.held_bytes -= spare;
        self.arena.memory.forget_from(region.place(region.end() - spare).0);
        self.extend_top(region.bytes - spare);
    }

    /// Unmaps the last heap while top is all that is in it and the heap before has room enough (`heap_trim`).
    fn drop_empty_heaps(&mut self) {
        while let Some((before, last)) = self.arena.regions.last_two() {
            if self.arena.top != last.place(last.start + HEAP_TABLE_BYTES) {
                return;
            }
            let page_bytes = self.os.page_bytes();
            let mut low = self.fence_start(&before);
            let fence = before.place(before.end()).0 - low.0;
            let free_below = (!self.read(low).before_in_use()).then(|| self.free_below(low));
            let units = fence + free_below.map_or(0, |free| free.units);
            if bytes_of(units) + (HEAP_BYTES - before.bytes) < self.options.top_pad + MIN_BYTES + page_bytes {
                return;
            }
            self.forget_heap(last);
            self.arena.own_bytes -= bytes_of(fence);
            if free_below.is_some() {
                low = self.take_free_below(low).chunk;
            }
            self.arena.top = low;
            self.set_header(low, units);
        }
    }

    fn forget_heap(&mut self, heap: Region) {
        self.arena.held_bytes -= heap.bytes;
        self.arena.own_bytes -= HEAP_TABLE_BYTES;
        self.arena.memory.forget_from(heap.first.0);
        self.arena.regions.drop_last();
        self.heaps.unmap(heap.start, self.os);
    }
}

fn round_up(bytes: u64, page_bytes: u64) -> Result<u64, OutOfMemory> {
    bytes.checked_next_multiple_of(page_bytes).ok_or(OutOfMemory)
}
