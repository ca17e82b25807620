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
