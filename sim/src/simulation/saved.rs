//! Checkpoints: the whole state of a run as bytes, and back.

use std::collections::VecDeque;
use std::sync::Arc;

use framesim_models::Nanos;
use framesim_models::kernel::{self, KernelState};
use framesim_workloads::requests::{Requests, Stream, Timed};
use framesim_workloads::trace::TraceError;
use serde::{Deserialize, Serialize};

use super::costs::Costs;
use super::happened::{ExitReason, ProcessName};
use super::memory::Waiter;
use super::process::{Held, Holdings, Life, Process, ProcessId, State, Work};
use super::processors::Processors;
use super::setup::Group;
use super::tally::Tally;
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
    trajectory: Trajectory,
    tally: Tally,
}

#[derive(Serialize, Deserialize)]
struct SavedProcess {
    name: ProcessName,
    state: State,
    cpu: framesim_models::Cpu,
    wake: Option<EventId>,
    due: Nanos,
    ends: Nanos,
    arrival: u64,
    work: Option<SavedWork>,
}

#[derive(Serialize, Deserialize)]
struct SavedWork {
    stream: Stream,
    next: Option<Timed>,
    leaves: Option<ExitReason>,
    gap_from_done: Option<Nanos>,
    heap: Option<Vec<u8>>,
    live_bytes: u64,
    holdings: Holdings,
    slots: Vec<Held>,
    lives: Heap<Life>,
    lives_begun: u64,
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
            trajectory: saved.trajectory,
            tally: saved.tally,
            limits: workload.limits,
            setting: Arc::new(saved.setting),
        })
    }
}

impl SavedProcess {
    fn of(process: &Process) -> SavedProcess {
        let Process { name, state, cpu, wake, due, ends, arrival, ref work } = *process;
        SavedProcess { name, state, cpu, wake, due, ends, arrival, work: work.as_deref().map(SavedWork::of) }
    }

    fn restore(self, groups: &[Group], registries: &Registries) -> Result<Process, RestoreError> {
        let SavedProcess { name, state, cpu, wake, due, ends, arrival, work } = self;
        let heap = groups.get(name.group as usize).map_or("", |group| group.heap.name());
        let work = work.map(|work| work.restore(heap, registries).map(Box::new)).transpose()?;
        Ok(Process { name, state, cpu, wake, due, ends, arrival, work })
    }
}

impl SavedWork {
    fn of(work: &Work) -> SavedWork {
        SavedWork {
            stream: work.stream.clone(),
            next: work.next,
            leaves: work.leaves,
            gap_from_done: work.gap_from_done,
            heap: work.heap.as_ref().map(|heap| heap.save()),
            live_bytes: work.live_bytes,
            holdings: work.holdings,
            slots: work.slots.clone(),
            lives: work.lives.clone(),
            lives_begun: work.lives_begun,
        }
    }

    fn restore(self, heap_name: &str, registries: &Registries) -> Result<Work, RestoreError> {
        let heap = self.heap.map(|saved| {
            let heap = registries.heaps.restore(heap_name, &saved);
            heap.ok_or_else(|| RestoreError::Heap(heap_name.to_owned()))
        });
        Ok(Work {
            stream: self.stream,
            next: self.next,
            leaves: self.leaves,
            gap_from_done: self.gap_from_done,
            heap: heap.transpose()?,
            live_bytes: self.live_bytes,
            holdings: self.holdings,
            slots: self.slots,
            lives: self.lives,
            lives_begun: self.lives_begun,
        })
    }
}
