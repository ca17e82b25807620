//! A 4-ary heap of entries: for events that come after the front was sorted.

use framesim_models::{Violation, ensure};
use serde::{Deserialize, Serialize};

use super::Entry;

const CHILDREN: usize = 4;

/// The earliest entry is the first; each entry is before its four children.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Heap {
    entries: Vec<Entry>,
}

impl Heap {
    #[inline]
    pub(super) fn first(&self) -> Option<Entry> {
        self.entries.first().copied()
    }

    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.rise(self.entries.len() - 1);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let last = self.entries.pop()?;
        let Some(first) = self.entries.first().copied() else {
            return Some(last);
        };
        let hole = self.sink_hole();
        self.entries[hole] = last;
        self.rise(hole);
        Some(first)
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        self.entries.iter().copied()
    }

    #[inline]
    fn rise(&mut self, mut at: usize) {
        let entry = self.entries[at];
        while at > 0 {
            let parent = (at - 1) / CHILDREN;
            if self.entries[parent].key < entry.key {
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

    pub(super) fn check(&self) -> Result<(), Violation> {
        for (at, entry) in self.entries.iter().enumerate().skip(1) {
            let parent = &self.entries[(at - 1) / CHILDREN];
            ensure(parent.key < entry.key, || format!("{parent:?} is above {entry:?}"))?;
        }
        Ok(())
    }
}

/// By arithmetic instead of branches: which child is earliest cannot be predicted.
#[inline]
fn earliest_of_four(children: &[Entry]) -> usize {
    let left = usize::from(children[1].key < children[0].key);
    let right = 2 + usize::from(children[3].key < children[2].key);
    if children[right].key < children[left].key { right } else { left }
}

#[inline]
fn earliest(children: &[Entry]) -> usize {
    (1..children.len()).fold(0, |best, child| if children[child].key < children[best].key { child } else { best })
}
