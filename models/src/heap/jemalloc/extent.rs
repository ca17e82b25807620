//! Extents, the runs of pages that all memory consists of, and where each lies (`edata.h`, `extent.c`, `emap.c`).
//!
//! **Invariant.** The extents of a mapping follow each other without gaps; the page map names each on its first and last
//! page, and a slab on all of its pages. No other entry is there.

use serde::{Deserialize, Serialize};

use super::age_heap::HeapLinks;
use super::classes::{PAD_BYTES, PAGE_BYTES};
use super::metadata::Metadata;
use super::page_map::{On, PageMap};
use super::slab::Slab;
use crate::heap::SystemMemory;
use crate::index;

/// An extent's number; [`NONE`] is none.
pub(super) type ExtentId = u32;
pub(super) const NONE: ExtentId = 0;

/// A run of pages. See the [module page](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub base: u64,
    pub bytes: u64,
    /// The number of the mapping it was cut from; of two that were merged, the lower one.
    pub serial: u64,
    pub arena: u32,
    /// Bytes from its start to the block, if it has one.
    pub offset: u16,
    /// It starts a mapping, and is never merged with what lies below.
    pub is_head: bool,
    pub state: State,
    pub heap: HeapLinks,
    /// The one freed before it and the one freed after it, in a list by age of freeing.
    pub older: ExtentId,
    pub newer: ExtentId,
}

/// What an extent is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// A number that is not in use.
    Spare,
    /// Taken from where it was, and not yet what it is going to be.
    Taken,
    /// Free, its pages perhaps with frames.
    Dirty,
    /// Free, its pages without frames.
    Retained,
    /// A slab, by its number.
    Slab(u32),
    /// A large block that the program has.
    Live,
    /// A large block in a thread's cache.
    Cached,
    /// The stacks of a thread's cache.
    Stacks,
}

impl Extent {
    pub(super) fn of(base: u64, bytes: u64, serial: u64) -> Extent {
        Extent {
            base,
            bytes,
            serial,
            arena: 0,
            offset: 0,
            is_head: false,
            state: State::Taken,
            heap: HeapLinks::default(),
            older: NONE,
            newer: NONE,
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.base + self.bytes
    }

    /// The order in which extents are used.
    #[inline]
    pub(super) fn age(&self) -> (u64, u64) {
        (self.serial, self.base)
    }

    /// The usable bytes of a large block.
    pub(super) fn usable(&self) -> u64 {
        self.bytes - PAD_BYTES
    }
}

/// All extents and slabs of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Store {
    /// By number; the first is no extent.
    pub extents: Vec<Extent>,
    spare_extents: Vec<ExtentId>,
    pub slabs: Vec<Slab>,
    pub spare_slabs: Vec<u32>,
    pub pages: PageMap,
    pub metadata: Metadata,
    /// Mappings that extents were cut from: start and bytes.
    pub mappings: Vec<(u64, u64)>,
    /// Bytes of these.
    pub mapped_bytes: u64,
    /// Bytes of all slabs.
    pub slab_bytes: u64,
    /// Heaps whose first extents the last call looked at.
    pub searched: u64,
}

impl Default for Store {
    fn default() -> Store {
        let no_extent = Extent { state: State::Spare, ..Extent::of(0, 0, 0) };
        Store {
            extents: vec![no_extent],
            spare_extents: Vec::new(),
            slabs: Vec::new(),
            spare_slabs: Vec::new(),
            pages: PageMap::default(),
            metadata: Metadata::default(),
            mappings: Vec::new(),
            mapped_bytes: 0,
            slab_bytes: 0,
            searched: 0,
        }
    }
}

impl Store {
    #[inline]
    pub(super) fn extent(&self, id: ExtentId) -> &Extent {
        &self.extents[index(id.into())]
    }

    #[inline]
    pub(super) fn extent_mut(&mut self, id: ExtentId) -> &mut Extent {
        &mut self.extents[index(id.into())]
    }

    /// Notes an extent that is new; the page map knows of it from now on.
    pub(super) fn add(&mut self, extent: Extent, os: &mut dyn SystemMemory) -> ExtentId {
        self.metadata.add_record(extent.arena, os);
        let id = self.spare_extents.pop().unwrap_or_else(|| {
            self.extents.push(extent);
            u32::try_from(self.extents.len() - 1).expect("a heap has fewer than 2^31 extents")
        });
        *self.extent_mut(id) = extent;
        self.show_ends(id, os);
        id
    }

    /// Cuts an extent after its first `low_bytes`. What is above becomes an extent of its own.
    pub(super) fn split(&mut self, id: ExtentId, low_bytes: u64, os: &mut dyn SystemMemory) -> ExtentId {
        let whole = *self.extent(id);
        self.extent_mut(id).bytes = low_bytes;
        self.show_ends(id, os);
        let above =
            Extent { base: whole.base + low_bytes, bytes: whole.bytes - low_bytes, is_head: false, offset: 0, ..whole };
        self.add(above, os)
    }

    /// Joins an extent with the one right above it, which is no more.
    pub(super) fn merge(&mut self, low: ExtentId, high: ExtentId, os: &mut dyn SystemMemory) {
        let above = *self.extent(high);
        let below = *self.extent(low);
        self.pages.set(below.end() - PAGE_BYTES, On::Nothing);
        self.pages.set(above.base, On::Nothing);
        let joined = self.extent_mut(low);
        joined.bytes += above.bytes;
        joined.serial = joined.serial.min(above.serial);
        self.extent_mut(high).state = State::Spare;
        self.spare_extents.push(high);
        self.show_ends(low, os);
        self.metadata.drop_record(above.arena);
    }

    /// The extent right above, or [`NONE`].
    pub(super) fn above(&self, id: ExtentId) -> ExtentId {
        self.extent_at(self.extent(id).end())
    }

    /// The extent right below, or [`NONE`].
    pub(super) fn below(&self, id: ExtentId) -> ExtentId {
        self.extent_at(self.extent(id).base - PAGE_BYTES)
    }

    /// The extent that starts or ends with the page at `at`, or the slab on it.
    pub(super) fn extent_at(&self, at: u64) -> ExtentId {
        match self.pages.at(at) {
            On::Slab(slab) => self.slabs[index(slab.into())].extent,
            On::Extent(id) => id,
            On::Nothing => NONE,
        }
    }

    /// Writes what the extent is on its first and last page.
    pub(super) fn show_ends(&mut self, id: ExtentId, os: &mut dyn SystemMemory) {
        let extent = *self.extent(id);
        self.show(extent.base, On::Extent(id), os);
        if extent.bytes > PAGE_BYTES {
            self.show(extent.end() - PAGE_BYTES, On::Extent(id), os);
        }
    }

    pub(super) fn show(&mut self, at: u64, on: On, os: &mut dyn SystemMemory) {
        if self.pages.set(at, on) {
            self.metadata.note_page(at, os);
        }
    }
}
