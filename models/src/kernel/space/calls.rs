//! The calls that change areas: `mmap`, `brk`, `munmap`, `mprotect`, `mremap`.

use super::{
    AREAS_MAX, AddressSpace, Area, AreaFlags, Backing, GUARD_PAGES, MapAt, MapOptions, PageRange, Remap, SpaceError,
    TABLE_ENTRIES, TABLE_LEVELS, TableChange, TableId, USER_PAGES, groups_agree,
};
use crate::Address;
use crate::heap::Access;

/// Bytes below which nothing is mapped (Linux: `mmap_min_addr`).
const LOWEST: u64 = 65_536;

impl AddressSpace {
    /// Where a mapping would go. Changes nothing.
    ///
    /// # Errors
    /// [`SpaceError`] says why there is no place.
    pub fn plan_map(&self, options: &MapOptions) -> Result<PageRange, SpaceError> {
        let pages = self.pages_up(options.bytes);
        let anywhere = Address(0);
        if pages == 0 {
            return Err(SpaceError::BadRange(anywhere));
        }
        if pages > USER_PAGES {
            return Err(SpaceError::NoRoom { pages });
        }
        self.ensure_promise(self.accounted(options.flags), pages)?;
        if self.areas.len() as u64 > AREAS_MAX {
            return Err(SpaceError::TooManyAreas);
        }
        let start = match options.at {
            MapAt::Fixed(at) => self.whole_pages(at, options.bytes)?.start,
            MapAt::FixedIfFree(at) => {
                let range = self.whole_pages(at, options.bytes)?;
                if !self.areas.is_free(range) {
                    return Err(SpaceError::NoRoom { pages });
                }
                range.start
            }
            MapAt::Hint(at) => match self.free_at_hint(at, pages) {
                Some(start) => start,
                None => self.find_gap(options, pages).ok_or(SpaceError::NoRoom { pages })?,
            },
            MapAt::Anywhere => self.find_gap(options, pages).ok_or(SpaceError::NoRoom { pages })?,
        };
        Ok(PageRange::new(start, start + pages))
    }

    /// Maps; returns where.
    ///
    /// # Errors
    /// As [`AddressSpace::plan_map`]; nothing has changed then.
    pub fn map(&mut self, options: &MapOptions) -> Result<PageRange, SpaceError> {
        let pages = self.plan_map(options)?;
        self.table_changes.clear();
        if matches!(options.at, MapAt::Fixed(_)) {
            self.cut_out(pages)?;
        }
        let offset = if options.backing == Backing::Anonymous { pages.start } else { options.offset };
        let flags = self.accounted(options.flags);
        self.add(Area { pages, flags, backing: options.backing, offset, group: 0 });
        Ok(pages)
    }

    /// The flags with the mark of accounted memory where it is due.
    fn accounted(&self, flags: AreaFlags) -> AreaFlags {
        if flags.is_private_writable() && !flags.has(AreaFlags::NO_RESERVE) {
            return flags.with(AreaFlags::ACCOUNTED);
        }
        flags
    }

    /// Refuses a promise of more pages than the machine has.
    fn ensure_promise(&self, flags: AreaFlags, pages: u64) -> Result<(), SpaceError> {
        match self.settings.promise_pages_max {
            Some(limit) if flags.has(AreaFlags::ACCOUNTED) && pages > limit => {
                Err(SpaceError::Overcommit { pages, limit })
            }
            _ => Ok(()),
        }
    }

    fn free_at_hint(&self, at: Address, pages: u64) -> Option<u64> {
        let start = self.page_of(Address(at.0.max(LOWEST)));
        let end = start.checked_add(pages).filter(|&end| at.0 != 0 && end <= USER_PAGES)?;
        let above = self.areas.get(self.areas.find(start));
        above.is_none_or(|above| end <= above.guarded_start(GUARD_PAGES)).then_some(start)
    }

    /// Rules 1 and 2.
    fn find_gap(&self, options: &MapOptions, pages: u64) -> Option<u64> {
        let residue = match options.backing {
            Backing::SharedMemory(_) => None,
            Backing::Anonymous if options.flags.has(AreaFlags::SHARED) => None,
            // A hint that was not taken switches the rule off.
            Backing::Anonymous if options.at != MapAt::Anywhere => None,
            Backing::Anonymous => pages.is_multiple_of(TABLE_ENTRIES).then_some(0),
            Backing::File(_) => {
                let first_whole = options.offset.next_multiple_of(TABLE_ENTRIES);
                let holds_whole = options.offset + pages >= first_whole + TABLE_ENTRIES;
                holds_whole.then_some(options.offset % TABLE_ENTRIES)
            }
        };
        residue.and_then(|residue| self.aligned_gap(pages, residue)).or_else(|| self.plain_gap(pages))
    }

    fn plain_gap(&self, pages: u64) -> Option<u64> {
        let low = self.page_of(Address(LOWEST)).max(1);
        let top_down = self.areas.highest_gap(pages, low, self.page_of(self.settings.mmap_base));
        top_down.or_else(|| self.areas.lowest_gap(pages, USER_PAGES / 3 + 1, USER_PAGES))
    }

    /// A start that is `residue` modulo 2 MiB, inside a gap for 2 MiB more than asked.
    fn aligned_gap(&self, pages: u64, residue: u64) -> Option<u64> {
        let found = self.plain_gap(pages.checked_add(TABLE_ENTRIES)?)?;
        let up = (residue + TABLE_ENTRIES - found % TABLE_ENTRIES) % TABLE_ENTRIES;
        Some(found + if up == 0 { TABLE_ENTRIES } else { up })
    }

    /// Adds an area where nothing is mapped, and joins it with its neighbours (rule 4).
    pub(super) fn add(&mut self, area: Area) {
        self.mapped += area.pages.len();
        self.join_in(area);
    }

    fn join_in(&mut self, area: Area) {
        let mut area = area;
        let place = self.areas.find(area.pages.start);
        let above = self.areas.get(place).copied().filter(|above| area.joins(above));
        let below = self.areas.before(place).copied().filter(|below| below.joins(&area));
        let mut taken = area.group;
        if let Some(below) = below {
            taken = taken.max(below.group);
            let at = self.areas.find(below.pages.start);
            self.areas.remove(at);
            area = Area { pages: PageRange::new(below.pages.start, area.pages.end), offset: below.offset, ..area };
        }
        // All three become one only if the groups of the outer two agree as well.
        if let Some(above) = above.filter(|above| groups_agree(taken, above.group)) {
            taken = taken.max(above.group);
            let at = self.areas.find(above.pages.start);
            self.areas.remove(at);
            area.pages.end = above.pages.end;
        }
        self.areas.insert(Area { group: taken, ..area });
    }

    /// Where the break would put new pages, none when it falls. Changes nothing.
    ///
    /// # Errors
    /// [`SpaceError`] when the break cannot go there.
    pub fn plan_brk(&self, end: Address) -> Result<PageRange, SpaceError> {
        if end < self.settings.start_brk || end.0 > USER_PAGES * self.settings.page_bytes {
            return Err(SpaceError::BadRange(end));
        }
        let (old, new) = (self.pages_up(self.brk.0), self.pages_up(end.0));
        if new <= old {
            return Ok(PageRange::default());
        }
        let growth = PageRange::new(old, new);
        let above = self.areas.get(self.areas.find(old));
        // One page stays free between the break and what lies above it.
        if above.is_some_and(|above| new + 1 > above.guarded_start(GUARD_PAGES)) {
            return Err(SpaceError::NoRoom { pages: growth.len() });
        }
        self.ensure_promise(AreaFlags::ACCOUNTED, growth.len())?;
        if self.areas.len() as u64 > AREAS_MAX {
            return Err(SpaceError::TooManyAreas);
        }
        Ok(growth)
    }

    /// Moves the break.
    ///
    /// # Errors
    /// As [`AddressSpace::plan_brk`]; nothing has changed then.
    pub fn move_brk(&mut self, end: Address) -> Result<(), SpaceError> {
        let growth = self.plan_brk(end)?;
        self.table_changes.clear();
        let (old, new) = (self.pages_up(self.brk.0), self.pages_up(end.0));
        if new < old {
            self.cut_out(PageRange::new(new, old))?;
        } else if !growth.is_empty() {
            self.extend_heap(growth);
        }
        self.brk = end;
        Ok(())
    }

    /// Rule 5: only an area of the heap is extended, and never joined with one above.
    fn extend_heap(&mut self, growth: PageRange) {
        self.mapped += growth.len();
        let area = Area::anonymous(growth, self.accounted(AreaFlags::READ.with(AreaFlags::WRITE)));
        let start_brk = self.page_of(self.settings.start_brk);
        if let Some(place) = self.areas.step_back(self.areas.find(growth.start))
            && let Some(below) = self.areas.get(place).copied()
            && below.pages.start >= start_brk
            && below.joins(&area)
        {
            let pages = PageRange::new(below.pages.start, growth.end);
            self.areas.replace(place, Area { pages, ..below });
            return;
        }
        self.areas.insert(area);
    }

    /// Unmaps; what is not mapped there is passed over.
    ///
    /// # Errors
    /// [`SpaceError`] when the range is not one of pages, or a cut would make too many areas. Nothing has changed then.
    pub fn unmap(&mut self, at: Address, bytes: u64) -> Result<(), SpaceError> {
        self.table_changes.clear();
        let pages = self.whole_pages(at, bytes)?;
        if pages.is_empty() {
            return Err(SpaceError::BadRange(at));
        }
        self.cut_out(pages)
    }

    /// Takes `pages` out of all areas, with their content and the tables that nobody else can need.
    fn cut_out(&mut self, pages: PageRange) -> Result<(), SpaceError> {
        let first = self.areas.find(pages.start);
        let Some(lowest) = self.areas.get(first).copied().filter(|area| area.pages.start < pages.end) else {
            return Ok(());
        };
        let is_hole = lowest.pages.start < pages.start && pages.end < lowest.pages.end;
        if is_hole && self.areas.len() as u64 >= AREAS_MAX {
            return Err(SpaceError::TooManyAreas);
        }
        let mut cut = lowest.pages.intersect(pages);
        while let Some(area) = self.areas.get(self.areas.find(pages.start)).copied() {
            let part = area.pages.intersect(pages);
            if part.is_empty() {
                break;
            }
            cut.end = part.end;
            self.cut_part(&area, part);
            self.mapped -= part.len();
        }
        self.tables.clear_present(cut);
        self.free_tables(cut);
        Ok(())
    }

    /// Takes `part` out of `area`; what is left of it stays, without joining anything.
    fn cut_part(&mut self, area: &Area, part: PageRange) {
        let place = self.areas.find(part.start);
        self.areas.remove(place);
        for rest in [PageRange::new(area.pages.start, part.start), PageRange::new(part.end, area.pages.end)] {
            if !rest.is_empty() {
                self.areas.insert(area.part(rest));
            }
        }
    }

    /// Rule 7 after an unmap of `cut`.
    fn free_tables(&mut self, cut: PageRange) {
        let above = self.areas.find(cut.start);
        let ceiling = self.areas.get(above).map_or(u64::MAX, |area| area.pages.start);
        let floor = self.areas.before(above).map_or(0, |area| area.pages.end);
        for level in 1..TABLE_LEVELS {
            let from = TableId::of(level, cut.start).index;
            let to = TableId::of(level, cut.end - 1).index + 1;
            for table in self.tables.between(level, from, to) {
                if floor <= table.span().start && table.span().end <= ceiling {
                    self.free_table(table);
                }
            }
        }
    }

    /// Changes the rights of pages, area by area up to the first hole.
    ///
    /// # Errors
    /// [`SpaceError::NotMapped`] at a hole (what lies below it has changed), or [`SpaceError::Overcommit`].
    pub fn protect(&mut self, at: Address, bytes: u64, access: Access) -> Result<(), SpaceError> {
        self.protect_to(at, bytes, AreaFlags::from(access))
    }

    /// [`AddressSpace::protect`] with any rights.
    ///
    /// # Errors
    /// As there.
    pub fn protect_to(&mut self, at: Address, bytes: u64, rights: AreaFlags) -> Result<(), SpaceError> {
        self.table_changes.clear();
        let pages = self.whole_pages(at, bytes)?;
        let mut next = pages.start;
        while next < pages.end {
            let area = *self.areas.holding(next).ok_or(SpaceError::NotMapped(self.address_of(next)))?;
            let part = area.pages.intersect(pages);
            let mut flags = area.flags.without(AreaFlags::RIGHTS).with(rights);
            if flags.is_private_writable() {
                flags = self.accounted(flags);
                if !area.flags.has(AreaFlags::ACCOUNTED) {
                    self.ensure_promise(flags, part.len())?;
                }
            } else if area.backing == Backing::Anonymous && area.group == 0 {
                flags = flags.without(AreaFlags::ACCOUNTED);
            }
            self.set_flags(&area, part, flags)?;
            next = part.end;
        }
        Ok(())
    }

    /// Gives a part of an area other flags: cuts it out and joins it with its neighbours.
    pub(super) fn set_flags(&mut self, area: &Area, part: PageRange, flags: AreaFlags) -> Result<(), SpaceError> {
        if area.flags == flags {
            return Ok(());
        }
        if self.areas.len() as u64 + 2 > AREAS_MAX && part != area.pages {
            return Err(SpaceError::TooManyAreas);
        }
        self.cut_part(area, part);
        self.join_in(Area { flags, ..area.part(part) });
        Ok(())
    }

    /// `NotMapped` if there is a hole in `pages`.
    pub(super) fn ensure_mapped(&self, pages: PageRange) -> Result<(), SpaceError> {
        let mut next = pages.start;
        while next < pages.end {
            let area = self.areas.holding(next).ok_or(SpaceError::NotMapped(self.address_of(next)))?;
            next = area.pages.end;
        }
        Ok(())
    }

    /// What `mremap` would do (with `MREMAP_MAYMOVE`). Changes nothing.
    ///
    /// # Errors
    /// [`SpaceError`] says why it cannot.
    pub fn plan_remap(&self, at: Address, old_bytes: u64, new_bytes: u64) -> Result<Remap, SpaceError> {
        let old = self.whole_pages(at, old_bytes)?;
        let new_pages = self.pages_up(new_bytes);
        if old.is_empty() || new_pages == 0 {
            return Err(SpaceError::BadRange(at));
        }
        let area = self.areas.holding(old.start).ok_or(SpaceError::NotMapped(at))?;
        // A range that shrinks may reach past its area: the tail is unmapped as `munmap` does it.
        if new_pages <= old.len() {
            return Ok(Remap { old, new: PageRange::new(old.start, old.start + new_pages) });
        }
        if old.end > area.pages.end {
            return Err(SpaceError::NotMapped(self.address_of(area.pages.end)));
        }
        self.ensure_promise(area.flags, new_pages - old.len())?;
        let in_place = PageRange::new(old.start, old.start.saturating_add(new_pages));
        let growth = PageRange::new(old.end, in_place.end);
        if old.end == area.pages.end && in_place.end <= USER_PAGES && self.areas.is_free(growth) {
            return Ok(Remap { old, new: in_place });
        }
        if self.areas.len() as u64 + 3 > AREAS_MAX {
            return Err(SpaceError::TooManyAreas);
        }
        let options = MapOptions {
            bytes: new_bytes,
            at: MapAt::Anywhere,
            flags: area.flags,
            backing: area.backing,
            offset: area.part(old).offset,
        };
        let start = self.find_gap(&options, new_pages).ok_or(SpaceError::NoRoom { pages: new_pages })?;
        Ok(Remap { old, new: PageRange::new(start, start + new_pages) })
    }

    /// Does what [`AddressSpace::plan_remap`] found, with nothing changed in between.
    pub fn remap(&mut self, remap: Remap) {
        self.table_changes.clear();
        let Remap { old, new } = remap;
        if new.start != old.start {
            self.move_area(old, new);
        } else if new.end < old.end {
            self.cut_out(PageRange::new(new.end, old.end)).expect("the tail of a range splits no area in three");
        } else if new.end > old.end {
            let place = self.areas.find(old.start);
            let area = self.areas.remove(place);
            self.mapped += new.end - old.end;
            self.join_in(Area { pages: PageRange::new(area.pages.start, new.end), ..area });
        }
    }

    fn move_area(&mut self, old: PageRange, new: PageRange) {
        let area = *self.areas.holding(old.start).expect("a planned move starts in an area");
        let kept = area.part(old);
        // The offset is renewed only while nothing was ever written there.
        let is_fresh = area.backing == Backing::Anonymous && area.group == 0;
        let offset = if is_fresh { new.start } else { kept.offset };
        self.add(Area { pages: new, offset, ..kept });
        self.move_entries(old, new.start);
        self.cut_out(old).expect("a planned move leaves room for the cut");
    }

    /// Page tables that moving the entries of `old` to `new_start` makes, in order.
    #[must_use]
    pub fn tables_for_move(&self, old: PageRange, new_start: u64) -> Vec<TableId> {
        let mut made: Vec<TableId> = Vec::new();
        for step in MoveStep::all(old, new_start) {
            if !self.tables.has(TableId::of(1, step.from)) {
                continue;
            }
            let lowest = if step.is_table() && !self.tables.has(TableId::of(1, step.to)) { 2 } else { 1 };
            for level in (lowest..TABLE_LEVELS).rev() {
                let table = TableId::of(level, step.to);
                if !self.tables.has(table) && !made.contains(&table) {
                    made.push(table);
                }
            }
        }
        made
    }

    fn move_entries(&mut self, old: PageRange, new_start: u64) {
        for step in MoveStep::all(old, new_start) {
            let (from, to) = (TableId::of(1, step.from), TableId::of(1, step.to));
            if !self.tables.has(from) {
                continue;
            }
            if step.is_table() && !self.tables.has(to) {
                for level in [3, 2] {
                    self.make_table(TableId::of(level, step.to));
                }
                self.tables.rename(from.index, to.index);
                self.table_changes.push(TableChange::Moved(from, to));
                continue;
            }
            self.make_tables(step.to);
            self.move_bits(step);
        }
    }

    fn make_table(&mut self, table: TableId) {
        if !self.tables.has(table) {
            self.tables.insert(table);
            self.table_changes.push(TableChange::Made(table));
        }
    }

    fn move_bits(&mut self, step: MoveStep) {
        let mut pages = PageRange::new(step.from, step.from + step.pages);
        while let Some(page) = self.tables.first_present(pages) {
            let target = step.to + (page - step.from);
            let one = |page| PageRange::new(page, page + 1);
            let is_lazy = self.tables.is_lazy(page);
            self.tables.clear_present(one(page));
            self.tables.set_present(target);
            if is_lazy {
                self.tables.set_lazy(one(target));
            }
            pages.start = page + 1;
        }
    }
}

/// A part of a move that stays within one lowest table on both sides.
#[derive(Clone, Copy)]
struct MoveStep {
    from: u64,
    to: u64,
    pages: u64,
}

impl MoveStep {
    /// Whether it moves a whole table onto a whole table.
    fn is_table(self) -> bool {
        self.pages == TABLE_ENTRIES
    }

    fn all(old: PageRange, new_start: u64) -> impl Iterator<Item = MoveStep> {
        let mut from = old.start;
        std::iter::from_fn(move || {
            let to = new_start + (from - old.start);
            let to_edge = |page: u64| TABLE_ENTRIES - page % TABLE_ENTRIES;
            let pages = to_edge(from).min(to_edge(to)).min(old.end.saturating_sub(from));
            let step = MoveStep { from, to, pages };
            from += pages;
            (pages > 0).then_some(step)
        })
    }
}
