//! One process, as the kernel knows it.

use serde::{Deserialize, Serialize};

use super::page_table::PageTable;
use super::slab::ObjectId;
use super::{AddressSpace, Counts, Loaded, Tables};
use crate::Pid;

/// A live process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    /// Index of its image in the kernel's list.
    pub(super) image: u32,
    pub(super) object: Option<ObjectId>,
    pub(super) body: Body,
}

/// How much there is to know about a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Body {
    /// It has made no system call and written nothing since its start: the first frame of each part of its image says all.
    Quiet(Box<[u32]>),
    /// Its address space and its page table.
    Live(Box<Live>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Live {
    pub(super) space: AddressSpace,
    pub(super) table: PageTable,
    /// First frames of the runs of its kernel stack, then its top page table.
    pub(super) kernel_runs: Vec<u32>,
    pub(super) counts: Counts,
}

// A million quiet processes must fit in little memory.
const _: () = assert!(size_of::<Option<Process>>() <= 40);

impl Tables {
    pub(super) fn process(&self, pid: Pid) -> &Process {
        let process = self.processes.get(pid.0 as usize).and_then(Option::as_ref);
        process.unwrap_or_else(|| panic!("process {pid} is not live"))
    }

    pub(super) fn process_mut(&mut self, pid: Pid) -> &mut Process {
        let process = self.processes.get_mut(pid.0 as usize).and_then(Option::as_mut);
        process.unwrap_or_else(|| panic!("process {pid} is not live"))
    }

    pub(super) fn loaded_of(&self, pid: Pid) -> &Loaded {
        &self.loaded[self.process(pid).image as usize]
    }

    /// The address space and page table of `pid`, if it has done anything.
    pub(super) fn live_mut(&mut self, pid: Pid) -> Option<&mut Live> {
        match self.processes.get_mut(pid.0 as usize) {
            Some(Some(Process { body: Body::Live(live), .. })) => Some(live),
            _ => None,
        }
    }

    /// The same for a process that was woken.
    #[inline]
    pub(super) fn woken(&mut self, pid: Pid) -> &mut Live {
        self.live_mut(pid).expect("a process is woken before its first call")
    }
}
