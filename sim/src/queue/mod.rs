//! The events to come, by time.
//!
//! # Models
//! The pending event set of a discrete-event simulation: a ladder queue (Tang, Goh, Thng 2005, "Ladder queue: an O(1)
//! priority queue structure for large-scale discrete event simulation") with a sorted front and a small heap for late comers.
//!
//! # Rules
//! 1. Events leave in the order of (time, priority, sequence). The sequence counts all events ever scheduled, so two
//!    events at one time and of one priority leave in the order they came.
//! 2. An event is scheduled at or after the time of the event that left last.
//! 3. A cancelled event never leaves. Its place is used again when the queue comes by, or when cancelled ones are the most.
//!
//! # Invariants
//! Verified by `check`: each event is in exactly one place, and that place is the one its time says.
//! Near events (before `near_end`) are in `front` or `late`; those after it are in the innermost rung that reaches that far,
//! and those past all rungs in `far`.
//!
//! # Cost
//! `push`, `pop` and `cancel` O(1) amortised; O(log n) for events of one time. No allocation once the queue has been as
//! full as it gets, but for bursts of more than 65,536 events. Width and number of buckets follow from the events
//! themselves: nothing is tuned by hand.
//!
//! # Left out
//! Events in the past, and a time of `u64::MAX`, which means "never".

pub(crate) mod heap;
mod rung;
#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::num::NonZeroU32;

use framesim_models::{Nanos, Violation, ensure};
use serde::{Deserialize, Serialize};

use self::heap::Heap;
use self::rung::{Bucket, Rung};

/// A bucket with at most this many events is sorted as a whole; a fuller one is split first.
const SORTED_AT_ONCE: u32 = 32;
const NONE: u32 = u32::MAX;
/// Earliest and latest of no times.
const NO_TIMES: (u64, u64) = (u64::MAX, 0);

/// Names one scheduled event, for [`EventQueue::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventId {
    slot: u32,
    /// Of the slot, plus 1: ids are of events that are there, whose generation is even.
    generation_above: NonZeroU32,
}

impl EventId {
    fn generation(self) -> u32 {
        self.generation_above.get() - 1
    }
}

/// An event that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due<T> {
    /// When.
    pub time: Nanos,
    /// Its class: among events of one time the lower goes first.
    pub priority: u8,
    /// How many events had been scheduled before it.
    pub sequence: u64,
    /// What is to happen.
    pub event: T,
}

/// Order of an event among all: time, priority, sequence, from the high bits down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key(u128);

const SEQUENCE_BITS: u32 = 56;
const SEQUENCE_MAX: u64 = (1 << SEQUENCE_BITS) - 1;
/// Of no event: sequences end below it.
const BEFORE_ALL: Key = Key(SEQUENCE_MAX as u128);
const _: () = assert!(SEQUENCE_BITS > 32 && SEQUENCE_BITS + u8::BITS == u64::BITS);

impl Key {
    #[inline]
    fn new(time: Nanos, priority: u8, sequence: u64) -> Key {
        let low = (u64::from(priority) << SEQUENCE_BITS) | sequence;
        Key((u128::from(time.0) << 64) | u128::from(low))
    }

    #[inline]
    fn time(self) -> u64 {
        (self.0 >> 64) as u64
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
    fn low(self) -> u64 {
        self.0 as u64
    }

    #[inline]
    fn priority(self) -> u8 {
        (self.low() >> SEQUENCE_BITS) as u8
    }

    #[inline]
    fn sequence(self) -> u64 {
        self.low() & SEQUENCE_MAX
    }
}

/// A key with the slot that holds the event. Its order is that of the keys, which are unique.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Entry {
    key: Key,
    slot: u32,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.key == other.key
    }
}

impl Eq for Entry {}

impl Ord for Entry {
    #[inline]
    fn cmp(&self, other: &Entry) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl PartialOrd for Entry {
    #[inline]
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One scheduled event at rest.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Slot<T> {
    key: Key,
    event: T,
    /// The next event of the same bucket, or the next empty slot.
    next: u32,
    /// Even while the event is to happen; odd once cancelled. Counts the events that were here, so that an old
    /// [`EventId`] names none of them.
    generation: u32,
}

/// The events to come. See the [module page](self) for the rules.
///
/// ```
/// use framesim::queue::EventQueue;
/// use framesim_models::Nanos;
/// let mut queue = EventQueue::default();
/// queue.push(Nanos(20), 0, "later");
/// let dropped = queue.push(Nanos(10), 0, "never");
/// queue.push(Nanos(10), 0, "soon");
/// assert!(queue.cancel(dropped));
/// assert_eq!(queue.pop().map(|due| due.event), Some("soon"));
/// assert_eq!(queue.pop().map(|due| due.event), Some("later"));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventQueue<T> {
    slots: Vec<Slot<T>>,
    /// First of the empty slots.
    empty: u32,
    /// Events before `near_end` that were there when it was set, latest first.
    front: Vec<Entry>,
    /// Events before `near_end` that came later.
    late: Heap<Entry>,
    near_end: u64,
    /// Buckets of events after `near_end`; each rung splits one bucket of the rung before it. The first `depth` are in use.
    rungs: Vec<Rung>,
    depth: usize,
    /// Events past all rungs, in no order, and the earliest and latest of their times.
    far: Bucket,
    far_times: (u64, u64),
    sequence: u64,
    /// Events to come, without cancelled ones.
    pending: u64,
    /// Cancelled events that still hold a slot.
    cancelled: u64,
    last: Key,
}

impl<T> Default for EventQueue<T> {
    fn default() -> Self {
        EventQueue {
            slots: Vec::new(),
            empty: NONE,
            front: Vec::new(),
            late: Heap::default(),
            near_end: 0,
            rungs: Vec::new(),
            depth: 0,
            far: Bucket::EMPTY,
            far_times: NO_TIMES,
            sequence: 0,
            pending: 0,
            cancelled: 0,
            last: BEFORE_ALL,
        }
    }
}

impl<T: Copy> EventQueue<T> {
    /// Schedules `event` and returns its name.
    ///
    /// # Panics
    /// When `time` is before that of the last event that left, or is `u64::MAX`.
    #[inline]
    pub fn push(&mut self, time: Nanos, priority: u8, event: T) -> EventId {
        assert!(time.0 >= self.last.time(), "no event is scheduled in the past: {} < {}", time.0, self.last.time());
        assert!(time.0 < u64::MAX, "an event at the end of time never happens");
        assert!(self.sequence < SEQUENCE_MAX, "sequence numbers are unique");
        let key = Key::new(time, priority, self.sequence);
        self.sequence += 1;
        self.pending += 1;
        let slot = self.occupy(key, event);
        self.place(key, slot);
        let generation_above = NonZeroU32::MIN.saturating_add(self.slots[slot as usize].generation);
        EventId { slot, generation_above }
    }

    /// The next event, which leaves the queue.
    #[inline]
    pub fn pop(&mut self) -> Option<Due<T>> {
        loop {
            let Some(entry) = self.take_near() else {
                if self.refill() {
                    continue;
                }
                return None;
            };
            let slot = &self.slots[entry.slot as usize];
            if !slot.generation.is_multiple_of(2) {
                self.vacate_cancelled(entry.slot);
                continue;
            }
            let event = slot.event;
            self.vacate(entry.slot);
            self.pending -= 1;
            let key = entry.key;
            assert!(key.time() >= self.last.time() && key != self.last, "events leave in order of time, each once");
            self.last = key;
            return Some(Due { time: Nanos(key.time()), priority: key.priority(), sequence: key.sequence(), event });
        }
    }

    /// When the next event is due, and of which class it is. Cancelled ones before it are put away.
    #[inline]
    pub fn next_due(&mut self) -> Option<(Nanos, u8)> {
        if self.pending == 0 {
            return None;
        }
        loop {
            let Some(entry) = self.peek_near() else {
                if self.refill() {
                    continue;
                }
                return None;
            };
            if self.slots[entry.slot as usize].generation.is_multiple_of(2) {
                return Some((Nanos(entry.key.time()), entry.key.priority()));
            }
            self.take_near();
            self.vacate_cancelled(entry.slot);
        }
    }

    /// Takes an event back. `false` when it has left or was cancelled before.
    pub fn cancel(&mut self, id: EventId) -> bool {
        let Some(slot) = self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation()) else {
            return false;
        };
        slot.generation = slot.generation.wrapping_add(1);
        self.pending -= 1;
        self.cancelled += 1;
        if self.cancelled > self.pending + 64 {
            self.sweep();
        }
        true
    }

    /// Events to come, without cancelled ones.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.pending
    }

    /// Whether nothing is to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }

    /// Events ever scheduled.
    #[must_use]
    pub fn scheduled(&self) -> u64 {
        self.sequence
    }

    /// The event of that name, when it is still to come.
    #[must_use]
    pub fn get(&self, id: EventId) -> Option<&T> {
        self.slots.get(id.slot as usize).filter(|slot| slot.generation == id.generation()).map(|slot| &slot.event)
    }

    #[inline]
    fn occupy(&mut self, key: Key, event: T) -> u32 {
        let slot = self.empty;
        if slot == NONE {
            let slot = u32::try_from(self.slots.len()).ok().filter(|&slot| slot < NONE);
            let slot = slot.expect("fewer than 2^32 events are pending");
            self.slots.push(Slot { key, event, next: NONE, generation: 0 });
            return slot;
        }
        let place = &mut self.slots[slot as usize];
        self.empty = place.next;
        place.key = key;
        place.event = event;
        slot
    }

    #[inline]
    fn vacate(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        // To the next even number: an empty slot has no live name.
        place.generation = place.generation.wrapping_add(2) & !1;
        place.next = self.empty;
        self.empty = slot;
    }

    #[cold]
    fn vacate_cancelled(&mut self, slot: u32) {
        self.vacate(slot);
        self.cancelled -= 1;
    }

    /// Puts an event where its time says.
    #[inline]
    fn place(&mut self, key: Key, slot: u32) {
        let time = key.time();
        if time < self.near_end {
            self.late.push(Entry { key, slot });
            return;
        }
        for rung in self.rungs[..self.depth].iter_mut().rev() {
            if let Some(bucket) = rung.bucket_of(time) {
                rung.add(bucket, slot, &mut self.slots);
                return;
            }
        }
        self.far.add(slot, &mut self.slots);
        self.far_times = (self.far_times.0.min(time), self.far_times.1.max(time));
    }

    #[inline]
    fn peek_near(&self) -> Option<Entry> {
        match (self.front.last(), self.late.first()) {
            (Some(&front), Some(late)) => Some(front.min(late)),
            (front, late) => front.copied().or(late),
        }
    }

    #[inline]
    fn take_near(&mut self) -> Option<Entry> {
        match (self.front.last(), self.late.first()) {
            (Some(_), None) => self.front.pop(),
            (Some(front), Some(late)) if front.key < late.key => self.front.pop(),
            (_, Some(_)) => self.late.pop(),
            (None, None) => None,
        }
    }

    /// Moves the next events to `front`. `false` when none are left.
    fn refill(&mut self) -> bool {
        loop {
            let Some(rung) = self.rungs[..self.depth].last_mut() else {
                if self.far.count == 0 {
                    return false;
                }
                if self.far.count <= SORTED_AT_ONCE {
                    self.sort_far();
                    return true;
                }
                self.open_far();
                continue;
            };
            let Some((start, bucket)) = rung.open_next() else {
                self.near_end = rung.end();
                self.depth -= 1;
                continue;
            };
            let shift = rung.shift();
            if bucket.count <= SORTED_AT_ONCE || shift == 0 {
                self.near_end = start.saturating_add(1 << shift);
                self.sort_into_front(bucket);
                return true;
            }
            self.near_end = start;
            self.open_rung(start, shift, bucket);
        }
    }

    fn take_far(&mut self) -> (Bucket, u64, u64) {
        let far = std::mem::replace(&mut self.far, Bucket::EMPTY);
        let (first, last) = std::mem::replace(&mut self.far_times, NO_TIMES);
        (far, first, last)
    }

    /// Makes the far events the front.
    fn sort_far(&mut self) {
        let (far, _, last) = self.take_far();
        self.near_end = last + 1;
        self.sort_into_front(far);
    }

    /// Makes the far events the first rung.
    fn open_far(&mut self) {
        let (far, first, last) = self.take_far();
        let span_bits = u64::BITS - (last - first).leading_zeros();
        self.near_end = first;
        self.open_rung(first, span_bits, far);
    }

    /// Splits `bucket`, which covers `2^span_bits` ns from `start`, into a rung of its own.
    fn open_rung(&mut self, start: u64, span_bits: u32, bucket: Bucket) {
        if self.rungs.len() == self.depth {
            self.rungs.push(Rung::default());
        }
        let rung = &mut self.rungs[self.depth];
        rung.reset(start, span_bits, bucket.count);
        let mut at = bucket.head;
        while at != NONE {
            let slot = &self.slots[at as usize];
            let next = slot.next;
            let inside = rung.bucket_of(slot.key.time()).expect("a rung covers the bucket it splits");
            rung.add(inside, at, &mut self.slots);
            at = next;
        }
        self.depth += 1;
    }

    fn sort_into_front(&mut self, bucket: Bucket) {
        debug_assert!(self.front.is_empty(), "the front is filled when it is empty");
        let mut at = bucket.head;
        while at != NONE {
            let slot = &self.slots[at as usize];
            self.front.push(Entry { key: slot.key, slot: at });
            at = slot.next;
        }
        sort_latest_first(&mut self.front);
    }

    /// Puts away all cancelled events at once: everything is placed anew.
    #[cold]
    fn sweep(&mut self) {
        let mut kept: Vec<Entry> = Vec::with_capacity(framesim_models::index(self.pending));
        self.for_each_entry(|entry| kept.push(entry));
        self.front.clear();
        self.late.clear();
        self.far = Bucket::EMPTY;
        self.far_times = NO_TIMES;
        self.rungs[..self.depth].iter_mut().for_each(Rung::clear);
        self.depth = 0;
        self.near_end = self.last.time();
        for entry in kept {
            if !self.slots[entry.slot as usize].generation.is_multiple_of(2) {
                self.vacate_cancelled(entry.slot);
            } else {
                self.place(entry.key, entry.slot);
            }
        }
        debug_assert_eq!(self.cancelled, 0, "no cancelled event is left");
    }

    /// All events that hold a slot, cancelled or not, in no particular order.
    fn for_each_entry(&self, mut visit: impl FnMut(Entry)) {
        self.front.iter().copied().for_each(&mut visit);
        self.late.iter().for_each(&mut visit);
        let buckets = self.rungs[..self.depth].iter().flat_map(Rung::buckets);
        for bucket in buckets.chain([&self.far]) {
            let mut at = bucket.head;
            while at != NONE {
                let slot = &self.slots[at as usize];
                visit(Entry { key: slot.key, slot: at });
                at = slot.next;
            }
        }
    }

    /// Full check of the structure's invariants.
    ///
    /// # Errors
    /// The first one that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        let mut seen = vec![false; self.slots.len()];
        let (mut live, mut cancelled, mut twice) = (0, 0, None);
        self.for_each_entry(|entry| {
            let place = entry.slot as usize;
            if std::mem::replace(&mut seen[place], true) {
                twice = Some(entry);
            }
            if self.slots[place].generation.is_multiple_of(2) { live += 1 } else { cancelled += 1 }
        });
        ensure(twice.is_none(), || format!("event {twice:?} is in two places"))?;
        ensure(live == self.pending, || format!("{live} events are placed, {} are pending", self.pending))?;
        ensure(cancelled == self.cancelled, || format!("{cancelled} cancelled events, {} counted", self.cancelled))?;
        let sorted = self.front.windows(2).all(|pair| pair[0].key > pair[1].key);
        ensure(sorted, || "the front is sorted, latest first".to_owned())?;
        self.late.check()?;
        self.check_times()
    }

    fn check_times(&self) -> Result<(), Violation> {
        for entry in self.front.iter().copied().chain(self.late.iter()) {
            ensure(entry.key.time() < self.near_end, || {
                format!("{entry:?} is near, but not before {}", self.near_end)
            })?;
        }
        for (depth, rung) in self.rungs[..self.depth].iter().enumerate() {
            for (number, bucket) in rung.buckets().enumerate() {
                let mut at = bucket.head;
                while at != NONE {
                    let slot = &self.slots[at as usize];
                    let time = slot.key.time();
                    let inside = rung.bucket_of(time) == Some(number) && time >= self.near_end;
                    ensure(inside, || format!("event at {time} ns is in bucket {number} of rung {depth}"))?;
                    at = slot.next;
                }
            }
        }
        Ok(())
    }
}

/// Sorts a few entries; keys are unique, so the order is total.
#[inline]
fn sort_latest_first(entries: &mut [Entry]) {
    entries.sort_unstable_by_key(|entry| Reverse(entry.key));
}
