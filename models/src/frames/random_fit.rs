//! Random fit: a request takes one of the free runs that can hold it, each with the same chance.
//!
//! # Models
//! The policy without a preference: what the others are worth is seen against it.
//!
//! # Rules
//! 1. Each run that holds the request after alignment is chosen with the same chance (to 2^-32 of it, see below).
//! 2. The block is at the run's low end, at its first aligned frame; what is left, below and above, stays free.
//! 3. A freed run joins the free runs it touches at once; `coalescing` can put that off, or switch it off.
//! 4. The number that decides is drawn in advance, one for each block handed out, from the policy's own stream: a refusal
//!    and a question (`explain`) use up none.
//!
//! Number `r` of 64 bits chooses run `r * n / 2^64` of `n`; no run's chance differs from `1/n` by more than `2^-64`.
//!
//! # Invariants
//! Verified by `check`: free and live runs tile memory; between two free ones lies a taken frame (rule 3); the index by
//! length has each free run once and no other; counts add up.
//!
//! # Cost
//! `allocate` and `free` O(log holes). A request with an alignment or a limit looks at all runs that are long enough.
//! Memory: see [`fit`](super::fit).
//!
//! # Left out
//! Migrate types and cpus: ignored. The place inside the run is not random.

use serde::{Deserialize, Serialize};

use super::fit::{ByLength, Fit, JoinOptions, LengthOrder, Longest, Memory, Place, Placement};
use super::{FrameAllocator, FrameRequest, FrameRun, FrameSetting};
use crate::Coins;
use crate::registry::{BadOptions, Model};

/// See the [module page](self) for the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RandomFit {
    memory: Memory<ByLength>,
    coins: Coins,
    /// Decides the next request.
    drawn: u64,
}

impl Model<dyn FrameAllocator> for RandomFit {
    const NAME: &'static str = "random_fit";
    const SUMMARY: &'static str = "any free run that fits, each equally likely";
    const RULES: &'static str = "\
One of the free runs that hold the request is used, each equally likely,
from its low end; the coins are the policy's own, the requests stay the same.
The rest of the run stays free. A freed run joins the free runs it touches.
    A......BBB....C...   take 4
    A......BBBDDDDC...   or   ADDDD..BBB....C...
coalescing: immediate | deferred (when a request would fail) | off";
    type Options = JoinOptions;

    fn build(setting: FrameSetting, options: &JoinOptions) -> Result<RandomFit, BadOptions> {
        let order = LengthOrder { longest: Longest::Last, place: Place::Low };
        let memory = Memory::new(setting.frames, options.coalescing, order)?;
        let mut coins = setting.coins;
        let drawn = coins.next_u64();
        Ok(RandomFit { memory, coins, drawn })
    }
}

impl Fit for RandomFit {
    type Index = ByLength;

    fn memory(&self) -> &Memory<ByLength> {
        &self.memory
    }

    fn memory_mut(&mut self) -> &mut Memory<ByLength> {
        &mut self.memory
    }

    /// The chosen one first, then the others, in the order of the index and round.
    fn places(&self, request: &FrameRequest) -> impl Iterator<Item = Placement> {
        let first = scaled(self.drawn, self.memory.count_places(request));
        let rest = self.memory.by_length_from(first, request);
        let round = self.memory.by_length(request).take(crate::index(first));
        rest.chain(round)
    }

    fn rule(&self) -> &'static str {
        "one of the runs that fit, each equally likely"
    }

    /// A list has to be read to its end to know which runs fit.
    fn searched(&self, _chosen: Option<Placement>) -> u64 {
        self.memory.holes()
    }

    fn placed(&mut self, _taken: FrameRun) {
        self.drawn = self.coins.next_u64();
    }
}

/// `drawn * count / 2^64`: a number below `count`.
fn scaled(drawn: u64, count: u64) -> u64 {
    let scaled = (u128::from(drawn) * u128::from(count)) >> 64;
    u64::try_from(scaled).expect("the high half of a product of 64 bits")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::pictures::{draw, laid_out, refusal, take, why};
    use super::*;

    fn random_fit(picture: &str) -> RandomFit {
        laid_out(picture, &JoinOptions::default())
    }

    /// How often each frame is the first of the block that `request` gets, in a thousand tries for each that ever is.
    fn first_frames(picture: &str, request: &FrameRequest, tries: u32) -> Vec<u32> {
        let mut memory = random_fit(picture);
        let mut counts = vec![0; picture.len()];
        for _ in 0..tries {
            let run = memory.allocate(request).expect("three runs hold it");
            counts[crate::index(run.start.0)] += 1;
            memory.free(run).expect("it is live");
        }
        counts
    }

    #[test]
    fn each_run_that_fits_is_as_likely_as_the_others() {
        let counts = first_frames("#.#..#....#..#......", &FrameRequest::frames(2), 4_000);
        let hit: Vec<usize> = (0..20).filter(|frame| counts[*frame] > 0).collect();
        assert_eq!(hit, [3, 6, 11, 14], "{counts:?}");
        // Each count is binomial with mean 1,000 and standard deviation 27.
        assert!(hit.iter().all(|frame| counts[*frame].abs_diff(1_000) < 110), "{counts:?}");
    }

    #[test]
    fn each_run_that_holds_an_aligned_request_is_as_likely_as_the_others() {
        let counts = first_frames("#.#..#....#..#......", &FrameRequest::frames(2).aligned(4), 2_000);
        let hit: Vec<usize> = (0..20).filter(|frame| counts[*frame] > 0).collect();
        assert_eq!(hit, [8, 16], "{counts:?}");
        assert!(hit.iter().all(|frame| counts[*frame].abs_diff(1_000) < 90), "{counts:?}");
    }

    #[test]
    fn explains_what_it_will_do_and_uses_no_coin_for_it() {
        let mut memory = random_fit("#...#...#...#...");
        for _ in 0..4 {
            let told = memory.explain(&FrameRequest::frames(2)).chosen;
            assert_eq!(memory.allocate(&FrameRequest::frames(2)), told);
        }
        assert_snapshot!(draw(&memory), @"###.###.###.###.");
        assert_snapshot!(why(&memory, 1), @"4 of 4: 3 7 11 15; one of the runs that fit, each equally likely; 3");
    }

    #[test]
    fn a_refusal_uses_no_coin() {
        let (mut asked, mut quiet) = (random_fit("#..#..#..#..#.."), random_fit("#..#..#..#..#.."));
        assert_snapshot!(refusal(&mut asked, 3), @"no run of 3 frames: 10 are free, the longest free run has 2");
        assert_eq!(take(&mut asked, 1), take(&mut quiet, 1));
        assert_eq!(take(&mut asked, 1), take(&mut quiet, 1));
    }
}
