//! Memory from the kernel (`TCMalloc_SystemAlloc`): the break first, mappings where that fails. Nothing goes back.

use serde::{Deserialize, Serialize};

use crate::Address;
use crate::heap::{MapRequest, OutOfMemory, SystemMemory};

/// What memory from the kernel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Use {
    /// Spans lie in it.
    Heap,
    /// The allocator's own tables, and what alignment has cost.
    Own,
}

/// Memory from the kernel, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Region {
    pub start: u64,
    pub end: u64,
    pub is_for: Use,
}

/// Whom the next piece is asked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Source {
    Break,
    Mapping,
}

/// What the kernel has given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct System {
    /// The break is not asked again once it has failed, until a mapping fails too.
    source: Source,
    skip_break: bool,
    /// Ascending; neighbours for the same use are one.
    regions: Vec<Region>,
    held_bytes: u64,
}

impl System {
    pub fn new(skip_break: bool) -> System {
        System { source: Source::Break, skip_break, regions: Vec::new(), held_bytes: 0 }
    }

    /// From now on the option counts: the real one reads its environment after it has started.
    pub fn heed_options(&mut self) {
        self.source = first_source(self.skip_break);
    }

    /// All that is held, ascending.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Bytes of all that is held.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// `bytes` of memory at a multiple of `align`, which is a page of the machine or more. Both are rounded up to it.
    pub fn allocate(
        &mut self,
        bytes: u64,
        align: u64,
        is_for: Use,
        os: &mut dyn SystemMemory,
    ) -> Result<u64, OutOfMemory> {
        let align = align.max(os.page_bytes());
        let bytes = bytes.checked_next_multiple_of(align).ok_or(OutOfMemory)?;
        if self.source == Source::Break {
            if let Ok(at) = self.raise_break(bytes, align, is_for, os) {
                return Ok(at);
            }
            self.source = Source::Mapping;
        }
        self.map(bytes, align, is_for, os).inspect_err(|_| self.source = first_source(self.skip_break))
    }

    /// Where the break is not aligned it rises twice: by what was asked, then by what is missing.
    fn raise_break(
        &mut self,
        bytes: u64,
        align: u64,
        is_for: Use,
        os: &mut dyn SystemMemory,
    ) -> Result<u64, OutOfMemory> {
        let start = os.program_break().0;
        let end = start.checked_add(bytes).ok_or(OutOfMemory)?;
        let aligned = start.checked_next_multiple_of(align).ok_or(OutOfMemory)?;
        os.brk(Address(end))?;
        if aligned == start {
            self.hold(start, end, is_for);
            return Ok(start);
        }
        let raised = end.checked_add(aligned - start).ok_or(OutOfMemory).and_then(|end| os.brk(Address(end)));
        if raised.is_err() {
            self.hold(start, end, Use::Own);
            return Err(OutOfMemory);
        }
        self.hold(start, aligned, Use::Own);
        self.hold(aligned, aligned + bytes, is_for);
        Ok(aligned)
    }

    /// A mapping that is longer by the alignment; both ends that are too much are unmapped.
    fn map(&mut self, bytes: u64, align: u64, is_for: Use, os: &mut dyn SystemMemory) -> Result<u64, OutOfMemory> {
        let extra = align - os.page_bytes();
        let start = os.mmap(&MapRequest::anywhere(bytes.checked_add(extra).ok_or(OutOfMemory)?))?.0;
        let aligned = start.next_multiple_of(align);
        let before = aligned - start;
        if before > 0 {
            os.munmap(Address(start), before);
        }
        if before < extra {
            os.munmap(Address(aligned + bytes), extra - before);
        }
        self.hold(aligned, aligned + bytes, is_for);
        Ok(aligned)
    }

    fn hold(&mut self, start: u64, end: u64, is_for: Use) {
        self.held_bytes += end - start;
        let above = self.regions.partition_point(|region| region.start < start);
        let joins = |low: &Region, high: &Region| low.end == high.start && low.is_for == high.is_for;
        self.regions.insert(above, Region { start, end, is_for });
        if self.regions.get(above + 1).is_some_and(|next| joins(&self.regions[above], next)) {
            self.regions[above].end = self.regions.remove(above + 1).end;
        }
        if above > 0 && joins(&self.regions[above - 1], &self.regions[above]) {
            self.regions[above - 1].end = self.regions.remove(above).end;
        }
    }

    /// Counts grown memory that no span can be made for as lost.
    pub fn lose(&mut self, start: u64, bytes: u64) {
        let end = start + bytes;
        let place = self.regions.partition_point(|region| region.start <= start) - 1;
        let region = self.regions.remove(place);
        self.held_bytes -= region.end - region.start;
        self.hold_some(region.start, start, region.is_for);
        self.hold_some(start, end, Use::Own);
        self.hold_some(end, region.end, region.is_for);
    }

    fn hold_some(&mut self, start: u64, end: u64, is_for: Use) {
        if start < end {
            self.hold(start, end, is_for);
        }
    }
}

fn first_source(skip_break: bool) -> Source {
    if skip_break { Source::Mapping } else { Source::Break }
}
