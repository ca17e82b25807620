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
mod superblock;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::classes::{ALIGN_BYTES, Classes, large_class};
use self::heaps::{GLOBAL, Heaps};
use self::large::Large;
use self::superblock::{BUFFERED, First, HEADER_BYTES, LIVE, LIVE_INSIDE, NO_CLASS, NONE, Superblock};
use super::aligned_map::map_aligned;
use super::block_map::BlockMap;
use super::{
    HeapAllocator, HeapFreeError, HeapSetting, HeapStats, MapRequest, OutOfMemory, Piece, ReallocError, SystemMemory,
};
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

/// What a workload can set: a preset, and what is to differ from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HoardOptions {
    /// Which Hoard.
    pub preset: Preset,
    /// S, a power of two from 4 KiB to 512 KiB.
    pub superblock_bytes: Option<u64>,
    /// f, in eighths: 1 to 7.
    pub emptiness_eighths: Option<u64>,
    /// K.
    pub slack_superblocks: Option<u64>,
    /// P; without it twice the processors, or 128 in v3.
    pub heaps: Option<u32>,
    /// Bytes of freed blocks that each thread keeps for itself; 0 for none.
    pub thread_buffer_bytes: Option<u64>,
    /// Freed large objects are kept for later.
    pub large_cache: Option<bool>,
    /// Empty superblocks of the global heap beyond this many are unmapped; without it none is.
    pub keep_empty: Option<u64>,
}

/// The Hoard of the paper or of the later implementation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// ASPLOS 2000: S = 8 KiB, f = 1/4, K = 0.
    #[default]
    Paper,
    /// Version 3: S = 256 KiB, f = 1/8, K = 2, thread buffers.
    V3,
}

/// A preset with what differs from it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Rules {
    preset: Preset,
    superblock_bytes: u64,
    emptiness_eighths: u64,
    slack_bytes: u64,
    /// None until the processors are known.
    heaps: Option<u32>,
    buffer_bytes: u64,
    keep_empty: Option<u64>,
    first: First,
}

/// Blocks to this length go to a thread's buffer.
const BUFFERED_BYTES_MAX: u64 = 1024;
const HEAPS_V3: u32 = 128;
const HEAPS_FOR_EACH_CPU: u32 = 2;
/// More heaps than any machine has processors.
const HEAPS_MAX: u32 = 65_536;

impl HoardOptions {
    fn rules(&self) -> Result<Rules, BadOptions> {
        let is_paper = self.preset == Preset::Paper;
        let pick = |given: Option<u64>, paper, v3| given.unwrap_or(if is_paper { paper } else { v3 });
        let superblock_bytes = pick(self.superblock_bytes, 8 << 10, 256 << 10);
        let bad = |option, found: u64, allowed: &str| {
            Err(BadOptions { option, found: found.to_string(), allowed: allowed.to_owned() })
        };
        if !superblock_bytes.is_power_of_two() || !(4 << 10..=512 << 10).contains(&superblock_bytes) {
            return bad("superblock_bytes", superblock_bytes, "a power of two from 4 KiB to 512 KiB");
        }
        let emptiness_eighths = pick(self.emptiness_eighths, 2, 1);
        if !(1..=7).contains(&emptiness_eighths) {
            return bad(
                "emptiness_eighths",
                emptiness_eighths,
                "1 to 7 eighths of a superblock are empty before it moves",
            );
        }
        let slack_superblocks = pick(self.slack_superblocks, 0, 2);
        if slack_superblocks > u64::from(u32::MAX) {
            return bad("slack_superblocks", slack_superblocks, "a heap keeps at most 2^32 superblocks of slack");
        }
        if let Some(heaps) = self.heaps.filter(|&heaps| !(1..=HEAPS_MAX).contains(&heaps)) {
            return bad("heaps", heaps.into(), "there are 1 to 65536 heaps for processors");
        }
        Ok(Rules {
            preset: self.preset,
            superblock_bytes,
            emptiness_eighths,
            slack_bytes: slack_superblocks * superblock_bytes,
            heaps: self.heaps.or((!is_paper).then_some(HEAPS_V3)),
            buffer_bytes: pick(self.thread_buffer_bytes, 0, 16 << 20),
            keep_empty: self.keep_empty,
            first: if is_paper { First::Freed } else { First::NeverUsed },
        })
    }
}

impl Rules {
    /// Longer objects are large.
    fn block_bytes_max(&self) -> u64 {
        match self.preset {
            Preset::Paper => self.superblock_bytes / 2,
            Preset::V3 => self.superblock_bytes / 8,
        }
    }

    fn has_current(&self) -> bool {
        self.preset == Preset::V3
    }

    /// Whether a heap that uses and holds so much is to give some of it to the global heap.
    fn is_too_empty(&self, used: u64, held: u64) -> bool {
        used + self.slack_bytes < held && 8 * used < (8 - self.emptiness_eighths) * held
    }
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
        *self.rules.heaps.get_or_insert_with(|| os.cpus().clamp(1, HEAPS_MAX / HEAPS_FOR_EACH_CPU) * HEAPS_FOR_EACH_CPU)
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

    /// A block of a class for a thread: from its buffer, else from its heap.
    fn take_block(
        &mut self,
        thread: ThreadId,
        class: u8,
        os: &mut dyn SystemMemory,
    ) -> Result<(u32, u16), OutOfMemory> {
        let bytes = self.classes.bytes(class);
        if let Some((id, block)) = self.take_buffered(thread, class, bytes) {
            self.heaps.superblock(id).links[usize::from(block)] = LIVE;
            self.count_live(bytes);
            return Ok((id, block));
        }
        let heap = 1 + thread.0 % self.processors(os);
        self.heaps.make_room_for(heap);
        self.heaps.lock(heap, thread);
        let id = self.superblock_for(heap, class, thread, os)?;
        let is_current = *self.heaps.current(heap, class) == id;
        if !is_current {
            self.heaps.unlink(id);
        }
        let (block, _) = self.heaps.superblock(id).take(self.rules.first);
        if self.rules.has_current() && !is_current {
            self.make_current(heap, class, id);
        } else if !is_current {
            self.heaps.link(id);
        }
        let account = self.heaps.account(heap, class);
        account.used += bytes;
        account.is_settled = false;
        self.count_live(bytes);
        Ok((id, block))
    }

    fn count_live(&mut self, bytes: u64) {
        self.counts.blocks += 1;
        self.counts.live_bytes += bytes;
    }

    /// The superblock of a class that serves next becomes current; the one before goes to its group.
    fn make_current(&mut self, heap: u32, class: u8, id: u32) {
        let before = std::mem::replace(self.heaps.current(heap, class), id);
        if before != NONE {
            self.heaps.link(before);
        }
    }

    /// A superblock of a heap with room for a block of a class: its own, one from the global heap, a new one (rule 3).
    fn superblock_for(
        &mut self,
        heap: u32,
        class: u8,
        thread: ThreadId,
        os: &mut dyn SystemMemory,
    ) -> Result<u32, OutOfMemory> {
        let current = *self.heaps.current(heap, class);
        if current != NONE {
            let Superblock { used, blocks, .. } = *self.heaps.superblock(current);
            if used < blocks {
                return Ok(current);
            }
        }
        if let Some(id) = self.heaps.fullest(heap, class) {
            return Ok(id);
        }
        self.heaps.lock(GLOBAL, thread);
        if let Some(id) = self.heaps.fullest(GLOBAL, class) {
            self.heaps.unlink(id);
            self.counts.from_global += 1;
            self.admit(heap, id);
            return Ok(id);
        }
        let id = match self.heaps.empty.pop() {
            Some(id) => {
                self.counts.from_global += 1;
                id
            }
            None => self.map_superblock(os)?,
        };
        let bytes = self.classes.bytes(class);
        self.heaps.superblock(id).lay_out(class, bytes, self.rules.superblock_bytes);
        let held = self.heaps.superblock(id).held_bytes();
        self.counts.carved += held;
        self.heaps.superblock(id).heap = GLOBAL;
        self.heaps.account(GLOBAL, class).held += held;
        self.admit(heap, id);
        Ok(id)
    }

    /// A superblock that is in no group becomes a member of a heap.
    fn admit(&mut self, heap: u32, id: u32) {
        self.heaps.hand_to(heap, id);
        self.heaps.link(id);
    }

    fn map_superblock(&mut self, os: &mut dyn SystemMemory) -> Result<u32, OutOfMemory> {
        let bytes = self.rules.superblock_bytes;
        let count = u32::try_from(self.heaps.superblocks.len()).map_err(|_| OutOfMemory)?;
        let start = map_aligned(&MapRequest::anywhere(bytes), bytes, os)?;
        os.touch(Address(start), HEADER_BYTES);
        let id = self.spare.pop().unwrap_or(count);
        if id == count {
            self.heaps.superblocks.push(Superblock::new(start));
        } else {
            *self.heaps.superblock(id) = Superblock::new(start);
        }
        self.by_start.insert(start, id.into());
        self.counts.superblocks += 1;
        Ok(id)
    }

    /// A block goes back to its superblock, and superblocks to the global heap where the heap is too empty (rules 4 and 5).
    fn give_block(&mut self, thread: ThreadId, id: u32, block: u16, os: &mut dyn SystemMemory) {
        let Superblock { heap, class, block_bytes, .. } = *self.heaps.superblock(id);
        self.heaps.lock(heap, thread);
        let is_current = *self.heaps.current(heap, class) == id;
        if !is_current {
            self.heaps.unlink(id);
        }
        self.heaps.superblock(id).give(block);
        let account = self.heaps.account(heap, class);
        account.used -= block_bytes;
        account.is_settled = true;
        if heap == GLOBAL {
            return self.settle_global(id, os);
        }
        if !is_current {
            self.heaps.link(id);
        }
        loop {
            let heaps::Account { used, held, .. } = *self.heaps.account(heap, class);
            if !self.rules.is_too_empty(used, held) {
                return;
            }
            self.heaps.lock(GLOBAL, thread);
            let emptiest = self.emptiest_for_global(heap, class);
            self.move_to_global(heap, emptiest, os);
        }
    }

    /// A superblock of the global heap that is in no group: an empty one has no class any more.
    fn settle_global(&mut self, id: u32, os: &mut dyn SystemMemory) {
        let superblock = self.heaps.superblock(id);
        if superblock.used > 0 {
            return self.heaps.link(id);
        }
        let (held, class) = (superblock.held_bytes(), superblock.class);
        superblock.class = NO_CLASS;
        superblock.links.clear();
        self.heaps.account(GLOBAL, class).held -= held;
        self.counts.carved -= held;
        self.heaps.empty.push(id);
        if self.rules.keep_empty.is_some_and(|keep| self.heaps.empty.len() as u64 > keep) {
            self.unmap_empty(os);
        }
    }

    fn unmap_empty(&mut self, os: &mut dyn SystemMemory) {
        let id = self.heaps.empty.pop().expect("one was put there");
        let start = self.heaps.superblock(id).start;
        self.by_start.remove(start);
        os.munmap(Address(start), self.rules.superblock_bytes);
        self.counts.superblocks -= 1;
        self.spare.push(id);
    }

    /// The superblock that a heap which is too empty gives away: at least f of it is empty.
    fn emptiest_for_global(&self, heap: u32, class: u8) -> u32 {
        let is_empty_enough = |&id: &u32| {
            let superblock = &self.heaps.superblocks[index(id.into())];
            8 * superblock.used_bytes() <= (8 - self.rules.emptiness_eighths) * superblock.held_bytes()
        };
        let of_class = |class: u8| self.heaps.emptiest(heap, class).filter(is_empty_enough);
        let others = || (0..self.classes.len()).filter_map(|other| of_class(u8::try_from(other).ok()?));
        let emptiness = |&id: &u32| {
            let superblock = &self.heaps.superblocks[index(id.into())];
            (1024 * superblock.used_bytes()).checked_div(superblock.held_bytes())
        };
        let found = of_class(class).or_else(|| others().min_by_key(emptiness));
        found.expect("a heap that is too empty has a superblock that is empty enough")
    }

    fn move_to_global(&mut self, heap: u32, id: u32, os: &mut dyn SystemMemory) {
        let class = self.heaps.superblock(id).class;
        let current = self.heaps.current(heap, class);
        if *current == id {
            *current = NONE;
        } else {
            self.heaps.unlink(id);
        }
        self.heaps.hand_to(GLOBAL, id);
        self.counts.to_global += 1;
        self.settle_global(id, os);
    }

    fn take_buffered(&mut self, thread: ThreadId, class: u8, bytes: u64) -> Option<(u32, u16)> {
        let buffer = self.buffers.get_mut(index(thread.0.into()))?;
        let found = buffer.blocks.get_mut(usize::from(class))?.pop()?;
        buffer.bytes -= bytes;
        self.counts.buffered_bytes -= bytes;
        Some(found)
    }

    /// Whether the thread keeps a freed block for itself.
    fn buffer(&mut self, thread: ThreadId, id: u32, block: u16, class: u8, bytes: u64) -> bool {
        if bytes > BUFFERED_BYTES_MAX || self.rules.buffer_bytes < bytes {
            return false;
        }
        if self.buffers.len() <= index(thread.0.into()) {
            self.buffers.resize_with(index(thread.0.into()) + 1, Buffer::default);
        }
        let buffer = &mut self.buffers[index(thread.0.into())];
        if buffer.bytes + bytes > self.rules.buffer_bytes {
            return false;
        }
        if buffer.blocks.len() <= usize::from(class) {
            buffer.blocks.resize_with(usize::from(class) + 1, Vec::new);
        }
        buffer.blocks[usize::from(class)].push((id, block));
        buffer.bytes += bytes;
        self.counts.buffered_bytes += bytes;
        self.heaps.superblock(id).links[usize::from(block)] = BUFFERED;
        true
    }
}
