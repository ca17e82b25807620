//! What a sweep writes: one row for each cell and metric, one for each run, comparisons, and what is needed to repeat it.
//!
//! | file | a row for each | columns |
//! |---|---|---|
//! | `cells.csv` | cell and metric | `cell`, the axes, `policy`, `heap`, `seed`, `metric`, `value`, `unit` |
//! | `runs.csv` | cell | the same up to `seed`, then `state`, `time_ns`, `events`, `digest`, `state_digest`, `requests` |
//! | `series.csv` | cell, piece of time and metric | the same up to `seed`, then `time_ns` (the piece's start), `metric`, `value`, `unit` |
//! | `batches.csv` | cell and mean over time, where each point is run once | the same up to `seed`, then `metric`, numbers |
//! | `comparisons.csv` | comparison, point and metric | the axes, `policy`, `heap` (empty: what is compared), `on`, `one`, `other`, numbers |
//! | `report.txt` | | the comparisons in words |
//! | `experiment.ron`, `workload.ron` | | the question, with every default written out |
//! | `sweep.json` | | versions, columns and digests |
//! | `cells.parquet`, `series.parquet` | | what `cells.csv` and `series.csv` have, for a program that is built with the feature `parquet` |
//!
//! `cell` is a digest of the cell's coordinates. A value is a decimal number, exact or rounded down to nine places; it is empty where
//! there is none. `requests` is a digest of what the first processes asked for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::Scope;

use serde::Serialize;

use super::asked::{Agreement, Digests};
use super::beside::Comparing;
use super::cell::{Broken, Key, Ran, Record};
use super::compare::{Compared, Comparer};
use super::journal::{Head, Part};
use super::measure::Metric;
use super::parquet::PARQUET;
use super::prepare::Prepared;
use super::tables::{Column, Ended, Field, Kind, Sealed, Start, TableFile};
use crate::cli::exit::{Breakage, Failure};
use crate::cli::output::FileWriter;
use crate::digest::Digest;
use crate::statistics::batch_means;

/// Columns of a value.
const VALUE: [(&str, Kind); 3] = [("metric", Kind::Text), ("value", Kind::Real), ("unit", Kind::Text)];
/// Columns of the batches of a run.
pub(super) const BATCH: [&str; 7] = ["metric", "batches", "mean", "standard_error", "low", "high", "correlation"];
/// Columns of a run.
const RUN: [&str; 6] = ["state", "time_ns", "events", "digest", "state_digest", "requests"];

/// Failed cells that are named one by one.
const NAMED_MOST: usize = 20;

/// Writes the results of cells, which come in order. Nothing has its final name before [`Writer::finish`].
pub struct Writer<'scope, 'p> {
    prepared: &'p Prepared,
    cells: TableFile,
    runs: Sealed,
    series: Option<TableFile>,
    batches: Option<Sealed>,
    comparing: Comparing<'scope, 'p>,
    /// What the first cell of the current point and replica asked for.
    asked: Option<(Key, Digests)>,
    finished: Finished,
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
    /// Of `cells.csv` and `cells.parquet`.
    columns: &'a [Column],
    cells_csv: String,
    runs_csv: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    series_csv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells_parquet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    series_parquet: Option<String>,
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

impl<'scope, 'p: 'scope> Writer<'scope, 'p> {
    /// Starts the files in `folder`; with a scope, comparisons are made on a thread of their own.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn new(
        prepared: &'p Prepared,
        folder: &Path,
        beside: Option<&'scope Scope<'scope, '_>>,
    ) -> Result<Writer<'scope, 'p>, Failure> {
        let columns = |rest: &[(&str, Kind)]| columns(prepared, rest);
        let series = columns(&[("time_ns", Kind::Count)].into_iter().chain(VALUE).collect::<Vec<_>>());
        let series = prepared.series().map(|_| TableFile::create(folder, "series", &series)).transpose()?;
        let csv = |name: &str, rest: &[&'static str]| {
            let mut file = Sealed::create(&folder.join(name))?;
            let columns = columns(&rest.iter().map(|name| (*name, Kind::Text)).collect::<Vec<_>>());
            let names: Vec<Field<'_>> = columns.iter().map(|column| Field::Text(&column.name)).collect();
            file.row(&Start::new(Vec::new()), &names).map(|()| file)
        };
        let runs = csv("runs.csv", &RUN)?;
        let batches = prepared.is_single().then(|| csv("batches.csv", &BATCH)).transpose()?;
        let comparer = Comparer::new(prepared, FileWriter::create(&folder.join("comparisons.csv"))?)?;
        Ok(Writer {
            prepared,
            cells: TableFile::create(folder, "cells", &columns(&VALUE))?,
            runs,
            series,
            batches,
            comparing: match beside {
                Some(scope) => Comparing::beside(comparer, scope),
                None => Comparing::Here(Box::new(comparer)),
            },
            asked: None,
            finished: Finished::default(),
        })
    }

    /// Adds a cell; it comes after all that were added.
    ///
    /// # Errors
    /// When the disk is full, or when the cell asked for something else than the others of its point and seed: a bug of ours.
    pub fn add(&mut self, record: &Record) -> Result<(), Failure> {
        let key = record.key;
        let (cell, labels) = (self.prepared.identity(key).to_string(), self.prepared.labels(key));
        let labels = labels.iter().map(|label| Field::Text(label));
        let seed = Field::Count(self.prepared.seed_of(key));
        let who = Start::new(std::iter::once(Field::Text(&cell)).chain(labels).chain([seed]).collect());
        self.finished.cells += 1;
        match &record.ran {
            Ok(ran) => {
                self.agree(key, &ran.asked)?;
                self.rows(&who, ran)?;
                self.finished.events += ran.events;
                self.comparing.add(key, &ran.values)
            }
            Err(broken) => {
                self.finished.failed_count += 1;
                if self.finished.failed.len() < NAMED_MOST {
                    self.finished.failed.push((self.described(key), broken.clone()));
                }
                self.runs.row(&who, &["failed", "", "", "", "", ""].map(Field::Text))
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

    fn rows(&mut self, who: &Start<'_>, ran: &Ran) -> Result<(), Failure> {
        let rest = |metric: &Metric, value| [Field::Text(metric.name), Field::Value(value), Field::Text(metric.unit)];
        for (metric, value) in self.prepared.metrics.iter().zip(&ran.values) {
            self.cells.row(who, &rest(metric, *value))?;
        }
        let hex = |bytes: [u8; 16]| format!("{:#}", Digest::from_bytes(bytes));
        let state = serde_json::to_string(&ran.state).unwrap_or_default();
        let (digest, state_digest, asked) = (hex(ran.digest), hex(ran.state_digest), ran.asked.to_string());
        self.runs.row(
            who,
            &[
                Field::Text(state.trim_matches('"')),
                Field::Count(ran.time_ns),
                Field::Count(ran.events),
                Field::Text(&digest),
                Field::Text(&state_digest),
                Field::Text(&asked),
            ],
        )?;
        self.batches(who, ran)?;
        let (Some(file), Some((metrics, every))) = (&mut self.series, self.prepared.series()) else { return Ok(()) };
        for (piece, row) in ran.series.iter().enumerate() {
            let time = Field::Count(every.0 * piece as u64);
            for (metric, value) in metrics.iter().zip(row) {
                let [metric, value, unit] = rest(metric, *value);
                file.row(who, &[time, metric, value, unit])?;
            }
        }
        Ok(())
    }

    fn batches(&mut self, who: &Start<'_>, ran: &Ran) -> Result<(), Failure> {
        let Some(file) = &mut self.batches else { return Ok(()) };
        let confidence = self.prepared.experiment.confidence.get();
        for (metric, means) in self.prepared.metrics.iter().zip(&ran.batches) {
            let Some(means) = means else { continue };
            let means: Vec<f64> = means.iter().map(|mean| mean.to_f64()).collect();
            let Some(of) = batch_means(&means, means.len(), confidence) else { continue };
            let numbers = [of.mean, of.standard_error, of.interval.low, of.interval.high, of.correlation];
            let [mean, error, low, high, correlation] = numbers.map(|number| format!("{number:.9}"));
            let numbers = [&mean, &error, &low, &high, &correlation].map(|number| Field::Text(number));
            let first = [Field::Text(metric.name), Field::Count(means.len() as u64)];
            file.row(who, &[first.as_slice(), &numbers].concat())?;
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
        let Writer { prepared, cells, mut runs, series, batches, comparing, mut finished, .. } = self;
        let Compared { file: comparisons, report } = comparing.finish()?;
        let (mut cells, mut series) = (cells.end()?, series.map(TableFile::end).transpose()?);
        let (cells_csv, cells_parquet) = cells.digests()?;
        let (series_csv, series_parquet) = series.as_mut().map(Ended::digests).transpose()?.unzip();
        let shown = |digest: Digest| format!("{digest:#}");
        let manifest = Manifest {
            program: &head.program,
            results_version: head.results,
            about: &prepared.experiment.about,
            cells: finished.cells,
            events: finished.events,
            failed: finished.failed_count,
            metrics: prepared.metrics.iter().map(|metric| metric.name).collect(),
            depends_on: head.parts.iter().map(Dependence::of).collect(),
            columns: &columns(prepared, &VALUE),
            cells_csv: shown(cells_csv),
            runs_csv: shown(runs.digest()?),
            series_csv: series_csv.map(shown),
            cells_parquet: cells_parquet.map(shown),
            series_parquet: series_parquet.flatten().map(shown),
        };
        let manifest = serde_json::to_string_pretty(&manifest).map_err(|error| Failure::Io(error.to_string()))? + "\n";
        finished.digest = Some(cells_csv);
        finished.report = report;
        // The rows of `cells.csv` come last: where it is, everything is.
        runs.finish()?;
        batches.map_or(Ok(()), Sealed::finish)?;
        series.map_or(Ok(()), Ended::finish)?;
        comparisons.finish()?;
        for (name, text) in [
            ("experiment.ron", &prepared.texts[0]),
            ("workload.ron", &prepared.texts[1]),
            ("report.txt", &finished.report),
            ("sweep.json", &manifest),
        ] {
            write_file(&folder.join(name), text)?;
        }
        cells.finish()?;
        Ok(finished)
    }
}

/// Columns of every file of cells, and then these.
fn columns(prepared: &Prepared, rest: &[(&str, Kind)]) -> Vec<Column> {
    let axes = prepared.grid.axes.iter().map(Kind::of_axis).chain([Kind::Text, Kind::Text]);
    let axes = prepared.columns().into_iter().zip(axes).map(|(name, kind)| Column::new(name, kind));
    let cell = std::iter::once(Column::new("cell", Kind::Text));
    let rest = rest.iter().map(|(name, kind)| Column::new(*name, *kind));
    cell.chain(axes).chain([Column::new("seed", Kind::Count)]).chain(rest).collect()
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
    let always =
        ["cells.csv", "runs.csv", "comparisons.csv", "report.txt", "experiment.ron", "workload.ron", "sweep.json"];
    always.into_iter().chain(PARQUET.then_some("cells.parquet")).map(|name| folder.join(name)).collect()
}
