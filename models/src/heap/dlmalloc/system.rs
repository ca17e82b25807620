//! What dlmalloc asks of the kernel: segments, mapped blocks, trimming.
//!
//! # Rules
//! 1. A chunk of `mmap_threshold_bytes` or more is a mapping of its own once there is a top: the chunk and 63 bytes up to a page.
//!    Its block starts 16 bytes into it and ends 32 before its end (`mmap_alloc`). Where the mapping fails, rule 2 is tried.
//! 2. The first time the break rises by the chunk and 96 bytes up to the granularity, later by what the top lacks of that; where
//!    it cannot, it is not asked again, and a segment of the chunk and 96 bytes is mapped (`sys_alloc`).
//! 3. New memory right behind the segment with the top makes the top larger. Right below a mapped segment, the block is its
//!    low end and the rest joins the old first chunk (`prepend_alloc`). Otherwise it is a segment of its own with a new
//!    top, and the old top goes to a bin, if it has at least 32 bytes (`add_segment`).
//! 4. The last 80 bytes of a segment are the allocator's.
//! 5. When a free makes the top larger than the trim threshold, all of it but one granule and 80 bytes goes back, if the break is
//!    where the segment ends; then unused segments do. Where nothing could be given back, trimming is off until
//!    the top grows by memory of the kernel (`sys_trim`).
//! 6. After `release_rate` chunks went to trees, each mapped segment but the newest that is one free chunk is unmapped
//!    (`release_unused_segments`).

use serde::{Deserialize, Serialize};

use super::{
    ALIGN, Address, BLOCK_OFFSET, CHUNK_BYTES_MIN, Dlmalloc, HeapFreeError, LARGE_BYTES_MIN, OutOfMemory, PieceId,
    SystemMemory, Violation, WORD_BYTES, ensure,
};
use crate::heap::{MapRequest, Piece, PieceKind};

/// Bytes at the end of a segment (`TOP_FOOT_SIZE`).
const FOOT_BYTES: u64 = 80;
/// What a request to the kernel has beyond the chunk (`SYS_ALLOC_PADDING`).
const PADDING_BYTES: u64 = FOOT_BYTES + ALIGN;
/// What a mapping has beyond its chunk, before it is rounded up to pages.
const MAPPED_PADDING_BYTES: u64 = 63;
/// Of a mapping, what lies behind its chunk (`MMAP_FOOT_PAD`).
const MAPPED_FOOT_BYTES: u64 = 32;
/// Of a mapped chunk, what its block cannot use.
const MAPPED_OVERHEAD_BYTES: u64 = 16;
/// The granularity where there is no break.
const GRANULARITY_WITHOUT_BREAK: u64 = 64 * 1024;

/// Memory of the kernel that is cut into chunks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Segment {
    pub start: u64,
    pub bytes: u64,
    pub is_mapped: bool,
    /// The chunk at its start: joining and splitting keep the lower chunk.
    pub first: PieceId,
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.bytes
    }
}

/// The mapping of one block.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Mapped {
    pub start: u64,
    pub bytes: u64,
}

impl Mapped {
    /// Bytes of the chunk whose block is at `at`.
    fn chunk_bytes(self, at: Address) -> u64 {
        self.bytes - self.offset(at) - MAPPED_FOOT_BYTES
    }

    /// From the start of the mapping to the chunk; only aligning makes it more than 0.
    fn offset(self, at: Address) -> u64 {
        at.0 - BLOCK_OFFSET - self.start
    }

    /// Usable bytes of the mapped block at an address.
    pub fn usable(self, at: Address) -> u64 {
        self.chunk_bytes(at) - MAPPED_OVERHEAD_BYTES
    }
}

impl Dlmalloc {
    /// Rules 1 to 3.
    pub(super) fn allocate_from_system(
        &mut self,
        chunk_bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let threshold = self.options.mmap_threshold_bytes.filter(|_| self.top.is_some());
        if threshold.is_some_and(|threshold| chunk_bytes >= threshold)
            && let Ok(at) = self.allocate_mapped(chunk_bytes, os)
        {
            return Ok(at);
        }
        if self.is_contiguous {
            match self.raise_break(chunk_bytes, os) {
                Ok(()) => return self.take_new(chunk_bytes, os),
                Err(OutOfMemory) => self.is_contiguous = false,
            }
        }
        let bytes = self.round_up(chunk_bytes.checked_add(PADDING_BYTES), os)?;
        let start = os.mmap(&MapRequest::anywhere(bytes))?.0;
        if let Some(chunk) = self.add_mapped(start, bytes, chunk_bytes, os) {
            return Ok(self.hand_out(chunk, os));
        }
        self.take_new(chunk_bytes, os)
    }

    fn take_new(&mut self, chunk_bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let chunk = self.take_from_top(chunk_bytes).expect("memory that was fetched for a chunk holds it");
        Ok(self.hand_out(chunk, os))
    }

    fn granularity(&self, os: &dyn SystemMemory) -> u64 {
        let default = if self.options.use_break { os.page_bytes() } else { GRANULARITY_WITHOUT_BREAK };
        self.options.granularity_bytes.unwrap_or(default).max(os.page_bytes())
    }

    fn round_up(&self, bytes: Option<u64>, os: &dyn SystemMemory) -> Result<u64, OutOfMemory> {
        bytes.and_then(|bytes| bytes.checked_next_multiple_of(self.granularity(os))).ok_or(OutOfMemory)
    }

    fn raise_break(&mut self, chunk_bytes: u64, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let padded = chunk_bytes.checked_add(PADDING_BYTES);
        let bytes = self.round_up(padded.map(|padded| padded - self.top_bytes().min(padded)), os)?;
        let start = os.program_break().0;
        match self.segments.last() {
            Some(segment) if segment.is_mapped || segment.end() != start => return Err(OutOfMemory),
            None if !start.is_multiple_of(ALIGN) => return Err(OutOfMemory),
            _ => {}
        }
        os.brk(Address(start.checked_add(bytes).ok_or(OutOfMemory)?))?;
        match self.segments.last_mut() {
            Some(segment) => {
                segment.bytes += bytes;
                self.held += bytes;
                self.grow_top(bytes, os);
            }
            None => self.begin_segment(start, bytes, false, os),
        }
        Ok(())
    }

    /// Makes the top larger by memory right behind its segment.
    fn grow_top(&mut self, bytes: u64, os: &mut dyn SystemMemory) {
        let top = self.top.expect("a segment that grows has the top");
        let more = self.tiling.add(self.tiling.end(top), bytes, Some(top));
        self.tiling.join_above(top, more);
        self.init_top(os);
    }

    /// New memory becomes the newest segment, all of it top.
    fn begin_segment(&mut self, start: u64, bytes: u64, is_mapped: bool, os: &mut dyn SystemMemory) {
        let top = self.tiling.add(start, bytes - FOOT_BYTES, None);
        self.segments.push(Segment { start, bytes, is_mapped, first: top });
        self.held += bytes;
        self.top = Some(top);
        self.init_top(os);
    }

    /// What each change of the top by the kernel does: it may be trimmed again, and its sizes are written at both of its ends.
    fn init_top(&mut self, os: &mut dyn SystemMemory) {
        self.trim_check = self.options.trim_threshold_bytes.unwrap_or(u64::MAX);
        if let Some(top) = self.top {
            os.touch(Address(self.tiling.start(top) + WORD_BYTES), WORD_BYTES);
            os.touch(Address(self.tiling.end(top) + WORD_BYTES), WORD_BYTES);
        }
    }

    /// Rule 3 for mapped memory. The chunk, where it is the low end of memory below another segment.
    fn add_mapped(&mut self, start: u64, bytes: u64, chunk_bytes: u64, os: &mut dyn SystemMemory) -> Option<PieceId> {
        if let Some(newest) = self.segments.last_mut().filter(|newest| newest.end() == start) {
            newest.bytes += bytes;
            self.held += bytes;
            self.grow_top(bytes, os);
            return None;
        }
        let above = self.segments.iter().rposition(|segment| segment.is_mapped && segment.start == start + bytes);
        if let Some(above) = above {
            return Some(self.prepend(above, start, bytes, chunk_bytes));
        }
        self.retire_top();
        self.begin_segment(start, bytes, true, os);
        None
    }

    fn prepend(&mut self, segment: usize, start: u64, bytes: u64, chunk_bytes: u64) -> PieceId {
        self.held += bytes;
        let segment = &mut self.segments[segment];
        let chunk = self.tiling.add_below(start, bytes, segment.first);
        (segment.start, segment.bytes, segment.first) = (start, segment.bytes + bytes, chunk);
        let rest = self.tiling.split(chunk, chunk_bytes);
        self.settle_below(rest);
        chunk
    }

    /// Joins the rest of new memory to the chunk above it. The chunk below it is about to be handed out.
    fn settle_below(&mut self, rest: PieceId) {
        let Some(above) = self.tiling.free_above(rest) else {
            self.insert_free(rest);
            return;
        };
        if self.top == Some(above) {
            self.top = Some(rest);
        } else if self.dv == Some(above) {
            self.dv = Some(rest);
        } else {
            self.remove_free(above);
        }
        self.tiling.join_above(rest, above);
        if self.top != Some(rest) && self.dv != Some(rest) {
            self.insert_free(rest);
        }
    }

    /// The top of a segment that is not the newest any more becomes a free chunk, if it is large enough for one.
    fn retire_top(&mut self) {
        let Some(top) = self.top.take() else { return };
        let bytes = self.tiling.bytes(top);
        if bytes >= CHUNK_BYTES_MIN {
            self.insert_free(top);
        } else {
            self.tiling.cut_back(top, bytes);
        }
    }

    fn allocate_mapped(&mut self, chunk_bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let bytes = mapping_bytes(chunk_bytes, os)?;
        let start = os.mmap(&MapRequest::anywhere(bytes))?.0;
        let at = Address(start + BLOCK_OFFSET);
        self.insert_mapped(at, Mapped { start, bytes });
        write_ends(start, bytes, os);
        Ok(at)
    }

    fn insert_mapped(&mut self, at: Address, mapped: Mapped) {
        self.held += mapped.bytes;
        self.mapped_usable += mapped.usable(at);
        self.mapped.insert(at.0, mapped);
    }

    fn remove_mapped(&mut self, at: Address) -> Option<Mapped> {
        let mapped = self.mapped.remove(&at.0)?;
        self.held -= mapped.bytes;
        self.mapped_usable -= mapped.usable(at);
        Some(mapped)
    }

    pub(super) fn free_mapped(&mut self, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        let mapped = self.remove_mapped(at).ok_or(HeapFreeError(at))?;
        os.munmap(Address(mapped.start), mapped.bytes);
        Ok(())
    }

    /// A mapped block lies further up in its mapping, which keeps lead and tail.
    pub(super) fn move_mapped(&mut self, at: Address, aligned: Address) -> Address {
        let mapped = self.remove_mapped(at).expect("a block that is in no chunk is mapped");
        self.insert_mapped(aligned, mapped);
        aligned
    }

    /// `mmap_resize`: the new place of a mapped block; `None` when it has to be moved by copying.
    pub(super) fn resize_mapped(
        &mut self,
        at: Address,
        chunk_bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Option<Address> {
        let mapped = *self.mapped.get(&at.0)?;
        let (old_bytes, offset) = (mapped.chunk_bytes(at), mapped.offset(at));
        if chunk_bytes < LARGE_BYTES_MIN {
            return None;
        }
        let is_roomy = old_bytes >= chunk_bytes + WORD_BYTES;
        if is_roomy && old_bytes - chunk_bytes <= 2 * self.granularity(os) {
            return Some(at);
        }
        let bytes = mapping_bytes(chunk_bytes, os).ok()?;
        if bytes < offset + MAPPED_FOOT_BYTES + CHUNK_BYTES_MIN || bytes - offset - MAPPED_FOOT_BYTES < chunk_bytes {
            return None;
        }
        let start = os.mremap(Address(mapped.start), mapped.bytes, bytes).ok()?.0;
        let moved = Address(start + offset + BLOCK_OFFSET);
        self.remove_mapped(at);
        self.insert_mapped(moved, Mapped { start, bytes });
        write_ends(start + offset, bytes - offset, os);
        Some(moved)
    }

    /// Rule 5.
    pub(super) fn trim(&mut self, os: &mut dyn SystemMemory) {
        let unit = self.granularity(os);
        let mut released = 0;
        if let Some(beyond_foot) = self.top_bytes().checked_sub(FOOT_BYTES).filter(|&bytes| bytes > 0) {
            let extra = (beyond_foot.div_ceil(unit) - 1) * unit;
            released = self.shrink_newest(extra, os);
        }
        if released > 0 {
            let top = self.top.expect("what was trimmed is top");
            self.tiling.cut_back(top, released);
            self.init_top(os);
        }
        released += self.release_unused(os);
        if released == 0 && self.top_bytes() > self.trim_check {
            self.trim_check = u64::MAX;
        }
    }

    /// Gives the end of the newest segment back; how many bytes.
    fn shrink_newest(&mut self, extra: u64, os: &mut dyn SystemMemory) -> u64 {
        let Some(segment) = self.segments.last_mut().filter(|_| extra > 0) else { return 0 };
        let end = segment.end();
        if segment.is_mapped {
            let shrunk = os.mremap(Address(segment.start), segment.bytes, segment.bytes - extra);
            if shrunk.is_err() {
                os.munmap(Address(end - extra), extra);
            }
        } else if os.program_break().0 != end || os.brk(Address(end - extra)).is_err() {
            return 0;
        }
        segment.bytes -= extra;
        self.held -= extra;
        extra
    }

    pub(super) fn count_down_release(&mut self, os: &mut dyn SystemMemory) {
        self.release_checks -= 1;
        if self.release_checks == 0 {
            self.release_unused(os);
        }
    }

    /// Unmaps segments that are one free chunk (rule 6); how many bytes.
    fn release_unused(&mut self, os: &mut dyn SystemMemory) -> u64 {
        let older = self.segments.len().saturating_sub(1);
        let mut released = 0;
        for place in (0..older).rev() {
            let Segment { start, bytes, is_mapped, first } = self.segments[place];
            let is_unused = is_mapped && self.tiling.is_free(first) && self.tiling.above(first).is_none();
            // The remains of a top that was too small for a chunk lie behind the last one.
            if is_unused && self.tiling.end(first) >= start + bytes - FOOT_BYTES {
                self.release(place, first, os);
                released += bytes;
            }
        }
        self.release_checks = self.options.release_rate.max(older as u64);
        released
    }

    fn release(&mut self, place: usize, first: PieceId, os: &mut dyn SystemMemory) {
        let Segment { start, bytes, .. } = self.segments.remove(place);
        self.held -= bytes;
        if self.dv == Some(first) {
            self.dv = None;
        } else {
            self.remove_free(first);
        }
        self.tiling.cut_back(first, self.tiling.bytes(first));
        os.munmap(Address(start), bytes);
    }

    /// The chunks of each segment, then the allocator's own bytes at its end.
    pub(super) fn collect_chunks(&self, pieces: &mut Vec<Piece>) {
        for segment in &self.segments {
            let mut reached = segment.start;
            for chunk in std::iter::successors(Some(segment.first), |&chunk| self.tiling.above(chunk)) {
                let bytes = self.tiling.bytes(chunk);
                pieces.push(Piece { at: Address(reached), bytes, kind: self.kind_of(chunk) });
                reached += bytes;
            }
            let kind = PieceKind::Overhead;
            pieces.push(Piece { at: Address(reached), bytes: segment.end() - reached, kind });
        }
    }

    fn kind_of(&self, chunk: PieceId) -> PieceKind {
        match self.tiling.is_free(chunk) {
            false => PieceKind::Live { usable: self.tiling.bytes(chunk) - self.options.overhead() },
            true if self.top == Some(chunk) => PieceKind::Top,
            true => PieceKind::Free,
        }
    }

    pub(super) fn collect_mapped(&self, pieces: &mut Vec<Piece>) {
        let shown = |(&at, &Mapped { start, bytes }): (&u64, &Mapped)| {
            let usable = Mapped { start, bytes }.usable(Address(at));
            Piece { at: Address(start), bytes, kind: PieceKind::Live { usable } }
        };
        pieces.extend(self.mapped.iter().map(shown));
    }

    pub(super) fn check_segments(&self) -> Result<(), Violation> {
        let segments: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let mappings: u64 = self.mapped.values().map(|mapped| mapped.bytes).sum();
        let held = self.held;
        ensure(segments + mappings == held, || format!("{segments} and {mappings} bytes are held, not {held}"))?;
        for segment in &self.segments {
            let mut reached = segment.start;
            let mut chunk = Some(segment.first);
            while let Some(next) = chunk {
                let start = self.tiling.start(next);
                ensure(start == reached, || format!("a chunk starts at {start:#x}, not at {reached:#x}"))?;
                (reached, chunk) = (self.tiling.end(next), self.tiling.above(next));
            }
            let end = segment.end() - FOOT_BYTES;
            let is_all = reached == end || reached < end && end - reached < CHUNK_BYTES_MIN;
            ensure(is_all, || format!("chunks end at {reached:#x}, their segment at {end:#x}"))?;
        }
        let top_end = self.top.map(|top| self.tiling.end(top) + FOOT_BYTES);
        let newest_end = self.segments.last().map(Segment::end);
        ensure(top_end == newest_end, || format!("the top ends at {top_end:x?}, its segment at {newest_end:x?}"))
    }
}

/// Bytes of the mapping for a chunk.
fn mapping_bytes(chunk_bytes: u64, os: &dyn SystemMemory) -> Result<u64, OutOfMemory> {
    let padded = chunk_bytes.checked_add(MAPPED_PADDING_BYTES);
    padded.and_then(|padded| padded.checked_next_multiple_of(os.page_bytes())).ok_or(OutOfMemory)
}

/// The size words at the start and behind the end of a mapped chunk.
fn write_ends(start: u64, bytes: u64, os: &mut dyn SystemMemory) {
    os.touch(Address(start), BLOCK_OFFSET);
    os.touch(Address(start + bytes - MAPPED_FOOT_BYTES + WORD_BYTES), 2 * WORD_BYTES);
}
