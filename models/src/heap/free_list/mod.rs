//! Free list: the heap of the textbooks, a list of free pieces that is searched for one that fits.
//!
//! # Models
//! The allocator that every course builds: a header before each block, first, best, worst or next fit, a list in a chosen
//! order, joining of neighbours. Sources: Knuth, TAOCP vol. 1, section 2.5; Kernighan and Ritchie 1988, section 8.7 (growth);
//! Arpaci-Dusseau, "Operating Systems: Three Easy Pieces", chapter 17 (list orders, joining by list neighbours).
//!
//! # Rules
//! 1. A block takes the request, at least 1 byte, rounded up to `align_bytes`, and `header_bytes` before it. The size is
//!    aligned, not the address: addresses are multiples of `align_bytes` where `header_bytes` is.
//! 2. `first` takes the first piece in the list that is large enough, `next` the same from where the last search ended and
//!    once around, `best` the smallest, `worst` the largest of all; on a tie the first in the list.
//! 3. The block comes off the piece's low end and the rest keeps its place in the list; without `split` it gets all.
//!    An aligned block is cut out of the first place that fits: what lies below and above it stays free.
//! 4. A freed block goes to the front of the list (`insert_front`), to its back (`insert_back`), or to the back and the list is
//!    sorted stably by `address`, `size_up` or `size_down`. A split piece of a sorted list stays where it is until then.
//! 5. With `coalesce` one pass from the front follows each insertion: a piece that starts where the one just before it in
//!    the list ends is joined to it. Neighbours in memory that are apart in the list stay apart; nothing is sorted after.
//! 6. Where nothing fits, the break rises by the block or by `growth_bytes` if that is more, in whole pages; the new piece is
//!    inserted as a freed one, and the list is searched again. With `arena_bytes` the break rises once, by that.
//! 7. With `trim_bytes`, a free that leaves so many free bytes below the break lowers it, by whole pages.
//! 8. `realloc` keeps the block where it is large enough, and gives back what a block of the new size leaves over if another
//!    block could live in it; otherwise it is `malloc`, copy, `free`. A request of 0 bytes is one of 1 byte.
//!
//! # Invariants
//! Verified by `check`: live blocks with their headers and free pieces tile the memory from the first break to the last, no
//! two overlap; in address order the list ascends, and with `coalesce` no two of its pieces touch.
//!
//! # Cost
//! `malloc` reads the list until it has its piece, O(pieces) as the real one. `free` in address order finds the place by
//! binary search; in the other orders it passes over the list once. 16 bytes a free piece, 4 a grain for live blocks.
//!
//! # Left out
//! Simplified: the list lies beside the heap, not in its free pieces: of all that a real one writes only the header makes a page resident.

mod list;

use serde::{Deserialize, Serialize};

use self::list::{Piece, PieceList};
use super::block_map::BlockMap;
use super::{HeapAllocator, HeapFreeError, HeapSetting, HeapStats, OutOfMemory, PieceKind, ReallocError, SystemMemory};
use crate::heap;
use crate::registry::{BadOptions, Model};
use crate::{Address, ThreadId, Violation, ensure};

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FreeList {
    options: FreeListOptions,
    list: PieceList,
    /// Live blocks: bytes of each, with its header.
    blocks: BlockMap,
    /// First byte of the heap and the first one past it: equal before the first call.
    start: u64,
    end: u64,
    /// The break moves by multiples of this.
    break_unit: u64,
    looked_at: u64,
}

/// What a workload can set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FreeListOptions {
    /// Which piece serves a request.
    pub policy: Policy,
    /// Order of the list.
    pub order: Order,
    /// Whether neighbours in the list join when they touch in memory.
    pub coalesce: bool,
    /// Whether what a block does not need of its piece stays free.
    pub split: bool,
    /// Bytes before each block.
    pub header_bytes: u64,
    /// Sizes are multiples of this.
    pub align_bytes: u64,
    /// Bytes the break rises by at least.
    pub growth_bytes: u64,
    /// Free bytes below the break from which on it is lowered; never without.
    pub trim_bytes: Option<u64>,
    /// The heap is of this size and never grows; without, it grows as it must.
    pub arena_bytes: Option<u64>,
}

/// Which free piece serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The first in the list that fits.
    First,
    /// The smallest that fits.
    Best,
    /// The largest.
    Worst,
    /// The first that fits from where the last search ended.
    Next,
}

/// Order of the free list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Ascending by address.
    Address,
    /// Ascending by size, as of the last free.
    SizeUp,
    /// Descending by size, as of the last free.
    SizeDown,
    /// The last freed first.
    InsertFront,
    /// The last freed last.
    InsertBack,
}

impl Default for FreeListOptions {
    fn default() -> FreeListOptions {
        FreeListOptions {
            policy: Policy::First,
            order: Order::Address,
            coalesce: true,
            split: true,
            header_bytes: 16,
            align_bytes: 16,
            growth_bytes: 64 * 1024,
            trim_bytes: None,
            arena_bytes: None,
        }
    }
}

impl FreeListOptions {
    fn validate(&self) -> Result<(), BadOptions> {
        let refuse = |option, found: u64, allowed: &str| {
            Err(BadOptions { option, found: found.to_string(), allowed: allowed.to_owned() })
        };
        match (self.align_bytes, self.arena_bytes, self.trim_bytes) {
            (0, _, _) => refuse("align_bytes", 0, "sizes are multiples of at least 1 byte"),
            (_, Some(0), _) => refuse("arena_bytes", 0, "an arena has at least 1 byte"),
            (_, Some(_), Some(trim)) => refuse("trim_bytes", trim, "a heap of fixed size is not trimmed"),
            _ => Ok(()),
        }
    }
}

impl Model<dyn HeapAllocator> for FreeList {
    const NAME: &'static str = "free_list";
    const SUMMARY: &'static str = "the textbook heap: a list of free pieces, searched";
    const RULES: &'static str = "\
policy: first, best, worst or next fit in the list; on a tie the first.
order of the list: address, size_up, size_down, insert_front, insert_back.
A block has a header before it; it comes off the low end of its piece, and
the rest stays free. With coalesce, a freed piece joins the free ones that
it touches and stands next to in the list. The break rises only when no
piece fits, and falls only with trim_bytes.

    HaaaHbbHcccc....   three blocks, each with its header H; . is free
    HaaaHbb.........   free c: it joined the piece behind it
    ....Hbb.........   free a
    Hd..Hbb.........   malloc 1: first and best fit take the lower piece
    ....HbbHd.......   worst fit the larger one";
    type Options = FreeListOptions;

    fn build(_setting: HeapSetting, options: &FreeListOptions) -> Result<FreeList, BadOptions> {
        options.validate()?;
        Ok(FreeList {
            options: *options,
            list: PieceList::new(options.order, options.coalesce),
            blocks: BlockMap::new(1),
            start: 0,
            end: 0,
            break_unit: 1,
            looked_at: 0,
        })
    }
}

impl HeapAllocator for FreeList {
    fn malloc(&mut self, _thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let bytes = self.block_bytes(bytes)?;
        self.place(bytes, 1, os)
    }

    fn aligned_alloc(
        &mut self,
        _thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let align = align.checked_next_power_of_two().ok_or(OutOfMemory)?;
        let bytes = self.block_bytes(bytes)?;
        self.place(bytes, align, os)
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        let old_bytes = self.blocks.get(at.0).ok_or(HeapFreeError(at))?;
        let new_bytes = self.block_bytes(bytes)?;
        if new_bytes <= old_bytes {
            self.shrink(at, old_bytes, new_bytes, os);
            return Ok(Some(at));
        }
        let moved = self.place(new_bytes, 1, os)?;
        os.touch(moved, old_bytes - self.options.header_bytes);
        self.free(thread, at, os)?;
        Ok(Some(moved))
    }

    fn free(&mut self, _thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        let bytes = self.blocks.remove(at.0).ok_or(HeapFreeError(at))?;
        self.list.insert(Piece { start: at.0 - self.options.header_bytes, bytes });
        self.trim(os);
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        self.blocks.get(at.0).map(|bytes| bytes - self.options.header_bytes)
    }

    fn stats(&self) -> HeapStats {
        let held = self.end - self.start;
        let overhead = self.blocks.len() * self.options.header_bytes;
        let free = self.list.bytes();
        HeapStats {
            blocks: self.blocks.len(),
            usable: held - free - overhead,
            overhead,
            free,
            cached: 0,
            in_page: 0,
            held,
        }
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        for piece in self.list.pieces() {
            visit(Address(piece.start), piece.bytes);
        }
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(heap::Piece)) {
        let header = self.options.header_bytes;
        let free = self.list.pieces().iter().map(|piece| (piece.start, piece.bytes, PieceKind::Free));
        let live =
            self.blocks.iter().map(|(at, bytes)| (at - header, bytes, PieceKind::Live { usable: bytes - header }));
        let shown = |(start, bytes, kind)| heap::Piece { at: Address(start), bytes, kind };
        heap::show_ascending(free.chain(live).map(shown).collect(), visit);
    }

    fn last_search(&self) -> u64 {
        self.looked_at
    }

    fn check(&self) -> Result<(), Violation> {
        self.blocks.check()?;
        self.check_list()?;
        self.check_tiling()
    }
}

impl FreeList {
    /// Bytes of a block with its header (rule 1).
    fn block_bytes(&self, bytes: u64) -> Result<u64, OutOfMemory> {
        let rounded = bytes.max(1).checked_next_multiple_of(self.options.align_bytes).ok_or(OutOfMemory)?;
        rounded.checked_add(self.options.header_bytes).ok_or(OutOfMemory)
    }

    fn place(&mut self, bytes: u64, align: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        self.looked_at = 0;
        if self.end == self.start {
            self.begin(os)?;
        }
        if let Some(at) = self.take(bytes, align) {
            return Ok(self.hand_out(at, os));
        }
        // What aligning may skip: enough for a piece that starts anywhere.
        let most = bytes.checked_add(align - 1).ok_or(OutOfMemory)?;
        self.grow(most, os)?;
        let at = self.take(bytes, align).expect("a piece as large as the request with its alignment fits it");
        Ok(self.hand_out(at, os))
    }

    /// Takes a block out of the list and notes it as live; `None` when no piece fits (rules 2 and 3).
    fn take(&mut self, bytes: u64, align: u64) -> Option<Address> {
        let header = self.options.header_bytes;
        let policy = self.options.policy;
        let search = match align {
            1 => self.list.search(policy, |piece| piece.bytes >= bytes),
            _ => self.list.search(policy, |piece| {
                lead(piece, header, align).is_some_and(|lead| lead <= piece.bytes && piece.bytes - lead >= bytes)
            }),
        };
        self.looked_at += search.looked_at;
        let position = search.found?;
        let piece = self.list.pieces()[position];
        let lead = lead(&piece, header, align)?;
        let taken = if self.options.split { bytes } else { piece.bytes - lead };
        self.list.take(position, lead, taken);
        let at = piece.start + lead + header;
        self.blocks.insert(at, taken);
        Some(Address(at))
    }

    /// Writes the header.
    fn hand_out(&self, at: Address, os: &mut dyn SystemMemory) -> Address {
        let header = self.options.header_bytes;
        if header > 0 {
            os.touch(Address(at.0 - header), header);
        }
        at
    }

    /// Before the first block: where the heap starts, and the whole of a fixed arena.
    fn begin(&mut self, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let start = os.program_break().0;
        (self.start, self.end) = (start, start);
        // Blocks lie on multiples of what divides all of these.
        let grain = 1_u64 << (start | self.options.header_bytes | self.options.align_bytes).trailing_zeros();
        self.blocks = BlockMap::new(grain);
        self.break_unit = os.page_bytes().max(grain);
        if let Some(bytes) = self.options.arena_bytes {
            self.raise_break(bytes, os)?;
        }
        Ok(())
    }

    /// Makes room for `bytes` bytes at the break (rule 6).
    fn grow(&mut self, bytes: u64, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        if self.options.arena_bytes.is_some() {
            return Err(OutOfMemory);
        }
        let growth = bytes.max(self.options.growth_bytes);
        self.raise_break(growth.checked_next_multiple_of(self.break_unit).ok_or(OutOfMemory)?, os)
    }

    fn raise_break(&mut self, bytes: u64, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let end = self.end.checked_add(bytes).ok_or(OutOfMemory)?;
        os.brk(Address(end))?;
        self.list.insert(Piece { start: self.end, bytes });
        self.end = end;
        Ok(())
    }

    /// Rule 7.
    fn trim(&mut self, os: &mut dyn SystemMemory) {
        let Some(at_least) = self.options.trim_bytes else { return };
        let cut = self.list.cut_back(self.end, at_least, self.break_unit);
        if cut > 0 && os.brk(Address(self.end - cut)).is_ok() {
            self.end -= cut;
        }
    }

    /// Gives back what a live block does not need, if another block could live in it (rule 8).
    fn shrink(&mut self, at: Address, old_bytes: u64, new_bytes: u64, os: &mut dyn SystemMemory) {
        let header = self.options.header_bytes;
        let left_over = old_bytes - new_bytes;
        if !self.options.split || left_over < header + self.options.align_bytes {
            return;
        }
        self.blocks.set(at.0, new_bytes);
        self.list.insert(Piece { start: at.0 - header + new_bytes, bytes: left_over });
        self.trim(os);
    }

    fn check_list(&self) -> Result<(), Violation> {
        let sum: u64 = self.list.pieces().iter().map(|piece| piece.bytes).sum();
        ensure(sum == self.list.bytes(), || format!("{sum} free bytes in the list, {} counted", self.list.bytes()))?;
        if self.options.order != Order::Address {
            return Ok(());
        }
        for pair in self.list.pieces().windows(2) {
            let gap = if self.options.coalesce { 1 } else { 0 };
            ensure(pair[0].end() + gap <= pair[1].start, || {
                format!("free piece {:#x} follows one that ends at {:#x}", pair[1].start, pair[0].end())
            })?;
        }
        Ok(())
    }

    fn check_tiling(&self) -> Result<(), Violation> {
        let header = self.options.header_bytes;
        let mut pieces: Vec<Piece> = self.list.pieces().to_vec();
        pieces.extend(self.blocks.iter().map(|(at, bytes)| Piece { start: at - header, bytes }));
        pieces.sort_unstable_by_key(|piece| piece.start);
        let mut reached = self.start;
        for piece in pieces {
            ensure(piece.bytes > 0, || format!("the piece at {:#x} is empty", piece.start))?;
            ensure(piece.start == reached, || format!("a piece starts at {:#x}, not at {reached:#x}", piece.start))?;
            reached = piece.end();
        }
        ensure(reached == self.end, || format!("the pieces end at {reached:#x}, the heap at {:#x}", self.end))
    }
}

/// Bytes of `piece` below a block whose address is a multiple of `align`; `None` past the end of addresses.
fn lead(piece: &Piece, header: u64, align: u64) -> Option<u64> {
    let at = piece.start + header;
    Some(at.checked_next_multiple_of(align)? - at)
}

#[cfg(test)]
mod tests;
