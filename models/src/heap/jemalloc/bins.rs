//! Which slab a region of a small class comes from, and what a freed one does to its slab (`arena.c`, `bin.c`).
//!
//! **Invariant.** The heap holds every slab of the class and arena that has a free region, but for the current one; no empty slab is kept
//! after a call.

use serde::{Deserialize, Serialize};

use super::age_heap::AgeHeap;
use super::arena::Arena;
use super::classes::{PAGE_BYTES, SMALL};
use super::extent::{NONE, State, Store};
use crate::heap::{OutOfMemory, SystemMemory};
use crate::index;

/// The slabs of a class in an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bin {
    /// The slab that regions come from.
    pub current: Option<u32>,
    /// The other slabs that are not full, by age.
    pub others: AgeHeap,
}

impl Arena {
    /// Hands out regions of a class, at most `count`, and visits each: slab and region.
    ///
    /// # Errors
    /// When a new slab is needed and there is no memory; what was handed out until then stays so.
    pub(super) fn take_regions(
        &mut self,
        store: &mut Store,
        class: u8,
        count: u32,
        os: &mut dyn SystemMemory,
        mut visit: impl FnMut(u32, u32),
    ) -> Result<(), OutOfMemory> {
        let mut left = count;
        while left > 0 {
            let number = self.slab_with_room(store, class, os)?;
            let slab = &mut store.slabs[index(number.into())];
            let taken = left.min(slab.free);
            slab.take_lowest(taken, |region| visit(number, region));
            left -= taken;
        }
        Ok(())
    }

    /// The current slab, or the one that becomes it: the oldest that is not full, else a new one.
    fn slab_with_room(&mut self, store: &mut Store, class: u8, os: &mut dyn SystemMemory) -> Result<u32, OutOfMemory> {
        let bin = &mut self.bins[usize::from(class)];
        if let Some(current) = bin.current
            && store.slabs[index(current.into())].free > 0
        {
            return Ok(current);
        }
        bin.current = None;
        let number = match bin.others.pop_first(&mut store.extents) {
            NONE => {
                let pages = self.take(store, SMALL[usize::from(class)].slab_bytes, PAGE_BYTES, os)?;
                store.make_slab(pages.id, class, os)
            }
            oldest => {
                let State::Slab(number) = store.extent(oldest).state else {
                    unreachable!("a bin holds slabs, not extent {oldest}");
                };
                number
            }
        };
        self.bins[usize::from(class)].current = Some(number);
        Ok(number)
    }

    /// Takes a region back. Whether its slab is empty now: it is in no list then, and is to be freed.
    pub(super) fn give_region(&mut self, store: &mut Store, number: u32, region: u32) -> bool {
        let slab = &mut store.slabs[index(number.into())];
        slab.give(region);
        let (extent, was_full, is_empty) = (slab.extent, slab.free == 1, slab.is_empty());
        let bin = &mut self.bins[usize::from(slab.class)];
        let is_current = bin.current == Some(number);
        if is_empty {
            if is_current {
                bin.current = None;
            } else if !was_full {
                bin.others.remove(&mut store.extents, extent);
            }
        } else if was_full && !is_current {
            bin.admit(store, number);
        }
        is_empty
    }

    /// Frees a slab that is empty and in no list.
    pub(super) fn free_slab(&mut self, store: &mut Store, number: u32, os: &mut dyn SystemMemory) {
        let extent = store.unmake_slab(number, os);
        self.give(store, extent, os);
    }
}

impl Bin {
    /// Takes in a slab that was full until now: the older one of it and the current slab is the current one from now on.
    fn admit(&mut self, store: &mut Store, number: u32) {
        let extent_of = |slab: u32, store: &Store| store.slabs[index(slab.into())].extent;
        let extent = extent_of(number, store);
        let Some(current) = self.current else { return self.others.insert(&mut store.extents, extent) };
        let current_extent = extent_of(current, store);
        if store.extent(current_extent).age() < store.extent(extent).age() {
            return self.others.insert(&mut store.extents, extent);
        }
        if store.slabs[index(current.into())].free > 0 {
            self.others.insert(&mut store.extents, current_extent);
        }
        self.current = Some(number);
    }
}
