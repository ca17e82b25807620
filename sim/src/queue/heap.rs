//! A 4-ary heap: for events that come after the front was sorted, and for whatever else ends in order of time.

use std::fmt::Debug;

use framesim_models::{Violation, ensure};
use serde::{Deserialize, Serialize};

const CHILDREN: usize = 4;
/// Places that are kept when the heap is empty.
const KEPT: usize = 1 << 16;

/// The earliest entry is the first; each entry is before its four children.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Heap<T> {
    entries: Vec<T>,
}

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Heap { entries: Vec::new() }
    }
}

impl<T: Copy + Ord + Debug> Heap<T> {
    #[inline]
    pub(crate) fn first(&self) -> Option<T> {
        self.entries.first().copied()
    }

    #[inline]
    pub(crate) fn push(&mut self, entry: T) {
        self.entries.push(entry);
        self.rise(self.entries.len() - 1);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.entries.pop()?;
        let Some(first) = self.entries.first().copied() else {
            self.give_back();
            return Some(last);
        };
        let hole = self.sink_hole();
        self.entries[hole] = last;
        self.rise(hole);
        Some(first)
    }

    /// After a burst, as when a million processes arrive at one time, its memory is of more use elsewhere.
    #[inline]
    fn give_back(&mut self) {
        if self.entries.capacity() > KEPT {
            self.entries = Vec::new();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.entries.iter().copied()
    }

    #[inline]
    fn rise(&mut self, mut at: usize) {
        let entry = self.entries[at];
        while at > 0 {
            let parent = (at - 1) / CHILDREN;
            if self.entries[parent] < entry {
                break;
            }
            self.entries[at] = self.entries[parent];
            at = parent;
        }
        self.entries[at] = entry;
    }

    /// Moves earliest children up from the top, down to a leaf: which is then free.
    #[inline]
    fn sink_hole(&mut self) -> usize {
        let mut hole = 0;
        loop {
            let first = hole * CHILDREN + 1;
            let child = match self.entries.get(first..first + CHILDREN) {
                Some(children) => first + earliest_of_four(children),
                None if first < self.entries.len() => first + earliest(&self.entries[first..]),
                None => return hole,
            };
            self.entries[hole] = self.entries[child];
            hole = child;
        }
    }

    pub(crate) fn check(&self) -> Result<(), Violation> {
        for (at, entry) in self.entries.iter().enumerate().skip(1) {
            let parent = &self.entries[(at - 1) / CHILDREN];
            ensure(parent < entry, || format!("{parent:?} is above {entry:?}"))?;
        }
        Ok(())
    }
}

/// By arithmetic instead of branches: which child is earliest cannot be predicted.
#[inline]
fn earliest_of_four<T: Ord>(children: &[T]) -> usize {
    let left = usize::from(children[1] < children[0]);
    let right = 2 + usize::from(children[3] < children[2]);
    if children[right] < children[left] { right } else { left }
}

#[inline]
fn earliest<T: Ord>(children: &[T]) -> usize {
    (1..children.len()).fold(0, |best, child| if children[child] < children[best] { child } else { best })
}
