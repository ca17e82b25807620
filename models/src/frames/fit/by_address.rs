//! Free runs by address: the lowest or highest one of some length.

use std::iter;

use super::{HoleIndex, Memory, Place, Placement, Tiling};
use crate::frames::{FrameRequest, FrameRun};
use crate::{Violation, ensure, index};

/// Entries of the level below that one entry stands for.
const FAN: u64 = 16;

/// For each 64 frames the longest free run that starts there, and above that a tree of maxima and counts of fan-out 16.
///
/// 4 bytes for 64 frames, and 1/7 of that for the tree: 0.07 bytes per frame. A search goes up and down the tree, one cache
/// line of 16 maxima a level, and reads the free runs of one word: at most 32 where none touch.
#[derive(Clone, Debug)]
pub struct ByAddress {
    levels: Vec<Level>,
    words: u64,
}

#[derive(Clone, Debug)]
struct Level {
    /// Frames of the longest free run that starts in each part of memory; a multiple of [`FAN`] of them.
    longest: Vec<u32>,
    /// How many free runs start there. Empty for single words, whose bits tell.
    count: Vec<u32>,
}

impl HoleIndex for ByAddress {
    type Order = ();

    fn new(frames: u64, (): &()) -> ByAddress {
        let words = frames.div_ceil(64);
        let mut levels = vec![Level { longest: vec![0; index(words.next_multiple_of(FAN))], count: Vec::new() }];
        let mut parts = words.div_ceil(FAN);
        while parts > 1 {
            let width = index(parts.next_multiple_of(FAN));
            levels.push(Level { longest: vec![0; width], count: vec![0; width] });
            parts = parts.div_ceil(FAN);
        }
        ByAddress { levels, words }
    }

    fn swap(&mut self, tiling: &Tiling, gone: &[FrameRun], come: &[FrameRun]) {
        for hole in gone.iter().filter(|hole| !hole.is_empty()) {
            self.forget(tiling, *hole);
        }
        for hole in come.iter().filter(|hole| !hole.is_empty()) {
            self.learn(*hole);
        }
    }

    fn longest(&self) -> u64 {
        let top = self.levels.last().expect("there is at least one level");
        u64::from(longest_of(&top.longest))
    }

    fn bytes(&self) -> u64 {
        self.levels.iter().map(|level| (level.longest.len() + level.count.len()) as u64 * 4).sum()
    }

    fn check(&self, tiling: &Tiling) -> Result<(), Violation> {
        for word in 0..self.words {
            let (told, found) = (self.levels[0].longest[index(word)], longest_in(tiling, word));
            ensure(told == found, || format!("word {word}: its longest free run has {found} frames, not {told}"))?;
        }
        let mut counts: Vec<u64> = (0..self.words).map(|word| tiling.count_free_in(word)).collect();
        for (below, level) in self.levels.iter().zip(&self.levels[1..]) {
            counts = counts.chunks(index(FAN)).map(|part| part.iter().sum()).collect();
            for (part, count) in counts.iter().enumerate() {
                let (told, found) = (level.longest[part], longest_of(group(&below.longest, part as u64)));
                ensure(told == found, || format!("part {part}: its longest free run has {found} frames, not {told}"))?;
                let told = u64::from(level.count[part]);
                ensure(told == *count, || format!("part {part}: {count} free runs, {told} are counted"))?;
            }
        }
        Ok(())
    }
}

impl ByAddress {
    /// The lowest free run of at least `frames` frames that starts at frame `from` or above.
    fn lowest(&self, tiling: &Tiling, from: u64, frames: u64) -> Option<FrameRun> {
        let least = u32::try_from(frames).ok()?;
        let fits = |hole: &FrameRun| hole.frames >= frames && hole.start.0 >= from;
        let word = from.div_ceil(64);
        if !from.is_multiple_of(64) && from / 64 < self.words {
            let found = tiling.free_runs_in(from / 64).find(fits);
            if found.is_some() {
                return found;
            }
        }
        let word = self.word_at_or_above(word, least)?;
        tiling.free_runs_in(word).find(fits)
    }

    /// The highest free run of at least `frames` frames that starts below frame `below`, which is at most the end of memory.
    fn highest(&self, tiling: &Tiling, below: u64, frames: u64) -> Option<FrameRun> {
        let least = u32::try_from(frames).ok()?;
        let fits = |hole: &FrameRun| hole.frames >= frames && hole.start.0 < below;
        if !below.is_multiple_of(64) {
            let found = tiling.free_runs_in(below / 64).filter(fits).last();
            if found.is_some() {
                return found;
            }
        }
        let word = self.word_below(below / 64, least)?;
        tiling.free_runs_in(word).filter(fits).last()
    }

    /// The first word from `word` on in which a free run of at least `least` frames starts.
    fn word_at_or_above(&self, word: u64, least: u32) -> Option<u64> {
        // From the bottom of memory there is nothing to climb past.
        let lowest_level = if word == 0 { self.levels.len() - 1 } else { 0 };
        let mut at = word;
        for height in lowest_level..self.levels.len() {
            let siblings = self.levels[height].longest.get(index(at)..index((at / FAN + 1) * FAN))?;
            if let Some(ahead) = siblings.iter().position(|longest| *longest >= least) {
                return Some(self.first_word_under(height, at + ahead as u64, least));
            }
            at = at / FAN + 1;
        }
        None
    }

    /// The last word below `word` in which a free run of at least `least` frames starts.
    fn word_below(&self, word: u64, least: u32) -> Option<u64> {
        let mut at = word;
        for (height, level) in self.levels.iter().enumerate() {
            let first = at.checked_sub(1)? / FAN * FAN;
            let siblings = &level.longest[index(first)..index(at)];
            if let Some(ahead) = siblings.iter().rposition(|longest| *longest >= least) {
                return Some(self.last_word_under(height, first + ahead as u64, least));
            }
            at = first / FAN;
        }
        None
    }

    fn first_word_under(&self, height: usize, part: u64, least: u32) -> u64 {
        self.levels[..height].iter().rev().fold(part, |part, level| {
            let ahead = group(&level.longest, part).iter().position(|longest| *longest >= least);
            part * FAN + ahead.expect("a part's longest run starts in one of its parts") as u64
        })
    }

    fn last_word_under(&self, height: usize, part: u64, least: u32) -> u64 {
        self.levels[..height].iter().rev().fold(part, |part, level| {
            let ahead = group(&level.longest, part).iter().rposition(|longest| *longest >= least);
            part * FAN + ahead.expect("a part's longest run starts in one of its parts") as u64
        })
    }

    /// How many free runs start below `frame`.
    fn rank(&self, tiling: &Tiling, frame: u64) -> u64 {
        let mut part = frame / 64;
        let in_word = if part < self.words { tiling.count_free_below_in_word(frame) } else { 0 };
        let first = part / FAN * FAN;
        let words = (first..part.min(self.words)).map(|word| tiling.count_free_in(word));
        let mut rank = in_word + words.sum::<u64>();
        for level in &self.levels[1..] {
            part /= FAN;
            let before = &level.count[index(part / FAN * FAN)..index(part)];
            rank += before.iter().map(|count| u64::from(*count)).sum::<u64>();
        }
        rank
    }

    /// A free run is no more.
    fn forget(&mut self, tiling: &Tiling, hole: FrameRun) {
        let mut part = hole.start.0 / 64;
        self.add_to_counts(part, u32::MAX);
        let mut old = narrow(hole.frames);
        if self.levels[0].longest[index(part)] != old {
            return;
        }
        // What is new in this word and longer is still to be learnt: until then no part may know more than those above it.
        let mut new = longest_in(tiling, part).min(old);
        for height in 0.. {
            old = std::mem::replace(&mut self.levels[height].longest[index(part)], new);
            let parent = part / FAN;
            match self.levels.get(height + 1) {
                Some(above) if old != new && above.longest[index(parent)] == old => {}
                _ => return,
            }
            new = longest_of(group(&self.levels[height].longest, parent));
            part = parent;
        }
    }

    /// There is a new free run.
    fn learn(&mut self, hole: FrameRun) {
        let mut part = hole.start.0 / 64;
        self.add_to_counts(part, 1);
        let frames = narrow(hole.frames);
        for level in &mut self.levels {
            let longest = &mut level.longest[index(part)];
            if *longest >= frames {
                return;
            }
            *longest = frames;
            part /= FAN;
        }
    }

    /// Adds `change` to the counts above `word`, in wrapping arithmetic: `u32::MAX` is -1.
    fn add_to_counts(&mut self, word: u64, change: u32) {
        let mut part = word;
        for level in &mut self.levels[1..] {
            part /= FAN;
            let count = &mut level.count[index(part)];
            *count = count.wrapping_add(change);
        }
    }
}

/// The entries that entry `part` of the level above stands for.
fn group(longest: &[u32], part: u64) -> &[u32] {
    &longest[index(part * FAN)..index((part + 1) * FAN)]
}

fn longest_of(group: &[u32]) -> u32 {
    group.iter().copied().max().unwrap_or(0)
}

/// Frames of the longest free run that starts in `word`.
fn longest_in(tiling: &Tiling, word: u64) -> u32 {
    narrow(tiling.free_runs_in(word).map(|hole| hole.frames).max().unwrap_or(0))
}

fn narrow(frames: u64) -> u32 {
    u32::try_from(frames).expect("a memory has fewer than 2^32 frames")
}

impl Memory<ByAddress> {
    /// Places for `request` in the free runs that start at frame `from` or above, ascending, each at the low end of its run;
    /// for [`Place::High`] in those that start below `from`, descending, each at the high end.
    pub fn sweep(&self, place: Place, from: u64, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        let request = *request;
        let mut from = match (place, request.below) {
            (Place::High, Some(below)) => from.min(below.0),
            _ => from,
        };
        iter::from_fn(move || {
            loop {
                let hole = match place {
                    Place::Low => self.index().lowest(self.tiling(), from, request.frames)?,
                    Place::High => self.index().highest(self.tiling(), from, request.frames)?,
                };
                from = match place {
                    Place::Low => hole.end().0,
                    Place::High => hole.start.0,
                };
                let beyond = request.below.is_some_and(|below| below <= hole.start);
                if beyond && place == Place::Low {
                    return None;
                }
                let found = Placement::at(place, hole, &request);
                if found.is_some() {
                    return found;
                }
            }
        })
    }

    /// Free runs that start below `frame`.
    #[must_use]
    pub fn holes_below(&self, frame: u64) -> u64 {
        self.index().rank(self.tiling(), frame.min(self.frames()))
    }
}
