//! Which frame holds each present page of one process, and which frames hold its page tables.
//!
//! As the hardware sees it: four levels of 512 entries. Kept sparse: a lowest table with few entries is a short list, and
//! of the upper tables only those that take a frame are kept, by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::space::{PageRange, TABLE_ENTRIES, TableId};
use crate::frames::FrameNumber;
use crate::index;

/// Entries up to which a lowest table is a list.
const FEW: usize = 24;
const NONE: u32 = u32::MAX;

/// Page to frame.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PageTable {
    leaves: BTreeMap<u64, Leaf>,
    /// Frames of the tables below the top one, where tables take frames.
    tables: BTreeMap<TableId, u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Leaf {
    /// Entry number and frame, ascending.
    Few(Vec<(u16, u32)>),
    /// 512 entries, and how many of them are used.
    Many(Box<[u32]>, u16),
}

impl Leaf {
    fn get(&self, entry: u16) -> Option<u32> {
        match self {
            Leaf::Few(list) => list.binary_search_by_key(&entry, |&(at, _)| at).ok().map(|found| list[found].1),
            Leaf::Many(frames, _) => Some(frames[usize::from(entry)]).filter(|&frame| frame != NONE),
        }
    }

    fn insert(&mut self, entry: u16, frame: u32) {
        match self {
            Leaf::Few(list) => {
                let at = list.partition_point(|&(other, _)| other < entry);
                list.insert(at, (entry, frame));
                if list.len() > FEW {
                    self.widen();
                }
            }
            Leaf::Many(frames, used) => {
                frames[usize::from(entry)] = frame;
                *used += 1;
            }
        }
    }

    fn widen(&mut self) {
        let Leaf::Few(list) = self else { return };
        let mut frames = vec![NONE; index(TABLE_ENTRIES)].into_boxed_slice();
        for &(entry, frame) in &*list {
            frames[usize::from(entry)] = frame;
        }
        let used = u16::try_from(list.len()).expect("a short list");
        *self = Leaf::Many(frames, used);
    }

    fn is_empty(&self) -> bool {
        match self {
            Leaf::Few(list) => list.is_empty(),
            Leaf::Many(_, used) => *used == 0,
        }
    }

    /// Takes the entries `from..to` out, ascending.
    fn drain(&mut self, from: u16, to: u16, mut visit: impl FnMut(u16, u32)) {
        match self {
            Leaf::Few(list) => {
                let (first, end) =
                    (list.partition_point(|&(at, _)| at < from), list.partition_point(|&(at, _)| at < to));
                list.drain(first..end).for_each(|(entry, frame)| visit(entry, frame));
            }
            Leaf::Many(frames, used) => {
                for entry in from..to {
                    let frame = std::mem::replace(&mut frames[usize::from(entry)], NONE);
                    if frame != NONE {
                        *used -= 1;
                        visit(entry, frame);
                    }
                }
            }
        }
    }

    fn entries(&self) -> Vec<(u16, u32)> {
        match self {
            Leaf::Few(list) => list.clone(),
            Leaf::Many(frames, _) => (0..).zip(frames.iter().copied()).filter(|&(_, frame)| frame != NONE).collect(),
        }
    }
}

fn entry_of(page: u64) -> u16 {
    u16::try_from(page % TABLE_ENTRIES).expect("a table has 512 entries")
}

/// A frame's number in 32 bits: the kernel takes no larger memory.
pub(super) fn short(frame: FrameNumber) -> u32 {
    u32::try_from(frame.0).expect("a frame's number has 32 bits")
}

/// The number again.
pub(super) fn long(frame: u32) -> FrameNumber {
    FrameNumber(u64::from(frame))
}

impl PageTable {
    /// The frame of `page`.
    pub(super) fn get(&self, page: u64) -> Option<FrameNumber> {
        self.leaves.get(&(page / TABLE_ENTRIES)).and_then(|leaf| leaf.get(entry_of(page))).map(long)
    }

    /// Enters a page that is not present.
    pub(super) fn insert(&mut self, page: u64, frame: FrameNumber) {
        let leaf = self.leaves.entry(page / TABLE_ENTRIES).or_insert(Leaf::Few(Vec::new()));
        leaf.insert(entry_of(page), short(frame));
    }

    /// Takes the present pages of `pages` out, ascending.
    pub(super) fn drain(&mut self, pages: PageRange, mut visit: impl FnMut(u64, FrameNumber)) {
        if pages.is_empty() {
            return;
        }
        let mut from = pages.start / TABLE_ENTRIES;
        let last = (pages.end - 1) / TABLE_ENTRIES;
        while from <= last {
            let Some((&table, leaf)) = self.leaves.range_mut(from..=last).next() else { break };
            let part = pages.intersect(TableId { level: 1, index: table }.span());
            let to = if part.end.is_multiple_of(TABLE_ENTRIES) { 512 } else { entry_of(part.end) };
            leaf.drain(entry_of(part.start), to, |entry, frame| {
                visit(table * TABLE_ENTRIES + u64::from(entry), long(frame));
            });
            if leaf.is_empty() {
                self.leaves.remove(&table);
            }
            from = table + 1;
        }
    }

    /// All present pages, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, FrameNumber)> {
        self.between(PageRange::new(0, u64::MAX))
    }

    /// Present pages of `pages`, ascending.
    pub(super) fn between(&self, pages: PageRange) -> impl Iterator<Item = (u64, FrameNumber)> {
        let tables = pages.start / TABLE_ENTRIES..pages.end.div_ceil(TABLE_ENTRIES);
        let all = self.leaves.range(tables).flat_map(|(&table, leaf)| {
            let entries = leaf.entries().into_iter();
            entries.map(move |(entry, frame)| (table * TABLE_ENTRIES + u64::from(entry), long(frame)))
        });
        all.filter(move |&(page, _)| pages.contains(page))
    }

    /// Gives the content of one lowest table another place, its frame with it.
    pub(super) fn rename(&mut self, from: TableId, to: TableId) {
        if let Some(leaf) = self.leaves.remove(&from.index) {
            self.leaves.insert(to.index, leaf);
        }
        if let Some(frame) = self.tables.remove(&from) {
            self.tables.insert(to, frame);
        }
    }

    /// Remembers the frame of a table.
    pub(super) fn add_table(&mut self, table: TableId, frame: FrameNumber) {
        self.tables.insert(table, short(frame));
    }

    /// Forgets a table; its frame, if it has one.
    pub(super) fn remove_table(&mut self, table: TableId) -> Option<FrameNumber> {
        self.tables.remove(&table).map(long)
    }

    /// Tables that have a frame.
    pub(super) fn tables(&self) -> impl Iterator<Item = (TableId, FrameNumber)> {
        self.tables.iter().map(|(&table, &frame)| (table, long(frame)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_again_in_short_and_in_full_tables() {
        let mut table = PageTable::default();
        for page in (0..100).rev() {
            table.insert(500 + page * 3, FrameNumber(page));
        }
        assert_eq!(table.get(500 + 99), Some(FrameNumber(33)));
        assert_eq!(table.get(501), None);
        let mut drained = Vec::new();
        table.drain(PageRange::new(505, 515), |page, frame| drained.push((page, frame.0)));
        assert_eq!(drained, [(506, 2), (509, 3), (512, 4)]);
        assert_eq!(table.iter().count(), 97);
        assert_eq!(table.get(512), None);
    }
}
