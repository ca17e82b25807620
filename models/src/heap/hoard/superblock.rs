//! A superblock: a header and blocks of one class.

use serde::{Deserialize, Serialize};

use crate::Address;

/// No superblock.
pub(super) const NONE: u32 = u32::MAX;
/// No class: the superblock is empty and can be given to any.
pub(super) const NO_CLASS: u8 = u8::MAX;

/// At the start of each superblock.
pub(super) const HEADER_BYTES: u64 = 64;

const END: u16 = u16::MAX;
/// The program has the block.
pub(super) const LIVE: u16 = u16::MAX - 1;
/// The program has the block, from an aligned place inside it.
pub(super) const LIVE_INSIDE: u16 = u16::MAX - 2;
/// A thread's buffer has the block.
pub(super) const BUFFERED: u16 = u16::MAX - 3;

/// Groups by fullness: empty, eight by eighths, full.
pub(super) const GROUPS: usize = 10;
pub(super) const FULL: u8 = 9;

/// What is handed out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum First {
    /// The block freed last; without one, the next that was never used.
    Freed,
    /// The next block that was never used, then the one freed last; an empty superblock starts anew.
    NeverUsed,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Superblock {
    pub start: u64,
    pub class: u8,
    /// 0 is the global heap.
    pub heap: u32,
    pub block_bytes: u64,
    pub blocks: u16,
    /// Blocks that are not free, those in buffers among them.
    pub used: u16,
    /// Of each block so far: the next free one, or who has it.
    pub links: Vec<u16>,
    free: u16,
    /// Neighbours in its group.
    pub previous: u32,
    pub next: u32,
}

impl Superblock {
    /// An empty one without a class.
    pub fn new(start: u64) -> Superblock {
        Superblock {
            start,
            class: NO_CLASS,
            heap: 0,
            block_bytes: 0,
            blocks: 0,
            used: 0,
            links: Vec::new(),
            free: END,
            previous: NONE,
            next: NONE,
        }
    }

    /// Lays an empty superblock out for a class.
    pub fn lay_out(&mut self, class: u8, block_bytes: u64, superblock_bytes: u64) {
        assert!(self.used == 0, "a superblock that changes its class is empty");
        (self.class, self.block_bytes) = (class, block_bytes);
        let blocks = (superblock_bytes - HEADER_BYTES) / block_bytes;
        self.blocks = u16::try_from(blocks).expect("the options allow fewer blocks");
        self.links.clear();
        self.free = END;
    }

    /// Bytes of its blocks: what it counts as held.
    pub fn held_bytes(&self) -> u64 {
        u64::from(self.blocks) * self.block_bytes
    }

    /// Bytes of its blocks that are in use or in a buffer.
    pub fn used_bytes(&self) -> u64 {
        u64::from(self.used) * self.block_bytes
    }

    /// The group of its fullness: 0 is empty, then eighths, then full.
    pub fn group(&self) -> u8 {
        let (used, blocks) = (u32::from(self.used), u32::from(self.blocks));
        let eighth = if used == 0 { 0 } else { 1 + 8 * used / blocks };
        u8::try_from(eighth).expect("nine groups and the empty ones")
    }

    /// Where a block starts.
    pub fn address(&self, block: u16) -> Address {
        Address(self.start + HEADER_BYTES + u64::from(block) * self.block_bytes)
    }

    /// The block that `at` lies in, and how far in, if it was ever used.
    pub fn block_at(&self, at: u64) -> Option<(u16, u64)> {
        let offset = at.checked_sub(self.start + HEADER_BYTES)?;
        let nth = offset.checked_div(self.block_bytes)?;
        let block = u16::try_from(nth).ok().filter(|&block| usize::from(block) < self.links.len())?;
        Some((block, offset % self.block_bytes))
    }

    /// Takes a block of a superblock that is not full; whether it was never used.
    pub fn take(&mut self, first: First) -> (u16, bool) {
        let made = u16::try_from(self.links.len()).expect("fewer than 2^16 blocks");
        if first == First::NeverUsed && self.used == 0 {
            self.links.clear();
            self.free = END;
            return self.take_next(0);
        }
        let prefers_new = first == First::NeverUsed && made < self.blocks;
        if self.free == END || prefers_new {
            return self.take_next(made);
        }
        let block = self.free;
        self.free = std::mem::replace(&mut self.links[usize::from(block)], LIVE);
        self.used += 1;
        (block, false)
    }

    fn take_next(&mut self, made: u16) -> (u16, bool) {
        assert!(made < self.blocks, "a superblock that was chosen has a free block");
        self.links.push(LIVE);
        self.used += 1;
        (made, true)
    }

    /// Takes a block back.
    pub fn give(&mut self, block: u16) {
        self.links[usize::from(block)] = self.free;
        self.free = block;
        self.used -= 1;
    }

    /// Free blocks that were used before, in the order they would be taken.
    pub fn free_list(&self) -> impl Iterator<Item = u16> {
        let next = |&block: &u16| Some(self.links[usize::from(block)]).filter(|&next| next < BUFFERED);
        std::iter::successors(Some(self.free).filter(|&first| first != END), next).take(self.links.len() + 1)
    }
}
