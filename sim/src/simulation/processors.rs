//! Processors, and the queue of processes that want one.
//!
//! **Invariant.** A processor that somebody holds has an event at the end of its work; so has each busy one while a process is ready.
//! No process is ready while a processor is idle.

use std::collections::VecDeque;

use framesim_models::{Cpu, Nanos, Violation, ensure, index};
use serde::{Deserialize, Serialize};

use super::process::ProcessId;

/// All processors of the machine, and the processes that are ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Processors {
    processors: Vec<Processor>,
    ready: VecDeque<ProcessId>,
    /// How long a process keeps a processor while others are ready.
    quantum: Nanos,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Processor {
    /// Until then it works.
    busy_until: Nanos,
    /// The process that goes on when the work is done.
    holder: Option<ProcessId>,
    /// The process whose state it has loaded.
    loaded: Option<ProcessId>,
    /// What the loaded process has used of its quantum.
    used: Nanos,
    /// Whether an event will come when the work is done.
    event: bool,
}

impl Processors {
    pub(super) fn new(count: u32, quantum: Nanos) -> Processors {
        let processors = vec![Processor::default(); index(u64::from(count.max(1)))];
        Processors { processors, ready: VecDeque::new(), quantum }
    }

    /// An idle processor: the one the process ran on last if that is idle, else the lowest. Processors are few: a scan will do.
    #[inline]
    pub(super) fn idle(&self, now: Nanos, last: Cpu) -> Option<Cpu> {
        let idle = |processor: &Processor| processor.holder.is_none() && processor.busy_until <= now;
        if self.processors.get(last.0 as usize).is_some_and(idle) {
            return Some(last);
        }
        self.processors.iter().position(idle).map(|lowest| Cpu(number(lowest)))
    }

    /// Until when `cpu` works for a process that it has loaded; 0 when it has another one's state.
    pub(super) fn busy_until(&self, cpu: Cpu, process: ProcessId) -> Nanos {
        let processor = self.processors.get(cpu.0 as usize).filter(|processor| processor.loaded == Some(process));
        processor.map_or(Nanos(0), |processor| processor.busy_until)
    }

    /// Puts a process at the end of the ready queue. `awaited` is called for each processor that must have an event now.
    pub(super) fn queue_up(&mut self, process: ProcessId, mut awaited: impl FnMut(Cpu, Nanos)) {
        self.ready.push_back(process);
        for (place, processor) in self.processors.iter_mut().enumerate() {
            if !std::mem::replace(&mut processor.event, true) {
                awaited(Cpu(number(place)), processor.busy_until);
            }
        }
    }

    /// The work of `cpu` is done: the process that goes on there. A holder that has used its quantum makes room, when
    /// another is ready; it is the second one returned.
    pub(super) fn end_of_work(&mut self, cpu: Cpu) -> (Option<ProcessId>, Option<ProcessId>) {
        let processor = &mut self.processors[cpu.0 as usize];
        processor.event = false;
        let holder = processor.holder.take();
        if holder.is_some() && processor.used < self.quantum {
            return (holder, None);
        }
        let Some(next) = self.ready.pop_front() else {
            processor.used = Nanos(0);
            return (holder, None);
        };
        self.ready.extend(holder);
        (Some(next), holder)
    }

    /// Gives `cpu` to a process. `true` when another one's state was loaded there, or none.
    #[inline]
    pub(super) fn load(&mut self, cpu: Cpu, process: ProcessId) -> Switch {
        let processor = &mut self.processors[cpu.0 as usize];
        match processor.loaded.replace(process) {
            Some(same) if same == process => Switch::None,
            before => {
                processor.used = Nanos(0);
                if before.is_some() { Switch::FromAnother } else { Switch::FromIdle }
            }
        }
    }

    /// `cpu` works until `done`; then it goes on with `holder`, if any. `true` when that must be an event.
    #[inline]
    pub(super) fn work(&mut self, cpu: Cpu, now: Nanos, done: Nanos, holder: Option<ProcessId>) -> bool {
        let others = !self.ready.is_empty();
        let processor = &mut self.processors[cpu.0 as usize];
        processor.used.0 += done.0 - now.0;
        processor.busy_until = done;
        processor.holder = holder;
        processor.event = holder.is_some() || others;
        processor.event
    }

    /// Full check of the invariants.
    pub(super) fn check(&self) -> Result<(), Violation> {
        for (place, processor) in self.processors.iter().enumerate() {
            let owed = processor.holder.is_some() || !self.ready.is_empty();
            ensure(!owed || processor.event, || format!("processor {place} is wanted, and no event is to come"))?;
        }
        Ok(())
    }

    /// The process is no more.
    pub(super) fn forget(&mut self, process: ProcessId) {
        for processor in self.processors.iter_mut().filter(|processor| processor.loaded == Some(process)) {
            processor.loaded = None;
        }
    }

    /// Takes a process out of the ready queue, and from the processor it holds. Rare: only a killed process is torn out.
    pub(super) fn tear_out(&mut self, process: ProcessId) {
        self.ready.retain(|&ready| ready != process);
        for processor in self.processors.iter_mut().filter(|processor| processor.holder == Some(process)) {
            // Its event finds no holder, and takes the next ready process.
            processor.holder = None;
        }
        self.forget(process);
    }
}

/// What it takes to run a process on a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// Nothing: its state is loaded.
    None,
    /// Nothing is counted: nobody's state was loaded.
    FromIdle,
    /// A context switch.
    FromAnother,
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("processors are counted in 32 bits")
}
