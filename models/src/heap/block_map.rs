//! Which blocks of a heap are live, by address: the look-up that every `free` begins with.
//!
//! A real allocator finds a block's size in the header before it, in one step. [`BlockMap`] is that header kept beside the
//! heap: a number for each address that is a multiple of the map's grain, in leaves of [`LEAF_SLOTS`] slots that exist only
//! where blocks do. Neighbouring leaves are found through a span, a flat array; there are as many spans as the heap has
//! far-away pieces (break, mappings), so that a look-up is O(1) but for a binary search over those few.
//!
//! **Invariant.** A leaf of the pool belongs to exactly one place of one span, or is on the list of spare leaves and all zero.
//!
//! # Cost
//! 4 bytes for each grain of a leaf in use (a heap of 16-byte grains and 128-byte blocks: 32 bytes a block), 9 bytes a
//! leaf, nothing per block. `insert` allocates only when the heap reaches addresses it had not used before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Violation, ensure, index};

/// Slots of a leaf: 1 KiB of a heap with 16-byte grains.
pub const LEAF_SLOTS: u64 = 64;

/// Marks a slot whose number stands in `large`.
const IN_LARGE: u32 = u32::MAX;

/// A span grows over a gap of this many leaves, or of its own length if that is more: at most 4 KiB or half of it is empty.
const GAP_LEAVES_MIN: u64 = 1024;

/// A number for each live block of a heap. See the [module page](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlockMap {
    /// Addresses are multiples of `1 << grain_shift`.
    grain_shift: u32,
    /// Ascending by `first_leaf`, without overlap.
    spans: Vec<Span>,
    /// The span that the last change was in: most calls stay there.
    recent: u32,
    /// The leaves' slots, one leaf after the other; a slot is the number + 1, 0 where no block is. Leaf 0 is never used.
    slots: Vec<u32>,
    /// Live blocks of each leaf.
    leaf_blocks: Vec<u8>,
    /// Leaves that are in no span, all of their slots 0.
    spare_leaves: Vec<u32>,
    /// Numbers that do not fit a slot, by address.
    large: BTreeMap<u64, u64>,
    blocks: u64,
}

/// Leaves of neighbouring addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Span {
    /// Number of the first leaf: its lowest address over the bytes of a leaf.
    first_leaf: u64,
    /// Where each leaf lies in the pool; 0 where none is.
    leaves: Vec<u32>,
}

impl Span {
    fn end_leaf(&self) -> u64 {
        self.first_leaf + self.leaves.len() as u64
    }
}

/// A slot that exists: the leaf in the pool and the slot in `slots`.
#[derive(Clone, Copy)]
struct Place {
    leaf: usize,
    slot: usize,
}

impl BlockMap {
    /// No blocks. All addresses are going to be multiples of `grain_bytes`, a power of two.
    #[must_use]
    pub fn new(grain_bytes: u64) -> BlockMap {
        assert!(grain_bytes.is_power_of_two(), "a grain of {grain_bytes} bytes is no power of two");
        BlockMap {
            grain_shift: grain_bytes.trailing_zeros(),
            spans: Vec::new(),
            recent: 0,
            slots: Vec::new(),
            leaf_blocks: Vec::new(),
            spare_leaves: Vec::new(),
            large: BTreeMap::new(),
            blocks: 0,
        }
    }

    /// Live blocks.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.blocks
    }

    /// Whether no block is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// The number of the block at `at`; `None` when none starts there.
    #[inline]
    #[must_use]
    pub fn get(&self, at: u64) -> Option<u64> {
        let place = self.place(at)?;
        match self.slots[place.slot] {
            0 => None,
            IN_LARGE => self.large.get(&at).copied(),
            stored => Some(u64::from(stored - 1)),
        }
    }

    /// Notes a block at `at`.
    ///
    /// # Panics
    /// When a block is there already, or `at` is no multiple of the grain: the heap's own bug.
    #[inline]
    pub fn insert(&mut self, at: u64, number: u64) {
        assert!(self.is_on_grain(at), "block {at:#x} does not lie on a grain of {} bytes", 1_u64 << self.grain_shift);
        let place = self.place_for_insert(at);
        assert!(self.slots[place.slot] == 0, "two blocks at {at:#x}");
        self.leaf_blocks[place.leaf] += 1;
        self.blocks += 1;
        self.store(place, at, number);
    }

    /// Changes the number of the block at `at`.
    ///
    /// # Panics
    /// When no block is there: the heap's own bug.
    #[inline]
    pub fn set(&mut self, at: u64, number: u64) {
        let place = self.place(at).expect("a block whose number changes is live");
        assert!(self.slots[place.slot] != 0, "no block at {at:#x}");
        if self.slots[place.slot] == IN_LARGE {
            self.large.remove(&at);
        }
        self.store(place, at, number);
    }

    /// Forgets the block at `at` and returns its number; `None` when none starts there.
    #[inline]
    pub fn remove(&mut self, at: u64) -> Option<u64> {
        let place = self.place(at)?;
        let number = match self.slots[place.slot] {
            0 => return None,
            IN_LARGE => self.large.remove(&at).expect("a marked slot has its number in `large`"),
            stored => u64::from(stored - 1),
        };
        self.slots[place.slot] = 0;
        self.blocks -= 1;
        self.leaf_blocks[place.leaf] -= 1;
        if self.leaf_blocks[place.leaf] == 0 {
            self.retire_leaf(at);
        }
        Some(number)
    }

    /// All blocks and their numbers, ascending by address.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.spans.iter().flat_map(move |span| {
            span.leaves.iter().zip(span.first_leaf..).flat_map(move |(&leaf, number)| self.blocks_of(leaf, number))
        })
    }

    /// Checks that counters, leaves and slots agree.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), Violation> {
        let counted = self.iter().count() as u64;
        ensure(counted == self.blocks, || format!("{counted} live blocks in the map, {} counted", self.blocks))?;
        let placed = self.spans.iter().flat_map(|span| &span.leaves).filter(|&&leaf| leaf != 0).count();
        let leaves = self.leaf_blocks.len().saturating_sub(1);
        let spare = self.spare_leaves.len();
        ensure(placed + spare == leaves, || format!("{placed} leaves placed and {spare} spare of {leaves}"))?;
        let apart = self.spans.windows(2).all(|pair| pair[0].end_leaf() <= pair[1].first_leaf);
        ensure(apart, || "two spans of the block map overlap".to_owned())
    }

    #[inline]
    fn recent(&self) -> usize {
        index(self.recent.into())
    }

    fn is_on_grain(&self, at: u64) -> bool {
        at & ((1 << self.grain_shift) - 1) == 0
    }

    fn leaf_number(&self, at: u64) -> u64 {
        (at >> self.grain_shift) / LEAF_SLOTS
    }

    fn slot_in(&self, leaf: u32, at: u64) -> Place {
        let slot = u64::from(leaf) * LEAF_SLOTS + (at >> self.grain_shift) % LEAF_SLOTS;
        Place { leaf: index(leaf.into()), slot: index(slot) }
    }

    /// The slot of `at`, where its leaf exists.
    #[inline]
    fn place(&self, at: u64) -> Option<Place> {
        if !self.is_on_grain(at) {
            return None;
        }
        let number = self.leaf_number(at);
        let span = &self.spans[self.span_of(number)?];
        let leaf = span.leaves[index(number - span.first_leaf)];
        (leaf != 0).then(|| self.slot_in(leaf, at))
    }

    /// The span that reaches over leaf `number`.
    #[inline]
    fn span_of(&self, number: u64) -> Option<usize> {
        let covers = |span: &Span| span.first_leaf <= number && number < span.end_leaf();
        if self.spans.get(self.recent()).is_some_and(covers) {
            return Some(self.recent());
        }
        let above = self.spans.partition_point(|span| span.first_leaf <= number);
        let candidate = above.checked_sub(1)?;
        covers(&self.spans[candidate]).then_some(candidate)
    }

    fn place_for_insert(&mut self, at: u64) -> Place {
        let number = self.leaf_number(at);
        let span = self.span_of(number).unwrap_or_else(|| self.span_for(number));
        self.recent = position(span);
        let span = &self.spans[span];
        let known = span.leaves[index(number - span.first_leaf)];
        let leaf = if known == 0 { self.place_leaf(number) } else { known };
        self.slot_in(leaf, at)
    }

    /// Makes a span reach over leaf `number`, which none does: the one below or the one above if it is near, else a new one.
    #[cold]
    fn span_for(&mut self, number: u64) -> usize {
        let above = self.spans.partition_point(|span| span.first_leaf <= number);
        let near = |span: &Span, gap: u64| gap <= GAP_LEAVES_MIN.max(span.leaves.len() as u64);
        if let Some(below) = above.checked_sub(1) {
            let span = &mut self.spans[below];
            if near(span, number - span.end_leaf()) {
                span.leaves.resize(index(number + 1 - span.first_leaf), 0);
                return below;
            }
        }
        let floor = above.checked_sub(1).map_or(0, |below| self.spans[below].end_leaf());
        if let Some(span) = self.spans.get_mut(above)
            && near(span, span.first_leaf - number)
        {
            // Room for as many leaves again: mappings go down one after the other, and each step moves the array.
            let roomy = span.first_leaf.saturating_sub(span.leaves.len() as u64);
            let first_leaf = number.min(roomy).max(floor);
            span.leaves.splice(0..0, std::iter::repeat_n(0, index(span.first_leaf - first_leaf)));
            span.first_leaf = first_leaf;
            return above;
        }
        self.spans.insert(above, Span { first_leaf: number, leaves: vec![0] });
        above
    }

    #[cold]
    fn place_leaf(&mut self, number: u64) -> u32 {
        let leaf = self.spare_leaves.pop().unwrap_or_else(|| {
            if self.leaf_blocks.is_empty() {
                self.push_leaf();
            }
            self.push_leaf()
        });
        let recent = self.recent();
        let span = &mut self.spans[recent];
        span.leaves[index(number - span.first_leaf)] = leaf;
        leaf
    }

    fn push_leaf(&mut self) -> u32 {
        let leaf = u32::try_from(self.leaf_blocks.len()).expect("a heap has fewer than 2^32 leaves");
        self.leaf_blocks.push(0);
        self.slots.resize(self.slots.len() + index(LEAF_SLOTS), 0);
        leaf
    }

    fn retire_leaf(&mut self, at: u64) {
        let number = self.leaf_number(at);
        let span = self.span_of(number).expect("a leaf that becomes empty is in a span");
        self.recent = position(span);
        let span = &mut self.spans[span];
        let leaf = std::mem::take(&mut span.leaves[index(number - span.first_leaf)]);
        self.spare_leaves.push(leaf);
    }

    #[inline]
    fn store(&mut self, place: Place, at: u64, number: u64) {
        self.slots[place.slot] = match u32::try_from(number) {
            Ok(small) if small < IN_LARGE - 1 => small + 1,
            _ => {
                self.large.insert(at, number);
                IN_LARGE
            }
        };
    }

    fn blocks_of(&self, leaf: u32, number: u64) -> impl Iterator<Item = (u64, u64)> {
        let first_at = (number * LEAF_SLOTS) << self.grain_shift;
        let slots = if leaf == 0 { 0..0 } else { 0..LEAF_SLOTS };
        slots.filter_map(move |slot| {
            let at = first_at + (slot << self.grain_shift);
            self.get(at).map(|number| (at, number))
        })
    }
}

#[inline]
fn position(span: usize) -> u32 {
    u32::try_from(span).expect("a heap has fewer than 2^32 spans")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_a_block_by_the_address_it_starts_at_and_by_no_other() {
        let mut map = BlockMap::new(16);
        map.insert(0x1000, 40);
        assert_eq!(map.get(0x1000), Some(40));
        assert_eq!(map.get(0x1010), None);
        assert_eq!(map.get(0x1008), None, "not on a grain");
        assert_eq!(map.get(0x7fff_ffff_0000), None, "no span there");
    }

    #[test]
    fn keeps_numbers_that_do_not_fit_a_slot() {
        let mut map = BlockMap::new(1);
        for (at, number) in [(0, 0), (1, u64::from(u32::MAX) - 2), (2, u64::from(u32::MAX) - 1), (3, u64::MAX)] {
            map.insert(at, number);
            assert_eq!(map.get(at), Some(number));
        }
        map.set(3, 5);
        assert_eq!((map.get(3), map.large.len()), (Some(5), 1));
        assert_eq!(map.remove(2), Some(u64::from(u32::MAX) - 1));
        assert!(map.large.is_empty());
    }

    #[test]
    fn uses_an_emptied_leaf_again_elsewhere() {
        let mut map = BlockMap::new(16);
        for round in 0..100 {
            map.insert(round << 30, 1);
            assert_eq!(map.remove(round << 30), Some(1));
        }
        assert_eq!(map.leaf_blocks.len(), 2, "leaf 0 and one other");
    }

    #[test]
    fn one_span_follows_mappings_that_go_down() {
        let mut map = BlockMap::new(16);
        for step in 0..1_000_u64 {
            map.insert(0x7fff_0000_0000 - step * 0x2_1000, step);
        }
        map.check().unwrap();
        assert!(map.spans.len() < 4, "{} spans", map.spans.len());
        let reach: usize = map.spans.iter().map(|span| span.leaves.len()).sum();
        assert!(reach < 2 * 1_000 * 0x2_1000 / 1024, "{reach} leaves");
    }

    proptest! {
        #[test]
        fn answers_as_an_ordered_map(
            steps in prop::collection::vec((0_u8..4, 0_u64..3, 0_u64..3_000, any::<u64>()), 1..400),
        ) {
            let mut map = BlockMap::new(8);
            let mut oracle = BTreeMap::new();
            for (act, region, offset, number) in steps {
                let at = region * 0x3fff_0000_0000 + ((offset / 3) << 3) + offset % 3 * 0x40_0000;
                match (act, oracle.contains_key(&at)) {
                    (0 | 1, false) => {
                        map.insert(at, number);
                        oracle.insert(at, number);
                    }
                    (0, true) => {
                        map.set(at, number);
                        oracle.insert(at, number);
                    }
                    _ => prop_assert_eq!(map.remove(at), oracle.remove(&at)),
                }
                prop_assert_eq!(map.get(at), oracle.get(&at).copied());
                prop_assert_eq!(map.len(), oracle.len() as u64);
            }
            prop_assert_eq!(map.check(), Ok(()));
            prop_assert!(map.iter().eq(oracle));
        }
    }
}
