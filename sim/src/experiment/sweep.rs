//! Runs the cells of an experiment on several threads, and keeps what is done in the journal.

use std::path::Path;
use std::sync::{Condvar, Mutex};

use framesim_workloads::spec::Workload;

use super::cell::{Broken, Key, Ran, Record};
use super::journal::{Head, InOrder, JOURNAL, Journal, JournalError, JournalReader};
use super::plan::{Next, Plan};
use super::prepare::{PrepareError, Prepared};
use super::results::{Finished, Writer, write_file};
use crate::Registries;
use crate::cli::exit::Failure;

/// What somebody who looks on is told.
pub trait Progress: Send {
    /// So many cells are done before anything is run, and so many there are at most.
    fn begin(&mut self, done: u64, most: u64);
    /// One more cell is done.
    fn done(&mut self, key: Key, ran: &Result<Ran, Broken>);
}

/// Why a sweep stopped before its end. What is done is kept.
#[derive(Debug)]
pub enum SweepError {
    /// The journal.
    Journal(JournalError),
    /// A cell's workload.
    Prepare(PrepareError),
    /// Another file.
    File(Failure),
}

impl From<JournalError> for SweepError {
    fn from(error: JournalError) -> SweepError {
        SweepError::Journal(error)
    }
}

/// A sweep to be run.
pub struct Sweep<'a> {
    /// What.
    pub prepared: &'a Prepared,
    /// With these models.
    pub registries: &'a Registries,
    /// The folder of the journal.
    pub folder: &'a Path,
    /// What the journal starts with; its shard is the one that is run.
    pub head: &'a Head,
    /// Threads.
    pub jobs: usize,
    /// Whether a journal that is there is gone on with.
    pub resume: bool,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Cells that the journal had already.
    pub found: u64,
    /// Cells that were run.
    pub ran: u64,
    /// Bytes of an interrupted write that were dropped from the journal.
    pub cut_off: u64,
}

/// Runs all cells that the journal does not have.
///
/// # Errors
/// [`SweepError`]; a sweep that is run again with `resume` goes on where this one stopped.
pub fn sweep(sweep: &Sweep<'_>, progress: &mut dyn Progress) -> Result<Outcome, SweepError> {
    let (journal, extent) = Journal::open(sweep.folder, sweep.head, sweep.resume)?;
    // Whoever merges shards reads the question from beside the journal.
    for (name, text) in ["experiment.ron", "workload.ron"].iter().zip(&sweep.prepared.texts) {
        write_file(&sweep.folder.join(name), text).map_err(SweepError::File)?;
    }
    let before = if extent.records_end > 0 { JournalReader::open(&sweep.folder.join(JOURNAL))? } else { None };
    let plan = sweep.prepared.plan(sweep.head.shard);
    progress.begin(0, plan.cells_most());
    let shared = Shared {
        state: Mutex::new(State {
            plan,
            before: before.map(|reader| InOrder::of(reader.until(extent.records_end))),
            journal,
            outcome: Outcome { cut_off: extent.cut_off, ..Outcome::default() },
            failed: None,
            progress,
        }),
        changed: Condvar::new(),
        deciding: sweep.prepared.deciding(),
    };
    std::thread::scope(|scope| {
        for _ in 0..sweep.jobs.max(1) {
            scope.spawn(|| shared.work(sweep));
        }
    });
    let state = shared.state.into_inner().expect("no thread panics while it holds the lock");
    state.journal.sync()?;
    match state.failed {
        Some(error) => Err(error),
        None => Ok(state.outcome),
    }
}

/// Writes the results of a sweep that is done, from its journal.
///
/// # Errors
/// [`SweepError`].
pub fn results(sweep: &Sweep<'_>) -> Result<Finished, SweepError> {
    let reader = JournalReader::open(&sweep.folder.join(JOURNAL))?.expect("a sweep has written its journal");
    let (mut records, mut plan) = (InOrder::of(reader), sweep.prepared.plan(sweep.head.shard));
    std::thread::scope(|scope| {
        let beside = (sweep.jobs > 1).then_some(scope);
        let mut writer = Writer::new(sweep.prepared, sweep.folder, beside).map_err(SweepError::File)?;
        while let Next::Cell(key) = plan.next_cell() {
            let record = records.take(key)?.expect("a sweep that is done has all its cells in the journal");
            writer.add(&record).map_err(SweepError::File)?;
            plan.done(key, record.deciding_value(sweep.prepared.deciding()));
        }
        writer.finish(sweep.folder, sweep.head).map_err(SweepError::File)
    })
}

struct Shared<'p> {
    state: Mutex<State<'p>>,
    /// A cell is done, or the sweep is over.
    changed: Condvar,
    deciding: Option<usize>,
}

struct State<'p> {
    plan: Plan,
    /// Cells of an earlier sweep.
    before: Option<InOrder>,
    journal: Journal,
    outcome: Outcome,
    failed: Option<SweepError>,
    progress: &'p mut dyn Progress,
}

/// The workloads of the point that a thread is at: they differ from replica to replica in nothing but the seed.
#[derive(Default)]
struct AtHand {
    point: Option<u64>,
    workloads: Vec<Option<Workload>>,
}

impl Shared<'_> {
    fn work(&self, sweep: &Sweep<'_>) {
        let mut at_hand = AtHand::default();
        while let Some(key) = self.take() {
            let ran = match at_hand.workload(key, sweep) {
                Ok(workload) => {
                    let ran = crate::cli::guard::catching_here(|| sweep.prepared.run(key, workload, sweep.registries));
                    ran.unwrap_or_else(|panic| Err(Broken::Invariant(panic)))
                }
                Err(error) => return self.fail(SweepError::Prepare(error)),
            };
            self.keep(&Record { key, ran });
        }
    }

    /// The next cell to run; none when there is none, or the sweep has failed.
    fn take(&self) -> Option<Key> {
        let mut state = self.state.lock().expect("no thread panics while it holds the lock");
        loop {
            if state.failed.is_some() {
                return None;
            }
            match state.plan.next_cell() {
                Next::Done => {
                    self.changed.notify_all();
                    return None;
                }
                Next::Wait => {
                    state = self.changed.wait(state).expect("no thread panics while it holds the lock");
                }
                Next::Cell(key) => match state.before.as_mut().map(|before| before.take(key)).transpose() {
                    Err(error) => state.failed = Some(error.into()),
                    Ok(found) => match found.flatten() {
                        None => return Some(key),
                        Some(record) => {
                            state.outcome.found += 1;
                            state.finish(&record, self.deciding);
                        }
                    },
                },
            }
        }
    }

    fn keep(&self, record: &Record) {
        let mut state = self.state.lock().expect("no thread panics while it holds the lock");
        match state.journal.append(record) {
            Err(error) => {
                state.failed.get_or_insert(error.into());
            }
            Ok(()) => {
                state.outcome.ran += 1;
                state.finish(record, self.deciding);
            }
        }
        self.changed.notify_all();
    }

    fn fail(&self, error: SweepError) {
        let mut state = self.state.lock().expect("no thread panics while it holds the lock");
        state.failed.get_or_insert(error);
        self.changed.notify_all();
    }
}

impl State<'_> {
    fn finish(&mut self, record: &Record, deciding: Option<usize>) {
        self.plan.done(record.key, record.deciding_value(deciding));
        self.progress.done(record.key, &record.ran);
    }
}

impl AtHand {
    fn workload(&mut self, key: Key, sweep: &Sweep<'_>) -> Result<&Workload, PrepareError> {
        let (policies, heaps) = sweep.prepared.models();
        if self.point != Some(key.point) {
            self.point = Some(key.point);
            self.workloads.clear();
            self.workloads.resize(policies as usize * heaps as usize, None);
        }
        let place = &mut self.workloads[key.policy as usize * heaps as usize + key.heap as usize];
        if place.is_none() {
            *place = Some(sweep.prepared.workload(key, sweep.registries)?);
        }
        Ok(place.as_ref().expect("just put there"))
    }
}
