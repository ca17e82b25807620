//! How pages get frames and lose them.

use super::page_table::PageTable;
use super::space::{Area, AreaFlags, BadWrite, PageRange, Remap, TABLE_LEVELS, TableChange, TableId};
use super::spawn::Asked;
use super::{Kernel, NoMemory, Owner, Region, Unmet};
use crate::frames::{AllocError, FrameNumber, FrameRequest, FrameRun, MigrateType};
use crate::kernel::frames::Frames;
use crate::kernel::process::Live;
use crate::{Pid, ThreadId};

/// Lazily freed pages that go at once when a request finds no frame.
const RECLAIM_BATCH: u64 = 32;

/// Why a write did not get its page.
enum Failed {
    NoMemory(NoMemory),
    BadWrite,
}

impl From<NoMemory> for Failed {
    fn from(error: NoMemory) -> Failed {
        Failed::NoMemory(error)
    }
}

impl From<BadWrite> for Failed {
    fn from(_: BadWrite) -> Failed {
        Failed::BadWrite
    }
}

/// Pages that a call is about to need, and how it asks for them.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) pages: PageRange,
    pub(super) region: Region,
    /// All of them as one run.
    pub(super) as_run: bool,
}

/// The request for `frames` frames for `region`.
pub(super) fn request_for(region: Region, frames: u64) -> FrameRequest {
    let migrate = if region.is_kernel() { MigrateType::Unmovable } else { MigrateType::Movable };
    FrameRequest { migrate, ..FrameRequest::frames(frames) }
}

/// Whether an area is the stack of the main thread or of another.
pub(super) fn is_stack(flags: AreaFlags) -> bool {
    flags.has(AreaFlags::GROWS_DOWN) || flags.has(AreaFlags::THREAD_STACK)
}

/// Takes the present pages of `pages` out of a page table and gives their frames back, but for those in `shared`, which
/// belong to the program. Returns the frames that went.
pub(super) fn drop_pages(frames: &mut Frames, table: &mut PageTable, pages: PageRange, shared: PageRange) -> u64 {
    let mut gone = 0;
    // Frames that lie next to each other go together, so that a run is looked at once.
    let mut part = FrameRun::default();
    table.drain(pages, |page, frame| {
        if shared.contains(page) {
            return;
        }
        if !part.is_empty() && part.end() == frame {
            part.frames += 1;
            return;
        }
        gone += frames.give_back_part(part);
        part = FrameRun { start: frame, frames: 1 };
    });
    gone + frames.give_back_part(part)
}

impl Kernel {
    /// Asks the policy for frames; lazily freed pages go first if it has none (rule 4).
    pub(super) fn grab(&mut self, request: &FrameRequest, owner: Owner) -> Result<FrameRun, NoMemory> {
        loop {
            let cause = match self.frames.ask(request) {
                Ok(run) => return Ok(run),
                Err(cause) => cause,
            };
            let more_would_do = matches!(cause, AllocError::Shortage { .. } | AllocError::Fragmentation { .. });
            if !more_would_do || self.reclaim() == 0 {
                return Err(NoMemory { region: owner.region, pages: request.frames, cause });
            }
        }
    }

    /// Takes up to [`RECLAIM_BATCH`] lazily freed pages, those given up first. Returns how many.
    fn reclaim(&mut self) -> u64 {
        let mut gone = 0;
        while gone < RECLAIM_BATCH {
            let Some((pid, mut pages)) = self.tables.lazy.pop_front() else { break };
            let Some(live) = self.tables.live_mut(Pid(pid)) else { continue };
            while let Some(page) = live.space.first_lazy(pages) {
                if gone == RECLAIM_BATCH {
                    self.tables.lazy.push_front((pid, pages));
                    break;
                }
                live.space.reclaim(page);
                let one = PageRange::new(page, page + 1);
                live.counts.given += drop_pages(&mut self.frames, &mut live.table, one, PageRange::default());
                live.counts.reclaimed += 1;
                gone += 1;
                pages.start = page + 1;
            }
        }
        self.tables.calls.reclaimed += gone;
        gone
    }

    /// A write of a thread to `pages`, not all of which are present and wanted.
    pub(super) fn touch_slowly(&mut self, pid: Pid, thread: ThreadId, pages: PageRange) {
        self.tables.woken(pid).space.write_again(pages);
        if let Err((left, error)) = self.write(pid, pages) {
            let by = (pid.0, thread.0);
            let unmet = self.tables.unmet.entry(by).or_insert(Unmet { ranges: Vec::new(), error, is_news: true });
            unmet.ranges.push(left);
            (unmet.error, unmet.is_news) = (error, true);
        }
    }

    /// Tries the unmet writes of a thread of `pid` again, in their order.
    ///
    /// # Errors
    /// [`NoMemory`] when frames are missing still; what could be met is met, the rest is remembered.
    pub fn settle(&mut self, pid: Pid, thread: ThreadId) -> Result<(), NoMemory> {
        let by = (pid.0, thread.0);
        let Some(unmet) = self.tables.unmet.remove(&by) else { return Ok(()) };
        let mut ranges = unmet.ranges.into_iter();
        while let Some(pages) = ranges.next() {
            if let Err((left, error)) = self.write(pid, pages) {
                let ranges = std::iter::once(left).chain(ranges).collect();
                self.tables.unmet.insert(by, Unmet { ranges, error, is_news: false });
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives the pages that are not present frames, ascending. What is left when frames run out is the error.
    fn write(&mut self, pid: Pid, pages: PageRange) -> Result<(), (PageRange, NoMemory)> {
        let mut pages = pages;
        while let Some(page) = self.tables.woken(pid).space.first_missing(pages) {
            pages.start = page;
            match self.fault(pid, page) {
                Ok(()) => pages.start = page + 1,
                Err(Failed::NoMemory(error)) => return Err((pages, error)),
                Err(Failed::BadWrite) => {
                    self.tables.woken(pid).counts.bad_writes += 1;
                    self.tables.calls.bad_writes += 1;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The way of one page fault from address to frame (rule 3).
    fn fault(&mut self, pid: Pid, page: u64) -> Result<(), Failed> {
        let area = self.tables.woken(pid).space.prepare_write(page)?;
        let region = self.region_of(pid, &area, page);
        if self.tables.woken(pid).space.missing_tables(page).next().is_none() {
            self.fault_in_table(pid, page, region)?;
        } else {
            let wanted = Wanted { pages: PageRange::new(page, page + 1), region, as_run: false };
            self.ask_for_pages(pid, wanted, &[])?;
            self.fill_pages(pid, wanted);
        }
        self.tables.woken(pid).counts.faults += 1;
        self.tables.calls.faults += 1;
        Ok(())
    }

    /// The common fault: the page tables are there, only the page is missing.
    fn fault_in_table(&mut self, pid: Pid, page: u64, region: Region) -> Result<(), NoMemory> {
        let owner = Owner { pid, region };
        let run = self.grab(&request_for(region, 1), owner)?;
        self.frames.hand_over(run, owner, 1);
        let live = self.tables.woken(pid);
        live.space.make_present(page);
        live.table.insert(page, run.start);
        live.counts.taken += run.frames;
        live.counts.zeroed += 1;
        Ok(())
    }

    /// What a page of `area` is used for.
    pub(super) fn region_of(&self, pid: Pid, area: &Area, page: u64) -> Region {
        let image = self.tables.loaded_of(pid);
        let is_heap = self.address_space(pid).is_some_and(|space| space.heap_pages().contains(page));
        match image.region_of(page) {
            Some(region) => region,
            None if is_heap => Region::Heap,
            None if is_stack(area.flags) => Region::Stack,
            None => Region::Mmap,
        }
    }

    /// Asks for frames for the missing pages of `wanted` and for the page tables they need, but for `have`, which the same
    /// call asked for already. On failure everything the call asked for goes back.
    pub(super) fn ask_for_pages(&mut self, pid: Pid, wanted: Wanted, have: &[TableId]) -> Result<(), NoMemory> {
        // Tables of each level that were asked for last: pages come in ascending order.
        let mut last = [None; 3];
        for level in 1..TABLE_LEVELS {
            let first = TableId::of(level, wanted.pages.start);
            last[usize::from(level - 1)] = have.contains(&first).then_some(first);
        }
        let mut pages = wanted.pages;
        while let Some(page) = self.tables.woken(pid).space.first_missing(pages) {
            self.ask_for_tables(pid, page, &mut last)?;
            pages.start = if wanted.as_run { TableId::of(1, page).span().end } else { page + 1 };
            if !wanted.as_run {
                self.ask(pid, wanted.region, 1)?;
            }
        }
        if wanted.as_run && !wanted.pages.is_empty() {
            self.ask(pid, wanted.region, wanted.pages.len())?;
        }
        Ok(())
    }

    fn ask_for_tables(&mut self, pid: Pid, page: u64, last: &mut [Option<TableId>; 3]) -> Result<(), NoMemory> {
        if !self.tables.settings.charges.page_tables || last[0] == Some(TableId::of(1, page)) {
            return Ok(());
        }
        let mut missing = [None; 3];
        missing.iter_mut().zip(self.tables.woken(pid).space.missing_tables(page)).for_each(|(to, it)| *to = Some(it));
        for table in missing.into_iter().flatten() {
            let last = &mut last[usize::from(table.level - 1)];
            if *last != Some(table) {
                *last = Some(table);
                self.ask(pid, Region::PageTable, 1)?;
            }
        }
        Ok(())
    }

    /// One run for the call in progress. On failure everything the call asked for goes back.
    pub(super) fn ask(&mut self, pid: Pid, region: Region, frames: u64) -> Result<(), NoMemory> {
        let owner = Owner { pid, region };
        match self.grab(&request_for(region, frames), owner) {
            Ok(run) => {
                self.asked.push(Asked { run, owner, used: frames });
                Ok(())
            }
            Err(error) => {
                self.take_back_asked();
                Err(error)
            }
        }
    }

    /// Gives back what the call in progress asked for, in reverse order.
    pub(super) fn take_back_asked(&mut self) {
        while let Some(Asked { run, .. }) = self.asked.pop() {
            self.frames.undo(run);
        }
    }

    /// Puts what was asked for behind the missing pages of `wanted`, which are mapped by now.
    pub(super) fn fill_pages(&mut self, pid: Pid, wanted: Wanted) {
        let mut asked = std::mem::take(&mut self.asked);
        self.hand_over_all(pid, &asked);
        let mut tables = asked.iter().filter(|asked| asked.owner.region == Region::PageTable);
        self.fill(pid, wanted, &asked, &mut tables);
        asked.clear();
        self.asked = asked;
    }

    fn hand_over_all(&mut self, pid: Pid, asked: &[Asked]) {
        let counts = &mut self.tables.live_mut(pid).expect("a process is woken before its first call").counts;
        for Asked { run, owner, used } in asked {
            self.frames.hand_over(*run, *owner, *used);
            counts.taken += run.frames;
            counts.zeroed += if owner.region.is_zeroed() { *used } else { 0 };
        }
    }

    fn fill<'a>(&mut self, pid: Pid, wanted: Wanted, asked: &[Asked], tables: &mut impl Iterator<Item = &'a Asked>) {
        let mut frames = asked
            .iter()
            .filter(|asked| asked.owner.region != Region::PageTable)
            .flat_map(|asked| (0..asked.used).map(|at| FrameNumber(asked.run.start.0 + at)));
        let mut pages = wanted.pages;
        while let Some(page) = self.tables.woken(pid).space.first_missing(pages) {
            pages.start = page + 1;
            // Lazily freed pages of the range may have gone while its frames were asked for: the last ones then wait for
            // their next write, as they would elsewhere.
            let Some(frame) = frames.next() else { break };
            let live = self.tables.woken(pid);
            live.space.prepare_write(page).expect("pages are filled where the area allows it");
            live.space.make_present(page);
            live.table.insert(page, frame);
            self.follow_tables(pid, tables);
        }
    }

    /// Does to the page table's frames what the last call did to the page tables; new ones get the next of `asked`.
    pub(super) fn follow_tables<'a>(&mut self, pid: Pid, asked: &mut impl Iterator<Item = &'a Asked>) {
        let is_charged = self.tables.settings.charges.page_tables;
        let Some(live) = self.tables.live_mut(pid) else { return };
        let Live { space, table, counts, .. } = live;
        let (mut made, mut freed) = (0, 0);
        for change in space.table_changes() {
            match *change {
                TableChange::Made(name) => {
                    made += 1;
                    if is_charged {
                        let Asked { run, .. } = asked.next().expect("a frame was asked for each page table");
                        table.add_table(name, run.start);
                    }
                }
                TableChange::Moved(from, to) => table.rename(from, to),
                TableChange::Freed(name) => {
                    freed += 1;
                    if let Some(frame) = table.remove_table(name) {
                        counts.given += self.frames.give_back_at(frame);
                    }
                }
            }
        }
        self.tables.page_tables = self.tables.page_tables + made - freed;
    }

    /// Gives back the frames of pages that the last call unmapped or dropped, then its page tables.
    pub(super) fn follow_unmap(&mut self, pid: Pid, pages: PageRange) {
        let shared = self.shared_pages(self.tables.process(pid).image);
        let Some(live) = self.tables.live_mut(pid) else { return };
        live.counts.given += drop_pages(&mut self.frames, &mut live.table, pages, shared);
        self.follow_tables(pid, &mut std::iter::empty());
    }

    /// Moves the frames of a mapping that the last call moved, and fills what it grew by.
    pub(super) fn follow_move(&mut self, pid: Pid, remap: Remap, growth: Option<Wanted>) {
        let mut asked = std::mem::take(&mut self.asked);
        self.hand_over_all(pid, &asked);
        let mut tables = asked.iter().filter(|asked| asked.owner.region == Region::PageTable);
        // Whole tables are renamed first; what is left in the old place moves page by page.
        self.rename_tables(pid);
        let mut moved = Vec::new();
        let live = self.tables.woken(pid);
        live.table.drain(remap.old, |page, frame| moved.push((remap.new.start + (page - remap.old.start), frame)));
        for (page, frame) in moved {
            live.table.insert(page, frame);
        }
        self.follow_tables(pid, &mut tables);
        self.relabel_moved(pid, remap);
        if let Some(growth) = growth {
            self.fill(pid, growth, &asked, &mut tables);
        }
        asked.clear();
        self.asked = asked;
    }

    fn rename_tables(&mut self, pid: Pid) {
        let live = self.tables.woken(pid);
        for change in live.space.table_changes() {
            if let TableChange::Moved(from, to) = *change {
                live.table.rename(from, to);
            }
        }
    }

    /// What leaves the heap or the image by `mremap` is mapped memory from then on.
    fn relabel_moved(&mut self, pid: Pid, remap: Remap) {
        let image = self.tables.loaded_of(pid);
        let mut named = vec![image.code, image.data, image.stack];
        let space = &self.tables.woken(pid).space;
        named.push(space.heap_pages());
        let was_named = named.iter().any(|pages| !pages.intersect(remap.old).is_empty());
        let Some(area) = space.area(remap.new.start).copied().filter(|_| was_named) else { return };
        let moved: Vec<_> = self.tables.woken(pid).table.between(remap.new).collect();
        for (page, frame) in moved {
            let owner = Owner { pid, region: self.region_of(pid, &area, page) };
            if self.frames.map().owner(frame) != Some(owner) {
                self.frames.relabel(frame, owner);
            }
        }
    }
}
