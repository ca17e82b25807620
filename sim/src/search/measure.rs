//! What a run is judged by: the larger, the worse.

use framesim_models::Nanos;

use crate::report::text::{Count, Seconds};
use crate::simulation::Summary;

/// A number of a run, in integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// External fragmentation at its worst, in thousandths.
    Fragmentation,
    /// Requests refused.
    Refused,
    /// How early the first request was refused: nanoseconds before the end of all times, 0 when none was.
    FirstRefusal,
    /// Frames in use at the peak.
    PeakFrames,
    /// Free runs at the peak.
    Holes,
}

impl Measure {
    /// All of them.
    pub const ALL: [Measure; 5] =
        [Measure::Fragmentation, Measure::Refused, Measure::FirstRefusal, Measure::PeakFrames, Measure::Holes];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Measure::Fragmentation => "fragmentation",
            Measure::Refused => "refused",
            Measure::FirstRefusal => "first-refusal",
            Measure::PeakFrames => "peak-frames",
            Measure::Holes => "holes",
        }
    }

    /// Its value in a run.
    #[must_use]
    pub fn of(self, summary: &Summary) -> u64 {
        match self {
            Measure::Fragmentation => {
                summary.worst.as_ref().map_or(0, |worst| worst.levels.external_fragmentation().permille())
            }
            Measure::Refused => summary.failures.total,
            Measure::FirstRefusal => summary.failures.first.map_or(0, |(time, _)| u64::MAX - time.0),
            Measure::PeakFrames => summary.frames.saturating_sub(summary.peak.free_frames),
            Measure::Holes => summary.peak.holes,
        }
    }

    /// A value for people.
    #[must_use]
    pub fn said(self, value: u64) -> String {
        match self {
            Measure::Fragmentation => format!("{}.{:03}", value / 1000, value % 1000),
            Measure::FirstRefusal if value == 0 => "none".to_owned(),
            Measure::FirstRefusal => format!("at {}", Seconds(Nanos(u64::MAX - value))),
            _ => Count(value).to_string(),
        }
    }
}
