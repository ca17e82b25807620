//! Everybody who looks on while a simulation runs: files, step tables, checks, the progress line.
//!
//! **Invariant.** Nobody here can change a result: they get the simulation by shared reference.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use framesim_models::Nanos;

use super::checkpoint::Checkpoints;
use super::exit::Failure;
use super::output::FileWriter;
use super::progress::{Progress, STRIDE};
use super::replay::Addresses;
use super::run::Talk;
use super::why::Why;
use crate::digest::{Difference, LogError, LogHead, LogReader, LogWriter};
use crate::report::events::EventWriter;
use crate::report::scripted::Recorder;
use crate::report::shared_lines::SharedLinesRecorder;
use crate::simulation::{Happened, Simulation};

/// Steps that are shown without being asked for; a longer script is summed up.
pub const STEPS_SHOWN: usize = 40;

/// Who looks on; those that are `None` cost nothing.
#[derive(Default)]
pub struct Watchers {
    /// `--events`.
    pub events: Option<EventWriter<FileWriter>>,
    /// `--digest-log`.
    pub log: Option<LogWriter<FileWriter>>,
    /// `verify`.
    pub against: Option<Comparison>,
    /// The table of steps, until there are too many.
    pub steps: Option<Recorder>,
    /// Whether there can be too many.
    pub steps_unlimited: bool,
    /// `--why`.
    pub why: Option<Why>,
    /// `replay --addresses`.
    pub addresses: Option<Addresses>,
    /// `--shared-lines`.
    pub shared_lines: Option<SharedLinesRecorder>,
    /// `--checkpoint-every`.
    pub checkpoints: Option<Checkpoints>,
    /// `--check`.
    pub check: bool,
}

/// A log that the run is held against.
pub struct Comparison {
    log: LogReader<BufReader<File>>,
    /// The first difference, and the event at which it was found.
    pub found: Option<(Difference, Option<Happened>)>,
}

impl Comparison {
    /// Reads the head of the log at `path`.
    ///
    /// # Errors
    /// [`Failure::Io`] or [`Failure::Input`].
    pub fn open(path: &Path) -> Result<Comparison, Failure> {
        let file = File::open(path).map_err(|error| Failure::at(path, "read", &error))?;
        let log = LogReader::new(BufReader::new(file)).map_err(|error| broken(path, error))?;
        Ok(Comparison { log, found: None })
    }

    /// What the log says about itself.
    #[must_use]
    pub fn head(&self) -> &LogHead {
        self.log.head()
    }

    /// Compares what comes at the end of the run, unless a difference was found before.
    ///
    /// # Errors
    /// When the log cannot be read on.
    pub fn end(self, path: &Path) -> Result<Option<(Difference, Option<Happened>)>, Failure> {
        match self.found {
            Some(found) => Ok(Some(found)),
            None => Ok(self.log.end().map_err(|error| broken(path, error))?.map(|difference| (difference, None))),
        }
    }
}

/// A log that cannot be read: the file, or what is in it.
fn broken(path: &Path, error: LogError) -> Failure {
    match error {
        LogError::Io(error) if error.kind() != io::ErrorKind::InvalidData => Failure::at(path, "read", &error),
        error => Failure::Input(format!("{}: {error}", path.display())),
    }
}

/// What ended a run before its end.
pub enum Stopped {
    /// A file cannot be written or read.
    File(Failure),
    /// `--check` found a broken invariant.
    Broken(String),
    /// Nothing more is needed: `verify` has found the first difference.
    Enough,
}

impl Watchers {
    /// Shows all watchers the event that has just happened.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn see(&mut self, simulation: &Simulation, happened: &Happened) -> Result<(), Stopped> {
        if let Some(events) = &mut self.events
            && let Err(error) = events.write(simulation, happened)
        {
            return Err(Stopped::File(events.get_ref().failure(&error)));
        }
        if let Some(log) = &mut self.log
            && let Err(error) = log.event(simulation.trajectory())
        {
            return Err(Stopped::File(log.get_ref().failure(&error)));
        }
        if let Some(addresses) = &mut self.addresses {
            addresses.see(simulation, happened).map_err(Stopped::File)?;
        }
        if let Some(lines) = &mut self.shared_lines {
            lines.see(happened);
        }
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.see(simulation).map_err(Stopped::File)?;
        }
        self.see_steps(simulation, happened);
        if self.check {
            simulation.check().map_err(|violation| Stopped::Broken(violation.to_string()))?;
        }
        self.compare(simulation, happened)
    }

    fn see_steps(&mut self, simulation: &Simulation, happened: &Happened) {
        let Some(recorder) = &mut self.steps else { return };
        let before = recorder.steps().len();
        recorder.record(simulation, happened);
        if let Some(why) = &mut self.why
            && recorder.steps().len() > before
        {
            why.see(simulation, happened, recorder);
        }
        if recorder.steps().len() > STEPS_SHOWN && !self.steps_unlimited {
            self.steps = None;
        }
    }

    fn compare(&mut self, simulation: &Simulation, happened: &Happened) -> Result<(), Stopped> {
        let Some(against) = &mut self.against else { return Ok(()) };
        match against.log.event(simulation.trajectory()) {
            Ok(None) => Ok(()),
            Ok(Some(difference)) => {
                against.found = Some((difference, Some(*happened)));
                Err(Stopped::Enough)
            }
            Err(error) => Err(Stopped::File(broken(Path::new("the digest log"), error))),
        }
    }

    /// Whether an event can pass without being shown to anybody.
    fn is_idle(&self) -> bool {
        let files = self.events.is_some() || self.log.is_some() || self.against.is_some() || self.addresses.is_some();
        let reports = self.steps.is_some() || self.shared_lines.is_some();
        !files && !reports && !self.check && self.checkpoints.is_none()
    }

    /// Runs `simulation` to its end, every event before all watchers.
    ///
    /// # Errors
    /// Why it stopped before.
    pub fn run(&mut self, simulation: &mut Simulation, talk: Talk, until: Option<Nanos>) -> Result<(), RunStopped> {
        let progress = Progress::new(talk.quiet, until);
        // Nobody who has stopped looking on begins again.
        let mut is_idle = self.is_idle();
        while simulation.advance().map_err(RunStopped::Run)? {
            let happened = simulation.happened();
            if !is_idle {
                self.see(simulation, happened).map_err(RunStopped::Watcher)?;
                is_idle = self.is_idle();
            }
            if happened.event.is_multiple_of(STRIDE) {
                progress.at(happened.time, happened.event);
            }
        }
        progress.say_speed(talk.verbose, simulation.events());
        Ok(())
    }
}

/// Why a run has no end.
pub enum RunStopped {
    /// The simulation cannot go on.
    Run(crate::simulation::RunError),
    /// Somebody who looks on.
    Watcher(Stopped),
}
