//! What lies on each page: the way from an address to its extent or slab in a few steps (`rtree.h`, `emap.c`).
//!
//! Entries stand in leaves of 2 MiB of addresses, which exist only where extents are; neighbouring leaves are found through
//! a span, a flat array. Heaps grow by mappings that lie below each other, so that there are one or two spans.

use serde::{Deserialize, Serialize};

use super::classes::PAGE_BYTES;
use crate::index;

/// Pages of a leaf. The real one's tree has 512 entries on each page, so that a leaf that comes into being is a page of
/// the tree that is written for the first time.
const LEAF_PAGES: u64 = 512;
/// A span grows over a gap of this many leaves (1 GiB), or of its own length if that is more.
const GAP_LEAVES_MIN: u64 = 512;

/// What an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// A slab, by its number: every page of a slab says so.
    Slab(u32),
    /// Another extent: its first and its last page say so.
    Extent(u32),
    Nothing,
}

/// Entries by page. See the [module page](self).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PageMap {
    /// Ascending, without overlap.
    spans: Vec<Span>,
    /// The span that the last new entry was in.
    recent: u32,
    /// Entries of leaf after leaf; leaf 0 is empty for good. 0: nothing; `2 * extent`; `2 * slab + 1`.
    entries: Vec<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Span {
    /// Its lowest address over the bytes of a leaf.
    first_leaf: u64,
    /// Where the entries of each leaf start, in leaves; 0 where none is.
    leaves: Vec<u32>,
}

impl PageMap {
    /// What lies on the page of an address.
    #[inline]
    pub(super) fn at(&self, at: u64) -> On {
        match self.entry(at) {
            0 => On::Nothing,
            slab if slab & 1 == 1 => On::Slab(slab >> 1),
            extent => On::Extent(extent >> 1),
        }
    }

    #[inline]
    fn entry(&self, at: u64) -> u32 {
        let leaf_number = at / (LEAF_PAGES * PAGE_BYTES);
        let Some(leaf) = self.leaf(leaf_number) else { return 0 };
        let within = at / PAGE_BYTES % LEAF_PAGES;
        self.entries[index(u64::from(leaf) * LEAF_PAGES + within)]
    }

    #[inline]
    fn leaf(&self, number: u64) -> Option<u32> {
        if let Some(span) = self.spans.get(index(self.recent.into()))
            && let Some(&leaf) = span.leaves.get(index(number.wrapping_sub(span.first_leaf)))
        {
            return Some(leaf);
        }
        self.leaf_elsewhere(number)
    }

    fn leaf_elsewhere(&self, number: u64) -> Option<u32> {
        let above = self.spans.partition_point(|span| span.first_leaf <= number);
        let span = &self.spans[above.checked_sub(1)?];
        span.leaves.get(index(number - span.first_leaf)).copied()
    }

    /// Writes an entry. Whether it is the first one of its leaf.
    pub(super) fn set(&mut self, at: u64, on: On) -> bool {
        let number = at / (LEAF_PAGES * PAGE_BYTES);
        let (leaf, is_new) = self.leaf_for(number);
        let within = at / PAGE_BYTES % LEAF_PAGES;
        self.entries[index(u64::from(leaf) * LEAF_PAGES + within)] = match on {
            On::Nothing => 0,
            On::Extent(extent) => extent << 1,
            On::Slab(slab) => slab << 1 | 1,
        };
        is_new
    }

    fn leaf_for(&mut self, number: u64) -> (u32, bool) {
        match self.leaf(number) {
            Some(leaf) if leaf != 0 => (leaf, false),
            _ => (self.add_leaf(number), true),
        }
    }

    #[cold]
    fn add_leaf(&mut self, number: u64) -> u32 {
        let span = self.span_for(number);
        self.recent = u32::try_from(span).expect("a heap has few spans");
        if self.entries.is_empty() {
            self.entries.resize(index(LEAF_PAGES), 0);
        }
        let leaf = u32::try_from(self.entries.len() as u64 / LEAF_PAGES).expect("a heap has fewer than 2^32 leaves");
        self.entries.resize(self.entries.len() + index(LEAF_PAGES), 0);
        let span = &mut self.spans[span];
        span.leaves[index(number - span.first_leaf)] = leaf;
        leaf
    }

    /// A span that reaches over leaf `number`: the one below or above if it is near, else a new one.
    fn span_for(&mut self, number: u64) -> usize {
        let above = self.spans.partition_point(|span| span.first_leaf <= number);
        let near = |span: &Span, gap: u64| gap <= GAP_LEAVES_MIN.max(span.leaves.len() as u64);
        if let Some(below) = above.checked_sub(1) {
            let span = &mut self.spans[below];
            let end = span.first_leaf + span.leaves.len() as u64;
            if number < end {
                return below;
            }
            if near(span, number - end) {
                span.leaves.resize(index(number + 1 - span.first_leaf), 0);
                return below;
            }
        }
        let floor = above.checked_sub(1).map_or(0, |below| {
            let span = &self.spans[below];
            span.first_leaf + span.leaves.len() as u64
        });
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
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn answers_as_an_ordered_map(
            steps in prop::collection::vec((0_u64..3, 0_u64..4_000, 0_u32..5), 1..300),
        ) {
            let (mut map, mut oracle) = (PageMap::default(), BTreeMap::new());
            let mut leaves = std::collections::BTreeSet::new();
            for (region, page, number) in steps {
                let page = region * 0x3_ffff_0000 + page * 97;
                let on = match number {
                    0 => On::Nothing,
                    odd if odd % 2 == 1 => On::Slab(odd),
                    even => On::Extent(even),
                };
                prop_assert_eq!(map.set(page << 12 | 0x123, on), leaves.insert(page / LEAF_PAGES));
                oracle.insert(page, on);
                for (&page, &on) in &oracle {
                    prop_assert_eq!(map.at(page << 12), on);
                }
            }
            prop_assert_eq!(map.at(0x5555_5555_0000), On::Nothing);
        }
    }
}
