//! One process as the event loop sees it: a small record in a dense table for each of its threads, and its work beside it.

use std::cmp::Ordering;

use framesim_models::frames::FrameRun;
use framesim_models::heap::HeapAllocator;
use framesim_models::{Address, Cpu, Nanos, ThreadId, index};
use framesim_workloads::requests::{Request, Slot, Stream, Timed};
use serde::{Deserialize, Serialize};

use super::happened::{Call, ExitReason, ProcessName};
use super::heaps::{Bound, Holdings, Live, ProcessClasses};
use super::threads::Team;
use crate::queue::EventId;
use crate::queue::heap::Heap;

/// A place in the table of processes and threads; used again after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ProcessId(pub(super) u32);

impl ProcessId {
    pub(super) fn index(self) -> usize {
        index(u64::from(self.0))
    }
}

/// A process, or a thread of it beside the main one: who it is, where it stands, what is next. All that a sleeping one needs.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) name: ProcessName,
    /// Which of its process's threads it is.
    pub(super) thread: ThreadId,
    /// The process's main thread: its record has what they share.
    pub(super) main: ProcessId,
    pub(super) state: State,
    /// Set when the process is to end before its next request.
    pub(super) leaves: Option<ExitReason>,
    /// Whether `due` counts from the end of the service that goes on: of the first request, and of a sleep.
    pub(super) due_from_done: bool,
    /// Whether it has threads to start before anything else.
    pub(super) starts_threads: bool,
    /// The processor it ran on last.
    pub(super) cpu: Cpu,
    /// Its event in the queue, while it is asleep.
    pub(super) wake: Option<EventId>,
    /// When its next request is due.
    pub(super) due: Nanos,
    /// When its life time is over.
    pub(super) ends: Nanos,
    /// What it asks for; nothing in a free place, nor where threads make the main one's requests in turns.
    pub(super) stream: Option<Stream>,
    pub(super) next: Next,
    /// What it has got; nothing as long as it has asked for nothing. The process's own is the main thread's.
    pub(super) memory: Option<Box<Memory>>,
}

// A million sleeping processes must fit in little memory.
const _: () = assert!(size_of::<Process>() <= 128);

/// The next request. Those that ask for memory are kept beside the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Next {
    Nothing,
    Sleep {
        thread: ThreadId,
        gap: Nanos,
    },
    Exit {
        thread: ThreadId,
        gap: Nanos,
    },
    /// The end, once other threads have come to theirs.
    ExitAfterOthers,
    InMemory,
}

impl Process {
    /// Nobody: a free place in the table.
    pub(super) const NOBODY: Process = Process {
        name: ProcessName { group: 0, ordinal: 0, pid: None },
        thread: ThreadId(0),
        main: ProcessId(0),
        state: State::Nobody,
        leaves: None,
        due_from_done: false,
        starts_threads: false,
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
            Next::ExitAfterOthers => Some(Timed { gap: Nanos(0), thread: self.thread, request: Request::Exit }),
            Next::InMemory => self.memory.as_ref()?.next,
        }
    }

    /// The gap before it.
    #[inline]
    fn next_gap(&self) -> Option<Nanos> {
        match self.next {
            Next::Nothing => None,
            Next::Sleep { gap, .. } | Next::Exit { gap, .. } => Some(gap),
            Next::ExitAfterOthers => Some(Nanos(0)),
            Next::InMemory => Some(self.memory.as_ref()?.next.as_ref()?.gap),
        }
    }

    /// Sets it; whether it is a sleep.
    #[inline]
    pub(super) fn set_next(&mut self, timed: &Timed) -> bool {
        let Timed { gap, thread, .. } = *timed;
        self.next = match timed.request {
            Request::Sleep => Next::Sleep { thread, gap },
            Request::Exit => Next::Exit { thread, gap },
            _ => {
                let memory = self.memory.get_or_insert_default();
                memory.next = Some(*timed);
                memory.bring_near(&timed.request);
                Next::InMemory
            }
        };
        matches!(timed.request, Request::Sleep)
    }

    /// The next request is its own.
    #[inline]
    pub(super) fn take_turn(&mut self, next: &Timed, due: Nanos, from_done: bool) {
        self.set_next(next);
        (self.due, self.due_from_done) = (due, from_done);
    }

    /// When the first block that ends by itself does so.
    #[inline]
    fn first_life_ends(&self) -> Option<Nanos> {
        Some(self.memory.as_ref()?.lives.first()?.ends)
    }

    /// When the next action is due, after a service that ends at `done`.
    #[inline]
    pub(super) fn next_due(&mut self, done: Nanos) -> Nanos {
        if self.leaves.is_some() || self.starts_threads {
            return done;
        }
        let Some(gap) = self.next_gap() else { return done };
        if std::mem::take(&mut self.due_from_done) {
            self.due = Nanos(done.0.saturating_add(gap.0));
        }
        self.wakes()
    }

    /// When the first of what it has to do is due.
    #[inline]
    pub(super) fn wakes(&self) -> Nanos {
        let life = self.first_life_ends().unwrap_or(NEVER);
        self.request_due().min(life).min(self.ends)
    }

    /// When its next request is due: never, while its end waits for others.
    #[inline]
    pub(super) fn request_due(&self) -> Nanos {
        if matches!(self.next, Next::ExitAfterOthers) { NEVER } else { self.due }
    }

    /// Whether it is a thread beside the main one that has requests of its own.
    pub(super) fn is_of_many(&self) -> bool {
        self.thread != ThreadId(0) && self.stream.is_some()
    }

    /// Whether another thread of the process has the turn.
    #[inline]
    pub(super) fn is_parked(&self) -> bool {
        matches!(self.next, Next::Nothing) && self.leaves.is_none() && !self.starts_threads
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
    /// Whether the heap is to be told the time before each call.
    pub(super) keeps_time: bool,
    /// Bytes asked for of live blocks.
    pub(super) live_bytes: u64,
    /// What the totals know of it, beyond the pages of its image.
    pub(super) holdings: Holdings,
    /// The block that a call resizes, as it was. Of no meaning between calls.
    pub(super) resized: Live,
    /// Whether its bound memory may have changed since the totals were told; then it is in the list of its group.
    pub(super) is_untold: bool,
    /// Its live blocks by class, once it has a heap.
    pub(super) classes: Option<Box<ProcessClasses>>,
    pub(super) slots: Vec<Slotted>,
    /// Blocks that end by themselves, earliest first.
    pub(super) lives: Heap<Life>,
    /// Blocks that ever had a life.
    pub(super) lives_begun: u64,
    /// The process's threads beside the main one, once it has any.
    pub(super) team: Option<Box<Team>>,
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

    /// Whether it is a request that the next one takes the place of: not what is tried again, nor the last.
    #[inline]
    pub(super) fn makes_room(&self) -> bool {
        self.since.is_none() && matches!(self.call, Call::Request(request) if !matches!(request, Request::Exit))
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

/// What a slot holds, in 16 bytes: a recorded program has as many slots as it ever had live blocks, and uses them at random.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slotted {
    /// An address or a first frame in the low 62 bits, its kind above: 0 for nothing.
    kind_and_place: u64,
    /// Bytes or frames.
    length: u64,
}

const KIND_SHIFT: u32 = 62;
const _: () = assert!(size_of::<Slotted>() == 16);

impl From<Held> for Slotted {
    #[inline]
    fn from(held: Held) -> Slotted {
        let (kind, place, length) = match held {
            Held::Empty => (0, 0, 0),
            Held::Block { at, bytes } => (1, at.0, bytes),
            Held::Frames(run) => (2, run.start.0, run.frames),
            Held::Mapping { at, bytes } => (3, at.0, bytes),
        };
        assert!(place >> KIND_SHIFT == 0, "addresses of a process have fewer than 48 bits, frames fewer than 33");
        Slotted { kind_and_place: (kind << KIND_SHIFT) | place, length }
    }
}

impl From<Slotted> for Held {
    #[inline]
    fn from(Slotted { kind_and_place, length }: Slotted) -> Held {
        let place = kind_and_place & !(3 << KIND_SHIFT);
        match kind_and_place >> KIND_SHIFT {
            0 => Held::Empty,
            1 => Held::Block { at: Address(place), bytes: length },
            2 => Held::Frames(FrameRun::new(place, length)),
            _ => Held::Mapping { at: Address(place), bytes: length },
        }
    }
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
    /// What it holds, with what its heap says now of bound memory.
    pub(super) fn told(&self) -> Holdings {
        let bound = self.heap.as_deref().map_or(Bound::default(), |heap| Bound::of(&heap.stats()));
        Holdings { bound, ..self.holdings }
    }

    #[inline]
    pub(super) fn begin_life(&mut self, ends: Nanos, at: Address, bytes: u64) {
        self.lives.push(Life { ends, number: self.lives_begun, at, bytes });
        self.lives_begun += 1;
    }

    #[inline]
    pub(super) fn held(&self, slot: Slot) -> Held {
        self.slots.get(index(u64::from(slot.0))).copied().unwrap_or_default().into()
    }

    #[inline]
    pub(super) fn hold(&mut self, slot: Slot, held: Held) {
        let place = index(u64::from(slot.0));
        if self.slots.len() <= place {
            self.add_slots(place + 1);
        }
        self.slots[place] = held.into();
    }

    #[cold]
    fn add_slots(&mut self, slots: usize) {
        self.slots.resize(slots, Slotted::default());
    }

    /// Looks at a slot that the next call is going to need, so that it is near by then: programs free their blocks in an
    /// order that no cache foresees.
    #[inline]
    fn bring_near(&self, request: &Request) {
        if let Request::Free { slot } = request {
            std::hint::black_box(self.slots.get(index(u64::from(slot.0))).map(|slotted| slotted.length));
        }
    }
}

/// A block that is freed at a time. Blocks of one end are freed as they were got.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Life {
    pub(super) ends: Nanos,
    pub(super) number: u64,
    pub(super) at: Address,
    pub(super) bytes: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_what_was_put_into_it() {
        let mut memory = Memory::default();
        let kinds = [
            Held::Block { at: Address((1 << 47) - 16), bytes: u64::MAX },
            Held::Frames(FrameRun::new((1 << 32) - 1, 7)),
            Held::Mapping { at: Address(0x7fff_f7ff_f000), bytes: 0 },
            Held::Block { at: Address(0), bytes: 0 },
            Held::Empty,
        ];
        for held in kinds {
            memory.hold(Slot(2), held);
            assert_eq!(memory.held(Slot(2)), held);
        }
        assert_eq!(memory.held(Slot(1)), Held::Empty, "a slot below one that was used");
        assert_eq!(memory.held(Slot(9)), Held::Empty, "a slot that nobody used");
    }
}
