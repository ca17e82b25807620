//! One call of the allocator: the arena it works on, the caller's cache, and the kernel.

use super::GlibcOptions;
use super::arena::Arena;
use super::chunk::{Chunk, HEADER_BYTES, LOST_BYTES, UNIT_BYTES, Units, Word, bytes_of};
use super::heaps::Heaps;
use super::mapped::Mapped;
use super::tcache::Tcache;
use crate::Address;
use crate::heap::SystemMemory;

/// Everything that a call may look at and change.
pub(super) struct Call<'a> {
    /// The arena's number, for chunks that go into a cache.
    pub number: u32,
    pub arena: &'a mut Arena,
    /// The calling thread's; none before its first block, and while the thread ends.
    pub cache: Option<&'a mut Tcache>,
    pub mapped: &'a mut Mapped,
    pub heaps: &'a mut Heaps,
    pub options: &'a GlibcOptions,
    /// List members looked at so far.
    pub searched: &'a mut u64,
    pub os: &'a mut dyn SystemMemory,
}

/// What a request is served with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// A chunk of the arena, in use now.
    Chunk(Chunk),
    /// A mapping of its own: the user's address.
    Mapped(Address),
}

impl Call<'_> {
    pub(super) const fn is_main(&self) -> bool {
        self.number == 0
    }

    #[inline]
    pub(super) fn read(&self, place: Chunk) -> Word {
        self.arena.memory.read(place.0)
    }

    /// The word at a place, to be written: the page is resident from now on.
    #[inline]
    pub(super) fn write(&mut self, place: Chunk) -> &mut Word {
        if !self.arena.memory.is_known(place.0) {
            self.write_first(place);
        }
        self.arena.memory.at(place.0)
    }

    /// The word at a place whose page was written before, to be written again.
    #[inline]
    pub(super) fn write_again(&mut self, place: Chunk) -> &mut Word {
        debug_assert!(self.arena.memory.is_written(place.0), "the allocator wrote to the page of {place:?} before");
        self.arena.memory.at(place.0)
    }

    /// The word at a place a little above another one that was written before, to be written.
    #[inline]
    pub(super) fn write_behind(&mut self, chunk: Chunk, units: Units) -> &mut Word {
        let place = chunk.above(units);
        if !self.arena.memory.is_known_behind(place.0, units) && !self.arena.memory.is_known(place.0) {
            self.write_first(place);
        }
        self.arena.memory.at(place.0)
    }

    #[cold]
    fn write_first(&mut self, place: Chunk) {
        let address = self.arena.regions.address(place);
        self.os.touch(address, UNIT_BYTES);
        self.arena.memory.add_page(place.0);
    }

    /// The allocator writes to `bytes` bytes behind a chunk's header: it clears or copies.
    pub(super) fn write_block(&mut self, chunk: Chunk, bytes: u64) {
        let last = Units::try_from((HEADER_BYTES + bytes.max(1) - 1) / UNIT_BYTES).expect("inside a chunk");
        if !self.arena.memory.is_range_known(chunk.0 + 1, chunk.0 + last) {
            let at = self.user_address(chunk);
            self.os.touch(at, bytes);
        }
    }

    pub(super) fn user_address(&self, chunk: Chunk) -> Address {
        self.arena.user_address(chunk)
    }

    /// Length of a chunk.
    pub(super) fn units(&self, chunk: Chunk) -> Units {
        self.read(chunk).units()
    }

    /// Bytes of a chunk that its block may use.
    pub(super) fn usable(&self, chunk: Chunk) -> u64 {
        bytes_of(self.units(chunk)) - LOST_BYTES
    }

    /// Writes the header of a chunk whose neighbour below is in use.
    pub(super) fn set_header(&mut self, chunk: Chunk, units: Units) {
        *self.write(chunk) = Word::header(units);
    }

    /// The same where a header was before.
    pub(super) fn reset_header(&mut self, chunk: Chunk, units: Units) {
        *self.write_again(chunk) = Word::header(units);
    }

    /// Marks a chunk as in use in its neighbour above.
    pub(super) fn mark_in_use(&mut self, chunk: Chunk, units: Units) {
        self.write_again(chunk.above(units)).set_before_in_use(true);
    }
}
