//! Threads of a process beside its main one: how they start, take turns and end.
//!
//! A thread is a record in the table of processes, so that everything that is scheduled is alike. What the threads of a process
//! share (heap, slots, life time) is in the main thread's record; so is the [`Team`].

use std::collections::VecDeque;

use framesim_models::heap::OutOfMemory;
use framesim_models::kernel::Region;
use framesim_models::pthread::Stacks;
use framesim_models::{Address, Cpu, Nanos, ThreadId, Violation, ensure, index};
use framesim_workloads::requests::{Request, Threads, Timed};
use serde::{Deserialize, Serialize};

use super::attempt::refusal_of;
use super::happened::{Call, ExitReason, Outcome, Refusal};
use super::process::{Attempt, Next, Process, ProcessId, State};
use super::{Event, RunError, Simulation};

/// The threads of a process beside its main one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Team {
    /// By number; the place of the main thread is not used.
    members: Vec<Member>,
    /// Threads that there are.
    present: u32,
    /// Threads that are to be started, in order.
    to_start: VecDeque<ThreadId>,
    stacks: Stacks,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Member {
    /// Its record, while it is there.
    record: Option<ProcessId>,
    /// How often it was started.
    times: u32,
    stack: Address,
    /// Memory was short when it was to start: the main thread does its part.
    is_missing: bool,
}

/// Whose requests the threads make.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Kind {
    /// Each its own.
    OnTheirOwn {
        /// The first one that only frees; above all of them where none does.
        first_consumer: u32,
        /// Threads that get blocks and have not come to their end.
        producers: u32,
    },
    /// The main thread's, one after the other.
    InTurns {
        /// The thread whose turn it is.
        holder: ProcessId,
        /// What is to be done first by a thread that has yet to start.
        waiting: Option<Turn>,
    },
}

/// A request, and when it is due.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Turn {
    next: Timed,
    due: Nanos,
    /// Whether it is due a gap after the service that goes on.
    from_done: bool,
}

impl Team {
    fn new(stack_bytes: u64, kind: Kind) -> Team {
        Team { members: Vec::new(), present: 0, to_start: VecDeque::new(), stacks: Stacks::new(stack_bytes), kind }
    }

    fn member(&mut self, thread: ThreadId) -> &mut Member {
        let place = index(u64::from(thread.0));
        if self.members.len() <= place {
            self.members.resize(place + 1, Member::default());
        }
        &mut self.members[place]
    }

    /// The record of a thread that is there.
    fn record(&self, thread: ThreadId) -> Option<ProcessId> {
        self.members.get(index(u64::from(thread.0)))?.record
    }

    /// Whether the process is more than its main thread, or will be.
    fn is_more_than_main(&self) -> bool {
        self.present > 0 || !self.to_start.is_empty()
    }

    fn is_consumer(&self, thread: ThreadId) -> bool {
        matches!(self.kind, Kind::OnTheirOwn { first_consumer, .. } if thread.0 >= first_consumer)
    }

    /// One that got blocks gets no more.
    fn producer_is_done(&mut self) {
        if let Kind::OnTheirOwn { producers, .. } = &mut self.kind {
            *producers -= 1;
        }
    }
}

impl Simulation {
    /// The process has threads with requests of their own: they are to be started before anything else.
    pub(super) fn found_team(&mut self, process: ProcessId) {
        let record = &mut self.processes[process.index()];
        let Threads::OnTheirOwn { count, consumers } = self.requests.threads(record.name.group) else { return };
        if count <= 1 {
            return;
        }
        let producers = count - consumers;
        let stack_bytes = self.groups[record.name.group as usize].thread_stack_bytes;
        let mut team = Team::new(stack_bytes, Kind::OnTheirOwn { first_consumer: producers, producers });
        team.to_start.extend((1..count).map(ThreadId));
        record.memory.get_or_insert_default().team = Some(Box::new(team));
        record.starts_threads = true;
    }

    fn team(&mut self, main: ProcessId) -> &mut Team {
        let memory = self.processes[main.index()].memory.as_deref_mut();
        memory.and_then(|memory| memory.team.as_deref_mut()).expect("a process with threads has a team")
    }

    /// Reads the next request of the main thread's stream, for one of those that make them in turns.
    pub(super) fn read_next_of_main(&mut self, process: ProcessId) -> Result<(), RunError> {
        let main = self.processes[process.index()].main;
        let stream = self.processes[main.index()].stream.as_mut().expect("a process with requests is alive");
        let next = self.requests.next(stream)?;
        self.pass_turn(process, next, false);
        Ok(())
    }

    /// Whether a thread ends that makes requests in turns: the next one is asked for before.
    #[inline]
    pub(super) fn gives_up_turn(&self, process: ProcessId, attempt: &Attempt) -> bool {
        matches!(attempt.call, Call::ThreadEnd) && self.processes[process.index()].stream.is_none()
    }

    /// The next request may be another thread's than `from`, which had the turn.
    pub(super) fn pass_turn(&mut self, from: ProcessId, next: Timed, is_first: bool) {
        let record = &self.processes[from.index()];
        let from_done = is_first || next.request == Request::Sleep;
        let due = if from_done { record.due } else { Nanos(record.due.0.saturating_add(next.gap.0)) };
        let turn = Turn { next, due, from_done };
        let main = record.main;
        let stack_bytes = self.groups[self.processes[main.index()].name.group as usize].thread_stack_bytes;
        let memory = self.processes[main.index()].memory.get_or_insert_default();
        let in_turns = Kind::InTurns { holder: main, waiting: None };
        let team = memory.team.get_or_insert_with(|| Box::new(Team::new(stack_bytes, in_turns)));
        let thread = turn.next.thread;
        let to = match team.record(thread) {
            None if thread == ThreadId(0) || team.member(thread).is_missing => Some(main),
            there => there,
        };
        match to {
            Some(to) => self.give_turn(from, to, turn),
            None => self.wait_for_thread(main, from, turn),
        }
    }

    fn give_turn(&mut self, from: ProcessId, to: ProcessId, turn: Turn) {
        self.processes[from.index()].next = Next::Nothing;
        self.processes[to.index()].take_turn(&turn.next, turn.due, turn.from_done);
        let main = self.processes[from.index()].main;
        if let Kind::InTurns { holder, waiting } = &mut self.team(main).kind {
            (*holder, *waiting) = (to, None);
        }
    }

    /// The thread whose request comes next has yet to be started, by `starter`.
    fn wait_for_thread(&mut self, main: ProcessId, starter: ProcessId, turn: Turn) {
        let record = &mut self.processes[starter.index()];
        (record.next, record.starts_threads) = (Next::Nothing, true);
        let team = self.team(main);
        team.to_start.push_back(turn.next.thread);
        team.kind = Kind::InTurns { holder: starter, waiting: Some(turn) };
    }

    /// The thread that had the turn is served: the next one is woken.
    pub(super) fn leave_the_turn(&mut self, process: ProcessId, cpu: Cpu, done: Nanos) {
        self.processes[process.index()].state = State::Asleep;
        self.leave(cpu, done, None);
        let main = self.processes[process.index()].main;
        let Kind::InTurns { holder, .. } = self.team(main).kind else {
            unreachable!("threads with requests of their own have a next one")
        };
        self.wake_at(holder, done);
    }

    /// Wakes a thread that sleeps without an event, once it has something to do and not before `done`.
    pub(super) fn wake_at(&mut self, thread: ProcessId, done: Nanos) {
        let due = self.processes[thread.index()].next_due(done).max(done);
        self.schedule(due, Event::Wake(thread));
    }

    /// What a sleeping thread waits for has changed: its event with it. One that does not sleep looks for itself.
    fn rewake(&mut self, thread: ProcessId) {
        let is_tried = self.retried.is_some_and(|waiter| waiter.process == thread);
        if self.processes[thread.index()].state != State::Asleep || is_tried || self.to_wake == Some(thread) {
            return;
        }
        self.put_away();
        let record = &mut self.processes[thread.index()];
        if let Some(wake) = record.wake.take() {
            self.queue.cancel(wake);
        }
        let due = if record.starts_threads { self.now } else { record.wakes() };
        let free = self.machine.processors.busy_until(record.cpu, thread);
        self.schedule(due.max(free).max(self.now), Event::Wake(thread));
    }

    /// A block that `owner` got will be freed by another thread; by the main one if that is not there.
    pub(super) fn hand_block_to(&mut self, owner: ProcessId, thread: ThreadId, block: (Nanos, Address, u64)) {
        let main = self.processes[owner.index()].main;
        let heir = self.team(main).record(thread).unwrap_or(main);
        let record = &mut self.processes[heir.index()];
        let before = record.wakes();
        let (ends, at, bytes) = block;
        record.memory.get_or_insert_default().begin_life(ends, at, bytes);
        if record.wakes() != before {
            self.rewake(heir);
        }
    }

    /// The thread that `process` starts next.
    pub(super) fn next_start(&mut self, process: ProcessId) -> Call {
        let main = self.processes[process.index()].main;
        let next = self.team(main).to_start.front();
        Call::ThreadStart { thread: *next.expect("a thread that starts others has some to start") }
    }

    /// What the end of a thread's life time ends: a thread beside the main one may have a shorter one than its process.
    pub(super) fn end_of_life(&self, process: ProcessId) -> Call {
        let main = &self.processes[self.processes[process.index()].main.index()];
        if main.ends > self.now { Call::ThreadEnd } else { Call::Exit(ExitReason::LifeTime) }
    }

    /// What a main thread does that has no requests left: it waits for the others, or ends the process.
    pub(super) fn end_of_requests(&self, process: ProcessId) -> Call {
        let memory = self.processes[process.index()].memory.as_deref();
        let team = memory.and_then(|memory| memory.team.as_deref());
        let joins = team.filter(|team| team.is_more_than_main() && matches!(team.kind, Kind::OnTheirOwn { .. }));
        if joins.is_some() { Call::Join } else { Call::Request(Request::Exit) }
    }

    /// The main thread waits for the others.
    pub(super) fn join(&mut self, process: ProcessId) {
        self.processes[process.index()].next = Next::ExitAfterOthers;
        self.team(process).producer_is_done();
        self.release(process);
    }

    /// A thread starts another one: a stack, what the kernel keeps, and its first request.
    pub(super) fn start_thread(
        &mut self,
        process: ProcessId,
        thread: ThreadId,
        attempt: &Attempt,
    ) -> Result<Outcome, RunError> {
        self.ensure_room_for_one()?;
        let main = self.processes[process.index()].main;
        let stack = match self.get_stack(process, thread) {
            Ok(stack) => stack,
            Err(refusal) => return Ok(self.lacks(process, attempt, refusal)),
        };
        let (starter, group) = (&self.processes[process.index()], &self.processes[main.index()]);
        let record = Process {
            name: group.name,
            thread,
            state: State::Asleep,
            cpu: starter.cpu,
            ends: group.ends,
            ..Process::NOBODY
        };
        let record = self.admit(record, Some(main));
        let team = self.team(main);
        let member = team.member(thread);
        (member.record, member.stack) = (Some(record), stack);
        member.times += 1;
        team.present += 1;
        self.tally.thread_started();
        match self.team(main).kind {
            Kind::OnTheirOwn { .. } => self.read_first(main, record)?,
            Kind::InTurns { waiting, .. } => {
                self.give_turn(process, record, waiting.expect("a thread is started for its turn"));
            }
        }
        self.was_to_start(main, process);
        self.note_holdings(process, None);
        self.was_served(attempt);
        Ok(Outcome::At(stack))
    }

    /// A stack in user space and one in the kernel.
    fn get_stack(&mut self, process: ProcessId, thread: ThreadId) -> Result<Address, Refusal> {
        let Process { main, thread: starter, .. } = self.processes[process.index()];
        let record = &mut self.processes[main.index()];
        let pid = record.name.pid.expect("a process that has started has a pid");
        let team = record.memory.as_deref_mut().and_then(|memory| memory.team.as_deref_mut());
        let stacks = &mut team.expect("a process with threads has a team").stacks;
        let kernel = &mut self.machine.kernel;
        let stack = match stacks.take(&mut kernel.memory(pid).by(starter)) {
            Ok(stack) => stack,
            Err(OutOfMemory) => return Err(refusal_of(kernel, Region::Stack)),
        };
        let unmet = kernel.take_unmet(pid, starter);
        let refused = unmet.or_else(|| kernel.start_thread(pid, thread).err());
        match refused {
            None => Ok(stack),
            Some(no_memory) => {
                kernel.forget_unmet(pid, starter);
                stacks.undo(stack, &mut kernel.memory(pid));
                Err(Refusal::of(&no_memory))
            }
        }
    }

    /// The first request of a new thread that has its own.
    fn read_first(&mut self, main: ProcessId, record: ProcessId) -> Result<(), RunError> {
        let thread = self.processes[record.index()].thread;
        let team = self.team(main);
        let (times, is_consumer) = (team.member(thread).times - 1, team.is_consumer(thread));
        let stream = self.processes[main.index()].stream.as_ref().expect("a process with requests is alive");
        let mut stream = self.requests.start_thread(stream, thread, times);
        let life = self.requests.thread_life(&stream);
        let first = if is_consumer { None } else { Some(self.requests.next(&mut stream)?) };
        let record_id = record;
        let record = &mut self.processes[record_id.index()];
        if let Some(life) = life {
            record.ends = record.ends.min(Nanos(self.now.0.saturating_add(life.0)));
        }
        record.stream = Some(stream);
        match first {
            Some(first) => record.take_turn(&first, self.now, true),
            None => record.next = Next::ExitAfterOthers,
        }
        self.to_wake = Some(record_id);
        Ok(())
    }

    /// The first thread that was to start has started, or never will.
    fn was_to_start(&mut self, main: ProcessId, starter: ProcessId) {
        let to_start = &mut self.team(main).to_start;
        to_start.pop_front();
        let more = !to_start.is_empty();
        self.processes[starter.index()].starts_threads = more;
    }

    /// A thread could not be started, and will not be tried again: the process goes on without.
    pub(super) fn go_without_thread(&mut self, starter: ProcessId, thread: ThreadId) {
        let main = self.processes[starter.index()].main;
        self.was_to_start(main, starter);
        let team = self.team(main);
        team.member(thread).is_missing = true;
        match team.kind {
            Kind::InTurns { waiting, .. } => {
                self.give_turn(starter, main, waiting.expect("a thread is started for its turn"));
            }
            Kind::OnTheirOwn { .. } if team.is_consumer(thread) => {}
            Kind::OnTheirOwn { .. } => team.producer_is_done(),
        }
    }

    /// A thread beside the main one ends, and its process goes on.
    pub(super) fn end_thread(&mut self, process: ProcessId) {
        let main = self.processes[process.index()].main;
        self.give_up_stack(process);
        self.tally.thread_ended();
        self.note_holdings(process, None);
        let mut record = self.vacate(process);
        if let Some(memory) = record.memory.as_deref_mut() {
            // Blocks it leaves are the main thread's from now on.
            let heir = self.processes[main.index()].memory.get_or_insert_default();
            while let Some(life) = memory.lives.pop() {
                heir.begin_life(life.ends, life.at, life.bytes);
            }
        }
        match self.team(main).kind {
            Kind::InTurns { .. } => self.turn_after_end(main, &record),
            Kind::OnTheirOwn { .. } => {
                self.replace_thread(main, &record);
                self.rewake(main);
            }
        }
    }

    /// The heap takes back what it kept for the thread; then its stacks go.
    fn give_up_stack(&mut self, process: ProcessId) {
        let Process { main, thread, .. } = self.processes[process.index()];
        let record = &mut self.processes[main.index()];
        let pid = record.name.pid.expect("a process that has started has a pid");
        let memory = record.memory.as_deref_mut().expect("a process with threads has a team");
        let mut os = self.machine.kernel.memory(pid).by(thread);
        if let Some(heap) = &mut memory.heap {
            if memory.keeps_time {
                heap.tick(self.now, &mut os);
            }
            heap.thread_exit(thread, &mut os);
        }
        let team = memory.team.as_deref_mut().expect("a process with threads has a team");
        team.present -= 1;
        let member = team.member(thread);
        member.record = None;
        let stack = member.stack;
        team.stacks.give(stack, &mut os);
        self.machine.kernel.end_thread(pid, thread);
    }

    /// In turns, the thread that has the next one goes on; one that has ended and is asked again starts anew.
    fn turn_after_end(&mut self, main: ProcessId, ended: &Process) {
        if let Some(next) = ended.next_request() {
            let turn = Turn { next, due: ended.due, from_done: ended.due_from_done };
            self.wait_for_thread(main, main, turn);
        }
        // What it was to start, the main thread does.
        self.processes[main.index()].starts_threads |= ended.starts_threads;
        if let Kind::InTurns { holder, .. } = &mut self.team(main).kind {
            *holder = if ended.starts_threads { main } else { *holder };
            self.to_wake = Some(*holder);
        }
    }

    /// A thread whose life time is over makes room for another, until the main thread has come to its end.
    fn replace_thread(&mut self, main: ProcessId, ended: &Process) {
        let thread = ended.thread;
        if ended.ends <= self.now && self.processes[main.index()].next != Next::ExitAfterOthers {
            self.team(main).to_start.push_back(thread);
            self.processes[main.index()].starts_threads = true;
            return;
        }
        let team = self.team(main);
        if !team.is_consumer(thread) {
            team.producer_is_done();
        }
        self.release(main);
    }

    /// Those whose end waited for others end now, if there are no such others any more.
    fn release(&mut self, main: ProcessId) {
        let team = self.team(main);
        let is_alone = !team.is_more_than_main();
        let mut waiting = Vec::new();
        if let Kind::OnTheirOwn { producers: 0, first_consumer } = team.kind {
            let consumers = team.members.iter().skip(index(u64::from(first_consumer)));
            waiting.extend(consumers.filter_map(|member| member.record));
        }
        if is_alone {
            waiting.push(main);
        }
        for thread in waiting {
            let record = &mut self.processes[thread.index()];
            if record.next == Next::ExitAfterOthers {
                record.next = Next::Exit { thread: record.thread, gap: Nanos(0) };
                record.due = self.now;
                self.rewake(thread);
            }
        }
    }

    /// The process ends, by its thread `ender`: its other threads stop where they are. Returns how many were beside the main one.
    pub(super) fn dissolve_team(&mut self, main: ProcessId, ender: ProcessId) -> u32 {
        let memory = self.processes[main.index()].memory.as_deref_mut();
        let Some(team) = memory.and_then(|memory| memory.team.take()) else { return 0 };
        for record in team.members.iter().filter_map(|member| member.record) {
            if record != ender {
                self.tear_out(record);
            }
            self.vacate(record);
        }
        if ender != main {
            self.tear_out(main);
        }
        team.present
    }

    /// Every thread is in the team of its process, and nobody else is.
    pub(super) fn check_teams(&self) -> Result<(), Violation> {
        let beside = self.processes.iter().filter(|record| record.thread != ThreadId(0)).count();
        let mut found = 0;
        for (place, main) in self.processes.iter().enumerate() {
            let Some(team) = main.memory.as_deref().and_then(|memory| memory.team.as_deref()) else { continue };
            let mut present = 0;
            for (number, member) in team.members.iter().enumerate() {
                let Some(record) = member.record else { continue };
                let record = &self.processes[record.index()];
                let fits = record.main.index() == place && index(u64::from(record.thread.0)) == number;
                ensure(fits, || format!("thread {number} of process {place} is another's record"))?;
                present += 1;
            }
            ensure(present == team.present, || format!("{present} threads, {} counted", team.present))?;
            found += index(u64::from(present));
        }
        ensure(found == beside, || format!("{beside} threads, {found} of them in a team"))
    }
}
