//! Worst fit: a request takes the longest free run.
//!
//! # Models
//! The opposite of best fit: cuts the longest run, so that what is left of it stays useful.
//! Source: Silberschatz, Galvin and Gagne, Operating System Concepts, "Contiguous memory allocation".
//!
//! # Rules
//! 1. Of the runs that hold the request after alignment the longest is used; on a tie the lowest.
//! 2. The block is at the run's low end, at its first aligned frame; what is left, below and above, stays free.
//! 3. A freed run joins the free runs it touches at once; `coalescing` can put that off, or switch it off.
//! 4. With `place: high` all is mirrored: on a tie the highest run, the block at its high end.
//!
//! # Invariants
//! Verified by `check`: free and live runs tile memory; between two free ones lies a taken frame (rule 3); the index by
//! length has each free run once and no other; counts add up.
//!
//! # Cost
//! `allocate` and `free` O(log holes); an aligned request looks at more than the longest run only when that one is
//! shorter than `frames + align - 1`. Memory: see [`fit`](super::fit).
//!
//! # Left out
//! Migrate types and cpus: the policy is older than both and ignores those fields of a request.

use serde::{Deserialize, Serialize};

use super::fit::{ByLength, Fit, FitOptions, LengthOrder, Longest, Memory, Place, Placement};
use super::{FrameAllocator, FrameRequest, FrameSetting};
use crate::registry::{BadOptions, Model};

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorstFit {
    memory: Memory<ByLength>,
    place: Place,
}

impl Model<dyn FrameAllocator> for WorstFit {
    const NAME: &'static str = "worst_fit";
    const SUMMARY: &'static str = "the longest free run";
    const RULES: &'static str = "\
The longest free run is used, if it holds the request; on a tie the lowest.
The rest of the run stays free. A freed run joins the free runs it touches.
    A......BBB....C...   take 3
    ADDD...BBB....C...
coalescing: immediate | deferred (when a request would fail) | off
place: low | high (on a tie the highest run, from its high end)";
    type Options = FitOptions;

    fn build(setting: FrameSetting, options: &FitOptions) -> Result<WorstFit, BadOptions> {
        let order = LengthOrder { longest: Longest::First, place: options.place };
        Ok(WorstFit { memory: Memory::new(setting.frames, options.coalescing, order)?, place: options.place })
    }
}

impl Fit for WorstFit {
    type Index = ByLength;

    fn memory(&self) -> &Memory<ByLength> {
        &self.memory
    }

    fn memory_mut(&mut self) -> &mut Memory<ByLength> {
        &mut self.memory
    }

    fn places(&self, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        self.memory.by_length(request)
    }

    fn rule(&self) -> &'static str {
        match self.place {
            Place::Low => "the longest run; on a tie the lowest",
            Place::High => "the longest run; on a tie the highest",
        }
    }

    /// A list in address order has to be read to its end.
    fn searched(&self, _chosen: Option<Placement>) -> u64 {
        self.memory.holes()
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::FrameRun;
    use super::super::pictures::{draw, laid_out, refusal, take, why};
    use super::*;

    fn worst_fit(picture: &str) -> WorstFit {
        laid_out(picture, &FitOptions::default())
    }

    #[test]
    fn takes_the_longest_run() {
        let mut memory = worst_fit("#...#......#....");
        assert_eq!(take(&mut memory, 3), FrameRun::new(5, 3));
        assert_snapshot!(draw(&memory), @"#...####...#....");
        assert_eq!(take(&mut memory, 3), FrameRun::new(12, 3));
        assert_snapshot!(draw(&memory), @"#...####...####.");
    }

    #[test]
    fn takes_the_lowest_of_equal_runs() {
        let mut memory = worst_fit("#..#....#....#..");
        assert_eq!(take(&mut memory, 1), FrameRun::new(4, 1));
        assert_snapshot!(draw(&memory), @"#..##...#....#..");
    }

    #[test]
    fn from_the_high_end_it_takes_the_highest_of_equal_runs_from_its_top() {
        let options = FitOptions { place: Place::High, ..FitOptions::default() };
        let mut memory: WorstFit = laid_out("#..#....#....#..", &options);
        assert_eq!(take(&mut memory, 1), FrameRun::new(12, 1));
        assert_snapshot!(draw(&memory), @"#..#....#...##..");
    }

    #[test]
    fn the_longest_run_that_holds_an_aligned_request_is_used() {
        let mut memory = worst_fit("#.....#....#..#.");
        let placed = memory.allocate(&FrameRequest::frames(2).aligned(8));
        assert_eq!(placed, Ok(FrameRun::new(8, 2)));
        assert_snapshot!(draw(&memory), @"#.....#.##.#..#.");
    }

    #[test]
    fn refuses_what_the_longest_run_does_not_hold() {
        let mut memory = worst_fit("#..#....#....#..");
        assert_snapshot!(refusal(&mut memory, 5), @"no run of 5 frames: 12 are free, the longest free run has 4");
    }

    #[test]
    fn explains_the_runs_from_the_longest_down() {
        let memory = worst_fit("#..#....#....#.#");
        assert_snapshot!(why(&memory, 2), @"3 of 3: 4..7 9..12 1..2; the longest run; on a tie the lowest; 4..5");
    }
}
