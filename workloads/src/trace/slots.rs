//! From a recording's own numbers to dense slots, in memory that follows the live blocks.

use crate::requests::Slot;

/// Numbers of one page.
const PAGE_SLOTS: usize = 4096;
const PAGE: u64 = PAGE_SLOTS as u64;
/// Higher numbers are refused: the directory of pages would grow without blocks that live.
pub(super) const ID_MOST: u64 = u32::MAX as u64;

/// Slots by number. A page of numbers without a live block has no memory but its place in the directory.
#[derive(Default)]
pub(super) struct Slots {
    pages: Vec<Option<Box<Page>>>,
    /// A page without live numbers, for the next one: blocks that come and go alone need no new page each time.
    spare: Option<Box<Page>>,
    /// Given back, to be used next.
    free: Vec<Slot>,
    /// Slots ever used.
    used: u32,
    live: u64,
}

struct Page {
    live: u32,
    /// The slot plus 1; 0 for a number that is not live.
    slots: [u32; PAGE_SLOTS],
}

impl Page {
    #[cold]
    fn empty() -> Box<Page> {
        Box::new(Page { live: 0, slots: [0; PAGE_SLOTS] })
    }
}

impl Slots {
    /// Blocks that are live.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// The slot of a live number.
    #[inline]
    pub(super) fn find(&self, id: u64) -> Option<Slot> {
        let page = self.pages.get(framesim_models::index(id / PAGE))?.as_ref()?;
        page.slots[framesim_models::index(id % PAGE)].checked_sub(1).map(Slot)
    }

    /// Makes a number live, in a slot of its own; `None` when it is live already.
    #[inline]
    pub(super) fn insert(&mut self, id: u64) -> Option<Slot> {
        let slot = self.free.last().copied().unwrap_or(Slot(self.used));
        self.insert_at(id, slot)?;
        if self.free.pop().is_none() {
            self.used += 1;
        }
        Some(slot)
    }

    /// Makes a number live in a slot that is free for it.
    #[inline]
    pub(super) fn insert_at(&mut self, id: u64, slot: Slot) -> Option<()> {
        let number = framesim_models::index(id / PAGE);
        if number >= self.pages.len() {
            self.pages.resize_with(number + 1, || None);
        }
        let spare = &mut self.spare;
        let page = self.pages[number].get_or_insert_with(|| spare.take().unwrap_or_else(Page::empty));
        let place = &mut page.slots[framesim_models::index(id % PAGE)];
        if *place != 0 {
            return None;
        }
        *place = slot.0 + 1;
        page.live += 1;
        self.live += 1;
        Some(())
    }

    /// Ends a number's life; its slot may be used again unless it is `kept` for another number.
    #[inline]
    pub(super) fn remove(&mut self, id: u64, kept: bool) -> Option<Slot> {
        let page_place = self.pages.get_mut(framesim_models::index(id / PAGE))?;
        let page = page_place.as_mut()?;
        let slot = page.slots[framesim_models::index(id % PAGE)].checked_sub(1).map(Slot)?;
        page.slots[framesim_models::index(id % PAGE)] = 0;
        page.live -= 1;
        if page.live == 0 {
            self.spare = page_place.take();
        }
        self.live -= 1;
        if !kept {
            self.free.push(slot);
        }
        Some(slot)
    }
}
