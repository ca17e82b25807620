//! One process as the event loop sees it: a small record in a dense table, and its work beside it.

use std::cmp::Ordering;

use framesim_models::frames::FrameRun;
use framesim_models::heap::HeapAllocator;
use framesim_models::{Address, Cpu, Nanos, ThreadId, index};
use framesim_workloads::requests::{Request, Slot, Stream, Timed};
use serde::{Deserialize, Serialize};

use super::happened::{Call, ExitReason, ProcessName};
use super::heaps::{Holdings, ProcessClasses};
use crate::queue::EventId;
use crate::queue::heap::Heap;

/// A place in the table of processes; used again after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ProcessId(pub(super) u32);

impl ProcessId {
    pub(super) fn index(self) -> usize {
        index(u64::from(self.0))
    }
}

/// A process: who it is, where it stands, what is next. All that a sleeping one needs.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) name: ProcessName,
    pub(super) state: State,
    /// Set when the process is to end before its next request.
    pub(super) leaves: Option<ExitReason>,
    /// Whether `due` counts from the end of the service that goes on: of the first request, and of a sleep.
    pub(super) due_from_done: bool,
    /// The processor it ran on last.
    pub(super) cpu: Cpu,
    /// Its event in the queue, while it is asleep.
    pub(super) wake: Option<EventId>,
    /// When its next request is due.
    pub(super) due: Nanos,
    /// When its life time is over.
    pub(super) ends: Nanos,
    /// What it asks for; nothing in a free place.
    pub(super) stream: Option<Stream>,
    pub(super) next: Next,
    /// What it has got; nothing as long as it has asked for nothing.
    pub(super) memory: Option<Box<Memory>>,
}

// A million sleeping processes must fit in little memory.
const _: () = assert!(size_of::<Process>() <= 128);

/// The next request. Those that ask for memory are kept beside the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Next {
    Nothing,
    Sleep { thread: ThreadId, gap: Nanos },
    Exit { thread: ThreadId, gap: Nanos },
    InMemory,
}

impl Process {
    /// Nobody: a free place in the table.
    pub(super) const NOBODY: Process = Process {
        name: ProcessName { group: 0, ordinal: 0, pid: None },
        state: State::Nobody,
        leaves: None,
        due_from_done: false,
        cpu: Cpu(0),
        wake: None,
        due: Nanos(0),
        ends: NEVER,
        stream: None,
        next: Next::Nothing,
        memory: None,
    };

    /// The request that is due at `due`.
    #[inline]
    pub(super) fn next_request(&self) -> Option<Timed> {
        match self.next {
            Next::Nothing => None,
            Next::Sleep { thread, gap } => Some(Timed { gap, thread, request: Request::Sleep }),
            Next::Exit { thread, gap } => Some(Timed { gap, thread, request: Request::Exit }),
            Next::InMemory => self.memory.as_ref()?.next,
        }
    }

    #[inline]
    pub(super) fn set_next(&mut self, timed: Timed) {
        let Timed { gap, thread, request } = timed;
        self.next = match request {
            Request::Sleep => Next::Sleep { thread, gap },
            Request::Exit => Next::Exit { thread, gap },
            _ => {
                self.memory.get_or_insert_default().next = Some(timed);
                Next::InMemory
            }
        };
    }

    /// When the first block that ends by itself does so.
    #[inline]
    pub(super) fn first_life(&self) -> Option<Life> {
        self.memory.as_ref()?.lives.first()
    }

    /// When the next action is due, after a service that ends at `done`.
    #[inline]
    pub(super) fn next_due(&mut self, done: Nanos) -> Nanos {
        let Some(next) = self.next_request() else { return done };
        if std::mem::take(&mut self.due_from_done) {
            self.due = Nanos(done.0.saturating_add(next.gap.0));
        }
        if self.leaves.is_some() {
            return done;
        }
        let life = self.first_life().map_or(NEVER, |life| life.ends);
        self.due.min(life).min(self.ends)
    }
}

/// After all time.
pub(super) const NEVER: Nanos = Nanos(u64::MAX);

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Nobody: the place in the table is free.
    Nobody,
    /// Until its event comes.
    Asleep,
    /// In the ready queue.
    Ready,
    /// A processor is its own.
    Running,
    /// For memory.
    Waiting,
}

/// What a process has got.
#[derive(Clone, Default)]
pub(super) struct Memory {
    pub(super) next: Option<Timed>,
    pub(super) heap: Option<Box<dyn HeapAllocator>>,
    /// Bytes asked for of live blocks.
    pub(super) live_bytes: u64,
    /// What the totals know of it, beyond the pages of its image.
    pub(super) holdings: Holdings,
    /// Its live blocks by class, once it has a heap.
    pub(super) classes: Option<Box<ProcessClasses>>,
    pub(super) slots: Vec<Held>,
    /// Blocks that end by themselves, earliest first.
    pub(super) lives: Heap<Life>,
    /// Blocks that ever had a life.
    pub(super) lives_begun: u64,
}

/// A call on its way: what is tried, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub(super) thread: ThreadId,
    pub(super) call: Call,
    /// How far it has come.
    pub(super) stage: Stage,
    /// When it first found no memory.
    pub(super) since: Option<Nanos>,
}

impl Attempt {
    /// A call at its beginning.
    pub(super) fn of(thread: ThreadId, call: Call) -> Attempt {
        Attempt { thread, call, stage: Stage::Begun, since: None }
    }

    /// A call of the process as a whole.
    pub(super) fn main(call: Call) -> Attempt {
        Attempt::of(ThreadId(0), call)
    }
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// At its beginning.
    Begun,
    /// The block is there; some pages of it that were to be written have no frame.
    Writing {
        /// The block.
        block: Address,
    },
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Held {
    /// Nothing.
    #[default]
    Empty,
    /// A block of the heap.
    Block {
        /// Where.
        at: Address,
        /// As asked for.
        bytes: u64,
    },
    /// Frames, by request.
    Frames(FrameRun),
    /// A mapping.
    Mapping {
        /// Where.
        at: Address,
        /// As asked for.
        bytes: u64,
    },
}

impl Memory {
    pub(super) fn begin_life(&mut self, ends: Nanos, at: Address, bytes: u64, thread: ThreadId) {
        self.lives.push(Life { ends, number: self.lives_begun, at, bytes, thread });
        self.lives_begun += 1;
    }

    pub(super) fn held(&self, slot: Slot) -> Held {
        self.slots.get(index(u64::from(slot.0))).copied().unwrap_or_default()
    }

    pub(super) fn hold(&mut self, slot: Slot, held: Held) {
        let place = index(u64::from(slot.0));
        if self.slots.len() <= place {
            self.slots.resize(place + 1, Held::Empty);
        }
        self.slots[place] = held;
    }
}

/// A block that is freed at a time. Blocks of one end are freed as they were got.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Life {
    pub(super) ends: Nanos,
    pub(super) number: u64,
    pub(super) at: Address,
    pub(super) bytes: u64,
    pub(super) thread: ThreadId,
}

impl Life {
    #[inline]
    fn key(&self) -> u128 {
        (u128::from(self.ends.0) << 64) | u128::from(self.number)
    }
}

impl Ord for Life {
    #[inline]
    fn cmp(&self, other: &Life) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Life {
    #[inline]
    fn partial_cmp(&self, other: &Life) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Life {
    fn eq(&self, other: &Life) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Life {}
