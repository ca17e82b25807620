//! Memory as runs, free and live, end to end.

use std::collections::BTreeMap;

use crate::frames::{FrameNumber, FrameRun};
use crate::{Violation, ensure};

/// Where runs start, and which of them are free.
#[derive(Clone, Debug)]
pub struct Tiling {
    frames: u64,
    starts: BTreeMap<u64, bool>,
}

/// A run, and whether it is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The run.
    pub run: FrameRun,
    /// Nobody has it.
    pub free: bool,
}

impl Tiling {
    /// One free run.
    #[must_use]
    pub fn new(frames: u64) -> Tiling {
        Tiling { frames, starts: BTreeMap::from([(0, true)]) }
    }

    /// The runs given by their lengths.
    #[must_use]
    pub fn of(runs: &[(u64, bool)]) -> Tiling {
        let mut tiling = Tiling { frames: 0, starts: BTreeMap::new() };
        for (frames, free) in runs {
            tiling.starts.insert(tiling.frames, *free);
            tiling.frames += frames;
        }
        tiling
    }

    /// All frames.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        0
    }

    fn next_start(&self, after: u64) -> u64 {
        self.starts.range(after + 1..).next().map_or(self.frames, |(s, _)| *s)
    }

    /// The run that holds `frame`.
    ///
    /// # Panics
    /// When `frame` lies outside memory.
    #[must_use]
    pub fn run_at(&self, frame: FrameNumber) -> Tile {
        let (&start, &free) = self.starts.range(..=frame.0).next_back().expect("a run starts at frame 0");
        Tile { run: FrameRun::new(start, self.next_start(start) - start), free }
    }

    /// The free run that ends where `run` starts.
    #[must_use]
    pub fn free_run_below(&self, run: FrameRun) -> Option<FrameRun> {
        let last = run.start.0.checked_sub(1)?;
        let tile = self.run_at(FrameNumber(last));
        tile.free.then_some(tile.run)
    }

    /// The free run that starts where `run` ends.
    #[must_use]
    pub fn free_run_above(&self, run: FrameRun) -> Option<FrameRun> {
        if run.end().0 == self.frames {
            return None;
        }
        let tile = self.run_at(run.end());
        tile.free.then_some(tile.run)
    }

    /// Whether two free runs meet at `frame`.
    #[must_use]
    pub fn is_seam(&self, frame: FrameNumber) -> bool {
        let above = self.starts.get(&frame.0) == Some(&true);
        above && frame.0 > 0 && self.run_at(FrameNumber(frame.0 - 1)).free
    }

    /// All runs, ascending.
    pub fn runs(&self) -> impl Iterator<Item = Tile> {
        self.starts.keys().map(|start| self.run_at(FrameNumber(*start)))
    }

    /// Free runs, ascending.
    pub fn free_runs(&self) -> impl Iterator<Item = FrameRun> {
        self.runs().filter(|tile| tile.free).map(|tile| tile.run)
    }

    /// Cuts `taken` out of the free run `hole`.
    pub fn take(&mut self, hole: FrameRun, taken: FrameRun) {
        self.starts.insert(taken.start.0, false);
        if taken.end() < hole.end() {
            self.starts.insert(taken.end().0, true);
        }
    }

    /// Makes the live run `run` a free one.
    pub fn give(&mut self, run: FrameRun) {
        self.starts.insert(run.start.0, true);
    }

    /// Makes the free runs that tile `run` one.
    pub fn join(&mut self, run: FrameRun) {
        let inner: Vec<u64> = self.starts.range(run.start.0 + 1..run.end().0).map(|(s, _)| *s).collect();
        for start in inner {
            self.starts.remove(&start);
        }
    }

    /// Full check.
    ///
    /// # Errors
    /// The first invariant that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        ensure(self.starts.contains_key(&0), || "no run starts at frame 0".to_owned())
    }
}
