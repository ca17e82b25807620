//! Watches a scripted run and keeps what a table of its steps shows.
//!
//! Every event is a step but the implicit ones that change nothing: the start of a process that takes no frames, and the
//! ends of processes after the last request.

use std::collections::BTreeMap;

use framesim_models::frames::FrameRun;
use framesim_models::kernel::Region;
use framesim_models::{Address, Pid};
use framesim_workloads::requests::{Request, Slot};

use super::frame_map;
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
            Call::Request(_)
            | Call::LifeOver { .. }
            | Call::Exit(_)
            | Call::Kill
            | Call::ThreadStart { .. }
            | Call::ThreadEnd
            | Call::Join => true,
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
    let request = match happened.call {
        Call::Request(request) => request,
        Call::ThreadStart { thread } => return format!("{call} {}", thread.0),
        _ => return call.to_owned(),
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
        Request::Sleep | Request::EndThread | Request::Exit => call.to_owned(),
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
        let sign = self.letter(key, name);
        self.list.push(Holder::new(sign, name));
        self.list.push(Holder::new(sign.to_ascii_lowercase(), "granted, but not asked for"));
        self.numbers.insert(key, self.list.len() - 2);
        self.list.len() - 2
    }

    fn letter(&self, key: Key, name: &str) -> char {
        let own = match key {
            Key::Region(region) => frame_map::sign(region).to_string() + name,
            Key::Taken(..) => name.to_owned(),
        };
        let own = own.to_ascii_uppercase();
        let any = ('A'..='Z').chain('0'..='9');
        let letters = own.chars().filter(char::is_ascii_alphanumeric).chain(any);
        letters.into_iter().find(|sign| self.list.iter().all(|holder| holder.sign != *sign)).unwrap_or('#')
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

/// What a person is told about steps that were refused for the same reason.
fn refused_sentence(steps: &[u64], refusal: &Refusal) -> String {
    let Refusal { cause, free, longest, .. } = *refusal;
    let numbers: Vec<String> = steps.iter().map(u64::to_string).collect();
    let who = match steps.len() {
        1 => format!("Step {} was refused", numbers[0]),
        _ => format!("Steps {} were refused", numbers.join(", ")),
    };
    match cause {
        Cause::Fragmentation => {
            let outside = framesim_models::metrics::external_fragmentation(longest, free);
            let percent = (outside.permille() + 5) / 10;
            format!(
                "{who} although {} frames are free: the longest free run has {}. This is external fragmentation: \
                 {percent} % of the free memory lies outside the longest run.",
                Count(free),
                Count(longest)
            )
        }
        Cause::Shortage => format!(
            "{who}: only {} free, fewer than asked for. Memory is short, not scattered.",
            if free == 1 { "1 frame is".to_owned() } else { format!("{} frames are", Count(free)) }
        ),
        Cause::TooLarge | Cause::AddressSpace => format!("{who}: {}", refusal_sentence(refusal)),
    }
}

/// Kinds of refusals that are explained.
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
    for (steps, refusal) in alike(recorder.refused()).iter().take(EXPLAINED) {
        text.push_str(&wrapped(&refused_sentence(steps, refusal), WIDTH));
        text.push('\n');
    }
    text
}

/// Refusals in the order of the first of each kind: of the same cause, in a memory that looked the same.
fn alike(refused: &[(u64, Refusal)]) -> Vec<(Vec<u64>, Refusal)> {
    let mut kinds: Vec<(Vec<u64>, Refusal)> = Vec::new();
    let same = |one: &Refusal, two: &Refusal| {
        let look = |refusal: &Refusal| match refusal.cause {
            Cause::Fragmentation => (refusal.free, refusal.longest),
            Cause::Shortage => (refusal.free, 0),
            Cause::TooLarge | Cause::AddressSpace => (refusal.asked, 0),
        };
        one.cause == two.cause && look(one) == look(two)
    };
    for (step, refusal) in refused {
        match kinds.iter_mut().find(|(_, kind)| same(kind, refusal)) {
            Some((steps, _)) => steps.push(*step),
            None => kinds.push((vec![*step], *refusal)),
        }
    }
    kinds
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
