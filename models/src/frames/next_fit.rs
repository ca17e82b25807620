//! Next fit: first fit that goes on where the last search ended.
//!
//! # Models
//! The roving pointer that spares first fit the small remainders at the bottom of memory. Of its two common readings this
//! is the one by address: the rover is a place in memory, even inside a free run. The other one is
//! [`next_hole`](super::next_hole). Source: Knuth, TAOCP vol. 1, section 2.5, on the roving pointer.
//!
//! # Rules
//! 1. The rover is the end of the block placed last, 0 at first; a refusal and a free leave it where it is.
//! 2. Where the rover lies inside a free run, the part of that run from the rover up is tried first.
//! 3. Then come the runs above, ascending, then those from the bottom up, now whole: the one the rover lies in is the last.
//! 4. The block is at the low end of the run (or part), at its first aligned frame; what is left stays free.
//! 5. A freed run joins the free runs it touches at once; `coalescing` can put that off, or switch it off.
//!
//! # Invariants
//! Verified by `check`: free and live runs tile memory; between two free ones lies a taken frame (rule 5); the longest
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
pub struct NextFit {
    memory: Memory<ByAddress>,
    rover: FrameNumber,
}

impl Model<dyn FrameAllocator> for NextFit {
    const NAME: &'static str = "next_fit";
    const SUMMARY: &'static str = "first fit, on from the end of the last block";
    const RULES: &'static str = "\
The search goes on at the end of the block placed last, once round memory.
Inside a free run only the part from there up is tried first.
The rest of the run stays free. A freed run joins the free runs it touches.
    AA....BBB^.....C..   take 3; ^ the frame where the search goes on
    AA....BBBDDD...C..
coalescing: immediate | deferred (when a request would fail) | off";
    type Options = JoinOptions;

    fn build(setting: FrameSetting, options: &JoinOptions) -> Result<NextFit, BadOptions> {
        Ok(NextFit { memory: Memory::new(setting.frames, options.coalescing, ())?, rover: FrameNumber(0) })
    }
}

impl Fit for NextFit {
    type Index = ByAddress;

    fn memory(&self) -> &Memory<ByAddress> {
        &self.memory
    }

    fn memory_mut(&mut self) -> &mut Memory<ByAddress> {
        &mut self.memory
    }

    fn places(&self, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        let rover = self.rover;
        let part = self
            .cut_hole()
            .and_then(|hole| Placement::within(Place::Low, hole, FrameRun::between(rover, hole.end()), request));
        let above = self.memory.sweep(Place::Low, rover.0, request);
        let round = self.memory.sweep(Place::Low, 0, request).take_while(move |place| place.hole.start < rover);
        part.into_iter().chain(above).chain(round)
    }

    fn rule(&self) -> &'static str {
        "the next run that fits, on from the end of the block placed last, once round"
    }

    fn searched(&self, chosen: Option<Placement>) -> u64 {
        let (holes, part) = (self.memory.holes(), u64::from(self.cut_hole().is_some()));
        let Some(Placement { hole, taken }) = chosen else { return holes + part };
        if hole.start < self.rover && self.rover <= taken.start {
            return part;
        }
        let (at, first) = (self.memory.holes_below(hole.start.0), self.memory.holes_below(self.rover.0));
        if hole.start < self.rover { part + holes - first + at + 1 } else { part + at - first + 1 }
    }

    fn placed(&mut self, taken: FrameRun) {
        self.rover = taken.end();
    }
}

impl NextFit {
    /// The free run that has the rover inside, not at its start.
    fn cut_hole(&self) -> Option<FrameRun> {
        self.memory.hole_at(self.rover).filter(|hole| hole.start < self.rover)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::pictures::{draw, laid_out, refusal, take, why};
    use super::*;

    /// After laying out the rover is at the end of memory: the first search starts from the bottom.
    fn next_fit(picture: &str) -> NextFit {
        laid_out(picture, &JoinOptions::default())
    }

    #[test]
    fn goes_on_from_the_end_of_the_last_block() {
        let mut memory = next_fit("....#....#....");
        assert_eq!(take(&mut memory, 3), FrameRun::new(0, 3));
        assert_eq!(take(&mut memory, 3), FrameRun::new(5, 3));
        assert_eq!(take(&mut memory, 1), FrameRun::new(8, 1));
        assert_snapshot!(draw(&memory), @"###.######....");
    }

    #[test]
    fn a_run_that_grew_around_the_rover_is_used_from_the_rover_up() {
        let mut memory = next_fit("#.........#");
        let below_rover = take(&mut memory, 3);
        memory.free(below_rover).expect("it is live");
        assert_eq!(take(&mut memory, 2), FrameRun::new(4, 2));
        assert_snapshot!(draw(&memory), @"#...##....#");
    }

    #[test]
    fn the_whole_run_around_the_rover_is_tried_last() {
        let mut memory = next_fit("..#......#...");
        let below_rover = {
            take(&mut memory, 2);
            take(&mut memory, 4)
        };
        memory.free(below_rover).expect("it is live");
        assert_eq!(take(&mut memory, 5), FrameRun::new(3, 5));
        assert_snapshot!(draw(&memory), @"########.#...");
        // The part above the rover, the run at the end, and the run from its start.
        assert_eq!(memory.last_search(), 3);
    }

    #[test]
    fn comes_round_to_the_bottom() {
        let mut memory = next_fit("...#...#..");
        take(&mut memory, 3);
        take(&mut memory, 2);
        take(&mut memory, 2);
        memory.free(FrameRun::new(0, 3)).expect("it is live");
        assert_eq!(take(&mut memory, 2), FrameRun::new(0, 2));
        assert_snapshot!(draw(&memory), @"##.###.###");
    }

    #[test]
    fn a_refusal_leaves_the_rover() {
        let mut memory = next_fit("..#..#..");
        take(&mut memory, 2);
        assert_snapshot!(refusal(&mut memory, 3), @"no run of 3 frames: 4 are free, the longest free run has 2");
        assert_eq!(memory.last_search(), 2);
        assert_eq!(take(&mut memory, 2), FrameRun::new(3, 2));
    }

    #[test]
    fn explains_the_runs_from_the_rover_on() {
        let mut memory = next_fit("...#...#...");
        take(&mut memory, 1);
        assert_snapshot!(why(&memory, 2), @"3 of 3: 1..2 4..6 8..10; the next run that fits, on from the end of the block placed last, once round; 1..2");
        assert_snapshot!(why(&memory, 3), @"2 of 2: 4..6 8..10; the next run that fits, on from the end of the block placed last, once round; 4..6");
    }
}
