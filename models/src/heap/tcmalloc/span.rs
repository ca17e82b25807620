//! Spans: runs of pages that are free, one large block, or the objects of one class.

use serde::{Deserialize, Serialize};

use crate::index;

/// A span, by its place among the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct SpanId(u32);

impl SpanId {
    /// No span.
    pub const NONE: SpanId = SpanId(u32::MAX);
}

/// What a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// A record that stands for no span.
    Spare,
    /// A large block or objects of a class.
    InUse,
    /// Free, backed by frames.
    Normal,
    /// Free, given back to the kernel.
    Returned,
}

/// A run of pages.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Span {
    /// Its first page.
    pub start: u64,
    pub pages: u64,
    /// In the list that it is in; of a spare record the one that is used after it.
    next: SpanId,
    previous: SpanId,
    /// Where the states of its objects start.
    pub slots: u32,
    /// The first free object of the span, or [`super::objects::END`].
    pub first_free: u16,
    /// Objects that are not in the span's list.
    pub used: u16,
    /// The class of its objects; 0 without.
    pub class: u8,
    pub state: State,
}

/// A list of spans, linked both ways.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct SpanList {
    pub first: SpanId,
    pub last: SpanId,
}

impl SpanList {
    pub const EMPTY: SpanList = SpanList { first: SpanId::NONE, last: SpanId::NONE };

    pub fn is_empty(self) -> bool {
        self.first == SpanId::NONE
    }
}

/// The records of all spans. A record that is not needed any more is the next to be used (`PageHeapAllocator`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spans {
    records: Vec<Span>,
    spare: SpanId,
}

impl Default for Spans {
    fn default() -> Spans {
        Spans { records: Vec::new(), spare: SpanId::NONE }
    }
}

impl Spans {
    /// Whether a new span needs a record that never was one.
    pub fn needs_record(&self) -> bool {
        self.spare == SpanId::NONE
    }

    /// A span in use, in no list.
    pub fn add(&mut self, start: u64, pages: u64) -> SpanId {
        let span = Span {
            start,
            pages,
            next: SpanId::NONE,
            previous: SpanId::NONE,
            slots: 0,
            first_free: super::objects::END,
            used: 0,
            class: 0,
            state: State::InUse,
        };
        let id = self.spare;
        if id == SpanId::NONE {
            self.records.push(span);
            let last = u32::try_from(self.records.len() - 1).ok().filter(|&last| last != u32::MAX);
            return SpanId(last.expect("a heap has fewer than 2^32 - 1 spans"));
        }
        self.spare = self.get(id).next;
        *self.get_mut(id) = span;
        id
    }

    /// Forgets a span that is in no list.
    pub fn remove(&mut self, id: SpanId) {
        let spare = std::mem::replace(&mut self.spare, id);
        let span = self.get_mut(id);
        (span.state, span.next) = (State::Spare, spare);
    }

    #[inline]
    pub fn get(&self, id: SpanId) -> &Span {
        &self.records[index(id.0.into())]
    }

    #[inline]
    pub fn get_mut(&mut self, id: SpanId) -> &mut Span {
        &mut self.records[index(id.0.into())]
    }

    pub fn push_front(&mut self, list: &mut SpanList, id: SpanId) {
        let second = list.first;
        let span = self.get_mut(id);
        (span.previous, span.next) = (SpanId::NONE, second);
        if second == SpanId::NONE {
            list.last = id;
        } else {
            self.get_mut(second).previous = id;
        }
        list.first = id;
    }

    pub fn unlink(&mut self, list: &mut SpanList, id: SpanId) {
        let &Span { previous, next, .. } = self.get(id);
        if previous == SpanId::NONE {
            list.first = next;
        } else {
            self.get_mut(previous).next = next;
        }
        if next == SpanId::NONE {
            list.last = previous;
        } else {
            self.get_mut(next).previous = previous;
        }
    }

    /// The spans of a list, from its front.
    pub fn in_list(&self, list: SpanList) -> impl Iterator<Item = SpanId> {
        let known = |id: SpanId| (id != SpanId::NONE).then_some(id);
        std::iter::successors(known(list.first), move |&id| known(self.get(id).next))
    }

    /// Spans that are any.
    pub fn count(&self) -> u64 {
        self.records.iter().filter(|span| span.state != State::Spare).count() as u64
    }
}
