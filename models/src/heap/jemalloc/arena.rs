//! An arena's pages: which run serves a request, how the arena grows, what becomes of what is freed (`pac.c`, `extent.c`).

use serde::{Deserialize, Serialize};

use super::bins::Bin;
use super::classes::{LARGE_BYTES_MIN, PAGE_BYTES, SMALL_CLASSES, page_class, page_class_bytes};
use super::decay::Decay;
use super::extent::{Extent, ExtentId, NONE, State, Store};
use super::metadata::map_aligned;
use super::shelf::Shelf;
use crate::heap::{Advice, OutOfMemory, SystemMemory};
use crate::{Address, index};

/// The first step by which an arena grows.
const FIRST_GROWTH_BYTES: u64 = 2 << 20;
/// From here on a block comes from the arena of huge ones, and a free extent is purged at once (`opt.oversize_threshold`).
pub(super) const OVERSIZE_BYTES: u64 = 8 << 20;
/// The longest step by which an arena can grow.
const GROWTH_CLASS_MAX: usize = 198;

/// See the [module page](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Arena {
    pub number: u32,
    /// Threads that allocate from it.
    pub threads: u32,
    pub dirty: Shelf,
    pub retained: Shelf,
    /// Page class of the next step of growth.
    growth_class: u32,
    /// The serial number of the next mapping.
    next_serial: u64,
    /// By small class.
    pub bins: Vec<Bin>,
    pub decay: Decay,
}

/// Pages for a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    pub id: ExtentId,
    /// They were not written since the kernel gave them.
    pub are_zero: bool,
}

impl Arena {
    pub(super) fn new(number: u32, decay: Decay) -> Arena {
        let growth_class = u32::try_from(page_class(FIRST_GROWTH_BYTES)).expect("there are 200 page classes");
        Arena {
            number,
            threads: 0,
            dirty: Shelf::new(State::Dirty),
            retained: Shelf::new(State::Retained),
            growth_class,
            next_serial: 0,
            bins: vec![Bin::default(); SMALL_CLASSES],
            decay,
        }
    }

    /// A run of `bytes` on a multiple of `align` (or of a page, if that is more).
    pub(super) fn take(
        &mut self,
        store: &mut Store,
        bytes: u64,
        align: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Pages, OutOfMemory> {
        match self.dirty.fit(store, bytes, align) {
            NONE => {}
            id => return Ok(Pages { id: carve(&mut self.dirty, store, id, bytes, align, os), are_zero: false }),
        }
        match self.retained.fit(store, bytes, align) {
            NONE => {}
            id => return Ok(Pages { id: carve(&mut self.retained, store, id, bytes, align, os), are_zero: true }),
        }
        let id = self.grow(store, bytes, align, os)?;
        Ok(Pages { id, are_zero: true })
    }

    /// Maps the next step of the series that is long enough; where the kernel refuses that, just what is asked
    /// (`extent_grow_retained`, `extent_alloc_wrapper`).
    fn grow(
        &mut self,
        store: &mut Store,
        bytes: u64,
        align: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<ExtentId, OutOfMemory> {
        let align = align.max(PAGE_BYTES);
        let roomy = bytes.checked_add(align - PAGE_BYTES).ok_or(OutOfMemory)?;
        let mut class = index(self.growth_class.into());
        while class < GROWTH_CLASS_MAX && page_class_bytes(class) < roomy {
            class += 1;
        }
        let step = page_class_bytes(class);
        let mapped = if step >= roomy { map_aligned(step, PAGE_BYTES, os) } else { Err(OutOfMemory) };
        let Ok(at) = mapped else {
            let at = map_aligned(bytes, align, os)?;
            return Ok(self.add_mapping(store, at, bytes, os));
        };
        let id = self.add_mapping(store, at, step, os);
        let (lead, id, trail) = cut(store, id, bytes, align, os);
        for rest in [lead, trail] {
            if rest != NONE {
                self.retain(store, rest, os);
            }
        }
        let next = (class + 1).min(GROWTH_CLASS_MAX);
        self.growth_class = u32::try_from(next).expect("there are 200 page classes");
        Ok(id)
    }

    fn add_mapping(&mut self, store: &mut Store, at: Address, bytes: u64, os: &mut dyn SystemMemory) -> ExtentId {
        let serial = self.next_serial;
        self.next_serial += 1;
        store.mappings.push((at.0, bytes));
        store.mapped_bytes += bytes;
        store.add(Extent { arena: self.number, is_head: true, ..Extent::of(at.0, bytes, serial) }, os)
    }

    /// Takes a run back that nothing uses any more (`pac_dalloc_impl`).
    pub(super) fn give(&mut self, store: &mut Store, id: ExtentId, os: &mut dyn SystemMemory) {
        let mut id = id;
        if store.extent(id).bytes >= LARGE_BYTES_MIN {
            id = merge_around(&mut self.dirty, store, id, os);
            if store.extent(id).bytes >= OVERSIZE_BYTES && self.decay.purges() {
                return self.purge(store, id, os);
            }
        }
        self.dirty.insert(store, id);
        if self.decay.is_immediate() {
            self.purge_down_to(store, 0, os);
        }
    }

    /// Lengthens a block's run to `bytes` if what lies right behind is free and long enough (`pac_expand_impl`).
    pub(super) fn lengthen(&mut self, store: &mut Store, id: ExtentId, bytes: u64, os: &mut dyn SystemMemory) -> bool {
        let more = bytes - store.extent(id).bytes;
        let behind = store.above(id);
        if behind == NONE || store.extent(behind).is_head || store.extent(behind).bytes < more {
            return false;
        }
        let shelf = match store.extent(behind).state {
            State::Dirty => &mut self.dirty,
            State::Retained => &mut self.retained,
            _ => return false,
        };
        let part = carve(shelf, store, behind, more, PAGE_BYTES, os);
        store.merge(id, part, os);
        true
    }

    /// Shortens a block's run to `bytes` and frees the rest (`pac_shrink_impl`).
    pub(super) fn shorten(&mut self, store: &mut Store, id: ExtentId, bytes: u64, os: &mut dyn SystemMemory) {
        let rest = store.split(id, bytes, os);
        store.extent_mut(rest).state = State::Taken;
        self.give(store, rest, os);
    }

    /// Purges what was freed longest ago until only so many dirty pages are left (`pac_decay_to_limit`).
    pub(super) fn purge_down_to(&mut self, store: &mut Store, limit_pages: u64, os: &mut dyn SystemMemory) {
        while self.dirty.pages > limit_pages {
            let oldest = self.dirty.oldest;
            self.dirty.remove(store, oldest);
            // Merged with what it touches, it counts as freed just now; else its turn has come.
            match merge_once(&mut self.dirty, store, oldest, os) {
                Some(merged) => self.dirty.insert(store, merged),
                None => self.purge(store, oldest, os),
            }
        }
    }

    /// Gives the frames of a run back and retains its addresses.
    fn purge(&mut self, store: &mut Store, id: ExtentId, os: &mut dyn SystemMemory) {
        let extent = store.extent(id);
        os.madvise(Address(extent.base), extent.bytes, Advice::DontNeed);
        self.retain(store, id, os);
    }

    fn retain(&mut self, store: &mut Store, id: ExtentId, os: &mut dyn SystemMemory) {
        let id = merge_around(&mut self.retained, store, id, os);
        self.retained.insert(store, id);
    }
}

/// Takes an extent out of its shelf and cuts a run from it; the rest goes back.
fn carve(
    shelf: &mut Shelf,
    store: &mut Store,
    id: ExtentId,
    bytes: u64,
    align: u64,
    os: &mut dyn SystemMemory,
) -> ExtentId {
    shelf.remove(store, id);
    let (lead, id, trail) = cut(store, id, bytes, align.max(PAGE_BYTES), os);
    for rest in [lead, trail] {
        if rest != NONE {
            shelf.insert(store, rest);
        }
    }
    id
}

/// Cuts a run from an extent at its first aligned place: what lies before, the run, what lies behind (`extent_split_interior`).
fn cut(
    store: &mut Store,
    id: ExtentId,
    bytes: u64,
    align: u64,
    os: &mut dyn SystemMemory,
) -> (ExtentId, ExtentId, ExtentId) {
    let extent = *store.extent(id);
    let lead_bytes = extent.base.next_multiple_of(align) - extent.base;
    let (lead, run) = if lead_bytes > 0 { (id, store.split(id, lead_bytes, os)) } else { (NONE, id) };
    let has_trail = extent.bytes - lead_bytes > bytes;
    let trail = if has_trail { store.split(run, bytes, os) } else { NONE };
    (lead, run, trail)
}

/// Merges a taken extent with all free ones of the shelf that it touches (`extent_try_coalesce`).
fn merge_around(shelf: &mut Shelf, store: &mut Store, id: ExtentId, os: &mut dyn SystemMemory) -> ExtentId {
    let mut id = id;
    while let Some(merged) = merge_once(shelf, store, id, os) {
        id = merged;
    }
    id
}

/// Merges a taken extent with the free one above it, else with the one below. A mapping's first extent stays apart from what
/// lies below.
fn merge_once(shelf: &mut Shelf, store: &mut Store, id: ExtentId, os: &mut dyn SystemMemory) -> Option<ExtentId> {
    let (above, below) = (store.above(id), store.below(id));
    let is_free = |id: ExtentId, store: &Store| id != NONE && store.extent(id).state == shelf.state();
    let (low, high) = if is_free(above, store) && !store.extent(above).is_head {
        shelf.remove(store, above);
        (id, above)
    } else if is_free(below, store) && !store.extent(id).is_head {
        shelf.remove(store, below);
        (below, id)
    } else {
        return None;
    };
    store.merge(low, high, os);
    Some(low)
}
