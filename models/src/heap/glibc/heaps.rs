//! Heaps: the 64 MiB regions that all arenas but the main one consist of (`heap_info`, `alloc_new_heap`).

use serde::{Deserialize, Serialize};

use super::GlibcOptions;
use crate::Address;
use crate::heap::{Access, MapRequest, OutOfMemory, SystemMemory};

/// Length and alignment of a heap's addresses (`HEAP_MAX_SIZE`).
pub(super) const HEAP_BYTES: u64 = 64 << 20;
/// A heap is writable from its start for at least this long (`HEAP_MIN_SIZE`).
const HEAP_BYTES_MIN: u64 = 32 << 10;
/// What the real heap keeps at its start (`heap_info`).
pub(super) const HEAP_TABLE_BYTES: u64 = 0x30;
/// What the first heap of an arena keeps there: `heap_info` and `malloc_state`, then up to a chunk's alignment.
pub(super) const ARENA_TABLE_BYTES: u64 = 0x8d0;

/// All heaps by address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Heaps {
    /// (number of the heap in steps of its length, arena), ascending.
    owners: Vec<(u64, u32)>,
    /// Where the next heap is tried first: the aligned address behind one that was mapped with room to spare.
    hint: Option<u64>,
}

impl Heaps {
    /// The arena whose heap an address lies in.
    #[inline]
    pub fn arena_at(&self, address: u64) -> Option<u32> {
        let at = self.owners.binary_search_by_key(&(address / HEAP_BYTES), |&(number, _)| number).ok()?;
        Some(self.owners[at].1)
    }

    /// Address space of all heaps.
    pub fn bytes(&self) -> u64 {
        self.owners.len() as u64 * HEAP_BYTES
    }

    /// Maps a heap that has room for `bytes`; returns its start and how much of it is writable (`new_heap`).
    pub fn map(
        &mut self,
        arena: u32,
        bytes: u64,
        options: &GlibcOptions,
        os: &mut dyn SystemMemory,
    ) -> Result<(u64, u64), OutOfMemory> {
        let writable = writable_bytes(bytes, options.top_pad).ok_or(OutOfMemory)?.next_multiple_of(os.page_bytes());
        let start = self.map_aligned(os)?;
        if let Err(refused) = os.mprotect(Address(start), writable, Access::ReadWrite) {
            os.munmap(Address(start), HEAP_BYTES);
            return Err(refused);
        }
        let number = start / HEAP_BYTES;
        let at = self.owners.partition_point(|&(other, _)| other < number);
        self.owners.insert(at, (number, arena));
        Ok((start, writable))
    }

    /// Unmaps a heap (`delete_heap`).
    pub fn unmap(&mut self, start: u64, os: &mut dyn SystemMemory) {
        self.owners.retain(|&(number, _)| number != start / HEAP_BYTES);
        if self.hint == Some(start + HEAP_BYTES) {
            self.hint = None;
        }
        os.munmap(Address(start), HEAP_BYTES);
    }

    /// Address space without rights, as long as a heap and aligned to that: at the hint, or cut out of twice the length.
    fn map_aligned(&mut self, os: &mut dyn SystemMemory) -> Result<u64, OutOfMemory> {
        if let Some(hint) = self.hint.take()
            && let Some(start) = map_if_aligned(Some(Address(hint)), os)
        {
            return Ok(start);
        }
        let Ok(Address(wide)) = os.mmap(&address_space(2 * HEAP_BYTES, None)) else {
            return map_if_aligned(None, os).ok_or(OutOfMemory);
        };
        let start = wide.next_multiple_of(HEAP_BYTES);
        let below = start - wide;
        if below > 0 {
            os.munmap(Address(wide), below);
        } else {
            self.hint = Some(start + HEAP_BYTES);
        }
        os.munmap(Address(start + HEAP_BYTES), HEAP_BYTES - below);
        Ok(start)
    }
}

fn map_if_aligned(hint: Option<Address>, os: &mut dyn SystemMemory) -> Option<u64> {
    let Address(start) = os.mmap(&address_space(HEAP_BYTES, hint)).ok()?;
    if start % HEAP_BYTES != 0 {
        os.munmap(Address(start), HEAP_BYTES);
        return None;
    }
    Some(start)
}

const fn address_space(bytes: u64, hint: Option<Address>) -> MapRequest {
    MapRequest { bytes, hint, access: Access::None, no_reserve: false }
}

/// How much of a new heap is made writable for `bytes`; `None` when a heap cannot hold them.
const fn writable_bytes(bytes: u64, top_pad: u64) -> Option<u64> {
    if bytes > HEAP_BYTES {
        return None;
    }
    let padded = bytes.saturating_add(top_pad);
    Some(if padded < HEAP_BYTES_MIN {
        HEAP_BYTES_MIN
    } else if padded <= HEAP_BYTES {
        padded
    } else {
        HEAP_BYTES
    })
}
