//! First fit: a request takes the lowest free run that can hold it.
//!
//! # Models
//! The oldest placement policy for contiguous memory: free runs in address order, searched from the bottom.
//! Source: Knuth, TAOCP vol. 1, section 2.5, algorithms A (allocation) and B (liberation).
//!
//! # Rules
//! 1. The lowest run that holds the request after alignment is used, from its first aligned frame.
//! 2. What is left of that run, below and above, stays free.
//! 3. A freed run joins the free runs it touches at once; `coalescing` can put that off, or switch it off.
//! 4. With `place: high` all is mirrored: the highest run that holds the request, the block at its high end.
//!
//! # Invariants
//! Verified by `check`: free and live runs tile memory; between two free ones lies a taken frame (rule 3); the longest
//! run known for each part of memory is its longest run; counts add up.
//!
//! # Cost
//! `allocate` and `free` O(log frames), of fan-out 16; an aligned request also looks at each longer run below the one it
//! gets. Memory: see [`fit`](super::fit).
//!
//! # Left out
//! Migrate types and cpus: the policy is older than both and ignores those fields of a request.

use serde::{Deserialize, Serialize};

use super::fit::{ByAddress, Fit, FitOptions, Memory, Place, Placement};
use super::{FrameAllocator, FrameRequest, FrameSetting};
use crate::registry::{BadOptions, Model};

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FirstFit {
    memory: Memory<ByAddress>,
    place: Place,
}

impl Model<dyn FrameAllocator> for FirstFit {
    const NAME: &'static str = "first_fit";
    const SUMMARY: &'static str = "the lowest free run that fits";
    const RULES: &'static str = "\
The lowest free run that holds the request is used, from its low end.
The rest of the run stays free. A freed run joins the free runs it touches.
    AA..BBB....C.....   take 3
    AA..BBBDDD.C.....
coalescing: immediate | deferred (when a request would fail) | off
place: low | high (the highest run, from its high end)";
    type Options = FitOptions;

    fn build(setting: FrameSetting, options: &FitOptions) -> Result<FirstFit, BadOptions> {
        Ok(FirstFit { memory: Memory::new(setting.frames, options.coalescing, ())?, place: options.place })
    }
}

impl Fit for FirstFit {
    type Index = ByAddress;

    fn memory(&self) -> &Memory<ByAddress> {
        &self.memory
    }

    fn memory_mut(&mut self) -> &mut Memory<ByAddress> {
        &mut self.memory
    }

    fn places(&self, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        let from = match self.place {
            Place::Low => 0,
            Place::High => self.memory.frames(),
        };
        self.memory.sweep(self.place, from, request)
    }

    fn rule(&self) -> &'static str {
        match self.place {
            Place::Low => "the lowest run that fits",
            Place::High => "the highest run that fits",
        }
    }

    fn searched(&self, chosen: Option<Placement>) -> u64 {
        let Some(Placement { hole, .. }) = chosen else { return self.memory.holes() };
        let below = self.memory.holes_below(hole.start.0);
        match self.place {
            Place::Low => below + 1,
            Place::High => self.memory.holes() - below,
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::fit::Coalescing;
    use super::super::pictures::{draw, laid_out, refusal, take, why};
    use super::super::{FrameNumber, FrameRun, FreeError};
    use super::*;

    fn first_fit(picture: &str) -> FirstFit {
        laid_out(picture, &FitOptions::default())
    }

    fn joining(coalescing: Coalescing, picture: &str) -> FirstFit {
        laid_out(picture, &FitOptions { coalescing, ..FitOptions::default() })
    }

    #[test]
    fn takes_the_lowest_run_that_fits_from_its_low_end() {
        let mut memory = first_fit("#..##....#.......#");
        assert_eq!(take(&mut memory, 3), FrameRun::new(5, 3));
        assert_snapshot!(draw(&memory), @"#..#####.#.......#");
        assert_eq!(take(&mut memory, 2), FrameRun::new(1, 2));
        assert_snapshot!(draw(&memory), @"########.#.......#");
    }

    #[test]
    fn refuses_four_frames_when_the_four_free_ones_are_scattered() {
        let mut memory = first_fit(".##.##.##.######");
        assert_snapshot!(refusal(&mut memory, 4), @"no run of 4 frames: 4 are free, the longest free run has 1");
        assert_snapshot!(draw(&memory), @".##.##.##.######");
    }

    #[test]
    fn refuses_more_than_is_free_as_a_shortage() {
        let mut memory = first_fit(".##.##.##.######");
        assert_snapshot!(refusal(&mut memory, 5), @"no run of 5 frames: only 4 are free");
        assert_snapshot!(refusal(&mut memory, u64::MAX), @"no run of 18446744073709551615 frames: only 4 are free");
    }

    #[test]
    fn a_freed_run_joins_both_its_neighbours() {
        let mut memory = first_fit("#..AAA...#");
        memory.free(FrameRun::new(3, 3)).expect("A is live");
        assert_snapshot!(draw(&memory), @"#........#");
        assert_eq!(memory.holes(), 1);
    }

    #[test]
    fn without_joining_a_run_of_ten_free_frames_cannot_serve_eight() {
        let mut memory = joining(Coalescing::Off, "##....AAA...##");
        memory.free(FrameRun::new(6, 3)).expect("A is live");
        assert_snapshot!(draw(&memory), @"##....,,,...##");
        assert_snapshot!(refusal(&mut memory, 8), @"no run of 8 frames: 10 are free, the longest free run has 4");
        assert_eq!(take(&mut memory, 2), FrameRun::new(2, 2));
        assert_snapshot!(draw(&memory), @"####..,,,...##");
    }

    #[test]
    fn deferred_joining_waits_for_a_request_that_would_fail() {
        let mut memory = joining(Coalescing::Deferred, "##....AAA...#..BB#");
        memory.free(FrameRun::new(6, 3)).expect("A is live");
        memory.free(FrameRun::new(15, 2)).expect("B is live");
        assert_eq!(take(&mut memory, 1), FrameRun::new(2, 1));
        assert_snapshot!(draw(&memory), @"###...,,,...#..,,#");
        assert_snapshot!(why(&memory, 8), @"1 of 1: 3..11; the lowest run that fits; 3..10");
        assert_snapshot!(draw(&memory), @"###...,,,...#..,,#");
        assert_eq!(take(&mut memory, 8), FrameRun::new(3, 8));
        assert_snapshot!(draw(&memory), @"###########.#....#");
    }

    #[test]
    fn a_shortage_joins_nothing() {
        let mut memory = joining(Coalescing::Deferred, "##....AAA...#");
        memory.free(FrameRun::new(6, 3)).expect("A is live");
        assert_snapshot!(refusal(&mut memory, 11), @"no run of 11 frames: only 10 are free");
        assert_snapshot!(draw(&memory), @"##....,,,...#");
    }

    #[test]
    fn from_the_high_end_the_highest_run_is_used_from_its_top() {
        let options = FitOptions { place: Place::High, ..FitOptions::default() };
        let mut memory: FirstFit = laid_out("#....#.......#..#", &options);
        assert_eq!(take(&mut memory, 3), FrameRun::new(10, 3));
        assert_snapshot!(draw(&memory), @"#....#....####..#");
        assert_eq!(memory.last_search(), 2);
        assert_snapshot!(why(&memory, 4), @"2 of 2: 6..9 1..4; the highest run that fits; 6..9");
    }

    #[test]
    fn an_aligned_block_leaves_what_lies_below_it_free() {
        let mut memory = first_fit("#....#..........");
        let placed = memory.allocate(&FrameRequest::frames(4).aligned(4));
        assert_eq!(placed, Ok(FrameRun::new(8, 4)));
        assert_snapshot!(draw(&memory), @"#....#..####....");
        let refused = memory.allocate(&FrameRequest::frames(4).aligned(16)).unwrap_err();
        assert_snapshot!(refused, @"no run of 4 frames: 10 are free, the longest free run has 4");
    }

    #[test]
    fn a_block_ends_below_the_limit() {
        let mut memory = first_fit("##..###....#...");
        let below = |frame| FrameRequest { below: Some(FrameNumber(frame)), ..FrameRequest::frames(3) };
        assert!(memory.allocate(&below(9)).is_err());
        assert_eq!(memory.allocate(&below(10)), Ok(FrameRun::new(7, 3)));
        assert_snapshot!(draw(&memory), @"##..######.#...");
    }

    #[test]
    fn counts_the_runs_a_list_would_be_searched_for() {
        let mut memory = first_fit(".#.#.#..#.#...");
        take(&mut memory, 2);
        assert_eq!(memory.last_search(), 4);
        take(&mut memory, 1);
        assert_eq!(memory.last_search(), 1);
        refusal(&mut memory, 4);
        assert_eq!(memory.last_search(), memory.holes());
    }

    #[test]
    fn explains_the_runs_it_would_try_in_order() {
        let memory = first_fit("#..##....#.......#..#");
        assert_snapshot!(why(&memory, 2), @"4 of 4: 1..2 5..8 10..16 18..19; the lowest run that fits; 1..2");
        assert_snapshot!(why(&memory, 8), @"0 of 0: ; the lowest run that fits; no run of 8 frames: 15 are free, the longest free run has 7");
        assert_snapshot!(why(&memory, 0), @"0 of 0: ; the lowest run that fits; a request must ask for at least 1 frame, at an alignment of at least 1");
    }

    #[test]
    fn takes_back_nothing_but_whole_live_runs() {
        let mut memory = first_fit("##AAAA..");
        let live = FrameRun::new(2, 4);
        for part in [FrameRun::new(2, 3), FrameRun::new(3, 3), FrameRun::new(2, 5), FrameRun::new(2, 0)] {
            assert_eq!(memory.free(part), Err(FreeError::NotWhole { given: part, live }));
        }
        for other in [FrameRun::new(6, 2), FrameRun::new(8, 1), FrameRun::new(u64::MAX, u64::MAX)] {
            assert_eq!(memory.free(other), Err(FreeError::NotLive(other)));
        }
        assert_snapshot!(draw(&memory), @"######..");
        assert_eq!(memory.free(live), Ok(()));
        assert_eq!(memory.free(live), Err(FreeError::NotLive(live)));
        assert_snapshot!(draw(&memory), @"##......");
    }

    #[test]
    fn a_memory_has_frames_and_fewer_than_two_to_the_32() {
        let build = |frames| {
            let setting = FrameSetting { frames, coins: crate::Coins::from_key([0; 32]) };
            FirstFit::build(setting, &FitOptions::default()).map(|memory| memory.largest_request())
        };
        assert_eq!(build(1), Ok(1));
        assert_snapshot!(build(0).unwrap_err(), @"`memory` is 0 frames; a fit policy works on 1 to 4294967295 frames");
        assert_snapshot!(build(1 << 32).unwrap_err(), @"`memory` is 4294967296 frames; a fit policy works on 1 to 4294967295 frames");
    }
}
