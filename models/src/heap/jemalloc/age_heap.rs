//! Extents ordered by age and address: a pairing heap whose links stand in the extents (`ph.h`, `edata_snad_comp`).
//!
//! The real heap's order of steps is followed, because what it answers is not always the smallest: what is put in waits in a list
//! behind the root until the first is asked for; a root without children that is taken out leaves its place to the next
//! that waits, smaller ones or not; and what is put in then and is smaller than that root is above them all. The first is
//! the smallest whenever no root was taken out while others waited.
//!
//! **Invariant.** An extent is in at most one heap; its key, (serial, address), does not change while it is.
//!
//! # Cost
//! `insert` O(1) amortised, `first`, `pop_first` and `remove` O(log extents) amortised. No memory of its own but the root.

use serde::{Deserialize, Serialize};

use super::extent::{Extent, ExtentId, NONE};
use crate::index;

/// Links of an extent in the heap that it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeapLinks {
    /// The first child.
    child: ExtentId,
    /// The next one of the same parent, or that waits.
    next: ExtentId,
    /// The one before it, or the parent of a first child.
    before: ExtentId,
}

/// A heap: its root, or [`NONE`]. Behind the root are those that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AgeHeap {
    root: ExtentId,
    /// How many were put in to wait since all that waited was merged, or the root was replaced; those taken out count too.
    waiting: u32,
}

impl AgeHeap {
    /// The oldest and lowest extent, as far as the order of steps finds it; [`NONE`] in an empty heap.
    #[inline]
    pub(super) fn first(&mut self, extents: &mut [Extent]) -> ExtentId {
        if self.root != NONE {
            self.merge_waiting(extents);
        }
        self.root
    }

    /// Takes out the [first](Self::first).
    pub(super) fn pop_first(&mut self, extents: &mut [Extent]) -> ExtentId {
        let first = self.first(extents);
        if first != NONE {
            self.root = meld_children(extents, first);
        }
        first
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.root == NONE
    }

    pub(super) fn insert(&mut self, extents: &mut [Extent], id: ExtentId) {
        *links(extents, id) = HeapLinks::default();
        let root = self.root;
        if root == NONE {
            self.root = id;
        } else if is_older(extents, id, root) {
            // The root keeps those that wait behind it: they are children of the new one from now on.
            links(extents, id).child = root;
            links(extents, root).before = id;
            *self = AgeHeap { root: id, waiting: 0 };
            return;
        } else {
            let next = links(extents, root).next;
            links(extents, id).next = next;
            set_before(extents, next, id);
            follow(extents, root, id);
            self.waiting += 1;
        }
        if self.waiting > 1 {
            let merges = (self.waiting - 1).trailing_zeros();
            let _ = (0..merges).all(|_| self.merge_two_waiting(extents));
        }
    }

    pub(super) fn remove(&mut self, extents: &mut [Extent], id: ExtentId) {
        if id == self.root {
            let HeapLinks { child, next, .. } = *links(extents, id);
            if child == NONE {
                self.root = next;
                set_before(extents, next, NONE);
                return;
            }
            self.merge_waiting(extents);
            if id == self.root {
                self.root = meld_children(extents, id);
                return;
            }
        }
        let HeapLinks { next, before, .. } = *links(extents, id);
        let is_first_child = links(extents, before).child == id;
        let heir = meld_children(extents, id);
        if heir != NONE {
            links(extents, heir).next = next;
            set_before(extents, next, heir);
        }
        let follower = if heir == NONE { next } else { heir };
        if is_first_child {
            links(extents, before).child = follower;
        } else {
            links(extents, before).next = follower;
        }
        set_before(extents, follower, before);
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

    /// Merges all that waits, then that with the root.
    fn merge_waiting(&mut self, extents: &mut [Extent]) {
        self.waiting = 0;
        let first = std::mem::take(&mut links(extents, self.root).next);
        if first != NONE {
            let merged = meld_all(extents, first);
            self.root = meld(extents, self.root, merged);
        }
    }

    /// Merges the first two that wait. Whether more wait.
    fn merge_two_waiting(self, extents: &mut [Extent]) -> bool {
        let one = links(extents, self.root).next;
        let other = if one == NONE { NONE } else { links(extents, one).next };
        if other == NONE {
            return false;
        }
        let rest = links(extents, other).next;
        links(extents, one).next = NONE;
        links(extents, other).next = NONE;
        let merged = meld(extents, one, other);
        links(extents, merged).next = rest;
        set_before(extents, rest, merged);
        follow(extents, self.root, merged);
        rest != NONE
    }
}

#[inline]
fn links(extents: &mut [Extent], id: ExtentId) -> &mut HeapLinks {
    &mut extents[index(id.into())].heap
}

fn is_older(extents: &[Extent], one: ExtentId, other: ExtentId) -> bool {
    extents[index(one.into())].age() < extents[index(other.into())].age()
}

fn set_before(extents: &mut [Extent], id: ExtentId, before: ExtentId) {
    if id != NONE {
        links(extents, id).before = before;
    }
}

/// Makes one the next of another.
fn follow(extents: &mut [Extent], id: ExtentId, next: ExtentId) {
    links(extents, id).next = next;
    links(extents, next).before = id;
}

/// Joins two heaps that have no siblings: the younger one's root becomes the first child of the older one's.
fn meld(extents: &mut [Extent], one: ExtentId, other: ExtentId) -> ExtentId {
    let (above, below) = if is_older(extents, one, other) { (one, other) } else { (other, one) };
    let child = std::mem::replace(&mut links(extents, above).child, below);
    *links(extents, below) = HeapLinks { next: child, before: above, ..*links(extents, below) };
    set_before(extents, child, below);
    above
}

fn meld_children(extents: &mut [Extent], id: ExtentId) -> ExtentId {
    match links(extents, id).child {
        NONE => NONE,
        child => meld_all(extents, child),
    }
}

/// Joins an extent and those that come after it: each two of them, in their order; then the first two of what this gave, which go
/// to the end, until one is left.
fn meld_all(extents: &mut [Extent], first: ExtentId) -> ExtentId {
    let (mut head, mut tail) = (NONE, NONE);
    let mut due = first;
    while due != NONE {
        let one = due;
        let other = std::mem::take(&mut links(extents, one).next);
        due = if other == NONE { NONE } else { std::mem::take(&mut links(extents, other).next) };
        let pair = if other == NONE { one } else { meld(extents, one, other) };
        match tail {
            NONE => head = pair,
            tail => links(extents, tail).next = pair,
        }
        tail = pair;
    }
    loop {
        let other = std::mem::take(&mut links(extents, head).next);
        if other == NONE {
            links(extents, head).before = NONE;
            return head;
        }
        let rest = std::mem::take(&mut links(extents, other).next);
        let merged = meld(extents, head, other);
        if rest == NONE {
            links(extents, merged).before = NONE;
            return merged;
        }
        links(extents, tail).next = merged;
        tail = merged;
        head = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sixty() -> Vec<Extent> {
        (0..60).map(|nth| Extent::of(nth << 12, 4096, 0)).collect()
    }

    proptest! {
        #[test]
        fn what_is_put_in_is_there_until_it_is_taken_out(steps in prop::collection::vec((1_u32..60, 0_u64..9), 1..400)) {
            let mut extents = sixty();
            let (mut heap, mut inside) = (AgeHeap::default(), BTreeSet::new());
            for (id, serial) in steps {
                if inside.remove(&id) {
                    heap.remove(&mut extents, id);
                } else {
                    extents[index(id.into())].serial = serial;
                    heap.insert(&mut extents, id);
                    inside.insert(id);
                }
                if serial == 0 {
                    let first = heap.first(&mut extents);
                    prop_assert!(inside.contains(&first) || first == NONE && inside.is_empty());
                }
                let members: BTreeSet<_> = heap.members(&extents).into_iter().collect();
                prop_assert_eq!(&members, &inside);
                prop_assert_eq!(heap.is_empty(), inside.is_empty());
            }
        }

        /// No root goes while others wait: the smallest is asked for before each removal.
        #[test]
        fn the_first_is_the_oldest_and_of_these_the_lowest(steps in prop::collection::vec((1_u32..60, 0_u64..9), 1..400)) {
            let mut extents = sixty();
            let (mut heap, mut oracle) = (AgeHeap::default(), BTreeSet::new());
            for (id, serial) in steps {
                let key = |extents: &[Extent]| (extents[index(id.into())].age(), id);
                if oracle.remove(&key(&extents)) {
                    heap.first(&mut extents);
                    heap.remove(&mut extents, id);
                } else {
                    extents[index(id.into())].serial = serial;
                    heap.insert(&mut extents, id);
                    oracle.insert(key(&extents));
                }
                if serial > 4 {
                    let popped = heap.pop_first(&mut extents);
                    prop_assert_eq!(popped, oracle.pop_first().map_or(NONE, |(_, id)| id));
                }
            }
        }
    }

    #[test]
    fn a_root_that_goes_while_others_wait_leaves_its_place_to_the_last_that_came() {
        let mut extents = sixty();
        let mut heap = AgeHeap::default();
        for (id, serial) in [(1, 1), (2, 3), (3, 5)] {
            extents[index(id.into())].serial = serial;
            heap.insert(&mut extents, id);
        }
        heap.remove(&mut extents, 1);
        extents[4].serial = 4;
        heap.insert(&mut extents, 4);
        // 2 is older, but a child of 4 together with 3, the root that it followed.
        let order: Vec<ExtentId> = (0..3).map(|_| heap.pop_first(&mut extents)).collect();
        assert_eq!(order, [4, 2, 3]);
    }
}
