//! `framesim sweep`, `merge`, `table`: an experiment from its file to what it says.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use framesim_workloads::experiment;
use framesim_workloads::load::Known;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::args;
use super::exit::{Breakage, Failure};
use super::guard;
use super::input::{Source, reported};
use super::run::Talk;
use crate::Registries;
use crate::experiment::{
    Broken, Dependence, Finished, JournalError, Key, MergeError, PARQUET, PrepareError, Prepared, Progress, Purpose,
    Ran, Shard, Shards, Sweep, SweepError, merge as join, names, names_over_time, results, sweep as run_cells,
    workload_file,
};
use crate::report::text::{Count, counted, wrapped};

/// Runs an experiment's cells, or those of a shard.
pub fn sweep(registries: &Registries, given: &args::Sweep, talk: Talk, screen: &mut impl Write) -> Result<(), Failure> {
    let prepared = prepare(registries, &given.file, Purpose::Run)?;
    let shard = given.shard.unwrap_or(Shard::WHOLE);
    let jobs =
        given.jobs.map_or_else(|| available_parallelism().map_or(1, usize::from), |jobs| usize::from(jobs.get()));
    if given.json {
        return Ok(writeln!(screen, "{}", work_in_json(&prepared)?)?);
    }
    let work = work(&prepared, shard, given);
    let Some(folder) = &given.out else {
        return Ok(screen.write_all(work.as_bytes())?);
    };
    if !talk.quiet {
        // Nobody needs it: when it cannot be written, it is not.
        let _ = io::stderr().write_all(work.as_bytes());
    }
    std::fs::create_dir_all(folder).map_err(|error| Failure::at(folder, "made", &error))?;
    let head = prepared.head(shard).map_err(unprepared)?;
    let all = Sweep { prepared: &prepared, registries, folder, head: &head, jobs, resume: given.resume };
    let mut bar = Bar::new(talk.quiet);
    let ran = guard::quietly(|| run_cells(&all, &mut bar));
    bar.finish();
    let outcome = ran.map_err(stopped)?;
    if outcome.cut_off > 0 && !talk.quiet {
        let _ = writeln!(io::stderr(), "the journal ended in {} bytes of an interrupted write", Count(outcome.cut_off));
    }
    let finished = results(&all).map_err(stopped)?;
    if outcome.found > 0 {
        writeln!(screen, "{} were done before, {} now", counted(outcome.found, "cell", "cells"), Count(outcome.ran))?;
    }
    said(&finished, folder, screen)
}

/// Joins shards.
pub fn merge(registries: &Registries, given: &args::Merge, talk: Talk, screen: &mut impl Write) -> Result<(), Failure> {
    let mut shards = Shards::open(&given.folders).map_err(unmerged)?;
    for folder in shards.empty.iter().filter(|_| !talk.quiet) {
        let _ = writeln!(io::stderr(), "{}: nothing was done here", folder.display());
    }
    let prepared = prepare(registries, &shards.folder().join("experiment.ron"), Purpose::Read)?;
    if given.missing {
        let gap = shards.missing(&prepared).map_err(unmerged)?;
        return Ok(writeln!(screen, "{}", gap.list())?);
    }
    let Some(folder) = &given.out else { return Err(Failure::Input("`--out` or `--missing` is needed".to_owned())) };
    std::fs::create_dir_all(folder).map_err(|error| Failure::at(folder, "made", &error))?;
    let finished = join(&mut shards, &prepared, folder).map_err(unmerged)?;
    said(&finished, folder, screen)
}

/// Reads and checks an experiment and its workload.
///
/// # Errors
/// All that is wrong with them, in lines for a person.
pub fn prepare(registries: &Registries, file: &Path, purpose: Purpose) -> Result<Prepared, Failure> {
    let source = Source::open_experiment(file)?;
    let known = Known { frames: &registries.frames, heaps: &registries.heaps };
    let loaded = experiment::load(&source.path, source.text(), &names(), &names_over_time(), known);
    let loaded = loaded.map_err(|wrong| reported(&wrong))?;
    let workload = Source::open(&workload_file(&source.folder, &loaded.experiment.workload))?;
    Prepared::new(loaded, workload, registries, purpose).map_err(unprepared)
}

fn unprepared(error: PrepareError) -> Failure {
    match error {
        PrepareError::Wrong(wrong) => reported(&wrong),
        PrepareError::Trace(text) => Failure::Io(text),
    }
}

fn of_journal(error: &JournalError) -> Failure {
    match error {
        JournalError::Io { file, cause } => Failure::at(file, "used", cause),
        JournalError::Locked(_) => Failure::Io(error.to_string()),
        _ => Failure::Input(error.to_string()),
    }
}

fn stopped(error: SweepError) -> Failure {
    match error {
        SweepError::Journal(error) => of_journal(&error),
        SweepError::Prepare(error) => unprepared(error),
        SweepError::File(failure) => failure,
    }
}

fn unmerged(error: MergeError) -> Failure {
    match error {
        MergeError::Journal(error) => of_journal(&error),
        MergeError::Results(failure) => failure,
        error => Failure::Input(error.to_string()),
    }
}

/// What there is to do, before it is done.
fn work(prepared: &Prepared, shard: Shard, given: &args::Sweep) -> String {
    let grid = &prepared.grid;
    let mut factors: Vec<String> =
        grid.axes.iter().map(|axis| format!("{} {}", axis.values.len(), axis.name)).collect();
    let models = |count: usize, one: &str, many: &str| (count > 1).then(|| counted(count as u64, one, many));
    factors.extend(models(grid.policies.len(), "policy", "policies"));
    factors.extend(models(grid.heaps.len(), "heap", "heaps"));
    let (least, most) = prepared.experiment.replicas.bounds();
    factors.push(if least == most { counted(most, "seed", "seeds") } else { format!("{least} to {most} seeds") });
    let (all, here) = (prepared.plan(Shard::WHOLE).cells_most(), prepared.plan(shard).cells_most());
    let up_to = if least == most { "" } else { "up to " };
    let of_shard = if shard == Shard::WHOLE { String::new() } else { format!("; shard {shard} has {}", Count(here)) };
    let text = format!(
        "{}: {up_to}{} ({}), about {} in all{of_shard}",
        given.file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
        counted(all, "cell", "cells"),
        factors.join(" x "),
        counted(prepared.events, "event", "events"),
    );
    wrapped(&text, 80) + "\n"
}

/// What there is to do, for a script that hands out shards: two sweeps are the same when these are.
#[derive(Serialize)]
struct Work<'a> {
    program: &'a str,
    results_version: u32,
    about: &'a str,
    /// At most, where results decide.
    cells: u64,
    /// Of all cells, about.
    events: u64,
    depends_on: Vec<Dependence<'a>>,
}

fn work_in_json(prepared: &Prepared) -> Result<String, Failure> {
    let head = prepared.head(Shard::WHOLE).map_err(unprepared)?;
    let work = Work {
        program: &head.program,
        results_version: head.results,
        about: &prepared.experiment.about,
        cells: prepared.plan(Shard::WHOLE).cells_most(),
        events: prepared.events,
        depends_on: head.parts.iter().map(Dependence::of).collect(),
    };
    serde_json::to_string_pretty(&work).map_err(|error| Failure::Io(error.to_string()))
}

/// What came of it; cells without a result decide about the exit code.
fn said(finished: &Finished, folder: &Path, screen: &mut impl Write) -> Result<(), Failure> {
    if !finished.report.is_empty() {
        writeln!(screen, "{}", finished.report)?;
    }
    let digest = finished.digest.map_or_else(String::new, |digest| digest.to_string());
    writeln!(
        screen,
        "{}, {}, in {}{}\ndigest {digest}   of cells.csv",
        counted(finished.cells, "cell", "cells"),
        counted(finished.events, "event", "events"),
        folder.join("cells.csv").display(),
        if PARQUET { " and cells.parquet" } else { "" },
    )?;
    if finished.unknown_requests > 0 {
        let cells = counted(finished.unknown_requests, "cell", "cells");
        let text =
            format!("{cells} ended too early to show that they saw the same requests as the others of their seed");
        writeln!(screen, "{}", wrapped(&text, 80))?;
    }
    let Some((_, first)) = finished.failed.first() else { return Ok(()) };
    let list: Vec<String> = finished.failed.iter().map(|(cell, broken)| format!("{cell}: {}", broken.text())).collect();
    let text = format!("{} without a result\n  {}", counted(finished.failed_count, "cell", "cells"), list.join("\n  "));
    let invariant = finished.failed.iter().find(|(_, broken)| matches!(broken, Broken::Invariant(_)));
    Err(match (invariant, first) {
        (Some(_), _) => {
            let again = "the workload with that cell's settings and seed, with --check".to_owned();
            Failure::Broken(Breakage { what: text, seed: 0, event: None, again })
        }
        (None, Broken::Limit(_)) => Failure::Limit(text),
        (None, _) => Failure::Input(text),
    })
}

/// How far a sweep is: nothing where standard error is no terminal.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new(quiet: bool) -> Bar {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
        let template = "{wide_bar} {human_pos} of {human_len} cells, {per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is sound");
        Bar { bar: ProgressBar::with_draw_target(None, target).with_style(style) }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn begin(&mut self, done: u64, most: u64) {
        self.bar.set_length(most);
        self.bar.set_position(done);
    }

    fn done(&mut self, _: Key, _: &Result<Ran, Broken>) {
        if !self.bar.is_hidden() {
            self.bar.inc(1);
        }
    }
}

/// `cells.csv` in a folder, or the file itself.
#[must_use]
pub fn cells_file(given: &Path) -> PathBuf {
    if given.is_dir() { given.join("cells.csv") } else { given.to_owned() }
}
