//! Free extents of an arena, dirty or retained: where they are kept and which one serves a request (`eset.c`, `ecache.c`).
//!
//! **Invariant.** Each extent in the shelf's state is in the heap of its size's class and in the list by age of freeing;
//! `pages` is their sum. A bit of `occupied` says whether the class's heap has any.

use serde::{Deserialize, Serialize};

use super::age_heap::AgeHeap;
use super::classes::{PAGE_BYTES, PAGE_CLASSES, page_class, page_class_bytes, quantize_ceil, quantize_floor};
use super::extent::{ExtentId, NONE, State, Store};
use crate::index;

/// A dirty extent is not cut up for a request that it is 64 times as long as (`opt.lg_extent_max_active_fit`).
const FIT_SHIFT_MAX: u32 = 6;

/// See the [module page](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Shelf {
    /// `Dirty` or `Retained`.
    state: State,
    /// By page class.
    heaps: Vec<AgeHeap>,
    /// Of each heap that has any, the age of its first as it was noted last (`heap_min`): first ones are compared by it, so that not
    /// all of them need be found.
    least: Vec<(u64, u64)>,
    occupied: [u64; 4],
    /// Ends of the list by age of freeing.
    pub oldest: ExtentId,
    newest: ExtentId,
    pub pages: u64,
}

impl Shelf {
    pub(super) fn new(state: State) -> Shelf {
        Shelf {
            state,
            heaps: vec![AgeHeap::default(); PAGE_CLASSES],
            least: vec![(0, 0); PAGE_CLASSES],
            occupied: [0; 4],
            oldest: NONE,
            newest: NONE,
            pages: 0,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Puts an extent in, as the one that was freed last.
    pub(super) fn insert(&mut self, store: &mut Store, id: ExtentId) {
        let newest = std::mem::replace(&mut self.newest, id);
        let extent = store.extent_mut(id);
        (extent.state, extent.older, extent.newer) = (self.state, newest, NONE);
        let (class, pages, age) = (heap_class(extent.bytes), extent.bytes / PAGE_BYTES, extent.age());
        match newest {
            NONE => self.oldest = id,
            newest => store.extent_mut(newest).newer = id,
        }
        if self.heaps[class].is_empty() || age < self.least[class] {
            self.least[class] = age;
        }
        self.heaps[class].insert(&mut store.extents, id);
        self.occupied[class / 64] |= 1 << (class % 64);
        self.pages += pages;
    }

    /// Takes an extent out.
    pub(super) fn remove(&mut self, store: &mut Store, id: ExtentId) {
        let extent = store.extent_mut(id);
        extent.state = State::Taken;
        let (older, newer) = (extent.older, extent.newer);
        let (class, pages, age) = (heap_class(extent.bytes), extent.bytes / PAGE_BYTES, extent.age());
        match older {
            NONE => self.oldest = newer,
            older => store.extent_mut(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => store.extent_mut(newer).older = older,
        }
        self.heaps[class].remove(&mut store.extents, id);
        if self.heaps[class].is_empty() {
            self.occupied[class / 64] &= !(1 << (class % 64));
        } else if age == self.least[class] {
            let first = self.heaps[class].first(&mut store.extents);
            self.least[class] = store.extent(first).age();
        }
        self.pages -= pages;
    }

    /// The extent that serves a request, still in the shelf; [`NONE`] where no one can (`eset_fit`).
    pub(super) fn fit(&mut self, store: &mut Store, bytes: u64, align: u64) -> ExtentId {
        let align = align.max(PAGE_BYTES);
        let Some(roomy) = bytes.checked_add(align - PAGE_BYTES) else { return NONE };
        match self.first_fit(store, roomy) {
            NONE if align > PAGE_BYTES => self.aligned_fit(store, bytes, roomy, align),
            found => found,
        }
    }

    /// Of the first extents of all heaps that are long enough, the oldest and lowest.
    fn first_fit(&mut self, store: &mut Store, bytes: u64) -> ExtentId {
        let (mut best, mut least) = (NONE, (0, 0));
        for class in occupied_from(self.occupied, page_class(quantize_ceil(bytes))) {
            let is_too_long = page_class_bytes(class) >> FIT_SHIFT_MAX > bytes;
            if self.state == State::Dirty && is_too_long {
                break;
            }
            store.searched += 1;
            if best == NONE || self.least[class] < least {
                (best, least) = (self.heaps[class].first(&mut store.extents), self.least[class]);
            }
        }
        best
    }

    /// The first extent of a heap that has room at its aligned place, of the heaps too short for any alignment.
    fn aligned_fit(&mut self, store: &mut Store, bytes: u64, roomy: u64, align: u64) -> ExtentId {
        let end = page_class(quantize_ceil(roomy));
        let classes = occupied_from(self.occupied, page_class(quantize_ceil(bytes)));
        for class in classes.take_while(|&class| class < end) {
            store.searched += 1;
            let first = self.heaps[class].first(&mut store.extents);
            let extent = store.extent(first);
            let fits = |at: u64| at < extent.end() && extent.end() - at >= bytes;
            if extent.base.checked_next_multiple_of(align).is_some_and(fits) {
                return first;
            }
        }
        NONE
    }

    /// Every extent, the first freed first.
    pub(super) fn members<'a>(&self, store: &'a Store) -> impl Iterator<Item = ExtentId> + use<'a> {
        let after = move |&id: &ExtentId| Some(store.extent(id).newer).filter(|&next| next != NONE);
        std::iter::successors(Some(self.oldest).filter(|&id| id != NONE), after)
    }

    /// Every extent by the class of the heap that it is in.
    pub(super) fn in_heaps(&self, store: &Store) -> Vec<(usize, ExtentId)> {
        let of = |(class, heap): (usize, &AgeHeap)| {
            heap.members(&store.extents).into_iter().map(move |id| (class, id)).collect::<Vec<_>>()
        };
        self.heaps.iter().enumerate().flat_map(of).collect()
    }
}

/// Classes whose bits are set, from `class` up.
fn occupied_from(occupied: [u64; 4], class: usize) -> impl Iterator<Item = usize> {
    let first = class / 64;
    let above = move |word: usize| if word == first { u64::MAX << (class % 64) } else { u64::MAX };
    (first..occupied.len()).flat_map(move |word| {
        let mut bits = occupied[word] & above(word);
        std::iter::from_fn(move || {
            let bit = (bits != 0).then(|| bits.trailing_zeros())?;
            bits &= bits - 1;
            Some(word * 64 + index(bit.into()))
        })
    })
}

/// The class of the heap that an extent of so many bytes is in.
pub(super) fn heap_class(bytes: u64) -> usize {
    page_class(quantize_floor(bytes))
}
