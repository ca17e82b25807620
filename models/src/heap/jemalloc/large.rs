//! Large blocks: an extent each, at a random place within its first page; and blocks that grow and shrink in place (`large.c`).

use super::Jemalloc;
use super::arena::OVERSIZE_BYTES;
use super::classes::{LARGE_BYTES_MIN, PAD_BYTES, PAGE_BYTES};
use super::extent::{ExtentId, State};
use super::prng::Prng;
use crate::heap::{Advice, OutOfMemory, SystemMemory};
use crate::{Address, index};

/// Large blocks lie on cache lines.
pub(super) const LINE_BYTES: u64 = 64;

/// A large block to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// A class.
    pub usable: u64,
    pub align: u64,
    /// The bytes that decide whether it is a huge one.
    pub asked: u64,
    pub cleared: bool,
}

impl Jemalloc {
    /// A large block straight from an arena. It is live.
    pub(super) fn new_large(
        &mut self,
        slot: usize,
        wanted: Wanted,
        os: &mut dyn SystemMemory,
    ) -> Result<ExtentId, OutOfMemory> {
        let number = if wanted.asked >= OVERSIZE_BYTES { self.huge_arena(os)? } else { self.threads[slot].arena };
        let (arena, store) = self.arena_and_store(number);
        let pages = arena.take(store, wanted.usable + PAD_BYTES, wanted.align, os)?;
        let offset = random_offset(wanted.align, &mut self.threads[slot].prng);
        let extent = self.store.extent_mut(pages.id);
        (extent.state, extent.offset) = (State::Live, offset);
        if wanted.cleared && !pages.are_zero {
            os.madvise(Address(extent.base), extent.bytes, Advice::DontNeed);
        }
        self.counts.blocks += 1;
        self.counts.large_blocks += 1;
        self.counts.large_bytes += wanted.usable;
        self.count_ticks(slot, number, 1, os);
        Ok(pages.id)
    }

    /// Frees the extent of a large block that is in no cache and not live.
    pub(super) fn free_large(&mut self, id: ExtentId, os: &mut dyn SystemMemory) {
        let extent = self.store.extent_mut(id);
        (extent.state, extent.offset) = (State::Taken, 0);
        let number = extent.arena;
        let (arena, store) = self.arena_and_store(number);
        arena.give(store, id, os);
    }

    /// Makes a live large block an extent that the program does not have. Its usable bytes.
    #[inline]
    pub(super) fn take_in_large(&mut self, id: ExtentId, state: State) -> u64 {
        let extent = self.store.extent_mut(id);
        extent.state = state;
        let usable = extent.usable();
        self.counts.blocks -= 1;
        self.counts.large_blocks -= 1;
        self.counts.large_bytes -= usable;
        usable
    }

    /// Makes a live large block hold `usable` bytes where it is; whether it could (`large_ralloc_no_move`).
    pub(super) fn resize_in_place(
        &mut self,
        slot: usize,
        id: ExtentId,
        usable: u64,
        os: &mut dyn SystemMemory,
    ) -> bool {
        let (old, number) = (self.store.extent(id).usable(), self.store.extent(id).arena);
        let (arena, store) = self.arena_and_store(number);
        if usable > old {
            if !arena.lengthen(store, id, usable + PAD_BYTES, os) {
                return false;
            }
        } else if usable < old {
            arena.shorten(store, id, usable + PAD_BYTES, os);
        }
        self.counts.large_bytes = self.counts.large_bytes - old + usable;
        self.count_ticks(slot, number, 1, os);
        true
    }

    /// The live large block at an address.
    #[inline]
    pub(super) fn live_large(&self, id: ExtentId, at: u64) -> bool {
        let extent = &self.store.extents[index(id.into())];
        extent.state == State::Live && extent.base + u64::from(extent.offset) == at
    }
}

/// Where a block starts in its first page: on a random multiple of its alignment (`arena_cache_oblivious_randomize`).
fn random_offset(align: u64, prng: &mut Prng) -> u16 {
    let step = align.next_multiple_of(LINE_BYTES);
    if step >= PAGE_BYTES {
        return 0;
    }
    let places = PAGE_BYTES / step;
    let offset = prng.bits(places.trailing_zeros()) * step;
    u16::try_from(offset).expect("within a page")
}

/// Whether a block of so many usable bytes is a large one.
#[inline]
pub(super) fn is_large(usable: u64) -> bool {
    usable >= LARGE_BYTES_MIN
}
