//! The smallest script that still shows something.
//!
//! # Rules
//! 1. A script is a row of operations. Taken out with an operation is every later one that makes no sense without it: a `give`
//!    of what nothing took.
//! 2. First blocks are taken out whole, with all that is done to them, then single operations, until neither can be: then
//!    the loss of any single operation, or of any single block, loses what is to be shown.
//! 3. Repetitions are written out, times between recorded calls are left out. Processes that follow no script stay as they are.
//!
//! # Cost
//! For n operations of which few matter, runs of some 50 n operations for each policy that the property names
//! (Zeller and Hildebrandt 2002, "Simplifying and isolating failure-inducing input", without its tests of single parts: what is
//! to be shown is seldom in one part alone).

mod minimal;
mod script;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use framesim_models::frames::PolicyChoice;
use framesim_models::heap::HeapChoice;
use framesim_workloads::spec::Workload;

use crate::Registries;
use crate::search::Measure;
use crate::simulation::{Outcome, Setting, Simulation};

pub use script::{Operations, TooMany};

/// Something that a run under other models shows.
#[derive(Clone, Debug)]
pub struct Property {
    /// Under what.
    pub under: Under,
    /// What is to be seen.
    pub shows: Shows,
}

/// The models of a run, where they differ from the workload's.
#[derive(Clone, Debug, Default)]
pub struct Under {
    /// The frame policy.
    pub policy: Option<PolicyChoice>,
    /// The heap of every program.
    pub heap: Option<HeapChoice>,
}

/// What a run shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// At least one request is refused.
    Refusal,
    /// No request is refused.
    NoRefusal,
    /// A measure is at least so large.
    AtLeast(Measure, u64),
}

impl Under {
    /// The workload with these models.
    #[must_use]
    pub fn of(&self, workload: &Workload) -> Workload {
        let mut workload = workload.clone();
        if let Some(policy) = &self.policy {
            workload.machine.frames = policy.clone();
        }
        if let Some(heap) = &self.heap {
            crate::cli::input::set_heap(&mut workload, heap);
        }
        workload
    }
}

impl Property {
    /// Whether a run of the workload shows it; one that cannot be run to its end shows nothing.
    #[must_use]
    pub fn holds(&self, workload: &Workload, folder: &std::path::Path, registries: &Registries) -> bool {
        let setting = Setting { workload: self.under.of(workload), replica: 0, folder: PathBuf::from(folder) };
        let Ok(mut simulation) = Simulation::new(setting, registries) else { return false };
        if let Shows::AtLeast(measure, least) = self.shows {
            return simulation.run().is_ok() && measure.of(&simulation.summary()) >= least;
        }
        // The first refusal decides, either way.
        loop {
            match simulation.step() {
                Ok(Some(happened)) if matches!(happened.outcome, Outcome::Refused(_)) => {
                    return self.shows == Shows::Refusal;
                }
                Ok(Some(_)) => {}
                Ok(None) => return self.shows == Shows::NoRefusal,
                Err(_) => return false,
            }
        }
    }
}

/// What came of shrinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// Operations there were.
    pub before: usize,
    /// Operations that are left.
    pub after: usize,
    /// Candidates that were tried.
    pub tried: u64,
}

/// Takes out of `operations` what is not needed for `holds`. `None` when that does not hold of all of them. `watch` is told how
/// many are left.
pub fn shrink(
    operations: &mut Operations,
    mut holds: impl FnMut(&Operations) -> bool,
    mut watch: impl FnMut(usize, u64),
) -> Option<Shrunk> {
    let before = operations.len();
    let mut tried = 1;
    if !holds(operations) {
        return None;
    }
    loop {
        let at_start = operations.len();
        for parts_of in [Operations::blocks, Operations::singles] {
            let parts = parts_of(operations);
            let mut test = |kept: &[usize]| {
                tried += 1;
                watch(operations.len(), tried);
                holds(&operations.with(&parts, kept))
            };
            let kept = minimal::minimal(parts.len(), &mut test);
            *operations = operations.with(&parts, &kept);
        }
        // A single operation that went may make a block superfluous.
        if operations.len() == at_start {
            return Some(Shrunk { before, after: operations.len(), tried });
        }
    }
}
