//! The bootstrap: the spread of a mean, from the values themselves instead of a law.

use framesim_models::index;
use framesim_workloads::streams::{Domain, Draw, Seeds};

use super::{Interval, count};

/// Resamples of a bootstrap: its own error is then about a hundredth of the interval.
pub const RESAMPLES: u32 = 10_000;

/// The percentile interval of the mean (Efron 1979): the means of [`RESAMPLES`] draws of as many values, with replacement.
///
/// The draws come from `seed` alone: the same values in the same order have the same interval. None for fewer than two values.
///
/// # Panics
/// When `confidence` is not between 0 and 1.
#[must_use]
pub fn bootstrap_mean(values: &[f64], confidence: f64, seed: u64) -> Option<Interval> {
    assert!(confidence > 0.0 && confidence < 1.0, "a confidence is between 0 and 1, found {confidence}");
    if values.len() < 2 {
        return None;
    }
    let mut coins = Seeds::new(seed, 0).coins(Domain::Check, "statistics", "bootstrap");
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resampled_mean(values, &mut coins)).collect();
    means.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    let beyond = means.iter().enumerate().take_while(|(place, _)| count(*place) + 1.0 < tail * f64::from(RESAMPLES));
    let place = beyond.count();
    Some(Interval { low: means[place], high: means[means.len() - 1 - place] })
}

fn resampled_mean(values: &[f64], coins: &mut impl Draw) -> f64 {
    let mut sum = 0.0;
    for _ in values {
        sum += values[index(coins.below(values.len() as u64))];
    }
    sum / count(values.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Moments;

    #[test]
    fn for_many_values_it_is_close_to_students_interval() {
        let values: Vec<f64> = (0..200_u32).map(|place| f64::from(place * 37 % 101)).collect();
        let (normal, drawn) = (Moments::of(&values).interval(0.95), bootstrap_mean(&values, 0.95, 1));
        let (normal, drawn) = (normal.expect("200 values"), drawn.expect("200 values"));
        assert!((normal.low - drawn.low).abs() < 0.4 && (normal.high - drawn.high).abs() < 0.4, "{normal:?} {drawn:?}");
    }

    #[test]
    fn two_values_have_the_means_that_two_draws_can_have() {
        // Means are 0, 0.5 and 1 with chances 1/4, 1/2, 1/4.
        let at = |confidence| bootstrap_mean(&[0.0, 1.0], confidence, 7).expect("two values");
        assert_eq!(at(0.95), Interval { low: 0.0, high: 1.0 });
        assert_eq!(at(0.40), Interval { low: 0.5, high: 0.5 });
    }

    #[test]
    fn the_seed_alone_decides() {
        let values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0];
        assert_eq!(bootstrap_mean(&values, 0.9, 1), bootstrap_mean(&values, 0.9, 1));
        assert_ne!(bootstrap_mean(&values, 0.9, 1), bootstrap_mean(&values, 0.9, 2));
        assert_eq!(bootstrap_mean(&[1.0], 0.9, 1), None);
    }
}
