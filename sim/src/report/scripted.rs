//! Watches a scripted run and keeps what a table of its steps shows.
//!
//! Every event is a step but the implicit ones that change nothing: the start of a process that takes no frames, and the
//! ends of processes after the last request.

use std::collections::BTreeMap;

use framesim_models::frames::FrameRun;
use framesim_models::kernel::Region;
use framesim_models::{Address, Pid};
use framesim_workloads::requests::{Request, Slot};

use super::map::{self, Holder};
use super::steps::{self, Step};
use super::summary::refusal_sentence;
use super::text::{Bytes, Count, wrapped};
use crate::simulation::{Call, Cause, Happened, Outcome, Refusal, Simulation};

/// Steps as they happen.
pub struct Recorder {
    /// Whether requests are told apart by their process.
    with_process: bool,
    holders: Holders,
    /// Runs taken by name: first frame to frames granted, frames asked for, and holder.
    taken: BTreeMap<u64, (u64, u64, usize)>,
    steps: Vec<Step>,
    /// How many of `steps` are left when the ends of processes at the end of the run are dropped.
    last_request: usize,
    refused: Vec<(u64, Refusal)>,
    waste: bool,
    requests: u64,
}

impl Recorder {
    /// Of a run that has not begun.
    #[must_use]
    pub fn new(simulation: &Simulation) -> Recorder {
        let groups = &simulation.setting().workload.processes;
        Recorder {
            with_process: groups.len() > 1 || groups.iter().any(|group| group.count > 1),
            holders: Holders::new(),
            taken: BTreeMap::new(),
            steps: Vec::new(),
            last_request: 0,
            refused: Vec::new(),
            waste: false,
            requests: 0,
        }
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Who the map's letters are; number 0 is free.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        &self.holders.list
    }

    /// Requests that processes made.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Steps that were refused, with the reason.
    #[must_use]
    pub fn refused(&self) -> &[(u64, Refusal)] {
        &self.refused
    }

    /// Who letters are, where they do not say so themselves.
    #[must_use]
    pub fn legend(&self) -> Option<String> {
        let own = self.holders.list.iter().skip(1).step_by(2);
        let unclear = own.filter(|holder| holder.name != holder.sign.to_string());
        let mut words: Vec<String> = unclear.map(|holder| format!("{} {}", holder.sign, holder.name)).collect();
        if self.waste {
            words.push("lower case: granted, but not asked for".to_owned());
        }
        (!words.is_empty()).then(|| map::in_columns(&words))
    }

    /// Drops what is no step: the ends of processes that nothing follows.
    pub fn finish(&mut self) {
        self.steps.truncate(self.last_request);
    }

    /// Whether the event will have a row of its own.
    #[must_use]
    pub fn is_step(simulation: &Simulation, happened: &Happened) -> bool {
        match happened.call {
            Call::Request(Request::Exit) | Call::Start => {
                !simulation.frame_changes().is_empty() || is_refused(happened)
            }
            Call::Request(_) | Call::LifeOver { .. } | Call::Exit(_) | Call::Kill => true,
        }
    }

    /// Takes in the event that `simulation` has just had.
    pub fn record(&mut self, simulation: &Simulation, happened: &Happened) {
        self.follow(simulation, happened);
        if !Recorder::is_step(simulation, happened) {
            return;
        }
        let number = self.steps.len() as u64 + 1;
        self.requests += u64::from(matches!(happened.call, Call::Request(request) if request != Request::Exit));
        if let Outcome::Refused(refusal) | Outcome::Waits(refusal) = happened.outcome {
            self.refused.push((number, refusal));
        }
        let memory = self.memory(simulation);
        self.steps.push(Step {
            number,
            request: self.request(simulation, happened),
            placed: placed(simulation, happened),
            memory,
            free: simulation.levels().free_frames,
            longest: simulation.levels().longest_run,
        });
        if !matches!(happened.call, Call::Exit(_) | Call::Request(Request::Exit)) {
            self.last_request = self.steps.len();
        }
    }

    /// Which runs were taken by name.
    fn follow(&mut self, simulation: &Simulation, happened: &Happened) {
        if let (Call::Request(Request::Take { slot, frames }), Outcome::Frames(run)) = (happened.call, happened.outcome)
        {
            let name = name(simulation, happened.process.group, slot);
            let key = Key::Taken(happened.process.group, happened.process.ordinal, slot.0);
            let holder = self.holders.number(key, &name);
            self.waste |= run.frames > frames;
            self.taken.insert(run.start.0, (run.frames, frames, holder));
        }
        for change in simulation.frame_changes() {
            if change.owner.region == Region::Taken && change.change == framesim_models::kernel::HandedOver::Given {
                self.taken.remove(&change.run.start.0);
            }
        }
    }

    fn request(&self, simulation: &Simulation, happened: &Happened) -> String {
        let text = call(simulation, happened);
        if !self.with_process {
            return text;
        }
        let group = framesim_models::index(u64::from(happened.process.group));
        let group = &simulation.setting().workload.processes[group].name;
        match happened.process.ordinal {
            0 => format!("{group}: {text}"),
            ordinal => format!("{group}/{ordinal}: {text}"),
        }
    }

    /// All of memory as runs of holders.
    fn memory(&mut self, simulation: &Simulation) -> Vec<(usize, u64)> {
        let kernel = simulation.kernel();
        let mut runs = Runs { list: Vec::new(), at: 0 };
        let (holders, taken) = (&mut self.holders, &self.taken);
        kernel.frame_map().for_each_run(|owner, run| {
            runs.free_up_to(run.start.0);
            if owner.region == Region::Taken {
                runs.add_taken(taken, run);
            } else {
                runs.add(holders.number(Key::Region(owner.region), owner.region.name()), run.frames);
            }
        });
        runs.free_up_to(kernel.frame_map().frames());
        runs.list
    }
}

/// The name that a script has for a slot.
fn name(simulation: &Simulation, group: u32, slot: Slot) -> String {
    simulation.slot_name(group, slot).map_or_else(|| format!("#{}", slot.0), str::to_owned)
}

/// What was asked, as the script has it.
fn call(simulation: &Simulation, happened: &Happened) -> String {
    let group = happened.process.group;
    let call = happened.call.name();
    let named = |slot: Slot| format!("{call} {}", name(simulation, group, slot));
    let Call::Request(request) = happened.call else {
        return call.to_owned();
    };
    match request {
        Request::Take { slot, frames } => format!("{}, {}", named(slot), Count(frames)),
        Request::Malloc { slot: None, bytes, .. } => format!("{call} {}", Bytes(bytes)),
        Request::Malloc { slot: Some(slot), bytes, .. }
        | Request::Realloc { slot, bytes, .. }
        | Request::Mmap { slot, bytes } => format!("{}, {}", named(slot), Bytes(bytes)),
        Request::Calloc { slot, count, bytes, .. } => {
            format!("{}, {} x {}", named(slot), Count(count), Bytes(bytes))
        }
        Request::AlignedAlloc { slot, align, bytes, .. } => {
            format!("{}, {} at {}", named(slot), Bytes(bytes), Count(align))
        }
        Request::Free { slot }
        | Request::Touch { slot }
        | Request::Give { slot }
        | Request::Munmap { slot }
        | Request::DontNeed { slot } => named(slot),
        Request::Spawn { group } => {
            let group = framesim_models::index(u64::from(group));
            format!("{call} {}", simulation.setting().workload.processes[group].name)
        }
        Request::Sleep | Request::Exit => call.to_owned(),
    }
}

fn is_refused(happened: &Happened) -> bool {
    matches!(happened.outcome, Outcome::Refused(_) | Outcome::Waits(_))
}

/// Memory from frame 0 on, as it is put together.
struct Runs {
    list: Vec<(usize, u64)>,
    at: u64,
}

impl Runs {
    fn add(&mut self, holder: usize, frames: u64) {
        if frames > 0 {
            self.list.push((holder, frames));
            self.at += frames;
        }
    }

    fn free_up_to(&mut self, frame: u64) {
        self.add(0, frame - self.at);
    }

    /// A stretch of frames taken by name, cut into the runs that were taken.
    fn add_taken(&mut self, taken: &BTreeMap<u64, (u64, u64, usize)>, stretch: FrameRun) {
        while self.at < stretch.end().0 {
            let end = stretch.end().0;
            match taken.get(&self.at) {
                Some(&(granted, asked, holder)) => {
                    self.add(holder, asked.min(end - self.at));
                    self.add(holder + 1, (granted - asked).min(end - self.at));
                }
                // Cannot come about: every taken frame was taken by an event that was seen.
                None => self.add(0, end - self.at),
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Taken(u32, u32, u32),
    Region(Region),
}

/// Letters for whoever holds memory: each the first of its name where nobody has that, else the next free one.
struct Holders {
    list: Vec<Holder>,
    numbers: BTreeMap<Key, usize>,
}

impl Holders {
    fn new() -> Holders {
        Holders { list: vec![Holder::new('.', "free")], numbers: BTreeMap::new() }
    }

    /// The holder's number; the number after it is what was granted to it beyond its request.
    fn number(&mut self, key: Key, name: &str) -> usize {
        if let Some(&number) = self.numbers.get(&key) {
            return number;
        }
        let sign = self.letter(name);
        self.list.push(Holder::new(sign, name));
        self.list.push(Holder::new(sign.to_ascii_lowercase(), "granted, but not asked for"));
        self.numbers.insert(key, self.list.len() - 2);
        self.list.len() - 2
    }

    fn letter(&self, name: &str) -> char {
        let own = name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase());
        let any = ('A'..='Z').chain('0'..='9');
        own.chain(any).find(|sign| self.list.iter().all(|holder| holder.sign != *sign)).unwrap_or('#')
    }
}

fn placed(simulation: &Simulation, happened: &Happened) -> String {
    match happened.outcome {
        Outcome::Frames(run) => run.to_string(),
        Outcome::At(at) => place(simulation, happened.process.pid, at),
        Outcome::Refused(_) => "refused".to_owned(),
        Outcome::Waits(_) => "waits".to_owned(),
        Outcome::Nothing => "not held".to_owned(),
        Outcome::Served => String::new(),
    }
}

/// An address as a person finds it again: as an offset in the heap, or as that of a mapping.
fn place(simulation: &Simulation, pid: Option<Pid>, at: Address) -> String {
    let kernel = simulation.kernel();
    let space = pid.filter(|&pid| kernel.is_live(pid)).and_then(|pid| kernel.address_space(pid));
    let heap = space.map(|space| (space.address_of(space.heap_pages().start), space.program_break()));
    match heap {
        Some((start, end)) if start <= at && at < end => format!("+{:#x}", at.0 - start.0),
        _ => at.to_string(),
    }
}

/// What a person is told about a step that was refused.
#[must_use]
pub fn refused_sentence(number: u64, refusal: &Refusal) -> String {
    let Refusal { cause, asked, free, longest, .. } = *refusal;
    match cause {
        Cause::Fragmentation => {
            let outside = framesim_models::metrics::external_fragmentation(longest, free);
            let percent = (outside.permille() + 5) / 10;
            format!(
                "Step {number} was refused although {} frames are free: the longest free run has {}. This is external \
                 fragmentation: {percent} % of the free memory lies outside the longest run.",
                Count(free),
                Count(longest)
            )
        }
        Cause::Shortage => {
            format!(
                "Step {number} was refused: it asks for {} frames and only {} are free. Memory is short, not scattered.",
                Count(asked),
                Count(free)
            )
        }
        Cause::TooLarge | Cause::AddressSpace => format!("Step {number} was refused: {}", refusal_sentence(refusal)),
    }
}

/// Refused steps that are explained one by one.
const EXPLAINED: usize = 3;

/// The table of all steps, its legend, and why steps were refused.
#[must_use]
pub fn text(recorder: &Recorder, frames: u64) -> String {
    let mut text = steps::table(recorder.steps(), recorder.holders(), frames);
    if let Some(legend) = recorder.legend() {
        text.push_str(&legend);
    }
    if !recorder.refused().is_empty() {
        text.push('\n');
    }
    for (number, refusal) in recorder.refused().iter().take(EXPLAINED) {
        text.push_str(&wrapped(&refused_sentence(*number, refusal), WIDTH));
        text.push('\n');
    }
    text
}

/// How the same requests fare under other policies, and where to ask for more.
#[must_use]
pub fn elsewhere(refusals: &[(&str, u64)], file: &str, recorder: &Recorder) -> String {
    let Some((step, _)) = recorder.refused().first() else { return String::new() };
    let mut by_count: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for (name, count) in refusals {
        by_count.entry(*count).or_default().push(name);
    }
    let groups: Vec<String> = by_count
        .into_iter()
        .map(|(count, names)| match count {
            0 => format!("none with {}", names.join(", ")),
            _ => format!("{count} with {}", names.join(", ")),
        })
        .collect();
    let others = wrapped(&format!("Refused of the same requests: {}.", groups.join("; ")), WIDTH);
    let why = wrapped(&format!("`framesim run {file} --why {step}` shows what the policy saw."), WIDTH);
    format!("{others}\n{why}\n")
}

const WIDTH: usize = 78;
