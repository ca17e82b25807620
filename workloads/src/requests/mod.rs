//! What processes ask for, one request after the other.
//!
//! [`Requests`] holds what the processes of a workload share: scripts, laws, open recordings. A process keeps a small
//! [`Stream`], which says who it is and how far it is.
//!
//! **Invariant.** What a stream asks for depends on the workload, the seed and the process's name (`web/3`) alone: not on the
//! machine, on another group, or on what became of earlier requests.

mod arrivals;
mod mix;
mod replay;
mod script;
#[cfg(test)]
mod tests;

use std::path::Path;

use framesim_models::{Nanos, ThreadId};
use serde::{Deserialize, Serialize};

pub use arrivals::Arrivals;

use crate::laws::Sampler;
use crate::spec::{Does, Group, Workload};
use crate::streams::{Blocks, Domain, Seeds};
use crate::trace::TraceError;
use mix::Mixture;
use replay::{Readers, Replay};
use script::Script;

/// What all processes of a workload ask for.
#[derive(Clone, Debug)]
pub struct Requests {
    seeds: Seeds,
    groups: Vec<GroupPlan>,
    /// Only a memory of what was computed.
    blocks: Blocks,
    /// Only open files.
    readers: Readers,
}

#[derive(Clone, Debug)]
struct GroupPlan {
    name: String,
    arrivals: arrivals::Plan,
    life: Option<Sampler>,
    does: Plan,
}

#[derive(Clone, Debug)]
enum Plan {
    Script(Script),
    Mix(Mixture),
    Replay(Replay),
}

/// Who a process is: how it came to be in its group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Origin {
    /// It arrived, as the n-th of its group, from 0.
    Arrived(u64),
    /// Another process spawned it, or it is a thread beside the main one; its whole name. The outer box keeps the others
    /// small.
    #[expect(clippy::box_collection, reason = "8 bytes in a million processes that arrived instead of 24")]
    Named(Box<String>),
}

/// How far one process is in what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    group: u32,
    origin: Origin,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Script {
        progress: script::Progress,
        /// Processes spawned so far.
        spawned: u32,
    },
    Mix(Box<mix::Progress>),
    Replay(replay::Progress),
    Ended,
}

/// How the threads of a process come to their requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One stream says for each request which thread makes it: one after the other, each when the one before is served.
    InTurns,
    /// Each thread has a stream of its own; but the last ones, consumers, only free what others got.
    OnTheirOwn {
        /// All threads, the main one included.
        count: u32,
        /// Of them.
        consumers: u32,
    },
}

/// Longer names of spawned processes are replaced by their hash.
const NAME_BYTES_MOST: usize = 128;

impl Requests {
    /// What the processes of `workload` ask for in one of its replicas; trace files are looked for from `folder`.
    ///
    /// # Errors
    /// When a trace file cannot be opened or is no trace.
    pub fn new(workload: &Workload, replica: u32, folder: &Path) -> Result<Requests, TraceError> {
        let plan = |group: &Group| GroupPlan {
            name: group.name.clone(),
            arrivals: arrivals::Plan::of(group),
            life: group.live.as_ref().map(Sampler::of),
            does: match &group.does {
                Does::Script(steps) => Plan::Script(Script::of(steps, &workload.processes)),
                Does::Mix(mix) => Plan::Mix(Mixture::of(mix)),
                Does::Trace(recorded) => Plan::Replay(Replay::of(recorded, folder)),
            },
        };
        let groups: Vec<GroupPlan> = workload.processes.iter().map(plan).collect();
        let mut readers = Readers::default();
        for (number, group) in (0..).zip(&groups) {
            if let Plan::Replay(replay) = &group.does {
                readers.try_open(number, replay)?;
            }
        }
        Ok(Requests { seeds: Seeds::new(workload.seed, replica), groups, blocks: Blocks::default(), readers })
    }

    /// The root of all streams, for models that flip coins.
    #[must_use]
    pub fn seeds(&self) -> &Seeds {
        &self.seeds
    }

    /// When the processes of a group arrive.
    ///
    /// # Panics
    /// When there is no such group.
    #[must_use]
    pub fn arrivals(&self, group: u32) -> Arrivals {
        let plan = &self.groups[at(group)];
        Arrivals::of(self.seeds.key(Domain::Workload, &plan.name, "arrivals"), group)
    }

    /// The next arrival; `None` after the last. As many processes start at it as the group's `count` says.
    pub fn next_arrival(&mut self, arrivals: &mut Arrivals) -> Option<Nanos> {
        let (seeds, plan) = (&self.seeds, &self.groups[at(arrivals.group())]);
        let overflow = || seeds.key(Domain::Workload, &plan.name, "overflow");
        plan.arrivals.next(arrivals, &mut self.blocks, overflow)
    }

    /// The stream of the `ordinal`-th process of a group to arrive, from 0.
    ///
    /// # Panics
    /// When there is no such group.
    #[must_use]
    pub fn start(&self, group: u32, ordinal: u64) -> Stream {
        self.start_as(group, Origin::Arrived(ordinal))
    }

    /// The stream of a process of `group` that `parent` spawns now.
    ///
    /// # Panics
    /// When there is no such group, or the parent runs no script.
    #[must_use]
    pub fn spawn(&self, parent: &mut Stream, group: u32) -> Stream {
        let State::Script { spawned, .. } = &mut parent.state else {
            panic!("only scripts spawn");
        };
        let ordinal = *spawned;
        *spawned += 1;
        let mut name = format!("{}/f{ordinal}", self.name(parent));
        if name.len() > NAME_BYTES_MOST {
            name = format!("#{}", blake3::hash(name.as_bytes()).to_hex());
        }
        self.start_as(group, Origin::Named(Box::new(name)))
    }

    /// The threads of a group's processes.
    ///
    /// # Panics
    /// When there is no such group.
    #[must_use]
    pub fn threads(&self, group: u32) -> Threads {
        match &self.groups[at(group)].does {
            Plan::Mix(mixture) => Threads::OnTheirOwn { count: mixture.threads, consumers: mixture.consumers() },
            Plan::Script(_) | Plan::Replay(_) => Threads::InTurns,
        }
    }

    /// The stream of a thread beside the main one, whose stream is `main`; `times` as often was it started before.
    #[must_use]
    pub fn start_thread(&self, main: &Stream, thread: ThreadId, times: u32) -> Stream {
        let again = if times == 0 { String::new() } else { format!(".{times}") };
        let name = format!("{}/t{}{again}", self.name(main), thread.0);
        let mut stream = self.start_as(main.group, Origin::Named(Box::new(name)));
        if let State::Mix(progress) = &mut stream.state {
            progress.thread = thread;
        }
        stream
    }

    /// How long a thread beside the main one lives at most.
    pub fn thread_life(&mut self, stream: &Stream) -> Option<Nanos> {
        let Plan::Mix(mixture) = &self.groups[at(stream.group)].does else { return None };
        let law = mixture.thread_life.as_ref()?;
        let name = process_name(&self.groups, stream.group, &stream.origin);
        Some(Nanos(law.draw(&mut self.seeds.coins(Domain::Workload, &name, "life"))))
    }

    fn start_as(&self, group: u32, origin: Origin) -> Stream {
        let state = match &self.groups[at(group)].does {
            Plan::Script(_) => State::Script { progress: script::Progress::START, spawned: 0 },
            Plan::Mix(_) => {
                let name = process_name(&self.groups, group, &origin);
                State::Mix(Box::new(mix::Progress::start(self.seeds.key(Domain::Workload, &name, "requests"))))
            }
            Plan::Replay(_) => State::Replay(replay::Progress::START),
        };
        Stream { group, origin, state }
    }

    /// The process's name: `web/3` for the fourth of the group to arrive, `web/3/f0` for the first one that it spawned.
    #[must_use]
    pub fn name(&self, stream: &Stream) -> String {
        process_name(&self.groups, stream.group, &stream.origin)
    }

    /// How long the process lives at most; `None` for one that ends by itself.
    pub fn life(&mut self, stream: &Stream) -> Option<Nanos> {
        let law = self.groups[at(stream.group)].life.as_ref()?;
        let name = process_name(&self.groups, stream.group, &stream.origin);
        let mut coins = self.seeds.coins(Domain::Workload, &name, "life");
        Some(Nanos(law.draw(&mut coins)))
    }

    /// What a process that replays a recording asks for next, where it was read to. `None` for every other process and at the end:
    /// then [`Requests::next`] tells.
    ///
    /// # Errors
    /// As [`Requests::next`].
    #[inline]
    pub fn next_recorded(&mut self, stream: &mut Stream) -> Result<Option<&Timed>, TraceError> {
        match (&mut stream.state, &self.groups[at(stream.group)].does) {
            (State::Replay(progress), Plan::Replay(replay)) => replay.next(progress, stream.group, &mut self.readers),
            _ => Ok(None),
        }
    }

    /// What the process asks for next; `Exit` at the end and ever after.
    ///
    /// # Errors
    /// When a recording is damaged.
    #[inline]
    pub fn next(&mut self, stream: &mut Stream) -> Result<Timed, TraceError> {
        const EXIT: Timed = Timed { gap: Nanos(0), thread: ThreadId(0), request: Request::Exit };
        let asked = match (&mut stream.state, &self.groups[at(stream.group)].does) {
            (State::Mix(progress), Plan::Mix(mixture)) => {
                let (seeds, groups, origin) = (&self.seeds, &self.groups, &stream.origin);
                let name = || process_name(groups, stream.group, origin);
                mixture.next(progress, &mut self.blocks, || seeds.key(Domain::Workload, &name(), "overflow"))
            }
            (State::Script { progress, .. }, Plan::Script(script)) => script.next(progress),
            (State::Replay(progress), Plan::Replay(replay)) => {
                match replay.next(progress, stream.group, &mut self.readers)? {
                    Some(asked) => return Ok(*asked),
                    None => {
                        self.readers.close(progress);
                        EXIT
                    }
                }
            }
            (State::Ended, _) => EXIT,
            _ => unreachable!("a stream does what its group does"),
        };
        if asked.request == Request::Exit {
            stream.state = State::Ended;
        }
        Ok(asked)
    }

    /// Forgets what is kept for a process that ends before its stream does.
    pub fn close(&mut self, stream: &Stream) {
        if let State::Replay(progress) = &stream.state {
            self.readers.close(progress);
        }
    }

    /// The name that a script of the group has for a slot.
    #[must_use]
    pub fn slot_name(&self, group: u32, slot: Slot) -> Option<&str> {
        match &self.groups[at(group)].does {
            Plan::Script(script) => script.names.get(at(slot.0)).map(String::as_str),
            Plan::Mix(_) | Plan::Replay(_) => None,
        }
    }
}

impl Stream {
    /// The process's group.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.group
    }
}

fn at(group: u32) -> usize {
    framesim_models::index(u64::from(group))
}

fn process_name(groups: &[GroupPlan], group: u32, origin: &Origin) -> String {
    match origin {
        Origin::Arrived(ordinal) => format!("{}/{ordinal}", groups[at(group)].name),
        Origin::Named(name) => name.as_str().to_owned(),
    }
}

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
        /// It is freed this long after it was got,
        life: Option<Nanos>,
        /// by this thread.
        freed_by: ThreadId,
    },
    /// A zeroed block.
    Calloc {
        /// Where it goes.
        slot: Slot,
        /// Elements.
        count: u64,
        /// Bytes of each.
        bytes: u64,
        /// Bytes the program writes at once, from the start.
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
    /// The thread that asks ends.
    EndThread,
    /// The process ends; of threads with requests of their own ([`Threads::OnTheirOwn`]), only the one that asks.
    Exit,
}
