//! The frame map: who holds each taken frame.
//!
//! One word of 32 bits per taken frame, in chunks of 512 frames; a chunk without taken frames costs 16 bytes, and one that
//! lies wholly inside a run costs no more. A word also says where a run starts that the policy handed out, so that a run
//! can be found again from any of its frames, and which frames of a run nobody uses.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::{Owner, Region};
use crate::frames::{FrameNumber, FrameRun};
use crate::{Pid, index};

const CHUNK: u64 = 512;
const WORDS: usize = 512;
const _: () = assert!(WORDS as u64 == CHUNK);
/// Processes that can be told apart.
pub(super) const PIDS_MAX: u32 = 1 << 26;
/// Frames that can be counted: 16 TiB of 4 KiB.
pub(super) const FRAMES_MAX: u64 = (1 << 32) - 1;

const FREE: Word = Word(0);

/// Region (4 bits, 0 for a free frame), first of its run, spare, process (26 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Word(u32);

impl Word {
    const FIRST: u32 = 1 << 27;
    const SPARE: u32 = 1 << 26;

    fn of(owner: Owner) -> Word {
        assert!(owner.pid.0 < PIDS_MAX, "process {} has a number above the limit", owner.pid);
        Word(((owner.region as u32 + 1) << 28) | owner.pid.0)
    }

    fn owner(self) -> Option<Owner> {
        let region = Region::ALL.get((self.0 >> 28).checked_sub(1)? as usize)?;
        Some(Owner { pid: Pid(self.0 & (PIDS_MAX - 1)), region: *region })
    }

    const fn is_first(self) -> bool {
        self.0 & Word::FIRST != 0
    }

    const fn is_spare(self) -> bool {
        self.0 & Word::SPARE != 0
    }
}

/// Owners of all taken frames.
#[derive(Clone, Debug)]
pub struct FrameMap {
    chunks: Vec<Chunk>,
    frames: u64,
    taken: [u64; Region::ALL.len()],
    spare: u64,
}

#[derive(Clone, Debug)]
enum Chunk {
    Free,
    /// Inside one run, all used alike.
    All(Word),
    Mixed(Box<Mixed>),
}

#[derive(Clone, Debug)]
struct Mixed {
    words: [Word; WORDS],
    taken: u32,
}

impl Mixed {
    fn filled(word: Word) -> Box<Mixed> {
        let taken = if word == FREE { 0 } else { 512 };
        Box::new(Mixed { words: [word; WORDS], taken })
    }
}

impl FrameMap {
    pub(super) fn new(frames: u64) -> FrameMap {
        let chunks = vec![Chunk::Free; index(frames.div_ceil(CHUNK))];
        FrameMap { chunks, frames, taken: [0; Region::ALL.len()], spare: 0 }
    }

    /// All frames, free or taken.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Who holds `frame`; `None` when it is free.
    #[must_use]
    pub fn owner(&self, frame: FrameNumber) -> Option<Owner> {
        self.word(frame.0).owner()
    }

    /// Whether `frame` is taken but used by nobody: a part of a run that was rounded up, or unmapped in part.
    #[must_use]
    pub fn is_spare(&self, frame: FrameNumber) -> bool {
        self.word(frame.0).is_spare()
    }

    /// Frames taken for `region`. O(1).
    #[must_use]
    pub fn taken_for(&self, region: Region) -> u64 {
        self.taken[region as usize]
    }

    /// Frames taken. O(1).
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.iter().sum()
    }

    /// Of the taken frames, those nobody uses. O(1).
    #[must_use]
    pub fn spare(&self) -> u64 {
        self.spare
    }

    /// Taken runs with their owner, ascending, as long as possible. O(chunks + taken frames).
    pub fn for_each_run(&self, mut visit: impl FnMut(Owner, FrameRun)) {
        self.for_each_stretch(Word::owner, |owner, run| {
            if let Some(owner) = owner {
                visit(owner, run);
            }
        });
    }

    /// Taken runs that somebody uses, with their owner, ascending.
    pub(super) fn for_each_used(&self, mut visit: impl FnMut(Owner, FrameRun)) {
        let used = |word: Word| word.owner().filter(|_| !word.is_spare());
        self.for_each_stretch(used, |owner, run| {
            if let Some(owner) = owner {
                visit(owner, run);
            }
        });
    }

    /// Maximal runs of frames whose words look the same through `view`, ascending, free ones included.
    fn for_each_stretch<V: PartialEq + Copy>(&self, view: impl Fn(Word) -> V, mut visit: impl FnMut(V, FrameRun)) {
        let mut open: Option<(V, u64)> = None;
        let mut next = |word: Word, at: u64| {
            let seen = view(word);
            match open {
                Some((value, _)) if value == seen => {}
                Some((value, start)) => {
                    visit(value, FrameRun::new(start, at - start));
                    open = Some((seen, at));
                }
                None => open = Some((seen, at)),
            }
        };
        for (number, chunk) in (0..).zip(&self.chunks) {
            let start = number * CHUNK;
            match chunk {
                Chunk::Free => next(FREE, start),
                Chunk::All(word) => next(*word, start),
                Chunk::Mixed(mixed) => (start..self.frames).zip(&mixed.words).for_each(|(at, word)| next(*word, at)),
            }
        }
        if let Some((value, start)) = open {
            visit(value, FrameRun::new(start, self.frames - start));
        }
    }

    fn word(&self, frame: u64) -> Word {
        match self.chunks.get(index(frame / CHUNK)) {
            Some(Chunk::Mixed(mixed)) => mixed.words[index(frame % CHUNK)],
            Some(Chunk::All(word)) => *word,
            Some(Chunk::Free) | None => FREE,
        }
    }

    /// Enters a run that the policy handed out, of which `used` frames from its start are used.
    pub(super) fn take(&mut self, run: FrameRun, owner: Owner, used: u64) {
        let word = Word::of(owner);
        self.taken[owner.region as usize] += run.frames;
        self.spare += run.frames - used;
        self.fill(FrameRun::new(run.start.0, used), word);
        self.fill(FrameRun::new(run.start.0 + used, run.frames - used), Word(word.0 | Word::SPARE));
        self.set(run.start.0, Word(word.0 | Word::FIRST));
    }

    /// Takes a whole run out again.
    pub(super) fn give(&mut self, run: FrameRun) -> Owner {
        let owner = self.owner(run.start).expect("a run that is given back was taken");
        self.taken[owner.region as usize] -= run.frames;
        if self.spare > 0 {
            let spare = (run.start.0..run.end().0).filter(|&frame| self.word(frame).is_spare()).count();
            self.spare -= spare as u64;
        }
        self.fill(run, FREE);
        owner
    }

    /// Gives a used frame another owner.
    pub(super) fn relabel(&mut self, frame: FrameNumber, owner: Owner) {
        let old = self.word(frame.0);
        let marks = old.0 & (Word::FIRST | Word::SPARE);
        let region = old.owner().expect("only a taken frame changes its owner").region;
        self.taken[region as usize] -= 1;
        self.taken[owner.region as usize] += 1;
        self.set(frame.0, Word(Word::of(owner).0 | marks));
    }

    /// The run that `frame` was handed out in. O(length of the run).
    pub(super) fn run_of(&self, frame: FrameNumber) -> FrameRun {
        let mut start = frame.0;
        while !self.word(start).is_first() {
            start -= 1;
        }
        let mut end = frame.0 + 1;
        while end < self.frames && self.continues(end) {
            end += 1;
        }
        FrameRun::new(start, end - start)
    }

    /// Whether `frame` belongs to the run of the frame before it.
    fn continues(&self, frame: u64) -> bool {
        let word = self.word(frame);
        word != FREE && !word.is_first()
    }

    /// Marks used frames of one run as spare; whether the whole run is spare now.
    pub(super) fn spare_out(&mut self, part: FrameRun, run: FrameRun) -> bool {
        for frame in part.start.0..part.end().0 {
            let word = self.word(frame);
            assert!(!word.is_spare(), "frame {frame} is given back while it is not used");
            self.set(frame, Word(word.0 | Word::SPARE));
        }
        self.spare += part.frames;
        (run.start.0..run.end().0).all(|frame| self.word(frame).is_spare())
    }

    fn fill(&mut self, run: FrameRun, word: Word) {
        let mut at = run.start.0;
        while at < run.end().0 {
            if at.is_multiple_of(CHUNK) && at + CHUNK <= run.end().0 {
                self.chunks[index(at / CHUNK)] = if word == FREE { Chunk::Free } else { Chunk::All(word) };
                at += CHUNK;
            } else {
                self.set(at, word);
                at += 1;
            }
        }
    }

    #[inline]
    fn set(&mut self, frame: u64, word: Word) {
        let chunk = &mut self.chunks[index(frame / CHUNK)];
        match chunk {
            Chunk::Free if word == FREE => return,
            Chunk::All(all) if *all == word => return,
            Chunk::Free => *chunk = Chunk::Mixed(Mixed::filled(FREE)),
            Chunk::All(all) => *chunk = Chunk::Mixed(Mixed::filled(*all)),
            Chunk::Mixed(_) => {}
        }
        let Chunk::Mixed(mixed) = chunk else { return };
        let old = std::mem::replace(&mut mixed.words[index(frame % CHUNK)], word);
        mixed.taken = mixed.taken + u32::from(word != FREE) - u32::from(old != FREE);
        if mixed.taken == 0 {
            *chunk = Chunk::Free;
        }
    }
}

/// As its taken stretches: first frame, frames, word.
impl Serialize for FrameMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stretches: Vec<(u64, u64, u32)> = Vec::new();
        self.for_each_stretch(
            |word| word,
            |word, run| {
                if word != FREE {
                    stretches.push((run.start.0, run.frames, word.0));
                }
            },
        );
        (self.frames, stretches).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FrameMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FrameMap, D::Error> {
        use serde::de::Error;
        let (frames, stretches) = <(u64, Vec<(u64, u64, u32)>)>::deserialize(deserializer)?;
        if frames > FRAMES_MAX {
            return Err(D::Error::custom("a frame map of too many frames"));
        }
        let mut map = FrameMap::new(frames);
        for (start, length, word) in stretches {
            let owner = Word(word).owner().ok_or_else(|| D::Error::custom("a taken frame without an owner"))?;
            if start.checked_add(length).is_none_or(|end| end > frames) {
                return Err(D::Error::custom("a taken frame outside memory"));
            }
            map.taken[owner.region as usize] += length;
            map.spare += if Word(word).is_spare() { length } else { 0 };
            map.fill(FrameRun::new(start, length), Word(word));
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pid: u32, region: Region) -> Owner {
        Owner { pid: Pid(pid), region }
    }

    fn draw(map: &FrameMap) -> String {
        let letter = |frame| match (map.owner(FrameNumber(frame)), map.is_spare(FrameNumber(frame))) {
            (None, _) => '.',
            (Some(_), true) => '-',
            (Some(owner), false) => char::from_digit(owner.pid.0, 10).unwrap_or('?'),
        };
        (0..map.frames()).map(letter).collect()
    }

    #[test]
    fn a_run_is_found_from_any_of_its_frames() {
        let mut map = FrameMap::new(16);
        map.take(FrameRun::new(2, 4), owner(1, Region::Data), 3);
        map.take(FrameRun::new(6, 2), owner(1, Region::Data), 2);
        assert_eq!(draw(&map), "..111-11........");
        assert_eq!(map.run_of(FrameNumber(4)), FrameRun::new(2, 4));
        assert_eq!(map.run_of(FrameNumber(7)), FrameRun::new(6, 2));
        assert_eq!((map.taken(), map.spare()), (6, 1));
    }

    #[test]
    fn a_run_unmapped_in_parts_is_spare_until_the_last() {
        let mut map = FrameMap::new(16);
        let run = FrameRun::new(4, 4);
        map.take(run, owner(3, Region::Mmap), 4);
        assert!(!map.spare_out(FrameRun::new(5, 2), run));
        assert_eq!(draw(&map), "....3--3........");
        assert!(!map.spare_out(FrameRun::new(4, 1), run));
        assert!(map.spare_out(FrameRun::new(7, 1), run));
        map.give(run);
        assert_eq!((draw(&map).as_str(), map.taken(), map.spare()), ("................", 0, 0));
    }

    #[test]
    fn long_runs_cost_no_words() {
        let mut map = FrameMap::new(1 << 20);
        map.take(FrameRun::new(100, 1 << 19), owner(1, Region::Heap), 1 << 19);
        let mixed = map.chunks.iter().filter(|chunk| matches!(chunk, Chunk::Mixed(_))).count();
        assert_eq!(mixed, 2, "the two ends");
        let mut runs = Vec::new();
        map.for_each_run(|owner, run| runs.push((owner.region, run)));
        assert_eq!(runs, [(Region::Heap, FrameRun::new(100, 1 << 19))]);
    }

    #[test]
    fn a_map_read_back_is_the_same() {
        let mut map = FrameMap::new(2000);
        map.take(FrameRun::new(10, 1500), owner(1, Region::Heap), 1400);
        map.take(FrameRun::new(1510, 1), owner(2, Region::Stack), 1);
        let bytes = postcard::to_stdvec(&map).expect("a map can be written");
        let again: FrameMap = postcard::from_bytes(&bytes).expect("a map can be read");
        assert_eq!((draw(&again), again.taken(), again.spare()), (draw(&map), 1501, 100));
        assert_eq!(again.run_of(FrameNumber(800)), FrameRun::new(10, 1500));
    }
}
