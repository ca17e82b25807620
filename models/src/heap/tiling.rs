//! Pieces of memory that know their neighbours: what boundary tags are to a real heap.
//!
//! Knuth's boundary tags (TAOCP vol. 1, section 2.5, algorithm C) let a heap reach the piece below and the piece above another in
//! one step. A [`Tiling`] keeps the same facts in one array beside the heap: each piece, live or free, knows the one below
//! and the one above it in memory, and a free one its neighbours in a list of free pieces ([`Bin`]). All operations are O(1) and
//! none allocates but to double the array.
//!
//! The building block of `segregated_fit`, `tlsf`, `buddy_heap` and `dlmalloc`, and of a user's own heap.
//!
//! **Invariant.** `below` and `above` are each other's inverse and name pieces that touch; a live piece is in no list.

use serde::{Deserialize, Serialize};

use super::PieceKind;
use super::block_map::BlockMap;
use crate::{Address, Violation, ensure, index};

/// A piece of a [`Tiling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PieceId(u32);

/// No piece.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Free,
    Live,
    /// A record that stands for nothing; `next` is the one to use after it.
    Spare,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Piece {
    start: u64,
    bytes: u64,
    below: u32,
    above: u32,
    next: u32,
    previous: u32,
    state: State,
}

/// A list of free pieces, linked both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    first: u32,
    last: u32,
}

impl Default for Bin {
    fn default() -> Bin {
        Bin { first: NONE, last: NONE }
    }
}

impl Bin {
    /// The piece at the front.
    #[must_use]
    pub fn first(self) -> Option<PieceId> {
        id(self.first)
    }

    /// Whether the list has no piece.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.first == NONE
    }
}

/// See the [module page](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tiling {
    pieces: Vec<Piece>,
    spare: u32,
    /// Live pieces by the address their program has.
    live: BlockMap,
    free_bytes: u64,
    live_bytes: u64,
}

impl Tiling {
    /// No pieces; the addresses of blocks are going to be multiples of `grain_bytes`.
    #[must_use]
    pub fn new(grain_bytes: u64) -> Tiling {
        Tiling { pieces: Vec::new(), spare: NONE, live: BlockMap::new(grain_bytes), free_bytes: 0, live_bytes: 0 }
    }

    /// Adds memory as a free piece, in no list yet; `below` is the piece that ends where it starts.
    pub fn add(&mut self, start: u64, bytes: u64, below: Option<PieceId>) -> PieceId {
        let new = self.take_record(Piece {
            start,
            bytes,
            below: below.map_or(NONE, |below| below.0),
            above: NONE,
            next: NONE,
            previous: NONE,
            state: State::Free,
        });
        if let Some(below) = below {
            debug_assert_eq!(self.end(below), start, "a piece lies on the one it is said to");
            self.record_mut(below).above = new.0;
        }
        self.free_bytes += bytes;
        new
    }

    /// Adds memory as a free piece, in no list yet; `above` is the piece that starts where it ends.
    pub fn add_below(&mut self, start: u64, bytes: u64, above: PieceId) -> PieceId {
        debug_assert_eq!(start + bytes, self.start(above), "a piece lies below the one it is said to");
        let new = self.add(start, bytes, None);
        self.record_mut(new).above = above.0;
        self.record_mut(above).below = new.0;
        new
    }

    /// First byte of a piece.
    #[must_use]
    pub fn start(&self, piece: PieceId) -> u64 {
        self.record(piece).start
    }

    /// Length of a piece.
    #[must_use]
    pub fn bytes(&self, piece: PieceId) -> u64 {
        self.record(piece).bytes
    }

    /// First byte past a piece.
    #[must_use]
    pub fn end(&self, piece: PieceId) -> u64 {
        self.start(piece) + self.bytes(piece)
    }

    /// Whether a piece is free.
    #[must_use]
    pub fn is_free(&self, piece: PieceId) -> bool {
        self.record(piece).state == State::Free
    }

    /// The piece that ends where this one starts.
    #[must_use]
    pub fn below(&self, piece: PieceId) -> Option<PieceId> {
        id(self.record(piece).below)
    }

    /// The piece that starts where this one ends.
    #[must_use]
    pub fn above(&self, piece: PieceId) -> Option<PieceId> {
        id(self.record(piece).above)
    }

    /// The piece below, if it is free.
    #[must_use]
    pub fn free_below(&self, piece: PieceId) -> Option<PieceId> {
        self.below(piece).filter(|&below| self.is_free(below))
    }

    /// The piece above, if it is free.
    #[must_use]
    pub fn free_above(&self, piece: PieceId) -> Option<PieceId> {
        self.above(piece).filter(|&above| self.is_free(above))
    }

    /// Free bytes of all pieces.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// Bytes of all live pieces.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Live blocks.
    #[must_use]
    pub fn live_blocks(&self) -> u64 {
        self.live.len()
    }

    /// The live piece whose block is at `at`.
    #[must_use]
    pub fn find(&self, at: u64) -> Option<PieceId> {
        self.live.get(at).map(stored)
    }

    /// A free piece that is in no list becomes live, its block at `at`.
    pub fn make_live(&mut self, piece: PieceId, at: u64) {
        self.live.insert(at, piece.0.into());
        self.free_bytes -= self.bytes(piece);
        self.live_bytes += self.bytes(piece);
        self.record_mut(piece).state = State::Live;
    }

    /// The live piece whose block is at `at` becomes free, in no list yet.
    pub fn make_free(&mut self, at: u64) -> Option<PieceId> {
        let piece = self.live.remove(at).map(stored)?;
        self.free_bytes += self.bytes(piece);
        self.live_bytes -= self.bytes(piece);
        self.record_mut(piece).state = State::Free;
        Some(piece)
    }

    /// Cuts a piece in two at `bytes` bytes; the upper part is returned, free and in no list.
    ///
    /// # Panics
    /// When one of the parts would be empty: the heap's own bug.
    pub fn split(&mut self, piece: PieceId, bytes: u64) -> PieceId {
        let Piece { start, bytes: all, above, state, .. } = *self.record(piece);
        assert!(0 < bytes && bytes < all, "a split at {bytes} of {all} bytes leaves two parts");
        let upper = self.take_record(Piece {
            start: start + bytes,
            bytes: all - bytes,
            below: piece.0,
            above,
            next: NONE,
            previous: NONE,
            state: State::Free,
        });
        if let Some(above) = id(above) {
            self.record_mut(above).below = upper.0;
        }
        let lower = self.record_mut(piece);
        (lower.above, lower.bytes) = (upper.0, bytes);
        if state == State::Live {
            self.free_bytes += all - bytes;
            self.live_bytes -= all - bytes;
        }
        upper
    }

    /// Joins a free piece that is in no list to the piece below it.
    pub fn join_above(&mut self, lower: PieceId, upper: PieceId) {
        debug_assert!(self.above(lower) == Some(upper) && self.is_free(upper), "only a free neighbour joins");
        let Piece { bytes, above, .. } = *self.record(upper);
        if let Some(above) = id(above) {
            self.record_mut(above).below = lower.0;
        }
        let record = self.record_mut(lower);
        (record.above, record.bytes) = (above, record.bytes + bytes);
        if record.state == State::Live {
            self.free_bytes -= bytes;
            self.live_bytes += bytes;
        }
        self.drop_record(upper);
    }

    /// Takes `bytes` bytes off the upper end of a free piece that is in no list; it goes when nothing is left of it.
    pub fn cut_back(&mut self, piece: PieceId, bytes: u64) {
        debug_assert!(self.above(piece).is_none() && self.is_free(piece), "only the end of a region is cut off");
        self.free_bytes -= bytes;
        let record = self.record_mut(piece);
        record.bytes -= bytes;
        if record.bytes == 0 {
            if let Some(below) = id(record.below) {
                self.record_mut(below).above = NONE;
            }
            self.drop_record(piece);
        }
    }

    /// Makes a free piece the first of a list.
    pub fn push_first(&mut self, bin: &mut Bin, piece: PieceId) {
        let record = self.record_mut(piece);
        (record.previous, record.next) = (NONE, bin.first);
        match id(bin.first) {
            Some(first) => self.record_mut(first).previous = piece.0,
            None => bin.last = piece.0,
        }
        bin.first = piece.0;
    }

    /// Makes a free piece the last of a list.
    pub fn push_last(&mut self, bin: &mut Bin, piece: PieceId) {
        let record = self.record_mut(piece);
        (record.previous, record.next) = (bin.last, NONE);
        match id(bin.last) {
            Some(last) => self.record_mut(last).next = piece.0,
            None => bin.first = piece.0,
        }
        bin.last = piece.0;
    }

    /// Takes a piece out of the list it is in.
    pub fn unlink(&mut self, bin: &mut Bin, piece: PieceId) {
        let (previous, next) = (self.record(piece).previous, self.record(piece).next);
        match id(previous) {
            Some(previous) => self.record_mut(previous).next = next,
            None => bin.first = next,
        }
        match id(next) {
            Some(next) => self.record_mut(next).previous = previous,
            None => bin.last = previous,
        }
    }

    /// The pieces of a list, from its front.
    pub fn in_list(&self, bin: Bin) -> impl Iterator<Item = PieceId> {
        std::iter::successors(bin.first(), |&piece| id(self.record(piece).next))
    }

    /// All pieces, ascending; of a live one the address of its block too. Sorts them: for maps and checks.
    #[must_use]
    pub fn ascending(&self) -> Vec<(PieceId, Option<u64>)> {
        let in_use = (0..).map(PieceId).zip(&self.pieces).filter(|(_, piece)| piece.state != State::Spare);
        let mut order: Vec<(PieceId, Option<u64>)> = in_use.map(|(id, _)| (id, None)).collect();
        order.sort_unstable_by_key(|&(piece, _)| self.start(piece));
        // A block lies in its piece, so both ascend alike.
        let live = order.iter_mut().filter(|(piece, _)| !self.is_free(*piece));
        live.zip(self.live.iter()).for_each(|((_, block), (at, _))| *block = Some(at));
        order
    }

    /// Shows all pieces, ascending; a live block reaches to the end of its piece.
    pub fn for_each_piece(&self, visit: &mut dyn FnMut(super::Piece)) {
        for (piece, block) in self.ascending() {
            let kind = block.map_or(PieceKind::Free, |at| PieceKind::Live { usable: self.end(piece) - at });
            visit(super::Piece { at: Address(self.start(piece)), bytes: self.bytes(piece), kind });
        }
    }

    /// Checks links, sums and the map of live blocks; `may_touch`: whether two free pieces may touch.
    ///
    /// # Errors
    /// The first that is broken.
    pub fn check(&self, may_touch: impl Fn(PieceId, PieceId) -> bool) -> Result<(), Violation> {
        self.live.check()?;
        let (mut live, mut live_bytes, mut free_bytes) = (0, 0, 0);
        for (number, piece) in (0..).zip(&self.pieces) {
            match piece.state {
                State::Spare => continue,
                State::Live => (live, live_bytes) = (live + 1, live_bytes + piece.bytes),
                State::Free => free_bytes += piece.bytes,
            }
            ensure(piece.bytes > 0, || format!("the piece at {:#x} is empty", piece.start))?;
            let Some(above) = id(piece.above) else { continue };
            let (start, end) = (self.start(above), piece.start + piece.bytes);
            ensure(start == end, || format!("a piece ends at {end:#x}, the next starts at {start:#x}"))?;
            ensure(self.record(above).below == number, || format!("the piece at {start:#x} misses the one below"))?;
            let touch = piece.state == State::Free && self.is_free(above) && !may_touch(PieceId(number), above);
            ensure(!touch, || format!("free pieces touch at {end:#x}"))?;
        }
        let mapped = self.live.len();
        ensure(live == mapped, || format!("{live} live pieces, {mapped} in the map"))?;
        ensure(live_bytes == self.live_bytes, || format!("{live_bytes} live bytes, {} counted", self.live_bytes))?;
        ensure(free_bytes == self.free_bytes, || format!("{free_bytes} free bytes, {} counted", self.free_bytes))?;
        for (at, number) in self.live.iter() {
            let piece = stored(number);
            let holds = !self.is_free(piece) && self.start(piece) <= at && at < self.end(piece);
            ensure(holds, || format!("block {at:#x} does not lie in its piece"))?;
        }
        Ok(())
    }

    fn record(&self, piece: PieceId) -> &Piece {
        &self.pieces[index(piece.0.into())]
    }

    fn record_mut(&mut self, piece: PieceId) -> &mut Piece {
        &mut self.pieces[index(piece.0.into())]
    }

    fn take_record(&mut self, piece: Piece) -> PieceId {
        if let Some(spare) = id(self.spare) {
            self.spare = self.record(spare).next;
            *self.record_mut(spare) = piece;
            return spare;
        }
        let new = u32::try_from(self.pieces.len()).ok().filter(|&number| number != NONE);
        self.pieces.push(piece);
        PieceId(new.expect("a heap has fewer than 2^32 - 1 pieces"))
    }

    fn drop_record(&mut self, piece: PieceId) {
        let next = self.spare;
        let record = self.record_mut(piece);
        (record.state, record.next) = (State::Spare, next);
        self.spare = piece.0;
    }
}

fn id(number: u32) -> Option<PieceId> {
    (number != NONE).then_some(PieceId(number))
}

fn stored(number: u64) -> PieceId {
    PieceId(u32::try_from(number).expect("the map of live pieces holds their numbers"))
}
