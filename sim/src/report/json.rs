//! A run as one JSON document: what the text report says, in plain integers.
//!
//! Times are nanoseconds, sizes bytes; shares are parts per million, rounded down. Keys come in the order of the structs
//! here, and nothing in the document depends on when or where it was made.

use framesim_models::kernel::Region;
use serde::Serialize;

use super::shared_lines::GroupLines;
use super::summary::Heading;
use crate::simulation::{Failures, HeapSummary, Levels, Simulation, Summary};

/// The document.
#[derive(Serialize)]
pub struct Document<'a> {
    /// The workload's name.
    pub workload: &'a str,
    /// What it says it is about.
    pub about: &'a str,
    /// The seed.
    pub seed: u64,
    /// The frame policy.
    pub policy: &'a str,
    /// Heaps of the programs, each once.
    pub heaps: &'a [String],
    /// Version of the results: digests of equal versions can be compared.
    pub results_version: u32,
    /// Events.
    pub events: u64,
    /// Digest of all events and of every frame that changed hands.
    pub digest: String,
    /// Digest of the frame map at the end.
    pub state_digest: String,
    /// Levels, peaks, counts.
    pub summary: &'a Summary,
    /// Shares of the summary's counts.
    pub fragmentation: Fragmentation,
    /// What was refused, by cause.
    pub failures: &'a Failures,
    /// What the heaps of each group held, wasted and asked of the kernel.
    pub heap_reports: Vec<HeapReport>,
    /// Cache lines in which two threads have blocks, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_lines: Option<Vec<GroupLines>>,
    /// The frame map at the end, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_map: Option<Vec<MapRun>>,
}

/// Fragmentation at the end and when it was worst.
#[derive(Serialize)]
pub struct Fragmentation {
    /// At the end.
    pub end: Shares,
    /// When external fragmentation was worst; `null` when there never was any.
    pub worst: Option<Shares>,
}

/// In parts per million.
#[derive(Serialize)]
pub struct Shares {
    /// 1 - longest free run / free frames.
    pub external_ppm: u64,
    /// 1 - asked for / granted, over the heaps' live blocks.
    pub internal_ppm: u64,
}

/// The heaps of one group of processes.
#[derive(Serialize)]
pub struct HeapReport {
    /// Levels, moments, means, classes of sizes.
    #[serde(flatten)]
    pub summary: HeapSummary,
    /// Shares of what was held at the moment at which most was held, in parts per million.
    pub most_held_shares: Shares,
}

/// Frames of one holder; what lies between two runs is free.
#[derive(Serialize)]
pub struct MapRun {
    /// The first frame.
    pub start: u64,
    /// How many.
    pub frames: u64,
    /// The process; for kernel memory that serves no process, the one it was made for first.
    pub pid: u32,
    /// What for.
    pub region: Region,
}

impl<'a> Document<'a> {
    /// The document of a run at its end.
    #[must_use]
    pub fn new(heading: &'a Heading, simulation: &Simulation, summary: &'a Summary, with_map: bool) -> Document<'a> {
        Document {
            workload: &heading.workload,
            about: &heading.about,
            seed: heading.seed,
            policy: &heading.policy,
            heaps: &heading.heaps,
            results_version: crate::simulation::RESULTS_VERSION,
            events: summary.events,
            digest: simulation.digest().to_string(),
            state_digest: simulation.state_digest().to_string(),
            summary,
            fragmentation: Fragmentation {
                end: shares(&summary.now),
                worst: summary.worst.as_ref().map(|worst| shares(&worst.levels)),
            },
            failures: &summary.failures,
            heap_reports: simulation.heap_summaries().into_iter().map(HeapReport::of).collect(),
            shared_lines: None,
            frame_map: with_map.then(|| map(simulation)),
        }
    }
}

impl HeapReport {
    fn of(summary: HeapSummary) -> HeapReport {
        let levels = &summary.most_held.levels;
        let most_held_shares =
            Shares { external_ppm: levels.external_share().ppm(), internal_ppm: levels.internal_share().ppm() };
        HeapReport { summary, most_held_shares }
    }
}

fn shares(levels: &Levels) -> Shares {
    Shares { external_ppm: levels.external_fragmentation().ppm(), internal_ppm: levels.internal_fragmentation().ppm() }
}

fn map(simulation: &Simulation) -> Vec<MapRun> {
    let mut runs = Vec::new();
    simulation.kernel().frame_map().for_each_run(|owner, run| {
        runs.push(MapRun { start: run.start.0, frames: run.frames, pid: owner.pid.0, region: owner.region });
    });
    runs
}
