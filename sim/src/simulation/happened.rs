//! What one event was: for step tables, for `--events`, for the digest.

use framesim_models::frames::{AllocError, FrameAllocator, FrameRun};
use framesim_models::kernel::{NoMemory, Region};
use framesim_models::{Address, Cpu, Nanos, Pid, ThreadId};
use framesim_workloads::requests::{Request, Slot};
use serde::{Deserialize, Serialize};

use crate::digest::Trajectory;

/// One event of a run. What it did to frames is in [`Simulation::frame_changes`](super::Simulation::frame_changes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// Its number, from 1.
    pub event: u64,
    /// When it took effect.
    pub time: Nanos,
    /// How long it kept the processor, with the switch to the process where there was one.
    pub cost: Nanos,
    /// How long the process had waited for memory before it could be served.
    pub waited: Nanos,
    /// The processor.
    pub cpu: Cpu,
    /// Whose event it was.
    pub process: ProcessName,
    /// The thread that asked.
    pub thread: ThreadId,
    /// What was asked.
    pub call: Call,
    /// What came of it.
    pub outcome: Outcome,
}

/// Which process: by its group and its number in it, as in `web/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessName {
    /// Index of its group in the workload.
    pub group: u32,
    /// How many processes of the group came before it.
    pub ordinal: u32,
    /// The kernel's name for it, once it has started.
    pub pid: Option<Pid>,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// The process starts: the kernel loads its program.
    Start,
    /// Its next request.
    Request(Request),
    /// The thread starts another one.
    ThreadStart {
        /// Which.
        thread: ThreadId,
    },
    /// The life of a block is over: it is freed.
    LifeOver {
        /// Where the block is.
        address: Address,
        /// As many as were asked for.
        bytes: u64,
    },
    /// The thread ends; its process goes on.
    ThreadEnd,
    /// The main thread has no requests left and waits for the others to end.
    Join,
    /// The process ends.
    Exit(ExitReason),
    /// The kernel ends the process because memory is short.
    Kill,
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitReason {
    /// It asked to, or had nothing left to do.
    Done,
    /// Its life time was over.
    LifeTime,
    /// A request was refused, and its group ends then.
    Refused,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was served, and nothing was placed.
    Served,
    /// A block or a mapping is at this address.
    At(Address),
    /// These frames were taken or given back by request.
    Frames(FrameRun),
    /// Its slot was empty: there was nothing to do.
    Nothing,
    /// It was refused.
    Refused(Refusal),
    /// It waits for memory and will be tried again.
    Waits(Refusal),
}

/// Why a request got no memory, and what memory looked like then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub cause: Cause,
    /// What the memory was for.
    pub region: Region,
    /// Contiguous frames asked for; 0 where it did not come to that.
    pub asked: u64,
    /// Frames needed in all.
    pub pages: u64,
    /// Free frames.
    pub free: u64,
    /// Frames of the longest free run.
    pub longest: u64,
    /// Free runs.
    pub holes: u64,
}

/// Why a request got no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Fewer frames are free than were asked for.
    Shortage,
    /// Enough frames are free, but no run of them is long enough.
    Fragmentation,
    /// The policy never hands out so many at once, or memory never had so many.
    TooLarge,
    /// No frame was missing: the address space, or a limit, does not allow it.
    AddressSpace,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Cause; 4] = [Cause::Shortage, Cause::Fragmentation, Cause::TooLarge, Cause::AddressSpace];

    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Shortage => "shortage",
            Cause::Fragmentation => "fragmentation",
            Cause::TooLarge => "too_large",
            Cause::AddressSpace => "address_space",
        }
    }
}

impl Refusal {
    /// The refusal that the kernel's answer amounts to.
    #[must_use]
    pub fn of(no_memory: &NoMemory) -> Refusal {
        let (cause, asked, free, longest, holes) = match no_memory.cause {
            AllocError::Shortage { asked, free, longest, holes } => (Cause::Shortage, asked, free, longest, holes),
            AllocError::Fragmentation { asked, free, longest, holes } => {
                (Cause::Fragmentation, asked, free, longest, holes)
            }
            AllocError::TooLarge { asked, .. } => (Cause::TooLarge, asked, 0, 0, 0),
            AllocError::Empty => (Cause::TooLarge, 0, 0, 0, 0),
        };
        Refusal { cause, region: no_memory.region, asked, pages: no_memory.pages, free, longest, holes }
    }

    /// A refusal that no missing frame is the cause of.
    #[must_use]
    pub fn without_frames(frames: &dyn FrameAllocator, region: Region) -> Refusal {
        let (free, longest, holes) = (frames.free_frames(), frames.largest_request(), frames.holes());
        Refusal { cause: Cause::AddressSpace, region, asked: 0, pages: 0, free, longest, holes }
    }
}

impl Call {
    /// As scripts and JSON say it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Call::Start => "start",
            Call::Request(request) => request_name(request),
            Call::LifeOver { .. } => "free",
            Call::ThreadStart { .. } => "thread_start",
            Call::ThreadEnd => "thread_end",
            Call::Join => "join",
            Call::Exit(_) => "exit",
            Call::Kill => "kill",
        }
    }

    /// Bytes it is about, where it is about bytes.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        match *self {
            Call::LifeOver { bytes, .. } => Some(bytes),
            Call::Request(
                Request::Malloc { bytes, .. }
                | Request::AlignedAlloc { bytes, .. }
                | Request::Realloc { bytes, .. }
                | Request::Mmap { bytes, .. },
            ) => Some(bytes),
            Call::Request(Request::Calloc { count, bytes, .. }) => count.checked_mul(bytes),
            _ => None,
        }
    }

    /// Whether the process's heap serves it.
    #[inline]
    #[must_use]
    pub fn is_on_heap(&self) -> bool {
        matches!(
            self,
            Call::LifeOver { .. }
                | Call::Request(
                    Request::Malloc { .. }
                        | Request::Calloc { .. }
                        | Request::AlignedAlloc { .. }
                        | Request::Realloc { .. }
                        | Request::Free { .. }
                )
        )
    }

    /// What is asked, and nothing of what came of it or of who asks, as numbers that never change: the kind and the slot, then all else.
    #[inline]
    #[must_use]
    pub fn asked(&self) -> [u64; 5] {
        const NO_SLOT: u64 = 1 << 32;
        let at = |slot: Slot| u64::from(slot.0);
        let mut words = [0; 5];
        if let Call::Request(request) = *self {
            words = match request {
                Request::Malloc { slot, bytes, touch, life, freed_by } => {
                    // A life of 0 is one too.
                    let life = life.map_or(0, |life| life.0.saturating_add(1));
                    [slot.map_or(NO_SLOT, at), bytes, touch, life, freed_by.0.into()]
                }
                Request::Calloc { slot, count, bytes, touch } => [at(slot), bytes, touch, count, 0],
                Request::AlignedAlloc { slot, align, bytes, touch } => [at(slot), bytes, touch, align, 0],
                Request::Realloc { slot, bytes, touch } => [at(slot), bytes, touch, 0, 0],
                Request::Mmap { slot, bytes } => [at(slot), bytes, 0, 0, 0],
                Request::Take { slot, frames } => [at(slot), frames, 0, 0, 0],
                Request::Free { slot }
                | Request::Touch { slot }
                | Request::Give { slot }
                | Request::Munmap { slot }
                | Request::DontNeed { slot } => [at(slot), 0, 0, 0, 0],
                Request::Spawn { group } => [group.into(), 0, 0, 0, 0],
                Request::Sleep | Request::Exit | Request::EndThread => words,
            };
        }
        words[0] |= (self.kind() as u64) << 56;
        words
    }

    /// What kind of call it is.
    #[inline]
    pub(super) fn kind(&self) -> Kind {
        if let Call::Exit(reason) = self {
            return match reason {
                ExitReason::Done => Kind::ExitDone,
                ExitReason::LifeTime => Kind::ExitLifeTime,
                ExitReason::Refused => Kind::ExitRefused,
            };
        }
        match self {
            Call::Start => Kind::Start,
            Call::LifeOver { .. } => Kind::LifeOver,
            Call::Exit(_) => Kind::ExitDone,
            Call::Kill => Kind::Kill,
            Call::ThreadStart { .. } => Kind::ThreadStart,
            Call::ThreadEnd => Kind::ThreadEnd,
            Call::Join => Kind::Join,
            Call::Request(Request::Malloc { .. }) => Kind::Malloc,
            Call::Request(Request::Calloc { .. }) => Kind::Calloc,
            Call::Request(Request::AlignedAlloc { .. }) => Kind::AlignedAlloc,
            Call::Request(Request::Realloc { .. }) => Kind::Realloc,
            Call::Request(Request::Free { .. }) => Kind::Free,
            Call::Request(Request::Touch { .. }) => Kind::Touch,
            Call::Request(Request::Take { .. }) => Kind::Take,
            Call::Request(Request::Give { .. }) => Kind::Give,
            Call::Request(Request::Mmap { .. }) => Kind::Mmap,
            Call::Request(Request::Munmap { .. }) => Kind::Munmap,
            Call::Request(Request::DontNeed { .. }) => Kind::DontNeed,
            Call::Request(Request::Spawn { .. }) => Kind::Spawn,
            Call::Request(Request::Sleep) => Kind::Sleep,
            Call::Request(Request::Exit) => Kind::Exit,
            Call::Request(Request::EndThread) => Kind::EndThread,
        }
    }
}

/// A call without what it is about. Its number goes into digests and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Start = 1,
    LifeOver = 2,
    ExitDone = 3,
    ExitLifeTime = 4,
    ExitRefused = 5,
    Kill = 6,
    ThreadStart = 7,
    ThreadEnd = 8,
    Join = 9,
    Malloc = 16,
    Calloc = 17,
    AlignedAlloc = 18,
    Realloc = 19,
    Free = 20,
    Touch = 21,
    Take = 22,
    Give = 23,
    Mmap = 24,
    Munmap = 25,
    DontNeed = 26,
    Spawn = 27,
    Sleep = 28,
    Exit = 29,
    EndThread = 30,
}

/// Room in a table by the number of a kind.
pub(super) const KINDS: usize = 32;

impl Kind {
    /// All of them, in order.
    pub(super) const ALL: [Kind; 24] = [
        Kind::Start,
        Kind::LifeOver,
        Kind::ExitDone,
        Kind::ExitLifeTime,
        Kind::ExitRefused,
        Kind::Kill,
        Kind::ThreadStart,
        Kind::ThreadEnd,
        Kind::Join,
        Kind::Malloc,
        Kind::Calloc,
        Kind::AlignedAlloc,
        Kind::Realloc,
        Kind::Free,
        Kind::Touch,
        Kind::Take,
        Kind::Give,
        Kind::Mmap,
        Kind::Munmap,
        Kind::DontNeed,
        Kind::Spawn,
        Kind::Sleep,
        Kind::Exit,
        Kind::EndThread,
    ];
}

fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Malloc { .. } => "malloc",
        Request::Calloc { .. } => "calloc",
        Request::AlignedAlloc { .. } => "aligned",
        Request::Realloc { .. } => "realloc",
        Request::Free { .. } => "free",
        Request::Touch { .. } => "touch",
        Request::Take { .. } => "take",
        Request::Give { .. } => "give",
        Request::Mmap { .. } => "mmap",
        Request::Munmap { .. } => "munmap",
        Request::DontNeed { .. } => "dontneed",
        Request::Spawn { .. } => "spawn",
        Request::Sleep => "sleep",
        Request::EndThread => "end_thread",
        Request::Exit => "exit",
    }
}

impl Happened {
    /// Before all events.
    pub(super) const NONE: Happened = Happened {
        event: 0,
        time: Nanos(0),
        cost: Nanos(0),
        waited: Nanos(0),
        cpu: Cpu(0),
        process: ProcessName { group: 0, ordinal: 0, pid: None },
        thread: ThreadId(0),
        call: Call::Start,
        outcome: Outcome::Nothing,
    };

    /// Takes the event into the digest: who, when, what, how much, where.
    #[inline]
    pub(super) fn digest_into(&self, trajectory: &mut Trajectory) {
        let (kind, place) = self.outcome.digested();
        let who = (u64::from(self.process.group) << 32) | u64::from(self.process.ordinal);
        trajectory.absorb_pair(self.time.0, who);
        // Places are below 2^48: addresses of a process, frames of a memory.
        let what = ((self.call.kind() as u64) << 56) | (kind << 48);
        trajectory.absorb_pair(self.call.bytes().unwrap_or(0), what ^ place);
        if self.thread != ThreadId(0) {
            trajectory.absorb(u128::from(self.thread.0));
        }
    }
}

impl Outcome {
    /// Its kind and its place, as numbers that never change.
    #[inline]
    fn digested(&self) -> (u64, u64) {
        match *self {
            Outcome::Served => (0, 0),
            Outcome::At(address) => (1, address.0),
            Outcome::Frames(run) => (2, run.start.0),
            Outcome::Nothing => (3, 0),
            Outcome::Refused(refusal) => (4, refusal.asked),
            Outcome::Waits(refusal) => (5, refusal.asked),
        }
    }
}
