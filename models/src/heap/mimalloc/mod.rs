//! mimalloc: Microsoft's allocator, pages of one block size with three free lists each, address for address.
//!
//! # Models
//! mimalloc 2.0.9 (64-bit Linux, release build, default options): `malloc`, `calloc`, `realloc`, `memalign`, `free`, threads and
//! their ends. Source: mimalloc 2.0.9, src/alloc.c, page.c, segment.c, segment-cache.c, os.c; functions are named where their rules
//! are. Idea: Leijen, Zorn, de Moura, "Mimalloc: Free List Sharding in Action" (2019).
//!
//! # Rules
//! 1. A segment is 32 MiB, aligned to that, in 512 slices of 64 KiB; slice 0 is its header. One thread has it. A page is a run of slices
//!    with blocks of one size: 1 slice for blocks to 16 KiB, 8 to 128 KiB; a longer block has a page alone, and beyond
//!    16 MiB a segment.
//! 2. Blocks are 8 bytes, multiples of 16 to 64, then of four sizes for each doubling; beyond 128 KiB a request is rounded by about
//!    an eighth, and the whole page can be used. The first block of up to 1 KiB lies 384 bytes into its page.
//! 3. A page has blocks `free` (taken last in, first out), `local_free` (given back by the owner), `thread_free` (given back by others).
//!    To collect is: thread_free goes in front of local_free, which becomes free if that is empty. To extend: the next 4 KiB
//!    of blocks, at least 4, are made.
//! 4. `malloc` to 1 KiB takes from the first page of its queue. If that has no free block, or for more, the thread first does its
//!    delayed frees; then pages are collected and extended from the front of the queue. Those without a block leave for the end of the
//!    queue of full pages. If none is left: a round of retiring, and a fresh page in front.
//! 5. Free spans of slices hang in queues by length, four for each doubling, last in, first out. The first that is long enough gives
//!    its low part. Freed, a page joins the free spans behind and before it.
//! 6. A page that the owner emptied stays if it is alone in its queue, for 9 rounds of retiring (blocks to 16 KiB) or 3; else it goes at
//!    once. A full page with a free block again goes to the end of its queue.
//! 7. No span: a segment without owner is taken over if it has a span or page that serves, up to 8 are looked at; on its fourth visit in
//!    any case. Else a kept segment, else a new one, right behind the last; the first lies at a random multiple of 32 MiB
//!    between 2 and 6 TiB. A mapping of more than 1 GiB goes where the kernel likes.
//! 8. An empty segment is kept, in the lowest of 1024 slots, and used again from there; a huge one is unmapped.
//! 9. Freed slices are given back to the kernel (`MADV_DONTNEED`) 25 ms after the first of a segment was freed, 1 ms later for
//!    each further one, when a page is next taken there. Slices that are used again take the MiB around them out of what waits. Kept segments
//!    are given back after 500 ms, when a later one is put into a slot: it looks at 16 slots from a random one on; the end of a thread
//!    looks at all.
//! 10. A thread that frees a block of another's page leaves it to that heap's delayed frees; until they are done, further blocks of the page
//!     go to its thread_free. A huge block is given back to the kernel at once.
//! 11. When a thread ends, its unused pages are freed, the others abandoned; so are the segments that have only such. Then up to 1024
//!     segments without owner are looked at, each pass turning their order around. Who takes one over puts its pages in front of the queues.
//! 12. `realloc` stays in place while the block is at most half wasted; else it moves.
//! 13. `memalign` takes a small block that is aligned by chance or by its size, else a longer block, handed out from inside. A power of two
//!     of up to 1 KiB is taken to be aligned to itself, which above 128 bytes it is not. More than 16 MiB: a segment alone, the
//!     place being 32 MiB or more behind its header.
//!
//! # Invariants
//! Verified by `check`: pages and free spans tile each segment, free spans do not touch; every block that was made is live, on one list of
//! its page, or a delayed free; queues are linked both ways and hold what belongs there; segments without owner are on one of two stacks; what
//! waits to be given back is committed; the counts are those of the walk.
//!
//! # Cost
//! `malloc` and `free` O(1) but for what rule 4 moves to the full pages, each page once. A block is found by its address in three
//! steps of table look-up. 2 bytes of memory for each block made, and about 100 for each slice of a segment.
//!
//! # Left out
//! Heaps of the program's own (`mi_heap_new`), arenas, huge OS pages, NUMA, statistics; secure and debug builds; a race between threads:
//! one call ends before the next begins. `memalign` with an alignment that is no power of two is refused, as by the real one.

mod abandoned;
mod align;
mod check;
mod decommit;
mod find;
mod mask;
mod page;
mod queues;
mod retire;
mod segments;
mod sizes;
mod spans;
mod system;
#[cfg(test)]
mod tests;
mod threads;

use serde::{Deserialize, Serialize};

use self::page::{LIVE, LIVE_INSIDE, NONE, Page};
use self::queues::PageQueues;
use self::segments::Segments;
use self::sizes::{SEGMENT_BYTES, SLICE_BYTES, SMALL_BINS, SMALL_REQUEST_MAX};
use self::threads::Heap;
use super::block_map::BlockMap;
use super::{HeapAllocator, HeapFreeError, HeapSetting, HeapStats, OutOfMemory, Piece, ReallocError, SystemMemory};
use crate::registry::{BadOptions, Model};
use crate::{Address, Nanos, ThreadId, Violation, index};

const NANOS_PER_MS: u64 = 1_000_000;

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mimalloc {
    options: MimallocOptions,
    queues: PageQueues,
    /// Of every slice; those of a segment lie together.
    pages: Vec<Page>,
    segments: Segments,
    /// By thread.
    heaps: Vec<Heap>,
    threads_alive: u32,
    /// Mappings of threads that ended.
    data_kept: Vec<Option<Address>>,
    /// Blocks that the program has from a place inside: how far in.
    inside: BlockMap,
    counts: Counts,
    now_ms: u64,
    /// Pages and segments that the last call looked at.
    searched: u64,
}

/// What a workload can set: the options `MIMALLOC_*` of the real one, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MimallocOptions {
    /// Freed slices are given back to the kernel at all.
    pub allow_decommit: bool,
    /// From the first freed slice of a segment until they are given back; 0 gives each back at once.
    pub decommit_delay_ms: u64,
    /// What each further freed span adds.
    pub decommit_extend_delay_ms: u64,
    /// How long a kept segment keeps its memory.
    pub segment_decommit_delay_ms: u64,
    /// Segments without owner that are looked at before a new one is made, 1 to 1024.
    pub max_segment_reclaim: u64,
}

impl Default for MimallocOptions {
    fn default() -> MimallocOptions {
        MimallocOptions {
            allow_decommit: true,
            decommit_delay_ms: 25,
            decommit_extend_delay_ms: 1,
            segment_decommit_delay_ms: 500,
            max_segment_reclaim: 8,
        }
    }
}

/// A longer delay would be one no run reaches.
const DELAY_MS_MAX: u64 = 1 << 40;

impl MimallocOptions {
    fn check(&self) -> Result<(), BadOptions> {
        let bad = |option, found: u64, allowed: &str| {
            Err(BadOptions { option, found: found.to_string(), allowed: allowed.to_owned() })
        };
        let delays = [
            ("decommit_delay_ms", self.decommit_delay_ms),
            ("decommit_extend_delay_ms", self.decommit_extend_delay_ms),
            ("segment_decommit_delay_ms", self.segment_decommit_delay_ms),
        ];
        if let Some((option, found)) = delays.into_iter().find(|&(_, delay)| delay > DELAY_MS_MAX) {
            return bad(option, found, "a delay is at most 2^40 ms, 34 years");
        }
        if !(1..=1024).contains(&self.max_segment_reclaim) {
            return bad("max_segment_reclaim", self.max_segment_reclaim, "1 to 1024 segments are looked at");
        }
        Ok(())
    }
}

/// Sums that are kept up to date.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counts {
    /// Live blocks, and bytes the program may use of them.
    blocks: u64,
    usable: u64,
    /// Bytes of live blocks before the place the program has them from.
    skipped: u64,
    /// Bytes of all blocks of pages, made or not.
    carved: u64,
    free_slices: u64,
    cached_segments: u64,
    /// Mappings of threads.
    thread_data: u64,
    held: u64,
}

impl Model<dyn HeapAllocator> for Mimalloc {
    const NAME: &'static str = "mimalloc";
    const SUMMARY: &'static str = "mimalloc 2.0.9, address for address";
    const RULES: &'static str = "\
Segments of 32 MiB in slices of 64 KiB, each of one thread. A page is a run
of slices with blocks of one size, and three lists of free blocks: to take
from, given back by the owner, given back by other threads.
malloc: the first page of its size; the next ones, each full one leaving the
queue; a fresh page from the first free span that is long enough; a segment
whose thread ended; a kept segment; a new one.
free: to the page. An empty page stays for some rounds if it is the only one
of its size. A block of another thread's page is left to that thread.
Free slices go back to the kernel after 25 ms, kept segments after 500 ms.";
    type Options = MimallocOptions;

    fn build(setting: HeapSetting, options: &MimallocOptions) -> Result<Mimalloc, BadOptions> {
        options.check()?;
        Ok(Mimalloc {
            options: *options,
            queues: PageQueues::default(),
            pages: Vec::new(),
            segments: Segments::new(setting.coins),
            heaps: Vec::new(),
            threads_alive: 0,
            data_kept: Vec::new(),
            inside: BlockMap::new(8),
            counts: Counts::default(),
            now_ms: 0,
            searched: 0,
        })
    }
}

impl HeapAllocator for Mimalloc {
    #[inline]
    fn malloc(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        self.take(thread, bytes, os)
    }

    fn calloc(
        &mut self,
        thread: ThreadId,
        count: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let at = self.take(thread, count.checked_mul(bytes).ok_or(OutOfMemory)?, os)?;
        // All of the block is cleared, also what was not asked for.
        let usable = self.usable_size(at).expect("a block that was just taken");
        os.touch(at, usable);
        Ok(at)
    }

    fn aligned_alloc(
        &mut self,
        thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        self.malloc_aligned(thread, align, bytes, os)
    }

    fn alignment_given(&self, align: u64, bytes: u64) -> u64 {
        align::alignment_given(align, bytes)
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        let usable = self.usable_size(at).ok_or(HeapFreeError(at))?;
        if bytes > 0 && (usable / 2..=usable).contains(&bytes) {
            return Ok(Some(at));
        }
        let to = self.take(thread, bytes, os)?;
        os.touch(to, usable.min(bytes).max(1));
        self.free(thread, at, os)?;
        Ok(Some(to))
    }

    #[inline]
    fn free(&mut self, thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        self.searched = 0;
        let Some(Place { page: id, block, inside }) = self.live_block(at) else { return Err(HeapFreeError(at)) };
        if inside > 0 {
            self.inside.remove(at.0);
            self.counts.skipped -= inside;
        }
        let page = self.page_ref(id);
        let (block_bytes, owner) = (page.block_bytes, page.owner);
        self.counts.blocks -= 1;
        self.counts.usable -= block_bytes - inside;
        if owner == thread.0 {
            self.free_local(id, block, os);
        } else {
            self.free_remote(id, block, os);
        }
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        let Place { page, inside, .. } = self.live_block(at)?;
        Some(self.page_ref(page).block_bytes - inside)
    }

    fn keeps_time(&self) -> bool {
        true
    }

    fn tick(&mut self, now: Nanos, _os: &mut dyn SystemMemory) {
        self.now_ms = now.0 / NANOS_PER_MS;
    }

    fn thread_exit(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) {
        self.end_thread(thread.0, os);
    }

    fn stats(&self) -> HeapStats {
        let Counts { blocks, usable, skipped, carved, free_slices, cached_segments, held, .. } = self.counts;
        let cached = cached_segments * SEGMENT_BYTES;
        let in_page = carved - usable - skipped;
        let free = cached + in_page + free_slices * SLICE_BYTES;
        HeapStats { blocks, usable, overhead: held - usable - free, free, cached, in_page, held }
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.visit_free(visit);
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        self.visit_pieces(visit);
    }

    fn last_search(&self) -> u64 {
        self.searched
    }

    fn check(&self) -> Result<(), Violation> {
        self.check_all()
    }
}

/// A live block: its page, its number there, and how far in the program has it from.
#[derive(Clone, Copy, Debug)]
struct Place {
    page: u32,
    block: u16,
    inside: u64,
}

impl Mimalloc {
    #[inline]
    fn page(&mut self, id: u32) -> &mut Page {
        &mut self.pages[index(id.into())]
    }

    #[inline]
    fn page_ref(&self, id: u32) -> &Page {
        &self.pages[index(id.into())]
    }

    /// A block for a request.
    #[inline]
    fn take(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        self.searched = 0;
        if let Some(page) = self.ready_page(thread, bytes) {
            return Ok(self.hand_out(page));
        }
        let page = self.take_page(thread, bytes, 0, os)?;
        Ok(self.hand_out(page))
    }

    /// The page that a small request is served from without further ado: the first of its queue, with a free block.
    #[inline]
    fn ready_page(&self, thread: ThreadId, bytes: u64) -> Option<u32> {
        if bytes > SMALL_REQUEST_MAX {
            return None;
        }
        let first = self.queues.first(thread.0, SMALL_BINS[index(bytes.div_ceil(8))]);
        let page = self.pages.get(index(first.into()))?;
        (usize::from(page.free) < page.links.len()).then_some(first)
    }

    /// A page with a free block, the generic way (`_mi_malloc_generic`). `align` is 0, or more than 16 MiB.
    #[inline(never)]
    fn take_page(
        &mut self,
        thread: ThreadId,
        bytes: u64,
        align: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<u32, OutOfMemory> {
        self.meet(thread, os)?;
        self.free_delayed(thread.0, os);
        if let Ok(page) = self.find_page(thread.0, bytes, align, os) {
            return Ok(page);
        }
        self.collect_forced(thread.0, os);
        self.find_page(thread.0, bytes, align, os)
    }

    /// Takes a block of a page that has a free one.
    #[inline]
    fn hand_out(&mut self, id: u32) -> Address {
        let page = self.page(id);
        let at = page.pop().expect("a page that was found has a free block");
        let block_bytes = page.block_bytes;
        self.counts.blocks += 1;
        self.counts.usable += block_bytes;
        at
    }

    /// The live block that the program has at `at`.
    #[inline]
    fn live_block(&self, at: Address) -> Option<Place> {
        let slice = self.segments.slice_at(at.0)?;
        let head = self.page_ref(slice).head;
        let page = self.pages.get(index(head.into()))?;
        if page.is_free_span() {
            return None;
        }
        let (block, inside) = page.block_at(at.0)?;
        match page.link(block) {
            LIVE if inside == 0 => Some(Place { page: head, block, inside }),
            LIVE_INSIDE => (self.inside.get(at.0) == Some(inside)).then_some(Place { page: head, block, inside }),
            _ => None,
        }
    }
}

const _: () = assert!(NONE > u32::MAX - 1, "no slice has the number of none");
