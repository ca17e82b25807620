//! `framesim verify`: a fresh run held against a digest log, event by event.

use std::io::Write;
use std::path::Path;

use clap::Parser;

use super::args::{Cli, Command, Run};
use super::exit::Failure;
use super::input::Source;
use super::run::{Talk, command_line, go, start};
use super::watch::{Comparison, Watchers};
use super::words::split;
use crate::Registries;
use crate::digest::Difference;
use crate::report::events::name_of;
use crate::report::text::{Count, Seconds, counted};
use crate::simulation::{Happened, RESULTS_VERSION, Simulation};

/// Repeats the run that wrote the log at `path`; names the first event that differs.
pub fn verify(registries: &Registries, path: &Path, talk: Talk, screen: &mut impl Write) -> Result<(), Failure> {
    let against = Comparison::open(path)?;
    let head = against.head().clone();
    let run = recorded(&head.run, path)?;
    let source = opened(&run, path)?;
    let loaded = source.load(registries, &run.overrides)?;
    let mut simulation = start(registries, &source, &loaded)?;
    let mut watchers = Watchers { against: Some(against), ..Watchers::default() };
    go(&mut simulation, &mut watchers, talk, &command_line(&run.file, &run.overrides))?;
    let against = watchers.against.expect("put there above");
    let Some((difference, happened)) = against.end(path)? else {
        let events = counted(simulation.events(), "event", "events");
        writeln!(screen, "{}: {events}, all as recorded\ndigest {}", path.display(), simulation.digest())?;
        return Ok(());
    };
    writeln!(screen, "{}: {}", path.display(), sentence(&difference, happened.as_ref(), &simulation))?;
    writeln!(screen, "recorded by: framesim run {}", head.run)?;
    if head.results != RESULTS_VERSION {
        let (then, now) = (head.results, RESULTS_VERSION);
        writeln!(screen, "recorded with results version {then}, this is {now}: digests differ by design")?;
    }
    Err(Failure::Mismatch)
}

/// The arguments that the log was written with.
pub(super) fn recorded(run: &str, path: &Path) -> Result<Run, Failure> {
    let bad = |why: &str| Failure::Input(format!("{}: line 2: {why}", path.display()));
    let words = split(run).ok_or_else(|| bad("a quote is not closed"))?;
    let words = ["framesim", "run"].into_iter().map(str::to_owned).chain(words);
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Run(run)) => Ok(run),
        Ok(_) | Err(_) => Err(bad("not the arguments of `framesim run`")),
    }
}

/// The workload as the log names it: from here, or from the log's own folder.
pub(super) fn opened(run: &Run, path: &Path) -> Result<Source, Failure> {
    let beside = path.parent().unwrap_or(Path::new("")).join(&run.file);
    if !run.file.exists() && beside.exists() { Source::open(&beside) } else { Source::open(&run.file) }
}

fn sentence(difference: &Difference, happened: Option<&Happened>, simulation: &Simulation) -> String {
    let what = happened.map_or_else(String::new, |happened| {
        let mut process = String::new();
        name_of(simulation, happened, &mut process);
        let bytes = happened.call.bytes().map_or_else(String::new, |bytes| format!(" of {} bytes", Count(bytes)));
        format!(" ({process}: {}{bytes}, at {})", happened.call.name(), Seconds(happened.time))
    });
    match difference {
        Difference::Event(event) => format!("event {} is the first that differs{what}", Count(*event)),
        Difference::LogEnds(events) => {
            format!("the log ends after {}, the run goes on{what}", counted(*events, "event", "events"))
        }
        Difference::RunEnds(events) => {
            format!("the run ends after {}, the log goes on", counted(*events, "event", "events"))
        }
    }
}
