//! Laws of chance that a workload can name: of sizes, times and counts.
//!
//! [`Law`] is what a workload says, [`Sampler`] draws from it, [`mean`](Law::mean) estimates what it will cost.

mod catalog;
mod mean;
mod normal;
mod sampler;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use catalog::{CATALOG, Entry};

use crate::spec::{Bytes, Count, Positive, Time, Weight};

pub(crate) use mean::mean_gap_ns;
pub use sampler::Sampler;

/// What a law can be of.
pub trait Quantity: Copy {
    /// The least value of a law that names none.
    const LEAST: u64;
    /// The most.
    const MOST: u64;
    /// The value in the smallest unit.
    fn get(self) -> u64;
}

impl Quantity for Bytes {
    const LEAST: u64 = 1;
    /// More than any address space: such a request is refused, not wrong.
    const MOST: u64 = 1 << 48;
    fn get(self) -> u64 {
        self.0
    }
}

impl Quantity for Time {
    const LEAST: u64 = 0;
    /// 146 years.
    const MOST: u64 = 1 << 62;
    fn get(self) -> u64 {
        self.0
    }
}

impl Quantity for Count {
    const LEAST: u64 = 0;
    const MOST: u64 = 1 << 48;
    fn get(self) -> u64 {
        self.0
    }
}

/// A law of a quantity `Q`: `Bytes`, `Time` or `Count`.
///
/// Values are whole: a law of real numbers is rounded to the nearest one. Where a law has `min` and `max`, a value beyond
/// them becomes the nearer of the two (it is clamped, not drawn again), so the mean moves; without them, the least is the
/// unit's own (1 byte, 0 ns, 0) and the
/// most 2^48 bytes, 2^62 ns or 2^48.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Law<Q> {
    /// Always the same.
    Constant(Q),
    /// Each value of `lo..=hi` equally likely.
    Uniform {
        /// The least.
        lo: Q,
        /// The most.
        hi: Q,
    },
    /// Times between independent events; many small values, few large ones.
    Exponential {
        /// The mean, before clamping.
        mean: Q,
        /// Smaller values become this.
        #[serde(default)]
        min: Option<Q>,
        /// Larger values become this.
        #[serde(default)]
        max: Option<Q>,
    },
    /// The bell curve.
    Normal {
        /// The mean, before clamping.
        mean: Q,
        /// The standard deviation.
        deviation: Q,
        /// Smaller values become this.
        #[serde(default)]
        min: Option<Q>,
        /// Larger values become this.
        #[serde(default)]
        max: Option<Q>,
    },
    /// Its logarithm follows the bell curve.
    LogNormal {
        /// Half of the values are below.
        median: Q,
        /// Standard deviation of the natural logarithm.
        sigma: Positive,
        /// Smaller values become this.
        #[serde(default)]
        min: Option<Q>,
        /// Larger values become this.
        #[serde(default)]
        max: Option<Q>,
    },
    /// A heavy tail: the chance to exceed x falls with x to the power of `-shape`. Its mean is infinite for a shape up to 1.
    Pareto {
        /// The least value.
        min: Q,
        /// The tail's exponent: the smaller, the heavier.
        shape: Positive,
        /// Larger values become this.
        #[serde(default)]
        max: Option<Q>,
    },
    /// Life times that age (shape above 1) or harden (below 1).
    Weibull {
        /// 63 % of the values are below.
        scale: Q,
        /// 1 is the exponential law.
        shape: Positive,
        /// Smaller values become this.
        #[serde(default)]
        min: Option<Q>,
        /// Larger values become this.
        #[serde(default)]
        max: Option<Q>,
    },
    /// Trials up to the first success: 1, 2, 3, .. times `unit`.
    Geometric {
        /// The mean number of trials, above 1.
        mean: Positive,
        /// What one trial counts.
        unit: Q,
        /// Larger values become this.
        #[serde(default)]
        max: Option<Q>,
    },
    /// Rank k of `ranks` has weight 1 / k^exponent; its value is k times `unit`.
    Zipf {
        /// The last rank, at most 1,048,576.
        ranks: Count,
        /// How fast the weight falls.
        exponent: Positive,
        /// What one rank counts.
        unit: Q,
    },
    /// Independent events in a fixed time: 0, 1, 2, .. times `unit`.
    Poisson {
        /// The mean number of events, at most 1,000,000.
        mean: Positive,
        /// What one event counts.
        unit: Q,
    },
    /// Values with weights, as counted somewhere: `table([(30, 16), (12, 32)])`.
    Table(Vec<(Weight, Q)>),
    /// One of several laws, by weight: `mixture([(90, constant(16)), (10, uniform(lo: 1, hi: 4096))])`.
    Mixture(Vec<(Weight, Law<Q>)>),
}
