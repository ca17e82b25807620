//! A law made ready to draw from: whole numbers from random bits, the same on every platform.
//!
//! # Rules
//! 1. Every law but a mixture takes one number of 64 bits for a value, by inversion: a larger number gives a value that is not
//!    smaller (for the decreasing tails: not larger). A mixture takes one more to choose.
//! 2. A real value is computed with the basic operations, which are exact everywhere, and with the pinned `libm`, is
//!    rounded to the nearest whole number, half up, and then clamped.
//! 3. A value of a table (also of Zipf and Poisson) is found among sums of weights that are whole numbers of 64 bits.
//!
//! # Left out
//! The last 2^-52 of a tail: a value is never further out than a number of 52 bits can say (36 means for the
//! exponential law).

#![expect(
    clippy::float_arithmetic,
    reason = "samplers alone compute with floats, in operations that are the same everywhere"
)]

use super::normal::quantile;
use super::{Law, Quantity};
use crate::spec::{Positive, Time, Weight};
use crate::streams::Draw;

/// See the module page.
#[derive(Clone, Debug)]
pub struct Sampler {
    kind: Kind,
    min: u64,
    max: u64,
}

#[derive(Clone, Debug)]
enum Kind {
    Constant,
    /// `values` from `min` on.
    Uniform {
        values: u64,
    },
    Exponential {
        mean: f64,
    },
    Normal {
        mean: f64,
        deviation: f64,
    },
    LogNormal {
        median: f64,
        sigma: f64,
    },
    Pareto {
        least: f64,
        exponent: f64,
    },
    Weibull {
        scale: f64,
        exponent: f64,
    },
    /// `ln(1 - p)`, below 0.
    Geometric {
        log_failure: f64,
        unit: u64,
    },
    Ranks {
        sums: Vec<u64>,
        first: u64,
        unit: u64,
    },
    Table {
        sums: Vec<u64>,
        values: Vec<u64>,
    },
    Mixture {
        sums: Vec<u64>,
        laws: Vec<Sampler>,
    },
}

impl Sampler {
    /// The sampler of a law that has passed its checks.
    #[must_use]
    pub fn of<Q: Quantity>(law: &Law<Q>) -> Sampler {
        let (kind, min, max) = kind(law);
        Sampler { kind, min: min.map_or(Q::LEAST, Q::get), max: max.map_or(Q::MOST, Q::get) }
    }

    /// Times in ns between events at random, of which `per_second` are expected in a second.
    #[must_use]
    pub fn gaps(per_second: Positive) -> Sampler {
        Sampler { kind: Kind::Exponential { mean: 1e9 / per_second.get() }, min: 0, max: Time::MOST }
    }

    /// Numbers of 64 bits that a value takes at most, but for ranges that are drawn again (see [`Draw::below`]).
    #[must_use]
    pub fn draws_most(&self) -> u32 {
        match &self.kind {
            Kind::Constant => 0,
            Kind::Mixture { laws, .. } => 1 + laws.iter().map(Sampler::draws_most).max().unwrap_or(0),
            _ => 1,
        }
    }

    /// A value of the law.
    pub fn draw(&self, source: &mut impl Draw) -> u64 {
        let value = match &self.kind {
            Kind::Constant => return self.min,
            Kind::Uniform { values: 0 } => return source.draw(),
            Kind::Uniform { values } => return self.min + source.below(*values),
            Kind::Mixture { sums, laws } => return laws[pick(sums, source.draw())].draw(source),
            Kind::Table { sums, values } => return values[pick(sums, source.draw())],
            Kind::Ranks { sums, first, unit } => {
                let count = first + pick(sums, source.draw()) as u64;
                return count.saturating_mul(*unit).clamp(self.min, self.max);
            }
            Kind::Geometric { log_failure, unit } => {
                let failures = truncated(libm::log(unit_interval(source.draw())) / log_failure);
                return failures.saturating_add(1).saturating_mul(*unit).clamp(self.min, self.max);
            }
            Kind::Exponential { mean } => -libm::log(unit_interval(source.draw())) * mean,
            Kind::Normal { mean, deviation } => mean + deviation * quantile(unit_interval(source.draw())),
            Kind::LogNormal { median, sigma } => median * libm::exp(sigma * quantile(unit_interval(source.draw()))),
            Kind::Pareto { least, exponent } => least * libm::exp(-libm::log(unit_interval(source.draw())) * exponent),
            Kind::Weibull { scale, exponent } => {
                scale * libm::exp(libm::log(-libm::log(unit_interval(source.draw()))) * exponent)
            }
        };
        truncated(value + 0.5).clamp(self.min, self.max)
    }
}

fn kind<Q: Quantity>(law: &Law<Q>) -> (Kind, Option<Q>, Option<Q>) {
    match law {
        Law::Constant(value) => (Kind::Constant, Some(*value), Some(*value)),
        Law::Uniform { lo, hi } => {
            // All 2^64 values are written as 0.
            (Kind::Uniform { values: (hi.get() - lo.get()).wrapping_add(1) }, Some(*lo), Some(*hi))
        }
        Law::Exponential { mean, min, max } => (Kind::Exponential { mean: float(mean.get()) }, *min, *max),
        Law::Normal { mean, deviation, min, max } => {
            (Kind::Normal { mean: float(mean.get()), deviation: float(deviation.get()) }, *min, *max)
        }
        Law::LogNormal { median, sigma, min, max } => {
            (Kind::LogNormal { median: float(median.get()), sigma: sigma.get() }, *min, *max)
        }
        Law::Pareto { min, shape, max } => {
            (Kind::Pareto { least: float(min.get()), exponent: 1.0 / shape.get() }, Some(*min), *max)
        }
        Law::Weibull { scale, shape, min, max } => {
            (Kind::Weibull { scale: float(scale.get()), exponent: 1.0 / shape.get() }, *min, *max)
        }
        Law::Geometric { mean, unit, max } => {
            (Kind::Geometric { log_failure: libm::log1p(-1.0 / mean.get()), unit: unit.get() }, None, *max)
        }
        Law::Zipf { ranks, exponent, unit } => {
            let weights = (1..=ranks.0).map(|rank| libm::pow(float(rank), -exponent.get()));
            (Kind::Ranks { sums: sums(weights.collect()), first: 1, unit: unit.get() }, None, None)
        }
        Law::Poisson { mean, unit } => {
            let (first, weights) = poisson_weights(mean.get());
            (Kind::Ranks { sums: sums(weights), first, unit: unit.get() }, None, None)
        }
        Law::Table(entries) => {
            let (weights, values) = possible(entries);
            (
                Kind::Table { sums: sums(weights), values: values.into_iter().map(|value| value.get()).collect() },
                None,
                None,
            )
        }
        Law::Mixture(entries) => {
            let (weights, laws) = possible(entries);
            (Kind::Mixture { sums: sums(weights), laws: laws.into_iter().map(Sampler::of).collect() }, None, None)
        }
    }
}

/// Entries that have a weight above 0.
fn possible<T>(entries: &[(Weight, T)]) -> (Vec<f64>, Vec<&T>) {
    entries.iter().filter(|(weight, _)| weight.get() > 0.0).map(|(weight, value)| (weight.get(), value)).unzip()
}

/// Sums of weights, scaled so that all together are 2^64: a random number below the first sum chooses the first entry.
fn sums(weights: Vec<f64>) -> Vec<u64> {
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    let mut sums: Vec<u64> = weights
        .into_iter()
        .map(|weight| {
            sum += weight;
            truncated(sum / total * TWO_TO_64)
        })
        .collect();
    // What rounding lost belongs to the last one.
    if let Some(last) = sums.last_mut() {
        *last = u64::MAX;
    }
    sums
}

const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// The entry that a random number chooses.
fn pick(sums: &[u64], random: u64) -> usize {
    sums.partition_point(|sum| *sum <= random).min(sums.len() - 1)
}

/// Weights of the counts that are not too rare for 64 bits, and the first of them. Outwards from the most likely one, where nothing
/// underflows.
fn poisson_weights(mean: f64) -> (u64, Vec<f64>) {
    let mode = truncated(mean);
    let mut below = Vec::new();
    let (mut weight, mut count) = (1.0, mode);
    while count > 0 && weight > RAREST {
        weight *= float(count) / mean;
        count -= 1;
        below.push(weight);
    }
    below.reverse();
    let first = mode - below.len() as u64;
    let mut weights = below;
    let (mut weight, mut count) = (1.0, mode);
    while weight > RAREST {
        weights.push(weight);
        count += 1;
        weight *= mean / float(count);
    }
    (first, weights)
}

/// The mean rank.
pub(super) fn zipf_mean(ranks: u64, exponent: f64) -> f64 {
    let (mut weights, mut weighted) = (0.0, 0.0);
    for rank in 1..=ranks {
        let weight = libm::pow(float(rank), -exponent);
        weights += weight;
        weighted += weight * float(rank);
    }
    weighted / weights
}

/// Less likely than this, relative to the most likely count, 64 bits cannot tell from never.
const RAREST: f64 = 1e-22;

/// A number strictly between 0 and 1 from the high 52 bits: the middle of one of 2^52 equal parts, exactly.
fn unit_interval(random: u64) -> f64 {
    (float(random >> 12) + 0.5) * (1.0 / 4_503_599_627_370_496.0)
}

#[expect(clippy::cast_precision_loss, reason = "rounds to the nearest float on every platform alike")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// The whole part; 0 below it and for no number, the most above it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which the rules of clamping want"
)]
pub(super) fn truncated(value: f64) -> u64 {
    value as u64
}
