//! Free runs by length: the shortest or longest one, and how many are longer.

use std::iter;

use serde::{Deserialize, Serialize};

use super::ranked_set::RankedSet;
use super::{HoleIndex, Memory, Place, Placement, Tiling};
use crate::frames::{FrameRequest, FrameRun};
use crate::{Violation, ensure, index};

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

/// The greatest length and the greatest frame number there can be.
const MAX: u64 = u32::MAX as u64;

impl LengthOrder {
    /// A number that grows from the most to the least preferred run: the length above, the address below.
    fn key(self, hole: FrameRun) -> u64 {
        let length = match self.longest {
            Longest::Last => hole.frames,
            Longest::First => MAX - hole.frames,
        };
        length << 32 | self.place_key(hole.start.0)
    }

    fn place_key(self, start: u64) -> u64 {
        match self.place {
            Place::Low => start,
            Place::High => MAX - start,
        }
    }

    fn hole(self, key: u64) -> FrameRun {
        let (length, place) = (key >> 32, key & MAX);
        let frames = match self.longest {
            Longest::Last => length,
            Longest::First => MAX - length,
        };
        FrameRun::new(self.place_key(place), frames)
    }

    /// A key at or below those of all runs of at least `frames` frames.
    fn first_key(self, frames: u64) -> u64 {
        match self.longest {
            Longest::Last => frames.min(MAX) << 32,
            Longest::First => 0,
        }
    }

    /// The key to go on with after `hole`: behind the runs of its length that lie too high, or just the next one.
    fn key_after(self, hole: FrameRun, request: &FrameRequest) -> u64 {
        let key = self.key(hole);
        let Some(highest) = request.below.map(|below| below.0.saturating_sub(request.frames)) else { return key + 1 };
        match self.place {
            Place::Low if hole.start.0 > highest => (key | MAX) + 1,
            Place::High if hole.start.0 > highest => (key & !MAX) | self.place_key(highest),
            Place::Low | Place::High => key + 1,
        }
    }
}

/// Each free run as one number that sorts as the policy prefers, in a set that counts.
///
/// 12 bytes for a free run as a rule, 22 at worst; nothing for a live one.
#[derive(Clone, Debug)]
pub struct ByLength {
    order: LengthOrder,
    keys: RankedSet,
}

impl HoleIndex for ByLength {
    type Order = LengthOrder;

    fn new(_frames: u64, order: &LengthOrder) -> ByLength {
        ByLength { order: *order, keys: RankedSet::new() }
    }

    fn swap(&mut self, _tiling: &Tiling, gone: &[FrameRun], come: &[FrameRun]) {
        for hole in gone.iter().filter(|hole| !hole.is_empty()) {
            self.keys.remove(self.order.key(*hole));
        }
        for hole in come.iter().filter(|hole| !hole.is_empty()) {
            self.keys.insert(self.order.key(*hole));
        }
    }

    fn longest(&self) -> u64 {
        let longest = match self.order.longest {
            Longest::Last => self.keys.last(),
            Longest::First => self.keys.nth(0),
        };
        longest.map_or(0, |key| self.order.hole(key).frames)
    }

    fn bytes(&self) -> u64 {
        self.keys.bytes()
    }

    fn check(&self, tiling: &Tiling) -> Result<(), Violation> {
        let mut count = 0;
        for hole in tiling.free_runs() {
            let key = self.order.key(hole);
            ensure(self.keys.at_or_above(key) == Some(key), || format!("free run {hole} is not in the index"))?;
            count += 1;
        }
        ensure(count == self.keys.len(), || format!("{} runs in the index, {count} are free", self.keys.len()))?;
        self.keys.check()
    }
}

impl Memory<ByLength> {
    /// Places for `request`, the most preferred first.
    pub fn by_length(&self, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        self.places_at(self.index().order.first_key(request.frames), request)
    }

    /// The same places from number `first` on, for an index that has the longest run last.
    pub fn by_length_from(&self, first: u64, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        let ByLength { order, keys } = self.index();
        let (key, skipped) = if request.is_plain() {
            let key = keys.nth(self.too_short(request) + first);
            (key.unwrap_or(u64::MAX), 0)
        } else {
            (order.first_key(request.frames), first)
        };
        self.places_at(key, request).skip(index(skipped))
    }

    /// How many free runs hold `request`, for an index that has the longest run last.
    #[must_use]
    pub fn count_places(&self, request: &FrameRequest) -> u64 {
        if request.is_plain() { self.holes() - self.too_short(request) } else { self.by_length(request).count() as u64 }
    }

    fn too_short(&self, request: &FrameRequest) -> u64 {
        let ByLength { order, keys } = self.index();
        keys.rank(order.first_key(request.frames))
    }

    fn places_at(&self, key: u64, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        let ByLength { order, keys } = self.index();
        let (mut key, request) = (key, *request);
        iter::from_fn(move || {
            loop {
                let hole = order.hole(keys.at_or_above(key)?);
                if hole.frames < request.frames {
                    return None;
                }
                key = order.key_after(hole, &request);
                let place = Placement::at(order.place, hole, &request);
                if place.is_some() {
                    return place;
                }
            }
        })
    }
}
