//! Free runs by length.

use std::collections::BTreeSet;
use std::iter;

use serde::{Deserialize, Serialize};

use super::{HoleIndex, Memory, Place, Placement, Tiling};
use crate::frames::{FrameRequest, FrameRun};
use crate::{Violation, ensure};

/// Which free runs come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Longest {
    /// Shortest first.
    Last,
    /// Longest first.
    First,
}

/// In which order free runs are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LengthOrder {
    /// By length.
    pub longest: Longest,
    /// Among runs of one length.
    pub place: Place,
}

impl LengthOrder {
    /// A number that grows from the most to the least preferred run.
    fn key(self, hole: FrameRun) -> u64 {
        let length = match self.longest {
            Longest::Last => hole.frames,
            Longest::First => LOW - hole.frames,
        };
        let start = match self.place {
            Place::Low => hole.start.0,
            Place::High => LOW - hole.start.0,
        };
        length << 32 | start
    }

    fn hole(self, key: u64) -> FrameRun {
        let (length, start) = (key >> 32, key & LOW);
        let frames = match self.longest {
            Longest::Last => length,
            Longest::First => LOW - length,
        };
        match self.place {
            Place::Low => FrameRun::new(start, frames),
            Place::High => FrameRun::new(LOW - start, frames),
        }
    }

    /// The least key of a run that is long enough.
    fn first_key(self, frames: u64) -> u64 {
        match self.longest {
            Longest::Last => frames.min(LOW) << 32,
            Longest::First => 0,
        }
    }
}

const LOW: u64 = u32::MAX as u64;

/// Finds the shortest or longest free run.
#[derive(Clone, Debug)]
pub struct ByLength {
    order: LengthOrder,
    keys: BTreeSet<u64>,
}

impl HoleIndex for ByLength {
    type Order = LengthOrder;

    fn new(_frames: u64, order: &LengthOrder) -> ByLength {
        ByLength { order: *order, keys: BTreeSet::new() }
    }

    fn swap(&mut self, _tiling: &Tiling, gone: &[FrameRun], come: &[FrameRun]) {
        for hole in gone.iter().filter(|hole| !hole.is_empty()) {
            self.keys.remove(&self.order.key(*hole));
        }
        for hole in come.iter().filter(|hole| !hole.is_empty()) {
            self.keys.insert(self.order.key(*hole));
        }
    }

    fn longest(&self) -> u64 {
        let longest = match self.order.longest {
            Longest::Last => self.keys.last(),
            Longest::First => self.keys.first(),
        };
        longest.map_or(0, |key| self.order.hole(*key).frames)
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn check(&self, tiling: &Tiling) -> Result<(), Violation> {
        let mut count = 0;
        for hole in tiling.free_runs() {
            ensure(self.keys.contains(&self.order.key(hole)), || format!("free run {hole} is not in the index"))?;
            count += 1;
        }
        ensure(count == self.keys.len(), || format!("{} runs in the index, {count} are free", self.keys.len()))
    }
}

impl Memory<ByLength> {
    /// How many free runs hold `request`.
    #[must_use]
    pub fn count_places(&self, request: &FrameRequest) -> u64 {
        self.by_length(request).count() as u64
    }

    /// The same places as [`by_length`](Self::by_length), from number `first` on.
    pub fn places_from(&self, first: u64, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        self.by_length(request).skip(crate::index(first))
    }

    /// Places for `request`, the most preferred first.
    pub fn by_length(&self, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        let ByLength { order, keys } = self.index();
        let request = *request;
        let mut from = order.first_key(request.frames);
        iter::from_fn(move || {
            loop {
                let key = *keys.range(from..).next()?;
                from = key + 1;
                let hole = order.hole(key);
                if hole.frames < request.frames {
                    return None;
                }
                let place = Placement::at(order.place, hole, &request);
                if place.is_some() {
                    return place;
                }
            }
        })
    }
}
