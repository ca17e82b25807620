//! What a thread has: its heap, and blocks of it that other threads freed (`_mi_thread_heap_init`, `_mi_heap_delayed_free_all`,
//! `mi_heap_collect_ex`).

use serde::{Deserialize, Serialize};

use super::Mimalloc;
use super::page::{DELAYED, NONE, RemoteFree};
use super::queues::Queue;
use super::retire::RetiredBins;
use super::sizes::{BIN_FULL, SPAN_BINS};
use crate::heap::{Advice, MapRequest, OutOfMemory, SystemMemory};
use crate::{Address, ThreadId, index};

/// Heap and spans of a thread other than the main one lie in a mapping; that of a thread that ended is kept for the next.
pub(super) const DATA_BYTES: u64 = 8192;
const DATA_KEPT_MAX: usize = 8;

/// The main thread: its heap is a part of the library.
const MAIN: u32 = 0;

/// The heap of one thread; its page queues lie with those of the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Heap {
    /// The thread has made a call that needed it, and has not ended.
    pub is_alive: bool,
    /// Its mapping; none for the main thread.
    pub data: Option<Address>,
    /// Free spans by length, and a bit for each queue that has any.
    pub spans: Vec<Queue>,
    pub span_bits: u64,
    pub retired: RetiredBins,
    /// Page and block of what other threads freed, the newest last.
    pub delayed: Vec<(u32, u16)>,
    /// Segments it has.
    pub segments: u32,
}

impl Heap {
    fn none() -> Heap {
        Heap {
            is_alive: false,
            data: None,
            spans: vec![Queue::EMPTY; SPAN_BINS],
            span_bits: 0,
            retired: RetiredBins::NONE,
            delayed: Vec::new(),
            segments: 0,
        }
    }
}

/// Why the pages of a heap are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collect {
    /// No memory was left.
    Forced,
    /// The thread ends.
    Abandon,
}

impl Mimalloc {
    pub(super) fn heap(&mut self, thread: u32) -> &mut Heap {
        &mut self.heaps[index(thread.into())]
    }

    /// Gives a thread a heap if it has none.
    #[inline]
    pub(super) fn meet(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        match self.heaps.get(index(thread.0.into())) {
            Some(heap) if heap.is_alive => Ok(()),
            _ => self.start_thread(thread.0, os),
        }
    }

    #[cold]
    fn start_thread(&mut self, thread: u32, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let data = if thread == MAIN { None } else { Some(self.thread_data(os)?) };
        self.queues.make_room_for(thread);
        if self.heaps.len() <= index(thread.into()) {
            self.heaps.resize_with(index(thread.into()) + 1, Heap::none);
        }
        *self.heap(thread) = Heap { is_alive: true, data, ..Heap::none() };
        self.threads_alive += 1;
        Ok(())
    }

    fn thread_data(&mut self, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        if let Some(kept) = self.data_kept.iter_mut().find_map(Option::take) {
            return Ok(kept);
        }
        let at = os.mmap(&MapRequest { no_reserve: true, ..MapRequest::anywhere(DATA_BYTES) })?;
        os.touch(at, DATA_BYTES);
        self.counts.held += DATA_BYTES;
        self.counts.thread_data += 1;
        Ok(at)
    }

    fn give_thread_data(&mut self, data: Address, os: &mut dyn SystemMemory) {
        if let Some(free) = self.data_kept.iter_mut().find(|kept| kept.is_none()) {
            *free = Some(data);
        } else if self.data_kept.len() < DATA_KEPT_MAX {
            self.data_kept.push(Some(data));
        } else {
            os.munmap(data, DATA_BYTES);
            self.counts.held -= DATA_BYTES;
            self.counts.thread_data -= 1;
        }
    }

    /// A block of a page that the freeing thread does not own.
    pub(super) fn free_remote(&mut self, id: u32, block: u16, os: &mut dyn SystemMemory) {
        let page = &mut self.pages[index(id.into())];
        let segment = self.segments.of(page.segment);
        segment.has_frees = true;
        if segment.is_huge {
            // Nothing else will use it: all but the link is given back at once.
            let from = (page.start + 8).next_multiple_of(os.page_bytes());
            os.madvise(Address(from), page.start + page.bytes() - from, Advice::DontNeed);
        }
        if page.remote == RemoteFree::Delayed {
            page.remote = RemoteFree::ToPage;
            page.links[usize::from(block)] = DELAYED;
            let owner = page.owner;
            self.heap(owner).delayed.push((id, block));
        } else {
            page.push_remote(block);
        }
    }

    /// Does what other threads left to this one, the newest first (`_mi_heap_delayed_free_all`).
    #[inline]
    pub(super) fn free_delayed(&mut self, thread: u32, os: &mut dyn SystemMemory) {
        if !self.heap(thread).delayed.is_empty() {
            self.free_all_delayed(thread, os);
        }
    }

    #[cold]
    fn free_all_delayed(&mut self, thread: u32, os: &mut dyn SystemMemory) {
        while let Some((id, block)) = self.heap(thread).delayed.pop() {
            let page = self.page(id);
            if page.remote == RemoteFree::ToPage {
                page.remote = RemoteFree::Delayed;
            }
            page.collect();
            self.free_local(id, block, os);
        }
    }

    /// The owner gives a block back.
    #[inline]
    pub(super) fn free_local(&mut self, id: u32, block: u16, os: &mut dyn SystemMemory) {
        let page = &mut self.pages[index(id.into())];
        page.push_local(block);
        if page.used == 0 {
            self.retire(id, os);
        } else if page.is_full {
            self.move_from_full(id);
        }
    }

    /// No memory is left: unused pages are given back, of all heaps without an owner too.
    pub(super) fn collect_forced(&mut self, thread: u32, os: &mut dyn SystemMemory) {
        self.collect_heap(thread, Collect::Forced, os);
    }

    pub(super) fn end_thread(&mut self, thread: u32, os: &mut dyn SystemMemory) {
        if !self.heaps.get(index(thread.into())).is_some_and(|heap| heap.is_alive) {
            return;
        }
        self.collect_heap(thread, Collect::Abandon, os);
        let heap = std::mem::replace(self.heap(thread), Heap::none());
        self.threads_alive -= 1;
        if let Some(data) = heap.data {
            self.give_thread_data(data, os);
        }
    }

    fn collect_heap(&mut self, thread: u32, why: Collect, os: &mut dyn SystemMemory) {
        let is_forced = why == Collect::Forced;
        if is_forced && thread == MAIN {
            self.take_over_all(thread, os);
        }
        if why == Collect::Abandon {
            self.for_each_page(thread, |heap, id| heap.page(id).remote = RemoteFree::Never);
        }
        self.free_delayed(thread, os);
        self.retire_round(thread, true, os);
        self.for_each_page(thread, |heap, id| heap.collect_page(id, why, os));
        self.collect_abandoned(thread, is_forced, os);
        self.segments.purge_all(self.now_ms, is_forced, os);
    }

    /// A page of a heap that is looked through: all its free blocks become one list; an unused page is freed.
    fn collect_page(&mut self, id: u32, why: Collect, os: &mut dyn SystemMemory) {
        let page = self.page(id);
        page.collect_all();
        if page.used == 0 {
            self.free_page(id, os);
        } else if why == Collect::Abandon {
            self.dequeue(id);
            let page = self.page(id);
            page.owner = NONE;
            let number = page.segment;
            self.segments.of(number).abandoned += 1;
            self.settle_segment(number, os);
        }
    }

    /// The pages of a heap, queue by queue, each from its front; what is done with one may take it out.
    fn for_each_page(&mut self, thread: u32, mut act: impl FnMut(&mut Mimalloc, u32)) {
        for bin in 0..=BIN_FULL {
            let mut id = self.queues.first(thread, bin);
            while id != NONE {
                let next = self.page(id).next;
                act(self, id);
                id = next;
            }
        }
    }
}
