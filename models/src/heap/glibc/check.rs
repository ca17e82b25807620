//! The invariants, walked from scratch: by address through each region, and by link through each list.

use std::collections::BTreeMap;

use super::Glibc;
use super::arena::Arena;
use super::bins::{Free, LAST_BIN, UNSORTED, bin_of};
use super::chunk::{Chunk, FAST_UNITS, HEADER_BYTES, LARGE_UNITS, LOST_BYTES, MIN_UNITS, Units, Word, bytes_of};
use super::region::Region;
use super::tcache::Owned;
use crate::{Address, Violation, ensure};

/// Where a chunk that is in use, but not by the program, is kept.
type Kept = BTreeMap<Owned, Units>;

impl Glibc {
    pub(super) fn check_all(&self) -> Result<(), Violation> {
        let mut kept = self.cached_chunks()?;
        let (mut blocks, mut units) = (0, 0);
        for (arena, number) in self.arenas.iter().zip(0..) {
            let mut free = arena.listed_chunks()?;
            kept.extend(arena.fast_chunks()?.into_iter().map(|(chunk, units)| (Owned { arena: number, chunk }, units)));
            for region in arena.regions.iter() {
                let found = arena.check_region(region, number, &mut free, &mut kept)?;
                blocks += found.0;
                units += found.1;
            }
            ensure(free.is_empty(), || format!("arena {number} lists {} free chunks that are not there", free.len()))?;
            let held: u64 = arena.regions.iter().map(|region| region.bytes).sum();
            ensure(held == arena.held_bytes, || {
                format!("arena {number} holds {held} bytes, kept {}", arena.held_bytes)
            })?;
        }
        ensure(kept.is_empty(), || format!("{} chunks of caches and fast bins are not there", kept.len()))?;
        ensure((blocks, units) == (self.live_blocks, self.live_units), || {
            format!("{blocks} live blocks of {units} units, kept {} of {}", self.live_blocks, self.live_units)
        })
    }

    /// Chunks of all thread caches and their own tables.
    fn cached_chunks(&self) -> Result<Kept, Violation> {
        let mut kept = Kept::new();
        for cache in self.threads.iter().filter_map(|thread| thread.cache.as_ref()) {
            let mut units = 0;
            kept.insert(cache.table, self.units(cache.table));
            for (length, owned) in cache.iter() {
                let twice = kept.insert(owned, length);
                ensure(twice.is_none(), || format!("chunk {owned:?} is in caches twice"))?;
                units += u64::from(length);
            }
            ensure(units == cache.units, || format!("a cache has {units} units, kept {}", cache.units))?;
        }
        Ok(kept)
    }

    pub(super) fn visit_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        for arena in self.arenas.iter() {
            let mut show = |chunk, units| visit_block(arena.regions.address(chunk), units, visit);
            let fast = arena.fast.iter().flat_map(|bin| bin.iter().rev().copied());
            let sorted = (UNSORTED..=LAST_BIN).flat_map(|bin| arena.lists.iter(bin).map(|(_, free)| free.chunk));
            for chunk in fast.chain(sorted) {
                show(chunk, arena.units(chunk));
            }
            if !arena.top.is_none() {
                show(arena.top, arena.top_units());
            }
        }
        for (units, Owned { arena, chunk }) in
            self.threads.iter().filter_map(|t| t.cache.as_ref()).flat_map(|c| c.iter())
        {
            visit_block(self.arenas[arena].regions.address(chunk), units, visit);
        }
    }
}

/// Shows the block that a free chunk would be.
fn visit_block(chunk: Address, units: Units, visit: &mut dyn FnMut(Address, u64)) {
    visit(Address(chunk.0 + HEADER_BYTES), bytes_of(units) - LOST_BYTES);
}

impl Arena {
    fn units(&self, chunk: Chunk) -> Units {
        self.memory.read(chunk.0).units()
    }

    /// All chunks of the unsorted list and the bins, each list checked.
    fn listed_chunks(&self) -> Result<BTreeMap<Chunk, Units>, Violation> {
        let mut free = BTreeMap::new();
        for bin in UNSORTED..=LAST_BIN {
            let mut shortest = Units::MAX;
            for (link, Free { chunk, units }) in self.lists.iter(bin) {
                ensure(self.lists.links_back(link), || format!("{chunk:?} in bin {bin} is not linked both ways"))?;
                ensure(self.units(chunk) == units, || format!("{chunk:?} is in bin {bin} with {units} units"))?;
                let ends = [1, units - 1].map(|unit| self.memory.read(chunk.0 + unit));
                ensure(ends == [Word(link.0); 2], || format!("{chunk:?} is {link:?}, but links to {ends:?}"))?;
                ensure(bin == UNSORTED || bin_of(units) == bin, || {
                    format!("{chunk:?} of {units} units is in bin {bin}")
                })?;
                ensure(bin < LARGE_UNITS || units <= shortest, || {
                    format!("{chunk:?} is longer than the one before it in bin {bin}")
                })?;
                let twice = free.insert(chunk, units);
                ensure(twice.is_none(), || format!("{chunk:?} is listed twice"))?;
                shortest = units;
            }
        }
        Ok(free)
    }

    fn fast_chunks(&self) -> Result<BTreeMap<Chunk, Units>, Violation> {
        let mut fast = BTreeMap::new();
        for (units, bin) in (MIN_UNITS..=FAST_UNITS).zip(&self.fast) {
            for &chunk in bin {
                ensure(self.units(chunk) == units, || format!("{chunk:?} is in the fast bin of {units} units"))?;
                let twice = fast.insert(chunk, units);
                ensure(twice.is_none(), || format!("{chunk:?} is in fast bins twice"))?;
            }
        }
        let units: u64 = fast.values().map(|&units| u64::from(units)).sum();
        ensure(units == self.fast_units, || format!("fast bins hold {units} units, kept {}", self.fast_units))?;
        Ok(fast)
    }

    /// Walks the chunks of a region; returns its live blocks and their units.
    fn check_region(
        &self,
        region: &Region,
        number: u32,
        free: &mut BTreeMap<Chunk, Units>,
        kept: &mut Kept,
    ) -> Result<(u64, u64), Violation> {
        let end = region.place(region.end());
        let (mut blocks, mut units) = (0, 0);
        let mut chunk = region.place(region.start + region.table_bytes);
        let mut is_before_in_use = true;
        while chunk < end && chunk != self.top && !self.is_fence(chunk, end) {
            let header = self.memory.read(chunk.0);
            let length = header.units();
            ensure(length >= MIN_UNITS, || format!("{chunk:?} has {length} units"))?;
            ensure(header.before_in_use() == is_before_in_use, || {
                format!("{chunk:?} has a wrong mark of its neighbour")
            })?;
            let is_kept = kept.remove(&Owned { arena: number, chunk }).is_some();
            let is_free = free.remove(&chunk).is_some();
            let states = u32::from(header.is_live()) + u32::from(is_kept) + u32::from(is_free);
            ensure(states == 1, || format!("{chunk:?} of {length} units is in {states} states: live, cached, free"))?;
            if is_free {
                ensure(is_before_in_use, || format!("{chunk:?} and the one below it are free and not merged"))?;
            }
            if header.is_live() {
                blocks += 1;
                units += u64::from(length);
            }
            is_before_in_use = !is_free;
            chunk = chunk.above(length);
        }
        if chunk == self.top {
            let reaches = chunk.above(self.top_units());
            ensure(reaches == end, || format!("top ends at {reaches:?}, its region at {end:?}"))?;
            ensure(is_before_in_use, || "top and the chunk below it are free and not merged".to_owned())?;
        } else {
            ensure(self.is_fence(chunk, end), || format!("the chunks of a region end at {chunk:?}, not at {end:?}"))?;
        }
        Ok((blocks, units))
    }

    /// Whether a region that is not the last ends here, with headers too short for a chunk or with what they took along.
    pub(super) fn is_fence(&self, chunk: Chunk, end: Chunk) -> bool {
        let is_last_region = self.regions.last().is_some_and(|last| last.first < end && end == last.place(last.end()));
        !is_last_region && end.0 - chunk.0 <= MIN_UNITS + 1 && !self.memory.read(chunk.0).is_live()
    }
}
