//! `framesim run`: a workload from its file to a report.

use std::io::Write;
use std::path::{Path, PathBuf};

use framesim_models::Nanos;
use framesim_workloads::load::Loaded;
use framesim_workloads::spec::{Does, Workload};

use super::args::{MapSize, Overrides, Run};
use super::checkpoint::{self, Checkpoints};
use super::exit::{Breakage, Failure};
use super::guard;
use super::input::{Source, reported};
use super::output::FileWriter;
use super::progress::{Progress, STRIDE};
use super::watch::{RunStopped, Stopped, Watchers};
use super::why::Why;
use super::words::joined;
use crate::Registries;
use crate::digest::{LogHead, LogWriter};
use crate::report::events::EventWriter;
use crate::report::json::Document;
use crate::report::scripted::Recorder;
use crate::report::shared_lines::SharedLinesRecorder;
use crate::report::summary::Heading;
use crate::report::{frame_map, heaps, scripted, shared_lines, summary};
use crate::simulation::{Levels, RESULTS_VERSION, RunError, Setting, SetupError, Simulation};

/// How talkative the command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Talk {
    /// `-q`.
    pub quiet: bool,
    /// `-v`.
    pub verbose: bool,
}

/// Runs a workload and reports.
pub fn run(registries: &Registries, run: &Run, talk: Talk, screen: &mut impl Write) -> Result<(), Failure> {
    let source = Source::open(&run.file)?;
    let loaded = source.load(registries, &run.overrides)?;
    let mut simulation = match &run.resume_from {
        Some(checkpoint) => resumed(registries, checkpoint, &loaded)?,
        None => start(registries, &source, &loaded)?,
    };
    let again = command_line(&run.file, &run.overrides);
    let mut watchers = watchers(run, &again, &simulation)?;
    watchers.checkpoints = run.checkpoint_every.map(|every| {
        let name = run.checkpoint_name.clone().unwrap_or_else(|| PathBuf::from(&source.name));
        Checkpoints { every, name }
    });
    go(&mut simulation, &mut watchers, talk, &again)?;
    let report = Report { registries, run, source: &source, loaded: &loaded, talk };
    let text = if run.json { report.json(&simulation, &watchers)? } else { report.text(&simulation, &mut watchers)? };
    // Files first: what is durable comes before what is said.
    settle(watchers, &simulation)?;
    Ok(screen.write_all(text.as_bytes())?)
}

/// The simulation of a workload as a checkpoint left it.
fn resumed(registries: &Registries, checkpoint: &Path, loaded: &Loaded) -> Result<Simulation, Failure> {
    let simulation = checkpoint::read(checkpoint, registries)?;
    if simulation.setting().workload != loaded.workload {
        let checkpoint = checkpoint.display();
        return Err(Failure::Input(format!("{checkpoint}: of another workload, or of this one with other options")));
    }
    Ok(simulation)
}

/// The simulation of a workload at its start.
///
/// # Errors
/// What does not fit together, at its place in the file.
pub fn start(registries: &Registries, source: &Source, loaded: &Loaded) -> Result<Simulation, Failure> {
    let setting = Setting { workload: loaded.workload.clone(), replica: 0, folder: source.folder.clone() };
    Simulation::new(setting, registries).map_err(|error| unfit(&error, loaded, source))
}

fn unfit(error: &SetupError, loaded: &Loaded, source: &Source) -> Failure {
    let text = error.to_string();
    match error {
        SetupError::PolicyOptions { .. } => reported(&loaded.error_at("machine.frames", &text, "", None)),
        SetupError::HeapOptions { name, .. } => {
            let heap = loaded.workload.programs.iter().find(|(_, program)| program.heap.name() == name);
            let path = heap.map_or_else(|| "programs".to_owned(), |(program, _)| format!("programs.{program}.heap"));
            reported(&loaded.error_at(&path, &text, "", None))
        }
        SetupError::Trace(error) => trace_failure(error),
        _ => Failure::Input(format!("{}: {text}", source.path)),
    }
}

/// Why a run has no end, as a failure of its kind.
#[must_use]
pub fn run_failure(error: RunError) -> Failure {
    match error {
        RunError::Trace(error) => trace_failure(&error),
        limit => Failure::Limit(limit.to_string()),
    }
}

/// A trace that cannot be read is the disk's fault or its writer's.
pub fn trace_failure(error: &framesim_workloads::trace::TraceError) -> Failure {
    use framesim_workloads::trace::TraceErrorKind;
    match error.kind() {
        TraceErrorKind::Input => Failure::Input(error.to_string()),
        TraceErrorKind::Io => Failure::Io(error.to_string()),
        TraceErrorKind::Limit => Failure::Limit(error.to_string()),
    }
}

/// The command that runs the same again.
#[must_use]
pub fn command_line(file: &Path, overrides: &Overrides) -> String {
    let file = file.display().to_string();
    let mut words = vec![file];
    let Overrides { seed, set, policy, heap, until } = overrides;
    let mut option = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("--{name}={value}")));
    option("seed", seed.map(|seed| seed.to_string()));
    for set in set {
        option("set", Some(format!("{}={}", set.path, set.value)));
    }
    option("policy", policy.clone());
    option("heap", heap.clone());
    option("until", until.clone());
    joined(words.iter().map(String::as_str))
}

fn watchers(run: &Run, again: &str, simulation: &Simulation) -> Result<Watchers, Failure> {
    let mut watchers =
        Watchers { check: run.check, steps_unlimited: run.steps || run.why.is_some(), ..Watchers::default() };
    watchers.shared_lines = run.shared_lines.then(SharedLinesRecorder::default);
    if let Some(path) = &run.events {
        watchers.events = Some(EventWriter::new(FileWriter::create(path)?));
    }
    if let Some(path) = &run.digest_log {
        let head = LogHead { results: RESULTS_VERSION, every: run.digest_every, run: again.to_owned() };
        let file = FileWriter::create(path)?;
        let log = LogWriter::new(file, &head).map_err(|error| Failure::at(path, "written", &error))?;
        watchers.log = Some(log);
    }
    let from_start = run.resume_from.is_none();
    if from_start && (run.steps || run.why.is_some() || (!run.json && is_scripted(&simulation.setting().workload))) {
        watchers.steps = Some(Recorder::new(simulation));
        watchers.why = run.why.map(|step| Why::new(step, simulation));
    }
    Ok(watchers)
}

fn is_scripted(workload: &Workload) -> bool {
    workload.processes.iter().all(|group| matches!(group.does, Does::Script(_)))
}

/// Runs to the end; a panic is a broken invariant like any other.
///
/// # Errors
/// Why there is no end.
pub fn go(simulation: &mut Simulation, watchers: &mut Watchers, talk: Talk, again: &str) -> Result<(), Failure> {
    let until = simulation.setting().workload.until.map(|until| until.nanos());
    let seed = simulation.setting().workload.seed;
    let ran = guard::catching(|| watchers.run(simulation, talk, until));
    let broken = |what: String, events: u64| {
        let again = format!("framesim run {again} --check");
        Err(Failure::Broken(Breakage { what, seed, event: (events > 0).then_some(events), again }))
    };
    match ran {
        Ok(Ok(()) | Err(RunStopped::Watcher(Stopped::Enough))) => Ok(()),
        Ok(Err(RunStopped::Watcher(Stopped::File(failure)))) => Err(failure),
        Ok(Err(RunStopped::Watcher(Stopped::Broken(what)))) => broken(what, simulation.events()),
        Ok(Err(RunStopped::Run(error))) => Err(run_failure(error)),
        Err(what) => broken(what, simulation.events()),
    }
}

/// Gives the files of the run their names.
fn settle(watchers: Watchers, simulation: &Simulation) -> Result<(), Failure> {
    if let Some(events) = watchers.events {
        events.into_inner().finish()?;
    }
    if let Some(log) = watchers.log {
        // The end is the last line, and only a log with its end gets its name.
        let file = log.end(simulation.trajectory()).map_err(|error| Failure::Io(error.to_string()))?;
        file.finish()?;
    }
    Ok(())
}

/// A run at its end, and all that a report needs to know of it.
pub struct Report<'a> {
    /// For the same requests under other policies.
    pub registries: &'a Registries,
    /// What was asked for.
    pub run: &'a Run,
    /// The workload's file.
    pub source: &'a Source,
    /// The workload.
    pub loaded: &'a Loaded,
    /// How talkative.
    pub talk: Talk,
}

impl Report<'_> {
    /// One JSON document.
    pub fn json(&self, simulation: &Simulation, watchers: &Watchers) -> Result<String, Failure> {
        let summary = simulation.summary();
        let heading = Heading::of(&self.source.name, simulation, &summary);
        let mut document = Document::new(&heading, simulation, &summary, self.run.map.is_some());
        document.shared_lines = watchers.shared_lines.as_ref().map(|lines| lines.counts(simulation));
        let text = serde_json::to_string_pretty(&document);
        Ok(text.map_err(|error| Failure::Io(error.to_string()))? + "\n")
    }

    /// For a person.
    pub fn text(&self, simulation: &Simulation, watchers: &mut Watchers) -> Result<String, Failure> {
        if let Some(why) = &watchers.why {
            let steps = watchers.steps.as_ref().map_or(0, |recorder| recorder.steps().len());
            let policy = simulation.setting().workload.machine.frames.name();
            let text = why.text(self.registries, policy);
            return text.ok_or_else(|| Failure::Input(format!("--why: the run has {steps} steps")));
        }
        let summary = simulation.summary();
        let mut text = Heading::of(&self.source.name, simulation, &summary).text();
        let mut requests = None;
        if let Some(recorder) = &mut watchers.steps {
            recorder.finish();
            requests = Some(recorder.requests());
            text.push('\n');
            text.push_str(&scripted::text(recorder, summary.frames));
            text.push_str(&self.elsewhere(recorder));
            if self.run.heaps {
                text.push('\n');
                text.push_str(&self.heaps(simulation));
            }
        } else {
            text.push_str(&summary::text(&summary, &self.heaps(simulation)));
        }
        if let Some(lines) = &watchers.shared_lines {
            text.push('\n');
            text.push_str(&shared_lines::text(&lines.counts(simulation)));
        }
        text.push_str(&self.map(simulation)?);
        text.push('\n');
        text.push_str(&summary::last_lines(simulation, requests, &summary.failures));
        Ok(text)
    }

    /// What the heaps held: a line for each, or all of it.
    fn heaps(&self, simulation: &Simulation) -> String {
        let summaries = simulation.heap_summaries();
        if !self.run.heaps {
            return heaps::lines(&summaries);
        }
        let each: Vec<String> = summaries.iter().map(heaps::full).collect();
        each.join("\n")
    }

    /// The frame map at the end; where all frames are free again, the one at the worst moment.
    fn map(&self, simulation: &Simulation) -> Result<String, Failure> {
        let Some(size) = self.run.map else { return Ok(String::new()) };
        let scale = if size == MapSize::Full { frame_map::ALL } else { frame_map::SCREEN };
        let worst = simulation.summary().worst.filter(|_| simulation.kernel().frame_map().taken() == 0);
        let Some(worst) = worst else {
            return Ok(format!("\nframe map at the end, {}", frame_map::draw(simulation, scale)));
        };
        let mut earlier = start(self.registries, self.source, self.loaded)?;
        self.run_to(&mut earlier, worst.time, &worst.levels);
        let heading = "frame map when fragmentation was worst (at the end all is free),";
        Ok(format!("\n{heading}\n{}", frame_map::draw(&earlier, scale)))
    }

    /// The same run again, up to the moment at which the levels were these.
    fn run_to(&self, simulation: &mut Simulation, time: Nanos, levels: &Levels) {
        let progress = Progress::new(self.talk.quiet, Some(time));
        while (simulation.now(), simulation.levels()) != (time, levels) {
            // It ran once: it cannot fail now, nor end before that moment.
            let Ok(Some(happened)) = simulation.step() else { break };
            if happened.event.is_multiple_of(STRIDE) {
                progress.at(happened.time, happened.event);
            }
        }
    }

    /// How the same requests fare under other policies, when this one refused some.
    fn elsewhere(&self, recorder: &Recorder) -> String {
        if recorder.refused().is_empty() || self.talk.quiet {
            return String::new();
        }
        let chosen = self.loaded.workload.machine.frames.name();
        let others = self.registries.frames.iter().map(|policy| policy.name).filter(|name| *name != chosen);
        let refusals: Vec<(&str, u64)> = others.filter_map(|name| Some((name, self.refused_under(name)?))).collect();
        scripted::elsewhere(&refusals, &self.run.file.display().to_string(), recorder)
    }

    fn refused_under(&self, policy: &str) -> Option<u64> {
        let overrides = Overrides { policy: Some(policy.to_owned()), ..self.run.overrides.clone() };
        let loaded = self.source.load(self.registries, &overrides).ok()?;
        let mut simulation = start(self.registries, self.source, &loaded).ok()?;
        simulation.run().ok()?;
        Some(simulation.summary().failures.total)
    }
}
