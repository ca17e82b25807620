//! glibc: the allocator of the GNU C library, ptmalloc2 with thread caches, address for address.
//!
//! # Models
//! glibc 2.36 (x86-64, default settings): `malloc`, `calloc`, `realloc`, `memalign` and its kin, `free`, the arenas and
//! caches of threads. Source: glibc 2.36, malloc/malloc.c and malloc/arena.c; functions are named where their rules are.
//! Ancestors: Lea's dlmalloc, Gloger's ptmalloc.
//!
//! # Rules
//! 1. A request of n bytes needs a chunk of n + 8, rounded up to 16, at least 32. A chunk starts 16 bytes before its
//!    block; the block may use the first word of the next chunk.
//! 2. Cache (tcache): each thread keeps up to 7 chunks of each size from 32 to 1040, last in, first out. `malloc` asks it
//!    first; `calloc`, `memalign` and a `realloc` that moves do not. Its own table is the first chunk of the thread.
//! 3. Taking: fast bin of the size (to 128), small bin of the size (below 1024, oldest first); what else is there of that
//!    size fills the cache. A large request first flushes the fast bins.
//! 4. Then unsorted chunks, oldest first: of equal size to the cache or used; else sorted into bins. A lone last remainder
//!    is cut for a small request. A pass ends after 10,000 sorted chunks.
//! 5. Then the shortest chunk that is enough: in the request's own large bin, else in the next bin that has any. The low
//!    part is used, the rest is unsorted; for a small request it is the last remainder.
//! 6. Then the low end of top. Then fast bins are flushed, once more from 4. Then the kernel.
//! 7. From the kernel: a mapping for chunks from the mmap threshold on, else the break rises by what is missing and
//!    128 KiB. Other arenas grow page by page inside heaps of 64 MiB, without the pad.
//! 8. Giving back: to the cache, to a fast bin, else merged with free neighbours (or top) and unsorted. If the result has
//!    64 KiB, fast bins are flushed, and top beyond the trim threshold goes back to the kernel but for 128 KiB.
//! 9. A mapped block is unmapped when it is freed, and the mmap threshold rises to its length, at most 32 MiB; the trim
//!    threshold is twice that then. `realloc` of a mapped block resizes the mapping.
//! 10. `realloc` grows a block in place into top, into a free neighbour, or into the chunk it was given when that lies
//!     directly behind; else it moves. What is too much is cut off and given back like any block.
//! 11. `memalign` takes a chunk that is long enough at any place and gives back what lies before and behind.
//! 12. A new thread gets an arena that no thread has any more, else a new one while there are fewer than 8 for each
//!     processor, else the next in turn. A block goes back to the cache of the thread that frees it, or to its own arena.
//! 13. Every page that the real one writes to is touched: headers, links, footers, its tables, what it clears and copies.
//!
//! # Invariants
//! Verified by `check`: the chunks of each region follow each other without gaps up to its end; every free chunk is in
//! one list, knows where at both ends, and touches no other one; lists are linked both ways, large bins fall by
//! length; cached chunks are in use and not live; the counts of live blocks and bytes are those of the walk.
//!
//! # Cost
//! `malloc` and `free` through the cache O(1): each looks at one word of the chunk and one line of the cache. Small chunks
//! O(1) but for the chunks sorted on the way; a large bin is searched by length. 4 bytes of memory for each 16 bytes of heap
//! that the allocator itself wrote to, by pages, and 24 bytes for each free chunk in a list: with what growth leaves unused
//! about 40 bytes for each small live block. Blocks in mappings O(log blocks).
//!
//! # Left out
//! Checks against corruption; `mallopt`, `malloc_trim` and hooks; huge pages; programs that move the break themselves;
//! locks: one call ends before the next begins, so no arena is ever found busy; memory tags. Simplified: an arena has at most
//! 32 GiB outside mappings; a thread that can get no arena fails, where the real one tries a mapping.

mod align;
mod arena;
mod bins;
mod call;
mod check;
mod chunk;
mod growth;
mod heaps;
mod mapped;
mod memory;
mod pieces;
mod realloc;
mod region;
mod tcache;
#[cfg(test)]
mod tests;
mod threads;

use serde::{Deserialize, Serialize};

use self::arena::{Arena, Arenas};
use self::call::Taken;
use self::chunk::{Chunk, FAST_UNITS, HEADER_BYTES, LOST_BYTES, Units, bytes_of, units_of_request};
use self::heaps::Heaps;
use self::mapped::Mapped;
use self::realloc::Resized;
use self::tcache::{Owned, Tcache};
use self::threads::{Choice, Thread};
use super::{
    HeapAllocator, HeapFreeError, HeapSetting, HeapStats, HeapTotals, OutOfMemory, Piece, ReallocError, SystemMemory,
    show_ascending,
};
use crate::registry::{BadOptions, Model};
use crate::{Address, ThreadId, Violation, index};

/// The main arena's number.
const MAIN: u32 = 0;

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Glibc {
    options: GlibcOptions,
    arenas: Arenas,
    /// By thread.
    threads: Vec<Thread>,
    heaps: Heaps,
    mapped: Mapped,
    choice: Choice,
    /// Live blocks in arenas.
    live_blocks: u64,
    /// List members that the last call looked at.
    searched: u64,
    /// Units of the chunks of live blocks.
    live_units: u64,
}

/// What a workload can set: the tunables `glibc.malloc.*` of the real one, with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GlibcOptions {
    /// Chunks of one size that a thread's cache keeps, 0 to 7.
    pub tcache_count: u8,
    /// Bytes that top gets, or keeps, beyond what is needed.
    pub top_pad: u64,
    /// Chunks from this many bytes on are mapped; where it is set no threshold follows the blocks that are freed.
    pub mmap_threshold: Option<u64>,
    /// Top of this many bytes gives memory back; the same holds for it.
    pub trim_threshold: Option<u64>,
    /// Most mapped blocks at one time.
    pub mmap_max: u64,
    /// Most arenas, at least 1; without it 8 for each processor.
    pub arena_max: Option<u64>,
}

impl Default for GlibcOptions {
    fn default() -> GlibcOptions {
        GlibcOptions {
            tcache_count: tcache::DEPTH,
            top_pad: DEFAULT_TOP_PAD,
            mmap_threshold: None,
            trim_threshold: None,
            mmap_max: DEFAULT_MMAP_MAX,
            arena_max: None,
        }
    }
}

const DEFAULT_TOP_PAD: u64 = 128 << 10;
const DEFAULT_MMAP_MAX: u64 = 65_536;
/// The real one ignores higher ones; below, the tables of caches would be mapped.
const MMAP_THRESHOLDS: std::ops::RangeInclusive<u64> = 1 << 10..=heaps::HEAP_BYTES / 2;
/// A longer pad would only reserve what no workload can use.
const TOP_PAD_MAX: u64 = 1 << 30;

impl GlibcOptions {
    /// Whether the thresholds follow the blocks that are freed: until any of the four is set (`no_dyn_threshold`).
    fn has_dynamic_thresholds(&self) -> bool {
        self.mmap_threshold.is_none()
            && self.trim_threshold.is_none()
            && self.top_pad == DEFAULT_TOP_PAD
            && self.mmap_max == DEFAULT_MMAP_MAX
    }

    fn check(&self) -> Result<(), BadOptions> {
        let bad = |option, found: u64, allowed: &str| {
            Err(BadOptions { option, found: found.to_string(), allowed: allowed.to_owned() })
        };
        if self.tcache_count > tcache::DEPTH {
            return bad("tcache_count", self.tcache_count.into(), "a thread's cache keeps at most 7 chunks of a size");
        }
        if self.top_pad > TOP_PAD_MAX {
            return bad("top_pad", self.top_pad, "top is padded with at most 1 GiB");
        }
        match self.mmap_threshold {
            Some(bytes) if !MMAP_THRESHOLDS.contains(&bytes) => {
                bad("mmap_threshold", bytes, "a threshold is 1 KiB to 32 MiB")
            }
            _ if self.arena_max == Some(0) => bad("arena_max", 0, "there is at least 1 arena"),
            _ => Ok(()),
        }
    }
}

impl Model<dyn HeapAllocator> for Glibc {
    const NAME: &'static str = "glibc";
    const SUMMARY: &'static str = "glibc 2.36 (ptmalloc2), address for address";
    const RULES: &'static str = "\
malloc: the thread's cache (7 of a size, to 1 KiB), else its arena: fast
bin, small bin, unsorted chunks oldest first, the shortest chunk that is
enough (its low part), top, and last the kernel: a mapping of its own from
128 KiB on, else the break rises by what is missing and 128 KiB.
free: cache, fast bin (to 128 bytes, unmerged), else merged with free
neighbours. A merge of 64 KiB flushes the fast bins and trims top. A mapped
block goes back at once, and raises the threshold for mappings.
Threads: an arena each, up to 8 for each processor, in heaps of 64 MiB.";
    type Options = GlibcOptions;

    fn build(_setting: HeapSetting, options: &GlibcOptions) -> Result<Glibc, BadOptions> {
        options.check()?;
        Ok(Glibc {
            options: options.clone(),
            arenas: Arenas::new(Arena::new(0, true)),
            threads: Vec::new(),
            heaps: Heaps::default(),
            mapped: Mapped::new(options),
            choice: Choice::default(),
            live_blocks: 0,
            live_units: 0,
            searched: 0,
        })
    }
}

impl HeapAllocator for Glibc {
    #[inline]
    fn malloc(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        self.searched = 0;
        let Some((units, owned)) = self.cache(thread).and_then(|cache| cache.pop_for(bytes)) else {
            return self.malloc_uncached(thread, bytes, os);
        };
        if owned.arena == MAIN
            && let Some(at) = self.arenas.main.hand_out_near(owned.chunk)
        {
            self.count_in(units);
            return Ok(at);
        }
        self.hand_out_far(owned)
    }

    fn calloc(
        &mut self,
        thread: ThreadId,
        count: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let bytes = count.checked_mul(bytes).ok_or(OutOfMemory)?;
        let units = units_of_request(bytes)?;
        self.searched = 0;
        self.ensure_cache(thread, os);
        let (arena, taken) = self.serve(thread, bytes, os, |call| call.take_cleared(units))?;
        Ok(self.hand_out(arena, taken))
    }

    fn aligned_alloc(
        &mut self,
        thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        if align <= chunk::UNIT_BYTES {
            return self.malloc(thread, bytes, os);
        }
        let align = align::effective_alignment(align).ok_or(OutOfMemory)?;
        self.searched = 0;
        self.meet(thread, os);
        let about = bytes.saturating_add(align).saturating_add(bytes_of(chunk::MIN_UNITS));
        let (arena, taken) = self.serve(thread, about, os, |call| call.take_aligned(align, bytes))?;
        Ok(self.hand_out(arena, taken))
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        self.searched = 0;
        if bytes == 0 {
            self.free(thread, at, os)?;
            return Ok(None);
        }
        match self.live_chunk(at) {
            Some(owned) => Ok(Some(self.resize_chunk(thread, owned, bytes, os)?)),
            None if self.mapped.usable_at(at).is_some() => Ok(Some(self.resize_mapped(thread, at, bytes, os)?)),
            None => Err(HeapFreeError(at).into()),
        }
    }

    #[inline]
    fn free(&mut self, thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        self.searched = 0;
        let Some((chunk, header)) = self.arenas.main.live_near(at) else {
            return self.free_far(thread, at, os);
        };
        header.clear_live();
        let units = header.units();
        self.count_out(units);
        let cache = self.threads.get_mut(index(thread.0.into())).and_then(|thread| thread.cache.as_mut());
        if cache.is_some_and(|cache| cache.push(units, Owned { arena: MAIN, chunk })) {
            return Ok(());
        }
        self.free_uncached(thread, chunk, units, os)
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        match self.live_chunk(at) {
            Some(owned) => Some(bytes_of(self.units(owned)) - LOST_BYTES),
            None => self.mapped.usable_at(at),
        }
    }

    fn thread_exit(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) {
        self.end_thread(thread, os);
    }

    fn stats(&self) -> HeapStats {
        let (mut table_units, mut cached) = (0, 0);
        for cache in self.threads.iter().filter_map(|thread| thread.cache.as_ref()) {
            table_units += cache.table_units;
            cached += cache.units;
        }
        let mut own = 0;
        for arena in self.arenas.iter() {
            own += arena.own_bytes;
            cached += arena.fast_units;
        }
        let HeapTotals { usable, held } = self.totals();
        let free = held - self.mapped.bytes - own - (table_units + self.live_units) * chunk::UNIT_BYTES;
        HeapStats {
            blocks: self.live_blocks + self.mapped.blocks(),
            usable,
            overhead: held - usable - free,
            free,
            cached: cached * chunk::UNIT_BYTES,
            in_page: 0,
            held,
        }
    }

    #[inline]
    fn totals(&self) -> HeapTotals {
        HeapTotals {
            usable: self.live_units * chunk::UNIT_BYTES - self.live_blocks * LOST_BYTES + self.mapped.usable,
            // Whole heaps are taken from the kernel, although only their low part is writable.
            held: self.arenas.main.held_bytes + self.heaps.bytes() + self.mapped.bytes,
        }
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.visit_free(visit);
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        show_ascending(self.pieces(), visit);
    }

    fn last_search(&self) -> u64 {
        self.searched
    }

    fn check(&self) -> Result<(), Violation> {
        self.check_all()
    }
}

impl Glibc {
    #[inline]
    fn cache(&mut self, thread: ThreadId) -> Option<&mut Tcache> {
        self.threads.get_mut(index(thread.0.into()))?.cache.as_mut()
    }

    /// Every call but `memalign` and those on mapped blocks gives the calling thread a cache first.
    fn ensure_cache(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) {
        if self.cache(thread).is_none() {
            self.start_cache(thread, os);
        }
    }

    #[inline(never)]
    fn malloc_uncached(
        &mut self,
        thread: ThreadId,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let units = units_of_request(bytes)?;
        self.ensure_cache(thread, os);
        // Starting the cache can put nothing into it.
        let (arena, taken) = self.serve(thread, bytes, os, |call| call.take(units))?;
        Ok(self.hand_out(arena, taken))
    }

    /// Gives a chunk of the main arena back that is no live block any more, and found no cache or no room in it. The kernel
    /// knows of the place behind its header.
    #[inline(never)]
    fn free_uncached(
        &mut self,
        thread: ThreadId,
        chunk: Chunk,
        units: Units,
        os: &mut dyn SystemMemory,
    ) -> Result<(), HeapFreeError> {
        if self.cache(thread).is_none() {
            self.ensure_cache(thread, os);
            self.call(MAIN, thread, os).give(chunk, units);
        } else if units <= FAST_UNITS {
            self.arenas.main.push_fast(units, chunk);
        } else {
            self.call(MAIN, thread, os).give_merged(chunk);
        }
        Ok(())
    }

    /// Frees a block of any arena, or a mapped one.
    #[inline(never)]
    fn free_far(&mut self, thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        let Some(owned) = self.live_chunk(at) else {
            return if self.mapped.free(at, os) { Ok(()) } else { Err(HeapFreeError(at)) };
        };
        self.ensure_cache(thread, os);
        let units = self.take_in(owned);
        self.call(owned.arena, thread, os).give(owned.chunk, units);
        Ok(())
    }

    /// Makes what a request was served with a live block.
    fn hand_out(&mut self, arena: u32, taken: Taken) -> Address {
        match taken {
            Taken::Chunk(chunk) => {
                let (at, units) = self.arenas[arena].hand_out(chunk);
                self.count_in(units);
                at
            }
            Taken::Mapped(at) => at,
        }
    }

    /// Makes a cached chunk of any arena a live block.
    #[inline(never)]
    fn hand_out_far(&mut self, owned: Owned) -> Result<Address, OutOfMemory> {
        Ok(self.hand_out(owned.arena, Taken::Chunk(owned.chunk)))
    }

    /// Makes a live block a chunk in use that the program does not hold; returns its length.
    fn take_in(&mut self, owned: Owned) -> Units {
        let header = self.arenas[owned.arena].memory.at(owned.chunk.0);
        header.clear_live();
        let units = header.units();
        self.count_out(units);
        units
    }

    /// Counts one more live block. A count of blocks or of their units is far from 2^64.
    #[inline(always)]
    const fn count_in(&mut self, units: Units) {
        self.live_blocks = self.live_blocks.wrapping_add(1);
        self.live_units = self.live_units.wrapping_add(units as u64);
    }

    /// Counts a live block less: it was counted before.
    #[inline(always)]
    const fn count_out(&mut self, units: Units) {
        self.live_blocks = self.live_blocks.wrapping_sub(1);
        self.live_units = self.live_units.wrapping_sub(units as u64);
    }

    /// The chunk of the live block at an address, if it lies in an arena.
    fn live_chunk(&self, at: Address) -> Option<Owned> {
        let owned = self.chunk_at(at)?;
        self.arenas[owned.arena].memory.read(owned.chunk.0).is_live().then_some(owned)
    }

    /// The chunk that a block at this address would be.
    fn chunk_at(&self, at: Address) -> Option<Owned> {
        let start = at.0.wrapping_sub(HEADER_BYTES);
        if let Some(chunk) = self.arenas.main.regions.place(start) {
            return Some(Owned { arena: MAIN, chunk });
        }
        let arena = self.heaps.arena_at(start)?;
        let chunk = self.arenas[arena].regions.place(start)?;
        Some(Owned { arena, chunk })
    }

    fn units(&self, owned: Owned) -> Units {
        self.arenas[owned.arena].memory.read(owned.chunk.0).units()
    }

    fn resize_chunk(
        &mut self,
        thread: ThreadId,
        old: Owned,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        self.ensure_cache(thread, os);
        let units = units_of_request(bytes)?;
        let old_units = self.units(old);
        let Ok(resized) = self.call(old.arena, thread, os).resize(old.chunk, units) else {
            return self.move_block(thread, old, bytes, os);
        };
        self.live_units -= u64::from(old_units);
        match resized {
            Resized::InPlace => {
                self.live_units += u64::from(self.units(old));
                Ok(self.arenas[old.arena].user_address(old.chunk))
            }
            Resized::Moved(taken) => {
                self.live_blocks -= 1;
                Ok(self.hand_out(old.arena, taken))
            }
        }
    }

    /// Where the block's own arena has no memory, the thread's may.
    fn move_block(
        &mut self,
        thread: ThreadId,
        old: Owned,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let to = self.malloc(thread, bytes, os)?;
        os.touch(to, bytes_of(self.units(old)) - LOST_BYTES);
        let units = self.take_in(old);
        self.call(old.arena, thread, os).give(old.chunk, units);
        Ok(to)
    }

    fn resize_mapped(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let units = units_of_request(bytes)?;
        if let Ok(to) = self.mapped.resize(at, units, os) {
            return Ok(to);
        }
        let usable = self.mapped.usable_at(at).expect("a mapped block that was not moved");
        if usable + LOST_BYTES >= units * chunk::UNIT_BYTES {
            return Ok(at);
        }
        let to = self.malloc(thread, bytes, os)?;
        os.touch(to, usable);
        self.mapped.unmap(at, os);
        Ok(to)
    }
}
