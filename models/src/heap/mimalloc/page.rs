//! A page: a run of slices with blocks of one size, and its three lists of free blocks.
//!
//! The real lists are linked through the free blocks themselves; here the links lie beside them, one of two bytes for each
//! block, and tell also which blocks the program has.

use serde::{Deserialize, Serialize};

use super::sizes::{SLICE_BYTES, first_block_offset};
use crate::{Address, index};

/// No page, no thread.
pub(super) const NONE: u32 = u32::MAX;

/// Link of the last block of a list.
pub(super) const END: u16 = u16::MAX;
/// The program has the block.
pub(super) const LIVE: u16 = u16::MAX - 1;
/// The program has the block, at an address inside it.
pub(super) const LIVE_INSIDE: u16 = u16::MAX - 2;
/// Another thread freed the block; its owner has it on the list of delayed frees.
pub(super) const DELAYED: u16 = u16::MAX - 3;

/// A page is extended by this many bytes of blocks, but by four blocks at least.
const EXTEND_BYTES: u64 = 4096;
const EXTEND_BLOCKS_MIN: u64 = 4;

/// `offset * reciprocal >> RECIPROCAL_SHIFT` is `offset / block_bytes` for offsets in a page of many blocks.
const RECIPROCAL_SHIFT: u32 = 40;
const OFFSET_MASK: u64 = 8 * SLICE_BYTES - 1;

/// What a free by another thread does (`mi_delayed_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RemoteFree {
    /// The next one goes to the delayed list of the heap that owns the page.
    Delayed,
    /// They go to the page: the heap has been told already.
    ToPage,
    /// They go to the page for good: it has no owner.
    Never,
}

/// What is told of a slice: of the first slice of a page or free span all of it, of others only where that is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Page {
    /// Address of the first block.
    pub start: u64,
    /// 0 for a free span.
    pub block_bytes: u64,
    /// 0 for a page of one block.
    reciprocal: u64,
    /// Of each block so far: the next one of its list, or that the program has it.
    pub links: Vec<u16>,
    /// What `malloc` takes.
    pub free: u16,
    /// What the owner gave back.
    pub local_free: u16,
    /// Blocks that are neither in `free` nor in `local_free`.
    pub used: u16,
    /// Blocks that fit.
    pub reserved: u16,
    /// The thread whose heap has the page; none when it is abandoned.
    pub owner: u32,
    /// First slice of the page or span that this one belongs to.
    pub head: u32,
    /// What other threads gave back.
    pub thread_free: u16,
    pub bin: u8,
    /// Rounds until an unused page is given back; 0 where it is not kept.
    pub retire_expire: u8,
    pub remote: RemoteFree,
    /// In the queue of full pages.
    pub is_full: bool,
    /// A free span that is in a queue.
    pub is_queued: bool,
    pub slices: u32,
    /// Neighbours in the queue of pages, or of free spans.
    pub next: u32,
    pub previous: u32,
    pub segment: u32,
}

impl Page {
    /// A slice of that segment of which nothing is known yet.
    pub fn unknown(segment: u32) -> Page {
        Page {
            start: 0,
            block_bytes: 0,
            reciprocal: 0,
            links: Vec::new(),
            free: END,
            local_free: END,
            used: 0,
            reserved: 0,
            owner: NONE,
            head: NONE,
            thread_free: END,
            bin: 0,
            retire_expire: 0,
            remote: RemoteFree::Delayed,
            is_full: false,
            is_queued: false,
            slices: 0,
            next: NONE,
            previous: NONE,
            segment,
        }
    }

    /// Lays the page out for blocks of that size, none of them made yet (`mi_page_init`). It starts at `at`.
    pub fn lay_out(&mut self, at: u64, bin: u8, block_bytes: u64) {
        let bytes = self.bytes();
        let offset = first_block_offset(block_bytes);
        self.start = at + offset;
        self.block_bytes = block_bytes;
        let blocks = (bytes - offset) / block_bytes;
        self.reserved = u16::try_from(blocks).expect("a page has fewer than 2^16 blocks");
        self.reciprocal = if blocks == 1 { 0 } else { (1_u64 << RECIPROCAL_SHIFT).div_ceil(block_bytes) };
        self.bin = bin;
        self.links.clear();
        (self.free, self.local_free, self.thread_free) = (END, END, END);
        self.used = 0;
        self.retire_expire = 0;
        self.remote = RemoteFree::Delayed;
    }

    /// Bytes of its slices.
    pub fn bytes(&self) -> u64 {
        u64::from(self.slices) * SLICE_BYTES
    }

    /// Bytes of all its blocks.
    pub fn bytes_of_blocks(&self) -> u64 {
        u64::from(self.reserved) * self.block_bytes
    }

    pub fn is_free_span(&self) -> bool {
        self.block_bytes == 0
    }

    pub fn address(&self, block: u16) -> Address {
        Address(self.start + u64::from(block) * self.block_bytes)
    }

    /// The block that `at` lies in, and how far in, if the page has made it.
    #[inline]
    pub fn block_at(&self, at: u64) -> Option<(u16, u64)> {
        let offset = at.checked_sub(self.start)?;
        let nth = if self.reciprocal == 0 { 0 } else { ((offset & OFFSET_MASK) * self.reciprocal) >> RECIPROCAL_SHIFT };
        let inside = offset.checked_sub(nth * self.block_bytes)?;
        let is_made = nth < self.links.len() as u64 && inside < self.block_bytes;
        is_made.then_some((u16::try_from(nth).ok()?, inside))
    }

    pub fn link(&self, block: u16) -> u16 {
        self.links[usize::from(block)]
    }

    /// Takes a block from `free`.
    #[inline]
    pub fn pop(&mut self) -> Option<Address> {
        let block = self.free;
        let link = self.links.get_mut(usize::from(block))?;
        self.free = std::mem::replace(link, LIVE);
        self.used += 1;
        Some(self.address(block))
    }

    /// The owner gives a block back.
    #[inline]
    pub fn push_local(&mut self, block: u16) {
        self.links[usize::from(block)] = self.local_free;
        self.local_free = block;
        self.used -= 1;
    }

    /// Another thread gives a block back: it counts as used until it is collected.
    pub fn push_remote(&mut self, block: u16) {
        self.links[usize::from(block)] = self.thread_free;
        self.thread_free = block;
    }

    /// Makes freed blocks available (`_mi_page_free_collect`): those of other threads go in front of `local_free`, and all of it
    /// becomes `free` where that is empty.
    pub fn collect(&mut self) {
        if self.thread_free != END {
            let (last, count) = self.last_of(self.thread_free);
            self.links[usize::from(last)] = self.local_free;
            self.local_free = std::mem::replace(&mut self.thread_free, END);
            self.used -= count;
        }
        if self.free == END {
            self.free = std::mem::replace(&mut self.local_free, END);
        }
    }

    /// The same, and `local_free` goes in front of a `free` that is not empty.
    pub fn collect_all(&mut self) {
        self.collect();
        if self.local_free != END {
            let (last, _) = self.last_of(self.local_free);
            self.links[usize::from(last)] = self.free;
            self.free = std::mem::replace(&mut self.local_free, END);
        }
    }

    /// The last block of a list that is not empty, and how many there are.
    fn last_of(&self, first: u16) -> (u16, u16) {
        let (mut last, mut count) = (first, 1);
        while self.link(last) != END {
            last = self.link(last);
            count += 1;
        }
        (last, count)
    }

    /// Whether a block can be had, now or after an extension (`mi_page_has_any_available`).
    pub fn has_room(&self) -> bool {
        self.used < self.reserved
    }

    pub fn can_extend(&self) -> bool {
        self.links.len() < usize::from(self.reserved)
    }

    /// Makes the next blocks and puts them on `free`, which is empty (`mi_page_extend_free`). Which blocks are new.
    pub fn extend(&mut self) -> std::ops::Range<u16> {
        let made = u16::try_from(self.links.len()).expect("a page has fewer than 2^16 blocks");
        let more = EXTEND_BLOCKS_MIN.max(EXTEND_BYTES / self.block_bytes).min(u64::from(self.reserved - made));
        let end = made + u16::try_from(more).expect("no more than there are");
        self.links.extend((made + 1..end).chain([self.free]));
        self.free = made;
        made..end
    }

    /// Blocks of a list, in its order.
    pub fn list(&self, first: u16) -> impl Iterator<Item = u16> {
        let linked = move |&block: &u16| self.links.get(usize::from(block)).copied().filter(|&next| next < DELAYED);
        std::iter::successors((first != END).then_some(first), linked).take(index(u64::from(self.reserved) + 1))
    }
}
