//! The mean of a law, to see before a run what it will cost.

#![expect(clippy::float_arithmetic, reason = "an estimate that decides whether to run, never what happens in a run")]

use super::sampler::{float, truncated, zipf_mean};
use super::{Law, Quantity};
use crate::spec::{Positive, Weight};

impl<Q: Quantity> Law<Q> {
    /// The mean, rounded to the nearest whole number; without regard to how clamping moves it, but within the law's bounds.
    /// An infinite mean is the law's most.
    #[must_use]
    pub fn mean(&self) -> u64 {
        truncated(self.mean_exact() + 0.5)
    }

    fn mean_exact(&self) -> f64 {
        let of = |value: &Q| float(value.get());
        let within = |mean: f64, min: &Option<Q>, max: &Option<Q>| {
            mean.clamp(min.as_ref().map_or(float(Q::LEAST), of), max.as_ref().map_or(float(Q::MOST), of))
        };
        match self {
            Law::Constant(value) => of(value),
            Law::Uniform { lo, hi } => of(lo) / 2.0 + of(hi) / 2.0,
            Law::Exponential { mean, min, max } | Law::Normal { mean, min, max, .. } => within(of(mean), min, max),
            Law::LogNormal { median, sigma, min, max } => {
                within(of(median) * libm::exp(sigma.get() * sigma.get() / 2.0), min, max)
            }
            Law::Pareto { min, shape, max } => {
                let shape = shape.get();
                let mean = if shape > 1.0 { of(min) * shape / (shape - 1.0) } else { f64::INFINITY };
                within(mean, &Some(*min), max)
            }
            Law::Weibull { scale, shape, min, max } => {
                within(of(scale) * libm::tgamma(1.0 + 1.0 / shape.get()), min, max)
            }
            Law::Geometric { mean, unit, max } => within(mean.get() * of(unit), &None, max),
            Law::Zipf { ranks, exponent, unit } => zipf_mean(ranks.0, exponent.get()) * of(unit),
            Law::Poisson { mean, unit } => mean.get() * of(unit),
            Law::Table(entries) => weighted(entries, of),
            Law::Mixture(entries) => weighted(entries, Law::mean_exact),
        }
    }
}

/// Nanoseconds between two of `per_second` events a second on average, at least 1.
pub(crate) fn mean_gap_ns(per_second: Positive) -> u64 {
    truncated(1e9 / per_second.get() + 0.5).max(1)
}

fn weighted<T>(entries: &[(Weight, T)], mean: impl Fn(&T) -> f64) -> f64 {
    let total: f64 = entries.iter().map(|(weight, _)| weight.get()).sum();
    entries.iter().map(|(weight, value)| weight.get() / total * mean(value)).sum()
}
