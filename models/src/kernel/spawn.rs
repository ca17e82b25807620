//! The start and the end of a process.

use super::faults::{drop_pages, request_for};
use super::image::{Part, PartOf};
use super::page_table::{PageTable, long, short};
use super::process::{Body, ImageId, Live, PartFrames, Process};
use super::slab::{ObjectId, Slabs};
use super::space::{PageRange, USER_PAGES};
use super::{Image, Kernel, Loaded, NoMemory, Owner, Region, SharedCode, Tables, frame_map};
use crate::Pid;
use crate::frames::{AllocError, FrameNumber, FrameRun};

/// A run that was asked for and is not handed over yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) run: FrameRun,
    pub(super) owner: Owner,
    pub(super) used: u64,
}

impl Kernel {
    /// Starts a process from `image`.
    ///
    /// # Errors
    /// [`NoMemory`]; nothing has changed.
    pub fn spawn(&mut self, image: &Image) -> Result<Pid, NoMemory> {
        let number = self.load(image)?;
        let pid = self.next_pid();
        let mut asked = Vec::new();
        let started = self.ask_for_all(number, pid, &mut asked);
        let Ok((object, frames, shared)) = started else {
            self.undo_all(&asked);
            return Err(started.err().expect("it failed"));
        };
        for Asked { run, owner, used } in asked {
            self.frames.hand_over(run, owner, used);
        }
        let object = object.map(|object| settle_object(&mut self.tables.slabs, object));
        if image.share_code {
            let code = self.tables.shared.entry(number).or_insert(SharedCode { users: 0, frames: shared });
            code.users += 1;
        }
        self.enter(pid, Process { image: number, object, body: Body::Quiet(frames) });
        Ok(pid)
    }

    /// The number of an image; its layout is worked out the first time.
    fn load(&mut self, image: &Image) -> Result<ImageId, NoMemory> {
        if let Some(&number) = self.tables.images.get(image) {
            return Ok(number);
        }
        // An image that memory can never hold is refused before its pages are listed.
        let total = self.frames.allocator().total_frames();
        if image.pages() > total {
            let cause = AllocError::Shortage {
                asked: image.pages(),
                free: self.frames.allocator().free_frames(),
                longest: self.frames.allocator().largest_request(),
                holes: self.frames.allocator().holes(),
            };
            return Err(NoMemory { region: Region::Code, pages: image.pages(), cause });
        }
        let number = ImageId::new(self.tables.loaded.len());
        self.tables.loaded.push(Loaded::new(*image, &self.tables.settings));
        self.tables.images.insert(*image, number);
        Ok(number)
    }

    /// The number the next process gets: the one set free last, else a new one.
    fn next_pid(&self) -> Pid {
        let new = || u32::try_from(self.tables.processes.len()).ok().filter(|&pid| pid < frame_map::PIDS_MAX);
        let pid = self.tables.free_pids.last().copied().or_else(new);
        Pid(pid.expect("fewer than 2^26 processes live at once"))
    }

    fn enter(&mut self, pid: Pid, process: Process) {
        self.tables.page_tables += self.tables.loaded[process.image.index()].tables + 1;
        if self.tables.free_pids.pop().is_none() {
            self.tables.processes.push(None);
        }
        self.tables.processes[pid.0 as usize] = Some(process);
    }

    /// Everything the process needs, in the order of rule 1. What was had so far is in `asked`.
    fn ask_for_all(
        &mut self,
        image: ImageId,
        pid: Pid,
        asked: &mut Vec<Asked>,
    ) -> Result<(Option<NewObject>, PartFrames, Vec<u32>), NoMemory> {
        let object = self.ask_for_object(pid, self.tables.settings.charges.object_bytes, |it| &it.slabs, asked)?;
        let loaded = &self.tables.loaded[image.index()];
        let is_first = loaded.image.share_code && !self.tables.shared.contains_key(&image);
        let shared_parts = if is_first { loaded.shared_parts.clone() } else { Vec::new() };
        let mut shared = Vec::with_capacity(shared_parts.len());
        for part in shared_parts {
            shared.push(self.ask_for(&part, pid, asked)?);
        }
        let parts = self.tables.loaded[image.index()].parts.len();
        let mut frames = Vec::with_capacity(parts);
        for at in 0..parts {
            let part = self.tables.loaded[image.index()].parts[at];
            frames.push(self.ask_for(&part, pid, asked)?);
        }
        let frames = PartFrames::new(&self.tables.loaded[image.index()].parts, frames);
        Ok((object, frames, shared))
    }

    fn ask_for(&mut self, part: &Part, pid: Pid, asked: &mut Vec<Asked>) -> Result<u32, NoMemory> {
        let owner = Owner { pid, region: part.region() };
        let run = self.grab(&request_for(part.region(), part.frames), owner)?;
        asked.push(Asked { run, owner, used: part.frames });
        Ok(short(run.start))
    }

    /// A place for `bytes` of kernel objects in one of the kernel's slabs, or a new slab.
    pub(super) fn ask_for_object(
        &mut self,
        pid: Pid,
        bytes: u64,
        slabs: impl Fn(&Tables) -> &Slabs,
        asked: &mut Vec<Asked>,
    ) -> Result<Option<NewObject>, NoMemory> {
        if bytes == 0 {
            return Ok(None);
        }
        if slabs(&self.tables).has_room() {
            return Ok(Some(NewObject::InSlab));
        }
        let owner = Owner { pid, region: Region::Slab };
        let [wanted, least] = slabs(&self.tables).frames_wanted();
        let first = self.grab(&request_for(Region::Slab, wanted), owner);
        let (run, used) = match first {
            Ok(run) => (run, wanted),
            Err(error) if least == wanted => return Err(error),
            Err(_) => (self.grab(&request_for(Region::Slab, least), owner)?, least),
        };
        asked.push(Asked { run, owner, used });
        Ok(Some(NewObject::InNewSlab(FrameRun { start: run.start, frames: used })))
    }

    pub(super) fn undo_all(&mut self, asked: &[Asked]) {
        for Asked { run, .. } in asked.iter().rev() {
            self.frames.undo(*run);
        }
    }

    /// Gives a process an address space and a page table of its own, as its image says: its first call is about to come.
    #[cold]
    pub(super) fn wake(&mut self, pid: Pid) {
        let process = self.tables.process(pid);
        let Body::Quiet(frames) = &process.body else { return };
        let loaded = &self.tables.loaded[process.image.index()];
        let frames = frames.list(&loaded.parts);
        let mut table = PageTable::default();
        let mut kernel_runs = Vec::new();
        let mut enter = |parts: &[Part], frames: &[u32]| {
            for (part, &frame) in parts.iter().zip(frames) {
                match part.what {
                    PartOf::Table(name) => table.add_table(name, long(frame)),
                    PartOf::KernelStack | PartOf::TopTable => kernel_runs.push(frame),
                    PartOf::Pages(_, first) => {
                        (0..part.frames).for_each(|at| table.insert(first + at, FrameNumber(u64::from(frame) + at)));
                    }
                }
            }
        };
        enter(&loaded.parts, &frames);
        if let Some(code) = self.tables.shared.get(&process.image) {
            enter(&loaded.shared_parts, &code.frames);
        }
        let live = Live { space: loaded.space(&self.tables.settings), table, kernel_runs, counts: loaded.counts };
        self.tables.process_mut(pid).body = Body::Live(Box::new(live));
    }

    /// The frame of a page of a process that has done nothing since its start.
    pub(super) fn translate_quiet(&self, pid: Pid, frames: &PartFrames, page: u64) -> Option<FrameNumber> {
        let image = self.tables.process(pid).image;
        let loaded = &self.tables.loaded[image.index()];
        if let Some((part, at)) = loaded.part_of(page) {
            return Some(FrameNumber(u64::from(frames.list(&loaded.parts)[part as usize]) + at));
        }
        let code = self.tables.shared.get(&image).filter(|_| loaded.code.contains(page))?;
        let at = page - loaded.code.start;
        // Shared code is one part, or one part a page.
        let (part, inside) = if code.frames.len() == 1 { (0, at) } else { (at, 0) };
        Some(FrameNumber(u64::from(code.frames[crate::index(part)]) + inside))
    }

    /// Ends a process: all it has goes back.
    ///
    /// # Panics
    /// When `pid` is not live.
    pub fn exit(&mut self, pid: Pid) {
        assert!(self.is_live(pid), "process {pid} ends and is not live");
        self.end_threads(pid);
        self.tables.unmet.retain(|&(owner, _), _| owner != pid.0);
        let process = self.tables.processes[pid.0 as usize].take().expect("it is live");
        match process.body {
            Body::Quiet(frames) => self.exit_quiet(pid, process.image, &frames),
            Body::Live(live) => self.exit_live(pid, process.image, *live),
        }
        if let Some(object) = process.object
            && let Some(slab) = self.tables.slabs.give(object)
        {
            self.frames.give_back_at(slab);
        }
        self.leave_shared_code(process.image);
        self.tables.free_pids.push(pid.0);
    }

    fn exit_quiet(&mut self, pid: Pid, image: ImageId, frames: &PartFrames) {
        let frames = &frames.list(&self.tables.loaded[image.index()].parts);
        self.tables.page_tables -= self.tables.loaded[image.index()].tables + 1;
        self.give_parts(image, frames, |part| !part.is_kernels_own());
        self.give_all_taken(pid);
        self.give_parts(image, frames, Part::is_kernels_own);
    }

    fn give_parts(&mut self, image: ImageId, frames: &[u32], wanted: impl Fn(&Part) -> bool) {
        let loaded = &self.tables.loaded[image.index()];
        for &at in &loaded.exit_order {
            if wanted(&loaded.parts[at as usize]) {
                self.frames.give_back_at(long(frames[at as usize]));
            }
        }
    }

    fn exit_live(&mut self, pid: Pid, image: ImageId, live: Live) {
        let mut live = live;
        self.tables.page_tables -= live.space.tables() + 1;
        if live.space.lazy_pages() > 0 {
            self.tables.lazy.retain(|&(owner, _)| owner != pid.0);
        }
        let shared = self.shared_pages(image);
        drop_pages(&mut self.frames, &mut live.table, PageRange::new(0, USER_PAGES), shared);
        for (_, frame) in live.table.tables() {
            self.frames.give_back_at(frame);
        }
        self.give_all_taken(pid);
        for &run in &live.kernel_runs {
            self.frames.give_back_at(long(run));
        }
    }

    fn give_all_taken(&mut self, pid: Pid) {
        while let Some((&(owner, start), &(frames, _))) = self.tables.taken.range((pid.0, 0)..=(pid.0, u32::MAX)).next()
        {
            self.tables.taken.remove(&(owner, start));
            self.frames.give_back(FrameRun { start: long(start), frames: u64::from(frames) });
        }
    }

    /// Pages of shared code: they are given back by their last user only.
    pub(super) fn shared_pages(&self, image: ImageId) -> PageRange {
        let loaded = &self.tables.loaded[image.index()];
        if loaded.image.share_code { loaded.code } else { PageRange::default() }
    }

    fn leave_shared_code(&mut self, image: ImageId) {
        let Some(code) = self.tables.shared.get_mut(&image) else { return };
        code.users -= 1;
        if code.users > 0 {
            return;
        }
        let code = self.tables.shared.remove(&image).expect("it was there");
        for frame in code.frames {
            self.frames.give_back_at(long(frame));
        }
    }
}

/// Takes the place that was found for new objects.
pub(super) fn settle_object(slabs: &mut Slabs, object: NewObject) -> ObjectId {
    if let NewObject::InNewSlab(run) = object {
        slabs.add(run);
    }
    slabs.take().expect("there is a slab with room")
}

/// Where new kernel objects go.
#[derive(Clone, Copy)]
pub(super) enum NewObject {
    InSlab,
    InNewSlab(FrameRun),
}
