//! What a set of runs says: means with intervals, paired differences, steady states.
//!
//! Statistics stand outside the result path: they read what runs came to and change none of it.
//!
//! - [`Moments`]: mean and spread of independent values, with Student's interval.
//! - [`Paired`]: one policy against another under common random numbers, with an interval, a bootstrap, a sign test and an
//!   effect size; [`Sentence`] says it in words.
//! - [`mser5`]: where the warm-up of one long run ends; [`batch_means`]: the interval of what comes after it.
//!
//! **Invariant.** The same values give the same bits on every platform: the operations of IEEE 754, which are exact to the last bit
//! everywhere (`+ - * /`, square root), and functions of the pinned `libm`; sums run in the order of the values.
#![expect(clippy::float_arithmetic, reason = "statistics of results, never part of one; see the invariant above")]

mod bootstrap;
mod moments;
mod paired;
mod steady;
mod student;
mod words;

pub use bootstrap::{Bootstrap, RESAMPLES, bootstrap_mean};
pub use moments::{Interval, Moments};
pub use paired::{Paired, SignTest, opposite_order, signs};
pub use steady::{BATCHES, BatchMeans, CORRELATION_MOST, Cut, batch_means, mser5};
pub use student::{two_sided_quantile, two_sided_tail};
pub use words::{Measure, Scale, Sentence, with_commas};

/// A confidence for a person: `95`.
pub(crate) fn percent(confidence: f64) -> String {
    let text = format!("{:.1}", confidence * 100.0);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A count as a float; counts of runs are far below the 2^53 that a float holds exactly.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
pub(crate) fn count(values: usize) -> f64 {
    values as f64
}
