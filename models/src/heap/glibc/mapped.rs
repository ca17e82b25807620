//! Blocks with a mapping of their own, and the thresholds that decide which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::GlibcOptions;
use super::chunk::{HEADER_BYTES, LOST_BYTES, MIN_UNITS, UNIT_BYTES, bytes_of};
use crate::Address;
use crate::heap::{MapRequest, OutOfMemory, SystemMemory};

/// A block's mapping is never the measure for later ones when its chunk is longer (`DEFAULT_MMAP_THRESHOLD_MAX`).
const THRESHOLD_MAX: u64 = 32 << 20;
/// The real one compares the length with its flag still in it.
const MAPPED_FLAG: u64 = 2;

/// One mapped block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mapping {
    /// Bytes of the mapping in front of the chunk, skipped for alignment.
    lead: u64,
    /// Bytes of the whole mapping.
    bytes: u64,
}

impl Mapping {
    const fn usable(self) -> u64 {
        self.bytes - self.lead - HEADER_BYTES
    }
}

/// All mapped blocks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Mapped {
    /// By the address that the user has.
    live: BTreeMap<Address, Mapping>,
    /// Requests whose chunk would be as long are mapped, if no free chunk serves them.
    pub mmap_threshold: u64,
    /// Top gives memory back when it is as long.
    pub trim_threshold: u64,
    /// The thresholds follow the blocks that are freed.
    is_dynamic: bool,
    blocks_max: u64,
    pub bytes: u64,
    pub usable: u64,
}

impl Mapped {
    pub fn new(options: &GlibcOptions) -> Mapped {
        Mapped {
            live: BTreeMap::new(),
            mmap_threshold: options.mmap_threshold.unwrap_or(128 << 10),
            trim_threshold: options.trim_threshold.unwrap_or(128 << 10),
            is_dynamic: options.has_dynamic_thresholds(),
            blocks_max: options.mmap_max,
            bytes: 0,
            usable: 0,
        }
    }

    /// Mapped blocks.
    pub fn blocks(&self) -> u64 {
        self.live.len() as u64
    }

    /// Whether a chunk of `units` is long enough for a mapping, and there may be one more.
    pub fn wants(&self, units: u64) -> bool {
        units.saturating_mul(UNIT_BYTES) >= self.mmap_threshold && self.blocks() < self.blocks_max
    }

    /// Maps a block (`sysmalloc_mmap`).
    pub fn map(&mut self, units: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let bytes = mapping_bytes(units, 0, os)?;
        let start = os.mmap(&MapRequest::anywhere(bytes))?;
        Ok(self.insert(start, Mapping { lead: 0, bytes }, os))
    }

    /// All mappings: first byte, bytes, and usable bytes of the block.
    pub fn iter(&self) -> impl Iterator<Item = (Address, u64, u64)> {
        let shown = |(at, mapping): (&Address, &Mapping)| {
            (Address(at.0 - HEADER_BYTES - mapping.lead), mapping.bytes, mapping.usable())
        };
        self.live.iter().map(shown)
    }

    /// Bytes that the user may use; `None` when no mapped block starts there.
    pub fn usable_at(&self, at: Address) -> Option<u64> {
        self.live.get(&at).map(|mapping| mapping.usable())
    }

    /// Unmaps a block (`munmap_chunk`); tells whether there was one. The thresholds rise to its length.
    pub fn free(&mut self, at: Address, os: &mut dyn SystemMemory) -> bool {
        let Some(chunk_bytes) = self.live.get(&at).map(|mapping| mapping.bytes - mapping.lead) else { return false };
        let flagged = chunk_bytes + MAPPED_FLAG;
        if self.is_dynamic && flagged > self.mmap_threshold && flagged <= THRESHOLD_MAX {
            self.mmap_threshold = chunk_bytes;
            self.trim_threshold = 2 * chunk_bytes;
        }
        self.unmap(at, os);
        true
    }

    /// Unmaps a block; the thresholds stay.
    pub fn unmap(&mut self, at: Address, os: &mut dyn SystemMemory) {
        let mapping = self.remove(at);
        os.munmap(Address(at.0 - HEADER_BYTES - mapping.lead), mapping.bytes);
    }

    /// Gives a block another length, always as a mapping (`mremap_chunk`).
    pub fn resize(&mut self, at: Address, units: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let old = self.live[&at];
        let bytes = mapping_bytes(units, old.lead, os)?;
        if bytes == old.bytes {
            return Ok(at);
        }
        let start = os.mremap(Address(at.0 - HEADER_BYTES - old.lead), old.bytes, bytes)?;
        self.remove(at);
        Ok(self.insert(start, Mapping { lead: old.lead, bytes }, os))
    }

    /// Moves the start of a block up to a multiple of `align`, at least a chunk's length above; the mapping stays whole.
    pub fn align(&mut self, at: Address, align: u64, os: &mut dyn SystemMemory) -> Address {
        let mut aligned = at.0.next_multiple_of(align);
        if aligned == at.0 {
            return at;
        }
        if aligned - at.0 < bytes_of(MIN_UNITS) {
            aligned += align;
        }
        let Mapping { lead, bytes } = self.remove(at);
        let start = Address(at.0 - HEADER_BYTES - lead);
        self.insert(start, Mapping { lead: lead + aligned - at.0, bytes }, os)
    }

    /// Notes a mapping and writes the chunk's header.
    fn insert(&mut self, start: Address, mapping: Mapping, os: &mut dyn SystemMemory) -> Address {
        let chunk = start.0 + mapping.lead;
        os.touch(Address(chunk), HEADER_BYTES);
        let at = Address(chunk + HEADER_BYTES);
        self.live.insert(at, mapping);
        self.bytes += mapping.bytes;
        self.usable += mapping.usable();
        at
    }

    fn remove(&mut self, at: Address) -> Mapping {
        let mapping = self.live.remove(&at).expect("a mapped block that was just found");
        self.bytes -= mapping.bytes;
        self.usable -= mapping.usable();
        mapping
    }
}

/// Bytes of a mapping for a chunk of `units` behind `lead` bytes. Nothing lends such a chunk its first word, so one word
/// more than the chunk is needed.
fn mapping_bytes(units: u64, lead: u64, os: &dyn SystemMemory) -> Result<u64, OutOfMemory> {
    let bytes =
        units.checked_mul(UNIT_BYTES).and_then(|bytes| bytes.checked_add(lead + LOST_BYTES)).ok_or(OutOfMemory)?;
    bytes.checked_next_multiple_of(os.page_bytes()).ok_or(OutOfMemory)
}
