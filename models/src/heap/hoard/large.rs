//! Large objects: a mapping each, or kept for later by size, in 64 parts that threads are spread over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::heap::aligned_map::map_aligned;
use crate::heap::block_map::BlockMap;
use crate::heap::{MapRequest, OutOfMemory, SystemMemory};
use crate::{Address, ThreadId};

const PARTS: u32 = 64;
/// A cache is given back only where more than this is live.
const FLUSH_BYTES_MIN: u64 = 1 << 20;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Large {
    /// Live ones: bytes of the mapping.
    mapped: BlockMap,
    pub live_bytes: u64,
    has_cache: bool,
    /// Kept mappings by part and bytes, the next one last.
    kept: BTreeMap<(u32, u64), Vec<Address>>,
    pub kept_bytes: u64,
    /// The most that was live.
    peak_bytes: u64,
    /// The cache was given back since the last new peak.
    is_flushed: bool,
}

impl Large {
    /// None; whether freed ones are kept for later.
    pub fn new(has_cache: bool) -> Large {
        Large {
            mapped: BlockMap::new(1),
            live_bytes: 0,
            has_cache,
            kept: BTreeMap::new(),
            kept_bytes: 0,
            peak_bytes: 0,
            is_flushed: false,
        }
    }

    /// Live objects: address and bytes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.mapped.iter()
    }

    /// Kept mappings: address and bytes.
    pub fn kept(&self) -> impl Iterator<Item = (u64, u64)> {
        self.kept.iter().flat_map(|(&(_, bytes), kept)| kept.iter().map(move |at| (at.0, bytes)))
    }

    /// Live objects.
    pub fn count(&self) -> u64 {
        self.mapped.len()
    }

    /// Bytes of the live object at an address.
    pub fn bytes_at(&self, at: Address) -> Option<u64> {
        self.mapped.get(at.0)
    }

    /// A mapping for an object: a kept one of its size, else a new one.
    pub fn map(
        &mut self,
        thread: ThreadId,
        bytes: u64,
        align: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let fits = |at: &Address| at.0.is_multiple_of(align);
        let kept = self.kept.get_mut(&(thread.0 % PARTS, bytes)).and_then(|kept| kept.pop_if(|at| fits(at)));
        let at = match kept {
            Some(at) => {
                self.kept_bytes -= bytes;
                at
            }
            None => Address(map_aligned(&MapRequest::anywhere(bytes), align, os)?),
        };
        self.mapped.insert(at.0, bytes);
        self.live_bytes += bytes;
        if self.live_bytes > self.peak_bytes {
            (self.peak_bytes, self.is_flushed) = (self.live_bytes, false);
        }
        Ok(at)
    }

    /// Whether a large object was there.
    pub fn free(&mut self, thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> bool {
        let Some(bytes) = self.mapped.remove(at.0) else { return false };
        self.live_bytes -= bytes;
        if !self.has_cache {
            os.munmap(at, bytes);
            return true;
        }
        self.kept.entry((thread.0 % PARTS, bytes)).or_default().push(at);
        self.kept_bytes += bytes;
        // Live has fallen below 1 / 1.25 of its peak.
        let has_shrunk = self.live_bytes.saturating_mul(5) < self.peak_bytes.saturating_mul(4);
        if has_shrunk && self.live_bytes > FLUSH_BYTES_MIN && !self.is_flushed {
            self.is_flushed = true;
            self.give_back(os);
        }
        true
    }

    fn give_back(&mut self, os: &mut dyn SystemMemory) {
        for ((_, bytes), kept) in std::mem::take(&mut self.kept) {
            kept.into_iter().for_each(|at| os.munmap(at, bytes));
        }
        self.kept_bytes = 0;
    }
}
