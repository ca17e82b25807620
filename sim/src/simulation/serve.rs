//! One service: a process has a processor, and its earliest action takes effect.

use framesim_models::{Cpu, Nanos, ThreadId};
use framesim_workloads::requests::Request;

use super::attempt::Tried;
use super::costs::Spent;
use super::happened::{Call, Outcome};
use super::process::{Attempt, Next, ProcessId, State};
use super::processors::Switch;
use super::{RunError, Simulation};

impl Simulation {
    /// Serves the earliest action of `process` on `cpu`, now.
    #[inline]
    pub(super) fn serve(&mut self, process: ProcessId, cpu: Cpu) -> Result<(), RunError> {
        let switched = self.machine.processors.load(cpu, process) == Switch::FromAnother;
        let record = &mut self.processes[process.index()];
        record.state = State::Running;
        record.cpu = cpu;
        let mut name = record.name;
        let attempt = self.take_action(process);
        if attempt.makes_room() || self.gives_up_turn(process, &attempt) {
            self.read_next(process, false)?;
        }
        let before = self.machine.kernel.work();
        // Into `last` at once: what is copied again and again is what costs.
        self.act(process, &attempt)?;
        let spent = Spent::between(&before, &self.machine.kernel.work());
        // A start has given it a pid; an end has taken its record.
        if name.pid.is_none() {
            name.pid = self.processes[process.index()].name.pid;
        }
        self.last.event = self.tally.next_event();
        self.last.time = self.now;
        let kind = attempt.call.kind();
        self.last.cost = self.machine.costs.of(kind, attempt.stage, &spent, switched);
        self.last.waited = Nanos(attempt.since.map_or(0, |since| self.now.0 - since.0));
        self.last.cpu = cpu;
        self.last.process = name;
        self.last.thread = attempt.thread;
        self.last.call = attempt.call;
        self.tally.count_service(kind, self.last.cost, &spent, switched);
        let done = Nanos(self.now.0.saturating_add(self.last.cost.0));
        self.settle(process, cpu, done);
        if let Some(thread) = self.to_wake.take() {
            self.wake_at(thread, done);
        }
        Ok(())
    }

    /// The earliest of what the process has to do. A request that is taken has to make room for the next.
    #[inline]
    fn take_action(&mut self, process: ProcessId) -> Attempt {
        if let Some(waiter) = &self.retried
            && waiter.process == process
        {
            return waiter.attempt;
        }
        let record = &mut self.processes[process.index()];
        let thread = record.thread;
        if record.name.pid.is_none() {
            return Attempt::of(thread, Call::Start);
        }
        if let Some(reason) = record.leaves {
            return Attempt::of(thread, Call::Exit(reason));
        }
        if record.ends <= self.now {
            return Attempt::of(thread, self.end_of_life(process));
        }
        if record.starts_threads {
            return Attempt::of(thread, self.next_start(process));
        }
        let due = record.request_due();
        if let Some(memory) = record.memory.as_deref_mut()
            && let Some(life) = memory.lives.first().filter(|life| life.ends <= due)
        {
            memory.lives.pop();
            return Attempt::of(thread, Call::LifeOver { address: life.at, bytes: life.bytes });
        }
        // Most requests: copied once, from where they are kept.
        if matches!(record.next, Next::InMemory)
            && let Some(Some(timed)) = record.memory.as_deref().map(|memory| &memory.next)
            && !matches!(timed.request, Request::EndThread)
        {
            return Attempt::of(timed.thread, Call::Request(timed.request));
        }
        let timed = record.next_request().expect("a process that has started has a next request");
        let call = match timed.request {
            Request::Exit if record.is_of_many() => Call::ThreadEnd,
            Request::Exit => self.end_of_requests(process),
            Request::EndThread if thread != ThreadId(0) => Call::ThreadEnd,
            request => Call::Request(request),
        };
        Attempt::of(timed.thread, call)
    }

    /// Lets an attempt take effect, and notes the outcome.
    #[inline]
    fn act(&mut self, process: ProcessId, attempt: &Attempt) -> Result<(), RunError> {
        self.last.outcome = match attempt.call {
            Call::Start => self.start(process, attempt)?,
            Call::Exit(_) | Call::Request(Request::Exit) => {
                self.end(process);
                Outcome::Served
            }
            Call::Request(Request::Spawn { group }) => {
                self.spawn(process, group)?;
                Outcome::Served
            }
            Call::Request(Request::Sleep) => Outcome::Served,
            Call::ThreadStart { thread } => self.start_thread(process, thread, attempt)?,
            Call::Join => {
                self.join(process);
                Outcome::Served
            }
            Call::ThreadEnd => {
                self.end_thread(process);
                Outcome::Served
            }
            _ => {
                self.act_on_memory(process, attempt);
                return Ok(());
            }
        };
        Ok(())
    }

    #[inline]
    fn act_on_memory(&mut self, process: ProcessId, attempt: &Attempt) {
        let outcome = match self.try_call(process, attempt) {
            Tried::At(address) => Outcome::At(address),
            Tried::Frames(run) => Outcome::Frames(run),
            Tried::Served => Outcome::Served,
            Tried::Nothing => Outcome::Nothing,
            Tried::Lacks(refusal, stage) => {
                self.last.outcome = self.lacks(process, &Attempt { stage, ..*attempt }, refusal);
                return;
            }
        };
        self.was_served(attempt);
        self.last.outcome = outcome;
    }
}
