//! One arena: how it finds a chunk, and how it takes one back.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use super::MAIN;
use super::bins::{Free, Link, Lists, UNSORTED, bin_of};
use super::call::{Call, Taken};
use super::chunk::{
    CACHED_UNITS, Chunk, FAST_UNITS, HEADER_BYTES, LARGE_UNITS, LOST_BYTES, MIN_UNITS, Units, Word, bytes_of,
    chunk_units,
};
use super::memory::Memory;
use super::region::Regions;
use super::tcache::Owned;
use crate::heap::OutOfMemory;
use crate::{Address, index};

/// Unsorted chunks that one pass sorts at most (`MAX_ITERS`).
const SORTED_AT_ONCE: u32 = 10_000;
/// A chunk that is at least so long after merging, 64 KiB, lets the fast bins be flushed and top be trimmed
/// (`FASTBIN_CONSOLIDATION_THRESHOLD`).
const LARGE_MERGE_UNITS: Units = 65_536 / 16;

/// State of one arena.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Arena {
    pub memory: Memory,
    pub regions: Regions,
    /// The chunk that ends where the last region does; none before the first growth.
    pub top: Chunk,
    /// What a small request left of the last chunk that was cut for one.
    pub last_remainder: Chunk,
    /// The fast bins, 32 to 128 bytes, the oldest chunk first. The real one links its chunks through their own memory.
    pub fast: [Vec<Chunk>; (FAST_UNITS - MIN_UNITS + 1) as usize],
    /// A chunk was put into a fast bin since the last flush.
    pub dirty: bool,
    pub lists: Lists,
    /// Whether it is the main arena's, which grows with the program break and without gaps as long as it can.
    pub is_contiguous: bool,
    /// Units in fast bins.
    pub fast_units: u64,
    /// Bytes of its regions, now and at most.
    pub held_bytes: u64,
    pub held_bytes_max: u64,
    /// Bytes that are no chunks: the arena's own tables, fences at the end of regions.
    pub own_bytes: u64,
    /// Threads that allocate from it.
    pub attached: u32,
    /// The arena after this one in the ring of all.
    pub next_in_ring: u32,
}

impl Arena {
    /// An arena without memory, its lists empty.
    pub fn new(page_bytes: u64, is_main: bool) -> Arena {
        Arena {
            memory: Memory::new(page_bytes),
            regions: Regions::default(),
            top: Chunk::NONE,
            last_remainder: Chunk::NONE,
            fast: Default::default(),
            dirty: false,
            lists: Lists::new(),
            is_contiguous: is_main,
            fast_units: 0,
            held_bytes: 0,
            held_bytes_max: 0,
            own_bytes: 0,
            attached: 1,
            next_in_ring: 0,
        }
    }

    pub fn top_units(&self) -> Units {
        self.memory.read(self.top.0).units()
    }

    /// The address that the user of a chunk gets.
    pub fn user_address(&self, chunk: Chunk) -> Address {
        Address(self.regions.address(chunk).0 + HEADER_BYTES)
    }

    /// Makes a chunk a live block; returns the address of its user and its length.
    pub fn hand_out(&mut self, chunk: Chunk) -> (Address, Units) {
        let header = self.memory.at(chunk.0);
        header.set_live();
        let units = header.units();
        (self.user_address(chunk), units)
    }

    /// The same, where a short look is enough.
    #[inline(always)]
    pub fn hand_out_near(&mut self, chunk: Chunk) -> Option<Address> {
        let Address(start) = self.regions.address_in_only(chunk)?;
        self.memory.in_array(chunk.0)?.set_live();
        Some(Address(start.wrapping_add(HEADER_BYTES)))
    }

    /// The chunk and the header of the live block at an address, where a short look is enough; then the kernel knows of the
    /// place behind the header too.
    #[inline(always)]
    pub fn live_near(&mut self, at: Address) -> Option<(Chunk, &mut Word)> {
        let chunk = self.regions.place_in_first(at.0.wrapping_sub(HEADER_BYTES))?;
        let header = self.memory.near(chunk.0).filter(|header| header.is_live())?;
        Some((chunk, header))
    }

    /// Puts a chunk into its fast bin; the kernel has heard of the link.
    pub fn push_fast(&mut self, units: Units, chunk: Chunk) {
        self.fast[fast_bin(units)].push(chunk);
        self.fast_units += u64::from(units);
        self.dirty = true;
    }

    /// Counts bytes that came from the kernel.
    pub fn hold(&mut self, bytes: u64) {
        self.held_bytes += bytes;
        self.held_bytes_max = self.held_bytes_max.max(self.held_bytes);
    }
}

/// All arenas by number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Arenas {
    /// Where most calls go, so it is found without a look at a list. Without memory before the first call.
    pub main: Arena,
    others: Vec<Arena>,
}

impl Arenas {
    pub const fn new(main: Arena) -> Arenas {
        Arenas { main, others: Vec::new() }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.others.len() as u64 + 1
    }

    pub fn push(&mut self, arena: Arena) {
        self.others.push(arena);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arena> {
        std::iter::once(&self.main).chain(&self.others)
    }
}

impl Index<u32> for Arenas {
    type Output = Arena;

    #[inline]
    fn index(&self, number: u32) -> &Arena {
        if number == MAIN { &self.main } else { &self.others[index(u64::from(number) - 1)] }
    }
}

impl IndexMut<u32> for Arenas {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut Arena {
        if number == MAIN { &mut self.main } else { &mut self.others[index(u64::from(number) - 1)] }
    }
}

impl Call<'_> {
    /// A chunk of `units`, from the arena's lists, top or the kernel (`_int_malloc`). The cache is filled, not asked.
    pub(super) fn take(&mut self, units: u64) -> Result<Taken, OutOfMemory> {
        match self.take_held(chunk_units(units)) {
            Some(chunk) => Ok(Taken::Chunk(chunk)),
            None => self.grow(units),
        }
    }

    /// The same, and what `calloc` must clear is written: all but what the kernel has just given (`MORECORE_CLEARS`).
    pub(super) fn take_cleared(&mut self, units: u64) -> Result<Taken, OutOfMemory> {
        let (top, top_bytes) = (self.arena.top, self.top_bytes_ever());
        let taken = self.take(units)?;
        if let Taken::Chunk(chunk) = taken {
            let bytes = bytes_of(self.units(chunk));
            let used_before = if chunk == top { bytes.min(top_bytes) } else { bytes };
            self.write_block(chunk, used_before - LOST_BYTES);
        }
        Ok(taken)
    }

    fn take_held(&mut self, units: Units) -> Option<Chunk> {
        if units <= FAST_UNITS
            && let Some(chunk) = self.take_fast(units)
        {
            return Some(chunk);
        }
        if units < LARGE_UNITS {
            if let Some(chunk) = self.take_small(units) {
                return Some(chunk);
            }
        } else if self.arena.dirty {
            self.flush();
        }
        loop {
            let held = self.sort_unsorted(units).or_else(|| self.take_from_bins(units)).or_else(|| self.cut_top(units));
            if held.is_some() || !self.arena.dirty {
                return held;
            }
            self.flush();
        }
    }

    fn take_fast(&mut self, units: Units) -> Option<Chunk> {
        let chunk = self.pop_fast(units)?;
        while self.cache_has_room(units)
            && let Some(more) = self.pop_fast(units)
        {
            self.cache_chunk(units, more);
        }
        Some(chunk)
    }

    fn take_small(&mut self, units: Units) -> Option<Chunk> {
        let bin = bin_of(units);
        let oldest = self.arena.lists.oldest(bin)?;
        let chunk = self.use_whole(oldest);
        while self.cache_has_room(units)
            && let Some(more) = self.arena.lists.oldest(bin)
        {
            let more = self.use_whole(more);
            self.cache_chunk(units, more);
        }
        Some(chunk)
    }

    fn use_whole(&mut self, link: Link) -> Chunk {
        let Free { chunk, units } = self.arena.lists.remove(link);
        self.mark_in_use(chunk, units);
        chunk
    }

    fn pop_fast(&mut self, units: Units) -> Option<Chunk> {
        let chunk = self.arena.fast[fast_bin(units)].pop()?;
        self.arena.fast_units -= u64::from(units);
        Some(chunk)
    }

    fn cache_has_room(&self, units: Units) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.has_room(units))
    }

    fn cache_chunk(&mut self, units: Units, chunk: Chunk) -> bool {
        let owned = Owned { arena: self.number, chunk };
        let is_cached = self.cache.as_mut().is_some_and(|cache| cache.push(units, owned));
        if is_cached {
            // The link and the mark against double frees are written behind the header.
            self.write_behind(chunk, 1);
        }
        is_cached
    }

    /// Goes through the unsorted chunks, the oldest first: one that fits exactly is used, the others are sorted.
    fn sort_unsorted(&mut self, units: Units) -> Option<Chunk> {
        let mut is_stored = false;
        let mut sorted = 0;
        while let Some(link) = self.arena.lists.oldest(UNSORTED) {
            *self.searched += 1;
            let Free { chunk: oldest, units: found } = self.arena.lists.free(link);
            if units < LARGE_UNITS && found > units + MIN_UNITS && self.is_only_last_remainder(link, oldest) {
                return Some(self.cut_last_remainder(link, units));
            }
            if found == units {
                let chunk = self.use_whole(link);
                if !self.cache_chunk(units, chunk) {
                    return Some(chunk);
                }
                is_stored = true;
                continue;
            }
            self.sort(link, found);
            sorted += 1;
            if sorted == SORTED_AT_ONCE {
                break;
            }
        }
        if !is_stored {
            return None;
        }
        let cached = self.cache.as_mut().and_then(|cache| cache.pop(units));
        Some(cached.expect("the chunk that was stored just now").chunk)
    }

    fn is_only_last_remainder(&self, link: Link, oldest: Chunk) -> bool {
        oldest == self.arena.last_remainder && self.arena.lists.newest(UNSORTED) == Some(link)
    }

    fn cut_last_remainder(&mut self, link: Link, units: Units) -> Chunk {
        let remainder = self.arena.lists.remove(link);
        self.arena.last_remainder = self.cut(remainder, units);
        remainder.chunk
    }

    /// The best chunk of the request's own large bin, else the oldest of the next bin that has any.
    fn take_from_bins(&mut self, units: Units) -> Option<Chunk> {
        let bin = bin_of(units);
        if units >= LARGE_UNITS
            && let Some(link) = self.best_in_large(bin, units)
        {
            return Some(self.use_free(link, units).0);
        }
        let oldest = self.oldest_from(bin + 1)?;
        let (chunk, rest) = self.use_free(oldest, units);
        if let Some(rest) = rest
            && units < LARGE_UNITS
        {
            self.arena.last_remainder = rest;
        }
        Some(chunk)
    }

    /// Unlinks a free chunk and uses its low part; what is left goes to the unsorted list and is returned too.
    fn use_free(&mut self, link: Link, units: Units) -> (Chunk, Option<Chunk>) {
        let found = self.arena.lists.remove(link);
        if found.units - units < MIN_UNITS {
            self.mark_in_use(found.chunk, found.units);
            return (found.chunk, None);
        }
        (found.chunk, Some(self.cut(found, units)))
    }

    /// Cuts an unlinked free chunk; the upper part is free.
    fn cut(&mut self, found: Free, units: Units) -> Chunk {
        let (rest, rest_units) = (found.chunk.above(units), found.units - units);
        self.reset_header(found.chunk, units);
        self.set_header(rest, rest_units);
        self.push_unsorted(rest, rest_units);
        rest
    }

    /// Links a free chunk at the new end of the unsorted list; its own words tell where.
    fn push_unsorted(&mut self, chunk: Chunk, units: Units) {
        let link = self.arena.lists.push_unsorted(chunk, units);
        *self.write_behind(chunk, 1) = Word(link.0);
        if units >= LARGE_UNITS {
            // The real one clears the links of its skip list.
            self.write_behind(chunk, 2);
        }
        *self.arena.memory.at(chunk.above(units - 1).0) = Word(link.0);
    }

    /// Cuts `units` from the low end of top. Top always keeps a header of its own.
    pub(super) fn cut_top(&mut self, units: Units) -> Option<Chunk> {
        let (chunk, found) = (self.arena.top, self.arena.top_units());
        if found < units + MIN_UNITS {
            return None;
        }
        self.arena.top = chunk.above(units);
        self.reset_header(chunk, units);
        self.set_header(self.arena.top, found - units);
        Some(chunk)
    }

    /// Takes back a chunk that is not a live block any more (`_int_free`).
    pub(super) fn give(&mut self, chunk: Chunk, units: Units) {
        if units <= CACHED_UNITS && self.cache_chunk(units, chunk) {
            return;
        }
        if units <= FAST_UNITS {
            self.write_behind(chunk, 1);
            self.arena.push_fast(units, chunk);
        } else {
            self.give_merged(chunk);
        }
    }

    /// Merges a chunk that goes neither into the cache nor into a fast bin; a long one lets memory go.
    pub(super) fn give_merged(&mut self, chunk: Chunk) {
        if self.merge(chunk) >= LARGE_MERGE_UNITS {
            if self.arena.dirty {
                self.flush();
            }
            self.trim();
        }
    }

    /// Joins a chunk with its free neighbours, and with top; returns the length it has then.
    fn merge(&mut self, chunk: Chunk) -> Units {
        let header = self.read(chunk);
        let (mut low, mut units) = (chunk, header.units());
        let after = chunk.above(units);
        if !header.before_in_use() {
            let below = self.take_free_below(chunk);
            low = below.chunk;
            units += below.units;
        }
        if after == self.arena.top {
            units += self.arena.top_units();
            self.reset_header(low, units);
            self.arena.top = low;
            return units;
        }
        match self.link_of(after) {
            Some(link) => units += self.arena.lists.remove(link).units,
            None => self.write_again(after).set_before_in_use(false),
        }
        self.reset_header(low, units);
        self.push_unsorted(low, units);
        units
    }

    /// The entry of a chunk, if it is free. The real one looks at the chunk above, which knows too, but is farther away.
    pub(super) fn link_of(&self, chunk: Chunk) -> Option<Link> {
        let Word(link) = self.read(chunk.above(1));
        self.arena.lists.holds(chunk, Link(link)).then_some(Link(link))
    }

    /// Takes the free chunk that ends at a place out of its list.
    pub(super) fn take_free_below(&mut self, end: Chunk) -> Free {
        let Word(link) = self.read(end.below(1));
        self.arena.lists.remove(Link(link))
    }

    /// The free chunk that ends at a place.
    pub(super) fn free_below(&self, end: Chunk) -> Free {
        let Word(link) = self.read(end.below(1));
        self.arena.lists.free(Link(link))
    }

    /// Empties the fast bins: their chunks merge (`malloc_consolidate`).
    pub(super) fn flush(&mut self) {
        self.arena.dirty = false;
        for units in MIN_UNITS..=FAST_UNITS {
            while let Some(chunk) = self.pop_fast(units) {
                *self.searched += 1;
                self.merge(chunk);
            }
        }
    }

    /// Bytes between the start of top and the highest end that this arena's memory had: what `calloc` must clear there.
    pub(super) fn top_bytes_ever(&self) -> u64 {
        let top = bytes_of(self.arena.top_units());
        let Some(region) = self.arena.regions.last() else { return top };
        let highest = if self.is_main() {
            let first = self.arena.regions.first().unwrap_or(region);
            first.start + self.arena.held_bytes_max
        } else {
            region.start + region.most_bytes
        };
        // Where the main arena has moved above its first region the real one's difference wraps: all is cleared.
        top.max(highest.wrapping_sub(region.address(self.arena.top)))
    }
}

fn fast_bin(units: Units) -> usize {
    index(u64::from(units - MIN_UNITS))
}
