//! A heap of pieces with boundary tags whose free ones are found through an index: what `segregated_fit` and `tlsf` share.
//!
//! # Rules
//! 1. A block takes the request, at least 16 bytes, rounded up to 16, and a header of 16 bytes before it.
//! 2. The index chooses the piece. The block is its low end; a rest of at least 32 bytes is freed, a smaller one stays with it.
//! 3. A freed piece joins the free pieces it touches at once, then the index takes it in.
//! 4. Where the index has no piece, the break rises by the block or by `growth_bytes` if that is more, in whole pages; the new
//!    piece joins a free one below it and serves the request.
//! 5. `realloc` stays where the block, or the block with a free piece above it, is large enough; otherwise it is `malloc`, copy,
//!    `free`. An aligned block is cut out of a piece with room for a lead that can be freed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::tiling::{PieceId, Tiling};
use super::{HeapAllocator, HeapFreeError, HeapStats, OutOfMemory, Piece, ReallocError, SystemMemory};
use crate::{Address, ThreadId, Violation, ensure};

/// Blocks lie on multiples of this.
pub const ALIGN: u64 = 16;
/// Bytes before each block.
pub const HEADER_BYTES: u64 = 16;
/// The smallest piece: a header and a block.
pub const PIECE_BYTES_MIN: u64 = HEADER_BYTES + ALIGN;

/// How free pieces are kept and found.
pub trait PieceIndex: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// A piece of at least `bytes` bytes, still in the index, and how many pieces were looked at.
    fn search(&self, tiling: &Tiling, bytes: u64) -> (Option<PieceId>, u64);
    /// Takes a free piece in.
    fn insert(&mut self, tiling: &mut Tiling, piece: PieceId);
    /// Takes a piece out again.
    fn remove(&mut self, tiling: &mut Tiling, piece: PieceId);
    /// Its pieces, in its order.
    fn for_each(&self, tiling: &Tiling, visit: &mut dyn FnMut(PieceId));
    /// Checks that each piece is where its size belongs and that all marks are right.
    ///
    /// # Errors
    /// The first that is not.
    fn check(&self, tiling: &Tiling) -> Result<(), Violation>;
}

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaggedHeap<I> {
    index: I,
    growth_bytes: u64,
    tiling: Tiling,
    start: u64,
    end: u64,
    /// The highest piece.
    top: Option<PieceId>,
    looked_at: u64,
}

impl<I: PieceIndex> HeapAllocator for TaggedHeap<I> {
    fn malloc(&mut self, _thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let bytes = piece_bytes(bytes)?;
        let piece = self.take_or_grow(bytes, os)?;
        Ok(self.hand_out(piece, bytes, os))
    }

    fn aligned_alloc(
        &mut self,
        thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let align = align.checked_next_power_of_two().ok_or(OutOfMemory)?;
        if align <= ALIGN {
            return self.malloc(thread, bytes, os);
        }
        let bytes = piece_bytes(bytes)?;
        // Room for a lead that is a piece of its own.
        let padded = bytes.checked_add(align).and_then(|sum| sum.checked_add(PIECE_BYTES_MIN)).ok_or(OutOfMemory)?;
        let piece = self.take_or_grow(padded, os)?;
        let first = self.tiling.start(piece) + HEADER_BYTES;
        let lead = match first.next_multiple_of(align) - first {
            0 => 0,
            lead if lead < PIECE_BYTES_MIN => lead + align,
            lead => lead,
        };
        let aligned = if lead == 0 { piece } else { self.tiling.split(piece, lead) };
        if lead > 0 {
            self.top = if self.top == Some(piece) { Some(aligned) } else { self.top };
            self.index.insert(&mut self.tiling, piece);
        }
        Ok(self.hand_out(aligned, bytes, os))
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        let piece = self.tiling.find(at.0).ok_or(HeapFreeError(at))?;
        let new_bytes = piece_bytes(bytes)?;
        let old_bytes = self.tiling.bytes(piece);
        if new_bytes > old_bytes {
            let above = self.tiling.free_above(piece);
            let Some(above) = above.filter(|&above| old_bytes + self.tiling.bytes(above) >= new_bytes) else {
                let moved = self.malloc(thread, bytes, os)?;
                os.touch(moved, old_bytes - HEADER_BYTES);
                self.free(thread, at, os)?;
                return Ok(Some(moved));
            };
            self.index.remove(&mut self.tiling, above);
            self.join(piece, above);
        }
        self.give_back_rest(piece, new_bytes);
        Ok(Some(at))
    }

    fn free(&mut self, _thread: ThreadId, at: Address, _os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        let piece = self.tiling.make_free(at.0).ok_or(HeapFreeError(at))?;
        self.join_neighbours_and_insert(piece);
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        self.tiling.find(at.0).map(|piece| self.tiling.bytes(piece) - HEADER_BYTES)
    }

    fn stats(&self) -> HeapStats {
        let (blocks, free, held) = (self.tiling.live_blocks(), self.tiling.free_bytes(), self.end - self.start);
        let overhead = blocks * HEADER_BYTES;
        HeapStats { blocks, usable: held - free - overhead, overhead, free, cached: 0, in_page: 0, held }
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.index.for_each(&self.tiling, &mut |piece| {
            visit(Address(self.tiling.start(piece)), self.tiling.bytes(piece));
        });
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        self.tiling.for_each_piece(visit);
    }

    fn last_search(&self) -> u64 {
        self.looked_at
    }

    fn check(&self) -> Result<(), Violation> {
        self.tiling.check(|_, _| false)?;
        self.index.check(&self.tiling)?;
        let (mut listed, mut highest) = (0, self.start);
        self.index.for_each(&self.tiling, &mut |piece| {
            listed += self.tiling.bytes(piece);
            highest = highest.max(self.tiling.end(piece));
        });
        let free = self.tiling.free_bytes();
        ensure(listed == free, || format!("{listed} bytes in the index, {free} are free"))?;
        ensure(highest <= self.end, || format!("a free piece ends at {highest:#x}, the heap at {:#x}", self.end))?;
        ensure(self.top.is_none_or(|top| self.tiling.end(top) == self.end), || "the top is not the top".to_owned())
    }
}

impl<I: PieceIndex> TaggedHeap<I> {
    /// A heap that holds nothing yet.
    pub fn new(index: I, growth_bytes: u64) -> TaggedHeap<I> {
        TaggedHeap { index, growth_bytes, tiling: Tiling::new(ALIGN), start: 0, end: 0, top: None, looked_at: 0 }
    }

    /// A free piece of at least `bytes` bytes, taken out of the index (rules 2 and 4).
    fn take_or_grow(&mut self, bytes: u64, os: &mut dyn SystemMemory) -> Result<PieceId, OutOfMemory> {
        let (found, looked_at) = self.index.search(&self.tiling, bytes);
        self.looked_at = looked_at;
        let piece = match found {
            Some(piece) => piece,
            None => self.grow(bytes, os)?,
        };
        self.index.remove(&mut self.tiling, piece);
        Ok(piece)
    }

    /// Cuts a block off the low end of a piece that is in no list, and writes its header.
    fn hand_out(&mut self, piece: PieceId, bytes: u64, os: &mut dyn SystemMemory) -> Address {
        let start = self.tiling.start(piece);
        self.tiling.make_live(piece, start + HEADER_BYTES);
        self.give_back_rest(piece, bytes);
        os.touch(Address(start), HEADER_BYTES);
        Address(start + HEADER_BYTES)
    }

    /// Frees what a live piece has beyond `bytes` bytes, if a piece can live there.
    fn give_back_rest(&mut self, piece: PieceId, bytes: u64) {
        if self.tiling.bytes(piece) - bytes < PIECE_BYTES_MIN {
            return;
        }
        let rest = self.tiling.split(piece, bytes);
        self.top = if self.top == Some(piece) { Some(rest) } else { self.top };
        self.join_neighbours_and_insert(rest);
    }

    fn grow(&mut self, bytes: u64, os: &mut dyn SystemMemory) -> Result<PieceId, OutOfMemory> {
        if self.end == 0 {
            let start = os.program_break().0.checked_next_multiple_of(ALIGN).ok_or(OutOfMemory)?;
            (self.start, self.end) = (start, start);
        }
        let growth = bytes.max(self.growth_bytes).checked_next_multiple_of(os.page_bytes());
        let end = growth.and_then(|growth| self.end.checked_add(growth)).ok_or(OutOfMemory)?;
        os.brk(Address(end))?;
        let piece = self.tiling.add(self.end, end - self.end, self.top);
        (self.end, self.top) = (end, Some(piece));
        Ok(self.join_neighbours_and_insert(piece))
    }

    fn join_neighbours_and_insert(&mut self, piece: PieceId) -> PieceId {
        if let Some(above) = self.tiling.free_above(piece) {
            self.index.remove(&mut self.tiling, above);
            self.join(piece, above);
        }
        let mut joined = piece;
        if let Some(below) = self.tiling.free_below(piece) {
            self.index.remove(&mut self.tiling, below);
            self.join(below, piece);
            joined = below;
        }
        self.index.insert(&mut self.tiling, joined);
        joined
    }

    fn join(&mut self, lower: PieceId, upper: PieceId) {
        self.top = if self.top == Some(upper) { Some(lower) } else { self.top };
        self.tiling.join_above(lower, upper);
    }
}

fn piece_bytes(bytes: u64) -> Result<u64, OutOfMemory> {
    let rounded = bytes.max(ALIGN).checked_next_multiple_of(ALIGN).ok_or(OutOfMemory)?;
    rounded.checked_add(HEADER_BYTES).ok_or(OutOfMemory)
}
