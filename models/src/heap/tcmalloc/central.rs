//! Central lists (`CentralFreeList`): for each class the spans that have free objects, and in front of them a transfer cache of
//! whole batches.

use serde::{Deserialize, Serialize};

use super::TcmallocOptions;
use super::classes::{CLASSES, Class, PAGE_SHIFT};
use super::objects::{CACHED, END, Object, Slots};
use super::page_heap::PageHeap;
use super::span::{Span, SpanList};
use crate::heap::{OutOfMemory, SystemMemory};
use crate::{Address, index};

/// Batches that a transfer cache has room for, at first and at most (`kMaxNumTransferEntries`).
const SLOTS: u64 = 16;
const SLOTS_MAX: u64 = 64;
/// A transfer cache never has room for more than so many bytes, unless it is one batch.
const TRANSFER_BYTES_MAX: u64 = 1 << 20;

/// The central list of one class.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CentralList {
    /// Spans with free objects.
    pub spans: SpanList,
    /// Batches of the transfer cache, the last one on top. Each lies as in a thread's list: what is popped first is last.
    pub batches: Vec<Object>,
    /// Batches that the cache has room for now.
    pub slots: u32,
    pub slots_max: u32,
}

impl CentralList {
    fn new(class: u8) -> CentralList {
        let &Class { bytes, batch, .. } = CLASSES.get(class);
        let fitting = TRANSFER_BYTES_MAX.checked_div(bytes * u64::from(batch));
        // Class 0 has slots too, which it can only lose.
        let slots_max = fitting.map_or(SLOTS_MAX, |fitting| fitting.clamp(1, SLOTS_MAX));
        let count = |slots: u64| u32::try_from(slots).expect("at most 64");
        CentralList {
            spans: SpanList::EMPTY,
            batches: Vec::new(),
            slots: count(slots_max.min(SLOTS)),
            slots_max: count(slots_max),
        }
    }

    fn used_slots(&self, batch: u32) -> usize {
        if batch == 0 { 0 } else { self.batches.len() / index(batch.into()) }
    }

    fn is_full(&self, batch: u32) -> bool {
        self.used_slots(batch) == index(self.slots.into())
    }
}

/// The central lists of all classes, and what is below them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Central {
    pub pages: PageHeap,
    pub slots: Slots,
    /// By class.
    pub lists: Vec<CentralList>,
    /// The next class that may lose room in its transfer cache.
    victim: u8,
    /// Bytes in transfer caches.
    pub transfer_bytes: u64,
    /// Bytes of free objects in spans of classes.
    pub free_bytes: u64,
    /// Bytes at the ends of spans that are too short for an object.
    pub tail_bytes: u64,
}

impl Central {
    pub fn new(options: &TcmallocOptions) -> Central {
        Central {
            pages: PageHeap::new(options),
            slots: Slots::new(),
            lists: (0..CLASSES.count()).map(CentralList::new).collect(),
            victim: 0,
            transfer_bytes: 0,
            free_bytes: 0,
            tail_bytes: 0,
        }
    }

    /// Puts at most `count` objects on top of `list`, in the order in which they are to be popped (`RemoveRange`). None
    /// where no memory is left.
    pub fn remove(&mut self, class: u8, count: u32, list: &mut Vec<Object>, os: &mut dyn SystemMemory) {
        let &Class { bytes, batch, .. } = CLASSES.get(class);
        let batches = &mut self.lists[usize::from(class)].batches;
        if count == batch && !batches.is_empty() {
            let start = batches.len() - index(batch.into());
            list.extend_from_slice(&batches[start..]);
            batches.truncate(start);
            self.transfer_bytes -= u64::from(batch) * bytes;
            return;
        }
        let mut got = self.take_from_span(class, count, list);
        if got == 0 && self.populate(class, os).is_ok() {
            got = self.take_from_span(class, count, list);
        }
        while 0 < got && got < count {
            match self.take_from_span(class, count - got, list) {
                0 => break,
                more => got += more,
            }
        }
    }

    /// Takes the `count` topmost objects of `list` back (`InsertRange`).
    pub fn insert(&mut self, class: u8, count: u32, list: &mut Vec<Object>, os: &mut dyn SystemMemory) {
        let &Class { bytes, batch, .. } = CLASSES.get(class);
        let start = list.len() - index(count.into());
        if count == batch && self.make_room(class, os) {
            self.lists[usize::from(class)].batches.extend_from_slice(&list[start..]);
            self.transfer_bytes += u64::from(batch) * bytes;
            list.truncate(start);
            return;
        }
        for object in list.drain(start..).rev() {
            self.release(class, object, os);
        }
    }

    /// Whether the transfer cache of a class has room, at another's expense if need be (`MakeCacheSpace`).
    fn make_room(&mut self, class: u8, os: &mut dyn SystemMemory) -> bool {
        let list = &self.lists[usize::from(class)];
        if !list.is_full(CLASSES.get(class).batch) {
            return true;
        }
        if list.slots == list.slots_max {
            return false;
        }
        let took = self.take_slot(class, Force::No, os) || self.take_slot(class, Force::Yes, os);
        if took {
            self.lists[usize::from(class)].slots += 1;
        }
        took
    }

    /// Takes room from the transfer cache of the next class in turn (`EvictRandomSizeClass`, `ShrinkCache`).
    fn take_slot(&mut self, taker: u8, force: Force, os: &mut dyn SystemMemory) -> bool {
        let class = self.next_victim();
        let batch = CLASSES.get(class).batch;
        let list = &mut self.lists[usize::from(class)];
        if class == taker || list.slots == 0 {
            return false;
        }
        if !list.is_full(batch) {
            list.slots -= 1;
            return true;
        }
        if force == Force::No {
            return false;
        }
        list.slots -= 1;
        self.transfer_bytes -= u64::from(batch) * CLASSES.get(class).bytes;
        for _ in 0..batch {
            let object = self.lists[usize::from(class)].batches.pop().expect("a full cache has whole batches");
            self.release(class, object, os);
        }
        true
    }

    /// One counter for all classes. The real one sets it back to the class it has come to, not to the one after it: after the
    /// last class, 0 has its turn twice.
    fn next_victim(&mut self) -> u8 {
        if self.victim < CLASSES.count() {
            self.victim += 1;
            return self.victim - 1;
        }
        self.victim = 0;
        0
    }

    /// Takes at most `count` objects off the first span that has any; what is popped first comes last.
    fn take_from_span(&mut self, class: u8, count: u32, list: &mut Vec<Object>) -> u32 {
        let central = &mut self.lists[usize::from(class)];
        if central.spans.is_empty() {
            return 0;
        }
        let bytes = CLASSES.get(class).bytes;
        let id = central.spans.first;
        let span = self.pages.spans.get_mut(id);
        let start = list.len();
        let mut took = 0;
        while took < count && span.first_free != END {
            let slot = span.slots + u32::from(span.first_free);
            list.push(Object { at: (span.start << PAGE_SHIFT) + u64::from(span.first_free) * bytes, slot });
            span.first_free = self.slots.get(slot);
            self.slots.set(slot, CACHED);
            span.used += 1;
            took += 1;
        }
        list[start..].reverse();
        if span.first_free == END {
            self.pages.spans.unlink(&mut central.spans, id);
        }
        self.free_bytes -= u64::from(took) * bytes;
        took
    }

    /// A new span of the class, in front of the others. A link is written into every object.
    fn populate(&mut self, class: u8, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let &Class { bytes, pages, objects, .. } = CLASSES.get(class);
        let id = self.pages.allocate(pages, os)?;
        let slots = self.slots.take(class);
        self.pages.set_class(id, class, slots);
        self.pages.spans.push_front(&mut self.lists[usize::from(class)].spans, id);
        let start = self.pages.spans.get(id).start << PAGE_SHIFT;
        self.free_bytes += u64::from(objects) * bytes;
        self.tail_bytes += (pages << PAGE_SHIFT) - u64::from(objects) * bytes;
        if bytes <= os.page_bytes() {
            os.touch(Address(start), u64::from(objects - 1) * bytes + LINK_BYTES);
        } else {
            for object in 0..u64::from(objects) {
                os.touch(Address(start + object * bytes), LINK_BYTES);
            }
        }
        Ok(())
    }

    /// Gives one object back to its span, and the span to the page heap when it was the last (`ReleaseToSpans`).
    pub fn release(&mut self, class: u8, object: Object, os: &mut dyn SystemMemory) {
        let &Class { bytes, pages, objects, .. } = CLASSES.get(class);
        let id = self.pages.map.get(object.at >> PAGE_SHIFT).expect("an object lies in a span");
        let spans = &mut self.lists[usize::from(class)].spans;
        if self.pages.spans.get(id).first_free == END {
            self.pages.spans.push_front(spans, id);
        }
        let span: &mut Span = self.pages.spans.get_mut(id);
        span.used -= 1;
        self.free_bytes += bytes;
        if span.used > 0 {
            self.slots.set(object.slot, span.first_free);
            span.first_free = u16::try_from(object.slot - span.slots).expect("a span has at most 1024 objects");
            return;
        }
        self.slots.give_back(class, span.slots);
        self.pages.spans.unlink(spans, id);
        self.free_bytes -= u64::from(objects) * bytes;
        self.tail_bytes -= (pages << PAGE_SHIFT) - u64::from(objects) * bytes;
        self.pages.free(id, os);
    }
}

/// Bytes of the link that is written into a free object.
const LINK_BYTES: u64 = 8;

/// Whether a full transfer cache gives a batch away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Force {
    No,
    Yes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_last_class_0_loses_room_twice() {
        let mut central = Central::new(&TcmallocOptions::default());
        let classes = CLASSES.count();
        let first: Vec<u8> = (0..classes).map(|_| central.next_victim()).collect();
        assert!(first.into_iter().eq(0..classes));
        assert_eq!([(); 4].map(|()| central.next_victim()), [0, 0, 1, 2]);
    }
}
