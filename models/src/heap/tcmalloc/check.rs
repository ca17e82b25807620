//! The invariants of the whole heap.

use std::collections::{BTreeMap, BTreeSet};

use super::Tcmalloc;
use super::classes::{CLASSES, Class, PAGE_SHIFT};
use super::objects::{CACHED, END, LIVE, Object};
use super::page_heap::{FreeSpans, LISTED_PAGES};
use super::span::{Span, SpanId, State};
use super::system::{Region, Use};
use crate::{Violation, ensure, index};

/// What a walk over all pages finds.
#[derive(Default)]
struct Walk {
    spans: u64,
    blocks: u64,
    bytes: u64,
    /// Objects that are marked as cached.
    cached: BTreeSet<u64>,
    free_bytes: u64,
    tail_bytes: u64,
    /// By class: spans with free objects.
    with_free: BTreeMap<u8, BTreeSet<SpanId>>,
    normal: BTreeSet<SpanId>,
    returned: BTreeSet<SpanId>,
}

impl Tcmalloc {
    pub(super) fn check_all(&self) -> Result<(), Violation> {
        let walk = self.walk()?;
        let (blocks, bytes) = (self.live_blocks, self.live_bytes);
        ensure((walk.blocks, walk.bytes) == (blocks, bytes), || {
            format!("{} live blocks of {} bytes, {blocks} of {bytes} counted", walk.blocks, walk.bytes)
        })?;
        let spans = self.central.pages.spans.count();
        ensure(walk.spans == spans, || format!("{} spans lie in memory, {spans} are known", walk.spans))?;
        let (free, tails) = (self.central.free_bytes, self.central.tail_bytes);
        ensure((walk.free_bytes, walk.tail_bytes) == (free, tails), || {
            format!("{} free bytes and {} lost in spans, {free} and {tails} counted", walk.free_bytes, walk.tail_bytes)
        })?;
        self.check_free(&walk.normal, &self.central.pages.normal)?;
        self.check_free(&walk.returned, &self.central.pages.returned)?;
        self.check_central(&walk.with_free)?;
        self.check_cached(walk.cached)?;
        self.check_budgets()
    }

    /// Spans tile the pages, and neighbours that are free differ in state.
    fn walk(&self) -> Result<Walk, Violation> {
        let mut walk = Walk::default();
        let pages = &self.central.pages;
        let mut above_last = (0, State::Spare);
        for &Region { start, end, is_for } in pages.tables.system.regions() {
            let (mut page, end) = (start >> PAGE_SHIFT, end >> PAGE_SHIFT);
            while is_for == Use::Heap && page < end {
                let id = pages.map.get(page);
                let id = id.ok_or_else(|| Violation(format!("no span has page {page:#x}")))?;
                let span = pages.spans.get(id);
                let last = span.start + span.pages - 1;
                ensure(span.start == page && last < end, || format!("page {page:#x} is not the first of {span:?}"))?;
                ensure(pages.map.get(last) == Some(id), || format!("the last page of {span:?} is another's"))?;
                let touches = above_last == (page, span.state) && span.state != State::InUse;
                ensure(!touches, || format!("two spans meet at page {page:#x} and are both {:?}", span.state))?;
                self.walk_span(id, span, &mut walk)?;
                page = last + 1;
                above_last = (page, span.state);
            }
        }
        Ok(walk)
    }

    fn walk_span(&self, id: SpanId, span: &Span, walk: &mut Walk) -> Result<(), Violation> {
        walk.spans += 1;
        match span.state {
            State::InUse if span.class > 0 => return self.walk_objects(id, span, walk),
            State::InUse => (walk.blocks, walk.bytes) = (walk.blocks + 1, walk.bytes + (span.pages << PAGE_SHIFT)),
            State::Normal => ensure(walk.normal.insert(id), || format!("{span:?} lies in two places"))?,
            State::Returned => ensure(walk.returned.insert(id), || format!("{span:?} lies in two places"))?,
            State::Spare => return Err(Violation(format!("{span:?} lies in memory and is none"))),
        }
        Ok(())
    }

    fn walk_objects(&self, id: SpanId, span: &Span, walk: &mut Walk) -> Result<(), Violation> {
        let &Class { bytes, pages, objects, .. } = CLASSES.get(span.class);
        ensure(span.pages == pages, || format!("{span:?} has not the length of its class"))?;
        let start = span.start << PAGE_SHIFT;
        let mut used = 0;
        for (slot, at) in (span.slots..span.slots + objects).zip((start..).step_by(index(bytes))) {
            match self.central.slots.get(slot) {
                LIVE => (walk.blocks, walk.bytes) = (walk.blocks + 1, walk.bytes + bytes),
                CACHED => ensure(walk.cached.insert(at), || format!("two objects at {at:#x}"))?,
                _ => continue,
            }
            used += 1;
        }
        let mut listed = BTreeSet::new();
        let mut next = span.first_free;
        while next != END && listed.insert(next) && u32::from(next) < objects {
            next = self.central.slots.get(span.slots + u32::from(next));
        }
        ensure(next == END, || format!("the free objects of {span:?} do not end"))?;
        let free = listed.len() as u64;
        ensure(used == span.used && u64::from(used) + free == u64::from(objects), || {
            format!("{used} objects of {span:?} are used, {free} free, {objects} in all")
        })?;
        walk.free_bytes += free * bytes;
        walk.tail_bytes += (pages << PAGE_SHIFT) - u64::from(objects) * bytes;
        if free > 0 {
            walk.with_free.entry(span.class).or_default().insert(id);
        }
        Ok(())
    }

    fn check_free(&self, found: &BTreeSet<SpanId>, lists: &FreeSpans) -> Result<(), Violation> {
        let spans = &self.central.pages.spans;
        let listed = lists.all(spans);
        let unique: BTreeSet<SpanId> = listed.iter().copied().collect();
        ensure(unique.len() == listed.len(), || "a free span is in two lists".to_owned())?;
        ensure(unique == *found, || format!("{} free spans lie in memory, {} in lists", found.len(), unique.len()))?;
        let pages: u64 = listed.iter().map(|&id| spans.get(id).pages).sum();
        ensure(pages == lists.pages, || format!("{pages} free pages, {} counted", lists.pages))?;
        for pages in 1..=LISTED_PAGES {
            let is_listed = spans.in_list(lists.list(pages)).all(|id| spans.get(id).pages == pages);
            ensure(is_listed, || format!("a span of another length is in the list of {pages} pages"))?;
            let is_known = lists.has(pages) != lists.list(pages).is_empty();
            ensure(is_known, || format!("whether the list of {pages} pages has any is not known"))?;
        }
        Ok(())
    }

    fn check_central(&self, with_free: &BTreeMap<u8, BTreeSet<SpanId>>) -> Result<(), Violation> {
        let mut transfer_bytes = 0;
        for (class, list) in (0..).zip(&self.central.lists) {
            let listed: BTreeSet<SpanId> = self.central.pages.spans.in_list(list.spans).collect();
            let found = with_free.get(&class).cloned().unwrap_or_default();
            ensure(listed == found, || format!("class {class}: not the spans with free objects are in its list"))?;
            let &Class { bytes, batch, .. } = CLASSES.get(class);
            let room = index(batch.into()) * index(list.slots.into());
            let is_whole = batch == 0 || list.batches.len().is_multiple_of(index(batch.into()));
            ensure(is_whole && list.batches.len() <= room && list.slots <= list.slots_max, || {
                format!("class {class}: {} objects in a transfer cache of {} slots", list.batches.len(), list.slots)
            })?;
            transfer_bytes += list.batches.len() as u64 * bytes;
        }
        let counted = self.central.transfer_bytes;
        ensure(transfer_bytes == counted, || format!("{transfer_bytes} bytes in transfer caches, {counted} counted"))
    }

    /// Every object that is marked as cached is in one cache, and no other.
    fn check_cached(&self, mut marked: BTreeSet<u64>) -> Result<(), Violation> {
        let mut find = |object: &Object| {
            ensure(marked.remove(&object.at), || format!("{:#x} is in a cache and not marked, or twice", object.at))
        };
        self.central.lists.iter().flat_map(|list| &list.batches).try_for_each(&mut find)?;
        for cache in self.threads.live() {
            let mut bytes = 0;
            for (class, list) in (0..).zip(&cache.lists) {
                list.objects.iter().try_for_each(&mut find)?;
                bytes += list.objects.len() as u64 * CLASSES.get(class).bytes;
            }
            ensure(bytes.cast_signed() == cache.bytes, || format!("{bytes} bytes cached, {} counted", cache.bytes))?;
        }
        ensure(marked.is_empty(), || format!("{} objects are marked as cached and in no cache", marked.len()))
    }

    fn check_budgets(&self) -> Result<(), Violation> {
        let claimed: i64 = self.threads.live().map(|cache| cache.budget).sum();
        let total = claimed + self.threads.unclaimed;
        let wanted = self.options.max_total_thread_cache_bytes.cast_signed();
        ensure(total == wanted, || format!("budgets of {total} bytes in all, {wanted} were given"))
    }
}
