//! Which pages of an address space are present, and which page tables it has for them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::area::PageRange;
use crate::index;

/// Entries of a page table, at every level.
pub const TABLE_ENTRIES: u64 = 512;
/// Levels of a page table; the top one exists as long as its process.
pub const TABLE_LEVELS: u8 = 4;

/// A page table below the top one: level 1 maps pages, level 2 tables of level 1, level 3 tables of level 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableId {
    /// 1, 2 or 3.
    pub level: u8,
    /// Its place among the tables of its level: the page number divided by the pages it spans.
    pub index: u64,
}

impl TableId {
    /// The table of `level` that `page` needs.
    #[must_use]
    pub const fn of(level: u8, page: u64) -> TableId {
        TableId { level, index: page >> (9 * level) }
    }

    /// The pages it spans.
    #[must_use]
    pub const fn span(self) -> PageRange {
        let shift = 9 * self.level;
        PageRange::new(self.index << shift, (self.index + 1) << shift)
    }
}

/// What happened to the page tables in the last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableChange {
    /// A table was made.
    Made(TableId),
    /// A table was freed.
    Freed(TableId),
    /// A table of level 1 moved, with its entries (`mremap` by a multiple of its span).
    Moved(TableId, TableId),
}

/// Present pages by table of level 1.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tables {
    /// Index of a level 1 table to its place in `leaves`.
    places: BTreeMap<u64, u32>,
    leaves: Vec<Leaf>,
    unused: Vec<u32>,
    /// Tables of levels 2 and 3.
    upper: [BTreeSet<u64>; 2],
    present: u64,
    lazy: u64,
    /// Tables looked at lately, by their index modulo [`RECENT`].
    #[serde(skip)]
    recent: [Recent; RECENT],
}

const RECENT: usize = 8;

/// A table and its place; the place is `u32::MAX` when there is none.
#[derive(Clone, Copy, Debug)]
struct Recent {
    index: u64,
    place: u32,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent { index: 0, place: u32::MAX }
    }
}

#[inline]
fn recent_place(table: u64) -> usize {
    index(table % RECENT as u64)
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Leaf {
    present: [u64; 8],
    /// Present pages that `MADV_FREE` gave up and nobody wrote since.
    lazy: [u64; 8],
}

impl Tables {
    #[inline]
    pub(crate) fn present_pages(&self) -> u64 {
        self.present
    }

    #[inline]
    pub(crate) fn lazy_pages(&self) -> u64 {
        self.lazy
    }

    /// Tables of levels 1 to 3.
    pub(crate) fn count(&self) -> u64 {
        self.iter().count() as u64
    }

    /// All tables, by level.
    pub(crate) fn iter(&self) -> impl Iterator<Item = TableId> {
        let lowest = self.places.keys().map(|&index| TableId { level: 1, index });
        let upper = (2_u8..).zip(&self.upper);
        lowest.chain(upper.flat_map(|(level, set)| set.iter().map(move |&index| TableId { level, index })))
    }

    pub(crate) fn has(&self, table: TableId) -> bool {
        match table.level {
            1 => self.places.contains_key(&table.index),
            2 => self.upper[0].contains(&table.index),
            _ => self.upper[1].contains(&table.index),
        }
    }

    pub(crate) fn insert(&mut self, table: TableId) {
        match table.level {
            1 => {
                let place = self.unused.pop().unwrap_or_else(|| {
                    self.leaves.push(Leaf::default());
                    u32::try_from(self.leaves.len() - 1).expect("a process has fewer than 2^32 tables")
                });
                self.places.insert(table.index, place);
            }
            2 => _ = self.upper[0].insert(table.index),
            _ => _ = self.upper[1].insert(table.index),
        }
    }

    /// Removes a table without present pages.
    pub(crate) fn remove(&mut self, table: TableId) {
        match table.level {
            1 => {
                let place = self.places.remove(&table.index).expect("only a table that exists is freed");
                self.leaves[place as usize] = Leaf::default();
                self.unused.push(place);
                self.recent = [Recent::default(); RECENT];
            }
            2 => _ = self.upper[0].remove(&table.index),
            _ => _ = self.upper[1].remove(&table.index),
        }
    }

    /// Gives a level 1 table another index, its entries with it.
    pub(crate) fn rename(&mut self, from: u64, to: u64) {
        let place = self.places.remove(&from).expect("only a table that exists moves");
        self.places.insert(to, place);
        self.recent = [Recent::default(); RECENT];
    }

    /// Tables of one level with an index in `from..to`, ascending.
    pub(crate) fn between(&self, level: u8, from: u64, to: u64) -> Vec<TableId> {
        let named = |index: &u64| TableId { level, index: *index };
        match level {
            1 => self.places.range(from..to).map(|(index, _)| named(index)).collect(),
            2 => self.upper[0].range(from..to).map(named).collect(),
            _ => self.upper[1].range(from..to).map(named).collect(),
        }
    }

    fn leaf(&self, table: u64) -> Option<&Leaf> {
        if let Some(leaf) = self.recent_leaf(table) {
            return Some(leaf);
        }
        self.places.get(&table).map(|&place| &self.leaves[place as usize])
    }

    fn leaf_mut(&mut self, table: u64) -> Option<&mut Leaf> {
        let recent = &mut self.recent[recent_place(table)];
        if recent.place == u32::MAX || recent.index != table {
            *recent = Recent { index: table, place: *self.places.get(&table)? };
        }
        Some(&mut self.leaves[recent.place as usize])
    }

    #[inline]
    fn recent_leaf(&self, table: u64) -> Option<&Leaf> {
        let recent = self.recent[recent_place(table)];
        if recent.index == table { self.leaves.get(recent.place as usize) } else { None }
    }

    /// Whether the pages from `first` to `last` lie in one word of a table looked at lately and are present and wanted.
    #[inline]
    pub(crate) fn is_ready(&self, first: u64, last: u64) -> bool {
        if first / 64 != last / 64 {
            return false;
        }
        let Some(leaf) = self.recent_leaf(first / TABLE_ENTRIES) else { return false };
        let word = index(first % TABLE_ENTRIES / 64);
        let mask = (u64::MAX >> (63 - (last - first))) << (first % 64);
        leaf.present[word] & !leaf.lazy[word] & mask == mask
    }

    /// Whether `page` has its table of level 1.
    #[inline]
    pub(crate) fn has_lowest(&self, page: u64) -> bool {
        self.leaf(page / TABLE_ENTRIES).is_some()
    }

    /// Whether all of `pages` are present and wanted, with little work; remembers the table for the next question.
    #[inline]
    pub(crate) fn all_ready(&mut self, pages: PageRange) -> bool {
        let mut page = pages.start;
        while page < pages.end {
            let (word, mask, next) = word_of(page, pages.end);
            match self.leaf_mut(page / TABLE_ENTRIES) {
                Some(leaf) if leaf.present[word] & !leaf.lazy[word] & mask == mask => page = next,
                _ => return false,
            }
        }
        true
    }

    pub(crate) fn is_present(&self, page: u64) -> bool {
        let (word, mask, _) = word_of(page, page + 1);
        self.leaf(page / TABLE_ENTRIES).is_some_and(|leaf| leaf.present[word] & mask != 0)
    }

    pub(crate) fn is_lazy(&self, page: u64) -> bool {
        let (word, mask, _) = word_of(page, page + 1);
        self.leaf(page / TABLE_ENTRIES).is_some_and(|leaf| leaf.lazy[word] & mask != 0)
    }

    /// The first page of `pages` that is not present.
    pub(crate) fn first_missing(&self, pages: PageRange) -> Option<u64> {
        let mut page = pages.start;
        while page < pages.end {
            let (word, mask, next) = word_of(page, pages.end);
            let Some(leaf) = self.leaf(page / TABLE_ENTRIES) else { return Some(page) };
            let missing = !leaf.present[word] & mask;
            if missing != 0 {
                return Some(page / 64 * 64 + u64::from(missing.trailing_zeros()));
            }
            page = next;
        }
        None
    }

    /// The first present page of `pages`.
    pub(crate) fn first_present(&self, pages: PageRange) -> Option<u64> {
        self.first_marked(pages, |leaf| &leaf.present)
    }

    /// The first page of `pages` that is given up.
    pub(crate) fn first_lazy(&self, pages: PageRange) -> Option<u64> {
        self.first_marked(pages, |leaf| &leaf.lazy)
    }

    /// Passes over absent tables at once.
    fn first_marked(&self, pages: PageRange, marks: impl Fn(&Leaf) -> &[u64; 8]) -> Option<u64> {
        let mut page = pages.start;
        while page < pages.end {
            let table = page / TABLE_ENTRIES;
            let Some(leaf) = self.leaf(table) else {
                let next = self.places.range(table..).next()?.0;
                page = next * TABLE_ENTRIES;
                continue;
            };
            let (word, mask, next) = word_of(page, pages.end);
            let found = marks(leaf)[word] & mask;
            if found != 0 {
                return Some(page / 64 * 64 + u64::from(found.trailing_zeros()));
            }
            page = next;
        }
        None
    }

    /// Present pages among `pages`.
    pub(crate) fn count_present(&self, pages: PageRange) -> u64 {
        let last_table = pages.end.div_ceil(TABLE_ENTRIES);
        let mut count = 0;
        for (&table, &place) in self.places.range(pages.start / TABLE_ENTRIES..last_table) {
            let leaf = &self.leaves[place as usize];
            let part = pages.intersect(TableId { level: 1, index: table }.span());
            let mut page = part.start;
            while page < part.end {
                let (word, mask, next) = word_of(page, part.end);
                count += u64::from((leaf.present[word] & mask).count_ones());
                page = next;
            }
        }
        count
    }

    /// Marks a page of an existing table as present.
    pub(crate) fn set_present(&mut self, page: u64) {
        let (word, mask, _) = word_of(page, page + 1);
        let leaf = self.leaf_mut(page / TABLE_ENTRIES).expect("a page becomes present after its table was made");
        let is_new = leaf.present[word] & mask == 0;
        leaf.present[word] |= mask;
        self.present += u64::from(is_new);
    }

    /// Makes `pages` absent; returns how many were present.
    pub(crate) fn clear_present(&mut self, pages: PageRange) -> u64 {
        let mut cleared = 0;
        self.each_word(pages, |leaf, word, mask| {
            cleared += u64::from((leaf.present[word] & mask).count_ones());
            leaf.present[word] &= !mask;
            0
        });
        self.unset_lazy(pages);
        self.present -= cleared;
        cleared
    }

    /// Marks the present pages among `pages` as given up.
    pub(crate) fn set_lazy(&mut self, pages: PageRange) {
        self.lazy += self.each_word(pages, |leaf, word, mask| {
            let new = leaf.present[word] & !leaf.lazy[word] & mask;
            leaf.lazy[word] |= new;
            u64::from(new.count_ones())
        });
    }

    /// Takes the mark off: the pages were written again, or are gone.
    pub(crate) fn unset_lazy(&mut self, pages: PageRange) {
        if self.lazy == 0 {
            return;
        }
        self.lazy -= self.each_word(pages, |leaf, word, mask| {
            let old = leaf.lazy[word] & mask;
            leaf.lazy[word] &= !mask;
            u64::from(old.count_ones())
        });
    }

    /// Calls `change` for each word of the existing tables of `pages`; returns the sum of what it returned.
    fn each_word(&mut self, pages: PageRange, mut change: impl FnMut(&mut Leaf, usize, u64) -> u64) -> u64 {
        if pages.is_empty() {
            return 0;
        }
        let mut sum = 0;
        for (&table, &place) in self.places.range(pages.start / TABLE_ENTRIES..pages.end.div_ceil(TABLE_ENTRIES)) {
            let leaf = &mut self.leaves[place as usize];
            let part = pages.intersect(TableId { level: 1, index: table }.span());
            let mut page = part.start;
            while page < part.end {
                let (word, mask, next) = word_of(page, part.end);
                sum += change(leaf, word, mask);
                page = next;
            }
        }
        sum
    }
}

/// Within its table: the word of 64 pages that holds `page`, the mask of the pages up to `end` in it, and the next page.
#[inline]
fn word_of(page: u64, end: u64) -> (usize, u64, u64) {
    let next = end.min((page / 64 + 1) * 64);
    let width = next - page;
    let mask = (u64::MAX >> (64 - width)) << (page % 64);
    (index(page % TABLE_ENTRIES / 64), mask, next)
}
