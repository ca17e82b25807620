//! A question about a workload: many runs, and what they say together.
//!
//! # Models
//! The practice of simulation studies (Law and Kelton): a grid of settings, each run under several seeds, the same seeds for all
//! policies (common random numbers), pairs compared with intervals.
//!
//! # Rules
//! 1. A **cell** is one run: a point of the grid, a policy, a heap, a seed. Cells are in order by point (the last axis fastest), then
//!    replica, then policy, then heap. Replica `r` has seed `first + r`: `framesim run` with that seed is the same run.
//! 2. Cells of one point and replica differ in policy and heap alone, and must ask for the same ([`Digests`]).
//! 3. A **shard** `K/N` has every N-th cell from the K-th; under a stop rule that looks at results, every N-th point.
//! 4. The journal has one record for each cell that is done, in the order they were done. Results are written at the end, from the
//!    journal, in the order of cells: they do not depend on jobs, shards, or how often a sweep was interrupted.
//!
//! # Invariants
//! - No cell starts before all but the last [`WINDOW`] before it are done. So what is kept while a sweep runs, and while a journal is
//!   read in order, does not grow with the number of cells.
//! - Under its final name a result file is complete.
//!
//! # Cost
//! For a cell of 740 events and five metrics, 1,000 cells, by instructions of a release build: its run 87 %, the probe that measures 6 %
//! (2 of them for the digests of its requests), results and comparisons 6 % (4 of them for the bootstrap), journal and loading below 1 %.
//! Results are written at the end: by one thread, with several jobs by one for comparisons and one for all else. A workload is checked
//! once for each point and policy.

mod asked;
mod beside;
mod bins;
mod cell;
mod compare;
mod csv;
mod journal;
mod measure;
mod merge;
mod parquet;
mod plan;
mod prepare;
mod results;
mod sweep;
mod tables;

pub use asked::{Agreement, Digests};
pub use cell::{Broken, Key, Ran, Record};
pub use compare::{Batches, Row, Table};
pub use journal::{Extent, InOrder, Journal, JournalReader};
pub use journal::{Head, JOURNAL, JournalError, Part};
pub use measure::{Fixed, METRICS, Measured, Metric, Observer, USUAL, Wanted, find, names, names_over_time};
pub use merge::{Gap, MergeError, Shards, merge};
pub use parquet::PARQUET;
pub use plan::{Next, Plan, Shard, WINDOW};
pub use prepare::{PrepareError, Prepared, Purpose, workload_file};
pub use results::{Dependence, Finished, Writer, files, write_file};
pub use sweep::{Outcome, Progress, Sweep, SweepError, results, sweep};
