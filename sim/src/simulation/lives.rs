//! How processes come, start, go on and end.

use framesim_models::heap::HeapSetting;
use framesim_models::{Cpu, Nanos, Pid};
use framesim_workloads::requests::Stream;
use framesim_workloads::streams::Domain;

use super::happened::{Call, Outcome, ProcessName, Refusal};
use super::heaps::Holdings;
use super::process::{Attempt, NEVER, Process, ProcessId, State};
use super::{Event, RunError, Simulation};

impl Simulation {
    /// Processes of a group arrive, and their next arrival is scheduled.
    pub(super) fn arrive(&mut self, group: u32) -> Result<(), RunError> {
        let count = self.groups[group as usize].count;
        for _ in 0..count {
            let ordinal = self.groups[group as usize].next_arrived();
            let stream = self.requests.start(group, ordinal);
            self.arrive_one(stream)?;
        }
        if let Some(next) = self.next_arrival(group) {
            self.schedule(next, Event::Arrive(group));
        }
        Ok(())
    }

    /// When the next processes of a group arrive.
    pub(super) fn next_arrival(&mut self, group: u32) -> Option<Nanos> {
        self.requests.next_arrival(&mut self.groups[group as usize].arrivals)
    }

    /// A process starts another one of a group.
    pub(super) fn spawn(&mut self, parent: ProcessId, group: u32) -> Result<(), RunError> {
        let stream = self.processes[parent.index()].stream.as_mut().expect("a process that calls is alive");
        let stream = self.requests.spawn(stream, group);
        self.arrive_one(stream)
    }

    /// One process arrives.
    fn arrive_one(&mut self, stream: Stream) -> Result<(), RunError> {
        let present = self.processes.len() - self.vacant.len();
        if present as u64 >= self.limits.processes {
            return Err(RunError::Processes(self.limits.processes));
        }
        self.tally.processes.arrived += 1;
        let group = stream.group();
        let name = ProcessName { group, ordinal: self.groups[group as usize].next_ordinal(), pid: None };
        let life = self.requests.life(&stream);
        let ends = life.map_or(NEVER, |life| Nanos(self.now.0.saturating_add(life.0)));
        let stream = Some(stream);
        let process = self.admit(Process { name, state: State::Asleep, ends, stream, ..Process::NOBODY });
        self.schedule(self.now, Event::Wake(process));
        Ok(())
    }

    /// Gives a process its place in the table.
    fn admit(&mut self, record: Process) -> ProcessId {
        if let Some(place) = self.vacant.pop() {
            self.processes[place.index()] = record;
            return place;
        }
        let place = u32::try_from(self.processes.len()).expect("processes are counted in 32 bits");
        self.processes.push(record);
        ProcessId(place)
    }

    /// The kernel loads the program.
    pub(super) fn start(&mut self, process: ProcessId, attempt: &Attempt) -> Result<Outcome, RunError> {
        let name = self.processes[process.index()].name;
        let image = &self.groups[name.group as usize].image;
        let pid = match self.machine.kernel.spawn(image) {
            Ok(pid) => pid,
            Err(no_memory) => return Ok(self.lacks(process, attempt, Refusal::of(&no_memory))),
        };
        self.processes[process.index()].name.pid = Some(pid);
        self.tally.pages_mapped(image.pages(), 0);
        self.tally.process_started();
        self.note_pid(pid, Some(process));
        self.read_next(process, true)?;
        self.was_served(attempt);
        Ok(Outcome::Served)
    }

    /// Everything a process has goes back, and its place in the table is free.
    pub(super) fn end(&mut self, process: ProcessId) {
        let record = std::mem::replace(&mut self.processes[process.index()], Process::NOBODY);
        self.vacant.push(process);
        self.machine.processors.forget(process);
        let pid = record.name.pid.expect("a process that ends has started");
        let group = &mut self.groups[record.name.group as usize];
        if let Some(memory) = &record.memory {
            let calls = self.machine.kernel.counts_of(pid).calls;
            group.heaps.ended(self.now, &memory.holdings, memory.classes.as_deref(), &calls);
        }
        self.machine.kernel.exit(pid);
        self.note_pid(pid, None);
        self.requests.close(record.stream.as_ref().expect("a process that ends is alive"));
        if let Some(memory) = record.memory {
            self.tally.holdings_changed(&memory.holdings, &Holdings::default());
        }
        self.tally.pages_mapped(0, self.groups[record.name.group as usize].image.pages());
        self.tally.process_ended();
    }

    /// A process that never started is no more.
    pub(super) fn vanish(&mut self, process: ProcessId) {
        self.processes[process.index()] = Process::NOBODY;
        self.vacant.push(process);
        self.machine.processors.forget(process);
    }

    fn note_pid(&mut self, pid: Pid, process: Option<ProcessId>) {
        let place = pid.0 as usize;
        if self.by_pid.len() <= place {
            self.by_pid.resize(place + 1, None);
        }
        self.by_pid[place] = process;
    }

    /// Reads the request after the one that was taken just now.
    #[inline]
    pub(super) fn read_next(&mut self, process: ProcessId, is_first: bool) -> Result<(), RunError> {
        let record = &mut self.processes[process.index()];
        let stream = record.stream.as_mut().expect("a process with requests is alive");
        // Told apart so that a recorded request is copied once, from where the recording was read to.
        let (gap, sleeps) = match self.requests.next_recorded(stream)? {
            Some(next) => (next.gap, record.set_next(next)),
            None => {
                let next = self.requests.next(stream)?;
                (next.gap, record.set_next(&next))
            }
        };
        record.due_from_done = is_first || sleeps;
        if !record.due_from_done {
            record.due = Nanos(record.due.0.saturating_add(gap.0));
        }
        Ok(())
    }

    /// A heap for a process that calls it for the first time.
    #[inline]
    pub(super) fn make_heap(&mut self, process: ProcessId, call: &Call) {
        let record = &mut self.processes[process.index()];
        if !call.is_on_heap() || record.memory.as_ref().is_some_and(|memory| memory.heap.is_some()) {
            return;
        }
        let group = &mut self.groups[record.name.group as usize];
        group.heaps.heap_made();
        let stream = record.stream.as_ref().expect("a process that calls is alive");
        let coins = self.requests.seeds().coins(Domain::Policy, &self.requests.name(stream), "heap");
        let heap = self.heaps.build(group.heap.name(), &group.heap, HeapSetting { coins });
        let heap = heap.expect("the heap's name was found at the start").expect("its options were tried at the start");
        let memory = record.memory.get_or_insert_default();
        memory.heap = Some(heap);
        memory.classes = Some(Box::default());
    }

    /// What the process does after a service that ends at `done`: it goes on, sleeps, waits or is no more.
    #[inline]
    pub(super) fn settle(&mut self, process: ProcessId, cpu: Cpu, done: Nanos) {
        let record = &mut self.processes[process.index()];
        let next = match record.state {
            State::Running => Some(record.next_due(done)),
            _ => None,
        };
        match next {
            Some(due) if due > done => {
                record.state = State::Asleep;
                self.leave(cpu, done, None);
                self.schedule(due, Event::Wake(process));
            }
            Some(_) => self.leave(cpu, done, Some(process)),
            None => self.leave(cpu, done, None),
        }
    }

    /// The processor works until `done`, then goes on with `holder` or whoever is ready.
    #[inline]
    fn leave(&mut self, cpu: Cpu, done: Nanos, holder: Option<ProcessId>) {
        if self.machine.processors.work(cpu, self.now, done, holder) {
            self.schedule(done, Event::WorkDone(cpu));
        }
    }
}
