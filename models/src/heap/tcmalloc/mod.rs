//! tcmalloc: the allocator of gperftools, with a cache for each thread, page for page.
//!
//! # Models
//! gperftools 2.10, `libtcmalloc_minimal` (64-bit Linux, pages of 8 KiB, default settings, no sampling): `malloc`, `calloc`,
//! `realloc`, `memalign` and its kin, `free`, threads. Source: gperftools 2.10, src/: tcmalloc.cc, thread_cache.cc,
//! central_freelist.cc, page_heap.cc, common.cc, system-alloc.cc; functions are named where their rules are.
//!
//! # Rules
//! 1. A request of up to 256 KiB gets an object of the smallest of some 90 size classes that holds it; a longer one whole
//!    pages. A class's objects come from spans of as many pages as waste at most an eighth and hold a quarter of a batch.
//! 2. A thread pops from its own list of the class. From an empty one it asks the central list for a batch, for fewer while
//!    the list is new; each time its list may become longer.
//! 3. A free block goes on top of the list of the thread that frees it. A list that is too long gives a batch back.
//! 4. A cache with more bytes than its budget scavenges: each list gives back half of what it never needed since the last
//!    time. Then its budget grows by 64 KiB, from what nobody has (32 MiB at first), else from another thread with more than
//!    512 KiB. A new thread gets 64 KiB in the same way, or 512 KiB when there is none.
//! 5. The central list keeps whole batches as they come, in a transfer cache of 16 to 64 batches and 1 MiB; room for more is
//!    taken from other classes in turn. Else an object goes to the free list of its span, and a span without used objects to
//!    the page heap.
//! 6. Objects come from the first span that has free ones; one that gets its first goes to the front. Only where none has
//!    any a new span is made.
//! 7. The page heap gives the low pages of the shortest free span that is enough: up to 128 pages the one that was freed
//!    last, of spans with frames before those without; of longer ones the lowest. The rest stays where it is.
//! 8. A span that is freed merges with free neighbours of the same state: with frames, or given back.
//! 9. From the kernel: the break rises by 1 MiB or by what is asked; a mapping where it cannot. Before it crosses a multiple
//!    of 128 MiB all free memory is given back if that is a quarter of the heap, and what merged then is tried.
//! 10. Release: for each page given back (`MADV_DONTNEED`), 1000 pages are freed before the next look; a round takes the
//!     oldest span of one length after the other. Where all goes back, the last round comes to where it began.
//! 11. `realloc` leaves a block in place unless it must grow, or shrink to less than half; growth by less than a quarter
//!     makes it a quarter. `memalign` up to a page rounds the request up; beyond, it takes pages enough and frees those
//!     before and behind. Both use the bits of `align - 1`, whether it is a power of two or not.
//! 12. A thread that ends gives its objects to the central lists, and its budget to nobody.
//! 13. The allocator's own tables come from pieces of 8 MiB of the same source.
//!
//! # Invariants
//! Verified by `check`: spans tile the pages from the kernel; no two neighbours are free in the same state; each free span is
//! in the list of its length and state; each object is live, cached in one place, or in its span's list; a central list has
//! the spans with free objects; transfer caches hold whole batches and at most their room; bytes of caches are those of their
//! objects; budgets add up to the total.
//!
//! # Cost
//! A call through the cache O(1), with three look-ups: page, span, object. The page heap O(1) up to 128 pages and O(log spans)
//! beyond. 2 bytes of memory for each object of a span in use and 16 for each free one in a cache; 4 for each page.
//!
//! # Left out
//! Checks against corruption; sampling, hooks and limits; aggressive decommit; huge pages; `MallocExtension`; locks: one call
//! ends before the next begins. Simplified: where memory for its own tables is refused the real one ends the process, this one
//! refuses the call.

mod central;
mod check;
mod classes;
mod objects;
mod page_heap;
mod page_map;
mod pieces;
mod span;
mod system;
mod tables;
#[cfg(test)]
mod tests;
mod threads;

use serde::{Deserialize, Serialize};

use self::central::Central;
use self::classes::{CLASSES, PAGE_BYTES, PAGE_SHIFT, SMALL_MAX};
use self::objects::{CACHED, LIVE, Object};
use self::span::{Span, SpanId, State};
use self::threads::Threads;
use super::{
    HeapAllocator, HeapFreeError, HeapSetting, HeapStats, HeapTotals, OutOfMemory, Piece, ReallocError, SystemMemory,
};
use crate::registry::{BadOptions, Model};
use crate::{Address, ThreadId, Violation};

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tcmalloc {
    options: TcmallocOptions,
    has_started: bool,
    central: Central,
    threads: Threads,
    live_blocks: u64,
    live_bytes: u64,
}

/// What a workload can set: the `TCMALLOC_*` variables of the real one, with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcmallocOptions {
    /// Bytes that all threads together may have in their caches, 512 KiB to 1 GiB.
    pub max_total_thread_cache_bytes: u64,
    /// How fast free memory goes back to the kernel, in thousandths: 1000 is the default of 1.0, and 0 never gives any back.
    pub release_rate_thousandths: u64,
    /// Memory comes from mappings, all but the first: the real one reads this after it has started.
    pub skip_sbrk: bool,
}

impl Default for TcmallocOptions {
    fn default() -> TcmallocOptions {
        TcmallocOptions { max_total_thread_cache_bytes: 32 << 20, release_rate_thousandths: 1000, skip_sbrk: false }
    }
}

const THREAD_CACHE_TOTALS: std::ops::RangeInclusive<u64> = threads::BUDGET_MIN_BYTES.cast_unsigned()..=1 << 30;
const RELEASE_RATE_MAX: u64 = 1_000_000;

impl TcmallocOptions {
    fn check(&self) -> Result<(), BadOptions> {
        let bad = |option, found: u64, allowed: &str| {
            Err(BadOptions { option, found: found.to_string(), allowed: allowed.to_owned() })
        };
        if !THREAD_CACHE_TOTALS.contains(&self.max_total_thread_cache_bytes) {
            let found = self.max_total_thread_cache_bytes;
            return bad("max_total_thread_cache_bytes", found, "all caches together have 512 KiB to 1 GiB");
        }
        if self.release_rate_thousandths > RELEASE_RATE_MAX {
            return bad("release_rate_thousandths", self.release_rate_thousandths, "a rate is at most 1000000");
        }
        Ok(())
    }
}

impl Model<dyn HeapAllocator> for Tcmalloc {
    const NAME: &'static str = "tcmalloc";
    const SUMMARY: &'static str = "gperftools 2.10 tcmalloc (minimal), to the address";
    const RULES: &'static str = "\
Up to 256 KiB: the smallest of some 90 size classes, from the thread's list
of it (last in, first out); an empty list fetches a batch from the central
list: a batch of the transfer cache, else free objects of spans.
Longer requests: whole pages of 8 KiB from the page heap, which takes the
low part of the shortest free span that is enough, or 1 MiB from the kernel.
free: on top of the list of the thread that frees; a list that is too long,
or a cache beyond its budget, gives batches back. Empty spans merge, and go
back to the kernel slowly (one page for each 1000 freed).
Threads: a cache each, with budgets of 32 MiB in all, lent and taken.";
    type Options = TcmallocOptions;

    fn build(_setting: HeapSetting, options: &TcmallocOptions) -> Result<Tcmalloc, BadOptions> {
        options.check()?;
        Ok(Tcmalloc {
            options: options.clone(),
            has_started: false,
            central: Central::new(options),
            threads: Threads::new(options.max_total_thread_cache_bytes.cast_signed()),
            live_blocks: 0,
            live_bytes: 0,
        })
    }
}

impl HeapAllocator for Tcmalloc {
    #[inline]
    fn malloc(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        if bytes <= SMALL_MAX
            && let Some(cache) = self.threads.cache(thread)
        {
            let class = CLASSES.of(bytes);
            if let Some(object) = cache.pop(class) {
                return Ok(self.hand_out(class, object));
            }
        }
        self.malloc_uncached(thread, bytes, os)
    }

    fn calloc(
        &mut self,
        thread: ThreadId,
        count: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let bytes = count.checked_mul(bytes).ok_or(OutOfMemory)?;
        let at = self.malloc(thread, bytes, os)?;
        // All that the block has is cleared, not only what was asked for.
        os.touch(at, self.usable_size(at).unwrap_or(bytes));
        Ok(at)
    }

    fn aligned_alloc(
        &mut self,
        thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        match align {
            0 => self.malloc(thread, bytes, os),
            1..=PAGE_BYTES => self.malloc(thread, rounded_up(bytes, align)?, os),
            _ => self.take_aligned_pages(align, bytes, os),
        }
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        if bytes == 0 {
            self.free(thread, at, os)?;
            return Ok(None);
        }
        let old = self.usable_size(at).ok_or(HeapFreeError(at))?;
        if old / 2 <= bytes && bytes <= old {
            return Ok(Some(at));
        }
        let with_growth = old.saturating_add(old / 4);
        let grown = if bytes > old && bytes < with_growth { self.malloc(thread, with_growth, os).ok() } else { None };
        let new = grown.map_or_else(|| self.malloc(thread, bytes, os), Ok)?;
        os.touch(new, old.min(bytes));
        self.free(thread, at, os)?;
        Ok(Some(new))
    }

    #[inline]
    fn free(&mut self, thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        match self.block_at(at.0).ok_or(HeapFreeError(at))? {
            Block::Object { class, object } => {
                self.central.slots.set(object.slot, CACHED);
                self.live_blocks -= 1;
                self.live_bytes -= CLASSES.get(class).bytes;
                self.threads.give(thread, class, object, &mut self.central, os);
            }
            Block::Pages { span, pages } => {
                self.live_blocks -= 1;
                self.live_bytes -= pages << PAGE_SHIFT;
                self.central.pages.free(span, os);
            }
        }
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        self.block_at(at.0).map(|block| match block {
            Block::Object { class, .. } => CLASSES.get(class).bytes,
            Block::Pages { pages, .. } => pages << PAGE_SHIFT,
        })
    }

    fn thread_exit(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) {
        self.threads.end(thread, &mut self.central, os);
    }

    fn stats(&self) -> HeapStats {
        let pages = &self.central.pages;
        let held = pages.tables.system.held_bytes();
        let in_threads: i64 = self.threads.live().map(|cache| cache.bytes).sum();
        let cached = in_threads.cast_unsigned() + self.central.transfer_bytes;
        let free_pages = (pages.normal.pages + pages.returned.pages) << PAGE_SHIFT;
        let free = free_pages + self.central.free_bytes + cached;
        let usable = self.live_bytes;
        let in_page = self.central.free_bytes;
        HeapStats { blocks: self.live_blocks, usable, overhead: held - usable - free, free, cached, in_page, held }
    }

    #[inline]
    fn totals(&self) -> HeapTotals {
        HeapTotals { usable: self.live_bytes, held: self.central.pages.tables.system.held_bytes() }
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.visit_free(visit);
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        self.visit_pieces(visit);
    }

    fn check(&self) -> Result<(), Violation> {
        self.check_all()
    }
}

/// A live block.
enum Block {
    Object { class: u8, object: Object },
    Pages { span: SpanId, pages: u64 },
}

impl Tcmalloc {
    #[inline]
    fn hand_out(&mut self, class: u8, object: Object) -> Address {
        self.central.slots.set(object.slot, LIVE);
        self.live_blocks += 1;
        self.live_bytes += CLASSES.get(class).bytes;
        Address(object.at)
    }

    /// The first call of a process makes the tables, the first of a thread its cache.
    #[inline(never)]
    fn malloc_uncached(
        &mut self,
        thread: ThreadId,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        self.start(os)?;
        self.threads.meet(thread, &mut self.central, os)?;
        if bytes > SMALL_MAX {
            let span = self.central.pages.allocate(bytes.div_ceil(PAGE_BYTES), os)?;
            return Ok(self.hand_out_pages(span));
        }
        let class = CLASSES.of(bytes);
        let object = self.threads.take(thread, class, &mut self.central, os)?;
        Ok(self.hand_out(class, object))
    }

    fn start(&mut self, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        if !self.has_started {
            self.central.pages.tables.start(os)?;
            self.has_started = true;
        }
        Ok(())
    }

    fn hand_out_pages(&mut self, span: SpanId) -> Address {
        let &Span { start, pages, .. } = self.central.pages.spans.get(span);
        self.live_blocks += 1;
        self.live_bytes += pages << PAGE_SHIFT;
        Address(start << PAGE_SHIFT)
    }

    /// Pages enough for any place of the block; what lies before and behind it is freed (`memalign_pages`).
    fn take_aligned_pages(
        &mut self,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        self.start(os)?;
        let bytes = bytes.max(1);
        let all = bytes.checked_add(align).ok_or(OutOfMemory)?.div_ceil(PAGE_BYTES);
        let pages = &mut self.central.pages;
        let mut span = pages.allocate(all, os)?;
        let start = pages.spans.get(span).start;
        let needed = bytes.div_ceil(PAGE_BYTES);
        let skipped = first_without(start, (align - 1) >> PAGE_SHIFT).map_or(all, |first| first - start);
        if skipped + needed > all {
            return self.refuse(span, os);
        }
        if skipped > 0 {
            let Ok(upper) = pages.split(span, skipped, os) else { return self.refuse(span, os) };
            pages.free(span, os);
            span = upper;
        }
        if pages.spans.get(span).pages > needed {
            let Ok(rest) = pages.split(span, needed, os) else { return self.refuse(span, os) };
            pages.free(rest, os);
        }
        Ok(self.hand_out_pages(span))
    }

    fn refuse(&mut self, span: SpanId, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        self.central.pages.free(span, os);
        Err(OutOfMemory)
    }

    #[inline]
    fn block_at(&self, at: u64) -> Option<Block> {
        let id = self.central.pages.map.get(at >> PAGE_SHIFT)?;
        let &Span { start, pages, slots, class, state, .. } = self.central.pages.spans.get(id);
        let offset = at.wrapping_sub(start << PAGE_SHIFT);
        if class == 0 {
            return (state == State::InUse && offset == 0).then_some(Block::Pages { span: id, pages });
        }
        let facts = CLASSES.get(class);
        if offset >= u64::from(facts.objects) * facts.bytes {
            return None;
        }
        let object = facts.object_at(offset);
        let slot = slots + object;
        let is_live = u64::from(object) * facts.bytes == offset && self.central.slots.get(slot) == LIVE;
        is_live.then_some(Block::Object { class, object: Object { at, slot } })
    }
}

/// What a request becomes for its alignment (`align_size_up`): a multiple of it where it is a power of two.
fn rounded_up(bytes: u64, align: u64) -> Result<u64, OutOfMemory> {
    let mask = align - 1;
    match bytes.checked_add(mask).ok_or(OutOfMemory)? & !mask {
        0 if bytes == 0 => Ok(align),
        0 => Ok(bytes),
        rounded => Ok(rounded),
    }
}

/// The first page from `page` on that has no bit of `mask`: the next multiple where the mask is one less than a power of two.
fn first_without(page: u64, mask: u64) -> Option<u64> {
    let Some(highest) = (page & mask).checked_ilog2() else { return Some(page) };
    // The number above differs first in a bit that may be set and is not, above all that must not be.
    let may_rise = !(page | mask) & u64::MAX.checked_shl(highest + 1)?;
    let rises = may_rise.trailing_zeros();
    let low = 1_u64.checked_shl(rises)?;
    Some((page & !(low - 1)) | low)
}
