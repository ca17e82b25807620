//! Next fit by holes: first fit that goes on with the hole where the last search ended.
//!
//! # Models
//! The roving pointer as an entry of the free list: it names a hole, and a hole is used from its start. Of the two common
//! readings of next fit this is the one by hole; the other one is [`next_fit`](super::next_fit).
//! Source: Knuth, TAOCP vol. 1, section 2.5, on the roving pointer.
//!
//! # Rules
//! 1. The rover is the end of the block placed last, 0 at first; a refusal and a free leave it where it is.
//! 2. Free runs are tried in address order, from the one that contains the rover or follows it, once round.
//! 3. The block is at the low end of the run, at its first aligned frame; what is left stays free.
//! 4. A freed run joins the free runs it touches at once; `coalescing` can put that off, or switch it off.
//!
//! # Invariants
//! Verified by `check`: free and live runs tile memory; between two free ones lies a taken frame (rule 4); the longest
//! run known for each part of memory is its longest run; counts add up.
//!
//! # Cost
//! `allocate` and `free` O(log frames), of fan-out 16; an aligned request also looks at each longer run before the one it
//! gets. Memory: see [`fit`](super::fit).
//!
//! # Left out
//! Migrate types and cpus: the policy is older than both and ignores those fields of a request.

use serde::{Deserialize, Serialize};

use super::fit::{ByAddress, Fit, JoinOptions, Memory, Place, Placement};
use super::{FrameAllocator, FrameNumber, FrameRequest, FrameRun, FrameSetting};
use crate::registry::{BadOptions, Model};

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NextHole {
    memory: Memory<ByAddress>,
    rover: FrameNumber,
}

impl Model<dyn FrameAllocator> for NextHole {
    const NAME: &'static str = "next_hole";
    const SUMMARY: &'static str = "next fit by holes: each used from its start";
    const RULES: &'static str = "\
Free runs are tried in address order, from the one in which or after which
the last block ended, once round; a run is always used from its low end.
The rest of the run stays free. A freed run joins the free runs it touches.
    AA....^....BB.....   take 3; ^ where the last block ended, since freed
    AADDD......BB.....
coalescing: immediate | deferred (when a request would fail) | off";
    type Options = JoinOptions;

    fn build(setting: FrameSetting, options: &JoinOptions) -> Result<NextHole, BadOptions> {
        Ok(NextHole { memory: Memory::new(setting.frames, options.coalescing, ())?, rover: FrameNumber(0) })
    }
}

impl Fit for NextHole {
    type Index = ByAddress;

    fn memory(&self) -> &Memory<ByAddress> {
        &self.memory
    }

    fn memory_mut(&mut self) -> &mut Memory<ByAddress> {
        &mut self.memory
    }

    fn places(&self, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        let first = self.first();
        let above = self.memory.sweep(Place::Low, first.0, request);
        let round = self.memory.sweep(Place::Low, 0, request).take_while(move |place| place.hole.start < first);
        above.chain(round)
    }

    fn rule(&self) -> &'static str {
        "the next run that fits, on from the run where the last block ended, once round"
    }

    fn searched(&self, chosen: Option<Placement>) -> u64 {
        let holes = self.memory.holes();
        let Some(Placement { hole, .. }) = chosen else { return holes };
        let (at, first) = (self.memory.holes_below(hole.start.0), self.memory.holes_below(self.first().0));
        if at >= first { at - first + 1 } else { holes - first + at + 1 }
    }

    fn placed(&mut self, taken: FrameRun) {
        self.rover = taken.end();
    }
}

impl NextHole {
    /// Where the search starts: at the run that has the rover in it, or at the rover.
    fn first(&self) -> FrameNumber {
        self.memory.hole_at(self.rover).map_or(self.rover, |hole| hole.start)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::pictures::{draw, laid_out, refusal, take, why};
    use super::*;

    /// After laying out the rover is at the end of memory: the first search starts from the bottom.
    fn next_hole(picture: &str) -> NextHole {
        laid_out(picture, &JoinOptions::default())
    }

    #[test]
    fn goes_on_with_the_hole_that_follows_the_last_block() {
        let mut memory = next_hole("....#....#....");
        assert_eq!(take(&mut memory, 3), FrameRun::new(0, 3));
        assert_eq!(take(&mut memory, 3), FrameRun::new(5, 3));
        assert_eq!(take(&mut memory, 1), FrameRun::new(8, 1));
        assert_snapshot!(draw(&memory), @"###.######....");
    }

    #[test]
    fn a_hole_that_grew_around_the_rover_is_used_from_its_start() {
        let mut memory = next_hole("#.........#..");
        let below_rover = take(&mut memory, 3);
        memory.free(below_rover).expect("it is live");
        assert_eq!(take(&mut memory, 2), FrameRun::new(1, 2));
        assert_snapshot!(draw(&memory), @"###.......#..");
    }

    #[test]
    fn comes_round_to_the_bottom() {
        let mut memory = next_hole("...#...#..");
        take(&mut memory, 3);
        take(&mut memory, 2);
        take(&mut memory, 2);
        memory.free(FrameRun::new(0, 3)).expect("it is live");
        assert_eq!(take(&mut memory, 2), FrameRun::new(0, 2));
        assert_snapshot!(draw(&memory), @"##.###.###");
        assert_eq!(memory.last_search(), 1);
    }

    #[test]
    fn a_refusal_leaves_the_rover() {
        let mut memory = next_hole("..#..#..");
        take(&mut memory, 2);
        assert_snapshot!(refusal(&mut memory, 3), @"no run of 3 frames: 4 are free, the longest free run has 2");
        assert_eq!(memory.last_search(), 2);
        assert_eq!(take(&mut memory, 2), FrameRun::new(3, 2));
    }

    #[test]
    fn explains_the_holes_from_the_rover_on() {
        let mut memory = next_hole("...#...#...");
        take(&mut memory, 1);
        assert_snapshot!(why(&memory, 2), @"3 of 3: 1..2 4..6 8..10; the next run that fits, on from the run where the last block ended, once round; 1..2");
        assert_snapshot!(why(&memory, 3), @"2 of 2: 4..6 8..10; the next run that fits, on from the run where the last block ended, once round; 4..6");
    }
}
