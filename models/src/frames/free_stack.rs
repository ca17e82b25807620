//! Free stack: single frames, the one freed last is handed out first.
//!
//! # Models
//! The simplest allocator of page frames, a linked list through the free ones. It never looks at addresses, so what is
//! freed in random order is handed out in random order: the worst scatter.
//! Source: xv6 (mit-pdos/xv6-riscv), kernel/kalloc.c, `kalloc` and `kfree`.
//!
//! # Rules
//! 1. At first the stack holds all frames, frame 0 on top.
//! 2. A request takes the frame on top; a freed frame goes on top.
//! 3. A request for more than one frame is refused: nothing is known about neighbours.
//! 4. An aligned or limited request takes the topmost frame that will do; the others keep their order.
//!
//! # Invariants
//! Verified by `check`: the stack holds each free frame once and no live one; counts add up.
//!
//! # Cost
//! `allocate` and `free` O(1); an aligned or limited request looks at each frame above the one it gets. Memory: 4 bytes
//! per frame on the stack that was handed out before, 1 bit per frame; frames never handed out are a single number.
//!
//! # Left out
//! Migrate types and cpus: ignored. xv6 starts with the highest frame on top, because it frees them upwards.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use super::fit::{Place, Placement};
use super::{AllocError, Explanation, FrameAllocator, FrameNumber, FrameRequest, FrameRun, FrameSetting, FreeError};
use crate::registry::{BadOptions, Model};
use crate::{Violation, ensure, index};

/// See the [module page](self) for the rules.
#[derive(Clone, Debug)]
pub struct FreeStack {
    /// Frames that were handed out and came back, the top one last.
    back: Vec<u32>,
    /// Below them lie the frames from this one up, lowest on top: never handed out.
    fresh: u64,
    /// One bit per frame, set while it is live.
    live: Vec<u64>,
    frames: u64,
    /// Maximal runs of free frames.
    holes: u64,
    /// Frames the last search looked at.
    searched: u64,
}

/// What a workload can set: nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FreeStackOptions {}

impl Model<dyn FrameAllocator> for FreeStack {
    const NAME: &'static str = "free_stack";
    const SUMMARY: &'static str = "single frames, the one freed last comes first";
    const RULES: &'static str = "\
A request for one frame takes the top of a stack; a freed frame goes on top.
At first all frames are on it, frame 0 on top. Larger requests are refused.
    ABCDEFGH........   give C, give F, take 1
    AB.DEIGH........";
    type Options = FreeStackOptions;

    fn build(setting: FrameSetting, _options: &FreeStackOptions) -> Result<FreeStack, BadOptions> {
        let frames = setting.frames;
        if frames == 0 || frames > FreeStack::FRAMES_MAX {
            return Err(BadOptions {
                option: "memory",
                found: format!("{frames} frames"),
                allowed: format!("a free stack holds 1 to {} frames", FreeStack::FRAMES_MAX),
            });
        }
        let live = vec![0; index(frames.div_ceil(64))];
        Ok(FreeStack { back: Vec::new(), fresh: 0, live, frames, holes: 1, searched: 0 })
    }
}

/// Where on the stack a frame lies.
#[derive(Clone, Copy)]
enum Spot {
    /// At this index among the frames that came back.
    Back(usize),
    /// Among those never handed out.
    Fresh(FrameNumber),
}

impl FrameAllocator for FreeStack {
    fn allocate(&mut self, request: &FrameRequest) -> Result<FrameRun, AllocError> {
        FreeStack::refuse_size(request)?;
        let found = self.find(request);
        self.searched = found.map_or(self.free_frames(), |spot| self.depth(spot));
        let spot = found.ok_or_else(|| self.refusal(request))?;
        let frame = self.remove(spot);
        self.holes = self.holes + self.free_neighbours(frame) - 1;
        self.set_live(frame);
        Ok(FrameRun { start: frame, frames: 1 })
    }

    fn free(&mut self, run: FrameRun) -> Result<(), FreeError> {
        let frame = run.start;
        if !self.is_live(frame) {
            return Err(FreeError::NotLive(run));
        }
        if run.frames != 1 {
            return Err(FreeError::NotWhole { given: run, live: FrameRun { start: frame, frames: 1 } });
        }
        self.clear_live(frame);
        self.holes = self.holes + 1 - self.free_neighbours(frame);
        self.back.push(narrow(frame));
        Ok(())
    }

    fn total_frames(&self) -> u64 {
        self.frames
    }

    fn free_frames(&self) -> u64 {
        self.back.len() as u64 + self.frames - self.fresh
    }

    fn largest_request(&self) -> u64 {
        self.free_frames().min(1)
    }

    fn holes(&self) -> u64 {
        self.holes
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(FrameRun)) {
        let mut frame = 0;
        while frame < self.frames {
            let start = self.next(frame, Bit::Free);
            frame = self.next(start, Bit::Live);
            if start < frame {
                visit(FrameRun::new(start, frame - start));
            }
        }
    }

    fn explain(&self, request: &FrameRequest) -> Explanation {
        let chosen = FreeStack::refuse_size(request)
            .and_then(|()| self.find(request).ok_or_else(|| self.refusal(request)))
            .map(|spot| FrameRun { start: self.frame_at(spot), frames: 1 });
        let candidates: Vec<FrameRun> = match chosen {
            Ok(_) => self.topmost(request).take(Explanation::SHOWN).collect(),
            Err(_) => Vec::new(),
        };
        let candidates_total = if chosen.is_ok() { self.topmost(request).count() as u64 } else { 0 };
        Explanation { candidates, candidates_total, rule: "the frame freed last".to_owned(), chosen }
    }

    fn last_search(&self) -> u64 {
        self.searched
    }

    fn check(&self) -> Result<(), Violation> {
        let mut on_stack = vec![false; index(self.frames)];
        let back = self.back.iter().map(|frame| u64::from(*frame));
        for frame in back.chain(self.fresh..self.frames) {
            ensure(frame < self.frames, || format!("frame {frame} on the stack lies outside memory"))?;
            ensure(!on_stack[index(frame)], || format!("frame {frame} is on the stack twice"))?;
            on_stack[index(frame)] = true;
        }
        for frame in 0..self.frames {
            let (free, live) = (on_stack[index(frame)], self.is_live(FrameNumber(frame)));
            ensure(free != live, || format!("frame {frame}: on the stack {free}, live {live}"))?;
        }
        let mut holes = 0;
        self.for_each_free(&mut |_| holes += 1);
        ensure(holes == self.holes, || format!("{holes} free runs, {} are counted", self.holes))
    }
}

#[derive(Clone, Copy)]
enum Bit {
    Free,
    Live,
}

impl FreeStack {
    /// The most frames a stack holds: their numbers are kept in 32 bits.
    pub const FRAMES_MAX: u64 = u32::MAX as u64;

    fn refuse_size(request: &FrameRequest) -> Result<(), AllocError> {
        match request.frames {
            0 => Err(AllocError::Empty),
            _ if request.align == 0 => Err(AllocError::Empty),
            1 => Ok(()),
            asked => Err(AllocError::TooLarge { asked, limit: 1 }),
        }
    }

    fn refusal(&self, request: &FrameRequest) -> AllocError {
        let (asked, free, longest, holes) = (request.frames, self.free_frames(), self.largest_request(), self.holes);
        match free {
            0 => AllocError::Shortage { asked, free, longest, holes },
            _ => AllocError::Fragmentation { asked, free, longest, holes },
        }
    }

    /// The topmost frame that will do.
    fn find(&self, request: &FrameRequest) -> Option<Spot> {
        let fits = |frame: u32| place(FrameRun::new(u64::from(frame), 1), request).is_some();
        if let Some(at) = self.back.iter().rposition(|frame| fits(*frame)) {
            return Some(Spot::Back(at));
        }
        let fresh = FrameRun::new(self.fresh, self.frames - self.fresh);
        place(fresh, request).map(|found| Spot::Fresh(found.start))
    }

    /// Frames that will do, the topmost first.
    fn topmost(&self, request: &FrameRequest) -> impl Iterator<Item = FrameRun> {
        let back = self.back.iter().rev().map(|frame| u64::from(*frame));
        let request = *request;
        back.chain(self.fresh..self.frames).filter_map(move |frame| place(FrameRun::new(frame, 1), &request))
    }

    fn frame_at(&self, spot: Spot) -> FrameNumber {
        match spot {
            Spot::Back(at) => FrameNumber(u64::from(self.back[at])),
            Spot::Fresh(frame) => frame,
        }
    }

    /// Frames from the top of the stack down to `spot`.
    fn depth(&self, spot: Spot) -> u64 {
        match spot {
            Spot::Back(at) => (self.back.len() - at) as u64,
            Spot::Fresh(frame) => self.back.len() as u64 + frame.0 - self.fresh + 1,
        }
    }

    fn remove(&mut self, spot: Spot) -> FrameNumber {
        let frame = self.frame_at(spot);
        match spot {
            Spot::Back(at) => drop(self.back.remove(at)),
            Spot::Fresh(_) => {
                // Passed-over fresh frames lie below all that came back: from now on they are listed one by one.
                let passed = (self.fresh..frame.0).rev().map(|passed| narrow(FrameNumber(passed)));
                self.back.splice(0..0, passed);
                self.fresh = frame.0 + 1;
            }
        }
        frame
    }

    /// Neighbours of `frame` that are free: 0 to 2.
    fn free_neighbours(&self, frame: FrameNumber) -> u64 {
        let below = frame.0 > 0 && !self.is_live(FrameNumber(frame.0 - 1));
        let above = frame.0 + 1 < self.frames && !self.is_live(FrameNumber(frame.0 + 1));
        u64::from(below) + u64::from(above)
    }

    fn is_live(&self, frame: FrameNumber) -> bool {
        frame.0 < self.frames && self.live[index(frame.0 / 64)] >> (frame.0 % 64) & 1 == 1
    }

    fn set_live(&mut self, frame: FrameNumber) {
        self.live[index(frame.0 / 64)] |= 1 << (frame.0 % 64);
    }

    fn clear_live(&mut self, frame: FrameNumber) {
        self.live[index(frame.0 / 64)] &= !(1 << (frame.0 % 64));
    }

    /// The first frame from `from` on whose bit is as asked, or the end of memory.
    fn next(&self, from: u64, bit: Bit) -> u64 {
        let mut frame = from;
        while frame < self.frames {
            let word = self.live[index(frame / 64)];
            let wanted = match bit {
                Bit::Free => !word,
                Bit::Live => word,
            };
            let ahead = wanted >> (frame % 64);
            if ahead != 0 {
                return self.frames.min(frame + u64::from(ahead.trailing_zeros()));
            }
            frame = (frame / 64 + 1) * 64;
        }
        self.frames
    }
}

/// As it is written: the stack, from which the rest is built again.
#[derive(Serialize, Deserialize)]
struct Saved {
    frames: u64,
    fresh: u64,
    back: Vec<u32>,
    searched: u64,
}

impl Serialize for FreeStack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let FreeStack { frames, fresh, searched, .. } = *self;
        Saved { frames, fresh, back: self.back.clone(), searched }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FreeStack {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FreeStack, D::Error> {
        let Saved { frames, fresh, back, searched } = Saved::deserialize(deserializer)?;
        if frames == 0 || frames > FreeStack::FRAMES_MAX || fresh > frames {
            return Err(D::Error::custom("a free stack lies in its memory"));
        }
        let live = vec![0; index(frames.div_ceil(64))];
        let mut stack = FreeStack { back, fresh, live, frames, holes: 0, searched };
        (0..fresh).for_each(|frame| stack.set_live(FrameNumber(frame)));
        for at in 0..stack.back.len() {
            let frame = FrameNumber(u64::from(stack.back[at]));
            if !stack.is_live(frame) {
                return Err(D::Error::custom("a frame is on the stack once, and below those that are fresh"));
            }
            stack.clear_live(frame);
        }
        let mut holes = 0;
        stack.for_each_free(&mut |_| holes += 1);
        Ok(FreeStack { holes, ..stack })
    }
}

fn place(frames: FrameRun, request: &FrameRequest) -> Option<FrameRun> {
    Placement::at(Place::Low, frames, request).map(|found| found.taken)
}

fn narrow(frame: FrameNumber) -> u32 {
    u32::try_from(frame.0).expect("a memory has at most 2^32 frames")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::pictures::{draw, laid_out, refusal, take, why};
    use super::*;

    /// Free frames are freed in address order: the highest is on top.
    fn free_stack(picture: &str) -> FreeStack {
        laid_out(picture, &FreeStackOptions::default())
    }

    #[test]
    fn at_first_the_lowest_frame_is_on_top() {
        let mut memory = free_stack("##......");
        let mut fresh = FreeStack::build(
            FrameSetting { frames: 4, coins: crate::Coins::from_key([0; 32]) },
            &FreeStackOptions::default(),
        )
        .expect("the options are good");
        assert_eq!([take(&mut fresh, 1), take(&mut fresh, 1)], [FrameRun::new(0, 1), FrameRun::new(1, 1)]);
        assert_snapshot!(draw(&fresh), @"##..");
        assert_eq!(take(&mut memory, 1), FrameRun::new(7, 1));
    }

    #[test]
    fn the_frame_freed_last_comes_first() {
        let mut memory = free_stack("########");
        for frame in [2, 6, 4] {
            memory.free(FrameRun::new(frame, 1)).expect("it is live");
        }
        assert_snapshot!(draw(&memory), @"##.#.#.#");
        assert_snapshot!(why(&memory, 1), @"3 of 3: 4 6 2; the frame freed last; 4");
        assert_eq!(take(&mut memory, 1), FrameRun::new(4, 1));
        assert_eq!(take(&mut memory, 1), FrameRun::new(6, 1));
        assert_snapshot!(draw(&memory), @"##.#####");
    }

    #[test]
    fn refuses_two_frames_even_if_all_are_free() {
        let mut memory = free_stack("........");
        assert_snapshot!(refusal(&mut memory, 2), @"2 frames asked at once; this policy hands out at most 1");
        assert_eq!(memory.largest_request(), 1);
    }

    #[test]
    fn refuses_one_frame_when_none_is_free() {
        let mut memory = free_stack("####");
        assert_snapshot!(refusal(&mut memory, 1), @"no run of 1 frame: only 0 are free");
    }

    #[test]
    fn an_aligned_request_takes_the_topmost_frame_that_will_do() {
        let mut memory = free_stack("##......");
        assert_eq!(memory.allocate(&FrameRequest::frames(1).aligned(4)), Ok(FrameRun::new(4, 1)));
        assert_eq!(memory.last_search(), 4);
        assert_snapshot!(draw(&memory), @"##..#...");
        assert_eq!(take(&mut memory, 1), FrameRun::new(7, 1));
        assert!(memory.allocate(&FrameRequest::frames(1).aligned(4)).is_err());
    }

    #[test]
    fn a_stack_that_names_a_frame_twice_is_not_read_back() {
        let read = |back: Vec<u32>, fresh| {
            let saved = Saved { frames: 8, fresh, back, searched: 0 };
            let bytes = postcard::to_stdvec(&saved).expect("plain data");
            postcard::from_bytes::<FreeStack>(&bytes).ok().map(|stack| draw(&stack))
        };
        assert_eq!(read(vec![1, 3], 5).as_deref(), Some("#.#.#..."));
        assert_eq!(read(vec![1, 1], 5), None);
        assert_eq!(read(vec![6], 5), None);
        assert_eq!(read(vec![], 9), None);
    }

    #[test]
    fn takes_back_nothing_but_live_frames() {
        let mut memory = free_stack("##..");
        let two = FrameRun::new(0, 2);
        assert_eq!(memory.free(two), Err(FreeError::NotWhole { given: two, live: FrameRun::new(0, 1) }));
        for other in [FrameRun::new(2, 1), FrameRun::new(4, 1), FrameRun::new(u64::MAX, 1)] {
            assert_eq!(memory.free(other), Err(FreeError::NotLive(other)));
        }
        assert_snapshot!(draw(&memory), @"##..");
    }
}
