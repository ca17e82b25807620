//! The frames of a fit policy: free runs, live runs, and when they join.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Coalescing, Tiling};
use crate::frames::bit_tree::BitTree;
use crate::frames::{AllocError, FrameNumber, FrameRequest, FrameRun, FreeError};
use crate::registry::BadOptions;
use crate::{Violation, ensure};

/// How a policy finds the free run it wants.
pub trait HoleIndex: Clone + Send + 'static {
    /// What the index sorts by, where there is a choice.
    type Order: Clone + Serialize + DeserializeOwned + Send;

    /// The index of a memory of `frames` frames that has no free run yet.
    fn new(frames: u64, order: &Self::Order) -> Self;

    /// The free runs `gone` are no more, those of `come` are new; empty ones count for nothing. `tiling` has changed already.
    fn swap(&mut self, tiling: &Tiling, gone: &[FrameRun], come: &[FrameRun]);

    /// Frames of the longest free run.
    fn longest(&self) -> u64;

    /// Bytes the index occupies.
    fn bytes(&self) -> u64;

    /// Whether it knows the free runs of `tiling`, and only those.
    ///
    /// # Errors
    /// The first invariant that is broken.
    fn check(&self, tiling: &Tiling) -> Result<(), Violation>;
}

/// Frames, all of them in a free or a live run.
#[derive(Clone, Debug)]
pub struct Memory<I: HoleIndex> {
    tiling: Tiling,
    index: I,
    order: I::Order,
    coalescing: Coalescing,
    /// Frames at which two free runs met when one of them was freed, for joining them later: only if that is deferred.
    seams: BitTree,
    free_frames: u64,
    holes: u64,
    /// Free runs that the last search looked at.
    pub(super) searched: u64,
}

impl<I: HoleIndex> Memory<I> {
    /// The most frames a memory has: run lengths and frame numbers are kept in 32 bits (16 TiB of 4 KiB frames).
    pub const FRAMES_MAX: u64 = u32::MAX as u64;

    /// A memory whose `frames` frames are one free run.
    ///
    /// # Errors
    /// [`BadOptions`] without frames, or with more than [`Self::FRAMES_MAX`].
    pub fn new(frames: u64, coalescing: Coalescing, order: I::Order) -> Result<Memory<I>, BadOptions> {
        if frames == 0 || frames > Self::FRAMES_MAX {
            return Err(BadOptions {
                option: "memory",
                found: format!("{frames} frames"),
                allowed: format!("a fit policy works on 1 to {} frames", Self::FRAMES_MAX),
            });
        }
        Ok(Memory::of(Tiling::new(frames), coalescing, order))
    }

    fn of(tiling: Tiling, coalescing: Coalescing, order: I::Order) -> Memory<I> {
        let mut index = I::new(tiling.frames(), &order);
        let mut seams = BitTree::filled(if coalescing == Coalescing::Deferred { tiling.frames() } else { 0 }, 0);
        let (mut free_frames, mut holes) = (0, 0);
        for hole in tiling.free_runs() {
            index.swap(&tiling, &[], &[hole]);
            if coalescing == Coalescing::Deferred && tiling.is_seam(hole.start) {
                seams.insert(hole.start.0);
            }
            free_frames += hole.frames;
            holes += 1;
        }
        Memory { tiling, index, order, coalescing, seams, free_frames, holes, searched: 0 }
    }

    /// All frames.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.tiling.frames()
    }

    /// Frames that are free.
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.free_frames
    }

    /// Free runs, as they are kept.
    #[must_use]
    pub fn holes(&self) -> u64 {
        self.holes
    }

    /// Frames of the longest free run, as they are kept.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.index.longest()
    }

    /// Where runs start, and which are free.
    #[must_use]
    pub fn tiling(&self) -> &Tiling {
        &self.tiling
    }

    /// The free run that holds `frame`, if it is free.
    #[must_use]
    pub fn hole_at(&self, frame: FrameNumber) -> Option<FrameRun> {
        if frame.0 >= self.frames() {
            return None;
        }
        let tile = self.tiling.run_at(frame);
        tile.free.then_some(tile.run)
    }

    /// How the policy finds free runs.
    #[must_use]
    pub fn index(&self) -> &I {
        &self.index
    }

    /// Bytes of the whole structure.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tiling.bytes() + self.index.bytes() + self.seams.bytes()
    }

    /// Why there is no run for `request`.
    #[must_use]
    pub fn refusal(&self, request: &FrameRequest) -> AllocError {
        let (asked, free) = (request.frames, self.free_frames);
        let (longest, holes) = (self.longest(), self.holes);
        if asked > free {
            AllocError::Shortage { asked, free, longest, holes }
        } else {
            AllocError::Fragmentation { asked, free, longest, holes }
        }
    }

    /// Hands out `taken`; what is left of `hole`, below and above, stays free.
    pub fn take(&mut self, hole: FrameRun, taken: FrameRun) {
        let below = FrameRun::between(hole.start, taken.start);
        let above = FrameRun::between(taken.end(), hole.end());
        self.tiling.take(hole, taken);
        self.index.swap(&self.tiling, &[hole], &[below, above]);
        self.free_frames -= taken.frames;
        self.holes = self.holes + u64::from(!below.is_empty()) + u64::from(!above.is_empty()) - 1;
    }

    /// Takes a live run back.
    ///
    /// # Errors
    /// [`FreeError`] when the run is not live, or is only a part of a live one. Nothing has changed then.
    pub fn give(&mut self, run: FrameRun) -> Result<(), FreeError> {
        if run.start.0 >= self.frames() {
            return Err(FreeError::NotLive(run));
        }
        let live = self.tiling.run_at(run.start);
        if live.free {
            return Err(FreeError::NotLive(run));
        }
        if live.run != run {
            return Err(FreeError::NotWhole { given: run, live: live.run });
        }
        self.free_frames += run.frames;
        match self.coalescing {
            Coalescing::Immediate => self.insert_joined(run),
            Coalescing::Deferred | Coalescing::Off => self.insert_apart(run),
        }
        Ok(())
    }

    fn insert_apart(&mut self, run: FrameRun) {
        self.tiling.give(run);
        self.index.swap(&self.tiling, &[], &[run]);
        self.holes += 1;
        for seam in [run.start, run.end()] {
            if self.coalescing == Coalescing::Deferred && self.tiling.is_seam(seam) {
                self.seams.insert(seam.0);
            }
        }
    }

    fn insert_joined(&mut self, run: FrameRun) {
        let below = self.tiling.free_run_below(run).unwrap_or(FrameRun::between(run.start, run.start));
        let above = self.tiling.free_run_above(run).unwrap_or(FrameRun::between(run.end(), run.end()));
        self.tiling.give(run);
        let mut joined = run;
        if !below.is_empty() {
            self.tiling.join(run.start);
            joined = FrameRun::between(below.start, joined.end());
        }
        if !above.is_empty() {
            self.tiling.join(above.start);
            joined = FrameRun::between(joined.start, above.end());
        }
        self.index.swap(&self.tiling, &[below, above], &[joined]);
        self.holes = self.holes + 1 - u64::from(!below.is_empty()) - u64::from(!above.is_empty());
    }

    /// Joins all free runs that touch, if joining is deferred and could help `request`; whether any did.
    ///
    /// O(log frames) for each two that are joined; a free leaves at most two of them.
    pub fn join_for(&mut self, request: &FrameRequest) -> bool {
        let mut joined_any = false;
        if request.frames > self.free_frames {
            return joined_any;
        }
        while let Some(seam) = self.seams.first() {
            self.seams.remove(seam);
            // A part of what met there may have been handed out since.
            if self.tiling.is_seam(FrameNumber(seam)) {
                self.join_at(FrameNumber(seam));
                joined_any = true;
            }
        }
        joined_any
    }

    /// Joins the two free runs that meet at `seam`.
    fn join_at(&mut self, seam: FrameNumber) {
        let below = self.tiling.run_at(FrameNumber(seam.0 - 1)).run;
        let above = self.tiling.run_at(seam).run;
        self.tiling.join(seam);
        self.index.swap(&self.tiling, &[below, above], &[FrameRun::between(below.start, above.end())]);
        self.holes -= 1;
    }

    /// Full check of the invariants.
    ///
    /// # Errors
    /// The first that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        self.tiling.check()?;
        let (mut free_frames, mut holes, mut end_of_last) = (0, 0, None);
        for hole in self.tiling.free_runs() {
            let apart = match self.coalescing {
                Coalescing::Immediate => end_of_last != Some(hole.start),
                Coalescing::Deferred => end_of_last != Some(hole.start) || self.seams.contains(hole.start.0),
                Coalescing::Off => true,
            };
            ensure(apart, || format!("free run {hole} touches the one below it"))?;
            end_of_last = Some(hole.end());
            free_frames += hole.frames;
            holes += 1;
        }
        ensure(free_frames == self.free_frames, || {
            format!("free runs have {free_frames} frames, {} are counted", self.free_frames)
        })?;
        ensure(holes == self.holes, || format!("{holes} free runs, {} are counted", self.holes))?;
        self.index.check(&self.tiling)
    }
}

/// As it is written: runs in address order, from which the rest is built again.
#[derive(Serialize, Deserialize)]
struct Saved<O> {
    /// Length of each run, and whether it is free.
    runs: Vec<(u64, bool)>,
    coalescing: Coalescing,
    order: O,
    searched: u64,
}

impl<I: HoleIndex> Serialize for Memory<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let runs = self.tiling.runs().map(|tile| (tile.run.frames, tile.free)).collect();
        Saved { runs, coalescing: self.coalescing, order: self.order.clone(), searched: self.searched }
            .serialize(serializer)
    }
}

impl<'de, I: HoleIndex> Deserialize<'de> for Memory<I> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Memory<I>, D::Error> {
        let saved = Saved::<I::Order>::deserialize(deserializer)?;
        let frames = saved.runs.iter().try_fold(0_u64, |sum, (frames, _)| sum.checked_add(*frames));
        let sound = saved.runs.iter().all(|(frames, _)| *frames > 0);
        match frames {
            Some(1..=u64::MAX) if sound && frames <= Some(Self::FRAMES_MAX) => {}
            _ => return Err(D::Error::custom("the runs of a memory are not empty and fit into it")),
        }
        let memory = Memory::of(Tiling::of(&saved.runs), saved.coalescing, saved.order);
        Ok(Memory { searched: saved.searched, ..memory })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ByAddress, ByLength, LengthOrder, Longest, Place};
    use super::*;

    const FRAMES: u64 = 1 << 16;

    /// Bytes for 1000 frames when every second frame is free, the most runs there can be, each of one frame.
    fn bytes_at_worst<I: HoleIndex>(coalescing: Coalescing, order: I::Order) -> u64 {
        let mut memory = Memory::<I>::new(FRAMES, coalescing, order).expect("a good size");
        for frame in 0..FRAMES {
            memory.take(FrameRun::new(frame, FRAMES - frame), FrameRun::new(frame, 1));
        }
        for frame in (0..FRAMES).step_by(2) {
            memory.give(FrameRun::new(frame, 1)).expect("it is live");
        }
        assert_eq!((memory.holes(), memory.check()), (FRAMES / 2, Ok(())));
        memory.bytes() * 1000 / FRAMES
    }

    #[test]
    fn takes_a_fraction_of_the_16_bytes_a_frame_it_may() {
        let by_length = LengthOrder { longest: Longest::Last, place: Place::Low };
        let bytes = [
            bytes_at_worst::<ByAddress>(Coalescing::Immediate, ()),
            bytes_at_worst::<ByAddress>(Coalescing::Deferred, ()),
            bytes_at_worst::<ByLength>(Coalescing::Immediate, by_length),
        ];
        assert_eq!(bytes, [324, 451, 10_191], "thousandths of a byte for a frame");
    }

    #[test]
    fn runs_that_are_empty_or_too_many_are_not_read_back() {
        let read = |runs: Vec<(u64, bool)>| {
            let saved = Saved { runs, coalescing: Coalescing::Immediate, order: (), searched: 0 };
            let bytes = postcard::to_stdvec(&saved).expect("plain data");
            postcard::from_bytes::<Memory<ByAddress>>(&bytes).ok().map(|memory| memory.frames())
        };
        assert_eq!(read(vec![(3, true), (1, false)]), Some(4));
        assert_eq!(read(vec![(3, true), (0, false)]), None);
        assert_eq!(read(vec![(1 << 32, true)]), None);
        assert_eq!(read(vec![(u64::MAX, true), (2, false)]), None);
        assert_eq!(read(vec![]), None);
    }

    #[test]
    fn a_terabyte_of_one_run_takes_no_more_for_a_frame() {
        let by_address = Memory::<ByAddress>::new(1 << 28, Coalescing::Immediate, ()).expect("a good size");
        assert_eq!((by_address.bytes() * 1000) >> 28, 322, "thousandths of a byte for a frame");
    }
}
