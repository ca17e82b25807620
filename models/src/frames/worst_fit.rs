//! Worst fit: a request takes the longest free run.
//!
//! # Models
//! The opposite of best fit: cuts the longest run, so that what is left of it stays useful.
//! Source: textbooks on operating systems list it beside first and best fit (Silberschatz et al., "Contiguous memory
//! allocation"); Shore 1975 compares them.
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
