//! What the fit policies share: everything but the choice among the free runs.
//!
//! A fit policy keeps its frames in a [`Memory`] and says through [`Fit::places`] where a request could go, the place it
//! prefers first. Allocation takes the first of them, `explain` lists them: there is one search, not two.
//!
//! # Alignment and limits
//! A run holds a request when an aligned block of it fits inside, below [`FrameRequest::below`] where that is given. Which
//! of the runs that hold it is taken is decided by the whole runs, not by what alignment leaves of them.
//!
//! # Joining
//! [`Coalescing::Immediate`] joins a freed run with the free runs it touches. [`Coalescing::Off`] never does: memory falls
//! into pieces, and what the policy reports (`holes`, `largest_request`, a refusal) are these pieces, two of which may
//! touch. [`Coalescing::Deferred`] leaves the pieces until a request finds none that holds it although enough frames are
//! free; then all pieces that touch are joined and the search runs once more (Wilson, Johnstone, Neely and Boles 1995,
//! "Dynamic storage allocation: a survey and critical review", on deferred coalescing).
//!
//! # Memory
//! Counted by [`Memory::bytes`], for each frame of the memory, whatever is free: 0.25 bytes say where runs start and which
//! are free. First and next fit add 0.07 for their tree of maxima. Best, worst and random fit add 12 bytes for each
//! free run, 22 at worst; with every second frame free, the most runs there can be, that is 10 bytes for a frame. A live
//! run costs nothing of its own. Deferred joining adds a bit for a frame. A memory is all zeros at first, which the host
//! provides on first touch: 2^28 frames (1 TiB) start in microseconds.

mod by_address;
mod by_length;
mod memory;
mod ranked_set;
mod tiling;

pub use by_address::ByAddress;
pub use by_length::{ByLength, LengthOrder, Longest};
pub use memory::{HoleIndex, Memory};
pub use tiling::{Tile, Tiling};

use serde::{Deserialize, Serialize};

use super::{AllocError, Explanation, FrameAllocator, FrameRequest, FrameRun, FreeError};
use crate::Violation;

/// When free runs that touch become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coalescing {
    /// At each free.
    #[default]
    Immediate,
    /// When a request would otherwise fail.
    Deferred,
    /// Never.
    Off,
}

/// From which end memory is searched and a hole is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The lower of two equal holes; the block at its low end.
    #[default]
    Low,
    /// The mirror image: the higher of two equal holes; the block at its high end.
    High,
}

/// Options of the policies that search from one end of memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitOptions {
    /// When free runs that touch become one.
    pub coalescing: Coalescing,
    /// From which end memory is searched and a hole is used.
    pub place: Place,
}

/// Options of the policies that have no preferred end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JoinOptions {
    /// When free runs that touch become one.
    pub coalescing: Coalescing,
}

/// Where a request goes: the block `taken`, inside the free run `hole`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The free run that is used up or cut.
    pub hole: FrameRun,
    /// What the request gets of it.
    pub taken: FrameRun,
}

impl Placement {
    /// The request at the `place` end of `hole`, if the hole holds it.
    #[must_use]
    pub fn at(place: Place, hole: FrameRun, request: &FrameRequest) -> Option<Placement> {
        Placement::within(place, hole, hole, request)
    }

    /// The request at the `place` end of `part`, which is all or some of `hole`.
    #[must_use]
    pub fn within(place: Place, hole: FrameRun, part: FrameRun, request: &FrameRequest) -> Option<Placement> {
        let ceiling = request.below.map_or(part.end().0, |below| below.0.min(part.end().0));
        let highest = ceiling.checked_sub(request.frames)?;
        let start = match place {
            Place::Low => part.start.0.checked_next_multiple_of(request.align)?,
            Place::High => highest / request.align * request.align,
        };
        let fits = part.start.0 <= start && start <= highest;
        fits.then(|| Placement { hole, taken: FrameRun::new(start, request.frames) })
    }
}

/// A policy that picks one of the free runs. Whoever answers this is a [`FrameAllocator`].
pub trait Fit: Clone + Serialize + Send + 'static {
    /// How the policy finds free runs.
    type Index: HoleIndex;

    /// Its frames.
    fn memory(&self) -> &Memory<Self::Index>;

    /// Its frames, to change.
    fn memory_mut(&mut self) -> &mut Memory<Self::Index>;

    /// Where `request` could go, the preferred place first.
    fn places(&self, request: &FrameRequest) -> impl Iterator<Item = Placement>;

    /// The rule that decides, as one sentence without a full stop.
    fn rule(&self) -> &'static str;

    /// Free runs that a search along a list of them looks at before it takes `chosen`, or gives up.
    fn searched(&self, chosen: Option<Placement>) -> u64;

    /// Told of each block handed out, for policies that remember it.
    fn placed(&mut self, _taken: FrameRun) {}
}

impl<T: Fit> FrameAllocator for T {
    fn allocate(&mut self, request: &FrameRequest) -> Result<FrameRun, AllocError> {
        if request.frames == 0 || request.align == 0 {
            return Err(AllocError::Empty);
        }
        let mut found = self.places(request).next();
        let mut searched = self.searched(found);
        if found.is_none() && self.memory_mut().join_for(request) {
            found = self.places(request).next();
            searched += self.searched(found);
        }
        let memory = self.memory_mut();
        memory.searched = searched;
        let Placement { hole, taken } = found.ok_or_else(|| memory.refusal(request))?;
        memory.take(hole, taken);
        self.placed(taken);
        Ok(taken)
    }

    fn free(&mut self, run: FrameRun) -> Result<(), FreeError> {
        self.memory_mut().give(run)
    }

    fn total_frames(&self) -> u64 {
        self.memory().frames()
    }

    fn free_frames(&self) -> u64 {
        self.memory().free_frames()
    }

    fn largest_request(&self) -> u64 {
        self.memory().longest()
    }

    fn holes(&self) -> u64 {
        self.memory().holes()
    }

    fn for_each_free(&self, visit: &mut dyn FnMut(FrameRun)) {
        self.memory().tiling().free_runs().for_each(visit);
    }

    fn explain(&self, request: &FrameRequest) -> Explanation {
        if request.frames == 0 || request.align == 0 {
            return explanation(self.rule(), [], AllocError::Empty);
        }
        let refusal = self.memory().refusal(request);
        if self.places(request).next().is_none() {
            let mut joined = self.clone();
            if joined.memory_mut().join_for(request) {
                return explanation(self.rule(), joined.places(request), joined.memory().refusal(request));
            }
        }
        explanation(self.rule(), self.places(request), refusal)
    }

    fn last_search(&self) -> u64 {
        self.memory().searched
    }

    fn check(&self) -> Result<(), Violation> {
        self.memory().check()
    }
}

fn explanation(rule: &str, places: impl IntoIterator<Item = Placement>, refusal: AllocError) -> Explanation {
    let mut told =
        Explanation { candidates: Vec::new(), candidates_total: 0, rule: rule.to_owned(), chosen: Err(refusal) };
    for Placement { hole, taken } in places {
        if told.candidates_total == 0 {
            told.chosen = Ok(taken);
        }
        told.candidates_total += 1;
        if told.candidates.len() < Explanation::SHOWN {
            told.candidates.push(hole);
        }
    }
    told
}
