//! The cache of a thread (tcache): the chunks it freed last, at most seven of a size, ready to be used again.
//!
//! The real one links its chunks through their own memory. Here each size has a small array: the same order, last in first
//! out, without reading the chunks. The pages that the links would be written to are reported all the same.

use serde::{Deserialize, Serialize};

use super::chunk::{CACHED_UNITS, Chunk, LOST_BYTES, MIN_UNITS, UNIT_BYTES, Units, bytes_of};
use crate::index;

/// Bytes of the cache's own table (`tcache_perthread_struct`), a block of the thread's arena.
pub(super) const TABLE_BYTES: u64 = 640;
/// Chunks of one size, by default and at most (`TCACHE_FILL_COUNT`).
pub(super) const DEPTH: u8 = 7;
/// Sizes from 32 to 1040 bytes (`TCACHE_MAX_BINS`).
const SIZES: usize = (CACHED_UNITS - MIN_UNITS + 1) as usize;

/// A chunk of any arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Owned {
    pub arena: u32,
    pub chunk: Chunk,
}

/// The chunks of one size: a cache line of the host.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[repr(align(64))]
struct Stack {
    depth: u8,
    chunks: [Owned; DEPTH as usize],
}

/// See the [module page](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Tcache {
    /// The chunk that the real one's table lies in.
    pub table: Owned,
    /// Units of that chunk.
    pub table_units: u64,
    depth_max: u8,
    /// Units of all chunks in it.
    pub units: u64,
    /// 64, in two halves because serde knows no longer arrays.
    stacks: Box<[[Stack; SIZES / 2]; 2]>,
}

impl Tcache {
    pub fn new(table: Owned, table_units: Units, depth_max: u8) -> Tcache {
        Tcache { table, table_units: table_units.into(), depth_max, units: 0, stacks: Box::default() }
    }

    /// The last chunk put in, of those that a request of `bytes` can use, and its length.
    #[inline(always)]
    pub fn pop_for(&mut self, bytes: u64) -> Option<(Units, Owned)> {
        // Requests up to 24 bytes use the shortest chunks, every 16 bytes more the next longer ones.
        let slot = index((bytes.max(24) - 9) / UNIT_BYTES);
        let stack = self.stacks.as_flattened_mut().get_mut(slot)?;
        let depth = stack.depth.checked_sub(1)?;
        let chunk = *stack.chunks.get(usize::from(depth))?;
        stack.depth = depth;
        let units = Units::try_from(slot).ok()?.wrapping_add(MIN_UNITS);
        self.units = self.units.wrapping_sub(units.into());
        Some((units, chunk))
    }

    /// The last chunk put in, of those of this size.
    pub fn pop(&mut self, units: Units) -> Option<Owned> {
        self.pop_for(bytes_of(units) - LOST_BYTES).map(|(_, chunk)| chunk)
    }

    /// Whether a chunk of this size would be taken.
    #[inline]
    pub fn has_room(&self, units: Units) -> bool {
        self.stacks.as_flattened().get(slot(units)).is_some_and(|stack| stack.depth < self.depth_max)
    }

    /// Puts a chunk in where there is room; tells whether it did.
    #[inline(always)]
    pub fn push(&mut self, units: Units, chunk: Owned) -> bool {
        let Some(stack) = self.stacks.as_flattened_mut().get_mut(slot(units)) else { return false };
        let depth = stack.depth;
        match stack.chunks.get_mut(usize::from(depth)) {
            Some(place) if depth < self.depth_max => *place = chunk,
            _ => return false,
        }
        stack.depth = depth.wrapping_add(1);
        self.units = self.units.wrapping_add(units.into());
        true
    }

    /// All chunks with their sizes: from the shortest, in each size from the last put in.
    pub fn iter(&self) -> impl Iterator<Item = (Units, Owned)> {
        (MIN_UNITS..).zip(self.stacks.as_flattened()).flat_map(|(units, stack)| {
            stack.chunks[..usize::from(stack.depth)].iter().rev().map(move |&chunk| (units, chunk))
        })
    }
}

/// Beyond all of them for what is no chunk's length.
#[inline(always)]
fn slot(units: Units) -> usize {
    index(u64::from(units.wrapping_sub(MIN_UNITS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(place: u32) -> Owned {
        Owned { arena: 0, chunk: Chunk(place) }
    }

    #[test]
    fn seven_of_a_size_are_kept_and_the_last_one_comes_out_first() {
        let mut cache = Tcache::new(chunk(1), 41, DEPTH);
        let kept: Vec<bool> = (10..18).map(|place| cache.push(2, chunk(place))).collect();
        assert_eq!(kept, [true, true, true, true, true, true, true, false]);
        assert_eq!((cache.pop(2), cache.pop(2), cache.pop(3)), (Some(chunk(16)), Some(chunk(15)), None));
    }

    #[test]
    fn chunks_of_1040_bytes_are_kept_and_longer_ones_are_not() {
        let mut cache = Tcache::new(chunk(1), 41, DEPTH);
        assert!(cache.push(65, chunk(2)) && !cache.push(66, chunk(3)));
        assert!(!cache.has_room(66));
        assert_eq!((cache.pop_for(1033), cache.pop_for(u64::MAX)), (None, None));
        assert_eq!((cache.pop_for(1016), cache.pop_for(1017)), (None, Some((65, chunk(2)))));
    }
}
