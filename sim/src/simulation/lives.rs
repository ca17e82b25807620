//! How processes come, start, go on and end.

use framesim_models::heap::HeapSetting;
use framesim_models::{Cpu, Nanos, Pid};
use framesim_workloads::requests::Stream;
use framesim_workloads::spec::Limits;
use framesim_workloads::streams::Domain;

use super::happened::{Call, Outcome, ProcessName, Refusal};
use super::heaps::{Footprint, Live};
use super::process::{Attempt, NEVER, Process, ProcessId, State};
use super::{Event, RunError, Simulation};

/// Live blocks that limits allow beside so many processes and threads; `None` when those alone are too many.
pub(super) fn blocks_most(limits: &Limits, frames: u64, present: u64) -> Option<u64> {
    let one = Limits::simulator_bytes(0, 1, 0);
    let others = Limits::simulator_bytes(frames.into(), 0, present.into());
    let left = u128::from(limits.memory.0).checked_sub(others)?;
    Some(limits.live_blocks.min(u64::try_from(left / one).unwrap_or(u64::MAX)))
}

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
        self.ensure_room_for_one()?;
        self.tally.processes.arrived += 1;
        let group = stream.group();
        let name = ProcessName { group, ordinal: self.groups[group as usize].next_ordinal(), pid: None };
        let life = self.requests.life(&stream);
        let ends = life.map_or(NEVER, |life| Nanos(self.now.0.saturating_add(life.0)));
        let stream = Some(stream);
        let process = self.admit(Process { name, state: State::Asleep, ends, stream, ..Process::NOBODY }, None);
        self.schedule(self.now, Event::Wake(process));
        Ok(())
    }

    /// A process or thread more is within the limit.
    pub(super) fn ensure_room_for_one(&mut self) -> Result<(), RunError> {
        let present = self.present();
        if present >= self.limits.processes {
            return Err(RunError::Processes(self.limits.processes));
        }
        let frames = self.machine.kernel.allocator().total_frames();
        match blocks_most(&self.limits, frames, present + 1) {
            Some(most) => self.blocks_most = most,
            None => return Err(RunError::Memory { live: 0, present: present + 1, most: self.limits.memory.0 }),
        }
        Ok(())
    }

    /// Gives a process, or a thread of the process `main`, its place in the table.
    pub(super) fn admit(&mut self, record: Process, main: Option<ProcessId>) -> ProcessId {
        let place = self.vacant.pop().unwrap_or_else(|| {
            let place = u32::try_from(self.processes.len()).expect("processes are counted in 32 bits");
            self.processes.push(Process::NOBODY);
            ProcessId(place)
        });
        self.processes[place.index()] = Process { main: main.unwrap_or(place), ..record };
        place
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
        self.found_team(process);
        self.read_next(process, true)?;
        self.was_served(attempt);
        Ok(Outcome::Served)
    }

    /// Everything a process has goes back, and its place in the table is free.
    pub(super) fn end(&mut self, process: ProcessId) {
        let main = self.processes[process.index()].main;
        let threads = self.dissolve_team(main, process);
        let record = self.vacate(main);
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
            let held = &memory.holdings;
            self.tally.live_changed(Live::default().minus(held.live));
            self.tally.footprint_changed(&held.footprint, &Footprint::default());
        }
        self.tally.pages_mapped(0, self.groups[record.name.group as usize].image.pages());
        self.tally.process_ended(threads);
    }

    /// Nobody is in that place any more.
    pub(super) fn vacate(&mut self, process: ProcessId) -> Process {
        self.vacant.push(process);
        self.machine.processors.forget(process);
        std::mem::replace(&mut self.processes[process.index()], Process::NOBODY)
    }

    /// A process that never started is no more.
    pub(super) fn vanish(&mut self, process: ProcessId) {
        self.vacate(process);
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
        let Some(stream) = &mut record.stream else { return self.read_next_of_main(process) };
        // Told apart so that a recorded request is copied once, from where the recording was read to.
        let (gap, sleeps) = match self.requests.next_recorded(stream)? {
            Some(next) if next.thread == record.thread => (next.gap, record.set_next(next)),
            Some(next) => {
                let next = *next;
                self.pass_turn(process, next, is_first);
                return Ok(());
            }
            None => {
                let next = self.requests.next(stream)?;
                if next.thread != record.thread {
                    self.pass_turn(process, next, is_first);
                    return Ok(());
                }
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
        let main = self.processes[process.index()].main;
        let record = &mut self.processes[main.index()];
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
        memory.keeps_time = heap.keeps_time();
        memory.heap = Some(heap);
        memory.classes = Some(Box::default());
    }

    /// What the process does after a service that ends at `done`: it goes on, sleeps, waits or is no more.
    #[inline]
    pub(super) fn settle(&mut self, process: ProcessId, cpu: Cpu, done: Nanos) {
        let record = &mut self.processes[process.index()];
        let next = match record.state {
            State::Running if record.is_parked() => return self.leave_the_turn(process, cpu, done),
            State::Running => Some(record.next_due(done)),
            _ => None,
        };
        let (wake, holder) = match next {
            Some(due) if due > done => {
                record.state = State::Asleep;
                (Some(due), None)
            }
            Some(_) => (None, Some(process)),
            None => (None, None),
        };
        self.leave(cpu, done, holder);
        if let Some(due) = wake {
            self.schedule(due, Event::Wake(process));
        }
    }

    /// The processor works until `done`, then goes on with `holder` or whoever is ready.
    #[inline(always)]
    pub(super) fn leave(&mut self, cpu: Cpu, done: Nanos, holder: Option<ProcessId>) {
        if self.machine.processors.work(cpu, self.now, done, holder) {
            self.schedule(done, Event::WorkDone(cpu));
        }
    }
}
