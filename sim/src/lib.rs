//! framesim: a deterministic discrete-event OS memory simulator with an exact frame map.
//!
//! - [`experiment`]: many runs, and what they say together.
//! - [`digest`]: fingerprints of a run, and logs of them.
//! - [`open()`]: a run from a workload file.
//! - [`simulation`]: a run: clock, processes, one machine.
//! - [`queue`]: the events to come, by time.
//! - [`cli`]: the command `framesim`, which any program can offer with models of its own.
//! - [`conform`]: models against recorded cases.
//! - [`report`]: what a run says, as text and as JSON.
//! - [`record`]: programs of this machine as heap traces.
//! - [`search`], [`shrink`], [`diff`]: the worst case, the smallest case, and where two runs part.
//! - [`statistics`]: what many runs say together.

pub mod cli;
pub mod compare;
pub mod conform;
pub mod diff;
pub mod digest;
pub mod experiment;
pub mod queue;
pub mod record;
pub mod report;
pub mod search;
pub mod shrink;
pub mod simulation;
pub mod statistics;

mod open;
mod registries;

pub use open::{OpenError, open};
pub use registries::Registries;
