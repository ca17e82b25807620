//! A run: the clock, the queue of events, the processes and one machine.
//!
//! # Models
//! A machine with a few processors and one memory, on which processes of a workload run one request after the other. What a request
//! does to memory is the kernel's and the heap's business (crate `framesim-models`); when it happens and what it costs is said here.
//!
//! # Rules
//! 1. **Arrival.** A process that arrives wants a processor. Its first service is its start: the kernel loads its program (cost
//!    `spawn`). Its life time, where its group has one, counts from its arrival.
//! 2. **Requests** are due one after the other: each a gap after the one before it was due, the first a gap after the start was
//!    done. A block with a life is freed that long after it was got. A `sleep` is a gap.
//! 3. **Readiness.** A process whose next action is due wants a processor. It gets an idle one (the one it ran on last, else the
//!    lowest), or stands at the end of the ready queue. Of its actions the earliest is served, at one time the end of a block's
//!    life before its next request; the end of its own life time, once it has come, before all others.
//! 4. **Service** takes effect at once and keeps the processor for its cost: `malloc` or `free`, plus `system_call` for each system
//!    call, `fault` for each page fault and `zero_page` for each page zeroed, plus `context_switch` when the processor ran another
//!    process before. A service is not interrupted.
//! 5. **Round robin.** After a service the process goes on if its next action is due, unless it has used its quantum and another is
//!    ready: then it goes to the end of the ready queue. Otherwise it leaves the processor and sleeps.
//! 6. **Out of memory.** A request that finds no frame is, by the machine's rule,
//!    - `fail`: refused. A new block of which not all can be written is given back. The process goes on or ends, as its group says.
//!    - `wait`: put at the end of one queue, first come first served. When frames were freed the first in the queue is tried again,
//!      once at least as many frames and as long a run are free as it lacked; then the next. A process that finds frames at once
//!      does not queue up.
//!    - `kill`: tried again after the kernel has ended the process with the most resident frames (of several, the one with the
//!      lowest number), as often as it takes. It may be the one that asks. A request larger than all of memory, or of the only process
//!      left, is refused.
//! 7. **Ends.** A process ends when its requests end, when its life time is over, or when it is killed. All its frames go back.
//! 8. **Threads.** A thread beside the main one is started by a service of another (cost `thread_start`) that gives it a
//!    stack ([`pthread`](framesim_models::pthread)) and its frames in the kernel. It is scheduled as processes are: threads
//!    of one process run at the same time on several processors; switching between them is a context switch.
//!    - Threads of a mix have requests of their own. The main one starts them all before its first request. One whose requests
//!      or life time end ends (cost `thread_end`): the heap gets back what it kept for it, its stacks go, and blocks that it
//!      would have freed are the main thread's. Where life times are given, the main thread starts another one instead. A main
//!      thread without requests waits for the others (`join`); then the process ends. Consumers end with the last producer.
//!    - Threads of a script or a recording make one sequence of requests in turns: the next one wants a processor when
//!      the one before is served, not before its request is due. A thread is started by the one that had the turn before its
//!      first request, and ends with the process or where a script says so.
//!    - A thread that cannot be started is done without. What it would have freed, and its turns, are the main thread's; the
//!      heap knows the turns by the thread's own number.
//! 9. **Ties.** At one time processors that are done go first, then kills, then processes that wake, then arrivals; within each,
//!    in the order they were scheduled.
//!
//! # Invariants
//! Verified by `check`: a process, or thread, has at most one event in the queue; it is asleep, ready, running or waiting, never two of them;
//! a processor is idle only when no process is ready. Whoever looks on (a probe, a record, a log) changes nothing.
//!
//! # Cost
//! An event costs O(1) beside what the models do. A process at rest takes a record of a few dozen bytes, and its event.
//!
//! # Left out
//! Preemption within a service, priorities, affinity beyond the last processor. Locks: calls of two threads on one heap take
//! effect one after the other, at one time in the order of their events, and none waits for another.

mod attempt;
mod costs;
mod happened;
mod heaps;
mod lives;
mod memory;
mod process;
mod processors;
mod saved;
mod serve;
mod setup;
mod summary;
mod tally;
#[cfg(test)]
mod tests;
mod threads;

use std::collections::VecDeque;
use std::sync::Arc;

use framesim_models::heap::{self, HeapAllocator, HeapRegistry};
use framesim_models::kernel::{FrameChange, HandedOver, Kernel, SystemCall};
use framesim_models::{Cpu, Nanos, Pid, ThreadId, Violation, ensure};
use framesim_workloads::requests::{Requests, Slot};
use framesim_workloads::spec::{Limits, OutOfMemoryRule};
use framesim_workloads::trace::TraceError;
use serde::{Deserialize, Serialize};

pub use happened::{Call, Cause, ExitReason, Happened, Outcome, ProcessName, Refusal};
pub use heaps::{FootprintRatios, HeapLevels, HeapMeans, HeapMoment, HeapSummary, LargestProcess, SizeClass};
pub use saved::RestoreError;
pub use setup::{Setting, SetupError};
pub use summary::{
    Calls, Failures, Levels, Order, ProcessCounts, ProcessorCounts, RegionFrames, RunState, Summary, ThreadCounts,
    Waits, Worst,
};

use self::costs::Costs;
use self::heaps::{Bound, Holdings, ProcessClasses};
use self::memory::Waiter;
use self::process::{Process, ProcessId, State};
use self::processors::Processors;
use self::setup::Group;
use self::tally::Tally;
use crate::digest::{Digest, Sealer, Trajectory};
use crate::queue::EventQueue;

/// Version of all results: the same workload and seed give the same digest as long as this stays.
pub const RESULTS_VERSION: u32 = 4;

/// What the queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Event {
    /// The work of a processor is done.
    WorkDone(Cpu),
    /// The kernel looks for a process to end, for the first that waits.
    Kill,
    /// The next action of a process is due.
    Wake(ProcessId),
    /// Processes of a group arrive.
    Arrive(u32),
    /// The workload's `until`.
    TimeOver,
}

impl Event {
    fn priority(self) -> u8 {
        match self {
            Event::WorkDone(_) => 0,
            Event::Kill => 1,
            Event::Wake(_) => 2,
            Event::Arrive(_) => 3,
            Event::TimeOver => u8::MAX,
        }
    }
}
const _: () = assert!(size_of::<Event>() <= 16, "events are small");

/// A workload in motion. See the [module page](self) for the rules.
#[derive(Clone)]
pub struct Simulation {
    setting: Arc<Setting>,
    heaps: Arc<HeapRegistry>,
    requests: Requests,
    now: Nanos,
    /// Why nothing more will happen.
    over: Option<RunState>,
    queue: EventQueue<Event>,
    /// The event scheduled last, while it may turn out to be the next: it then never enters the queue.
    at_hand: Option<(Nanos, Event)>,
    processes: Vec<Process>,
    /// Places of `processes` that are free.
    vacant: Vec<ProcessId>,
    /// Whose process a pid is.
    by_pid: Vec<Option<ProcessId>>,
    groups: Vec<Group>,
    machine: Machine,
    /// Processes that wait for memory, first come first.
    waiting: VecDeque<Waiter>,
    /// The one of them that is being tried again.
    retried: Option<Waiter>,
    kill_is_due: bool,
    /// The thread that is to be woken when the service that goes on is done; nobody between events.
    to_wake: Option<ProcessId>,
    trajectory: Trajectory,
    tally: Tally,
    limits: Limits,
    /// Live blocks that the limits allow beside the processes that are there.
    blocks_most: u64,
    /// The last event; not part of the state.
    last: Happened,
}

/// The simulated machine.
#[derive(Clone)]
struct Machine {
    kernel: Kernel,
    processors: Processors,
    costs: Costs,
    out_of_memory: OutOfMemoryRule,
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A recorded trace that a process replays cannot be read on.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The workload's limit on events.
    #[error("{0} events have happened, as many as `limits.events` allows")]
    Events(u64),
    /// The workload's limit on processes, each thread of them counted.
    #[error("{0} processes and threads are alive, as many as `limits.processes` allows")]
    Processes(u64),
    /// The workload's limit on live blocks.
    #[error("{live} blocks are live, and `limits.live_blocks` allows {most}")]
    LiveBlocks {
        /// How many there are.
        live: u64,
        /// How many there may be.
        most: u64,
    },
    /// The workload's limit on the simulator's own memory.
    #[error(
        "{live} live blocks and {present} processes and threads take more than the {most} bytes that `limits.memory` allows"
    )]
    Memory {
        /// Live blocks.
        live: u64,
        /// Processes and threads.
        present: u64,
        /// Bytes allowed.
        most: u64,
    },
}

/// Looks on at a run. It is handed everything to read and nothing to change: with it or without it, a run has the same
/// digest.
pub trait Probe {
    /// An event has happened; `simulation` is as it is after it.
    fn see(&mut self, simulation: &Simulation, happened: &Happened);
}

impl Simulation {
    /// The next event, or `None` when the run is over.
    ///
    /// # Errors
    /// [`RunError`]; the run cannot go on then.
    pub fn step(&mut self) -> Result<Option<Happened>, RunError> {
        Ok(self.advance()?.then_some(self.last))
    }

    /// Goes on by one event, which [`Simulation::happened`] shows then; `false` when the run is over. As [`Simulation::step`],
    /// without a copy of the event.
    ///
    /// # Errors
    /// As [`Simulation::step`].
    #[inline]
    pub fn advance(&mut self) -> Result<bool, RunError> {
        self.machine.kernel.clear_frame_changes();
        if self.tally.events >= self.limits.events || self.tally.live_blocks() > self.blocks_most {
            return Err(self.over_limit());
        }
        while let Some((time, event)) = self.next_event() {
            if event == Event::TimeOver {
                self.time_over(time);
                break;
            }
            self.now = time;
            if self.handle(event)? {
                self.account();
                return Ok(true);
            }
        }
        self.over.get_or_insert(if self.tally.waits.waiting > 0 { RunState::Stuck } else { RunState::Done });
        Ok(false)
    }

    /// The last event; before the first, nothing of nobody.
    #[inline]
    #[must_use]
    pub fn happened(&self) -> &Happened {
        &self.last
    }

    #[cold]
    fn over_limit(&self) -> RunError {
        let (limits, blocks) = (&self.limits, self.tally.live_blocks());
        if self.tally.events >= limits.events {
            RunError::Events(limits.events)
        } else if blocks > limits.live_blocks {
            RunError::LiveBlocks { live: blocks, most: limits.live_blocks }
        } else {
            RunError::Memory { live: blocks, present: self.present(), most: limits.memory.0 }
        }
    }

    /// Processes and threads that there are.
    fn present(&self) -> u64 {
        (self.processes.len() - self.vacant.len()) as u64
    }

    /// Goes on to the end.
    ///
    /// # Errors
    /// As [`Simulation::step`].
    pub fn run(&mut self) -> Result<(), RunError> {
        while self.advance()? {}
        Ok(())
    }

    /// Goes on to the end, with somebody looking on at every event.
    ///
    /// # Errors
    /// As [`Simulation::step`].
    pub fn run_seen(&mut self, probes: &mut [&mut dyn Probe]) -> Result<(), RunError> {
        while self.advance()? {
            for probe in probes.iter_mut() {
                probe.see(self, &self.last);
            }
        }
        Ok(())
    }

    /// Takes the next event.
    #[inline]
    fn next_event(&mut self) -> Option<(Nanos, Event)> {
        if let Some((time, event)) = self.at_hand {
            if self.queue.next_due().is_none_or(|queued| (time, event.priority()) < queued) {
                self.at_hand = None;
                return Some((time, event));
            }
            self.put_away();
        }
        self.queue.pop().map(|due| (due.time, due.event))
    }

    /// Schedules an event. It stays at hand until the next one is scheduled or taken: often it is the next.
    #[inline]
    fn schedule(&mut self, time: Nanos, event: Event) {
        // What is never is not an event.
        if time < process::NEVER {
            self.put_away();
            self.at_hand = Some((time, event));
        }
    }

    /// Moves the event at hand into the queue.
    #[inline]
    fn put_away(&mut self) {
        let Some((time, event)) = self.at_hand.take() else { return };
        let id = self.queue.push(time, event.priority(), event);
        if let Event::Wake(process) = event {
            self.processes[process.index()].wake = Some(id);
        }
    }

    /// Does what an event asks for. `false` when that was nothing anybody would call an event.
    #[inline]
    fn handle(&mut self, event: Event) -> Result<bool, RunError> {
        match event {
            Event::WorkDone(cpu) => self.work_done(cpu),
            Event::Wake(process) => self.wake(process),
            Event::Kill => Ok(self.kill_largest()),
            Event::Arrive(group) => self.arrive(group).map(|()| false),
            Event::TimeOver => unreachable!("the end of the run is nobody's event"),
        }
    }

    fn work_done(&mut self, cpu: Cpu) -> Result<bool, RunError> {
        let (next, moved) = self.machine.processors.end_of_work(cpu);
        if let Some(process) = moved {
            self.processes[process.index()].state = State::Ready;
        }
        match next {
            Some(process) => self.serve(process, cpu).map(|()| true),
            None => Ok(false),
        }
    }

    #[inline]
    fn wake(&mut self, process: ProcessId) -> Result<bool, RunError> {
        let record = &mut self.processes[process.index()];
        record.wake = None;
        if let Some(cpu) = self.machine.processors.idle(self.now, record.cpu) {
            return self.serve(process, cpu).map(|()| true);
        }
        record.state = State::Ready;
        let queue = &mut self.queue;
        self.machine.processors.queue_up(process, |cpu, done| {
            let event = Event::WorkDone(cpu);
            queue.push(done, event.priority(), event);
        });
        Ok(false)
    }

    /// The workload's time is over; what was to come never happens.
    fn time_over(&mut self, until: Nanos) {
        if self.processes.len() == self.vacant.len() && self.queue.is_empty() {
            return;
        }
        self.now = until;
        self.over = Some(RunState::TimeOver);
        self.queue = EventQueue::default();
    }

    /// What follows from an event for everybody else: digest, levels, and who may be tried again now.
    #[inline]
    fn account(&mut self) {
        self.last.digest_into(&mut self.trajectory);
        if !self.machine.kernel.frame_changes().is_empty() {
            self.account_frames();
        }
        if self.last.waited > Nanos(0) && !matches!(self.last.outcome, Outcome::Waits(_)) {
            self.attend_to_waiting();
        }
    }

    fn account_frames(&mut self) {
        let mut came_back = false;
        for change in self.machine.kernel.frame_changes() {
            digest_change(&mut self.trajectory, change);
            came_back |= change.change == HandedOver::Given;
        }
        self.tally.frames_changed(self.now, &self.machine.kernel);
        if came_back {
            self.attend_to_waiting();
        }
    }
}

/// Takes frames that changed hands into the digest: which, to or from whom, for what.
#[inline]
fn digest_change(trajectory: &mut Trajectory, change: &FrameChange) {
    let direction = match change.change {
        HandedOver::Taken => 1 << 63,
        HandedOver::Given => 0,
    };
    let owner = (u64::from(change.owner.pid.0) << 8) | change.owner.region as u64;
    trajectory.absorb_pair(change.run.start.0 | direction, (change.run.frames << 40) ^ owner);
}

/// What can be asked of a run at any moment. None of it changes anything.
impl Simulation {
    /// Simulated time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.tally.events
    }

    /// Frames that changed hands in the last event, in order.
    #[must_use]
    pub fn frame_changes(&self) -> &[FrameChange] {
        self.machine.kernel.frame_changes()
    }

    /// The kernel: frame map, address spaces, the frame policy.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        &self.machine.kernel
    }

    /// What the run was made from.
    #[must_use]
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The rolling digest of all events so far.
    #[must_use]
    pub fn trajectory(&self) -> &Trajectory {
        &self.trajectory
    }

    /// The digest of all events so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.trajectory.seal()
    }

    /// The digest of the frame map: who holds which frames for what.
    #[must_use]
    pub fn state_digest(&self) -> Digest {
        let mut sealer = Sealer::new("framesim frame map v1");
        sealer.add(&self.machine.kernel.frame_map().frames().to_le_bytes());
        self.machine.kernel.frame_map().for_each_run(|owner, run| {
            sealer.add(&run.start.0.to_le_bytes());
            sealer.add(&run.frames.to_le_bytes());
            sealer.add(&owner.pid.0.to_le_bytes());
            sealer.add(&[owner.region as u8]);
        });
        sealer.seal()
    }

    /// Which process a pid is at this moment.
    #[must_use]
    pub fn process_name(&self, pid: Pid) -> Option<ProcessName> {
        let process = (*self.by_pid.get(pid.0 as usize)?)?;
        Some(self.processes[process.index()].name)
    }

    /// The heap of a process, when it has called it.
    #[must_use]
    pub fn heap(&self, pid: Pid) -> Option<&dyn HeapAllocator> {
        let process = (*self.by_pid.get(pid.0 as usize)?)?;
        self.processes[process.index()].memory.as_ref()?.heap.as_deref()
    }

    /// What the heap of a process holds and wastes, as counted after its last call.
    #[must_use]
    pub fn heap_levels(&self, pid: Pid) -> Option<HeapLevels> {
        let process = (*self.by_pid.get(pid.0 as usize)?)?;
        let memory = self.processes[process.index()].memory.as_ref().filter(|memory| memory.heap.is_some())?;
        Some(HeapLevels::of(&memory.told(), self.machine.kernel.settings().page_bytes))
    }

    /// What the heaps of all processes hold and waste together; `mapped_bytes` has the images of programs too.
    /// Asks the heaps that were called since it was asked last, and remembers what they say: it changes no result.
    pub fn all_heaps(&mut self) -> HeapLevels {
        let mut bound = Bound::default();
        for group in 0..self.groups.len() {
            self.ask_untold(u32::try_from(group).expect("a workload has fewer than 2^32 groups"));
            bound.replace(&Bound::default(), &self.groups[group].heaps.now().bound);
        }
        HeapLevels::of(&self.tally.holdings(bound), self.machine.kernel.settings().page_bytes)
    }

    /// What a script calls one of its slots.
    #[must_use]
    pub fn slot_name(&self, group: u32, slot: Slot) -> Option<&str> {
        self.requests.slot_name(group, slot)
    }

    /// Levels of the whole machine now.
    #[must_use]
    pub fn levels(&self) -> &Levels {
        &self.tally.now
    }

    /// What the run has come to so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let kernel = &self.machine.kernel;
        let frames = kernel.allocator();
        Summary {
            time: self.now,
            state: self.over.unwrap_or(RunState::Going),
            events: self.tally.events,
            frames: frames.total_frames(),
            page_bytes: kernel.settings().page_bytes,
            now: self.tally.now,
            peak: self.tally.peak,
            worst: self.tally.worst.clone(),
            orders: tally::orders(frames),
            regions: self.tally.regions(kernel),
            calls: self.tally.calls(kernel),
            failures: self.tally.failures.clone(),
            waits: self.tally.waits,
            processes: self.tally.processes,
            threads: self.tally.threads,
            processors: self.tally.processors,
        }
    }

    /// What the heaps of each group hold and have held, in the order of the workload; groups that call none are left out.
    /// A walk over all processes.
    #[must_use]
    pub fn heap_summaries(&self) -> Vec<HeapSummary> {
        let numbered = (0..).zip(&self.groups);
        numbered.filter_map(|(number, group)| self.heap_summary(number, group)).collect()
    }

    fn heap_summary(&self, number: u32, group: &Group) -> Option<HeapSummary> {
        let kernel = &self.machine.kernel;
        let mut now = Holdings::default();
        let mut calls = [0; SystemCall::ALL.len()];
        for (record, pid) in self.alive_of(number).filter_map(|record| Some((record, record.name.pid?))) {
            for (sum, made) in calls.iter_mut().zip(kernel.counts_of(pid).calls) {
                *sum += made;
            }
            let Some(memory) = &record.memory else { continue };
            // Frames may have gone since the process's last call.
            let pages = kernel.pages_of(pid);
            let mut held = memory.told();
            held.footprint.resident_pages = pages.resident - group.image.pages();
            held.footprint.lazy_pages = pages.lazily_freed;
            now.add(&held);
        }
        let name = &self.setting.workload.processes[number as usize].name;
        group.heaps.summary((name, group.heap.name()), self.now, kernel.settings().page_bytes, (&now, &calls))
    }

    /// Full check of all invariants: the queue, the kernel, each heap, and that the levels are what is there.
    ///
    /// # Errors
    /// The first one that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        self.queue.check()?;
        self.machine.kernel.check()?;
        self.machine.processors.check()?;
        self.check_teams()?;
        let mut holdings = Holdings::default();
        for (number, group) in (0..).zip(&self.groups) {
            let (group_holds, images) = self.check_group(number, group)?;
            holdings.add(&group_holds);
            holdings.footprint.mapped_pages += images;
        }
        self.tally.check(&holdings, &self.machine.kernel)
    }

    /// Checks the heaps of a group, and what is counted of them; what its processes hold, and pages of their images.
    fn check_group(&self, number: u32, group: &Group) -> Result<(Holdings, u64), Violation> {
        let (mut holdings, mut blocks, mut images) = (Holdings::default(), ProcessClasses::default(), 0);
        for record in self.alive_of(number) {
            images += group.image.pages();
            let Some(memory) = &record.memory else { continue };
            holdings.add(&memory.holdings);
            if let Some(classes) = &memory.classes {
                classes.add_to(&mut blocks);
            }
            if let Some(heap) = &memory.heap {
                heap.check()?;
                let (stats, mut pieces) = (heap.stats(), Vec::new());
                heap.for_each_piece(&mut |piece| pieces.push(piece));
                heap::oracle::check_sums(&pieces, &stats)?;
                memory.holdings.check(&**heap)?;
                let is_told = memory.is_untold || memory.holdings == memory.told();
                ensure(is_told, || format!("{:?} is told of a heap with {stats:?}", memory.holdings))?;
            }
        }
        group.heaps.check(&holdings, &blocks)?;
        Ok((holdings, images))
    }

    /// Processes of a group that have started.
    fn alive_of(&self, group: u32) -> impl Iterator<Item = &Process> {
        let is_main = |record: &&Process| record.thread == ThreadId(0);
        let is_alive = move |record: &&Process| record.name.pid.is_some() && record.name.group == group;
        self.processes.iter().filter(is_main).filter(is_alive)
    }
}
