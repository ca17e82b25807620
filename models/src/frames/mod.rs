//! Kernel-level allocators: which physical page frames back a request.
//!
//! Each file here is one policy. All answer the same trait, [`FrameAllocator`], and are chosen by name from one
//! [`PolicyRegistry`]. `framesim explain NAME` prints a policy's rules.
//!
//! **Invariant.** A frame is free or taken, never both: the free runs of a policy and the runs it handed out tile memory.

pub mod best_fit;
mod bit_tree;
pub mod buddy;
pub mod first_fit;
pub mod fit;
pub mod free_stack;
pub mod next_fit;
pub mod next_hole;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod pictures;
pub mod random_fit;
mod run;
pub mod worst_fit;

pub use run::{FrameNumber, FrameRun};

use serde::{Deserialize, Serialize};

use crate::metrics::FreeBlocks;
use crate::registry::{Boxed, Family, Registry, models};
use crate::{Coins, Cpu, Violation};

models! {
    /// The frame policy of a workload and its options, as in RON: `first_fit` or `buddy(max_order: 10)`.
    PolicyChoice of dyn FrameAllocator;
    /// The lowest free run that fits.
    first_fit::FirstFit,
    /// The shortest free run that fits.
    best_fit::BestFit,
    /// The longest free run.
    worst_fit::WorstFit,
    /// First fit that goes on from the end of the block placed last.
    next_fit::NextFit,
    /// First fit that goes on from the hole where the last block ended.
    next_hole::NextHole,
    /// Any free run that fits, each equally likely.
    random_fit::RandomFit,
    /// Single frames, the one freed last first.
    free_stack::FreeStack,
    /// Binary buddy: blocks of powers of two.
    buddy::Buddy,
}

/// Frame policies by name.
pub type PolicyRegistry = Registry<dyn FrameAllocator>;

/// What a frame policy is built in.
#[derive(Clone, Debug)]
pub struct FrameSetting {
    /// The memory: frames `0..frames`, all free at first. At least 1.
    pub frames: u64,
    /// For policies that flip coins.
    pub coins: Coins,
}

impl Family for dyn FrameAllocator {
    type Setting = FrameSetting;
    type Choice = PolicyChoice;
}

impl<T: FrameAllocator + 'static> Boxed<dyn FrameAllocator> for T {
    fn boxed(self) -> Box<dyn FrameAllocator> {
        Box::new(self)
    }
}

/// What a caller wants. [`FrameRequest::frames`] makes the plain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRequest {
    /// Contiguous frames, at least 1.
    pub frames: u64,
    /// The first frame's number is a multiple of this; 1 asks for nothing.
    pub align: u64,
    /// Whether the content can be moved or reclaimed later.
    pub migrate: MigrateType,
    /// The run lies wholly below this frame, where a limit is given (a zone for devices with short addresses).
    pub below: Option<FrameNumber>,
    /// The processor that asks.
    pub cpu: Cpu,
}

impl FrameRequest {
    /// A request for `frames` contiguous frames, anywhere.
    #[must_use]
    pub const fn frames(frames: u64) -> FrameRequest {
        FrameRequest { frames, align: 1, migrate: MigrateType::Movable, below: None, cpu: Cpu(0) }
    }

    /// The same request with its first frame at a multiple of `align` frames.
    #[must_use]
    pub const fn aligned(self, align: u64) -> FrameRequest {
        FrameRequest { align, ..self }
    }

    /// Whether any run that is long enough will do.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.align == 1 && self.below.is_none()
    }
}

/// Whether a frame's content can be moved: what Linux groups page blocks by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MigrateType {
    /// Stays where it is: kernel objects, page tables.
    Unmovable,
    /// Can be copied elsewhere: memory of user processes.
    #[default]
    Movable,
    /// Can be dropped and made anew: caches.
    Reclaimable,
}

/// Decides which physical frames back a request. One implementation per policy.
pub trait FrameAllocator: ModelState + Send {
    /// A run of at least `request.frames` contiguous frames, or why there is none. A policy that rounds up returns
    /// the whole block it grants.
    ///
    /// # Errors
    /// [`AllocError`] says whether memory was short or scattered. No frame has changed hands then.
    fn allocate(&mut self, request: &FrameRequest) -> Result<FrameRun, AllocError>;

    /// Takes back a run exactly as `allocate` returned it.
    ///
    /// # Errors
    /// [`FreeError`] when the run is not live, or is only a part of a live one. Nothing has changed then.
    fn free(&mut self, run: FrameRun) -> Result<(), FreeError>;

    /// All frames of the memory, free or taken.
    fn total_frames(&self) -> u64;

    /// Frames that are free now. O(1).
    fn free_frames(&self) -> u64;

    /// Frames of the largest request (alignment 1) that would succeed now: the longest free run for the fit policies, the
    /// largest free block for buddy. O(log runs) or better.
    fn largest_request(&self) -> u64;

    /// Frames of the largest request that would succeed if all free frames lay together: what `largest_request` is to be
    /// compared with. All of them, unless the policy's blocks are limited.
    fn largest_together(&self) -> u64 {
        self.free_frames()
    }

    /// Maximal free runs. O(1).
    fn holes(&self) -> u64;

    /// Free runs, ascending, as the policy keeps them: free blocks for buddy, so two of them may touch.
    fn for_each_free(&self, visit: &mut dyn FnMut(FrameRun));

    /// Free memory as aligned blocks of at most `2^top_order` frames, counted by order: what the indices of Linux are
    /// defined on. O(free runs) unless the policy counts blocks anyway, as buddy does.
    fn free_blocks(&self, top_order: u32) -> FreeBlocks {
        FreeBlocks::of(self, top_order)
    }

    /// What the policy would do with `request`, and which free runs it would look at. Changes nothing.
    fn explain(&self, request: &FrameRequest) -> Explanation;

    /// How many free runs (or blocks, or words) the last `allocate` looked at, where the policy searches.
    fn last_search(&self) -> u64 {
        0
    }

    /// Full check of the structure's invariants; used by tests and by `--check`.
    ///
    /// # Errors
    /// The first invariant that is broken.
    fn check(&self) -> Result<(), Violation>;
}

/// Cloning and writing for a boxed policy; every policy that is `Clone + Serialize` has it.
pub trait ModelState {
    /// A copy in a box of its own.
    fn clone_boxed(&self) -> Box<dyn FrameAllocator>;
    /// The whole state, to be read back with [`Registry::restore`].
    fn save(&self) -> Vec<u8>;
}

impl<T: FrameAllocator + Clone + Serialize + 'static> ModelState for T {
    fn clone_boxed(&self) -> Box<dyn FrameAllocator> {
        Box::new(self.clone())
    }

    fn save(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a policy's state is plain data")
    }
}

impl Clone for Box<dyn FrameAllocator> {
    fn clone(&self) -> Self {
        (**self).clone_boxed()
    }
}

/// Why a request got no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AllocError {
    /// Fewer frames are free than were asked for.
    #[error("no run of {}: only {free} are free", counted(*asked))]
    Shortage {
        /// Frames asked for.
        asked: u64,
        /// Frames free.
        free: u64,
        /// Frames of the longest free run.
        longest: u64,
        /// Maximal free runs.
        holes: u64,
    },
    /// Enough frames are free, but no run of them can hold the request: external fragmentation.
    #[error("no run of {}: {free} are free, the longest free run has {longest}", counted(*asked))]
    Fragmentation {
        /// Frames asked for.
        asked: u64,
        /// Frames free.
        free: u64,
        /// Frames of the longest free run (the largest free block for buddy).
        longest: u64,
        /// Maximal free runs.
        holes: u64,
    },
    /// The policy never hands out that many frames at once.
    #[error("{asked} frames asked at once; this policy hands out at most {limit}")]
    TooLarge {
        /// Frames asked for.
        asked: u64,
        /// Frames of the largest block the policy has.
        limit: u64,
    },
    /// A request for no frames, or with an alignment of 0.
    #[error("a request must ask for at least 1 frame, at an alignment of at least 1")]
    Empty,
}

fn counted(frames: u64) -> String {
    if frames == 1 { "1 frame".to_owned() } else { format!("{frames} frames") }
}

/// Why a run could not be given back. Always a bug of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreeError {
    /// Some frame of the run is free already, or lies outside memory.
    #[error("free of {0}, which is not live")]
    NotLive(FrameRun),
    /// A live run starts there, with another length; or the run starts inside a live one.
    #[error("free of {given}, but the live run there is {live}")]
    NotWhole {
        /// The run given back.
        given: FrameRun,
        /// The live run that holds its first frame.
        live: FrameRun,
    },
}

/// A policy's answer to "why there?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Free runs (blocks for buddy) that could hold the request, in the order the policy looks at them; at most
    /// [`Explanation::SHOWN`].
    pub candidates: Vec<FrameRun>,
    /// How many there are in all.
    pub candidates_total: u64,
    /// The rule that decides, as one sentence without a full stop.
    pub rule: String,
    /// The run that would be handed out.
    pub chosen: Result<FrameRun, AllocError>,
}

impl Explanation {
    /// Candidates that are listed one by one.
    pub const SHOWN: usize = 16;
}
