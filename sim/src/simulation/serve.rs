//! One service: a process has a processor, and its earliest action takes effect.

use framesim_models::{Cpu, Nanos};
use framesim_workloads::requests::Request;

use super::attempt::Tried;
use super::costs::Spent;
use super::happened::{Call, ExitReason, Happened, Outcome};
use super::process::{Attempt, ProcessId, State};
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
        let attempt = self.take_action(process)?;
        let mut name = self.processes[process.index()].name;
        let (outcome, spent) = if matches!(attempt.call, Call::Request(Request::Sleep)) {
            (Outcome::Served, Spent::default())
        } else {
            let before = self.machine.kernel.counts();
            (self.act(process, &attempt)?, Spent::between(&before, &self.machine.kernel.counts()))
        };
        // A start has given it a pid; an end has taken its record.
        name.pid = name.pid.or(self.processes[process.index()].name.pid);
        self.last = Happened {
            event: self.tally.next_event(),
            time: self.now,
            cost: self.machine.costs.of(&attempt, &spent, switched),
            waited: Nanos(attempt.since.map_or(0, |since| self.now.0 - since.0)),
            cpu,
            process: name,
            thread: attempt.thread,
            call: attempt.call,
            outcome,
        };
        self.tally.count_service(&self.last, &spent, switched);
        self.settle(process, cpu, Nanos(self.now.0.saturating_add(self.last.cost.0)));
        Ok(())
    }

    /// The earliest of what the process has to do. A request that is taken makes room for the next.
    #[inline]
    fn take_action(&mut self, process: ProcessId) -> Result<Attempt, RunError> {
        if let Some(waiter) = &self.retried
            && waiter.process == process
        {
            return Ok(waiter.attempt);
        }
        let record = &mut self.processes[process.index()];
        if record.name.pid.is_none() {
            return Ok(Attempt::main(Call::Start));
        }
        if let Some(reason) = record.leaves {
            return Ok(Attempt::main(Call::Exit(reason)));
        }
        if record.ends <= self.now {
            return Ok(Attempt::main(Call::Exit(ExitReason::LifeTime)));
        }
        if let Some(memory) = record.memory.as_deref_mut()
            && let Some(life) = memory.lives.first().filter(|life| life.ends <= record.due)
        {
            memory.lives.pop();
            return Ok(Attempt::of(life.thread, Call::LifeOver { address: life.at, bytes: life.bytes }));
        }
        let timed = record.next_request().expect("a process that has started has a next request");
        if timed.request != Request::Exit {
            self.read_next(process, false)?;
        }
        Ok(Attempt::of(timed.thread, Call::Request(timed.request)))
    }

    /// Lets an attempt take effect.
    #[inline]
    fn act(&mut self, process: ProcessId, attempt: &Attempt) -> Result<Outcome, RunError> {
        let tried = match attempt.call {
            Call::Start => return self.start(process, attempt),
            Call::Exit(_) | Call::Request(Request::Exit) => {
                self.end(process);
                return Ok(Outcome::Served);
            }
            Call::Request(Request::Spawn { group }) => {
                self.spawn(process, group)?;
                return Ok(Outcome::Served);
            }
            _ => self.try_call(process, attempt),
        };
        Ok(match tried {
            Tried::Done(outcome) => {
                self.was_served(attempt);
                outcome
            }
            Tried::Lacks(refusal, stage) => self.lacks(process, &Attempt { stage, ..*attempt }, refusal),
        })
    }
}
