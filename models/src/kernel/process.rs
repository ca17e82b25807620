//! One process, as the kernel knows it.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::page_table::PageTable;
use super::slab::ObjectId;
use super::{AddressSpace, Counts, Loaded, Tables};
use crate::Pid;

/// A live process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) image: ImageId,
    pub(super) object: Option<ObjectId>,
    pub(super) body: Body,
}

/// Index of an image in the kernel's list, plus 1: so that an empty place among the processes takes no room of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ImageId(NonZeroU32);

impl ImageId {
    pub(super) fn new(index: usize) -> ImageId {
        let above = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        ImageId(above.expect("there are fewer than 2^32 images"))
    }

    pub(super) fn index(self) -> usize {
        self.0.get() as usize - 1
    }
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
const _: () = assert!(size_of::<Option<Process>>() <= 24);

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
        &self.loaded[self.process(pid).image.index()]
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
