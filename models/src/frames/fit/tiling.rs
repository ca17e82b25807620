//! Memory as runs, free and live, end to end.

use std::iter;

use crate::frames::bit_tree::BitTree;
use crate::frames::{FrameNumber, FrameRun};
use crate::{Violation, ensure, index};

/// Where runs start, and which of them are free: two bits per frame, and 1/64 of a bit to leap over words without a start.
///
/// A run ends where the next one starts, so nothing is written for each run. All steps are O(log64 frames).
#[derive(Clone, Debug)]
pub struct Tiling {
    frames: u64,
    /// One for every 64 frames: bits of the frames that start a run, and among them of those that start a free run.
    words: Vec<(u64, u64)>,
    /// The words in which a run starts.
    starting: BitTree,
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
        Tiling::of(&[(frames, true)])
    }

    /// The runs given by their lengths, none of them empty; `true` for the free ones.
    #[must_use]
    pub fn of(runs: &[(u64, bool)]) -> Tiling {
        let frames = runs.iter().map(|(frames, _)| frames).sum();
        let words = u64::div_ceil(frames, 64);
        let mut tiling = Tiling { frames, words: vec![(0, 0); index(words)], starting: BitTree::filled(words, 0) };
        let mut start = 0;
        for (frames, free) in runs {
            tiling.start_run(FrameNumber(start), *free);
            start += frames;
        }
        tiling
    }

    /// All frames.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes it occupies.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.words.len() * size_of::<(u64, u64)>()) as u64 + self.starting.bytes()
    }

    /// The run that holds `frame`, which lies in memory.
    #[must_use]
    pub fn run_at(&self, frame: FrameNumber) -> Tile {
        let start = self.start_at_or_below(frame.0);
        Tile { run: FrameRun::new(start, self.next_start(start) - start), free: self.is_free_start(start) }
    }

    /// The free run that ends where `run` starts.
    #[must_use]
    pub fn free_run_below(&self, run: FrameRun) -> Option<FrameRun> {
        let start = self.start_at_or_below(run.start.0.checked_sub(1)?);
        self.is_free_start(start).then(|| FrameRun::new(start, run.start.0 - start))
    }

    /// The free run that starts where `run` ends.
    #[must_use]
    pub fn free_run_above(&self, run: FrameRun) -> Option<FrameRun> {
        let start = run.end().0;
        self.is_free_start(start).then(|| FrameRun::new(start, self.next_start(start) - start))
    }

    /// Whether two free runs meet at `frame`.
    #[must_use]
    pub fn is_seam(&self, frame: FrameNumber) -> bool {
        self.is_free_start(frame.0) && self.free_run_below(FrameRun::between(frame, frame)).is_some()
    }

    /// All runs, ascending.
    pub fn runs(&self) -> impl Iterator<Item = Tile> {
        let mut start = 0;
        iter::from_fn(move || {
            let tile = (start < self.frames).then(|| self.run_at(FrameNumber(start)))?;
            start = tile.run.end().0;
            Some(tile)
        })
    }

    /// Free runs, ascending.
    pub fn free_runs(&self) -> impl Iterator<Item = FrameRun> {
        self.runs().filter(|tile| tile.free).map(|tile| tile.run)
    }

    /// Free runs that start in word `word`, that is in frames `64 * word` to `64 * word + 63`, ascending: at most 64.
    #[inline]
    pub fn free_runs_in(&self, word: u64) -> impl Iterator<Item = FrameRun> {
        let (starts, mut free) = self.words[index(word)];
        iter::from_fn(move || {
            let bit = (free != 0).then(|| free.trailing_zeros())?;
            free &= free - 1;
            let start = word * 64 + u64::from(bit);
            // Two shifts: one by 64 is no shift at all.
            let later = starts >> bit >> 1;
            let frames =
                if later != 0 { u64::from(later.trailing_zeros()) + 1 } else { self.next_start(start) - start };
            Some(FrameRun::new(start, frames))
        })
    }

    /// How many free runs start in word `word`.
    #[must_use]
    pub fn count_free_in(&self, word: u64) -> u64 {
        u64::from(self.words[index(word)].1.count_ones())
    }

    /// How many free runs start in the word of `frame`, below it.
    #[must_use]
    pub fn count_free_below_in_word(&self, frame: u64) -> u64 {
        u64::from((self.words[index(frame / 64)].1 & !from_bit(frame % 64)).count_ones())
    }

    /// Cuts the live run `taken` out of the free run `hole`.
    pub fn take(&mut self, hole: FrameRun, taken: FrameRun) {
        self.start_run(taken.start, false);
        if taken.end() < hole.end() {
            self.start_run(taken.end(), true);
        }
    }

    /// Makes the live run `run` a free one.
    pub fn give(&mut self, run: FrameRun) {
        self.start_run(run.start, true);
    }

    /// Makes the run that starts at `seam` a part of the one below it.
    pub fn join(&mut self, seam: FrameNumber) {
        let (starts, free) = &mut self.words[index(seam.0 / 64)];
        let others = !(1 << (seam.0 % 64));
        *starts &= others;
        *free &= others;
        if *starts == 0 {
            self.starting.remove(seam.0 / 64);
        }
    }

    fn start_run(&mut self, start: FrameNumber, free: bool) {
        let (starts, free_starts) = &mut self.words[index(start.0 / 64)];
        let was_empty = *starts == 0;
        let bit = 1 << (start.0 % 64);
        *starts |= bit;
        *free_starts = if free { *free_starts | bit } else { *free_starts & !bit };
        if was_empty {
            self.starting.insert(start.0 / 64);
        }
    }

    fn is_free_start(&self, frame: u64) -> bool {
        self.words.get(index(frame / 64)).is_some_and(|(_, free)| free >> (frame % 64) & 1 == 1)
    }

    /// The first start above `start`, or the end of memory.
    #[inline]
    fn next_start(&self, start: u64) -> u64 {
        let (word, bit) = (start / 64, start % 64);
        let later = self.words[index(word)].0 >> bit >> 1;
        if later != 0 {
            return start + 1 + u64::from(later.trailing_zeros());
        }
        match self.starting.first_from(word + 1) {
            Some(word) => word * 64 + u64::from(self.words[index(word)].0.trailing_zeros()),
            None => self.frames,
        }
    }

    #[inline]
    fn start_at_or_below(&self, frame: u64) -> u64 {
        let word = frame / 64;
        let starts = self.words[index(word)].0 & up_to_bit(frame % 64);
        if starts != 0 {
            return word * 64 + u64::from(starts.ilog2());
        }
        let word = self.starting.last_below(word).expect("a run starts at frame 0");
        word * 64 + u64::from(self.words[index(word)].0.ilog2())
    }

    /// Full check.
    ///
    /// # Errors
    /// The first invariant that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        let broken = self.starting.broken_level();
        ensure(broken.is_none(), || format!("words in which a run starts: level {broken:?} differs from its words"))?;
        ensure(self.words[0].0 & 1 == 1, || "no run starts at frame 0".to_owned())?;
        for (number, (starts, free)) in (0_u64..).zip(&self.words) {
            let starting = self.starting.contains(number);
            ensure(free & !starts == 0, || format!("word {number}: a free run does not start"))?;
            ensure(starting == (*starts != 0), || format!("word {number}: listed as starting a run: {starting}"))?;
        }
        let past_end = self.words.last().map_or(0, |(starts, _)| match self.frames % 64 {
            0 => 0,
            used => starts & from_bit(used),
        });
        ensure(past_end == 0, || "a run starts past the end of memory".to_owned())
    }
}

/// Bits `bit` and above.
const fn from_bit(bit: u64) -> u64 {
    u64::MAX << bit
}

/// Bits `bit` and below.
const fn up_to_bit(bit: u64) -> u64 {
    u64::MAX >> (63 - bit)
}
