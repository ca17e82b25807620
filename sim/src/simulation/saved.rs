//! Checkpoints: the whole state of a run as bytes, and back.

use std::collections::VecDeque;
use std::sync::Arc;

use framesim_models::kernel::{self, KernelState};
use framesim_models::{Cpu, Nanos, ThreadId};
use framesim_workloads::requests::{Requests, Stream, Timed};
use framesim_workloads::trace::TraceError;
use serde::{Deserialize, Serialize};

use super::costs::Costs;
use super::happened::{ExitReason, Happened, ProcessName};
use super::heaps::{Holdings, Live, ProcessClasses};
use super::memory::Waiter;
use super::process::{Held, Life, Memory, Next, Process, ProcessId, Slotted, State};
use super::processors::Processors;
use super::setup::Group;
use super::tally::Tally;
use super::threads::Team;
use super::{Event, Machine, RESULTS_VERSION, RunState, Setting, Simulation};
use crate::Registries;
use crate::digest::Trajectory;
use crate::queue::heap::Heap;
use crate::queue::{EventId, EventQueue};

/// Why a checkpoint cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bytes are not a checkpoint.
    #[error("not a checkpoint: {0}")]
    Format(#[from] postcard::Error),
    /// It was written by a version that gives other results.
    #[error("the checkpoint has results version {found}, this program has {ours}")]
    Version {
        /// The checkpoint's.
        found: u32,
        /// This program's.
        ours: u32,
    },
    /// A recorded trace that is still needed.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Its kernel.
    #[error(transparent)]
    Kernel(#[from] kernel::RestoreError),
    /// No heap of that name is registered, or the bytes are not its state.
    #[error("the state is not one of the heap `{0}`")]
    Heap(String),
}

#[derive(Serialize, Deserialize)]
struct Saved {
    setting: Setting,
    now: Nanos,
    over: Option<RunState>,
    queue: EventQueue<Event>,
    at_hand: Option<(Nanos, Event)>,
    processes: Vec<SavedProcess>,
    vacant: Vec<ProcessId>,
    by_pid: Vec<Option<ProcessId>>,
    groups: Vec<Group>,
    kernel: KernelState,
    processors: Processors,
    waiting: VecDeque<Waiter>,
    retried: Option<Waiter>,
    kill_is_due: bool,
    blocks_most: u64,
    trajectory: Trajectory,
    tally: Tally,
}

#[derive(Serialize, Deserialize)]
struct SavedProcess {
    name: ProcessName,
    thread: ThreadId,
    main: ProcessId,
    state: State,
    leaves: Option<ExitReason>,
    due_from_done: bool,
    starts_threads: bool,
    cpu: Cpu,
    wake: Option<EventId>,
    due: Nanos,
    ends: Nanos,
    stream: Option<Stream>,
    next: Option<Timed>,
    next_is_after_others: bool,
    memory: Option<SavedMemory>,
}

#[derive(Serialize, Deserialize)]
struct SavedMemory {
    heap: Option<Vec<u8>>,
    live_bytes: u64,
    holdings: Holdings,
    is_untold: bool,
    classes: Option<Box<ProcessClasses>>,
    slots: Vec<Held>,
    lives: Heap<Life>,
    lives_begun: u64,
    team: Option<Box<Team>>,
}

impl Simulation {
    /// The whole state, to be gone on with by [`Simulation::restore`].
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let saved = Saved {
            setting: (*self.setting).clone(),
            now: self.now,
            over: self.over,
            queue: self.queue.clone(),
            at_hand: self.at_hand,
            processes: self.processes.iter().map(SavedProcess::of).collect(),
            vacant: self.vacant.clone(),
            by_pid: self.by_pid.clone(),
            groups: self.groups.clone(),
            kernel: self.machine.kernel.save(),
            processors: self.machine.processors.clone(),
            waiting: self.waiting.clone(),
            retried: self.retried,
            kill_is_due: self.kill_is_due,
            blocks_most: self.blocks_most,
            trajectory: self.trajectory,
            tally: self.tally.clone(),
        };
        postcard::to_stdvec(&(RESULTS_VERSION, saved)).expect("the state is plain data")
    }

    /// The simulation that [`Simulation::save`] wrote, with the models of `registries`.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(bytes: &[u8], registries: &Registries) -> Result<Simulation, RestoreError> {
        let (found, rest): (u32, &[u8]) = postcard::take_from_bytes(bytes)?;
        if found != RESULTS_VERSION {
            return Err(RestoreError::Version { found, ours: RESULTS_VERSION });
        }
        let saved: Saved = postcard::from_bytes(rest)?;
        let workload = &saved.setting.workload;
        let processes = saved.processes.into_iter().map(|process| process.restore(&saved.groups, registries));
        Ok(Simulation {
            heaps: Arc::new(registries.heaps.clone()),
            requests: Requests::new(workload, saved.setting.replica, &saved.setting.folder)?,
            now: saved.now,
            over: saved.over,
            queue: saved.queue,
            at_hand: saved.at_hand,
            processes: processes.collect::<Result<_, _>>()?,
            vacant: saved.vacant,
            by_pid: saved.by_pid,
            machine: Machine {
                kernel: saved.kernel.restore(&registries.frames)?,
                processors: saved.processors,
                costs: Costs::new(workload.machine.costs, workload.machine.page.0),
                out_of_memory: workload.machine.out_of_memory,
            },
            groups: saved.groups,
            waiting: saved.waiting,
            retried: saved.retried,
            kill_is_due: saved.kill_is_due,
            to_wake: None,
            trajectory: saved.trajectory,
            tally: saved.tally,
            blocks_most: saved.blocks_most,
            limits: workload.limits,
            last: Happened::NONE,
            setting: Arc::new(saved.setting),
        })
    }
}

impl SavedProcess {
    fn of(process: &Process) -> SavedProcess {
        SavedProcess {
            name: process.name,
            thread: process.thread,
            main: process.main,
            state: process.state,
            leaves: process.leaves,
            due_from_done: process.due_from_done,
            starts_threads: process.starts_threads,
            next_is_after_others: process.next == Next::ExitAfterOthers,
            cpu: process.cpu,
            wake: process.wake,
            due: process.due,
            ends: process.ends,
            stream: process.stream.clone(),
            next: process.next_request(),
            memory: process.memory.as_deref().map(SavedMemory::of),
        }
    }

    fn restore(self, groups: &[Group], registries: &Registries) -> Result<Process, RestoreError> {
        let heap = groups.get(self.name.group as usize).map_or("", |group| group.heap.name());
        let memory = self.memory.map(|memory| memory.restore(heap, registries).map(Box::new));
        let mut process = Process {
            name: self.name,
            thread: self.thread,
            main: self.main,
            state: self.state,
            leaves: self.leaves,
            due_from_done: self.due_from_done,
            starts_threads: self.starts_threads,
            cpu: self.cpu,
            wake: self.wake,
            due: self.due,
            ends: self.ends,
            stream: self.stream,
            memory: memory.transpose()?,
            ..Process::NOBODY
        };
        if let Some(next) = self.next {
            process.set_next(&next);
        }
        if self.next_is_after_others {
            process.next = Next::ExitAfterOthers;
        }
        Ok(process)
    }
}

impl SavedMemory {
    fn of(memory: &Memory) -> SavedMemory {
        SavedMemory {
            heap: memory.heap.as_ref().map(|heap| heap.save()),
            live_bytes: memory.live_bytes,
            holdings: memory.holdings,
            is_untold: memory.is_untold,
            classes: memory.classes.clone(),
            slots: memory.slots.iter().map(|&slotted| slotted.into()).collect(),
            lives: memory.lives.clone(),
            lives_begun: memory.lives_begun,
            team: memory.team.clone(),
        }
    }

    fn restore(self, heap_name: &str, registries: &Registries) -> Result<Memory, RestoreError> {
        let heap = self.heap.map(|saved| {
            let heap = registries.heaps.restore(heap_name, &saved);
            heap.ok_or_else(|| RestoreError::Heap(heap_name.to_owned()))
        });
        let heap = heap.transpose()?;
        Ok(Memory {
            next: None,
            resized: Live::default(),
            keeps_time: heap.as_ref().is_some_and(|heap| heap.keeps_time()),
            heap,
            live_bytes: self.live_bytes,
            holdings: self.holdings,
            is_untold: self.is_untold,
            classes: self.classes,
            slots: self.slots.into_iter().map(Slotted::from).collect(),
            lives: self.lives,
            lives_begun: self.lives_begun,
            team: self.team,
        })
    }
}
