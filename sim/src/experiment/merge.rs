//! Joins the shards of a sweep: the same bytes as one machine writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use framesim_workloads::experiment::Replicas;

use super::cell::Key;
use super::journal::{Head, InOrder, JOURNAL, JournalError, JournalReader};
use super::plan::{Next, Shard};
use super::prepare::Prepared;
use super::results::{Finished, Writer};
use crate::cli::exit::Failure;

/// Journals of shards that belong together.
pub struct Shards {
    /// By the shard's number.
    readers: BTreeMap<u64, (PathBuf, InOrder)>,
    /// What they have in common; its shard is the whole.
    pub head: Head,
    /// Of how many shards.
    pub of: u64,
    /// Folders without a journal: nothing was done there.
    pub empty: Vec<PathBuf>,
}

/// Why shards cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// None of the folders has one.
    #[error("none of these folders has a journal of a sweep")]
    Nothing,
    /// Of different sweeps.
    #[error("{} and {} are of different sweeps: {}", one.display(), other.display(), differences.join("; "))]
    Different {
        /// A folder.
        one: PathBuf,
        /// Another.
        other: PathBuf,
        /// What differs.
        differences: Vec<String>,
    },
    /// A shard twice.
    #[error("shard {shard} is there twice: in {} and in {}", one.display(), other.display())]
    DoubledShard {
        /// The shard.
        shard: Shard,
        /// A folder.
        one: PathBuf,
        /// Another.
        other: PathBuf,
    },
    /// A cell twice, or one that is not of the experiment.
    #[error("{}: cell {} of point {} (policy {}, heap {}) is {what}", folder.display(), key.replica, key.point, key.policy, key.heap)]
    Cell {
        /// The folder.
        folder: PathBuf,
        /// The cell.
        key: Key,
        /// `there twice`.
        what: &'static str,
    },
    /// Cells that no shard has.
    #[error("{0}")]
    Missing(Gap),
    /// Files of results.
    #[error("{0}")]
    Results(Failure),
}

/// What is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// Shards that lack something.
    pub shards: BTreeSet<u64>,
    /// Of how many.
    pub of: u64,
    /// Cells they lack; under a stop rule that looks at results, points.
    pub cells: u64,
}

impl Gap {
    /// As array jobs take it: `3,17`.
    #[must_use]
    pub fn list(&self) -> String {
        let shards: Vec<String> = self.shards.iter().map(u64::to_string).collect();
        shards.join(",")
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cells = crate::report::text::counted(self.cells, "cell is", "cells are");
        write!(
            f,
            "{cells} missing, of shards {} (of {}); run them with `--resume` and merge again",
            self.list(),
            self.of
        )
    }
}

impl Shards {
    /// Opens the journals in `folders`.
    ///
    /// # Errors
    /// [`MergeError`].
    pub fn open(folders: &[PathBuf]) -> Result<Shards, MergeError> {
        let mut readers: BTreeMap<u64, (PathBuf, InOrder)> = BTreeMap::new();
        let (mut first, mut empty): (Option<(PathBuf, Head)>, _) = (None, Vec::new());
        for folder in folders {
            let Some(reader) = journal(folder)? else {
                empty.push(folder.clone());
                continue;
            };
            let shard = reader.head.shard;
            let head = Head { shard: Shard { number: 1, ..shard }, ..reader.head.clone() };
            let (one, of_first) = first.get_or_insert_with(|| (folder.clone(), head.clone()));
            let mut differences = of_first.differences(&head);
            if of_first.shard.of != shard.of {
                differences = vec![format!("one has {} shards, the other {}", of_first.shard.of, shard.of)];
            }
            if !differences.is_empty() {
                return Err(MergeError::Different { one: one.clone(), other: folder.clone(), differences });
            }
            if let Some((one, _)) = readers.get(&shard.number) {
                return Err(MergeError::DoubledShard { shard, one: one.clone(), other: folder.clone() });
            }
            readers.insert(shard.number, (folder.clone(), InOrder::of(reader)));
        }
        let (_, head) = first.ok_or(MergeError::Nothing)?;
        let of = head.shard.of;
        Ok(Shards { readers, head: Head { shard: Shard::WHOLE, ..head }, of, empty })
    }

    /// A folder that has the experiment.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.readers.first_key_value().expect("there is one at least").1.0
    }

    /// What is missing; nothing is written.
    ///
    /// # Errors
    /// [`MergeError`].
    pub fn missing(&mut self, prepared: &Prepared) -> Result<Gap, MergeError> {
        self.walk(prepared, &mut |_| Ok(()))
    }

    /// Shows every record in the order of cells, as far as they are there.
    fn walk(
        &mut self,
        prepared: &Prepared,
        each: &mut dyn FnMut(&super::Record) -> Result<(), Failure>,
    ) -> Result<Gap, MergeError> {
        let deciding = prepared.deciding();
        let mut plan = prepared.plan(Shard::WHOLE);
        let mut gap = Gap { of: self.of, ..Gap::default() };
        while let Next::Cell(key) = plan.next_cell() {
            let shard = plan.shard_of(key, self.of);
            let record = match self.readers.get_mut(&shard) {
                Some((_, reader)) => reader.take(key)?,
                None => None,
            };
            if let Some(record) = record {
                if gap.cells == 0 {
                    each(&record).map_err(MergeError::Results)?;
                }
                plan.done(key, record.deciding_value(deciding));
                continue;
            }
            gap.shards.insert(shard);
            gap.cells += 1;
            match prepared.experiment.replicas {
                // Without it nobody knows how many replicas the point has.
                Replicas::Until { .. } => plan.skip_point(),
                Replicas::Count(_) => plan.done(key, None),
            }
        }
        if gap.cells == 0 {
            self.nothing_left()?;
        }
        Ok(gap)
    }

    fn nothing_left(&mut self) -> Result<(), MergeError> {
        for (folder, reader) in self.readers.values_mut() {
            let wrong = |key, what| MergeError::Cell { folder: folder.clone(), key, what };
            if let Some(key) = reader.doubled {
                return Err(wrong(key, "there twice"));
            }
            if let Some(key) = reader.left_over()? {
                return Err(wrong(key, "there twice, or not one of its shard"));
            }
        }
        Ok(())
    }
}

fn journal(folder: &Path) -> Result<Option<JournalReader>, JournalError> {
    let path = folder.join(JOURNAL);
    if path.exists() { JournalReader::open(&path) } else { Ok(None) }
}

/// Writes the results of all shards to `folder`.
///
/// # Errors
/// [`MergeError`]; nothing has its final name then.
pub fn merge(shards: &mut Shards, prepared: &Prepared, folder: &Path) -> Result<Finished, MergeError> {
    let mut writer = Writer::new(prepared, folder, None).map_err(MergeError::Results)?;
    let gap = shards.walk(prepared, &mut |record| writer.add(record))?;
    if gap.cells > 0 {
        return Err(MergeError::Missing(gap));
    }
    writer.finish(folder, &shards.head).map_err(MergeError::Results)
}
