//! Events as JSON, a line each: for `jq`, pandas and DuckDB.
//!
//! Every line has the same keys in the same order; what does not apply is `null`. Times are nanoseconds, sizes and
//! addresses bytes, all plain integers.

use std::io::{self, Write};

use framesim_models::kernel::{FrameChange, HandedOver, Region};
use serde::Serialize;

use crate::simulation::{Call, Happened, Outcome, Refusal, Simulation};

#[derive(Serialize)]
struct Line<'a> {
    event: u64,
    time: u64,
    cost: u64,
    waited: u64,
    cpu: u32,
    process: &'a str,
    thread: u32,
    call: &'static str,
    size: Option<u64>,
    address: Option<u64>,
    outcome: &'static str,
    cause: Option<&'static str>,
    frames: &'a [Frames],
}

/// Frames that changed hands: to whom, or from whom.
#[derive(Serialize)]
struct Frames {
    change: &'static str,
    start: u64,
    frames: u64,
    pid: u32,
    region: Region,
}

/// Writes lines; what it needs for one it uses again for the next.
pub struct EventWriter<W> {
    to: W,
    frames: Vec<Frames>,
    process: String,
}

impl<W: Write> EventWriter<W> {
    /// A writer to `to`, which should be buffered.
    pub fn new(to: W) -> EventWriter<W> {
        EventWriter { to, frames: Vec::new(), process: String::new() }
    }

    /// What the lines go to.
    pub fn get_ref(&self) -> &W {
        &self.to
    }

    /// What the lines went to.
    pub fn into_inner(self) -> W {
        self.to
    }

    /// Writes the event that `simulation` has just had.
    ///
    /// # Errors
    /// Of what it writes to.
    pub fn write(&mut self, simulation: &Simulation, happened: &Happened) -> io::Result<()> {
        self.frames.clear();
        for change in simulation.frame_changes() {
            self.note(change);
        }
        self.process.clear();
        name_of(simulation, happened, &mut self.process);
        let (address, outcome, refusal) = outcome(&happened.outcome);
        let line = Line {
            event: happened.event,
            time: happened.time.0,
            cost: happened.cost.0,
            waited: happened.waited.0,
            cpu: happened.cpu.0,
            process: &self.process,
            thread: happened.thread.0,
            call: happened.call.name(),
            size: happened.call.bytes(),
            address: address.or(freed(&happened.call)),
            outcome,
            cause: refusal.map(|refusal| refusal.cause.name()),
            frames: &self.frames,
        };
        serde_json::to_writer(&mut self.to, &line)?;
        self.to.write_all(b"\n")
    }
}

impl<W> EventWriter<W> {
    /// Frame by frame is how paged memory comes; neighbours in one direction for one use are one entry.
    fn note(&mut self, change: &FrameChange) {
        let next = frames(change);
        match self.frames.last_mut() {
            Some(last) if last.goes_on_with(&next) => last.frames += next.frames,
            _ => self.frames.push(next),
        }
    }
}

impl Frames {
    fn goes_on_with(&self, next: &Frames) -> bool {
        let end = self.start + self.frames;
        (self.change, self.pid, self.region, end) == (next.change, next.pid, next.region, next.start)
    }
}

/// A process's name, as random numbers are drawn under it: `web/3`.
pub fn name_of(simulation: &Simulation, happened: &Happened, name: &mut String) {
    use std::fmt::Write as _;
    let group = framesim_models::index(u64::from(happened.process.group));
    let group = &simulation.setting().workload.processes[group].name;
    write!(name, "{group}/{}", happened.process.ordinal).expect("a string grows");
}

fn outcome(outcome: &Outcome) -> (Option<u64>, &'static str, Option<&Refusal>) {
    match outcome {
        Outcome::Served | Outcome::Frames(_) => (None, "served", None),
        Outcome::At(address) => (Some(address.0), "served", None),
        Outcome::Nothing => (None, "nothing", None),
        Outcome::Refused(refusal) => (None, "refused", Some(refusal)),
        Outcome::Waits(refusal) => (None, "waits", Some(refusal)),
    }
}

fn freed(call: &Call) -> Option<u64> {
    match call {
        Call::LifeOver { address, .. } => Some(address.0),
        _ => None,
    }
}

fn frames(change: &FrameChange) -> Frames {
    Frames {
        change: match change.change {
            HandedOver::Taken => "taken",
            HandedOver::Given => "given",
        },
        start: change.run.start.0,
        frames: change.run.frames,
        pid: change.owner.pid.0,
        region: change.owner.region,
    }
}
