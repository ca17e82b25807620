//! jemalloc: arenas with slabs for small blocks and extents for large ones, a cache for each thread, address for address.
//!
//! # Models
//! jemalloc 5.3.0 (64-bit Linux, 4 KiB pages, default settings): `malloc`, `calloc`, `realloc`, `memalign` and its kin, `free`,
//! threads, decay. Source: jemalloc 5.3.0, src/*.c and include/jemalloc/internal; files and functions are named where their rules are.
//! Ancestors: Evans, A Scalable Concurrent malloc(3) Implementation for FreeBSD (2006); slabs after Bonwick (1994).
//!
//! # Rules
//! 1. Size classes: 8, the multiples of 16 to 128, then four for each doubling. Small ones, to 14 KiB, are regions of slabs, the
//!    fewest pages that the class divides; each larger one has an extent of its own, a page longer than the class.
//! 2. Each thread has a stack of free blocks for each class to 32 KiB. `malloc` pops; an empty stack of a small class is refilled
//!    with half of what it holds (or less, by rule 4). `free` pushes; of a full stack the older half goes back first.
//! 3. A small class takes regions from the lowest free address of its current slab; when that is full, the oldest slab that
//!    is not becomes the current one, else a new slab. Empty slabs are freed at once. What is the oldest here and in rule 5 is what the
//!    real heap takes for it (`age_heap` says when it errs).
//! 4. Each 64 KiB that a thread has allocated, and each 64 KiB that it has freed, one of its stacks is looked at, in turn: three
//!    quarters of what was not used since the last look go back, and refills become half as long; where it ran empty, twice.
//! 5. Extents are dirty when freed, and retained when purged. A request takes, of the dirty extents that are long enough,
//!    the one of the oldest mapping and there the lowest; else of the retained ones; else the arena maps more, in steps that grow
//!    from 2 MiB along the page classes. What is left over stays where it was. Nothing is unmapped.
//! 6. Freed extents from 16 KiB on merge with dirty neighbours, shorter ones only before they are purged. From 8 MiB on they are purged at once.
//! 7. A large block lies on a random cache line of its extent's first page. Blocks from 8 MiB on come from an arena of
//!    their own, where nothing stays dirty.
//! 8. `realloc` keeps a small block in its class; a large one grows into free pages behind it and shrinks in place. Else it
//!    moves. `memalign` is `malloc` where a small class has the alignment, else an extent on an aligned place.
//! 9. A thread takes the first arena with the fewest threads if that has none, else a new one while there are less than four
//!    for each processor. Its cache lies in arena 0. When it ends, all stacks are flushed.
//! 10. Dirty pages fade over ten seconds, by a smooth curve, when a thread happens to look at the clock.
//! 11. Tables of the allocator lie in mappings of their own, which are never given back.
//!
//! # Invariants
//! Verified by `check`: extents tile each mapping, and the page map names each where it should; free ones are in their
//! shelf's heap and list, retained ones never touch within a mapping; a bin's slabs are those of its class that are
//! not full; cached blocks are not live and in one cache; all counts are those of a walk.
//!
//! # Cost
//! `malloc` and `free` through the cache O(1): three loads find a block's slab. Refills and flushes O(regions), extents O(log extents).
//! 152 bytes for each slab, 80 for each extent, 4 for each page.
//!
//! # Left out
//! `mallctl` and most options; profiling; the break as a last resort; background threads; huge pages; muzzy pages (their time is 0
//! by default); checks against corruption; locks: one call ends before the next begins. With other pages than 4 KiB it
//! refuses all requests, as the real one does. When there is no memory for a table the model goes on without it. The random parts of deadlines
//! follow the real rule from another seed.

mod age_heap;
mod arena;
mod bins;
mod check;
mod classes;
mod counts;
mod decay;
mod extent;
mod large;
mod metadata;
mod page_map;
mod prng;
mod shelf;
mod slab;
#[cfg(test)]
mod tests;
mod thread_cache;
mod threads;

use serde::{Deserialize, Serialize};

use self::arena::Arena;
use self::classes::{
    CACHED_BYTES_MAX, LARGE_BYTES_MAX, PAGE_BYTES, SMALL, SMALL_BYTES_MAX, SMALL_CLASSES, class_of, round_up,
    round_up_aligned,
};
use self::counts::Counts;
use self::extent::{ExtentId, State, Store};
use self::large::{LINE_BYTES, Wanted, is_large};
use self::page_map::On;
use self::thread_cache::Item;
use self::threads::Thread;
use super::{HeapAllocator, HeapFreeError, HeapSetting, HeapStats, OutOfMemory, Piece, ReallocError, SystemMemory};
use crate::registry::{BadOptions, Model};
use crate::{Address, Nanos, ThreadId, Violation, index};

/// More arenas for threads than any machine needs; the real one has 12 bits for their numbers.
const ARENAS_MAX: u32 = 4_094;
/// 49 days and more is for ever.
const DECAY_MS: std::ops::RangeInclusive<i64> = -1..=1 << 32;

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Jemalloc {
    options: JemallocOptions,
    store: Store,
    /// By number; the one after those of threads is for huge blocks.
    arenas: Vec<Option<Box<Arena>>>,
    /// By thread.
    threads: Vec<Thread>,
    counts: Counts,
    now: Nanos,
    /// Blocks that are being flushed, and slabs that became empty by it: nothing between calls.
    due: Vec<Item>,
    emptied: Vec<u32>,
}

/// What a workload can set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JemallocOptions {
    /// Arenas that threads share, at least 1; without it four for each processor, and one on a single one (`narenas`).
    pub arenas: Option<u32>,
    /// Milliseconds until a free page has faded; 0: it is purged at once, -1: never (`dirty_decay_ms`).
    pub dirty_decay_ms: i64,
    /// What the main thread's random numbers start from; in the real one the address of its data.
    pub seed: u64,
    /// The same of the second thread.
    pub thread_seed: u64,
    /// So much lower it is for each further one: the distance of their stacks.
    pub thread_seed_step: u64,
}

impl Default for JemallocOptions {
    fn default() -> JemallocOptions {
        JemallocOptions {
            arenas: None,
            dirty_decay_ms: 10_000,
            seed: 0x7fff_f7f9_2738,
            thread_seed: 0x7fff_f6df_d738,
            thread_seed_step: 0x80_1000,
        }
    }
}

impl JemallocOptions {
    fn seed(&self, thread: u64) -> u64 {
        match thread.checked_sub(1) {
            None => self.seed,
            Some(further) => self.thread_seed.wrapping_sub(further.wrapping_mul(self.thread_seed_step)),
        }
    }

    fn check(&self) -> Result<(), BadOptions> {
        let bad = |option, found: String, allowed: &str| Err(BadOptions { option, found, allowed: allowed.to_owned() });
        match self.arenas {
            Some(arenas) if !(1..=ARENAS_MAX).contains(&arenas) => {
                bad("arenas", arenas.to_string(), "threads share 1 to 4094 arenas")
            }
            _ if !DECAY_MS.contains(&self.dirty_decay_ms) => bad(
                "dirty_decay_ms",
                self.dirty_decay_ms.to_string(),
                "pages fade in 0 to 4,294,967,296 ms, or never: -1",
            ),
            _ => Ok(()),
        }
    }

    /// The decay time, if pages fade at all.
    fn decay_ms(&self) -> Option<u64> {
        u64::try_from(self.dirty_decay_ms).ok()
    }
}

impl Model<dyn HeapAllocator> for Jemalloc {
    const NAME: &'static str = "jemalloc";
    const SUMMARY: &'static str = "jemalloc 5.3.0, address for address";
    const RULES: &'static str = "\
malloc: the top of the thread's stack for the size class; an empty one is
refilled from slabs, the lowest free region of the oldest slab first. Above
14 KiB a block has an extent: of the dirty ones that are long enough the
oldest and lowest, else a retained one, else the arena maps more, from
2 MiB on in growing steps.
free: onto the stack; of a full one the older half goes back. Empty slabs
and freed extents stay dirty, and fade over ten seconds. Blocks from 8 MiB
on have an arena of their own where nothing stays dirty.
Threads: an arena each, up to 4 for each processor.";
    type Options = JemallocOptions;

    fn build(_setting: HeapSetting, options: &JemallocOptions) -> Result<Jemalloc, BadOptions> {
        options.check()?;
        Ok(Jemalloc {
            options: options.clone(),
            store: Store::default(),
            arenas: Vec::new(),
            threads: Vec::new(),
            counts: Counts::default(),
            now: Nanos(0),
            due: Vec::new(),
            emptied: Vec::new(),
        })
    }
}

impl HeapAllocator for Jemalloc {
    #[inline]
    fn malloc(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        self.store.searched = 0;
        let slot = index(thread.0.into());
        if bytes <= SMALL_BYTES_MAX
            && let Some(Thread { cache: Some(cache), .. }) = self.threads.get_mut(slot)
        {
            let class = class_of(bytes);
            if let Some(item) = cache.pop(class) {
                let at = self.hand_out_region(class, item);
                self.count_allocated(slot, SMALL[class].bytes, os);
                return Ok(at);
            }
        }
        self.allocate(thread, bytes, false, os)
    }

    fn calloc(
        &mut self,
        thread: ThreadId,
        count: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        self.store.searched = 0;
        // What is refused starts the thread all the same.
        self.meet(thread, os)?;
        let bytes = count.checked_mul(bytes).ok_or(OutOfMemory)?;
        self.allocate(thread, bytes, true, os)
    }

    fn aligned_alloc(
        &mut self,
        thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        self.store.searched = 0;
        self.meet(thread, os)?;
        if !align.is_power_of_two() {
            return Err(OutOfMemory);
        }
        let usable = round_up_aligned(bytes, align).ok_or(OutOfMemory)?;
        let slot = index(thread.0.into());
        let at = if is_large(usable) {
            let wanted = Wanted { usable, align, asked: usable, cleared: false };
            let id = self.new_large(slot, wanted, os)?;
            self.address_of(id)
        } else {
            self.take_cached(slot, class_of(usable), usable, false, os)?
        };
        self.count_allocated(slot, usable, os);
        Ok(at)
    }

    /// `memalign(4096, 0)` is a block of the smallest class, on a multiple of that (`sz_sa2u`).
    fn alignment_given(&self, align: u64, bytes: u64) -> u64 {
        if bytes == 0 && align <= PAGE_BYTES { 8 } else { align }
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        self.store.searched = 0;
        let old = self.live_usable(at).ok_or(HeapFreeError(at))?;
        let met = self.meet(thread, os);
        if bytes == 0 {
            self.free(thread, at, os)?;
            return Ok(None);
        }
        met?;
        if bytes > LARGE_BYTES_MAX {
            return Err(OutOfMemory.into());
        }
        let (slot, usable) = (index(thread.0.into()), round_up(bytes));
        let to = if self.stays(slot, at, old, usable, os) { at } else { self.move_block(slot, at, old, usable, os)? };
        self.count_allocated(slot, usable, os);
        self.count_freed(slot, old, os);
        Ok(Some(to))
    }

    #[inline]
    fn free(&mut self, thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        self.store.searched = 0;
        let usable = self.release(thread, at, os)?;
        self.count_freed(index(thread.0.into()), usable, os);
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        self.live_usable(at)
    }

    fn keeps_time(&self) -> bool {
        true
    }

    fn tick(&mut self, now: Nanos, _os: &mut dyn SystemMemory) {
        self.now = self.now.max(now);
    }

    fn thread_exit(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) {
        self.end_thread(thread, os);
    }

    fn stats(&self) -> HeapStats {
        let counts = Counts { slab_bytes: self.store.slab_bytes, ..self.counts };
        counts.stats(self.store.metadata.bytes, self.store.mapped_bytes)
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.visit_free(visit);
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        self.visit_pieces(visit);
    }

    fn last_search(&self) -> u64 {
        self.store.searched
    }

    fn check(&self) -> Result<(), Violation> {
        self.check_all()
    }
}

impl Jemalloc {
    /// `malloc` or `calloc` of any size.
    #[inline(never)]
    fn allocate(
        &mut self,
        thread: ThreadId,
        bytes: u64,
        cleared: bool,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        self.meet(thread, os)?;
        if bytes > LARGE_BYTES_MAX {
            return Err(OutOfMemory);
        }
        let (slot, usable) = (index(thread.0.into()), round_up(bytes));
        let at = if usable <= CACHED_BYTES_MAX {
            self.take_cached(slot, class_of(usable), usable, cleared, os)?
        } else {
            // What was asked, not the class, says here whether it is a huge one.
            let id = self.new_large(slot, Wanted { usable, align: LINE_BYTES, asked: bytes, cleared }, os)?;
            self.address_of(id)
        };
        self.count_allocated(slot, usable, os);
        Ok(at)
    }

    /// A block of a class that caches keep: from the thread's stack, else from its arena.
    fn take_cached(
        &mut self,
        slot: usize,
        class: usize,
        usable: u64,
        cleared: bool,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let cache = self.threads[slot].cache.as_mut().expect("a thread that allocates has a cache");
        let popped = cache.pop(class);
        let is_small = class < SMALL_CLASSES;
        let at = match popped {
            Some(item) if is_small => self.hand_out_region(class, item),
            Some(item) => self.hand_out_large(item.owner),
            None if is_small => self.refill(slot, class, os)?,
            None => {
                let id = self.new_large(slot, Wanted { usable, align: LINE_BYTES, asked: usable, cleared }, os)?;
                return Ok(self.address_of(id));
            }
        };
        if cleared {
            os.touch(at, usable);
        }
        Ok(at)
    }

    /// Refills an empty stack from the arena's slabs and pops it (`arena_cache_bin_fill_small`).
    fn refill(&mut self, slot: usize, class: usize, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let mut taken = std::mem::take(&mut self.due);
        let thread = &self.threads[slot];
        let (number, stack) = (thread.arena, thread.cache.as_ref().expect("a cache").stacks[class]);
        let (arena, store) = self.arena_and_store(number);
        let count = stack.capacity >> stack.shift;
        let kind = u8::try_from(class).expect("41 classes");
        let answer = arena.take_regions(store, kind, count, os, |owner, region| taken.push(Item { owner, region }));
        self.counts.taken_bytes += taken.len() as u64 * SMALL[class].bytes;
        let cache = self.threads[slot].cache.as_mut().expect("a cache");
        cache.fill(class, &taken);
        cache.stacks[class].is_refilled = true;
        taken.clear();
        self.due = taken;
        self.count_ticks(slot, number, 1, os);
        let cache = self.threads[slot].cache.as_mut().expect("a cache");
        match cache.pop(class) {
            Some(item) => Ok(self.hand_out_region(class, item)),
            None => Err(answer.err().unwrap_or(OutOfMemory)),
        }
    }

    /// Gives all but the newest `keep` blocks of a stack back: those of the first one's arena, then of the next, and so on
    /// (`tcache_bin_flush_impl`).
    fn flush(&mut self, slot: usize, class: usize, keep: u32, os: &mut dyn SystemMemory) {
        let mut due = std::mem::take(&mut self.due);
        let cache = self.threads[slot].cache.as_mut().expect("a cache that is flushed");
        cache.take_oldest(class, keep, &mut due);
        while let Some(&first) = due.first() {
            let (number, before) = (self.arena_of(class, first), due.len());
            due.retain(|&item| {
                let is_other = self.arena_of(class, item) != number;
                if !is_other {
                    self.give_back(class, item, os);
                }
                is_other
            });
            let ticks = u32::try_from(before - due.len()).expect("no more than a stack holds");
            self.count_ticks(slot, number, ticks, os);
        }
        self.due = due;
        self.free_emptied(os);
    }

    fn arena_of(&self, class: usize, item: Item) -> u32 {
        let extent = if class < SMALL_CLASSES { self.store.slabs[index(item.owner.into())].extent } else { item.owner };
        self.store.extent(extent).arena
    }

    /// Gives a block that is in no cache any more to its arena; a slab that becomes empty is freed later.
    fn give_back(&mut self, class: usize, item: Item, os: &mut dyn SystemMemory) {
        if class >= SMALL_CLASSES {
            self.counts.cached_extent_bytes -= self.store.extent(item.owner).bytes;
            return self.free_large(item.owner, os);
        }
        self.counts.taken_bytes -= SMALL[class].bytes;
        let (arena, store) = self.arena_and_store(self.arena_of(class, item));
        if arena.give_region(store, item.owner, item.region) {
            self.emptied.push(item.owner);
        }
    }

    fn free_emptied(&mut self, os: &mut dyn SystemMemory) {
        let mut emptied = std::mem::take(&mut self.emptied);
        for number in emptied.drain(..) {
            let extent = self.store.slabs[index(number.into())].extent;
            let (arena, store) = self.arena_and_store(self.store.extent(extent).arena);
            arena.free_slab(store, number, os);
        }
        self.emptied = emptied;
    }

    /// Takes a live block from the program, for the thread's cache or its arena. Its usable bytes.
    #[inline]
    fn release(&mut self, thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<u64, HeapFreeError> {
        let number = match self.store.pages.at(at.0) {
            On::Slab(number) => number,
            On::Extent(id) if self.live_large(id, at.0) => return Ok(self.release_large(thread, id, os)),
            _ => return Err(HeapFreeError(at)),
        };
        let slab = &mut self.store.slabs[index(number.into())];
        let (class, bytes) = (usize::from(slab.class), slab.class().bytes);
        let region = slab.region_at(at.0).filter(|&region| slab.clear_live(region)).ok_or(HeapFreeError(at))?;
        self.counts.blocks -= 1;
        self.counts.small_bytes -= bytes;
        let item = Item { owner: number, region };
        let is_pushed = match self.threads.get_mut(index(thread.0.into())) {
            Some(Thread { cache: Some(cache), .. }) => cache.push(class, item),
            _ => false,
        };
        if !is_pushed {
            self.push_to_full(thread, class, item, os);
        }
        Ok(bytes)
    }

    fn release_large(&mut self, thread: ThreadId, id: ExtentId, os: &mut dyn SystemMemory) -> u64 {
        let usable = self.take_in_large(id, State::Cached);
        self.counts.cached_extent_bytes += self.store.extent(id).bytes;
        let item = Item { owner: id, region: 0 };
        if usable > CACHED_BYTES_MAX {
            self.make_slot(thread);
            self.give_past_cache(index(thread.0.into()), SMALL_CLASSES, item, os);
            return usable;
        }
        let class = class_of(usable);
        let is_pushed = match self.threads.get_mut(index(thread.0.into())) {
            Some(Thread { cache: Some(cache), .. }) => cache.push(class, item),
            _ => false,
        };
        if !is_pushed {
            self.push_to_full(thread, class, item, os);
        }
        usable
    }

    /// Puts a block into a stack that is full; where the thread has no cache yet, the block goes to its arena.
    #[cold]
    #[inline(never)]
    fn push_to_full(&mut self, thread: ThreadId, class: usize, item: Item, os: &mut dyn SystemMemory) {
        self.make_slot(thread);
        let slot = index(thread.0.into());
        let Some(cache) = &self.threads[slot].cache else {
            return self.give_past_cache(slot, class, item, os);
        };
        let keep = cache.stacks[class].capacity / 2;
        self.flush(slot, class, keep, os);
        let cache = self.threads[slot].cache.as_mut().expect("the cache that was flushed");
        assert!(cache.push(class, item), "a stack of class {class} is full after a flush");
    }

    fn give_past_cache(&mut self, slot: usize, class: usize, item: Item, os: &mut dyn SystemMemory) {
        let number = self.arena_of(class, item);
        self.give_back(class, item, os);
        self.free_emptied(os);
        if self.threads[slot].cache.is_some() {
            return self.count_ticks(slot, number, 1, os);
        }
        self.threads[slot].ticker.count_only(1);
    }

    /// Whether a block can stay where it is with `usable` bytes; if so, it does.
    fn stays(&mut self, slot: usize, at: Address, old: u64, usable: u64, os: &mut dyn SystemMemory) -> bool {
        match self.store.pages.at(at.0) {
            On::Extent(id) if is_large(usable) => self.resize_in_place(slot, id, usable, os),
            On::Slab(number) if usable == old => {
                let extent = self.store.slabs[index(number.into())].extent;
                self.count_ticks(slot, self.store.extent(extent).arena, 1, os);
                true
            }
            _ => false,
        }
    }

    /// Moves a block; from one large class to another past the cache (`large_ralloc`).
    fn move_block(
        &mut self,
        slot: usize,
        at: Address,
        old: u64,
        usable: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let to = if usable > CACHED_BYTES_MAX || is_large(old) && is_large(usable) {
            let id = self.new_large(slot, Wanted { usable, align: LINE_BYTES, asked: usable, cleared: false }, os)?;
            self.address_of(id)
        } else {
            self.take_cached(slot, class_of(usable), usable, false, os)?
        };
        os.touch(to, old.min(usable));
        let thread = ThreadId(u32::try_from(slot).expect("a thread's number"));
        self.release(thread, at, os).expect("the block that was moved is live");
        Ok(to)
    }

    #[inline]
    fn hand_out_region(&mut self, class: usize, item: Item) -> Address {
        let slab = &mut self.store.slabs[index(item.owner.into())];
        slab.set_live(item.region);
        self.counts.blocks += 1;
        self.counts.small_bytes += SMALL[class].bytes;
        Address(slab.base + u64::from(item.region) * SMALL[class].bytes)
    }

    fn hand_out_large(&mut self, id: ExtentId) -> Address {
        let extent = self.store.extent_mut(id);
        extent.state = State::Live;
        self.counts.cached_extent_bytes -= extent.bytes;
        self.counts.blocks += 1;
        self.counts.large_blocks += 1;
        self.counts.large_bytes += extent.usable();
        self.address_of(id)
    }

    fn address_of(&self, id: ExtentId) -> Address {
        let extent = self.store.extent(id);
        Address(extent.base + u64::from(extent.offset))
    }

    fn live_usable(&self, at: Address) -> Option<u64> {
        match self.store.pages.at(at.0) {
            On::Slab(number) => {
                let slab = &self.store.slabs[index(number.into())];
                slab.region_at(at.0).filter(|&region| slab.is_live(region)).map(|_| slab.class().bytes)
            }
            On::Extent(id) if self.live_large(id, at.0) => Some(self.store.extent(id).usable()),
            _ => None,
        }
    }

    fn arena_and_store(&mut self, number: u32) -> (&mut Arena, &mut Store) {
        let arena = self.arenas[index(number.into())].as_mut().expect("an arena that is used was made");
        (arena, &mut self.store)
    }
}
