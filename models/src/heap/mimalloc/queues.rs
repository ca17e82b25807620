//! The queues of a heap: its pages by the size of their blocks, and the free spans of its segments by length.

use serde::{Deserialize, Serialize};

use super::page::{NONE, Page};
use super::sizes::BINS;
use crate::index;

/// Both ends of a list of pages or spans, linked through [`Page::next`] and [`Page::previous`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queue {
    pub first: u32,
    pub last: u32,
}

impl Queue {
    pub const EMPTY: Queue = Queue { first: NONE, last: NONE };

    pub fn push_front(&mut self, pages: &mut [Page], id: u32) {
        let next = std::mem::replace(&mut self.first, id);
        let page = &mut pages[index(id.into())];
        (page.previous, page.next) = (NONE, next);
        match pages.get_mut(index(next.into())) {
            Some(next) => next.previous = id,
            None => self.last = id,
        }
    }

    pub fn push_back(&mut self, pages: &mut [Page], id: u32) {
        let previous = std::mem::replace(&mut self.last, id);
        let page = &mut pages[index(id.into())];
        (page.previous, page.next) = (previous, NONE);
        match pages.get_mut(index(previous.into())) {
            Some(previous) => previous.next = id,
            None => self.first = id,
        }
    }

    pub fn remove(&mut self, pages: &mut [Page], id: u32) {
        let Page { previous, next, .. } = pages[index(id.into())];
        match pages.get_mut(index(previous.into())) {
            Some(page) => page.next = next,
            None => self.first = next,
        }
        match pages.get_mut(index(next.into())) {
            Some(page) => page.previous = previous,
            None => self.last = previous,
        }
    }

    /// What is in it, from the front.
    pub fn iter(self, pages: &[Page]) -> impl Iterator<Item = u32> {
        let known = |id: u32| (id != NONE).then_some(id);
        std::iter::successors(known(self.first), move |&id| known(pages[index(id.into())].next))
    }
}

/// The page queues of all heaps: [`BINS`] of each thread, one thread after the other.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PageQueues(Vec<Queue>);

impl PageQueues {
    pub fn make_room_for(&mut self, thread: u32) {
        let queues = (index(thread.into()) + 1) * BINS;
        if self.0.len() < queues {
            self.0.resize(queues, Queue::EMPTY);
        }
    }

    /// The first page of a queue; none also where the thread has no heap.
    #[inline]
    pub fn first(&self, thread: u32, bin: u8) -> u32 {
        self.0.get(index(thread.into()) * BINS + usize::from(bin)).map_or(NONE, |queue| queue.first)
    }

    pub fn get(&self, thread: u32, bin: u8) -> Queue {
        self.0[index(thread.into()) * BINS + usize::from(bin)]
    }

    pub fn of(&mut self, thread: u32, bin: u8) -> &mut Queue {
        &mut self.0[index(thread.into()) * BINS + usize::from(bin)]
    }
}
