//! One process, as the kernel knows it.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::image::Part;
use super::page_table::{PageTable, short};
use super::slab::ObjectId;
use super::{AddressSpace, Counts, Loaded, Tables};
use crate::Pid;
use crate::frames::FrameNumber;

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

/// First frame of each part of an image. Where parts follow each other in memory they are kept as runs; a list that is as
/// long as the parts is kept as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PartFrames {
    /// Parts of the first run, plus 1: so that a process that lives takes no more room.
    first_parts_above: NonZeroU32,
    /// Its first frame.
    first: u32,
    /// What does not fit one run: most small programs have none.
    more: Option<Box<MoreParts>>,
}

/// Frames of parts that lie in several runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum MoreParts {
    /// Runs after the first: how many parts, and the first frame of the first.
    Runs(Vec<(u32, u32)>),
    /// All parts one by one; there is no first run.
    Each(Box<[u32]>),
}

impl PartFrames {
    pub(super) fn new(parts: &[Part], frames: Vec<u32>) -> PartFrames {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut next = None;
        for (part, &frame) in parts.iter().zip(&frames) {
            match runs.last_mut() {
                Some(last) if next == Some(u64::from(frame)) => last.0 += 1,
                _ => runs.push((1, frame)),
            }
            next = Some(u64::from(frame) + part.frames);
        }
        if runs.len() > 1 && 2 * runs.len() >= parts.len() {
            return PartFrames::of(0, 0, Some(MoreParts::Each(frames.into_boxed_slice())));
        }
        let mut runs = runs.into_iter();
        let (first_parts, first) = runs.next().unwrap_or((0, 0));
        let more: Vec<(u32, u32)> = runs.collect();
        PartFrames::of(first_parts, first, (!more.is_empty()).then_some(MoreParts::Runs(more)))
    }

    fn of(first_parts: u32, first: u32, more: Option<MoreParts>) -> PartFrames {
        let first_parts_above = NonZeroU32::MIN.saturating_add(first_parts);
        PartFrames { first_parts_above, first, more: more.map(Box::new) }
    }

    /// First frame of each of `parts`, in their order.
    pub(super) fn list(&self, parts: &[Part]) -> Vec<u32> {
        let runs = match self.more.as_deref() {
            Some(MoreParts::Each(frames)) => return frames.to_vec(),
            Some(MoreParts::Runs(runs)) => runs.as_slice(),
            None => &[],
        };
        let first = (self.first_parts_above.get() - 1, self.first);
        let mut frames = Vec::with_capacity(parts.len());
        for (count, start) in std::iter::once(first).chain(runs.iter().copied()) {
            let mut next = start;
            for part in &parts[frames.len()..frames.len() + count as usize] {
                frames.push(next);
                next = short(FrameNumber(u64::from(next) + part.frames));
            }
        }
        frames
    }
}

/// How much there is to know about a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Body {
    /// It has made no system call and written nothing since its start: its image and its frames say all.
    Quiet(PartFrames),
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
    #[inline]
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
    #[inline]
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

#[cfg(test)]
mod tests {
    use super::super::Region;
    use super::super::image::PartOf;
    use super::*;

    fn parts(frames: &[u64]) -> Vec<Part> {
        frames.iter().map(|&frames| Part { what: PartOf::Pages(Region::Data, 0), frames }).collect()
    }

    #[test]
    fn parts_that_follow_each_other_are_kept_as_runs() {
        let parts = parts(&[1, 3, 1, 1, 1]);
        // Runs after the first, and frames kept one by one.
        for (frames, runs, single) in
            [([7, 8, 11, 12, 13], 0, 0), ([7, 8, 11, 2, 3], 1, 0), ([7, 8, 12, 2, 3], 0, 5), ([9, 8, 7, 6, 5], 0, 5)]
        {
            let kept = PartFrames::new(&parts, frames.to_vec());
            let more = match kept.more.as_deref() {
                None => (0, 0),
                Some(MoreParts::Runs(runs)) => (runs.len(), 0),
                Some(MoreParts::Each(frames)) => (0, frames.len()),
            };
            assert_eq!((more, kept.list(&parts)), ((runs, single), frames.to_vec()));
        }
        assert_eq!(PartFrames::new(&[], Vec::new()).list(&[]), Vec::<u32>::new());
    }
}
