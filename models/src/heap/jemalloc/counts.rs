//! What the process holds, counted as it changes.

use serde::{Deserialize, Serialize};

use super::classes::PAD_BYTES;
use crate::heap::HeapStats;

/// See the [module page](self). In bytes, but for the numbers of blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub blocks: u64,
    /// Of these, large ones.
    pub large_blocks: u64,
    /// Usable bytes of small blocks that the program has.
    pub small_bytes: u64,
    /// Usable bytes of large ones.
    pub large_bytes: u64,
    /// All slabs.
    pub slab_bytes: u64,
    /// Regions that slabs handed out, to the program or to caches.
    pub taken_bytes: u64,
    /// Extents of large blocks in caches.
    pub cached_extent_bytes: u64,
    /// Extents that hold the stacks of caches.
    pub stacks_bytes: u64,
}

impl Counts {
    /// `metadata` and `mapped` are the bytes of all tables and of all mappings for extents.
    pub(super) fn stats(&self, metadata: u64, mapped: u64) -> HeapStats {
        let held = metadata + mapped;
        let usable = self.small_bytes + self.large_bytes;
        let overhead = metadata + self.stacks_bytes + self.large_blocks * PAD_BYTES;
        HeapStats {
            blocks: self.blocks,
            usable,
            overhead,
            free: held - usable - overhead,
            cached: self.taken_bytes - self.small_bytes + self.cached_extent_bytes,
            in_page: self.slab_bytes - self.taken_bytes,
            held,
        }
    }
}
