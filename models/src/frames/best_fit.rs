//! Best fit: a request takes the shortest free run that can hold it.
//!
//! # Models
//! The policy that wastes least of the run it cuts, and so leaves the smallest remainders.
//! Source: Knuth, TAOCP vol. 1, section 2.5 (first fit and best fit compared; exercise 42 has its worst case).
//!
//! # Rules
//! 1. Of the runs that hold the request after alignment the shortest is used; on a tie the lowest.
//! 2. The block is at the run's low end, at its first aligned frame; what is left, below and above, stays free.
//! 3. A freed run joins the free runs it touches at once; `coalescing` can put that off, or switch it off.
//! 4. With `place: high` all is mirrored: on a tie the highest run, the block at its high end.
//!
//! # Invariants
//! Verified by `check`: free and live runs tile memory; between two free ones lies a taken frame (rule 3); the index by
//! length has each free run once and no other; counts add up.
//!
//! # Cost
//! `allocate` and `free` O(log holes); an aligned request also looks at the runs that are long enough but too short
//! to be aligned in, at most those shorter than `frames + align - 1`. Memory: see [`fit`](super::fit).
//!
//! # Left out
//! Migrate types and cpus: the policy is older than both and ignores those fields of a request.

use serde::{Deserialize, Serialize};

use super::fit::{ByLength, Fit, FitOptions, LengthOrder, Longest, Memory, Place, Placement};
use super::{FrameAllocator, FrameRequest, FrameSetting};
use crate::registry::{BadOptions, Model};

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BestFit {
    memory: Memory<ByLength>,
    place: Place,
}

impl Model<dyn FrameAllocator> for BestFit {
    const NAME: &'static str = "best_fit";
    const SUMMARY: &'static str = "the shortest free run that fits";
    const RULES: &'static str = "\
The shortest free run that holds the request is used; on a tie the lowest.
The rest of the run stays free. A freed run joins the free runs it touches.
    A......BBB....C...   take 3
    A......BBB....CDDD
coalescing: immediate | deferred (when a request would fail) | off
place: low | high (on a tie the highest run, from its high end)";
    type Options = FitOptions;

    fn build(setting: FrameSetting, options: &FitOptions) -> Result<BestFit, BadOptions> {
        let order = LengthOrder { longest: Longest::Last, place: options.place };
        Ok(BestFit { memory: Memory::new(setting.frames, options.coalescing, order)?, place: options.place })
    }
}

impl Fit for BestFit {
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
            Place::Low => "the shortest run that fits; on a tie the lowest",
            Place::High => "the shortest run that fits; on a tie the highest",
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

    use super::super::pictures::{draw, laid_out, refusal, take, why};
    use super::super::{FrameNumber, FrameRun};
    use super::*;

    fn best_fit(picture: &str) -> BestFit {
        laid_out(picture, &FitOptions::default())
    }

    #[test]
    fn takes_the_shortest_run_that_fits() {
        let mut memory = best_fit("#.....#..#...#....");
        assert_eq!(take(&mut memory, 3), FrameRun::new(10, 3));
        assert_snapshot!(draw(&memory), @"#.....#..#####....");
        assert_eq!(take(&mut memory, 3), FrameRun::new(14, 3));
        assert_snapshot!(draw(&memory), @"#.....#..########.");
    }

    #[test]
    fn takes_the_lowest_of_equal_runs() {
        let mut memory = best_fit("#.....#...#.#...#");
        assert_eq!(take(&mut memory, 2), FrameRun::new(7, 2));
        assert_snapshot!(draw(&memory), @"#.....###.#.#...#");
    }

    #[test]
    fn from_the_high_end_it_takes_the_highest_of_equal_runs_from_its_top() {
        let options = FitOptions { place: Place::High, ..FitOptions::default() };
        let mut memory: BestFit = laid_out("#.....#...#.#...#", &options);
        assert_eq!(take(&mut memory, 2), FrameRun::new(14, 2));
        assert_snapshot!(draw(&memory), @"#.....#...#.#.###");
        assert_snapshot!(why(&memory, 2), @"2 of 2: 7..9 1..5; the shortest run that fits; on a tie the highest; 8..9");
    }

    #[test]
    fn a_short_run_that_cannot_be_aligned_in_is_passed_over() {
        let mut memory = best_fit("#..#.......#...#");
        let placed = memory.allocate(&FrameRequest::frames(2).aligned(4));
        assert_eq!(placed, Ok(FrameRun::new(12, 2)));
        assert_snapshot!(draw(&memory), @"#..#.......###.#");
    }

    #[test]
    fn runs_above_the_limit_are_passed_over() {
        let mut memory = best_fit("....#..#..#..#..");
        let below = |frame| FrameRequest { below: Some(FrameNumber(frame)), ..FrameRequest::frames(2) };
        assert_eq!(memory.allocate(&below(5)), Ok(FrameRun::new(0, 2)));
        assert_eq!(memory.allocate(&below(12)), Ok(FrameRun::new(2, 2)));
        assert_snapshot!(draw(&memory), @"#####..#..#..#..");
        assert!(memory.allocate(&below(6)).is_err());
    }

    #[test]
    fn refuses_what_no_run_holds() {
        let mut memory = best_fit("#.....#...#.#...#");
        assert_snapshot!(refusal(&mut memory, 6), @"no run of 6 frames: 12 are free, the longest free run has 5");
        assert_snapshot!(refusal(&mut memory, 13), @"no run of 13 frames: only 12 are free");
        assert_eq!(memory.last_search(), 4);
    }

    #[test]
    fn explains_the_runs_by_length() {
        let memory = best_fit("#.....#...#.#...#");
        assert_snapshot!(why(&memory, 2), @"3 of 3: 7..9 13..15 1..5; the shortest run that fits; on a tie the lowest; 7..8");
    }
}
