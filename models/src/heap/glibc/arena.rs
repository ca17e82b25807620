//! One arena: how it finds a chunk, and how it takes one back.

use serde::{Deserialize, Serialize};

use super::bins::{BinMap, LAST_BIN, UNSORTED, bin_of, head_of};
use super::call::{Call, Taken};
use super::chunk::{
    CACHED_UNITS, Chunk, FAST_UNITS, LARGE_UNITS, LOST_BYTES, MIN_UNITS, Units, Words, bytes_of, chunk_units,
};
use super::region::{Memory, Regions};
use super::tcache::Owned;
use crate::heap::OutOfMemory;
use crate::index;

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
    /// Heads of the fast bins, 32 to 128 bytes.
    pub fast: [Chunk; (FAST_UNITS - MIN_UNITS + 1) as usize],
    /// A chunk was put into a fast bin since the last flush.
    pub dirty: bool,
    pub bins: BinMap,
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
        let mut memory = Memory::new(page_bytes);
        for bin in 0..=LAST_BIN + 1 {
            let head = head_of(bin);
            *memory.at(head.above(1).0) = Words { low: head.0, high: head.0 };
        }
        Arena {
            memory,
            regions: Regions::default(),
            top: Chunk::NONE,
            last_remainder: Chunk::NONE,
            fast: Default::default(),
            dirty: false,
            bins: BinMap::default(),
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

    /// Counts bytes that came from the kernel.
    pub fn hold(&mut self, bytes: u64) {
        self.held_bytes += bytes;
        self.held_bytes_max = self.held_bytes_max.max(self.held_bytes);
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
        let chunk = self.oldest(bin)?;
        self.use_whole(chunk);
        while self.cache_has_room(units)
            && let Some(more) = self.oldest(bin)
        {
            self.use_whole(more);
            self.cache_chunk(units, more);
        }
        Some(chunk)
    }

    fn use_whole(&mut self, chunk: Chunk) {
        self.unlink_plain(chunk);
        self.mark(chunk, true);
    }

    fn pop_fast(&mut self, units: Units) -> Option<Chunk> {
        let bin = fast_bin(units);
        let chunk = self.arena.fast[bin];
        if chunk.is_none() {
            return None;
        }
        self.arena.fast[bin] = self.next(chunk);
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
            self.write(chunk.above(1));
        }
        is_cached
    }

    /// Goes through the unsorted chunks, the oldest first: one that fits exactly is used, the others are sorted.
    fn sort_unsorted(&mut self, units: Units) -> Option<Chunk> {
        let mut is_stored = false;
        let mut sorted = 0;
        while let Some(chunk) = self.oldest(UNSORTED) {
            *self.searched += 1;
            let found = self.units(chunk);
            if self.is_only_last_remainder(chunk) && units < LARGE_UNITS && found > units + MIN_UNITS {
                return Some(self.cut_last_remainder(chunk, units));
            }
            self.unlink_plain(chunk);
            if found == units {
                self.mark(chunk, true);
                if !self.cache_chunk(units, chunk) {
                    return Some(chunk);
                }
                is_stored = true;
                continue;
            }
            self.push_sorted(chunk);
            sorted += 1;
            if sorted == SORTED_AT_ONCE {
                break;
            }
        }
        if !is_stored {
            return None;
        }
        let cached = self.cache.as_mut().and_then(|cache| cache.pop(u64::from(units)));
        Some(cached.expect("the chunk that was stored just now").chunk)
    }

    fn is_only_last_remainder(&self, oldest: Chunk) -> bool {
        oldest == self.arena.last_remainder && self.newest(UNSORTED) == Some(oldest)
    }

    fn cut_last_remainder(&mut self, chunk: Chunk, units: Units) -> Chunk {
        let found = self.units(chunk);
        self.unlink_plain(chunk);
        self.arena.last_remainder = self.cut(chunk, found, units);
        chunk
    }

    /// The best chunk of the request's own large bin, else the oldest of the next bin that has any.
    fn take_from_bins(&mut self, units: Units) -> Option<Chunk> {
        let bin = bin_of(units);
        if units >= LARGE_UNITS
            && let Some(chunk) = self.best_in_large(bin, units)
        {
            self.use_free(chunk, units);
            return Some(chunk);
        }
        let chunk = self.oldest_from(bin + 1)?;
        if let Some(rest) = self.use_free(chunk, units)
            && units < LARGE_UNITS
        {
            self.arena.last_remainder = rest;
        }
        Some(chunk)
    }

    /// Unlinks a free chunk and uses its low part; what is left goes to the unsorted list.
    fn use_free(&mut self, chunk: Chunk, units: Units) -> Option<Chunk> {
        let found = self.units(chunk);
        self.unlink(chunk);
        if found - units < MIN_UNITS {
            self.mark(chunk, true);
            return None;
        }
        Some(self.cut(chunk, found, units))
    }

    /// Cuts an unlinked free chunk of `found` units; the upper part is free.
    fn cut(&mut self, chunk: Chunk, found: Units, units: Units) -> Chunk {
        let rest = chunk.above(units);
        self.set_header(chunk, units);
        self.set_header(rest, found - units);
        self.push_unsorted(rest);
        self.set_footer(rest, found - units);
        rest
    }

    /// Cuts `units` from the low end of top. Top always keeps a header of its own.
    pub(super) fn cut_top(&mut self, units: Units) -> Option<Chunk> {
        let (chunk, found) = (self.arena.top, self.arena.top_units());
        if found < units + MIN_UNITS {
            return None;
        }
        self.arena.top = chunk.above(units);
        self.set_header(chunk, units);
        self.set_header(self.arena.top, found - units);
        Some(chunk)
    }

    /// Takes back a chunk that is not a live block any more (`_int_free`).
    pub(super) fn give(&mut self, chunk: Chunk) {
        let units = self.units(chunk);
        if units <= CACHED_UNITS && self.cache_chunk(units, chunk) {
            return;
        }
        if units <= FAST_UNITS {
            self.push_fast(units, chunk);
            return;
        }
        if self.merge(chunk) >= LARGE_MERGE_UNITS {
            if self.arena.dirty {
                self.flush();
            }
            self.trim();
        }
    }

    fn push_fast(&mut self, units: Units, chunk: Chunk) {
        let bin = fast_bin(units);
        self.write(chunk.above(1)).low = self.arena.fast[bin].0;
        self.arena.fast[bin] = chunk;
        self.arena.fast_units += u64::from(units);
        self.arena.dirty = true;
    }

    /// Joins a chunk with its free neighbours, and with top; returns the length it has then.
    fn merge(&mut self, chunk: Chunk) -> Units {
        let (mut low, mut units) = (chunk, self.units(chunk));
        let header = self.read(chunk);
        let after = chunk.above(units);
        if !header.before_in_use() {
            low = chunk.below(header.low);
            units += header.low;
            self.unlink(low);
        }
        if after == self.arena.top {
            units += self.arena.top_units();
            self.set_header(low, units);
            self.arena.top = low;
            return units;
        }
        if self.is_in_use(after) {
            self.write_again(after).set_before_in_use(false);
        } else {
            units += self.units(after);
            self.unlink(after);
        }
        self.set_header(low, units);
        self.push_unsorted(low);
        self.set_footer(low, units);
        units
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
