//! Bump: every block lies behind the last one, and none is ever used again.
//!
//! # Models
//! The arena (region) allocator: a pointer that only rises. Source: Hanson 1990, "Fast allocation and deallocation of
//! memory based on object lifetimes".
//!
//! # Rules
//! 1. A block starts at the pointer rounded up to its alignment, a power of two and at least 16; a request of 0 bytes gets 1.
//! 2. The break rises by whole chunks when the pointer would pass it.
//! 3. `free` gives nothing back; `realloc` makes a new block unless the old one is large enough or the last one.
//!
//! # Invariants
//! Verified by `check`: blocks do not overlap, all lie below the pointer, the pointer does not pass the break.
//!
//! # Cost
//! O(1); memory only for live blocks.
//!
//! # Left out
//! Giving a whole arena back at once: a process has one arena, and its end frees it.

use serde::{Deserialize, Serialize};

use super::block_map::BlockMap;
use super::{
    HeapAllocator, HeapFreeError, HeapSetting, HeapStats, OutOfMemory, Piece, PieceKind, ReallocError, SystemMemory,
};
use crate::registry::{BadOptions, Model};
use crate::{Address, ThreadId, Violation, ensure};

const ALIGN: u64 = 16;

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bump {
    options: BumpOptions,
    /// First address of the arena, the next free one, and the end of what the kernel gave; all 0 before the first call.
    start: u64,
    next: u64,
    end: u64,
    /// Live blocks: address to usable bytes.
    live: BlockMap,
    usable: u64,
}

/// What a workload can set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BumpOptions {
    /// Bytes the break rises by at least.
    pub chunk_bytes: u64,
}

impl Default for BumpOptions {
    fn default() -> BumpOptions {
        BumpOptions { chunk_bytes: 64 * 1024 }
    }
}

impl Model<dyn HeapAllocator> for Bump {
    const NAME: &'static str = "bump";
    const SUMMARY: &'static str = "never frees: the next address, always";
    const RULES: &'static str = "\
A block lies behind the last one. free gives nothing back.
The break rises by whole chunks when the pointer would pass it.";
    type Options = BumpOptions;

    fn build(_setting: HeapSetting, options: &BumpOptions) -> Result<Bump, BadOptions> {
        if options.chunk_bytes == 0 {
            return Err(BadOptions {
                option: "chunk_bytes",
                found: "0".to_owned(),
                allowed: "a chunk has at least 1 byte".to_owned(),
            });
        }
        Ok(Bump { options: options.clone(), start: 0, next: 0, end: 0, live: BlockMap::new(ALIGN), usable: 0 })
    }
}

impl HeapAllocator for Bump {
    fn malloc(&mut self, _thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        self.place(ALIGN, bytes, os)
    }

    fn aligned_alloc(
        &mut self,
        _thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let align = align.checked_next_power_of_two().ok_or(OutOfMemory)?;
        self.place(align.max(ALIGN), bytes, os)
    }

    fn realloc(
        &mut self,
        _thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        let usable = self.usable_size(at).ok_or(HeapFreeError(at))?;
        if bytes <= usable {
            return Ok(Some(at));
        }
        let is_last = at.0 + usable == self.next;
        if is_last {
            let end = at.0.checked_add(bytes).ok_or(OutOfMemory)?;
            self.grow_to(end, os)?;
            self.next = end;
            self.live.set(at.0, bytes);
            self.usable += bytes - usable;
            return Ok(Some(at));
        }
        let moved = self.place(ALIGN, bytes, os)?;
        os.touch(moved, usable);
        self.live.remove(at.0);
        self.usable -= usable;
        Ok(Some(moved))
    }

    fn free(&mut self, _thread: ThreadId, at: Address, _os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        self.usable -= self.live.remove(at.0).ok_or(HeapFreeError(at))?;
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        self.live.get(at.0)
    }

    fn stats(&self) -> HeapStats {
        HeapStats {
            blocks: self.live.len(),
            usable: self.usable,
            // What was freed and what alignment skipped never comes back: it is lost, not free.
            overhead: self.next - self.start - self.usable,
            free: self.end - self.next,
            cached: 0,
            in_page: 0,
            held: self.end - self.start,
        }
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        let mut reached = self.start;
        let mut show = |end: u64, kind: PieceKind| {
            let bytes = end - reached;
            if bytes > 0 {
                visit(Piece { at: Address(reached), bytes, kind });
            }
            reached = end;
        };
        for (at, usable) in self.live.iter() {
            show(at, PieceKind::Overhead);
            show(at + usable, PieceKind::Live { usable });
        }
        show(self.next, PieceKind::Overhead);
        show(self.end, PieceKind::Top);
    }

    fn check(&self) -> Result<(), Violation> {
        self.live.check()?;
        let mut end_of_last = self.start;
        for (at, bytes) in self.live.iter() {
            ensure(at >= end_of_last, || format!("block {at:#x} overlaps the one that ends at {end_of_last:#x}"))?;
            end_of_last = at + bytes;
        }
        ensure(end_of_last <= self.next, || format!("a block ends at {end_of_last:#x}, past {:#x}", self.next))?;
        ensure(self.next <= self.end, || format!("the pointer {:#x} is past the break {:#x}", self.next, self.end))?;
        let usable: u64 = self.live.iter().map(|(_, bytes)| bytes).sum();
        ensure(usable == self.usable, || format!("{usable} usable bytes counted, {} kept", self.usable))
    }
}

impl Bump {
    fn place(&mut self, align: u64, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        if self.end == 0 {
            let start = os.program_break().0;
            (self.start, self.next, self.end) = (start, start, start);
        }
        let at = self.next.checked_next_multiple_of(align).ok_or(OutOfMemory)?;
        let end = at.checked_add(bytes.max(1)).ok_or(OutOfMemory)?;
        self.grow_to(end, os)?;
        self.next = end;
        self.live.insert(at, bytes.max(1));
        self.usable += bytes.max(1);
        Ok(Address(at))
    }

    fn grow_to(&mut self, end: u64, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        if end <= self.end {
            return Ok(());
        }
        let chunks = (end - self.end).div_ceil(self.options.chunk_bytes);
        let growth = chunks.checked_mul(self.options.chunk_bytes).ok_or(OutOfMemory)?;
        let new_end = self.end.checked_add(growth).ok_or(OutOfMemory)?;
        os.brk(Address(new_end))?;
        self.end = new_end;
        Ok(())
    }
}
