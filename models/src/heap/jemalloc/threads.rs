//! Threads: their start, the arena each takes, the collector of their caches, their end (`jemalloc.c`, `tsd.c`, `tcache.c`).

use serde::{Deserialize, Serialize};

use super::arena::Arena;
use super::classes::{CACHED_CLASSES, PAD_BYTES, PAGE_BYTES, SMALL_CLASSES};
use super::decay::{Decay, Ticker};
use super::extent::State;
use super::prng::Prng;
use super::thread_cache::Cache;
use super::{ARENAS_MAX, Jemalloc};
use crate::heap::{OutOfMemory, SystemMemory};
use crate::{Address, ThreadId, index};

/// The collector looks at a class each time that a thread has allocated, or freed, so many bytes more.
const COLLECT_EVERY_BYTES: u64 = 64 << 10;
/// The large class that holds the stacks of a cache.
const STACKS_BYTES: u64 = 28_672;
const ARENAS_PER_CPU: u32 = 4;
/// From the start of an arena's first block to the state of its decay: a guess, its place in the real one's arena.
const DECAY_OFFSET_BYTES: u64 = 0xe0b8;

/// What the allocator knows of a thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Thread {
    pub prng: Prng,
    pub ticker: Ticker,
    /// The arena it allocates from.
    pub arena: u32,
    /// None before its first call that is not a free, and after its end.
    pub cache: Option<Cache>,
    /// Usable bytes it has allocated and freed so far, and the marks for the collector.
    pub allocated: u64,
    pub freed: u64,
    pub allocated_mark: u64,
    pub freed_mark: u64,
}

impl Thread {
    pub(super) fn new(seed: u64) -> Thread {
        Thread {
            prng: Prng(seed),
            ticker: Ticker::default(),
            arena: 0,
            cache: None,
            allocated: 0,
            freed: 0,
            allocated_mark: 0,
            freed_mark: 0,
        }
    }
}

impl Jemalloc {
    /// Sees to it that the thread has a cache and an arena.
    #[inline]
    pub(super) fn meet(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        match self.threads.get(index(thread.0.into())) {
            Some(Thread { cache: Some(_), .. }) => Ok(()),
            _ => self.start_thread(thread, os),
        }
    }

    /// A place for what is known of a thread.
    #[cold]
    pub(super) fn make_slot(&mut self, thread: ThreadId) {
        while self.threads.len() as u64 <= u64::from(thread.0) {
            self.threads.push(Thread::new(self.options.seed(self.threads.len() as u64)));
        }
    }

    /// A thread's first call that is not a free: its stacks come from arena 0, then it takes an arena.
    #[cold]
    fn start_thread(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        if os.page_bytes() != PAGE_BYTES {
            return Err(OutOfMemory);
        }
        if self.arenas.is_empty() {
            self.open_arena(0, self.options.decay_ms(), os)?;
        }
        self.make_slot(thread);
        let slot = index(thread.0.into());
        self.threads[slot].prng = Prng(self.options.seed(thread.0.into()));
        let (first, store) = self.arena_and_store(0);
        let stacks = first.take(store, STACKS_BYTES + PAD_BYTES, PAGE_BYTES, os)?.id;
        let extent = store.extent_mut(stacks);
        extent.state = State::Stacks;
        os.touch(Address(extent.base), STACKS_BYTES);
        self.counts.stacks_bytes += STACKS_BYTES + PAD_BYTES;
        self.count_ticks(slot, 0, 1, os);
        let Ok(arena) = self.choose_arena(os) else {
            self.free_stacks(stacks, os);
            return Err(OutOfMemory);
        };
        self.arena_and_store(arena).0.threads += 1;
        let thread = &mut self.threads[slot];
        thread.arena = arena;
        thread.cache = Some(Cache::new(stacks));
        thread.allocated_mark = thread.allocated + COLLECT_EVERY_BYTES;
        thread.freed_mark = thread.freed + COLLECT_EVERY_BYTES;
        Ok(())
    }

    /// The first arena with the fewest threads if that has none, else a new one, else (all are made) that one.
    fn choose_arena(&mut self, os: &mut dyn SystemMemory) -> Result<u32, OutOfMemory> {
        let limit = index(u64::from(self.arenas_max(os)));
        let made = self.arenas.iter().take(limit);
        let (mut best, mut fewest, mut unmade) = (0, u32::MAX, None);
        for (number, arena) in (0..).zip(made) {
            match arena {
                Some(arena) if arena.threads < fewest => (best, fewest) = (number, arena.threads),
                None if unmade.is_none() => unmade = Some(number),
                _ => {}
            }
        }
        if unmade.is_none() && self.arenas.len() < limit {
            unmade = u32::try_from(self.arenas.len()).ok();
        }
        match unmade {
            Some(number) if fewest > 0 => self.open_arena(number, self.options.decay_ms(), os),
            _ => Ok(best),
        }
    }

    /// How many arenas threads can take.
    fn arenas_max(&self, os: &dyn SystemMemory) -> u32 {
        self.options.arenas.unwrap_or(match os.cpus() {
            0 | 1 => 1,
            cpus => cpus.saturating_mul(ARENAS_PER_CPU).min(ARENAS_MAX),
        })
    }

    /// The arena of huge blocks, made at first use. Its number is the one after those of the threads.
    pub(super) fn huge_arena(&mut self, os: &mut dyn SystemMemory) -> Result<u32, OutOfMemory> {
        let number = self.arenas_max(os);
        match self.arenas.get(index(number.into())) {
            Some(Some(_)) => Ok(number),
            _ => {
                let decay = self.options.decay_ms().map(|_| 0);
                self.open_arena(number, decay, os)
            }
        }
    }

    fn open_arena(
        &mut self,
        number: u32,
        decay_ms: Option<u64>,
        os: &mut dyn SystemMemory,
    ) -> Result<u32, OutOfMemory> {
        self.store.metadata.open(number, os)?;
        let arenas = index(u64::from(number)) + 1;
        if self.arenas.len() < arenas {
            self.arenas.resize_with(arenas, || None);
        }
        let seed = self.store.metadata.place(number) + DECAY_OFFSET_BYTES;
        let decay = Decay::new(decay_ms, self.now.0, seed);
        self.arenas[arenas - 1] = Some(Box::new(Arena::new(number, decay)));
        Ok(number)
    }

    /// Counts ticks of a call; now and then the clock is looked at, for one arena (`arena_decay_ticks`).
    #[inline]
    pub(super) fn count_ticks(&mut self, slot: usize, arena: u32, ticks: u32, os: &mut dyn SystemMemory) {
        let thread = &mut self.threads[slot];
        if thread.ticker.count(ticks, &mut thread.prng) {
            self.look_at_clock(arena, os);
        }
    }

    /// Purges what has been dirty too long.
    #[cold]
    fn look_at_clock(&mut self, arena: u32, os: &mut dyn SystemMemory) {
        let now = self.now.0;
        let (arena, store) = self.arena_and_store(arena);
        if let Some(limit) = arena.decay.look(now, arena.dirty.pages) {
            arena.purge_down_to(store, limit, os);
        }
    }

    /// Counts what a call allocated; at each mark the collector looks at one class.
    #[inline]
    pub(super) fn count_allocated(&mut self, slot: usize, bytes: u64, os: &mut dyn SystemMemory) {
        let thread = &mut self.threads[slot];
        thread.allocated += bytes;
        if thread.allocated >= thread.allocated_mark {
            thread.allocated_mark = thread.allocated + COLLECT_EVERY_BYTES;
            self.collect(slot, os);
        }
    }

    /// Counts what a call freed.
    #[inline]
    pub(super) fn count_freed(&mut self, slot: usize, bytes: u64, os: &mut dyn SystemMemory) {
        let thread = &mut self.threads[slot];
        thread.freed += bytes;
        if thread.freed >= thread.freed_mark {
            thread.freed_mark = thread.freed + COLLECT_EVERY_BYTES;
            self.collect(slot, os);
        }
    }

    /// Looks at one class of a thread's cache: what was not needed goes, and refills follow (`tcache_event`).
    #[cold]
    #[inline(never)]
    fn collect(&mut self, slot: usize, os: &mut dyn SystemMemory) {
        let Some(cache) = &mut self.threads[slot].cache else { return };
        let class = usize::from(cache.next_class);
        cache.next_class = if class + 1 == CACHED_CLASSES { 0 } else { cache.next_class + 1 };
        let is_small = class < SMALL_CLASSES;
        let stack = cache.stacks[class];
        let (low, count) = (stack.low, stack.count);
        if low > 0 {
            let kept_of_low = low / 4;
            self.flush(slot, class, count - (low - kept_of_low), os);
        }
        let Some(cache) = &mut self.threads[slot].cache else { return };
        let stack = &mut cache.stacks[class];
        if low > 0 && is_small {
            if stack.capacity >> (stack.shift + 1) >= 1 {
                stack.shift += 1;
            }
        } else if is_small && stack.is_refilled {
            stack.shift = (stack.shift - 1).max(1);
            stack.is_refilled = false;
        }
        stack.low = stack.count;
    }

    /// A thread ends: its cache is flushed, and an arena that no thread has any more keeps nothing dirty (`tcache_destroy`).
    pub(super) fn end_thread(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) {
        let slot = index(thread.0.into());
        let Some(known) = self.threads.get_mut(slot) else { return };
        let arena = known.arena;
        if let Some(stacks) = known.cache.as_ref().map(|cache| cache.extent) {
            self.arena_and_store(arena).0.threads -= 1;
            for class in 0..CACHED_CLASSES {
                self.flush(slot, class, 0, os);
            }
            self.free_stacks(stacks, os);
            self.count_ticks(slot, 0, 1, os);
            self.look_at_clock(0, os);
            let (own, store) = self.arena_and_store(arena);
            if own.threads == 0 {
                own.purge_down_to(store, 0, os);
            } else {
                self.look_at_clock(arena, os);
            }
        }
        self.threads[slot] = Thread::new(self.options.seed(thread.0.into()));
    }

    fn free_stacks(&mut self, stacks: u32, os: &mut dyn SystemMemory) {
        self.counts.stacks_bytes -= STACKS_BYTES + PAD_BYTES;
        let (first, store) = self.arena_and_store(0);
        store.extent_mut(stacks).state = State::Taken;
        first.give(store, stacks, os);
    }
}
