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
        let low = (self.place == Place::Low).then(|| self.memory.upwards(0, request));
        let high = (self.place == Place::High).then(|| self.memory.downwards(request));
        low.into_iter().flatten().chain(high.into_iter().flatten())
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
