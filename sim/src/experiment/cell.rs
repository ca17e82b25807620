//! One cell: who it is, and its run.

use std::path::Path;

use framesim_workloads::spec::Workload;
use serde::{Deserialize, Serialize};

use super::asked::Digests;
use super::measure::{Fixed, Observer, Wanted};
use crate::Registries;
use crate::simulation::{RunError, RunState, Setting, Simulation};

/// Which cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The point of the grid.
    pub point: u64,
    /// Which of its replicas, from 0.
    pub replica: u64,
    /// Which policy of the experiment.
    pub policy: u32,
    /// Which heap.
    pub heap: u32,
}

/// A cell that is done, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which cell.
    pub key: Key,
    /// What it came to.
    pub ran: Result<Ran, Broken>,
}

impl Record {
    /// The value of the metric that decides about more replicas.
    #[must_use]
    pub fn deciding_value(&self, metric: Option<usize>) -> Option<f64> {
        self.ran.as_ref().ok()?.values.get(metric?)?.map(Fixed::to_f64)
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// How it ended.
    pub state: RunState,
    /// Simulated nanoseconds.
    pub time_ns: u64,
    /// Events.
    pub events: u64,
    /// Digest of the trajectory.
    pub digest: [u8; 16],
    /// Digest of the frame map at the end.
    pub state_digest: [u8; 16],
    /// What was asked for.
    pub asked: Digests,
    /// In the order of the experiment's metrics.
    pub values: Vec<Option<Fixed>>,
    /// A row for each piece of time.
    pub series: Vec<Vec<Option<Fixed>>>,
    /// Of a single long run: for each metric the means of its batches.
    pub batches: Vec<Option<Vec<Fixed>>>,
}

/// Why a cell has no result; it would have none again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Broken {
    /// An invariant broke, which is a bug of framesim.
    Invariant(String),
    /// The run went over a limit of its workload.
    Limit(String),
    /// A recorded trace cannot be read, or a setting does not fit.
    Input(String),
}

impl Broken {
    /// What it says.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Broken::Invariant(text) | Broken::Limit(text) | Broken::Input(text) => text,
        }
    }
}

/// Runs a workload from its start to its end.
pub(super) fn run(
    workload: Workload,
    folder: &Path,
    registries: &Registries,
    wanted: &Wanted<'_>,
) -> Result<Ran, Broken> {
    let setting = Setting { workload, replica: 0, folder: folder.to_owned() };
    let mut simulation = Simulation::new(setting, registries).map_err(|wrong| Broken::Input(wrong.to_string()))?;
    let mut observer = Observer::new(&simulation, wanted);
    simulation.run_seen(&mut [&mut observer]).map_err(|wrong| match wrong {
        RunError::Trace(trace) => Broken::Input(trace.to_string()),
        limit => Broken::Limit(limit.to_string()),
    })?;
    let summary = simulation.summary();
    let measured = observer.finish(&summary).map_err(Broken::Invariant)?;
    Ok(Ran {
        state: summary.state,
        time_ns: summary.time.0,
        events: summary.events,
        digest: simulation.digest().to_bytes(),
        state_digest: simulation.state_digest().to_bytes(),
        asked: measured.asked,
        values: measured.values,
        series: measured.series,
        batches: measured.batches,
    })
}
