//! What happens when memory has run out: the request is refused, or it waits, or the kernel ends a process.

use framesim_models::{Nanos, ThreadId};
use framesim_workloads::spec::{OnRefusal, OutOfMemoryRule};
use serde::{Deserialize, Serialize};

use super::happened::{Call, Cause, ExitReason, Happened, Outcome, Refusal};
use super::process::{Attempt, ProcessId, State};
use super::{Event, Simulation};

/// A process that waits for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiter {
    pub(super) process: ProcessId,
    pub(super) attempt: Attempt,
    /// Contiguous frames it lacked, and frames it needed in all.
    asked: u64,
    pages: u64,
    /// No process can be ended for it any more: when it fails again, it is refused.
    hopeless: bool,
}

impl Simulation {
    /// A call found no memory.
    #[cold]
    pub(super) fn lacks(&mut self, process: ProcessId, attempt: &Attempt, refusal: Refusal) -> Outcome {
        let again = self.retried.take_if(|waiter| waiter.process == process);
        let in_vain = matches!(refusal.cause, Cause::TooLarge | Cause::AddressSpace)
            || refusal.asked.max(refusal.pages) > self.tally.frames_to_hand_out
            || again.is_some_and(|waiter| waiter.hopeless);
        let started = u64::from(self.processes[process.index()].name.pid.is_some());
        let alone = self.tally.now.processes == started;
        match self.machine.out_of_memory {
            _ if in_vain => self.refuse(process, attempt, refusal),
            OutOfMemoryRule::Fail => self.refuse(process, attempt, refusal),
            OutOfMemoryRule::Kill if alone => self.refuse(process, attempt, refusal),
            OutOfMemoryRule::Wait | OutOfMemoryRule::Kill => {
                self.wait(process, attempt, refusal, again.is_some());
                Outcome::Waits(refusal)
            }
        }
    }

    fn refuse(&mut self, process: ProcessId, attempt: &Attempt, refusal: Refusal) -> Outcome {
        self.undo(process, attempt);
        if let Call::ThreadStart { thread } = attempt.call {
            self.go_without_thread(process, thread);
        }
        self.end_of_wait(attempt);
        self.tally.failures.count(self.now, refusal);
        let record = &mut self.processes[process.index()];
        let leaves = self.groups[record.name.group as usize].on_refusal == OnRefusal::Exit;
        match record.name.pid {
            None => self.vanish(process),
            Some(_) if leaves => record.leaves = Some(ExitReason::Refused),
            Some(_) => {}
        }
        Outcome::Refused(refusal)
    }

    fn wait(&mut self, process: ProcessId, attempt: &Attempt, refusal: Refusal, again: bool) {
        let attempt = Attempt { since: attempt.since.or(Some(self.now)), ..*attempt };
        let waiter = Waiter { process, attempt, asked: refusal.asked, pages: refusal.pages, hopeless: false };
        if again {
            self.waiting.push_front(waiter);
        } else {
            self.waiting.push_back(waiter);
            self.tally.waits.begin(refusal.cause);
        }
        self.processes[process.index()].state = State::Waiting;
        self.demand_kill();
    }

    /// By the rule `kill`, lets the kernel look for a process to end.
    fn demand_kill(&mut self) {
        if self.machine.out_of_memory == OutOfMemoryRule::Kill && !self.kill_is_due {
            self.kill_is_due = true;
            self.schedule(self.now, Event::Kill);
        }
    }

    /// A call was served: if it had waited, the next may be tried.
    #[inline]
    pub(super) fn was_served(&mut self, attempt: &Attempt) {
        if attempt.since.is_some() {
            self.end_of_wait(attempt);
        }
    }

    fn end_of_wait(&mut self, attempt: &Attempt) {
        self.retried = None;
        if let Some(since) = attempt.since {
            self.tally.waits.end(Nanos(self.now.0 - since.0));
        }
    }

    /// Tries the first that waits again, when enough is free; by the rule `kill`, lets another process be ended when not.
    /// To be called when frames came back, and when one that waited has been served.
    pub(super) fn attend_to_waiting(&mut self) {
        let (None, Some(&first)) = (self.retried, self.waiting.front()) else { return };
        let frames = self.machine.kernel.allocator();
        if frames.free_frames() >= first.pages && frames.largest_request() >= first.asked {
            self.try_again(first);
        } else {
            self.demand_kill();
        }
    }

    fn try_again(&mut self, first: Waiter) {
        self.waiting.pop_front();
        self.retried = Some(first);
        self.processes[first.process.index()].state = State::Asleep;
        self.schedule(self.now, Event::Wake(first.process));
    }

    /// Ends the process with the most resident frames, for the first that waits. `false` when that was not to be done.
    pub(super) fn kill_largest(&mut self) -> bool {
        self.kill_is_due = false;
        let (None, Some(&first)) = (self.retried, self.waiting.front()) else { return false };
        let Some(victim) = self.largest() else {
            self.try_again(Waiter { hopeless: true, ..first });
            return false;
        };
        let record = &self.processes[victim.index()];
        self.last = Happened {
            event: self.tally.next_event(),
            time: self.now,
            cost: Nanos(0),
            waited: Nanos(0),
            cpu: record.cpu,
            process: record.name,
            thread: first.attempt.thread,
            call: Call::Kill,
            outcome: Outcome::Served,
        };
        self.tear_out(victim);
        self.end(victim);
        self.tally.process_killed();
        true
    }

    /// The process with the most resident frames; of several the one with the lowest number. A scan: memory has run out.
    fn largest(&self) -> Option<ProcessId> {
        let alive = self
            .processes
            .iter()
            .filter(|record| record.thread == ThreadId(0))
            .filter_map(|record| Some((record, record.name.pid?)));
        let resident = alive.map(|(record, pid)| (self.machine.kernel.resident_frames(pid), record));
        let largest = resident.filter(|(frames, _)| *frames > 0);
        let (_, largest) = largest.max_by_key(|(frames, record)| (*frames, std::cmp::Reverse(record.name.pid)))?;
        self.by_pid[largest.name.pid?.0 as usize]
    }

    /// Takes a process or thread out of wherever it stands.
    pub(super) fn tear_out(&mut self, process: ProcessId) {
        if let Some(at) = self.waiting.iter().position(|waiter| waiter.process == process) {
            self.waiting.remove(at);
            self.tally.waits.give_up();
        }
        if self.retried.is_some_and(|waiter| waiter.process == process) {
            self.retried = None;
        }
        if let Some(wake) = self.processes[process.index()].wake.take() {
            self.queue.cancel(wake);
        }
        self.machine.processors.tear_out(process);
    }
}
