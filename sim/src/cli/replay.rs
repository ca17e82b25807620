//! `framesim replay`: a recorded trace through a heap, without a workload file.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use framesim_models::kernel::space::SpaceSettings;
use framesim_models::{Address, ThreadId};
use framesim_workloads::requests::Request;
use framesim_workloads::trace::{Call as TraceCall, Record, TraceError, TraceReader};

use super::args::{Overrides, Replay, Run};
use super::exit::Failure;
use super::input::{Source, heap_choice, policy_choice};
use super::output::FileWriter;
use super::run::{Report, Talk, go, start, trace_failure};
use super::watch::Watchers;
use crate::Registries;
use crate::conform::heap::ReplaySetting;
use crate::simulation::{Call, Happened, Outcome, Simulation};

/// Replays a trace and reports.
pub fn replay(registries: &Registries, replay: &Replay, talk: Talk, screen: &mut impl Write) -> Result<(), Failure> {
    // Their own errors, before those of the text that they become a part of.
    let heap = heap_choice(registries, &replay.heap)?;
    policy_choice(registries, &replay.policy)?;
    let source = Source::of_text(&replay.trace, workload(replay, heap.name())?);
    let overrides =
        Overrides { policy: Some(replay.policy.clone()), heap: Some(replay.heap.clone()), ..Overrides::default() };
    let loaded = source.load(registries, &overrides)?;
    let mut simulation = start(registries, &source, &loaded)?;
    let mut watchers = Watchers::default();
    if let Some(path) = &replay.addresses {
        watchers.addresses = Some(Addresses::create(path, &replay.trace)?);
    }
    go(&mut simulation, &mut watchers, talk, &again(replay))?;
    let run = Run { heaps: true, ..Run::of(&replay.trace, overrides, replay.json) };
    let report = Report { registries, run: &run, source: &source, loaded: &loaded, talk };
    let text =
        if replay.json { report.json(&simulation, &watchers)? } else { report.text(&simulation, &mut watchers)? };
    if let Some(addresses) = watchers.addresses {
        addresses.finish()?;
    }
    Ok(screen.write_all(text.as_bytes())?)
}

fn again(replay: &Replay) -> String {
    let words = [&replay.trace.display().to_string(), "--heap", &replay.heap, "--policy", &replay.policy];
    super::words::joined(words)
}

/// The workload that the options stand for. Addresses are asked for to compare them with recorded ones: then the process
/// finds mapped what the recording's had.
pub(super) fn workload(replay: &Replay, heap: &str) -> Result<String, Failure> {
    let file = replay.trace.file_name().unwrap_or(replay.trace.as_os_str()).to_string_lossy();
    let mut libraries = String::new();
    let (mut cpus, mut code) = (replay.cpus, 0);
    if replay.addresses.is_some() {
        let setting = ReplaySetting::one_thread_with(heap);
        cpus = setting.cpus;
        // The break starts behind the program: with alignments above a page its place decides where blocks lie.
        code = setting.start_break - SpaceSettings::linux(setting.page).start_brk.0;
        for (start, end) in surroundings(&setting, &replay.trace)? {
            write!(libraries, "({start:#x}, {end:#x}), ").expect("a string grows");
        }
    }
    Ok(format!(
        "(
    about: \"replay of {}\",
    machine: (memory: {:?}, cpus: {cpus}, frames: buddy, libraries: [{libraries}]),
    programs: {{\"program\": (code: {code})}},
    processes: [(name: \"program\", program: \"program\", does: trace(file: {file:?}, one_thread: {}))],
)
",
        file.replace(['\\', '"'], "_"),
        replay.memory,
        replay.one_thread,
    ))
}

/// Address ranges that were taken in a recording of this trace.
fn surroundings(setting: &ReplaySetting, trace: &Path) -> Result<Vec<(u64, u64)>, Failure> {
    let mut reader = TraceReader::open(trace).map_err(|error| trace_failure(&error))?;
    let (mut calls, mut ids, mut blocks, mut threads) = (0, 1, 0, ThreadId(0));
    while let Some(record) = reader.next_record().map_err(|error| trace_failure(&error))? {
        let is_call = record.call != TraceCall::ThreadEnd;
        calls += u64::from(is_call);
        ids = ids.max(record.id + 1);
        blocks += u64::from(is_call && !matches!(record.call, TraceCall::Free { .. }));
        threads = threads.max(record.thread);
    }
    setting.mapped(calls, ids, blocks).map_err(|bad| Failure::Input(bad.to_string()))
}

/// `--addresses`: a line `ID OFFSET USABLE` for each call that gave a block.
///
/// The offset is hexadecimal and counts from the first program break; outside the break it has an `M` before it and counts,
/// with its sign, from the first block that lay there.
pub struct Addresses {
    file: FileWriter,
    /// The same trace once more, for the blocks' ids.
    ids: TraceReader,
    first_break: Option<Address>,
    first_outside: Option<Address>,
}

/// Why no line could be written.
pub enum NoLine {
    /// The file.
    Write(io::Error),
    /// The trace.
    Read(TraceError),
}

impl Addresses {
    fn create(path: &Path, trace: &Path) -> Result<Addresses, Failure> {
        let ids = TraceReader::open(trace).map_err(|error| trace_failure(&error))?;
        Ok(Addresses { file: FileWriter::create(path)?, ids, first_break: None, first_outside: None })
    }

    /// Takes in the event that `simulation` has just had.
    ///
    /// # Errors
    /// [`NoLine`] as a failure.
    pub fn see(&mut self, simulation: &Simulation, happened: &Happened) -> Result<(), Failure> {
        self.line(simulation, happened).map_err(|error| match error {
            NoLine::Write(error) => self.file.failure(&error),
            NoLine::Read(error) => trace_failure(&error),
        })
    }

    fn line(&mut self, simulation: &Simulation, happened: &Happened) -> Result<(), NoLine> {
        if !matches!(happened.call, Call::Request(_)) || happened.call == Call::Request(Request::EndThread) {
            return Ok(());
        }
        let Some(record) = self.next_call().map_err(NoLine::Read)? else { return Ok(()) };
        let (Outcome::At(at), false) = (happened.outcome, matches!(record.call, TraceCall::Free { .. })) else {
            return Ok(());
        };
        let Some(pid) = happened.process.pid else { return Ok(()) };
        let usable = simulation.heap(pid).and_then(|heap| heap.usable_size(at)).unwrap_or(0);
        let space = simulation.kernel().address_space(pid);
        let heap = space.map(|space| (space.address_of(space.heap_pages().start), space.program_break()));
        let place = self.place(at, heap);
        writeln!(self.file, "{} {place} {usable}", record.id).map_err(NoLine::Write)
    }

    /// The next record that is a call.
    fn next_call(&mut self) -> Result<Option<Record>, TraceError> {
        loop {
            match self.ids.next_record()? {
                Some(Record { call: TraceCall::ThreadEnd, .. }) => {}
                record => return Ok(record),
            }
        }
    }

    fn place(&mut self, at: Address, heap: Option<(Address, Address)>) -> String {
        if let Some((start, end)) = heap
            && start <= at
            && at < end
        {
            let first = *self.first_break.get_or_insert(start);
            return format!("{:x}", at.0 - first.0);
        }
        let first = *self.first_outside.get_or_insert(at);
        let sign = if at < first { "-" } else { "" };
        format!("M{sign}{:x}", at.0.abs_diff(first.0))
    }

    fn finish(self) -> Result<(), Failure> {
        self.file.finish()
    }
}
