//! Areas of one address space in order, with their gaps.
//!
//! Blocks of at most 64 areas; each block knows its widest gap, so that a search passes over the blocks it cannot use.
//! A process has at most 65,530 areas (Linux: `max_map_count`), so there are at most some 2,000 blocks.

use serde::{Deserialize, Serialize};

use super::area::{Area, PageRange};

const BLOCK: usize = 64;

/// Areas in ascending order; they do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AreaList {
    blocks: Vec<Block>,
    areas: usize,
    /// Pages that stay free below an area that grows down.
    guard_pages: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Block {
    areas: Vec<Area>,
    /// Where its last area ends.
    end: u64,
    /// The widest of the gaps below its areas.
    gap: u64,
}

/// A place in the list; any change of the list makes it void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    block: usize,
    at: usize,
}

impl AreaList {
    pub(crate) fn new(guard_pages: u64) -> AreaList {
        AreaList { blocks: Vec::new(), areas: 0, guard_pages }
    }

    /// How many areas.
    pub(crate) fn len(&self) -> usize {
        self.areas
    }

    /// All areas, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Area> {
        self.blocks.iter().flat_map(|block| &block.areas)
    }

    /// The first area that ends above `page`: it holds `page`, or is the next one (Linux: `find_vma`).
    pub(crate) fn find(&self, page: u64) -> Place {
        let block = self.blocks.partition_point(|block| block.end <= page);
        let at = self.blocks.get(block).map_or(0, |block| block.areas.partition_point(|area| area.pages.end <= page));
        Place { block, at }
    }

    /// The area at `place`; `None` at the end of the list.
    pub(crate) fn get(&self, place: Place) -> Option<&Area> {
        self.blocks.get(place.block).and_then(|block| block.areas.get(place.at))
    }

    /// The area before `place`.
    pub(crate) fn before(&self, place: Place) -> Option<&Area> {
        self.step_back(place).and_then(|before| self.get(before))
    }

    pub(crate) fn step_back(&self, place: Place) -> Option<Place> {
        if let Some(at) = place.at.checked_sub(1) {
            return Some(Place { block: place.block, at });
        }
        let block = place.block.checked_sub(1)?;
        Some(Place { block, at: self.blocks[block].areas.len() - 1 })
    }

    pub(crate) fn step(&self, place: Place) -> Place {
        if place.at + 1 < self.blocks[place.block].areas.len() {
            return Place { block: place.block, at: place.at + 1 };
        }
        Place { block: place.block + 1, at: 0 }
    }

    /// The area that holds `page`.
    pub(crate) fn holding(&self, page: u64) -> Option<&Area> {
        self.get(self.find(page)).filter(|area| area.pages.contains(page))
    }

    /// Whether no page of `pages` lies in an area.
    pub(crate) fn is_free(&self, pages: PageRange) -> bool {
        self.get(self.find(pages.start)).is_none_or(|area| area.pages.start >= pages.end)
    }

    /// Adds an area where nothing is mapped.
    pub(crate) fn insert(&mut self, area: Area) {
        let mut place = self.find(area.pages.start);
        if place.block == self.blocks.len() {
            match self.blocks.len().checked_sub(1) {
                Some(last) => place = Place { block: last, at: self.blocks[last].areas.len() },
                None => self.blocks.push(Block::default()),
            }
        }
        self.blocks[place.block].areas.insert(place.at, area);
        self.areas += 1;
        if self.blocks[place.block].areas.len() > BLOCK {
            let upper = self.blocks[place.block].areas.split_off(BLOCK / 2);
            self.blocks.insert(place.block + 1, Block { areas: upper, end: 0, gap: 0 });
            self.refresh(place.block + 1);
        }
        self.refresh(place.block);
    }

    /// Removes the area at `place`.
    pub(crate) fn remove(&mut self, place: Place) -> Area {
        let area = self.blocks[place.block].areas.remove(place.at);
        self.areas -= 1;
        if self.blocks[place.block].areas.is_empty() {
            self.blocks.remove(place.block);
        }
        self.refresh(place.block);
        area
    }

    /// Puts `area` in the place of the one there; the order must stay the same.
    pub(crate) fn replace(&mut self, place: Place, area: Area) {
        self.blocks[place.block].areas[place.at] = area;
        self.refresh(place.block);
    }

    /// Measures a block again, and the first gap of the one above it.
    fn refresh(&mut self, block: usize) {
        for number in [block, block + 1] {
            let mut below = match number.checked_sub(1) {
                Some(lower) => self.blocks.get(lower).map_or(0, |lower| lower.end),
                None => 0,
            };
            let Some(block) = self.blocks.get_mut(number) else { return };
            block.gap = 0;
            for area in &block.areas {
                block.gap = block.gap.max(area.guarded_start(self.guard_pages).saturating_sub(below));
                below = area.pages.end;
            }
            block.end = below;
        }
    }

    /// Whether every block knows its end and its widest gap: measured again from the areas alone.
    pub(crate) fn knows_its_gaps(&self) -> bool {
        let mut below = 0;
        self.blocks.iter().all(|block| {
            let mut gap = 0;
            for area in &block.areas {
                gap = gap.max(area.guarded_start(self.guard_pages).saturating_sub(below));
                below = area.pages.end;
            }
            (block.gap, block.end) == (gap, below) && !block.areas.is_empty() && block.areas.len() <= BLOCK
        })
    }

    /// The start of the highest `pages` free pages within `low..high`, at the upper end of their gap.
    pub(crate) fn highest_gap(&self, pages: u64, low: u64, high: u64) -> Option<u64> {
        // The first area that starts at `high` or above; the gap below it is cut off at `high`.
        let mut place = self.find(high);
        if self.get(place).is_some_and(|area| area.pages.start < high) {
            place = self.step(place);
        }
        let mut ceiling = high.min(self.get(place).map_or(u64::MAX, |area| area.guarded_start(self.guard_pages)));
        loop {
            let below = self.step_back(place);
            let floor = low.max(below.and_then(|below| self.get(below)).map_or(0, |area| area.pages.end));
            if ceiling >= floor && ceiling - floor >= pages {
                return Some(ceiling - pages);
            }
            place = self.skip_down(below?, pages)?;
            ceiling = self.get(place)?.guarded_start(self.guard_pages);
        }
    }

    /// `place`, or the last area of the next lower block with a gap of `pages` where the block of `place` has none.
    fn skip_down(&self, place: Place, pages: u64) -> Option<Place> {
        if self.blocks[place.block].gap >= pages {
            return Some(place);
        }
        let block = self.blocks[..place.block].iter().rposition(|block| block.gap >= pages)?;
        Some(Place { block, at: self.blocks[block].areas.len() - 1 })
    }

    /// The start of the lowest `pages` free pages within `low..high`, at the lower end of their gap.
    pub(crate) fn lowest_gap(&self, pages: u64, low: u64, high: u64) -> Option<u64> {
        let mut place = self.find(low);
        let mut floor = low.max(self.before(place).map_or(0, |area| area.pages.end));
        loop {
            let area = self.get(place);
            let ceiling = high.min(area.map_or(u64::MAX, |area| area.guarded_start(self.guard_pages)));
            if ceiling >= floor && ceiling - floor >= pages {
                return Some(floor);
            }
            floor = area?.pages.end.max(low);
            if floor >= high {
                return None;
            }
            place = self.step(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::area::AreaFlags;
    use super::*;
    use crate::index;

    const PAGES: u64 = 2_000;
    const GUARD: u64 = 4;

    /// Which pages are taken, one by one: an oracle that knows nothing of blocks.
    struct Bitmap {
        taken: Vec<bool>,
        areas: Vec<Area>,
    }

    impl Bitmap {
        /// Whether the next area above `page` grows down and keeps it free.
        fn is_guarded(&self, page: u64) -> bool {
            let above = self.areas.iter().filter(|area| area.pages.start > page);
            let next = above.min_by_key(|area| area.pages.start);
            next.is_some_and(|area| area.flags.has(AreaFlags::GROWS_DOWN) && area.pages.start - page <= GUARD)
        }

        fn is_free(&self, page: u64) -> bool {
            !self.taken[index(page)] && !self.is_guarded(page)
        }

        fn fits(&self, start: u64, pages: u64) -> bool {
            (start..start + pages).all(|page| self.is_free(page))
        }

        fn set(&mut self, pages: PageRange, taken: bool) {
            self.taken[index(pages.start)..index(pages.end)].fill(taken);
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Insert {
            at: u64,
            pages: u64,
            grows_down: bool,
        },
        /// The area that holds the page, or the next one.
        Remove(u64),
        /// A longer row of areas, so that whole blocks empty.
        RemoveMany(u64, usize),
        Shrink(u64),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = prop_oneof![
            60 => (0..PAGES - 4, 1..4_u64, prop::bool::weighted(0.1))
                .prop_map(|(at, pages, grows_down)| Change::Insert { at, pages, grows_down }),
            10 => (0..PAGES).prop_map(Change::Remove),
            1 => (0..PAGES, 1..90_usize).prop_map(|(at, areas)| Change::RemoveMany(at, areas)),
            10 => (0..PAGES).prop_map(Change::Shrink),
        ];
        prop::collection::vec(change, 200..1_200)
    }

    fn remove(list: &mut AreaList, bitmap: &mut Bitmap, page: u64) {
        let place = list.find(page);
        if list.get(place).is_some() {
            let area = list.remove(place);
            bitmap.set(area.pages, false);
            bitmap.areas.retain(|other| other.pages != area.pages);
        }
    }

    fn apply(list: &mut AreaList, bitmap: &mut Bitmap, change: Change) {
        match change {
            Change::Insert { at, pages, grows_down } => {
                let flags = if grows_down { AreaFlags::GROWS_DOWN } else { AreaFlags::NONE };
                let area = Area { pages: PageRange::new(at, at + pages), flags, ..Area::default() };
                if list.is_free(area.pages) {
                    list.insert(area);
                    bitmap.set(area.pages, true);
                    bitmap.areas.push(area);
                }
            }
            Change::Remove(page) => remove(list, bitmap, page),
            Change::RemoveMany(page, areas) => (0..areas).for_each(|_| remove(list, bitmap, page)),
            Change::Shrink(page) => {
                let place = list.find(page);
                let Some(&area) = list.get(place).filter(|area| area.pages.len() > 1) else { return };
                let shorter = Area { pages: PageRange::new(area.pages.start, area.pages.end - 1), ..area };
                list.replace(place, shorter);
                bitmap.set(area.pages, false);
                bitmap.set(shorter.pages, true);
                bitmap.areas.retain(|other| other.pages != area.pages);
                bitmap.areas.push(shorter);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn gaps_are_those_a_walk_over_all_pages_finds(changes in changes()) {
            let mut list = AreaList::new(GUARD);
            let mut bitmap = Bitmap { taken: vec![false; index(PAGES)], areas: Vec::new() };
            for (number, &change) in changes.iter().enumerate() {
                apply(&mut list, &mut bitmap, change);
                prop_assert!(list.knows_its_gaps(), "after {change:?}");
                if number % 50 != 49 {
                    continue;
                }
                for pages in [1, 2, 3, 5, 9, 30] {
                    let last = PAGES - pages;
                    let highest = (0..=last).rev().find(|&start| bitmap.fits(start, pages));
                    let lowest = (0..=last).find(|&start| bitmap.fits(start, pages));
                    prop_assert_eq!(list.highest_gap(pages, 0, PAGES), highest, "highest {} pages", pages);
                    prop_assert_eq!(list.lowest_gap(pages, 0, PAGES), lowest, "lowest {} pages", pages);
                }
            }
        }
    }
}
