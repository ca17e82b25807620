//! One address space: its areas, its break, its present pages, and where a new mapping goes.
//!
//! # Models
//! The address space of a process on Linux 6.18, x86-64, tables of four levels, transparent huge pages on request only
//! (`madvise`), heuristic overcommit: `mm/mmap.c`, `mm/vma.c`, `mm/mremap.c`, `mm/madvise.c`, `mm/huge_memory.c`
//! (`__thp_get_unmapped_area`), `arch/x86/kernel/sys_x86_64.c`. No address is random (`setarch -R`).
//! It knows nothing of frames and can be used without a kernel: [`AddressSpace`] answers [`SystemMemory`](crate::heap::SystemMemory) itself.
//!
//! # Rules
//! 1. A mapping without a hint takes the highest gap below `mmap_base` that holds it, at the gap's upper end. A gap below
//!    an area that grows down is 256 pages shorter. Where none fits, the lowest gap above a third of the space is taken.
//! 2. A private anonymous mapping whose length is a multiple of 2 MiB (512 pages) looks for 2 MiB more, and starts at the
//!    next multiple of 2 MiB inside; a start that is one already goes 2 MiB up. Likewise a file whose mapped part holds a
//!    whole aligned 2 MiB, so that address and offset agree; shared memory never. Where that finds nothing, rule 1 holds.
//! 3. A hint is rounded down to a page and taken if the range is free and keeps the guard gap of the area above it.
//! 4. Neighbours join if rights, marks, backing and offset continue and at most one group of private pages is involved.
//! 5. The heap's first area does not join what lies below `start_brk`; later growth extends it. One page stays free above
//!    the break.
//! 6. `mremap` shrinks by unmapping the tail; grows in place if the area ends there and the room above is free; else it
//!    moves to a place found by rules 1 and 2 while the old one still exists.
//! 7. A page table is made when first needed. Unmapping frees it only if its whole span lies between the area below and
//!    the area above; `MADV_DONTNEED` frees a lowest one when the call covers its whole span in one area.
//! 8. A write below an area that grows down makes it longer, within the stack limit, while 256 pages stay free below.
//!
//! # Invariants
//! Verified by `check`: areas ascend and do not overlap; the gaps remembered for the search are those that are there;
//! present pages lie in areas and in tables; every table has the tables above it; the counts are right.
//!
//! # Cost
//! O(log areas) for a look-up, O(areas / 64) for a placement; 1 bit of presence per page of tables that exist (128 bytes
//! each). A write to pages that are present compares one word per 64 pages.
//!
//! # Left out
//! Huge pages (advice is kept, no huge page is ever made), fork, locked memory, userfaultfd, other NUMA nodes.

mod area;
mod calls;
mod check;
mod list;
mod options;
mod system;
mod tables;
#[cfg(test)]
mod tests;

pub use area::{Area, AreaFlags, Backing, PageRange};
pub use options::{BadWrite, MapAt, MapOptions, Remap, SpaceError, SpaceSettings};
pub use tables::{TABLE_ENTRIES, TABLE_LEVELS, TableChange, TableId};

use serde::{Deserialize, Serialize};

use crate::Address;
use crate::heap::Advice;
use area::groups_agree;
use list::AreaList;
use tables::Tables;

/// Pages that stay free below a stack (Linux: `stack_guard_gap`).
pub const GUARD_PAGES: u64 = 256;
/// Areas of one process at most (Linux: `max_map_count`).
pub const AREAS_MAX: u64 = 65_530;
/// First page that is no address of a user (Linux: `TASK_SIZE`): half of what four levels reach, less one page.
pub const USER_PAGES: u64 = (1 << 35) - 1;

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddressSpace {
    settings: SpaceSettings,
    /// Logarithm of the bytes of a page.
    page_shift: u32,
    areas: AreaList,
    tables: Tables,
    /// The break in bytes, as the process set it.
    brk: Address,
    mapped: u64,
    groups: u32,
    #[serde(skip)]
    table_changes: Vec<TableChange>,
}

impl AddressSpace {
    /// An empty space.
    #[must_use]
    pub fn new(settings: SpaceSettings) -> AddressSpace {
        assert!(settings.page_bytes.is_power_of_two(), "a page has 2^n bytes, not {}", settings.page_bytes);
        AddressSpace {
            brk: settings.start_brk,
            page_shift: settings.page_bytes.trailing_zeros(),
            settings,
            areas: AreaList::new(GUARD_PAGES),
            tables: Tables::default(),
            mapped: 0,
            groups: 0,
            table_changes: Vec::new(),
        }
    }

    /// A space in which `areas` exist already: a process in the middle of its life. They are taken as they are, without
    /// joining, and nothing is present in them.
    ///
    /// # Panics
    /// When they do not ascend, or overlap.
    #[must_use]
    pub fn with_areas(settings: SpaceSettings, areas: &[Area]) -> AddressSpace {
        let mut space = AddressSpace::new(settings);
        for area in areas {
            assert!(
                space.areas.is_free(area.pages),
                "the areas of a space do not overlap at page {:#x}",
                area.pages.start
            );
            space.mapped += area.pages.len();
            space.groups = space.groups.max(area.group);
            space.areas.insert(*area);
        }
        space
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &SpaceSettings {
        &self.settings
    }

    /// The program break.
    #[must_use]
    pub fn program_break(&self) -> Address {
        self.brk
    }

    /// Areas, ascending.
    pub fn areas(&self) -> impl DoubleEndedIterator<Item = &Area> {
        self.areas.iter()
    }

    /// The area that holds `page`.
    #[must_use]
    pub fn area(&self, page: u64) -> Option<&Area> {
        self.areas.holding(page)
    }

    /// Pages of all areas.
    #[inline]
    #[must_use]
    pub fn mapped_pages(&self) -> u64 {
        self.mapped
    }

    /// Pages that have content, lazily freed ones included.
    #[inline]
    #[must_use]
    pub fn resident_pages(&self) -> u64 {
        self.tables.present_pages()
    }

    /// Of the resident pages, those that `MADV_FREE` gave up and nobody wrote since.
    #[inline]
    #[must_use]
    pub fn lazy_pages(&self) -> u64 {
        self.tables.lazy_pages()
    }

    /// Page tables below the top one (`VmPTE` in units of a table).
    #[must_use]
    pub fn tables(&self) -> u64 {
        self.tables.count()
    }

    /// The page tables below the top one, by level.
    pub fn each_table(&self) -> impl Iterator<Item = TableId> {
        self.tables.iter()
    }

    /// Page tables made, freed and moved by the last call that changed the space, in order.
    #[must_use]
    pub fn table_changes(&self) -> &[TableChange] {
        &self.table_changes
    }

    /// The page that holds `at`.
    #[inline]
    #[must_use]
    pub fn page_of(&self, at: Address) -> u64 {
        at.0 >> self.page_shift
    }

    /// The address of a page's first byte.
    #[must_use]
    pub fn address_of(&self, page: u64) -> Address {
        Address(page * self.settings.page_bytes)
    }

    /// The pages that `bytes` bytes at `at` touch; cut off at the end of the space.
    #[inline]
    #[must_use]
    pub fn pages_of(&self, at: Address, bytes: u64) -> PageRange {
        if bytes == 0 {
            return PageRange::default();
        }
        let last = at.0.saturating_add(bytes - 1);
        PageRange::new(self.page_of(at), self.page_of(Address(last)).saturating_add(1).min(USER_PAGES))
    }

    /// Pages of the heap: from `start_brk` to the break.
    #[must_use]
    pub fn heap_pages(&self) -> PageRange {
        PageRange::new(self.page_of(self.settings.start_brk), self.pages_up(self.brk.0))
    }

    /// Whether `page` has content.
    #[must_use]
    pub fn is_present(&self, page: u64) -> bool {
        self.tables.is_present(page)
    }

    /// Whether `page` has content that `MADV_FREE` gave up.
    #[must_use]
    pub fn is_lazy(&self, page: u64) -> bool {
        self.tables.is_lazy(page)
    }

    /// Present pages among `pages`.
    #[must_use]
    pub fn count_present(&self, pages: PageRange) -> u64 {
        self.tables.count_present(pages)
    }

    /// The first of `pages` that is present.
    #[must_use]
    pub fn first_present(&self, pages: PageRange) -> Option<u64> {
        self.tables.first_present(pages)
    }

    /// The first of `pages` that is not present.
    #[must_use]
    pub fn first_missing(&self, pages: PageRange) -> Option<u64> {
        self.tables.first_missing(pages)
    }

    /// The first of `pages` that is lazily freed.
    #[must_use]
    pub fn first_lazy(&self, pages: PageRange) -> Option<u64> {
        self.tables.first_lazy(pages)
    }

    /// Whether every page of `pages` is present and wanted: a write to them is no business of the kernel.
    #[inline]
    pub fn all_ready(&mut self, pages: PageRange) -> bool {
        self.tables.all_ready(pages)
    }

    /// Whether a write to the `bytes` bytes at `at` is no business of the kernel, because all their pages are present and
    /// wanted. May say no although they are: only tables looked at lately are looked at.
    #[inline]
    #[must_use]
    pub fn is_ready(&self, at: Address, bytes: u64) -> bool {
        bytes != 0 && self.tables.is_ready(self.page_of(at), at.0.saturating_add(bytes - 1) >> self.page_shift)
    }

    /// Takes the mark of `MADV_FREE` off pages that are written again.
    pub fn write_again(&mut self, pages: PageRange) {
        self.tables.unset_lazy(pages);
    }

    /// Prepares a write to `page`, which is not present: makes a stack longer, gives the area its group. Returns the area.
    ///
    /// # Errors
    /// [`BadWrite`] where nothing writable is.
    pub fn prepare_write(&mut self, page: u64) -> Result<Area, BadWrite> {
        self.table_changes.clear();
        let mut place = self.areas.find(page);
        let mut area = *self.areas.get(place).ok_or(BadWrite(self.address_of(page)))?;
        if page < area.pages.start {
            area = self.grow_stack(page)?;
            place = self.areas.find(page);
        }
        if !area.flags.has(AreaFlags::WRITE) {
            return Err(BadWrite(self.address_of(page)));
        }
        if area.group == 0 && !area.flags.has(AreaFlags::SHARED) {
            area.group = self.group_for(&area);
            self.areas.replace(place, area);
        }
        Ok(area)
    }

    /// The group that the first write to `area` gets: a neighbour's if only the rights differ, else a new one.
    fn group_for(&mut self, area: &Area) -> u32 {
        let place = self.areas.find(area.pages.start);
        let above = self.areas.get(self.areas.step(place)).filter(|above| above.group != 0 && area.lends_group(above));
        let below = self.areas.before(place).filter(|below| below.group != 0 && below.lends_group(area));
        if let Some(lender) = above.or(below) {
            return lender.group;
        }
        self.groups += 1;
        self.groups
    }

    /// Makes the stack above `page` reach down to it (Linux: `expand_downwards`).
    fn grow_stack(&mut self, page: u64) -> Result<Area, BadWrite> {
        let refused = BadWrite(self.address_of(page));
        let place = self.areas.find(page);
        let stack = *self.areas.get(place).ok_or(refused)?;
        if !stack.flags.has(AreaFlags::GROWS_DOWN) {
            return Err(refused);
        }
        let too_long = (stack.pages.end - page) * self.settings.page_bytes > self.settings.stack_limit;
        // An area without rights is a guard of the program's own: it may be near.
        let below = self.areas.before(place).filter(|below| below.flags.without(AreaFlags::RIGHTS) != below.flags);
        let too_near = below.is_some_and(|below| page < below.pages.end + GUARD_PAGES);
        if too_long || too_near {
            return Err(refused);
        }
        let growth = stack.pages.start - page;
        let grown = Area {
            pages: PageRange::new(page, stack.pages.end),
            offset: stack.offset.checked_sub(growth).ok_or(refused)?,
            ..stack
        };
        self.mapped += growth;
        self.areas.replace(place, grown);
        Ok(grown)
    }

    /// Page tables that `page` needs and that do not exist, from the highest to the lowest.
    pub fn missing_tables(&self, page: u64) -> impl Iterator<Item = TableId> + '_ {
        // A lowest table has all those above it.
        let levels = if self.tables.has_lowest(page) { 0..0 } else { 1..TABLE_LEVELS };
        levels.rev().map(move |level| TableId::of(level, page)).filter(|&table| !self.tables.has(table))
    }

    /// Gives `page` content, and the page tables it needs.
    pub fn make_present(&mut self, page: u64) {
        self.table_changes.clear();
        self.make_tables(page);
        self.tables.set_present(page);
    }

    fn make_tables(&mut self, page: u64) {
        if self.tables.has_lowest(page) {
            return;
        }
        for level in (1..TABLE_LEVELS).rev() {
            let table = TableId::of(level, page);
            if !self.tables.has(table) {
                self.tables.insert(table);
                self.table_changes.push(TableChange::Made(table));
            }
        }
    }

    /// Takes the content of one lazily freed page: the kernel needs its frame.
    pub fn reclaim(&mut self, page: u64) {
        self.table_changes.clear();
        self.tables.clear_present(PageRange::new(page, page + 1));
    }

    /// Writes to `bytes` bytes at `at`, without a kernel: their pages become present. Returns how many were not.
    ///
    /// # Errors
    /// [`BadWrite`] at the first page where nothing writable is; the pages below it are present.
    pub fn write(&mut self, at: Address, bytes: u64) -> Result<u64, BadWrite> {
        let mut pages = self.pages_of(at, bytes);
        if self.tables.all_ready(pages) {
            return Ok(0);
        }
        self.tables.unset_lazy(pages);
        let mut new = 0;
        while let Some(page) = self.tables.first_missing(pages) {
            self.prepare_write(page)?;
            self.make_present(page);
            new += 1;
            pages.start = page + 1;
        }
        Ok(new)
    }

    /// Tells the kernel what the pages are (not) needed for. Holes are passed over.
    ///
    /// # Errors
    /// [`SpaceError::NotMapped`] when there was a hole; the rest is done all the same.
    pub fn advise(&mut self, at: Address, bytes: u64, advice: Advice) -> Result<(), SpaceError> {
        self.table_changes.clear();
        let pages = self.whole_pages(at, bytes)?;
        self.each_part(pages, |space, area, part| space.advise_part(area, part, advice))
    }

    /// Sets and takes off marks of pages: what the kinds of `madvise` that only mark an area do. Holes are passed over.
    ///
    /// # Errors
    /// As [`AddressSpace::advise`].
    pub fn mark(&mut self, at: Address, bytes: u64, on: AreaFlags, off: AreaFlags) -> Result<(), SpaceError> {
        self.table_changes.clear();
        let pages = self.whole_pages(at, bytes)?;
        self.each_part(pages, |space, area, part| space.set_flags(area, part, area.flags.without(off).with(on)))
    }

    /// Calls `work` for the part of each area in `pages`, ascending; tells about holes at the end.
    fn each_part(
        &mut self,
        pages: PageRange,
        mut work: impl FnMut(&mut AddressSpace, &Area, PageRange) -> Result<(), SpaceError>,
    ) -> Result<(), SpaceError> {
        let mut next = pages.start;
        while next < pages.end {
            let Some(area) = self.areas.get(self.areas.find(next)).copied() else { break };
            let part = area.pages.intersect(PageRange::new(next, pages.end));
            if part.is_empty() {
                break;
            }
            work(self, &area, part)?;
            next = part.end;
        }
        self.ensure_mapped(pages)
    }

    fn advise_part(&mut self, area: &Area, part: PageRange, advice: Advice) -> Result<(), SpaceError> {
        let set = |on: AreaFlags, off: AreaFlags| area.flags.with(on).without(off);
        match advice {
            Advice::DontNeed => self.drop_pages(part),
            Advice::Free if area.backing == Backing::Anonymous && !area.flags.has(AreaFlags::SHARED) => {
                self.tables.set_lazy(part);
            }
            Advice::Free => {}
            Advice::HugePage => self.set_flags(area, part, set(AreaFlags::HUGE, AreaFlags::NO_HUGE))?,
            Advice::NoHugePage => self.set_flags(area, part, set(AreaFlags::NO_HUGE, AreaFlags::HUGE))?,
        }
        Ok(())
    }

    /// `MADV_DONTNEED` on a part of one area: rule 7.
    fn drop_pages(&mut self, part: PageRange) {
        self.tables.clear_present(part);
        let whole = (part.start.div_ceil(TABLE_ENTRIES), part.end / TABLE_ENTRIES);
        if whole.0 < whole.1 {
            for table in self.tables.between(1, whole.0, whole.1) {
                self.free_table(table);
            }
        }
    }

    fn free_table(&mut self, table: TableId) {
        self.tables.remove(table);
        self.table_changes.push(TableChange::Freed(table));
    }

    /// Pages up to and including the one that holds the byte before `end`.
    fn pages_up(&self, end: u64) -> u64 {
        end.div_ceil(self.settings.page_bytes)
    }

    /// The range as whole pages; its start must be one.
    fn whole_pages(&self, at: Address, bytes: u64) -> Result<PageRange, SpaceError> {
        let end = at.0.checked_add(bytes).filter(|_| at.0.is_multiple_of(self.settings.page_bytes));
        let pages = end.map(|end| PageRange::new(self.page_of(at), self.pages_up(end)));
        pages.filter(|pages| pages.end <= USER_PAGES).ok_or(SpaceError::BadRange(at))
    }
}
