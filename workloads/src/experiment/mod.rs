//! What an experiment file says: a question about a workload, asked over a grid and over seeds.
//!
//! [`Experiment`] is the RON schema, [`load`] reads and checks a file, [`Grid`] is what its axes come to.
//!
//! **Invariant.** A cell is what its coordinates say: their text, the policy, the heap and the seed. Another value on an axis, another
//! policy or another axis value's place changes no cell that was there before.
//!
//! ```text
//! (
//!     about: "does the fit matter?",
//!     workload: "waiting_room",
//!     axes: [(name: "memory", path: "machine.memory", values: log_range(from: "2MiB", to: "8MiB", points: 3))],
//!     policies: [first_fit, best_fit, buddy(max_order: 9)],
//!     replicas: count(30),
//!     metrics: ["external_fragmentation", "refused"],
//!     compare: [policies("first_fit", "best_fit")],
//! )
//! ```

mod grid;
mod load;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;

use ron::value::RawValue;
use serde::{Deserialize, Serialize};

pub use grid::{Axis as GridAxis, Grid, Point, Value};
pub use load::{Loaded, load};

use crate::spec::{Positive, Time, unique_keys, whole};

/// A piece of RON that is put into the workload as it is.
pub type Raw = Box<RawValue>;

/// A question about a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What it asks, in one line.
    #[serde(default)]
    pub about: String,
    /// The workload: a file from the experiment's folder, or a name of the library.
    pub workload: String,
    /// Fields of the workload that all cells set: paths as in `--set`.
    #[serde(default, deserialize_with = "unique_keys")]
    pub set: BTreeMap<String, Raw>,
    /// What differs from cell to cell.
    #[serde(default)]
    pub axes: Vec<Axis>,
    /// Frame policies, as in a workload; without any, the workload's own.
    #[serde(default)]
    pub policies: Vec<Raw>,
    /// Heaps of all programs, as in a workload; without any, the workload's own.
    #[serde(default)]
    pub heaps: Vec<Raw>,
    /// The first seed; without it, the workload's. Replicas have this seed and those that follow.
    #[serde(default)]
    pub seed: Option<u64>,
    /// How often each point of the grid is run, each time under another seed.
    pub replicas: Replicas,
    /// What is measured; without any, a few that are of use everywhere.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// What is compared with what, pair by pair under the same seed.
    #[serde(default)]
    pub compare: Vec<Comparison>,
    /// What of each run is left out of means over time.
    #[serde(default)]
    pub warm_up: WarmUp,
    /// Measures over time, where they are wanted.
    #[serde(default)]
    pub series: Option<Series>,
    /// How confident intervals are.
    #[serde(default = "usual_confidence")]
    pub confidence: Positive,
    /// What the whole may cost; more is refused before it starts.
    #[serde(default)]
    pub limits: Limits,
}

/// Something that differs from cell to cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Its column in the results.
    pub name: String,
    /// The field it sets, as in `--set`: `machine.memory`. `cases` name their own.
    #[serde(default)]
    pub path: String,
    /// What it is set to.
    pub values: Values,
}

/// Values of an axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Values {
    /// These.
    List(Vec<Raw>),
    /// At even distances: `range(from: 1, to: 9, step: 2)`. `to` is included when a step falls on it.
    Range {
        /// The first.
        from: Raw,
        /// The last at most.
        to: Raw,
        /// The distance.
        step: Raw,
    },
    /// At even ratios: `log_range(from: "64MiB", to: "1GiB", points: 5)`, both ends included.
    LogRange {
        /// The first.
        from: Raw,
        /// The last.
        to: Raw,
        /// How many.
        #[serde(deserialize_with = "whole")]
        points: u64,
        /// Values in between are rounded to a multiple of this.
        #[serde(default)]
        multiple_of: Option<Raw>,
    },
    /// Several fields at once, under a name.
    Cases(Vec<Case>),
}

/// Several fields that are set together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its value in the results.
    pub name: String,
    /// What it sets: paths as in `--set`.
    #[serde(deserialize_with = "unique_keys")]
    pub set: BTreeMap<String, Raw>,
}

/// How often each point of the grid is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Replicas {
    /// So often.
    Count(#[serde(deserialize_with = "whole")] u64),
    /// Until an interval is narrow enough for all policies and heaps at the point.
    Until {
        /// The metric whose mean is sought.
        metric: String,
        /// The widest that its interval may be, from end to end.
        width: Positive,
        /// Replicas before the first look.
        #[serde(default = "six", deserialize_with = "whole")]
        least: u64,
        /// Replicas between two looks.
        #[serde(default = "two", deserialize_with = "whole")]
        step: u64,
        /// Replicas after which it is over in any case.
        #[serde(deserialize_with = "whole")]
        most: u64,
    },
}

impl Replicas {
    /// The fewest and the most there can be.
    #[must_use]
    pub fn bounds(&self) -> (u64, u64) {
        match self {
            Replicas::Count(count) => (*count, *count),
            Replicas::Until { least, most, .. } => (*least, *most),
        }
    }
}

/// Two sides, under the same seeds and with all else equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Comparison {
    /// Two policies.
    Policies(String, String),
    /// Two heaps.
    Heaps(String, String),
    /// Two values of an axis: its name, the values.
    Values(String, String, String),
    /// Each pair of policies.
    AllPolicies,
    /// Each pair of heaps.
    AllHeaps,
}

/// What of each run is left out of means over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WarmUp {
    /// Nothing.
    #[default]
    None,
    /// All before this time.
    Until(Time),
    /// What the rule MSER-5 finds, for each metric and run by itself.
    Mser5,
}

/// Measures over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// The time that each value is the mean of.
    pub every: Time,
    /// Of these metrics, which are means over time.
    pub metrics: Vec<String>,
}

/// What an experiment may cost at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Cells.
    #[serde(deserialize_with = "whole")]
    pub cells: u64,
    /// Events of all cells together, estimated.
    #[serde(deserialize_with = "whole")]
    pub events: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { cells: 10_000_000, events: 1_000_000_000_000 }
    }
}

const fn six() -> u64 {
    6
}

const fn two() -> u64 {
    2
}

fn usual_confidence() -> Positive {
    Positive::new(0.95).expect("above 0")
}

impl Experiment {
    /// All of it as RON, with every default written out.
    ///
    /// # Errors
    /// When a number cannot be written; none can be read that cannot.
    pub fn to_ron(&self) -> Result<String, ron::Error> {
        crate::load::written(self)
    }
}
