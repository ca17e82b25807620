//! The same requests under several heaps and frame policies, side by side.
//!
//! A [`Side`] is one run. Its numbers are taken after each call of a heap, each call weighing the same: the calls are the same on all
//! sides, the simulated time they take is not.
//!
//! **Invariant.** Sides are made in parallel and kept in their order: what comes out does not depend on the number of jobs.

pub mod requests;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use framesim_models::Nanos;
use serde::Serialize;

use self::requests::Asked;
use crate::digest::Digest;
use crate::simulation::{Failures, HeapLevels, RunError, Simulation};

/// Rows of a series at most.
const ROWS_MAX: usize = 1_000;

/// What a run is compared by.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The heap, as it was chosen; `None` where each program has its own.
    pub heap: Option<String>,
    /// The frame policy.
    pub policy: String,
    /// The seed.
    pub seed: u64,
    /// Calls of heaps.
    pub calls: u64,
    /// Simulated time.
    pub time: Nanos,
    /// Most bytes asked for and not given back.
    pub live_peak: u64,
    /// Most bytes held by all heaps.
    pub held_peak: u64,
    /// Most bytes with frames, without programs' images.
    pub resident_peak: u64,
    /// Means over calls.
    pub mean: MeanLevels,
    /// System calls of all kinds.
    pub system_calls: u64,
    /// By name.
    pub system_calls_by_kind: BTreeMap<&'static str, u64>,
    /// Requests that were refused.
    pub refused: u64,
    /// By cause.
    pub failures: Failures,
    /// Frames.
    pub frames: FrameSide,
    /// Digest of the whole run.
    pub digest: Digest,
    /// What was asked for.
    #[serde(skip)]
    pub asked: Asked,
    /// Levels over time.
    #[serde(skip)]
    pub series: Series,
}

/// Means over calls of heaps, in bytes rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MeanLevels {
    /// Asked for.
    pub live: u64,
    /// Held.
    pub held: u64,
    /// Of that, internal fragmentation.
    pub internal: u64,
    /// Of that, external fragmentation.
    pub external: u64,
    /// With frames.
    pub resident: u64,
}

/// What a frame policy is compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FrameSide {
    /// External fragmentation, the mean over events, in parts per million.
    pub external_mean_ppm: u64,
    /// At its worst.
    pub external_worst_ppm: u64,
    /// Frames of the longest free run when that was shortest.
    pub longest_run_least: u64,
    /// Free runs at most.
    pub holes_most: u64,
}

/// Levels of a run over its calls: every so many calls a row, at most a thousand.
#[derive(Clone, Debug)]
pub struct Series {
    every: u64,
    rows: Vec<Row>,
}

/// Levels after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Calls of heaps so far.
    pub calls: u64,
    /// When.
    pub time: Nanos,
    /// The levels.
    pub levels: HeapLevels,
}

impl Default for Series {
    fn default() -> Series {
        Series { every: 1, rows: Vec::new() }
    }
}

impl Series {
    fn add(&mut self, row: Row) {
        if !row.calls.is_multiple_of(self.every) {
            return;
        }
        if self.rows.len() == ROWS_MAX {
            self.every *= 2;
            let every = self.every;
            self.rows.retain(|row| row.calls.is_multiple_of(every));
            return self.add(row);
        }
        self.rows.push(row);
    }

    /// Its rows: of two runs with as many calls, rows after the same calls.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// Sums of what a run is compared by.
#[derive(Default)]
struct Sums {
    calls: u64,
    live: u128,
    held: u128,
    internal: u128,
    external: u128,
    resident: u128,
    live_peak: u64,
    held_peak: u64,
    resident_peak: u64,
}

impl Sums {
    fn add(&mut self, levels: &HeapLevels) {
        self.calls += 1;
        self.live += u128::from(levels.live_bytes);
        self.held += u128::from(levels.held_bytes);
        self.internal += u128::from(levels.internal_bytes);
        self.external += u128::from(levels.external_bytes);
        self.resident += u128::from(levels.resident_bytes);
        self.live_peak = self.live_peak.max(levels.live_bytes);
        self.held_peak = self.held_peak.max(levels.held_bytes);
        self.resident_peak = self.resident_peak.max(levels.resident_bytes);
    }

    fn means(&self) -> MeanLevels {
        let mean = |sum| mean(sum, self.calls);
        MeanLevels {
            live: mean(self.live),
            held: mean(self.held),
            internal: mean(self.internal),
            external: mean(self.external),
            resident: mean(self.resident),
        }
    }
}

fn mean(sum: u128, count: u64) -> u64 {
    u64::try_from(sum.checked_div(u128::from(count)).unwrap_or(0)).unwrap_or(u64::MAX)
}

/// Runs a simulation to its end and takes its numbers.
///
/// # Errors
/// [`RunError`].
pub fn side(mut simulation: Simulation, heap: Option<String>) -> Result<Side, RunError> {
    let (mut sums, mut asked, mut series) = (Sums::default(), Asked::default(), Series::default());
    let (mut external, mut worst) = (0_u128, 0);
    while let Some(happened) = simulation.step()? {
        asked.see(&happened);
        if happened.call.is_on_heap() {
            let levels = simulation.all_heaps();
            sums.add(&levels);
            series.add(Row { calls: sums.calls, time: happened.time, levels });
        }
        let share = simulation.levels().external_fragmentation().ppm();
        external += u128::from(share);
        worst = worst.max(share);
    }
    asked.finish();
    let summary = simulation.summary();
    Ok(Side {
        heap,
        policy: simulation.setting().workload.machine.frames.name().to_owned(),
        seed: simulation.setting().workload.seed,
        calls: sums.calls,
        time: summary.time,
        live_peak: sums.live_peak,
        held_peak: sums.held_peak,
        resident_peak: sums.resident_peak,
        mean: sums.means(),
        system_calls: summary.calls.system_calls.values().sum(),
        system_calls_by_kind: summary.calls.system_calls,
        refused: summary.failures.total,
        failures: summary.failures,
        frames: FrameSide {
            external_mean_ppm: mean(external, summary.events),
            external_worst_ppm: worst,
            longest_run_least: summary.peak.longest_run,
            holes_most: summary.peak.holes,
        },
        digest: simulation.digest(),
        asked,
        series,
    })
}

/// Does `count` pieces of work on so many threads; the results come in the order of the work.
///
/// # Panics
/// When a piece of work panics: then with what it said.
pub fn in_parallel<T: Send>(count: usize, jobs: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return done;
            }
            done.push((number, work(number)));
        }
    };
    let mut all: Vec<(usize, T)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.clamp(1, count.max(1))).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    all.sort_unstable_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_work_for_any_number_of_jobs() {
        for jobs in [0, 1, 2, 7, 50] {
            assert_eq!(in_parallel(20, jobs, |number| number * number), (0..20).map(|n| n * n).collect::<Vec<_>>());
        }
        assert_eq!(in_parallel(0, 4, |number| number), Vec::<usize>::new());
    }

    #[test]
    fn a_series_keeps_every_so_many_calls_and_at_most_a_thousand_rows() {
        let series = |calls: u64| {
            let mut series = Series::default();
            for calls in 1..=calls {
                series.add(Row { calls, time: Nanos(calls), levels: HeapLevels::default() });
            }
            series
        };
        let long = series(3_333);
        assert_eq!(long.rows.len(), 833);
        assert!(long.rows.iter().all(|row| row.calls % 4 == 0), "every fourth call");
        assert_eq!(series(1_000).rows.len(), 1_000);
        assert_eq!(series(1_001).rows.len(), 500);
    }
}
