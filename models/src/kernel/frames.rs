//! The frame side of the kernel: the policy, the frame map and the log, which change together.

use serde::{Deserialize, Serialize};

use super::{FrameMap, Owner, Region};
use crate::Pid;
use crate::frames::{AllocError, FrameAllocator, FrameNumber, FrameRequest, FrameRun};

/// A run of frames that changed hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameChange {
    /// Handed out or given back.
    pub change: HandedOver,
    /// Which frames.
    pub run: FrameRun,
    /// Who got them, or had them.
    pub owner: Owner,
}

/// In which direction frames changed hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HandedOver {
    /// To the owner.
    Taken,
    /// Back from the owner.
    Given,
}

/// The policy and the record of what it handed out.
#[derive(Clone)]
pub(super) struct Frames {
    pub(super) policy: String,
    allocator: Box<dyn FrameAllocator>,
    map: FrameMap,
    changes: Vec<FrameChange>,
    is_logged: bool,
    pub(super) taken: u64,
    pub(super) given: u64,
    pub(super) zeroed: u64,
}

impl Frames {
    pub(super) fn new(policy: &str, allocator: Box<dyn FrameAllocator>, is_logged: bool) -> Frames {
        let map = FrameMap::new(allocator.total_frames());
        Frames::restored(policy.to_owned(), allocator, map, is_logged, [0; 3])
    }

    /// From the parts it was written as; `counts` are taken, given, zeroed.
    pub(super) fn restored(
        policy: String,
        allocator: Box<dyn FrameAllocator>,
        map: FrameMap,
        is_logged: bool,
        counts: [u64; 3],
    ) -> Frames {
        let [taken, given, zeroed] = counts;
        Frames { policy, allocator, map, changes: Vec::new(), is_logged, taken, given, zeroed }
    }

    pub(super) fn allocator(&self) -> &dyn FrameAllocator {
        &*self.allocator
    }

    pub(super) fn map(&self) -> &FrameMap {
        &self.map
    }

    #[inline]
    pub(super) fn changes(&self) -> &[FrameChange] {
        &self.changes
    }

    #[inline]
    pub(super) fn clear_changes(&mut self) {
        self.changes.clear();
    }

    /// Asks the policy. Nothing is recorded until [`Frames::hand_over`].
    pub(super) fn ask(&mut self, request: &FrameRequest) -> Result<FrameRun, AllocError> {
        self.allocator.allocate(request)
    }

    /// Gives back a run that was asked for and not handed over.
    pub(super) fn undo(&mut self, run: FrameRun) {
        self.allocator.free(run).expect("a run goes back as it was handed out");
    }

    /// Records that `owner` has `run`, and uses `used` frames of it.
    pub(super) fn hand_over(&mut self, run: FrameRun, owner: Owner, used: u64) {
        self.map.take(run, owner, used);
        self.taken += run.frames;
        if owner.region.is_zeroed() {
            self.zeroed += used;
        }
        self.log(HandedOver::Taken, run, owner);
    }

    /// Gives a whole run back. Returns its length.
    pub(super) fn give_back(&mut self, run: FrameRun) -> u64 {
        let owner = self.map.give(run);
        self.allocator.free(run).expect("the frame map knows the runs that were handed out");
        self.given += run.frames;
        self.log(HandedOver::Given, run, owner);
        run.frames
    }

    /// Gives back the run that starts at `frame`. Returns its length.
    pub(super) fn give_back_at(&mut self, frame: FrameNumber) -> u64 {
        self.give_back(self.map.run_of(frame))
    }

    /// Gives back frames that one process used and that lie next to each other, run by run. A run that is used in part
    /// stays until the rest is given back too. Returns the frames that went.
    pub(super) fn give_back_part(&mut self, part: FrameRun) -> u64 {
        let mut gone = 0;
        let mut at = part.start;
        while at < part.end() {
            let run = self.map.run_of(at);
            let inside = FrameRun::between(at, run.end().min(part.end()));
            if inside == run || self.map.spare_out(inside, run) {
                gone += self.give_back(run);
            }
            at = inside.end();
        }
        gone
    }

    /// A frame that goes on to be used for something else.
    pub(super) fn relabel(&mut self, frame: FrameNumber, owner: Owner) {
        let old = self.map.owner(frame).expect("a present page has a frame");
        self.map.relabel(frame, owner);
        let run = FrameRun { start: frame, frames: 1 };
        self.log(HandedOver::Given, run, old);
        self.log(HandedOver::Taken, run, owner);
    }

    fn log(&mut self, change: HandedOver, run: FrameRun, owner: Owner) {
        if self.is_logged {
            self.changes.push(FrameChange { change, run, owner });
        }
    }

    /// Takes frames that nobody will get, in runs as long as the policy hands out.
    pub(super) fn reserve(&mut self, frames: u64) -> Result<(), AllocError> {
        let owner = Owner { pid: Pid(0), region: Region::Reserved };
        let mut left = frames;
        let mut most = frames;
        while left > 0 {
            let frames = left.min(most);
            match self.ask(&FrameRequest::frames(frames)) {
                Ok(run) => {
                    self.hand_over(run, owner, frames);
                    left -= frames;
                }
                Err(AllocError::TooLarge { limit, .. }) if limit < frames => most = limit,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
