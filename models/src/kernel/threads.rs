//! What the kernel keeps for the threads of a process beside its main one: a stack of its own and kernel objects.

use serde::{Deserialize, Serialize};

use super::faults::request_for;
use super::page_table::{long, short};
use super::slab::ObjectId;
use super::spawn::{Asked, settle_object};
use super::{Kernel, KernelSettings, Layout, NoMemory, Owner, Region};
use crate::frames::FrameRun;
use crate::{Pid, ThreadId};

/// A thread, as the kernel knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KernelThread {
    /// First frames of the runs of its kernel stack.
    stack: Vec<u32>,
    pub(super) object: Option<ObjectId>,
}

impl KernelThread {
    /// The runs of its kernel stack.
    pub(super) fn stack_runs(&self, settings: &KernelSettings) -> impl Iterator<Item = FrameRun> {
        let (_, frames) = stack_layout(settings);
        self.stack.iter().map(move |&start| FrameRun { start: long(start), frames })
    }
}

/// How many runs a kernel stack has, and how many frames each.
fn stack_layout(settings: &KernelSettings) -> (u64, u64) {
    let pages = settings.charges.kernel_stack_pages;
    match settings.layout {
        Layout::Contiguous => (pages.min(1), pages),
        Layout::Paged => (pages, 1),
    }
}

impl Kernel {
    /// Starts a thread of `pid` that calls itself `thread`.
    ///
    /// # Errors
    /// [`NoMemory`]; nothing has changed.
    ///
    /// # Panics
    /// When `pid` is not live or has that thread already; thread 0 is its main one, which starts with it.
    pub fn start_thread(&mut self, pid: Pid, thread: ThreadId) -> Result<(), NoMemory> {
        assert!(self.is_live(pid), "process {pid} starts a thread and is not live");
        let key = (pid.0, thread.0);
        assert!(thread.0 > 0 && !self.tables.threads.contains_key(&key), "thread {key:?} is started twice");
        let mut asked = Vec::new();
        let bytes = self.tables.settings.charges.thread_object_bytes;
        let had = self.ask_for_object(pid, bytes, |it| &it.thread_slabs, &mut asked);
        let had = had.and_then(|object| Ok((object, self.ask_for_kernel_stack(pid, &mut asked)?)));
        let (object, stack) = had.inspect_err(|_| self.undo_all(&asked))?;
        for Asked { run, owner, used } in asked {
            self.frames.hand_over(run, owner, used);
            if let Some(live) = self.tables.live_mut(pid) {
                live.counts.taken += run.frames;
            }
        }
        let object = object.map(|object| settle_object(&mut self.tables.thread_slabs, object));
        self.tables.threads.insert(key, KernelThread { stack, object });
        Ok(())
    }

    fn ask_for_kernel_stack(&mut self, pid: Pid, asked: &mut Vec<Asked>) -> Result<Vec<u32>, NoMemory> {
        let (runs, frames) = stack_layout(&self.tables.settings);
        let owner = Owner { pid, region: Region::KernelStack };
        let mut stack = Vec::new();
        for _ in 0..runs {
            let run = self.grab(&request_for(Region::KernelStack, frames), owner)?;
            asked.push(Asked { run, owner, used: frames });
            stack.push(short(run.start));
        }
        Ok(stack)
    }

    /// Ends a thread of `pid`: what the kernel kept for it goes back.
    ///
    /// # Panics
    /// When `pid` has no such thread.
    pub fn end_thread(&mut self, pid: Pid, thread: ThreadId) {
        let KernelThread { stack, object } =
            self.tables.threads.remove(&(pid.0, thread.0)).expect("a thread that ends was started");
        self.forget_unmet(pid, thread);
        let mut given = 0;
        for &run in &stack {
            given += self.frames.give_back_at(long(run));
        }
        if let Some(object) = object
            && let Some(slab) = self.tables.thread_slabs.give(object)
        {
            given += self.frames.give_back_at(slab);
        }
        if let Some(live) = self.tables.live_mut(pid) {
            live.counts.given += given;
        }
    }

    /// Threads of `pid` beside its main one, ascending.
    pub fn threads_of(&self, pid: Pid) -> impl Iterator<Item = ThreadId> + '_ {
        self.tables.threads.range((pid.0, 0)..=(pid.0, u32::MAX)).map(|(&(_, thread), _)| ThreadId(thread))
    }

    pub(super) fn end_threads(&mut self, pid: Pid) {
        loop {
            let Some(thread) = self.threads_of(pid).next() else { return };
            self.end_thread(pid, thread);
        }
    }
}
