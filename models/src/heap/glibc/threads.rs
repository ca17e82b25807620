//! Which arena a thread allocates from, and what its end gives back (`arena_get2`, `arena_thread_freeres`).

use serde::{Deserialize, Serialize};

use super::arena::{Arena, Arenas};
use super::call::{Call, Taken};
use super::chunk::units_of_request;
use super::heaps::ARENA_TABLE_BYTES;
use super::tcache::{Owned, TABLE_BYTES, Tcache};
use super::{Glibc, MAIN};
use crate::heap::{OutOfMemory, SystemMemory};
use crate::{ThreadId, index};

/// The number of arenas is limited by processors only once there are more than these (`arena_test`).
const ARENAS_UNLIMITED: u64 = 8;
/// Arenas for each processor (`NARENAS_FROM_NCORES`).
const ARENAS_PER_CPU: u64 = 8;
/// What a first heap must hold besides the request: both tables, and what their alignment may cost.
const ARENA_NEEDS_BYTES: u64 = ARENA_TABLE_BYTES + 8;

/// What the allocator knows of a thread.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Thread {
    /// The arena it allocates from; none before its first block.
    pub arena: Option<u32>,
    pub cache: Option<Tcache>,
}

/// How arenas are chosen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Choice {
    /// Arenas whose threads have all ended: the last one first.
    unused: Vec<u32>,
    /// Most arenas; counted from the processors when there are many.
    limit: Option<u64>,
    /// The arena that the next thread shares when no more may be made.
    next_shared: u32,
    /// Whether another thread than the main one ever called.
    has_threads: bool,
}

impl Glibc {
    /// Makes a place for what is known of a thread. The process's first call makes the main arena and its thread.
    #[cold]
    pub(super) fn meet(&mut self, thread: ThreadId, os: &dyn SystemMemory) {
        if self.threads.is_empty() {
            self.arenas = Arenas::new(Arena::new(os.page_bytes(), true));
            self.threads.push(Thread { arena: Some(MAIN), cache: None });
            self.choice.limit = self.options.arena_max;
        }
        let threads = index(u64::from(thread.0)) + 1;
        if self.threads.len() < threads {
            self.threads.resize_with(threads, Thread::default);
        }
        self.choice.has_threads |= thread.0 != 0;
    }

    /// Gives a thread its cache, if it has none (`tcache_init`). Where memory is short it goes on without.
    #[cold]
    pub(super) fn start_cache(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) {
        self.meet(thread, os);
        let units = units_of_request(TABLE_BYTES).expect("a short request");
        let taken = self.serve(thread, TABLE_BYTES, os, |call| call.take(units));
        let (arena, chunk) = match taken {
            Ok((arena, Taken::Chunk(chunk))) => (arena, chunk),
            // Only where the arena cannot grow: no table lies in a mapping.
            Ok((_, Taken::Mapped(at))) => return self.mapped.unmap(at, os),
            Err(OutOfMemory) => return,
        };
        self.call(arena, thread, os).write_block(chunk, TABLE_BYTES);
        let table = Owned { arena, chunk };
        let (table_units, depth_max) = (self.units(table), self.options.tcache_count);
        self.slot(thread).cache = Some(Tcache::new(table, table_units, depth_max));
    }

    /// Lets the thread's arena serve a request of about `bytes`, and another one if it cannot.
    pub(super) fn serve(
        &mut self,
        thread: ThreadId,
        bytes: u64,
        os: &mut dyn SystemMemory,
        request: impl Fn(&mut Call<'_>) -> Result<Taken, OutOfMemory>,
    ) -> Result<(u32, Taken), OutOfMemory> {
        let arena = match self.slot(thread).arena {
            Some(arena) => arena,
            None => self.attach(thread, bytes, os)?,
        };
        if let Ok(taken) = request(&mut self.call(arena, thread, os)) {
            return Ok((arena, taken));
        }
        // `arena_get_retry`; a process without threads has one arena only and fails at once.
        if !self.choice.has_threads {
            return Err(OutOfMemory);
        }
        let other = if arena == MAIN { self.attach(thread, bytes, os)? } else { MAIN };
        request(&mut self.call(other, thread, os)).map(|taken| (other, taken))
    }

    /// Attaches a thread to an arena nobody uses, a new one, or the next in turn.
    fn attach(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<u32, OutOfMemory> {
        let arena = match self.choice.unused.pop() {
            Some(unused) => unused,
            None if self.may_make_arena(os) => self.make_arena(bytes, os)?,
            None => self.share_arena(),
        };
        if let Some(old) = self.slot(thread).arena.replace(arena) {
            self.arenas[old].attached -= 1;
        }
        self.arenas[arena].attached += 1;
        Ok(arena)
    }

    fn may_make_arena(&mut self, os: &dyn SystemMemory) -> bool {
        let arenas = self.arenas.count();
        if self.choice.limit.is_none() && arenas > ARENAS_UNLIMITED {
            self.choice.limit = Some(ARENAS_PER_CPU * u64::from(os.cpus().max(1)));
        }
        self.choice.limit.is_none_or(|limit| arenas < limit)
    }

    /// An arena with one heap, behind the main one in the ring (`_int_new_arena`).
    fn make_arena(&mut self, bytes: u64, os: &mut dyn SystemMemory) -> Result<u32, OutOfMemory> {
        let number = u32::try_from(self.arenas.count()).map_err(|_| OutOfMemory)?;
        // A request that is too long for any heap must not keep the arena from being made.
        let heap = self.heaps.map(number, bytes.saturating_add(ARENA_NEEDS_BYTES), &self.options, os);
        let (start, writable) = heap.or_else(|_| self.heaps.map(number, ARENA_NEEDS_BYTES, &self.options, os))?;
        let mut arena = Arena::new(os.page_bytes(), false);
        arena.attached = 0;
        arena.next_in_ring = self.arenas[MAIN].next_in_ring;
        self.arenas.push(arena);
        self.arenas[MAIN].next_in_ring = number;
        self.call_without_cache(number, os).start_heap(start, writable, ARENA_TABLE_BYTES)?;
        Ok(number)
    }

    /// The next arena in the ring: none is ever locked here (`reused_arena`).
    fn share_arena(&mut self) -> u32 {
        let shared = self.choice.next_shared;
        self.choice.next_shared = self.arenas[shared].next_in_ring;
        shared
    }

    /// Gives a thread's cached chunks back to their arenas, then its cache's own chunk, and lets go of its arena.
    pub(super) fn end_thread(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) {
        let Some(slot) = self.threads.get_mut(index(thread.0.into())) else { return };
        let Thread { arena, cache } = std::mem::take(slot);
        if let Some(cache) = cache {
            for (units, Owned { arena, chunk }) in cache.iter() {
                self.call_without_cache(arena, os).give(chunk, units);
            }
            let Owned { arena, chunk } = cache.table;
            let units = self.units(cache.table);
            self.call_without_cache(arena, os).give(chunk, units);
        }
        let Some(arena) = arena else { return };
        let attached = &mut self.arenas[arena].attached;
        *attached -= 1;
        if *attached == 0 {
            self.choice.unused.push(arena);
        }
    }

    fn slot(&mut self, thread: ThreadId) -> &mut Thread {
        &mut self.threads[index(thread.0.into())]
    }

    /// A call of a thread on one arena.
    pub(super) fn call<'a>(&'a mut self, arena: u32, thread: ThreadId, os: &'a mut dyn SystemMemory) -> Call<'a> {
        Call {
            number: arena,
            arena: &mut self.arenas[arena],
            cache: self.threads[index(thread.0.into())].cache.as_mut(),
            mapped: &mut self.mapped,
            heaps: &mut self.heaps,
            options: &self.options,
            searched: &mut self.searched,
            os,
        }
    }

    /// A call on one arena that no cache takes part in.
    pub(super) fn call_without_cache<'a>(&'a mut self, arena: u32, os: &'a mut dyn SystemMemory) -> Call<'a> {
        Call {
            number: arena,
            arena: &mut self.arenas[arena],
            cache: None,
            mapped: &mut self.mapped,
            heaps: &mut self.heaps,
            options: &self.options,
            searched: &mut self.searched,
            os,
        }
    }
}
