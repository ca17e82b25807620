//! Extents ordered by age and address: a pairing heap whose links stand in the extents (`ph.h`, `edata_snad_comp`).
//!
//! **Invariant.** An extent is in at most one heap; its key does not change while it is. The first is the smallest by (serial, address).
//!
//! # Cost
//! `first` and `insert` O(1), removing O(log extents) amortised. No memory of its own but the root.

use serde::{Deserialize, Serialize};

use super::extent::{Extent, ExtentId, NONE};
use crate::index;

/// Links of an extent in the heap that it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeapLinks {
    /// The first child.
    child: ExtentId,
    /// The next one of the same parent.
    next: ExtentId,
    /// The one before it, or the parent of a first child.
    before: ExtentId,
}

/// A heap: its root, or [`NONE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AgeHeap {
    root: ExtentId,
}

impl AgeHeap {
    /// The oldest and lowest extent; [`NONE`] in an empty heap.
    #[inline]
    pub(super) fn first(self) -> ExtentId {
        self.root
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.root == NONE
    }

    pub(super) fn insert(&mut self, extents: &mut [Extent], id: ExtentId) {
        extents[index(id.into())].heap = HeapLinks::default();
        self.root = meld(extents, self.root, id);
    }

    pub(super) fn remove(&mut self, extents: &mut [Extent], id: ExtentId) {
        let HeapLinks { child, next, before } = extents[index(id.into())].heap;
        let rest = meld_all(extents, child);
        if id == self.root {
            self.root = rest;
            return;
        }
        let above = &mut extents[index(before.into())].heap;
        if above.child == id {
            above.child = next;
        } else {
            above.next = next;
        }
        if next != NONE {
            extents[index(next.into())].heap.before = before;
        }
        self.root = meld(extents, self.root, rest);
    }

    /// Every member, in no order.
    pub(super) fn members(self, extents: &[Extent]) -> Vec<ExtentId> {
        let mut found = Vec::new();
        let mut due = vec![self.root];
        while let Some(id) = due.pop() {
            if id != NONE {
                found.push(id);
                let links = extents[index(id.into())].heap;
                due.extend([links.child, links.next]);
            }
        }
        found
    }
}

/// Joins two heaps that have no siblings.
fn meld(extents: &mut [Extent], a: ExtentId, b: ExtentId) -> ExtentId {
    if a == NONE || b == NONE {
        return a | b;
    }
    let (above, below) = if extents[index(a.into())].age() < extents[index(b.into())].age() { (a, b) } else { (b, a) };
    let child = extents[index(above.into())].heap.child;
    let links = &mut extents[index(below.into())].heap;
    (links.next, links.before) = (child, above);
    if child != NONE {
        extents[index(child.into())].heap.before = below;
    }
    extents[index(above.into())].heap.child = below;
    above
}

/// Joins an extent and those that come after it: in pairs, then from the last pair to the first.
fn meld_all(extents: &mut [Extent], first: ExtentId) -> ExtentId {
    let mut pairs = NONE;
    let mut due = first;
    while due != NONE {
        let a = due;
        let b = detach(extents, a);
        due = if b == NONE { NONE } else { detach(extents, b) };
        let pair = meld(extents, a, b);
        extents[index(pair.into())].heap.next = pairs;
        pairs = pair;
    }
    let mut joined = NONE;
    while pairs != NONE {
        let pair = pairs;
        pairs = detach(extents, pair);
        joined = meld(extents, joined, pair);
    }
    joined
}

/// Cuts an extent off from the ones after it and returns the first of these.
fn detach(extents: &mut [Extent], id: ExtentId) -> ExtentId {
    let links = &mut extents[index(id.into())].heap;
    links.before = NONE;
    std::mem::take(&mut links.next)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_is_the_oldest_and_of_these_the_lowest(steps in prop::collection::vec((1_u32..60, 0_u64..9), 1..400)) {
            let mut extents: Vec<Extent> = (0..60).map(|nth| Extent::of(nth << 12, 4096, 0)).collect();
            let (mut heap, mut oracle) = (AgeHeap::default(), BTreeSet::new());
            for (id, serial) in steps {
                let key = |extents: &[Extent]| (extents[index(id.into())].age(), id);
                if oracle.remove(&key(&extents)) {
                    heap.remove(&mut extents, id);
                } else {
                    extents[index(id.into())].serial = serial;
                    heap.insert(&mut extents, id);
                    oracle.insert(key(&extents));
                }
                prop_assert_eq!(heap.first(), oracle.first().map_or(NONE, |&(_, id)| id));
                let mut members = heap.members(&extents);
                members.sort_unstable();
                let mut expected: Vec<_> = oracle.iter().map(|&(_, id)| id).collect();
                expected.sort_unstable();
                prop_assert_eq!(members, expected);
            }
        }
    }
}
