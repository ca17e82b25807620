//! Parameters of laws.

use super::Found;
use crate::laws::{Law, Quantity};
use crate::load::problem::{Path, Problem};
use crate::spec::{Positive, Weight, grouped};

/// Ranks of a Zipf law: a table of them is kept.
const RANKS_MOST: u64 = 1 << 20;
/// Mean of a Poisson law: the table has some tens of its root.
const POISSON_MEAN_MOST: f64 = 1e6;

/// A law anywhere.
pub(super) fn check<Q: Quantity>(law: &Law<Q>, at: &Path, found: &mut Found) {
    match law {
        Law::Constant(_) => {}
        Law::Uniform { lo, hi } => ordered(at, ("lo", *lo), ("hi", *hi), found),
        Law::Exponential { mean, min, max } => {
            found.within(at, "mean", mean.get(), 1..=Q::MOST);
            bounds(at, *min, *max, found);
        }
        Law::Normal { mean, deviation, min, max } => {
            found.within(at, "mean", mean.get(), 0..=Q::MOST);
            found.within(at, "deviation", deviation.get(), 0..=Q::MOST);
            bounds(at, *min, *max, found);
        }
        Law::LogNormal { median, sigma, min, max } => {
            found.within(at, "median", median.get(), 1..=Q::MOST);
            most(at, "sigma", *sigma, 100.0, found);
            bounds(at, *min, *max, found);
        }
        Law::Pareto { min, shape, max } => {
            found.within(at, "min", min.get(), 1..=Q::MOST);
            tail(at, *shape, found);
            bounds(at, Some(*min), *max, found);
        }
        Law::Weibull { scale, shape, min, max } => {
            found.within(at, "scale", scale.get(), 1..=Q::MOST);
            tail(at, *shape, found);
            bounds(at, *min, *max, found);
        }
        Law::Geometric { mean, unit, max } => {
            found.unless(mean.get() > 1.0, || {
                let message = format!("a mean of {} trials up to the first success", mean.get());
                Problem::new(at.field("mean"), message).label("more than 1 is allowed")
            });
            most(at, "mean", *mean, 1e12, found);
            found.within(at, "unit", unit.get(), 1..=Q::MOST);
            bounds(at, None, *max, found);
        }
        Law::Zipf { ranks, exponent, unit } => {
            found.within(at, "ranks", ranks.0, 1..=RANKS_MOST);
            most(at, "exponent", *exponent, 100.0, found);
            found.within(at, "unit", unit.get(), 1..=Q::MOST);
        }
        Law::Poisson { mean, unit } => {
            most(at, "mean", *mean, POISSON_MEAN_MOST, found);
            found.within(at, "unit", unit.get(), 1..=Q::MOST);
        }
        Law::Table(entries) => weights(entries, "table", at, found),
        Law::Mixture(entries) => {
            weights(entries, "mixture", at, found);
            for (index, (_, law)) in entries.iter().enumerate() {
                check(law, &at.element(index).element(1), found);
            }
        }
    }
}

/// A law that is only right when its mean is not 0.
pub(super) fn above_zero<Q: Quantity>(law: &Law<Q>, what: &str, at: &Path, found: &mut Found) {
    let before = found.problems.len();
    check(law, at, found);
    if found.problems.len() == before {
        found.unless(law.mean() > 0, || {
            Problem::new(at.clone(), format!("{what} is 0 ns on average")).label("at least 1 ns is allowed")
        });
    }
}

fn ordered<Q: Quantity>(at: &Path, (low_name, low): (&str, Q), (high_name, high): (&str, Q), found: &mut Found) {
    found.unless(low.get() <= high.get(), || {
        let (low, high) = (grouped(low.get()), grouped(high.get()));
        Problem::new(at.field(high_name), format!("`{low_name}` is {low}, `{high_name}` is {high}"))
            .label(format!("at least {low} is allowed"))
    });
}

fn bounds<Q: Quantity>(at: &Path, min: Option<Q>, max: Option<Q>, found: &mut Found) {
    if let Some(min) = min {
        found.within(at, "min", min.get(), 0..=Q::MOST);
    }
    if let Some(max) = max {
        found.within(at, "max", max.get(), Q::LEAST..=Q::MOST);
        if let Some(min) = min {
            ordered(at, ("min", min), ("max", max), found);
        }
    }
}

/// Smaller shapes have tails that no number can hold.
fn tail(at: &Path, shape: Positive, found: &mut Found) {
    found.unless(shape.get() >= 0.01, || {
        Problem::new(at.field("shape"), format!("`shape` is {}", shape.get())).label("at least 0.01 is allowed")
    });
    most(at, "shape", shape, 1e6, found);
}

fn most(at: &Path, field: &str, value: Positive, most: f64, found: &mut Found) {
    found.unless(value.get() <= most, || {
        Problem::new(at.field(field), format!("`{field}` is {}", value.get()))
            .label(format!("at most {most} is allowed"))
    });
}

fn weights<T>(entries: &[(Weight, T)], law: &str, at: &Path, found: &mut Found) {
    let has_any = entries.iter().any(|(weight, _)| weight.get() > 0.0);
    found.unless(has_any, || {
        let message = if entries.is_empty() {
            format!("the {law} is empty")
        } else {
            format!("the weights of the {law} sum to 0")
        };
        Problem::new(at.clone(), message).label("at least one weight is above 0")
    });
    // Their sum is finite: each is at most this, and a file has less than 2^24 of them.
    for (index, (weight, _)) in entries.iter().enumerate() {
        found.unless(weight.get() <= 1e300, || {
            Problem::new(at.element(index).element(0), format!("a weight of {:e}", weight.get()))
                .label("at most 1e300 is allowed")
        });
    }
}
