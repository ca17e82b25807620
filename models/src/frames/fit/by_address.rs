//! Free runs by address.

use std::iter;

use super::{HoleIndex, Memory, Place, Placement, Tiling};
use crate::Violation;
use crate::frames::{FrameRequest, FrameRun};

/// Finds the lowest or the highest free run of some length.
#[derive(Clone, Debug)]
pub struct ByAddress {
    longest: u64,
}

impl HoleIndex for ByAddress {
    type Order = ();

    fn new(_frames: u64, (): &()) -> ByAddress {
        ByAddress { longest: 0 }
    }

    fn swap(&mut self, tiling: &Tiling, _gone: &[FrameRun], _come: &[FrameRun]) {
        self.longest = tiling.free_runs().map(|hole| hole.frames).max().unwrap_or(0);
    }

    fn longest(&self) -> u64 {
        self.longest
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn check(&self, _tiling: &Tiling) -> Result<(), Violation> {
        Ok(())
    }
}

impl ByAddress {
    fn lowest(&self, tiling: &Tiling, from: u64, frames: u64) -> Option<FrameRun> {
        tiling.free_runs().find(|hole| hole.start.0 >= from && hole.frames >= frames)
    }

    fn highest(&self, tiling: &Tiling, below: u64, frames: u64) -> Option<FrameRun> {
        tiling.free_runs().filter(|hole| hole.start.0 < below && hole.frames >= frames).last()
    }

    fn rank(&self, tiling: &Tiling, frame: u64) -> u64 {
        tiling.free_runs().filter(|hole| hole.start.0 < frame).count() as u64
    }
}

impl Memory<ByAddress> {
    /// Places for `request` in free runs that start at frame `from` or above, ascending, each at the low end of its run.
    pub fn upwards(&self, from: u64, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        let (mut from, request) = (from, *request);
        iter::from_fn(move || {
            loop {
                let hole = self.index().lowest(self.tiling(), from, request.frames)?;
                from = hole.end().0;
                if request.below.is_some_and(|below| below <= hole.start) {
                    return None;
                }
                let place = Placement::at(Place::Low, hole, &request);
                if place.is_some() {
                    return place;
                }
            }
        })
    }

    /// Places for `request` in all free runs, descending, each at the high end of its run.
    pub fn downwards(&self, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        let request = *request;
        let mut below = request.below.map_or(self.frames(), |below| below.0);
        iter::from_fn(move || {
            loop {
                let hole = self.index().highest(self.tiling(), below, request.frames)?;
                below = hole.start.0;
                let place = Placement::at(Place::High, hole, &request);
                if place.is_some() {
                    return place;
                }
            }
        })
    }

    /// Free runs that start below `frame`.
    #[must_use]
    pub fn holes_below(&self, frame: u64) -> u64 {
        self.index().rank(self.tiling(), frame)
    }
}
