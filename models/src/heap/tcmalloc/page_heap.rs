//! The page heap (`PageHeap`): which pages a span gets, how free spans merge, when they go back to the kernel.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::TcmallocOptions;
use super::classes::{CLASSES, PAGE_BYTES, PAGE_SHIFT};
use super::page_map::PageMap;
use super::span::{Span, SpanId, SpanList, Spans, State};
use super::system::Use;
use super::tables::{Record, Tables};
use crate::heap::{Advice, OutOfMemory, SystemMemory};
use crate::{Address, index};

/// Spans up to this length are in lists, one for each length; also the least growth (`kMaxPages`, `kMinSystemAlloc`).
pub(super) const LISTED_PAGES: u64 = 128;
/// Growth across a multiple of this gives all free memory back first, for it to merge (`kForcedCoalesceInterval`).
const COALESCE_BYTES: u64 = 128 << 20;
/// Pages that are freed before the next look for something to release, when nothing was there (`kDefaultReleaseDelay`).
const IDLE_DELAY_PAGES: i64 = 1 << 18;
/// At most so many otherwise (`kMaxReleaseDelay`).
const DELAY_PAGES_MAX: u64 = 1 << 20;
/// All that is free: as many pages as the real one asks to have released.
const ALL_PAGES: u64 = 0x7fff_ffff;
/// The step of a release round that looks at long spans.
const LONG_STEP: u64 = LISTED_PAGES;

/// Free spans in one of the two free states.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FreeSpans {
    /// By length, from 1 page on.
    lists: Vec<SpanList>,
    /// The lists that have any.
    listed: u128,
    /// Longer ones: pages, first page.
    long: BTreeSet<(u64, u64, SpanId)>,
    pub pages: u64,
}

impl FreeSpans {
    fn new() -> FreeSpans {
        FreeSpans { lists: vec![SpanList::EMPTY; index(LISTED_PAGES)], listed: 0, long: BTreeSet::new(), pages: 0 }
    }

    /// The shortest list from `pages` pages on that has any.
    fn shortest_list(&self, pages: u64) -> Option<u64> {
        let listed = self.listed.checked_shr(u32::try_from(pages - 1).ok()?)?;
        (listed != 0).then(|| pages + u64::from(listed.trailing_zeros()))
    }

    /// The shortest long span that has `pages`, the lowest of that length.
    fn shortest_long(&self, pages: u64) -> Option<(u64, u64, SpanId)> {
        self.long.range((pages, 0, SpanId::NONE)..).next().copied()
    }

    /// Whether the list of a length has any.
    pub fn has(&self, pages: u64) -> bool {
        self.listed & (1 << (pages - 1)) != 0
    }

    /// The spans of a length up to [`LISTED_PAGES`].
    pub fn list(&self, pages: u64) -> SpanList {
        self.lists[index(pages - 1)]
    }

    fn add(&mut self, spans: &mut Spans, id: SpanId) {
        let &Span { start, pages, .. } = spans.get(id);
        self.pages += pages;
        if pages > LISTED_PAGES {
            self.long.insert((pages, start, id));
        } else {
            spans.push_front(&mut self.lists[index(pages - 1)], id);
            self.listed |= 1 << (pages - 1);
        }
    }

    fn remove(&mut self, spans: &mut Spans, id: SpanId) {
        let &Span { start, pages, .. } = spans.get(id);
        self.pages -= pages;
        if pages > LISTED_PAGES {
            self.long.remove(&(pages, start, id));
            return;
        }
        let list = &mut self.lists[index(pages - 1)];
        spans.unlink(list, id);
        if list.is_empty() {
            self.listed &= !(1 << (pages - 1));
        }
    }

    /// Every span, list by list.
    pub fn all(&self, spans: &Spans) -> Vec<SpanId> {
        let listed = self.lists.iter().flat_map(|&list| spans.in_list(list));
        listed.chain(self.long.iter().map(|&(.., id)| id)).collect()
    }
}

/// See the [module page](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PageHeap {
    pub spans: Spans,
    pub map: PageMap,
    pub tables: Tables,
    pub normal: FreeSpans,
    pub returned: FreeSpans,
    /// Pages from the kernel.
    system_pages: u64,
    /// Pages that may still be freed before some are released.
    until_release: i64,
    /// Where the round of releases goes on: a length less one, or [`LONG_STEP`].
    release_step: u64,
    /// Thousandths of the release rate.
    release_rate: u64,
}

impl PageHeap {
    pub fn new(options: &TcmallocOptions) -> PageHeap {
        PageHeap {
            spans: Spans::default(),
            map: PageMap::default(),
            tables: Tables::new(options.skip_sbrk),
            normal: FreeSpans::new(),
            returned: FreeSpans::new(),
            system_pages: 0,
            until_release: 0,
            release_step: LONG_STEP,
            release_rate: options.release_rate_thousandths,
        }
    }

    /// A span of `pages` in use (`PageHeap::New`).
    pub fn allocate(&mut self, pages: u64, os: &mut dyn SystemMemory) -> Result<SpanId, OutOfMemory> {
        if let Some(found) = self.search(pages) {
            return self.carve(found, pages, os);
        }
        if self.coalesces_first(pages) {
            self.release(ALL_PAGES, os);
            if let Some(found) = self.search(pages) {
                return self.carve(found, pages, os);
            }
        }
        self.grow(pages, os)?;
        let grown = self.search(pages).expect("a heap that has grown by enough has enough");
        self.carve(grown, pages, os)
    }

    /// Takes a span in use back (`PageHeap::Delete`).
    pub fn free(&mut self, id: SpanId, os: &mut dyn SystemMemory) {
        let span = self.spans.get_mut(id);
        (span.state, span.class) = (State::Normal, 0);
        let pages = span.pages;
        self.merge(id);
        self.count_freed(pages, os);
    }

    /// Cuts a span in use after its first `pages`; the upper part is in use too.
    pub fn split(&mut self, id: SpanId, pages: u64, os: &mut dyn SystemMemory) -> Result<SpanId, OutOfMemory> {
        self.take_record(os)?;
        Ok(self.cut(id, pages))
    }

    /// Gives a span its class: every one of its pages names it then.
    pub fn set_class(&mut self, id: SpanId, class: u8, slots: u32) {
        let span = self.spans.get_mut(id);
        (span.class, span.slots, span.first_free, span.used) = (class, slots, 0, 0);
        let (start, pages) = (span.start, span.pages);
        debug_assert_eq!(pages, CLASSES.get(class).pages, "a span of a class has that class's length");
        self.map.set_all(start, pages, id);
    }

    /// The first span of the shortest list; of equal lengths one that is backed by frames. Then the best long one.
    fn search(&self, pages: u64) -> Option<SpanId> {
        if pages <= LISTED_PAGES {
            let (normal, returned) = (self.normal.shortest_list(pages), self.returned.shortest_list(pages));
            match (normal, returned) {
                (Some(normal), None) => return Some(self.normal.list(normal).first),
                (Some(normal), Some(returned)) if normal <= returned => return Some(self.normal.list(normal).first),
                (_, Some(returned)) => return Some(self.returned.list(returned).first),
                (None, None) => {}
            }
        }
        let (normal, returned) = (self.normal.shortest_long(pages), self.returned.shortest_long(pages));
        match (normal, returned) {
            (Some(normal), Some(returned)) => Some(normal.min(returned).2),
            (one, other) => one.or(other).map(|(.., id)| id),
        }
    }

    /// Uses the low part of a free span; the rest keeps its state and cannot merge.
    fn carve(&mut self, id: SpanId, pages: u64, os: &mut dyn SystemMemory) -> Result<SpanId, OutOfMemory> {
        let &Span { pages: found, state, .. } = self.spans.get(id);
        if found > pages {
            self.take_record(os)?;
        }
        self.remove_free(id);
        self.spans.get_mut(id).state = State::InUse;
        if found > pages {
            let rest = self.cut(id, pages);
            self.spans.get_mut(rest).state = state;
            self.add_free(rest);
        }
        Ok(id)
    }

    fn cut(&mut self, id: SpanId, pages: u64) -> SpanId {
        let span = self.spans.get_mut(id);
        let (start, all) = (span.start, span.pages);
        assert!(0 < pages && pages < all, "a cut at {pages} of {all} pages leaves two spans");
        span.pages = pages;
        self.map.set(start + pages - 1, id);
        let rest = self.spans.add(start + pages, all - pages);
        self.note_ends(rest);
        rest
    }

    fn coalesces_first(&self, pages: u64) -> bool {
        let (normal, returned) = (self.normal.pages, self.returned.pages);
        let interval = COALESCE_BYTES / PAGE_BYTES;
        let after = self.system_pages.saturating_add(pages);
        normal > 0
            && returned > 0
            && normal + returned >= self.system_pages / 4
            && self.system_pages / interval != after / interval
    }

    /// Asks the kernel for memory; it comes in as a span that is freed (`GrowHeap`).
    fn grow(&mut self, pages: u64, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        let (start, grown) = match self.ask(pages.max(LISTED_PAGES), os) {
            Err(OutOfMemory) if pages < LISTED_PAGES => self.ask(pages, os)?,
            answer => answer?,
        };
        let ready = self.tables.take(Record::Growth, os).and_then(|()| self.tables.cover(start, grown, os));
        if let Err(refused) = ready.and_then(|()| self.take_record(os)) {
            self.tables.system.lose(start << PAGE_SHIFT, grown << PAGE_SHIFT);
            return Err(refused);
        }
        let is_first = self.system_pages == 0;
        self.system_pages += grown;
        self.map.grow(start, grown);
        let id = self.spans.add(start, grown);
        self.note_ends(id);
        if is_first {
            // The real one grows for the first time before it has read its environment: it finds a release rate of 0 and waits.
            self.tables.system.heed_options();
            self.spans.get_mut(id).state = State::Normal;
            self.merge(id);
            self.until_release = IDLE_DELAY_PAGES;
        } else {
            self.free(id, os);
        }
        Ok(())
    }

    fn ask(&mut self, pages: u64, os: &mut dyn SystemMemory) -> Result<(u64, u64), OutOfMemory> {
        let bytes = pages.checked_mul(PAGE_BYTES).ok_or(OutOfMemory)?;
        let at = self.tables.system.allocate(bytes, PAGE_BYTES, Use::Heap, os)?;
        Ok((at >> PAGE_SHIFT, pages))
    }

    /// Room for one more record of a span, and for it as a long one.
    fn take_record(&mut self, os: &mut dyn SystemMemory) -> Result<(), OutOfMemory> {
        if self.spans.needs_record() {
            self.tables.take(Record::Span, os)?;
        }
        let long = (self.normal.long.len() + self.returned.long.len()) as u64;
        self.tables.take_nodes(long + 1, os)
    }

    fn note_ends(&mut self, id: SpanId) {
        let &Span { start, pages, .. } = self.spans.get(id);
        self.map.set(start, id);
        self.map.set(start + pages - 1, id);
    }

    /// Joins a free span that is in no list with its neighbours of the same state, and lists it.
    fn merge(&mut self, id: SpanId) {
        let &Span { start, pages, state, .. } = self.spans.get(id);
        let before = self.mergeable(start - 1, state);
        let after = self.mergeable(start + pages, state);
        for neighbour in [before, after].into_iter().flatten() {
            self.remove_free(neighbour);
            let &Span { start, pages, .. } = self.spans.get(neighbour);
            self.spans.remove(neighbour);
            let span = self.spans.get_mut(id);
            (span.start, span.pages) = (span.start.min(start), span.pages + pages);
        }
        self.note_ends(id);
        self.add_free(id);
    }

    fn mergeable(&self, page: u64, state: State) -> Option<SpanId> {
        self.map.get(page).filter(|&id| self.spans.get(id).state == state)
    }

    fn add_free(&mut self, id: SpanId) {
        match self.spans.get(id).state {
            State::Returned => self.returned.add(&mut self.spans, id),
            _ => self.normal.add(&mut self.spans, id),
        }
    }

    fn remove_free(&mut self, id: SpanId) {
        match self.spans.get(id).state {
            State::Returned => self.returned.remove(&mut self.spans, id),
            _ => self.normal.remove(&mut self.spans, id),
        }
    }

    /// After so many freed pages some go back to the kernel (`IncrementalScavenge`).
    fn count_freed(&mut self, pages: u64, os: &mut dyn SystemMemory) {
        self.until_release -= i64::try_from(pages).unwrap_or(i64::MAX / 2);
        if self.until_release >= 0 {
            return;
        }
        let released = if self.release_rate == 0 { 0 } else { self.release(1, os) };
        self.until_release = match released {
            0 => IDLE_DELAY_PAGES,
            pages => delay_pages(pages, self.release_rate),
        };
    }

    /// Gives free spans back until `pages` pages went, one of each length in turn (`ReleaseAtLeastNPages`). Pages released.
    pub fn release(&mut self, pages: u64, os: &mut dyn SystemMemory) -> u64 {
        let mut released = 0;
        while released < pages && self.normal.pages > 0 {
            // Only what was asked for ends a round: where all that is free goes, the last round comes back to where it began.
            for _ in 0..=LONG_STEP {
                if released < pages {
                    released += self.take_release_step(os);
                }
            }
        }
        released
    }

    /// Pages released.
    fn take_release_step(&mut self, os: &mut dyn SystemMemory) -> u64 {
        let next = self.next_to_release();
        self.release_step = if self.release_step == LONG_STEP { 0 } else { self.release_step + 1 };
        next.map_or(0, |id| self.release_span(id, os))
    }

    fn next_to_release(&self) -> Option<SpanId> {
        if self.release_step == LONG_STEP {
            return self.normal.long.first().map(|&(.., id)| id);
        }
        let last = self.normal.lists[index(self.release_step)].last;
        (last != SpanId::NONE).then_some(last)
    }

    fn release_span(&mut self, id: SpanId, os: &mut dyn SystemMemory) -> u64 {
        self.remove_free(id);
        let span = self.spans.get_mut(id);
        span.state = State::Returned;
        let pages = span.pages;
        os.madvise(Address(span.start << PAGE_SHIFT), pages << PAGE_SHIFT, Advice::DontNeed);
        self.merge(id);
        pages
    }
}

/// 1000 pages for each page released at a rate of 1, in thousandths of it.
pub(super) fn delay_pages(released: u64, rate_thousandths: u64) -> i64 {
    let pages = u128::from(released) * 1_000_000 / u128::from(rate_thousandths);
    i64::try_from(pages.min(DELAY_PAGES_MAX.into())).expect("at most a million pages")
}
