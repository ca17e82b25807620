//! Options of the commands of an experiment: sweep, merge, table, plot.

use std::path::PathBuf;

use clap::Args;

use crate::experiment::Shard;

/// `framesim sweep`.
#[derive(Args, Debug)]
#[command(after_help = SWEEP_HELP)]
pub struct Sweep {
    /// The experiment.
    pub file: PathBuf,

    /// The folder of its results; without it, only say how much work it is.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Runs at a time; as many as there are processors unless given.
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroU16>,

    /// Run the K-th part of N, K from 1.
    #[arg(long, value_name = "K/N", value_parser = shard)]
    pub shard: Option<Shard>,

    /// Go on with a sweep that is in the folder, or start one.
    #[arg(long)]
    pub resume: bool,

    /// Say how much work it is, and what it depends on, as one JSON document.
    #[arg(long, conflicts_with = "out")]
    pub json: bool,
}

/// What stands behind the options of `framesim sweep`: the same in every program but for a sentence on Parquet.
macro_rules! sweep_help {
    ($parquet:literal) => {
        concat!(
            "\
Examples:
  framesim sweep mine.ron                        what it would run, and how much work that is
  framesim sweep mine.ron --out results          all of it; results/cells.csv has the numbers
  framesim sweep mine.ron --out results --resume   goes on where it was interrupted
  framesim sweep mine.ron --out part3 --shard 3/8  an eighth of it, for `framesim merge`

DIR/cells.csv has a row for each cell and metric: cell, the axes, policy, heap,
seed, metric, value, unit. Beside it are runs.csv (digests), comparisons.csv,
report.txt, series.csv where the experiment asks for series, and sweep.json with
versions, columns and digests.
",
            $parquet
        )
    };
}

#[cfg(feature = "parquet")]
const SWEEP_HELP: &str = sweep_help!(
    "\
cells.parquet and series.parquet have the same rows: texts, seeds and times as
unsigned integers, values as doubles, an axis of numbers as numbers."
);
#[cfg(not(feature = "parquet"))]
const SWEEP_HELP: &str =
    sweep_help!("This program is built without the feature `parquet` and writes no Parquet files.");

fn shard(text: &str) -> Result<Shard, String> {
    let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
    match parts {
        Some((number, of)) if 1 <= number && number <= of => Ok(Shard { number, of }),
        _ => Err("write it as K/N with K from 1 to N, such as 3/8".to_owned()),
    }
}

/// `framesim merge`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  framesim merge part* --out results
  sbatch --array=$(framesim merge part* --missing) ...")]
pub struct Merge {
    /// Folders of shards.
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,

    /// The folder of the whole results.
    #[arg(long, value_name = "DIR", required_unless_present = "missing")]
    pub out: Option<PathBuf>,

    /// Print the shards that are missing or not done, as array jobs take them: `3,17`.
    #[arg(long, conflicts_with = "out")]
    pub missing: bool,
}

/// `framesim table`.
#[derive(Args, Debug)]
pub struct Table {
    /// The folder of a sweep, or its `cells.csv`.
    pub file: PathBuf,

    /// Only this metric. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,

    /// How confident the intervals are, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 95, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub confidence: u8,
}

/// `framesim plot`.
#[derive(Args, Debug)]
pub struct Plot {
    /// The folder of a sweep, or its `cells.csv`.
    pub file: PathBuf,

    /// Only this metric. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,

    /// Start of the files' names; `.svg` and `.vl.json` are added. `plot` beside the cells unless given.
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,

    /// How confident the intervals are, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 95, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub confidence: u8,
}

impl Table {
    /// As a part of one.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        share(self.confidence)
    }
}

impl Plot {
    /// As a part of one.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        share(self.confidence)
    }
}

#[expect(clippy::float_arithmetic, reason = "an option of statistics")]
fn share(percent: u8) -> f64 {
    f64::from(percent) / 100.0
}
