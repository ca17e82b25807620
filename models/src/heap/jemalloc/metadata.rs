//! Where the allocator keeps its own tables: blocks of metadata for each arena, and the leaves of the radix tree (`base.c`,
//! `rtree.c`).
//!
//! Tables are never given back. An extent's record has 128 bytes and is used again when its extent is merged away.

use serde::{Deserialize, Serialize};

use super::classes::{PAGE_BYTES, page_class, page_class_bytes, round_up};
use crate::heap::{MapRequest, OutOfMemory, SystemMemory};
use crate::{Address, index};

/// Blocks are multiples of it and lie on one (`HUGEPAGE`).
const BLOCK_GRAIN_BYTES: u64 = 2 << 20;
/// What a block begins with.
const BLOCK_HEADER_BYTES: u64 = 256;
/// What the first block of arena 0 holds besides: tables of the process and the arena.
const FIRST_TABLES_BYTES: u64 = 91_936;
/// What the first block of any other arena holds besides.
const ARENA_TABLES_BYTES: u64 = 90_880;
/// An extent's record, which lies on a multiple of this.
const RECORD_BYTES: u64 = 128;
/// A leaf of the radix tree has a word for each page of 1 GiB of addresses.
const LEAF_REACH_BYTES: u64 = 1 << 30;
const LEAF_BYTES: u64 = LEAF_REACH_BYTES / PAGE_BYTES * 8;
const CACHE_LINE_BYTES: u64 = 64;
/// Every table lies on a multiple of this.
const QUANTUM_BYTES: u64 = 16;

/// The tables of all arenas.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Metadata {
    /// By arena.
    bases: Vec<Base>,
    /// Leaves of the radix tree: the address over a leaf's reach, and where the leaf lies.
    leaves: Vec<(u64, u64)>,
    /// Bytes of all blocks.
    pub bytes: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Base {
    blocks: Vec<Block>,
    /// Page class of the last block: the next one is longer.
    last_class: u32,
    /// Records in use, and records there are.
    records_used: u64,
    records: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Block {
    start: u64,
    bytes: u64,
    used: u64,
}

impl Metadata {
    /// Makes the first block of an arena.
    pub(super) fn open(&mut self, arena: u32, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let start = map_aligned(BLOCK_GRAIN_BYTES, BLOCK_GRAIN_BYTES, os)?;
        let tables = if arena == 0 { FIRST_TABLES_BYTES } else { ARENA_TABLES_BYTES };
        let used = BLOCK_HEADER_BYTES + tables;
        os.touch(start, used);
        let bases = index(u64::from(arena)) + 1;
        if self.bases.len() < bases {
            self.bases.resize_with(bases, Base::default);
        }
        let base = &mut self.bases[bases - 1];
        base.blocks.push(Block { start: start.0, bytes: BLOCK_GRAIN_BYTES, used });
        base.last_class = class_of_block(BLOCK_GRAIN_BYTES);
        self.bytes += BLOCK_GRAIN_BYTES;
        Ok(())
    }

    /// Where an arena's tables start: what differs from arena to arena.
    pub(super) fn place(&self, arena: u32) -> u64 {
        self.bases[index(arena.into())].blocks[0].start
    }

    /// One extent more: its record is one that was used before, else a new one.
    pub(super) fn add_record(&mut self, arena: u32, os: &mut dyn SystemMemory) {
        let base = &mut self.bases[index(arena.into())];
        base.records_used += 1;
        if base.records_used > base.records {
            base.records += 1;
            self.reserve(arena, RECORD_BYTES, RECORD_BYTES, RECORD_BYTES, os);
        }
    }

    /// One extent less.
    pub(super) fn drop_record(&mut self, arena: u32) {
        self.bases[index(arena.into())].records_used -= 1;
    }

    /// Sees to the words of the radix tree for the page at `at`, when they are the first ones of their page of the tree.
    pub(super) fn note_page(&mut self, at: u64, os: &mut dyn SystemMemory) {
        let reach = at / LEAF_REACH_BYTES;
        let known = self.leaves.iter().find(|&&(other, _)| other == reach).map(|&(_, leaf)| leaf);
        let leaf = known.or_else(|| {
            let leaf = self.reserve(0, LEAF_BYTES, CACHE_LINE_BYTES, 0, os)?;
            self.leaves.push((reach, leaf));
            Some(leaf)
        });
        if let Some(leaf) = leaf {
            os.touch(Address(leaf + at % LEAF_REACH_BYTES / PAGE_BYTES * 8), 8);
        }
    }

    /// Room for a table, of which the first bytes are written. Without memory for it the model goes on; the real one loses extents then.
    fn reserve(&mut self, arena: u32, bytes: u64, align: u64, written: u64, os: &mut dyn SystemMemory) -> Option<u64> {
        let base = &mut self.bases[index(arena.into())];
        let bytes = bytes.next_multiple_of(align);
        let block = match base.block_with(round_up(bytes + align - QUANTUM_BYTES)) {
            Some(block) => block,
            None => {
                self.bytes += base.add_block(bytes, align, os).ok()?;
                base.blocks.len() - 1
            }
        };
        let block = &mut base.blocks[block];
        let at = (block.start + block.used).next_multiple_of(align);
        block.used = at + bytes - block.start;
        os.touch(Address(at), written);
        Some(at)
    }

    /// Start and length of every block.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u64, u64)> {
        self.bases.iter().flat_map(|base| &base.blocks).map(|block| (block.start, block.bytes))
    }

    /// Records in use of an arena.
    pub(super) fn records_used(&self, arena: u32) -> u64 {
        self.bases[index(arena.into())].records_used
    }
}

impl Base {
    /// The block of the smallest class of rest that is enough, the oldest of these.
    fn block_with(&self, class_bytes: u64) -> Option<usize> {
        let rest = |block: &Block| round_down(block.bytes - block.used);
        let enough = self.blocks.iter().enumerate().filter(|(_, block)| rest(block) >= class_bytes);
        enough.min_by_key(|&(nth, block)| (rest(block), nth)).map(|(nth, _)| nth)
    }

    /// Maps a block, longer than the last one. Its length.
    fn add_block(&mut self, bytes: u64, align: u64, os: &mut dyn SystemMemory) -> Result<u64, OutOfMemory> {
        let needed = BLOCK_HEADER_BYTES.next_multiple_of(align) + bytes;
        let needed = page_class_bytes(page_class(needed)).next_multiple_of(BLOCK_GRAIN_BYTES);
        let next = page_class_bytes(index(u64::from(self.last_class)) + 1).next_multiple_of(BLOCK_GRAIN_BYTES);
        let bytes = needed.max(next);
        let start = map_aligned(bytes, BLOCK_GRAIN_BYTES, os)?;
        os.touch(start, BLOCK_HEADER_BYTES);
        self.blocks.push(Block { start: start.0, bytes, used: BLOCK_HEADER_BYTES });
        self.last_class = class_of_block(bytes);
        Ok(bytes)
    }
}

fn class_of_block(bytes: u64) -> u32 {
    u32::try_from(page_class(bytes)).expect("there are 200 page classes")
}

/// The largest class that is not over `bytes`.
fn round_down(bytes: u64) -> u64 {
    if bytes < 128 {
        return bytes & !15;
    }
    let step = 1_u64 << (bytes.ilog2() - 2);
    bytes & !(step - 1)
}

/// Maps `bytes` on a multiple of `align`; where the kernel's place is no such, once more with room to cut it out (`pages_map`).
pub(super) fn map_aligned(bytes: u64, align: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
    let request = |bytes| MapRequest { no_reserve: true, ..MapRequest::anywhere(bytes) };
    let at = os.mmap(&request(bytes))?;
    if at.0.is_multiple_of(align) {
        return Ok(at);
    }
    os.munmap(at, bytes);
    let roomy = bytes.checked_add(align - PAGE_BYTES).ok_or(OutOfMemory)?;
    let found = os.mmap(&request(roomy))?;
    let at = Address(found.0.next_multiple_of(align));
    let (lead, trail) = (at.0 - found.0, found.0 + roomy - (at.0 + bytes));
    if lead > 0 {
        os.munmap(found, lead);
    }
    if trail > 0 {
        os.munmap(Address(at.0 + bytes), trail);
    }
    Ok(at)
}
