//! Hoard: heaps of superblocks for processors, and a global heap that takes what they hold too much.
//!
//! # Models
//! Berger, McKinley, Blumofe, Wilson, "Hoard: A Scalable Memory Allocator for Multithreaded Applications" (ASPLOS 2000), as preset
//! `paper`; and what its later implementation (Hoard 3, Emery Berger) changed, as preset `v3`. There is no recording to hold it against:
//! it is held against the paper's invariant and bound.
//!
//! # Rules
//! 1. A superblock has S bytes, aligned to S: a header of 64 bytes and blocks of one class. Classes are powers of 1.2 from 16 bytes, in
//!    multiples of 16 (v3: steps of 16 to 128, then four for each doubling).
//! 2. Heap 0 is global. There are P heaps for processors, twice as many as these (v3: 128); a thread has heap 1 + its number mod P.
//! 3. `malloc`: the fullest superblock of the class in the thread's heap that has room; else of the global heap, else an empty one there, whatever
//!    its class was; else a new one. Superblocks are grouped by eighths of fullness; in a group the one used last is first.
//! 4. A freed block goes to its superblock, whose heap is looked up, not that of the thread.
//! 5. If a heap then uses less than it holds less K superblocks, and less than 1 - f of it, its emptiest superblock of the class just freed, if it is
//!    at least f empty, else of any class, goes to the global heap; as often as the condition holds. (The paper moves one, which is
//!    enough where each superblock was once in use; several classes that each began a superblock need more.)
//! 6. An empty superblock of the global heap has no class. They are kept, or unmapped beyond `keep_empty`.
//! 7. Objects of more than S / 2 (v3: S / 8) have a mapping each.
//! 8. v3 also: a current superblock for each heap and class, tried before the groups; blocks never used come before freed ones; rule 5 is counted for
//!    each class by itself; each thread buffers freed blocks to 1 KiB, whosever they are, up to 16 MiB; freed large objects are kept
//!    by size until live falls below four fifths of its peak.
//! 9. `realloc` stays in place while the block is at most half wasted. `memalign` beyond 16 takes a longer block and hands it out from inside.
//!
//! # Invariants
//! Verified by `check`. Emptiness: a heap whose last change was a free uses at least what it holds less K superblocks, or at least 1 - f
//! of it. What heaps hold and use are the sums over their superblocks; each superblock is in the group of its fullness, or the current one, or
//! empty and global. Blow-up (tests): held <= most used / (1 - f) + a constant for each heap and class.
//!
//! # Cost
//! O(1), but for rule 5, which looks at the groups of all classes for each superblock that moves. 2 bytes for each block used so far.
//!
//! # Left out
//! Locks: a call ends before the next begins; [`Hoard::handovers`] counts how often a heap went from thread to thread, where real locks
//! meet. Where the paper leaves an order open the rules above say what was chosen.

mod check;
mod classes;
mod heaps;
mod large;
mod options;
mod superblock;
#[cfg(test)]
mod tests;
mod traffic;

use serde::{Deserialize, Serialize};

pub use self::options::{HoardOptions, Preset};

use self::classes::{ALIGN_BYTES, Classes, large_class};
use self::heaps::Heaps;
use self::large::Large;
use self::options::Rules;
use self::superblock::{HEADER_BYTES, LIVE, LIVE_INSIDE};
use super::block_map::BlockMap;
use super::{HeapAllocator, HeapFreeError, HeapSetting, HeapStats, OutOfMemory, Piece, ReallocError, SystemMemory};
use crate::registry::{BadOptions, Model};
use crate::{Address, ThreadId, Violation, index};

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hoard {
    rules: Rules,
    classes: Classes,
    heaps: Heaps,
    /// The superblock that starts at an address.
    by_start: BlockMap,
    /// Records of superblocks that were unmapped.
    spare: Vec<u32>,
    large: Large,
    /// Blocks that the program has from a place inside: how far in.
    inside: BlockMap,
    /// By thread and class, the next one last.
    buffers: Vec<Buffer>,
    counts: Counts,
}

/// Freed blocks that a thread keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Buffer {
    /// By class: superblock and block.
    blocks: Vec<Vec<(u32, u16)>>,
    bytes: u64,
}

/// Sums that are kept up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    /// Live blocks of superblocks, and their bytes.
    blocks: u64,
    live_bytes: u64,
    /// Bytes of live blocks before the place the program has them from.
    skipped: u64,
    buffered_bytes: u64,
    /// Bytes of all blocks of superblocks that have a class.
    carved: u64,
    superblocks: u64,
    to_global: u64,
    from_global: u64,
}

impl Model<dyn HeapAllocator> for Hoard {
    const NAME: &'static str = "hoard";
    const SUMMARY: &'static str = "Hoard: superblocks, heaps of processors, bounded blow-up";
    const RULES: &'static str = "\
Each heap of a processor has superblocks (8 KiB) of one size class.
malloc: the fullest superblock of the thread's heap that has room, else one
from the global heap, else a new one.
free: to the block's superblock, whichever heap has it. A heap that then
uses less than three quarters of what it holds gives its emptiest superblock
to the global heap: what it holds stays within a factor of what is used.
Longer objects than half a superblock are mappings of their own.
preset: v3 is the later Hoard, with buffers of threads.";
    type Options = HoardOptions;

    fn build(_setting: HeapSetting, options: &HoardOptions) -> Result<Hoard, BadOptions> {
        let rules = options.rules()?;
        let is_paper = options.preset == Preset::Paper;
        let limit = rules.block_bytes_max();
        let classes = if is_paper { Classes::powers_of_1_2(limit) } else { Classes::four_each_doubling(limit) };
        Ok(Hoard {
            heaps: Heaps::new(classes.len(), !is_paper),
            by_start: BlockMap::new(rules.superblock_bytes),
            spare: Vec::new(),
            large: Large::new(options.large_cache.unwrap_or(!is_paper)),
            inside: BlockMap::new(ALIGN_BYTES),
            buffers: Vec::new(),
            counts: Counts::default(),
            rules,
            classes,
        })
    }
}

impl HeapAllocator for Hoard {
    fn malloc(&mut self, thread: ThreadId, bytes: u64, os: &mut dyn SystemMemory) -> Result<Address, OutOfMemory> {
        let Some(class) = self.classes.of_request(bytes) else { return self.map_large(thread, bytes, ALIGN_BYTES, os) };
        let (id, block) = self.take_block(thread, class, os)?;
        Ok(self.heaps.superblock(id).address(block))
    }

    fn aligned_alloc(
        &mut self,
        thread: ThreadId,
        align: u64,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let align = align.checked_next_power_of_two().ok_or(OutOfMemory)?;
        if align <= ALIGN_BYTES {
            return self.malloc(thread, bytes, os);
        }
        let roomy = bytes.checked_add(align - ALIGN_BYTES).ok_or(OutOfMemory)?;
        let Some(class) = self.classes.of_request(roomy) else { return self.map_large(thread, bytes, align, os) };
        let (id, block) = self.take_block(thread, class, os)?;
        let superblock = self.heaps.superblock(id);
        let at = superblock.address(block).0;
        let aligned = at.next_multiple_of(align);
        if aligned != at {
            superblock.links[usize::from(block)] = LIVE_INSIDE;
            self.inside.insert(aligned, aligned - at);
            self.counts.skipped += aligned - at;
        }
        Ok(Address(aligned))
    }

    fn realloc(
        &mut self,
        thread: ThreadId,
        at: Address,
        bytes: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Option<Address>, ReallocError> {
        let usable = self.usable_size(at).ok_or(HeapFreeError(at))?;
        if bytes > 0 && (usable / 2..=usable).contains(&bytes) {
            return Ok(Some(at));
        }
        let to = self.malloc(thread, bytes, os)?;
        os.touch(to, usable.min(bytes));
        self.free(thread, at, os)?;
        Ok(Some(to))
    }

    fn free(&mut self, thread: ThreadId, at: Address, os: &mut dyn SystemMemory) -> Result<(), HeapFreeError> {
        let Some(Place { superblock: id, block, inside }) = self.live_block(at) else {
            return if self.large.free(thread, at, os) { Ok(()) } else { Err(HeapFreeError(at)) };
        };
        if inside > 0 {
            self.inside.remove(at.0);
            self.counts.skipped -= inside;
        }
        let superblock = self.heaps.superblock(id);
        let (class, bytes) = (superblock.class, superblock.block_bytes);
        os.touch(superblock.address(block), 8);
        self.counts.blocks -= 1;
        self.counts.live_bytes -= bytes;
        if !self.buffer(thread, id, block, class, bytes) {
            self.give_block(thread, id, block, os);
        }
        Ok(())
    }

    fn usable_size(&self, at: Address) -> Option<u64> {
        match self.live_block(at) {
            Some(Place { superblock, inside, .. }) => {
                Some(self.heaps.superblocks[index(superblock.into())].block_bytes - inside)
            }
            None => self.large.bytes_at(at),
        }
    }

    fn thread_exit(&mut self, thread: ThreadId, os: &mut dyn SystemMemory) {
        let Some(buffer) = self.buffers.get_mut(index(thread.0.into())) else { return };
        let buffer = std::mem::take(buffer);
        self.counts.buffered_bytes -= buffer.bytes;
        for (id, block) in buffer.blocks.into_iter().flatten() {
            self.give_block(thread, id, block, os);
        }
    }

    fn stats(&self) -> HeapStats {
        let Counts { blocks, live_bytes, skipped, buffered_bytes, carved, superblocks, .. } = self.counts;
        let superblock_bytes = self.rules.superblock_bytes;
        let held = superblocks * superblock_bytes + self.large.live_bytes + self.large.kept_bytes;
        let empty = self.heaps.empty.len() as u64 * (superblock_bytes - HEADER_BYTES);
        let usable = live_bytes - skipped + self.large.live_bytes;
        let free = carved - live_bytes + empty + self.large.kept_bytes;
        HeapStats {
            blocks: blocks + self.large.count(),
            usable,
            overhead: held - usable - free,
            free,
            cached: buffered_bytes + self.large.kept_bytes,
            in_page: carved - live_bytes - buffered_bytes,
            held,
        }
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(Address, u64)) {
        self.visit_free(visit);
    }

    fn for_each_piece(&self, visit: &mut dyn FnMut(Piece)) {
        self.visit_pieces(visit);
    }

    fn check(&self) -> Result<(), Violation> {
        self.check_all()
    }
}

/// A live block of a superblock.
#[derive(Clone, Copy, Debug)]
struct Place {
    superblock: u32,
    block: u16,
    /// How far in the program has it from.
    inside: u64,
}

impl Hoard {
    /// Times that a heap went from one thread to another: where locks would meet.
    #[must_use]
    pub fn handovers(&self) -> u64 {
        self.heaps.handovers
    }

    /// Superblocks that went to the global heap, and that came from it.
    #[must_use]
    pub fn moved_superblocks(&self) -> (u64, u64) {
        (self.counts.to_global, self.counts.from_global)
    }

    /// Heaps for processors, once the first call was made.
    fn processors(&mut self, os: &dyn SystemMemory) -> u32 {
        self.rules.processors(os.cpus())
    }

    fn map_large(
        &mut self,
        thread: ThreadId,
        bytes: u64,
        align: u64,
        os: &mut dyn SystemMemory,
    ) -> Result<Address, OutOfMemory> {
        let page_bytes = os.page_bytes();
        let bytes = match self.rules.preset {
            Preset::Paper => bytes.checked_next_multiple_of(page_bytes),
            Preset::V3 => large_class(bytes, self.rules.block_bytes_max(), page_bytes),
        };
        self.large.map(thread, bytes.ok_or(OutOfMemory)?, align.max(page_bytes), os)
    }

    fn live_block(&self, at: Address) -> Option<Place> {
        let id = self.by_start.get(at.0 & !(self.rules.superblock_bytes - 1))?;
        let id = u32::try_from(id).expect("the map has numbers of superblocks");
        let superblock = &self.heaps.superblocks[index(id.into())];
        let (block, inside) = superblock.block_at(at.0)?;
        let is_live = match superblock.links[usize::from(block)] {
            LIVE => inside == 0,
            LIVE_INSIDE => self.inside.get(at.0) == Some(inside),
            _ => false,
        };
        is_live.then_some(Place { superblock: id, block, inside })
    }
}
