//! What processes ask for, one request after the other.

use framesim_models::{Nanos, ThreadId};
use serde::{Deserialize, Serialize};

/// Where a process keeps what it got: a dense index into the process's own table.
///
/// A slot is empty until something is put there, and empty again after it was given back or refused. A request on an empty
/// slot does nothing, like `free(NULL)`; putting something into a full slot leaves the old thing behind (a leak).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u32);

/// What a process does after a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed {
    /// Time the process computes (or sleeps, for `Sleep`) before the request.
    pub gap: Nanos,
    /// The thread that asks.
    pub thread: ThreadId,
    /// What it asks for.
    pub request: Request,
}

/// What a process asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A block of the heap.
    Malloc {
        /// Where it goes; `None` when no request names it again: only its life ends it, or the process's end.
        slot: Option<Slot>,
        /// Bytes asked for, 0 allowed.
        bytes: u64,
        /// Bytes written at once, from the start.
        touch: u64,
        /// It is freed this long after it was got.
        life: Option<Nanos>,
    },
    /// A zeroed block.
    Calloc {
        /// Where it goes.
        slot: Slot,
        /// Elements.
        count: u64,
        /// Bytes of each.
        bytes: u64,
        /// Bytes written at once by the program, after the zeros.
        touch: u64,
    },
    /// A block at a multiple of `align`.
    AlignedAlloc {
        /// Where it goes.
        slot: Slot,
        /// As the program asked for it; need not be a power of two.
        align: u64,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes written at once.
        touch: u64,
    },
    /// Resizes the block in the slot; makes one when the slot is empty.
    Realloc {
        /// The slot.
        slot: Slot,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes written at once, from the start.
        touch: u64,
    },
    /// Gives the block in the slot back.
    Free {
        /// The slot.
        slot: Slot,
    },
    /// Writes to all of the block or mapping in the slot.
    Touch {
        /// The slot.
        slot: Slot,
    },
    /// A run of frames, straight from the kernel.
    Take {
        /// Where it goes.
        slot: Slot,
        /// Contiguous frames.
        frames: u64,
    },
    /// Gives the run in the slot back.
    Give {
        /// The slot.
        slot: Slot,
    },
    /// Maps memory.
    Mmap {
        /// Where it goes.
        slot: Slot,
        /// Bytes.
        bytes: u64,
    },
    /// Unmaps the mapping in the slot.
    Munmap {
        /// The slot.
        slot: Slot,
    },
    /// Gives the frames of the mapping in the slot back.
    DontNeed {
        /// The slot.
        slot: Slot,
    },
    /// Starts a process of that group (its index in `Workload::processes`).
    Spawn {
        /// The group.
        group: u32,
    },
    /// Nothing: the gap was all.
    Sleep,
    /// The process ends.
    Exit,
}
