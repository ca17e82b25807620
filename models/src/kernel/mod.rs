//! The kernel: address spaces, page tables and faults, on top of any frame allocator.
//!
//! # Models
//! What a process costs in frames and what it gets: code, data, stack, kernel stack, page tables of four levels and kernel
//! objects at its start ([`Kernel::spawn`]); heap and mappings through its system calls ([`Kernel::memory`]), which are
//! placed as Linux 6.18 places them ([`space`]); frames at the first write or at once ([`Commit`]).
//!
//! # Rules
//! 1. A process asks in this order: kernel objects, kernel stack, top page table, then code, data and stack, in each case a
//!    page's missing tables (from the top) before the page. One frame after another, or each region as one run ([`Layout`]).
//! 2. A call that cannot get all its frames gives back those it got, in reverse order, and changes nothing.
//! 3. A write to a page without a frame is a fault: missing page tables first, then the page. A fault that finds no frame
//!    is remembered ([`Kernel::take_unmet`]) and can be tried again ([`Kernel::settle`]).
//! 4. Lazily freed pages (`MADV_FREE`) stay resident until a request finds no frame: then they go, those given up first go
//!    first, 32 at a time (Linux: `SWAP_CLUSTER_MAX`), until the request succeeds or none is left.
//! 5. A run of several frames goes back to the policy when the last page in it is unmapped.
//! 6. A further thread has kernel objects and a kernel stack of its own, asked for in this order, given back in the
//!    reverse one ([`Kernel::start_thread`]). Its stack in user space is a mapping of the process's
//!    ([`ProcessMemory::mmap_stack`]).
//! 7. An exit ends the further threads, ascending, and gives back pages by ascending address, then page tables from the lowest level, frames taken by name, the
//!    kernel stack, the top table, the kernel objects; shared code when its last user exits.
//!
//! # Invariants
//! Verified by [`Kernel::check`]: the frame map and the policy's free runs tile memory; each taken frame has one holder, which
//! the frame map names; each present page has one frame, and each process's pages are those its address space counts.
//!
//! # Cost
//! A write to present pages compares one word per 64 pages. A fault: O(log) look-ups of area and table. A process that has
//! made no system call since its start costs 24 bytes and 4 per run of frames (8 per stretch of runs that follow each other),
//! and 4 bytes per frame in the frame map.
//!
//! # Left out
//! Fork and copy on write, huge pages, swap, a page cache, compaction, memory limits of groups. A write to a present page is
//! not checked against its rights.

pub mod frame_map;
pub mod image;
pub mod settings;
pub mod space;

mod check;
mod counts;
mod faults;
mod frames;
mod memory;
mod owner;
mod page_table;
mod process;
mod slab;
mod spawn;
mod state;
#[cfg(test)]
mod tests;
mod threads;

pub use counts::{Counts, SystemCall, Work};
pub use frame_map::FrameMap;
pub use frames::{FrameChange, HandedOver};
pub use image::Image;
pub use memory::ProcessMemory;
pub use owner::{Owner, Region};
pub use settings::{Charges, Commit, KernelSettings, Layout};
pub use space::AddressSpace;
pub use state::{KernelState, RestoreError};

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::frames::{AllocError, FrameAllocator, FrameNumber, FrameRequest, FrameRun};
use crate::{Address, Pid, ThreadId};
use frames::Frames;
use image::Loaded;
use process::{Body, ImageId, Process};
use slab::Slabs;
use space::{PageRange, SpaceError};
use spawn::Asked;
use threads::KernelThread;

/// Frames for a region could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {cause}", region.name())]
pub struct NoMemory {
    /// What they were for.
    pub region: Region,
    /// Pages that were asked for and could not all be had.
    pub pages: u64,
    /// What the policy said.
    pub cause: AllocError,
}

/// Why a system call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Frames were missing (eager commit only).
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
    /// The address space or a limit does not allow it.
    #[error(transparent)]
    Space(#[from] SpaceError),
}

/// Settings no kernel can be made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    /// Bytes of a page.
    #[error("a page has {0} bytes; it must be a power of two from 16 bytes to 64 MiB")]
    PageBytes(u64),
    /// Bytes of kernel objects.
    #[error("{0} bytes of kernel objects; at most 1 MiB per process can be charged")]
    ObjectBytes(u64),
    /// Frames of the memory.
    #[error("memory has {0} frames; at most 4294967295 can be told apart")]
    TooManyFrames(u64),
    /// Reserved frames that could not be had.
    #[error("reserved frames: {0}")]
    Reserved(AllocError),
}

/// A run that a script gave back without having it. The script's bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("process {pid} holds no run {run} taken by name")]
pub struct NotTaken {
    /// Who gave it back.
    pub pid: Pid,
    /// The run.
    pub run: FrameRun,
}

/// What one process holds, in pages or frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessPages {
    /// Pages of its areas.
    pub mapped: u64,
    /// Pages with a frame, lazily freed ones included.
    pub resident: u64,
    /// Of the resident pages, those the kernel may take when memory is short.
    pub lazily_freed: u64,
    /// Page tables, the top one included.
    pub page_tables: u64,
    /// Frames taken by name.
    pub taken: u64,
}

/// See the [module page](self) for the rules.
#[derive(Clone)]
pub struct Kernel {
    frames: Frames,
    tables: Tables,
    /// Runs asked for by the call in progress; empty between calls, kept for its capacity.
    asked: Vec<Asked>,
}

/// All of a kernel but its frames.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tables {
    settings: KernelSettings,
    images: BTreeMap<Image, ImageId>,
    loaded: Vec<Loaded>,
    processes: Vec<Option<Process>>,
    free_pids: Vec<u32>,
    /// Code that processes of a program share, by image.
    shared: BTreeMap<ImageId, SharedCode>,
    slabs: Slabs,
    /// Slabs for the objects of further threads.
    thread_slabs: Slabs,
    /// Threads beside the main ones, by process and number.
    threads: BTreeMap<(u32, u32), KernelThread>,
    /// Runs taken by name: process and first frame to frames granted and frames asked for.
    taken: BTreeMap<(u32, u32), (u32, u32)>,
    /// By process and thread.
    unmet: BTreeMap<(u32, u32), Unmet>,
    /// Ranges that `MADV_FREE` gave up, oldest first. A page of it counts only while its process has it marked.
    lazy: VecDeque<(u32, PageRange)>,
    /// Calls and faults of all processes that ever were; frames are counted where they change hands.
    calls: Counts,
    /// The sum of the system calls in `calls`.
    system_calls: u64,
    /// Page tables of all processes, the top ones included.
    page_tables: u64,
    refusal: Option<Refusal>,
}

/// One copy of a program's code for several processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SharedCode {
    users: u64,
    /// First frame of each part of [`Loaded::shared_parts`].
    frames: Vec<u32>,
}

/// Writes of a thread that found no frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Unmet {
    ranges: Vec<PageRange>,
    error: NoMemory,
    is_news: bool,
}

impl Kernel {
    /// A kernel on `allocator`, which is called `policy` in its registry and has all frames free.
    ///
    /// # Errors
    /// [`BadSettings`].
    pub fn new(
        policy: &str,
        allocator: Box<dyn FrameAllocator>,
        settings: KernelSettings,
    ) -> Result<Kernel, BadSettings> {
        let page = settings.page_bytes;
        if !page.is_power_of_two() || !(16..=64 << 20).contains(&page) {
            return Err(BadSettings::PageBytes(page));
        }
        let objects = settings.charges.object_bytes.max(settings.charges.thread_object_bytes);
        if objects > 1 << 20 {
            return Err(BadSettings::ObjectBytes(objects));
        }
        let total = allocator.total_frames();
        if total > frame_map::FRAMES_MAX {
            return Err(BadSettings::TooManyFrames(total));
        }
        let mut frames = Frames::new(policy, allocator, settings.log_changes);
        frames.reserve(settings.reserved_frames).map_err(BadSettings::Reserved)?;
        let tables = Tables {
            slabs: Slabs::new(settings.charges.object_bytes.max(1), page),
            thread_slabs: Slabs::new(settings.charges.thread_object_bytes.max(1), page),
            threads: BTreeMap::new(),
            settings,
            images: BTreeMap::new(),
            loaded: Vec::new(),
            processes: Vec::new(),
            free_pids: Vec::new(),
            shared: BTreeMap::new(),
            taken: BTreeMap::new(),
            unmet: BTreeMap::new(),
            lazy: VecDeque::new(),
            calls: Counts::default(),
            system_calls: 0,
            page_tables: 0,
            refusal: None,
        };
        Ok(Kernel { frames, tables, asked: Vec::new() })
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &KernelSettings {
        &self.tables.settings
    }

    /// The frame policy.
    #[must_use]
    pub fn allocator(&self) -> &dyn FrameAllocator {
        self.frames.allocator()
    }

    /// Who holds which frame.
    #[must_use]
    pub fn frame_map(&self) -> &FrameMap {
        self.frames.map()
    }

    /// Frames that changed hands since [`Kernel::clear_frame_changes`], in order; empty unless the settings want the log.
    #[must_use]
    #[inline]
    pub fn frame_changes(&self) -> &[FrameChange] {
        self.frames.changes()
    }

    /// Empties the log of frames that changed hands.
    #[inline]
    pub fn clear_frame_changes(&mut self) {
        self.frames.clear_changes();
    }

    /// What all processes together have made the kernel do.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { taken: self.frames.taken, given: self.frames.given, zeroed: self.frames.zeroed, ..self.tables.calls }
    }

    /// Of [`Kernel::counts`], the work that takes time.
    #[inline]
    #[must_use]
    pub fn work(&self) -> Work {
        Work { system_calls: self.tables.system_calls, faults: self.tables.calls.faults, zeroed: self.frames.zeroed }
    }

    /// What one process has made the kernel do. Shared code counts for nobody.
    ///
    /// # Panics
    /// When `pid` is not live.
    #[must_use]
    pub fn counts_of(&self, pid: Pid) -> Counts {
        match &self.tables.process(pid).body {
            Body::Quiet(_) => self.tables.loaded_of(pid).counts,
            Body::Live(live) => live.counts,
        }
    }

    /// Page tables of all processes, the top ones included, whether they take frames or not.
    #[must_use]
    pub fn page_tables(&self) -> u64 {
        self.tables.page_tables
    }

    /// Kernel objects of processes and threads that live in slabs.
    #[must_use]
    pub fn kernel_objects(&self) -> u64 {
        self.tables.slabs.objects() + self.tables.thread_slabs.objects()
    }

    /// Live processes, ascending.
    pub fn pids(&self) -> impl Iterator<Item = Pid> + '_ {
        let live = (0_u32..).zip(&self.tables.processes).filter(|(_, process)| process.is_some());
        live.map(|(pid, _)| Pid(pid))
    }

    /// Whether `pid` is live.
    #[must_use]
    pub fn is_live(&self, pid: Pid) -> bool {
        self.tables.processes.get(pid.0 as usize).is_some_and(Option::is_some)
    }

    /// What `pid` holds.
    ///
    /// # Panics
    /// When `pid` is not live.
    #[must_use]
    pub fn pages_of(&self, pid: Pid) -> ProcessPages {
        let taken =
            self.tables.taken.range((pid.0, 0)..=(pid.0, u32::MAX)).map(|(_, &(frames, _))| u64::from(frames)).sum();
        match &self.tables.process(pid).body {
            Body::Quiet(_) => {
                let loaded = self.tables.loaded_of(pid);
                let pages = loaded.image.pages();
                let page_tables = loaded.tables + 1;
                ProcessPages { mapped: pages, resident: pages, lazily_freed: 0, page_tables, taken }
            }
            Body::Live(live) => ProcessPages {
                mapped: live.space.mapped_pages(),
                resident: live.space.resident_pages(),
                lazily_freed: live.space.lazy_pages(),
                page_tables: live.space.tables() + 1,
                taken,
            },
        }
    }

    /// Frames that an end of `pid` would set free, but for the kernel's own and shared ones: resident pages and frames taken
    /// by name.
    ///
    /// # Panics
    /// When `pid` is not live.
    #[must_use]
    pub fn resident_frames(&self, pid: Pid) -> u64 {
        let pages = self.pages_of(pid);
        pages.resident + pages.taken
    }

    /// The live process with the most [`Kernel::resident_frames`], the lowest number on a tie. Looks at every process: for
    /// the rare moment when memory has run out.
    #[must_use]
    pub fn largest_resident(&self) -> Option<Pid> {
        self.pids().min_by_key(|&pid| (std::cmp::Reverse(self.resident_frames(pid)), pid))
    }

    /// The frame behind an address; `None` where no page is present.
    ///
    /// # Panics
    /// When `pid` is not live.
    #[must_use]
    pub fn translate(&self, pid: Pid, at: Address) -> Option<FrameNumber> {
        let page = at.0 / self.tables.settings.page_bytes;
        match &self.tables.process(pid).body {
            Body::Live(live) => live.table.get(page),
            Body::Quiet(frames) => self.translate_quiet(pid, frames, page),
        }
    }

    /// The address space of `pid`; `None` while it has done nothing since its start.
    ///
    /// # Panics
    /// When `pid` is not live.
    #[inline]
    #[must_use]
    pub fn address_space(&self, pid: Pid) -> Option<&AddressSpace> {
        match &self.tables.process(pid).body {
            Body::Quiet(_) => None,
            Body::Live(live) => Some(&live.space),
        }
    }

    /// The kernel as `pid` sees it.
    ///
    /// # Panics
    /// When `pid` is not live.
    #[inline]
    pub fn memory(&mut self, pid: Pid) -> ProcessMemory<'_> {
        if self.tables.live_mut(pid).is_none() {
            self.wake(pid);
        }
        ProcessMemory::new(self, pid)
    }

    /// Takes frames for a script, outside any address space.
    ///
    /// # Errors
    /// [`NoMemory`]; nothing has changed.
    ///
    /// # Panics
    /// When `pid` is not live.
    pub fn take(&mut self, pid: Pid, request: &FrameRequest) -> Result<FrameRun, NoMemory> {
        assert!(self.is_live(pid), "process {pid} takes frames and is not live");
        let owner = Owner { pid, region: Region::Taken };
        let run = self.grab(request, owner)?;
        let length = |frames: u64| u32::try_from(frames).expect("a run's length has 32 bits");
        let lengths = (length(run.frames), length(request.frames));
        self.tables.taken.insert((pid.0, page_table::short(run.start)), lengths);
        self.frames.hand_over(run, owner, request.frames);
        if let Some(live) = self.tables.live_mut(pid) {
            live.counts.taken += run.frames;
        }
        Ok(run)
    }

    /// Gives back a run that [`Kernel::take`] returned.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing has changed.
    pub fn give(&mut self, pid: Pid, run: FrameRun) -> Result<(), NotTaken> {
        let not_taken = NotTaken { pid, run };
        let start = u32::try_from(run.start.0).map_err(|_| not_taken)?;
        match self.tables.taken.get(&(pid.0, start)) {
            Some(&(frames, _)) if u64::from(frames) == run.frames => {}
            _ => return Err(not_taken),
        }
        self.tables.taken.remove(&(pid.0, start));
        self.frames.give_back(run);
        if let Some(live) = self.tables.live_mut(pid) {
            live.counts.given += run.frames;
        }
        Ok(())
    }

    /// Why the last call was refused that a [`ProcessMemory`] answered with "out of memory"; `None` if it was told already.
    pub fn take_refusal(&mut self) -> Option<Refusal> {
        self.tables.refusal.take()
    }

    /// Whether a thread of `pid` wrote where no frame was left since this was asked last; what was missing.
    #[inline]
    pub fn take_unmet(&mut self, pid: Pid, thread: ThreadId) -> Option<NoMemory> {
        if self.tables.unmet.is_empty() {
            return None;
        }
        let unmet = self.tables.unmet.get_mut(&(pid.0, thread.0))?;
        std::mem::take(&mut unmet.is_news).then_some(unmet.error)
    }

    /// Forgets the unmet writes of a thread of `pid`: it copes without the memory.
    #[inline]
    pub fn forget_unmet(&mut self, pid: Pid, thread: ThreadId) {
        if !self.tables.unmet.is_empty() {
            self.tables.unmet.remove(&(pid.0, thread.0));
        }
    }
}
