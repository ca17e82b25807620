//! What a sweep writes: one row for each cell and metric, one for each run, comparisons, and what is needed to repeat it.
//!
//! | file | a row for each | columns |
//! |---|---|---|
//! | `cells.csv` | cell and metric | `cell`, the axes, `policy`, `heap`, `seed`, `metric`, `value`, `unit` |
//! | `runs.csv` | cell | the same up to `seed`, then `state`, `time_ns`, `events`, `digest`, `state_digest`, `requests` |
//! | `series.csv` | cell, piece of time and metric | the same up to `seed`, then `time_ns` (the piece's start), `metric`, `value`, `unit` |
//! | `comparisons.csv` | comparison, point and metric | the axes, `policy`, `heap` (empty: what is compared), `on`, `one`, `other`, numbers |
//! | `report.txt` | | the comparisons in words |
//! | `experiment.ron`, `workload.ron` | | the question, with every default written out |
//! | `sweep.json` | | versions and digests |
//!
//! `cell` is a digest of the cell's coordinates. A value is a decimal number, exact or rounded down to nine places; it is empty where
//! there is none. `requests` is a digest of what the first processes asked for.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::asked::{Agreement, Digests};
use super::cell::{Broken, Key, Ran, Record};
use super::compare::Comparer;
use super::csv::write_row;
use super::journal::{Head, Part};
use super::prepare::Prepared;
use crate::cli::exit::{Breakage, Failure};
use crate::cli::output::FileWriter;
use crate::digest::{Digest, Sealer};

/// Failed cells that are named one by one.
const NAMED_MOST: usize = 20;

/// Writes the results of cells, which come in order. Nothing has its final name before [`Writer::finish`].
pub struct Writer<'p> {
    prepared: &'p Prepared,
    cells: Sealed,
    runs: Sealed,
    series: Option<Sealed>,
    comparer: Comparer<'p>,
    /// What the first cell of the current point and replica asked for.
    asked: Option<(Key, Digests)>,
    finished: Finished,
    row: Vec<u8>,
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// Cells.
    pub cells: u64,
    /// Events of all of them.
    pub events: u64,
    /// Cells without a result, and why; the first few.
    pub failed: Vec<(String, Broken)>,
    /// How many.
    pub failed_count: u64,
    /// Cells of which nothing shows that they asked for the same as the others of their seed: too little happened.
    pub unknown_requests: u64,
    /// The comparisons in words.
    pub report: String,
    /// The digest of `cells.csv`.
    pub digest: Option<Digest>,
}

/// A file, and the digest of what was written to it.
struct Sealed {
    file: FileWriter,
    sealer: Sealer,
}

impl Sealed {
    fn create(folder: &Path, name: &str) -> Result<Sealed, Failure> {
        Ok(Sealed { file: FileWriter::create(&folder.join(name))?, sealer: Sealer::new("framesim results v1") })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sealer.add(bytes);
        self.file.write_all(bytes).map_err(|error| self.file.failure(&error))
    }

    fn row<'f>(&mut self, fields: impl IntoIterator<Item = &'f str>, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        buffer.clear();
        write_row(buffer, fields).expect("memory takes all writes");
        self.write(buffer)
    }
}

/// `sweep.json`.
#[derive(Serialize)]
struct Manifest<'a> {
    program: &'a str,
    results_version: u32,
    about: &'a str,
    cells: u64,
    events: u64,
    failed: u64,
    metrics: Vec<&'static str>,
    depends_on: Vec<Dependence<'a>>,
    cells_csv: String,
    runs_csv: String,
}

/// Something that results depend on, by its digest.
#[derive(Serialize)]
pub struct Dependence<'a> {
    name: &'a str,
    digest: String,
}

impl Dependence<'_> {
    /// As files and screens have it.
    #[must_use]
    pub fn of(part: &Part) -> Dependence<'_> {
        Dependence { name: &part.name, digest: format!("{:#}", Digest::from_bytes(part.digest)) }
    }
}

impl<'p> Writer<'p> {
    /// Starts the files in `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn new(prepared: &'p Prepared, folder: &Path) -> Result<Writer<'p>, Failure> {
        let mut writer = Writer {
            prepared,
            cells: Sealed::create(folder, "cells.csv")?,
            runs: Sealed::create(folder, "runs.csv")?,
            series: prepared.series().map(|_| Sealed::create(folder, "series.csv")).transpose()?,
            comparer: Comparer::new(prepared, FileWriter::create(&folder.join("comparisons.csv"))?)?,
            asked: None,
            finished: Finished::default(),
            row: Vec::new(),
        };
        writer.heads()?;
        Ok(writer)
    }

    fn heads(&mut self) -> Result<(), Failure> {
        let names = self.prepared.columns();
        let head = |rest: &[&'static str]| -> Vec<String> {
            let start = std::iter::once("cell".to_owned()).chain(names.iter().cloned());
            start.chain(["seed"].iter().chain(rest).map(|name| (*name).to_owned())).collect()
        };
        fn fields(row: &[String]) -> impl Iterator<Item = &str> {
            row.iter().map(String::as_str)
        }
        self.cells.row(fields(&head(&["metric", "value", "unit"])), &mut self.row)?;
        let runs = head(&["state", "time_ns", "events", "digest", "state_digest", "requests"]);
        self.runs.row(fields(&runs), &mut self.row)?;
        match &mut self.series {
            Some(series) => series.row(fields(&head(&["time_ns", "metric", "value", "unit"])), &mut self.row),
            None => Ok(()),
        }
    }

    /// Adds a cell; it comes after all that were added.
    ///
    /// # Errors
    /// When the disk is full, or when the cell asked for something else than the others of its point and seed: a bug of ours.
    pub fn add(&mut self, record: &Record) -> Result<(), Failure> {
        let key = record.key;
        let mut who = vec![self.prepared.identity(key).to_string()];
        who.extend(self.prepared.labels(key));
        who.push(self.prepared.seed_of(key).to_string());
        self.finished.cells += 1;
        match &record.ran {
            Ok(ran) => {
                self.agree(key, &ran.asked)?;
                self.rows(&who, ran)?;
                self.finished.events += ran.events;
                self.comparer.add(key, &ran.values)
            }
            Err(broken) => {
                self.finished.failed_count += 1;
                if self.finished.failed.len() < NAMED_MOST {
                    self.finished.failed.push((self.described(key), broken.clone()));
                }
                let rest = ["failed", "", "", "", "", ""];
                self.runs.row(who.iter().map(String::as_str).chain(rest), &mut self.row)
            }
        }
    }

    /// Policies and heaps see the same requests under one seed.
    fn agree(&mut self, key: Key, asked: &Digests) -> Result<(), Failure> {
        let same_requests = |one: &Key| (one.point, one.replica) == (key.point, key.replica);
        let Some((first, of_first)) = self.asked.as_ref().filter(|(first, _)| same_requests(first)) else {
            self.asked = Some((key, *asked));
            return Ok(());
        };
        match of_first.agreement(asked) {
            Agreement::Same => Ok(()),
            Agreement::Unknown => {
                self.finished.unknown_requests += 1;
                Ok(())
            }
            Agreement::Different => Err(Failure::Broken(Breakage {
                what: format!(
                    "the processes of two cells asked for different things under one seed: {} and {}",
                    self.described(*first),
                    self.described(key)
                ),
                seed: self.prepared.seed_of(key),
                event: None,
                again: "framesim sweep".to_owned(),
            })),
        }
    }

    fn rows(&mut self, who: &[String], ran: &Ran) -> Result<(), Failure> {
        let who = || who.iter().map(String::as_str);
        for (metric, value) in self.prepared.metrics.iter().zip(&ran.values) {
            let value = value.map_or_else(String::new, |value| value.to_string());
            self.cells.row(who().chain([metric.name, value.as_str(), metric.unit]), &mut self.row)?;
        }
        let hex = |bytes: [u8; 16]| format!("{:#}", Digest::from_bytes(bytes));
        let state = serde_json::to_string(&ran.state).unwrap_or_default();
        let rest = [
            state.trim_matches('"').to_owned(),
            ran.time_ns.to_string(),
            ran.events.to_string(),
            hex(ran.digest),
            hex(ran.state_digest),
            ran.asked.to_string(),
        ];
        self.runs.row(who().chain(rest.iter().map(String::as_str)), &mut self.row)?;
        let (Some(file), Some((metrics, every))) = (&mut self.series, self.prepared.series()) else { return Ok(()) };
        for (piece, row) in ran.series.iter().enumerate() {
            let time = (every.0 * piece as u64).to_string();
            for (metric, value) in metrics.iter().zip(row) {
                let value = value.map_or_else(String::new, |value| value.to_string());
                let rest = [time.as_str(), metric.name, value.as_str(), metric.unit];
                file.row(who().chain(rest), &mut self.row)?;
            }
        }
        Ok(())
    }

    /// `memory=64MiB, policy first_fit, seed 3`.
    fn described(&self, key: Key) -> String {
        let named = self.prepared.columns().into_iter().zip(self.prepared.labels(key));
        let named: Vec<String> = named.map(|(name, label)| format!("{name}={label}")).collect();
        format!("{}, seed {}", named.join(", "), self.prepared.seed_of(key))
    }

    /// Gives all files their names.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self, folder: &Path, head: &Head) -> Result<Finished, Failure> {
        let Writer { prepared, cells, runs, series, comparer, mut finished, .. } = self;
        let (comparisons, report) = comparer.finish()?;
        let manifest = Manifest {
            program: &head.program,
            results_version: head.results,
            about: &prepared.experiment.about,
            cells: finished.cells,
            events: finished.events,
            failed: finished.failed_count,
            metrics: prepared.metrics.iter().map(|metric| metric.name).collect(),
            depends_on: head.parts.iter().map(Dependence::of).collect(),
            cells_csv: format!("{:#}", cells.sealer.seal()),
            runs_csv: format!("{:#}", runs.sealer.seal()),
        };
        let manifest = serde_json::to_string_pretty(&manifest).map_err(|error| Failure::Io(error.to_string()))? + "\n";
        finished.digest = Some(cells.sealer.seal());
        finished.report = report;
        // The rows of `cells.csv` come last: where it is, everything is.
        runs.file.finish()?;
        series.map_or(Ok(()), |series| series.file.finish())?;
        comparisons.finish()?;
        for (name, text) in [
            ("experiment.ron", &prepared.texts[0]),
            ("workload.ron", &prepared.texts[1]),
            ("report.txt", &finished.report),
            ("sweep.json", &manifest),
        ] {
            write_file(&folder.join(name), text)?;
        }
        cells.file.finish()?;
        Ok(finished)
    }
}

/// A whole file, or none.
///
/// # Errors
/// When it cannot be written.
pub fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = FileWriter::create(path)?;
    file.write_all(text.as_bytes()).map_err(|error| file.failure(&error))?;
    file.finish()
}

/// The files that a finished sweep or merge leaves, those that every experiment has.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    ["cells.csv", "runs.csv", "comparisons.csv", "report.txt", "experiment.ron", "workload.ron", "sweep.json"]
        .map(|name| folder.join(name))
        .to_vec()
}
