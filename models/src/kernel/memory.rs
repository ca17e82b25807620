//! The system calls of one process.

use super::faults::{Wanted, is_stack};
use super::space::{AreaFlags, MapOptions, PageRange, SpaceError};
use super::{Commit, Kernel, Layout, NoMemory, Refusal, Region, SystemCall};
use crate::heap::{Access, Advice, MapRequest, OutOfMemory, SystemMemory};
use crate::{Address, Pid, ThreadId};

/// The kernel as one process sees it: what its heap calls.
pub struct ProcessMemory<'a> {
    kernel: &'a mut Kernel,
    pid: Pid,
    thread: ThreadId,
}

impl<'a> ProcessMemory<'a> {
    #[inline]
    pub(super) fn new(kernel: &'a mut Kernel, pid: Pid) -> ProcessMemory<'a> {
        ProcessMemory { kernel, pid, thread: ThreadId(0) }
    }

    /// The same, as that thread of the process calls it.
    #[must_use]
    pub fn by(self, thread: ThreadId) -> ProcessMemory<'a> {
        ProcessMemory { thread, ..self }
    }

    /// Maps `bytes` for a thread's stack (`MAP_STACK`), without any right yet.
    ///
    /// # Errors
    /// [`OutOfMemory`]; nothing is mapped then.
    pub fn mmap_stack(&mut self, bytes: u64) -> Result<Address, OutOfMemory> {
        let flags = AreaFlags::NO_HUGE.with(AreaFlags::THREAD_STACK);
        let options = MapOptions { flags, ..MapOptions::anonymous(bytes) };
        self.call(SystemCall::Mmap, |kernel, pid| kernel.mmap(pid, &options))
    }

    /// Counts the call, and remembers why it was refused.
    fn call<T>(
        &mut self,
        kind: SystemCall,
        work: impl FnOnce(&mut Kernel, Pid) -> Result<T, Refusal>,
    ) -> Result<T, OutOfMemory> {
        self.kernel.tables.woken(self.pid).counts.calls[kind as usize] += 1;
        self.kernel.tables.calls.calls[kind as usize] += 1;
        self.kernel.tables.system_calls += 1;
        work(self.kernel, self.pid).map_err(|refusal| {
            self.kernel.tables.refusal = Some(refusal);
            OutOfMemory
        })
    }
}

impl SystemMemory for ProcessMemory<'_> {
    fn page_bytes(&self) -> u64 {
        self.kernel.tables.settings.page_bytes
    }

    fn cpus(&self) -> u32 {
        self.kernel.tables.settings.cpus
    }

    fn program_break(&self) -> Address {
        self.kernel.address_space(self.pid).expect("it was woken").program_break()
    }

    fn brk(&mut self, end: Address) -> Result<(), OutOfMemory> {
        self.call(SystemCall::Brk, |kernel, pid| kernel.brk(pid, end))
    }

    fn mmap(&mut self, request: &MapRequest) -> Result<Address, OutOfMemory> {
        self.call(SystemCall::Mmap, |kernel, pid| kernel.mmap(pid, &MapOptions::from(request)))
    }

    fn munmap(&mut self, at: Address, bytes: u64) {
        // A refusal (too many areas) is remembered; the heap goes on, as real ones do.
        let _ = self.call(SystemCall::Munmap, |kernel, pid| kernel.munmap(pid, at, bytes));
    }

    fn mremap(&mut self, at: Address, old_bytes: u64, new_bytes: u64) -> Result<Address, OutOfMemory> {
        self.call(SystemCall::Mremap, |kernel, pid| kernel.mremap(pid, at, old_bytes, new_bytes))
    }

    fn mprotect(&mut self, at: Address, bytes: u64, access: Access) -> Result<(), OutOfMemory> {
        self.call(SystemCall::Mprotect, |kernel, pid| kernel.mprotect(pid, at, bytes, access))
    }

    fn madvise(&mut self, at: Address, bytes: u64, advice: Advice) {
        let _ = self.call(SystemCall::Madvise, |kernel, pid| kernel.madvise(pid, at, bytes, advice));
    }

    #[inline]
    fn touch(&mut self, at: Address, bytes: u64) {
        let space = &mut self.kernel.tables.woken(self.pid).space;
        if space.is_ready(at, bytes) {
            return;
        }
        let pages = space.pages_of(at, bytes);
        if !space.all_ready(pages) {
            self.kernel.touch_slowly(self.pid, self.thread, pages);
        }
    }

    fn resident_pages(&self, at: Address, bytes: u64) -> u64 {
        let space = self.kernel.address_space(self.pid).expect("it was woken");
        space.count_present(space.pages_of(at, bytes))
    }
}

impl Kernel {
    /// Whether memory that is mapped with `flags` gets its frames at once.
    fn is_eager(&self, flags: AreaFlags) -> bool {
        self.tables.settings.commit == Commit::Eager && flags.has(AreaFlags::WRITE) && !flags.has(AreaFlags::NO_RESERVE)
    }

    fn wanted(&self, pages: PageRange, region: Region) -> Wanted {
        Wanted { pages, region, as_run: self.tables.settings.layout == Layout::Contiguous }
    }

    /// One promise of more than all memory is refused (heuristic overcommit).
    fn ensure_possible(&self, pages: u64) -> Result<(), SpaceError> {
        let limit = self.allocator().total_frames();
        if pages > limit { Err(SpaceError::Overcommit { pages, limit }) } else { Ok(()) }
    }

    fn brk(&mut self, pid: Pid, end: Address) -> Result<(), Refusal> {
        let space = &self.tables.woken(pid).space;
        let old = space.heap_pages();
        let growth = space.plan_brk(end)?;
        self.ensure_possible(growth.len())?;
        let wanted = self.wanted(growth, Region::Heap);
        let is_eager = self.is_eager(AreaFlags::WRITE) && !growth.is_empty();
        if is_eager {
            self.ask_for_pages(pid, wanted, &[])?;
        }
        if let Err(error) = self.tables.woken(pid).space.move_brk(end) {
            self.take_back_asked();
            return Err(error.into());
        }
        if growth.is_empty() {
            let new = self.tables.woken(pid).space.heap_pages();
            self.follow_unmap(pid, PageRange::new(new.end, old.end));
        }
        if is_eager {
            self.fill_pages(pid, wanted);
        }
        Ok(())
    }

    fn mmap(&mut self, pid: Pid, options: &MapOptions) -> Result<Address, Refusal> {
        let space = &self.tables.woken(pid).space;
        let pages = space.plan_map(options)?;
        if options.flags.is_private_writable() && !options.flags.has(AreaFlags::NO_RESERVE) {
            self.ensure_possible(pages.len())?;
        }
        let wanted = self.wanted(pages, Region::Mmap);
        let is_eager = self.is_eager(options.flags);
        if is_eager {
            self.ask_for_pages(pid, wanted, &[])?;
        }
        let space = &mut self.tables.woken(pid).space;
        space.map(options).expect("a planned mapping can be made");
        let start = space.address_of(pages.start);
        if is_eager {
            self.fill_pages(pid, wanted);
        }
        Ok(start)
    }

    fn munmap(&mut self, pid: Pid, at: Address, bytes: u64) -> Result<(), Refusal> {
        let space = &mut self.tables.woken(pid).space;
        space.unmap(at, bytes)?;
        let pages = space.pages_of(at, bytes);
        self.follow_unmap(pid, pages);
        Ok(())
    }

    fn mremap(&mut self, pid: Pid, at: Address, old_bytes: u64, new_bytes: u64) -> Result<Address, Refusal> {
        let space = &self.tables.woken(pid).space;
        let remap = space.plan_remap(at, old_bytes, new_bytes)?;
        let start = space.address_of(remap.new.start);
        let flags = space.area(remap.old.start).map_or(AreaFlags::NONE, |area| area.flags);
        self.ensure_possible(remap.new.len().saturating_sub(remap.old.len()))?;
        if remap.new.len() <= remap.old.len() {
            self.tables.woken(pid).space.remap(remap);
            self.follow_unmap(pid, PageRange::new(remap.new.end, remap.old.end));
            return Ok(start);
        }
        let growth = self.ask_for_remap(pid, remap, self.is_eager(flags))?;
        self.tables.woken(pid).space.remap(remap);
        self.follow_move(pid, remap, growth);
        Ok(start)
    }

    /// Asks for the page tables and pages that a mapping needs to grow or move.
    fn ask_for_remap(
        &mut self,
        pid: Pid,
        remap: super::space::Remap,
        is_eager: bool,
    ) -> Result<Option<Wanted>, NoMemory> {
        let mut tables = Vec::new();
        if remap.new.start != remap.old.start {
            tables = self.tables.woken(pid).space.tables_for_move(remap.old, remap.new.start);
        }
        if self.tables.settings.charges.page_tables {
            for _ in &tables {
                self.ask(pid, Region::PageTable, 1)?;
            }
        }
        if !is_eager {
            return Ok(None);
        }
        let pages = PageRange::new(remap.new.start + remap.old.len(), remap.new.end);
        let growth = self.wanted(pages, self.region_at(pid, pages.start));
        self.ask_for_pages(pid, growth, &tables)?;
        Ok(Some(growth))
    }

    /// What a new page there would be used for.
    fn region_at(&self, pid: Pid, page: u64) -> Region {
        let Some(space) = self.address_space(pid) else { return Region::Mmap };
        match space.area(page) {
            _ if space.heap_pages().contains(page) => Region::Heap,
            Some(area) if is_stack(area.flags) => Region::Stack,
            _ => Region::Mmap,
        }
    }

    fn mprotect(&mut self, pid: Pid, at: Address, bytes: u64, access: Access) -> Result<(), Refusal> {
        let flags = AreaFlags::from(access);
        let pages = self.tables.woken(pid).space.pages_of(at, bytes);
        if flags.has(AreaFlags::WRITE) {
            self.ensure_possible(pages.len())?;
        }
        if !self.is_eager(flags) {
            return Ok(self.tables.woken(pid).space.protect(at, bytes, access)?);
        }
        let region = self.region_at(pid, pages.start);
        let wanted = Wanted { pages, region, as_run: false };
        self.ask_for_pages(pid, wanted, &[])?;
        if let Err(error) = self.tables.woken(pid).space.protect(at, bytes, access) {
            self.take_back_asked();
            return Err(error.into());
        }
        self.fill_pages(pid, wanted);
        Ok(())
    }

    fn madvise(&mut self, pid: Pid, at: Address, bytes: u64, advice: Advice) -> Result<(), Refusal> {
        let space = &mut self.tables.woken(pid).space;
        let lazy = space.lazy_pages();
        let done = space.advise(at, bytes, advice);
        if matches!(done, Err(SpaceError::BadRange(_))) {
            return Ok(done?);
        }
        let pages = space.pages_of(at, bytes);
        if space.lazy_pages() > lazy {
            self.tables.lazy.push_back((pid.0, pages));
        }
        if advice == Advice::DontNeed {
            self.follow_unmap(pid, pages);
        }
        Ok(done?)
    }
}
