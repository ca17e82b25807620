//! A heap under the eyes of a naive oracle: what every allocator must keep, whatever its rules.
//!
//! [`WatchedHeap`] makes calls of any heap on a [`FlatMemory`] and holds each answer against an ordered map of live ranges that
//! shares no code with any model. For property tests, fuzzing, and users who add a heap.
//!
//! # Rules
//! 1. A block is as large as asked and aligned: as asked (or as the model says it does), or to 16 bytes (to 8 for less than 16 bytes).
//! 2. No two live blocks overlap, and no live block overlaps a free piece that the heap reports.
//! 3. Every byte of a live block is memory that the heap holds, and the heap writes nowhere else.
//! 4. `usable + overhead + free = held`, `held` is what the kernel gave and `blocks` and `usable` are those of the live blocks.
//! 5. `usable_size` of a block changes by `realloc` alone; a free of anything else than a live block is refused.
//! 6. A call that is refused leaves every live block as it was.
//! 7. The heap's own `check` finds nothing.
//! 8. The pieces that the heap shows ascend, do not overlap and tile what it holds; by kind they add up to `stats`, and each live
//!    block lies in a piece of its own.

use std::collections::BTreeMap;

use super::flat_memory::FlatMemory;
use super::{HeapAllocator, HeapStats, OutOfMemory, Piece, PieceKind, ReallocError};
use crate::{Address, ThreadId, Violation, ensure, index};

/// One call of a program. A block is named by its place among the live ones, modulo their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeapCall {
    /// `malloc(bytes)`.
    Malloc(u64),
    /// `calloc(count, bytes)`.
    Calloc(u64, u64),
    /// `aligned_alloc(align, bytes)`.
    Aligned(u64, u64),
    /// `realloc` of a live block, to so many bytes.
    Realloc(u64, u64),
    /// `free` of a live block.
    Free(u64),
    /// `free` of the address so many bytes behind the start of a live block: a bug of the program.
    FreeInside(u64, u64),
    /// From now on the kernel gives so many bytes more than are held.
    Limit(u64),
    /// The calls that follow are this thread's.
    Thread(u32),
}

/// See the [module page](self).
#[derive(Clone)]
pub struct WatchedHeap {
    heap: Box<dyn HeapAllocator>,
    memory: FlatMemory,
    thread: ThreadId,
    /// Live blocks: address to usable bytes.
    live: BTreeMap<u64, u64>,
    /// Their addresses in the order they came, with gaps filled from the end.
    order: Vec<u64>,
}

impl WatchedHeap {
    /// A fresh heap on fresh memory.
    #[must_use]
    pub fn new(heap: Box<dyn HeapAllocator>) -> WatchedHeap {
        WatchedHeap {
            heap,
            memory: FlatMemory::at(Address(0x5555_5560_0000)),
            thread: ThreadId(0),
            live: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    /// The heap that is watched.
    #[must_use]
    pub fn heap(&self) -> &dyn HeapAllocator {
        &*self.heap
    }

    /// The memory below it.
    #[must_use]
    pub fn memory(&self) -> &FlatMemory {
        &self.memory
    }

    /// The same calls, memory and blocks, with `heap` in the place of the heap: one that was written and read back.
    #[must_use]
    pub fn with_heap(&self, heap: Box<dyn HeapAllocator>) -> WatchedHeap {
        WatchedHeap { heap, ..self.clone() }
    }

    /// Live blocks as the oracle knows them: address and usable bytes, ascending.
    pub fn live(&self) -> impl Iterator<Item = (u64, u64)> {
        self.live.iter().map(|(&at, &usable)| (at, usable))
    }

    /// Makes one call and checks rules 1 to 6 on it. The address that was returned, if one was.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn call(&mut self, call: &HeapCall) -> Result<Option<Address>, Violation> {
        let answer = match *call {
            HeapCall::Malloc(bytes) => {
                let answer = self.heap.malloc(self.thread, bytes, &mut self.memory);
                self.settle(answer, 1, bytes)?
            }
            HeapCall::Calloc(count, bytes) => {
                let answer = self.heap.calloc(self.thread, count, bytes, &mut self.memory);
                self.settle(answer, 1, count.saturating_mul(bytes))?
            }
            HeapCall::Aligned(align, bytes) => {
                let answer = self.heap.aligned_alloc(self.thread, align, bytes, &mut self.memory);
                self.settle(answer, self.heap.alignment_given(align, bytes), bytes)?
            }
            HeapCall::Realloc(nth, bytes) => self.realloc(nth, bytes)?,
            HeapCall::Free(nth) => self.free(nth)?,
            HeapCall::FreeInside(nth, offset) => self.free_inside(nth, offset)?,
            HeapCall::Limit(more_bytes) => {
                self.memory.set_limit(self.memory.held_bytes().saturating_add(more_bytes));
                None
            }
            HeapCall::Thread(thread) => {
                self.thread = ThreadId(thread);
                None
            }
        };
        self.check_stats()?;
        Ok(answer)
    }

    /// Frees every live block, the oldest first.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn free_all(&mut self) -> Result<(), Violation> {
        for at in std::mem::take(&mut self.order) {
            self.order.push(at);
            self.free(0)?;
        }
        self.check_stats()
    }

    /// Checks every live block, all free pieces (rules 2, 3 and 5) and the heap's own structure.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        self.heap.check()?;
        for (&at, &usable) in &self.live {
            let told = self.heap.usable_size(Address(at));
            ensure(told == Some(usable), || format!("usable size of {at:#x} became {told:?}, was {usable}"))?;
            ensure(self.memory.holds(at, usable), || format!("block {at:#x} lies in memory that is not held"))?;
        }
        let mut free = BTreeMap::new();
        self.heap.for_each_free(&mut |at, bytes| {
            free.insert(at.0, bytes);
        });
        for (&at, &bytes) in &free {
            ensure(overlapping(&self.live, at, bytes).is_none(), || format!("free piece {at:#x} is in a live block"))?;
        }
        self.check_pieces()
    }

    /// Rule 8.
    fn check_pieces(&self) -> Result<(), Violation> {
        let mut pieces = Vec::new();
        self.heap.for_each_piece(&mut |piece| pieces.push(piece));
        check_sums(&pieces, &self.heap.stats())?;
        let mut blocks = self.live.iter();
        let mut reached = 0;
        for piece in pieces {
            let (Piece { at, bytes, kind }, end) = (piece, piece.at.0 + piece.bytes);
            ensure(bytes > 0 && at.0 >= reached, || format!("{piece:?} is empty, or before {reached:#x}"))?;
            ensure(self.memory.holds(at.0, bytes), || format!("{piece:?} lies in memory that is not held"))?;
            if let PieceKind::Live { usable } = kind {
                let block = blocks.next().map(|(&at, &usable)| (at, usable));
                let is_in_it = block.is_some_and(|(block, bytes)| at.0 <= block && block < end && bytes == usable);
                ensure(is_in_it, || format!("{piece:?}, where the next live block is {block:x?}"))?;
            }
            reached = end;
        }
        ensure(blocks.next().is_none(), || "a live block lies in no piece".to_owned())
    }

    fn nth(&self, nth: u64) -> Option<usize> {
        let count = self.order.len() as u64;
        (count > 0).then(|| index(nth % count))
    }

    fn settle(
        &mut self,
        answer: Result<Address, OutOfMemory>,
        align: u64,
        bytes: u64,
    ) -> Result<Option<Address>, Violation> {
        let Ok(at) = answer else { return Ok(None) };
        self.admit(at, align, bytes)?;
        self.order.push(at.0);
        Ok(Some(at))
    }

    /// Rules 1 to 3 for a block that is new.
    fn admit(&mut self, at: Address, align: u64, bytes: u64) -> Result<(), Violation> {
        let least = if bytes < 16 { 8 } else { 16 };
        let align = align.next_power_of_two().max(least);
        ensure(at.0.is_multiple_of(align), || format!("block {at} of {bytes} bytes is no multiple of {align}"))?;
        let usable = self.heap.usable_size(at);
        let usable = usable.ok_or_else(|| Violation(format!("block {at} was returned and is not live")))?;
        ensure(usable >= bytes, || format!("block {at} has {usable} usable bytes, {bytes} were asked"))?;
        let other = overlapping(&self.live, at.0, usable.max(1));
        ensure(other.is_none(), || format!("block {at} of {usable} bytes overlaps the one at {other:#x?}"))?;
        ensure(self.memory.holds(at.0, usable), || format!("block {at} lies in memory that is not held"))?;
        self.live.insert(at.0, usable);
        Ok(())
    }

    fn realloc(&mut self, nth: u64, bytes: u64) -> Result<Option<Address>, Violation> {
        let Some(place) = self.nth(nth) else { return Ok(None) };
        let old = self.order[place];
        match self.heap.realloc(self.thread, Address(old), bytes, &mut self.memory) {
            Ok(Some(at)) => {
                self.live.remove(&old);
                self.order[place] = at.0;
                self.admit(at, 1, bytes)?;
                Ok(Some(at))
            }
            Ok(None) => {
                ensure(bytes == 0, || format!("realloc to {bytes} bytes freed the block {old:#x}"))?;
                self.live.remove(&old);
                self.order.swap_remove(place);
                Ok(None)
            }
            Err(ReallocError::OutOfMemory(_)) => {
                let told = self.heap.usable_size(Address(old));
                let was = self.live.get(&old).copied();
                ensure(told == was, || format!("a refused realloc left {old:#x} with {told:?}, not {was:?}"))?;
                Ok(None)
            }
            Err(ReallocError::NotLive(error)) => Err(Violation(format!("realloc of a live block: {error}"))),
        }
    }

    fn free(&mut self, nth: u64) -> Result<Option<Address>, Violation> {
        let Some(place) = self.nth(nth) else { return Ok(None) };
        let at = self.order.swap_remove(place);
        self.live.remove(&at);
        let answer = self.heap.free(self.thread, Address(at), &mut self.memory);
        ensure(answer.is_ok(), || format!("free of the live block {at:#x} was refused"))?;
        let told = self.heap.usable_size(Address(at));
        ensure(told.is_none(), || format!("freed block {at:#x} still has {told:?} usable bytes"))?;
        Ok(None)
    }

    fn free_inside(&mut self, nth: u64, offset: u64) -> Result<Option<Address>, Violation> {
        let Some(place) = self.nth(nth) else { return Ok(None) };
        let at = self.order[place].wrapping_add(offset);
        if self.live.contains_key(&at) {
            return Ok(None);
        }
        let before = self.heap.stats();
        let answer = self.heap.free(self.thread, Address(at), &mut self.memory);
        ensure(answer.is_err(), || format!("free of {at:#x}, which is no live block, was accepted"))?;
        ensure(self.heap.stats() == before, || format!("a refused free of {at:#x} changed the heap"))?;
        Ok(None)
    }

    /// Rule 4, and the writes of rule 3.
    fn check_stats(&self) -> Result<(), Violation> {
        let stats = self.heap.stats();
        let sum = stats.usable + stats.overhead + stats.free;
        ensure(sum == stats.held, || format!("usable + overhead + free = {sum}, held {}: {stats:?}", stats.held))?;
        let apart = stats.cached + stats.in_page;
        ensure(apart <= stats.free, || format!("cached and in page are parts of free: {stats:?}"))?;
        let given = self.memory.held_bytes();
        ensure(stats.held == given, || format!("the heap holds {}, the kernel gave {given}", stats.held))?;
        let blocks = self.live.len() as u64;
        ensure(stats.blocks == blocks, || format!("{} blocks told, {blocks} live", stats.blocks))?;
        let usable: u64 = self.live.values().sum();
        ensure(stats.usable == usable, || format!("{} usable bytes told, {usable} live", stats.usable))?;
        let stray = self.memory.stray_writes();
        ensure(stray == 0, || format!("{stray} writes outside the memory that is held"))
    }
}

/// Whether pieces add up to what the heap says it holds, by kind.
///
/// # Errors
/// The first sum that differs.
pub fn check_sums(pieces: &[Piece], stats: &HeapStats) -> Result<(), Violation> {
    let mut sums = [0; PieceKind::ALL.len()];
    let (mut blocks, mut usable) = (0, 0);
    for piece in pieces {
        sums[piece.kind.number()] += piece.bytes;
        if let PieceKind::Live { usable: bytes } = piece.kind {
            (blocks, usable) = (blocks + 1, usable + bytes);
        }
    }
    let [live, cached, in_page, free, top, reserved, overhead] = sums;
    // What a block costs beside its usable bytes is overhead too. (A sum of several: a block may use a word of the next piece.)
    let overhead = (live + overhead).wrapping_sub(usable);
    let all_free = cached + in_page + free + top + reserved;
    let found = HeapStats { blocks, usable, overhead, free: all_free, cached, in_page, held: sums.iter().sum() };
    ensure(found == *stats, || format!("pieces add up to {found:?}, told is {stats:?}"))
}

/// A live block that has a byte in `bytes` bytes at `at`.
fn overlapping(live: &BTreeMap<u64, u64>, at: u64, bytes: u64) -> Option<u64> {
    let (&other, &usable) = live.range(..at + bytes).next_back()?;
    (other + usable > at || other >= at).then_some(other)
}
