//! One long run: where its warm-up ends, and how well the rest of it knows its mean.

use super::{Interval, Moments, count};

/// Observations of a batch, by the rule's name.
const BATCH: usize = 5;
/// Batches a rule needs to say anything.
const BATCHES_LEAST: usize = 10;

/// Where the warm-up of a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Observations before the cut, a multiple of 5.
    pub dropped: usize,
    /// Mean of those after it.
    pub mean: f64,
    /// Whether the cut is at the middle, the latest place there is: then no steady state was seen, and the run is too short.
    pub at_the_latest: bool,
}

/// The cut of MSER-5 (White, Cobb and Spratt 2000): of all places in the first half of the run, the one after which the mean of the
/// rest is known best, measured by the variance of the rest's batches of five over their number. On a tie the first.
///
/// `observations` are at even distances. None for fewer than 50.
#[must_use]
pub fn mser5(observations: &[f64]) -> Option<Cut> {
    let batches: Vec<f64> = observations.chunks_exact(BATCH).map(|batch| Moments::of(batch).mean()).collect();
    if batches.len() < BATCHES_LEAST {
        return None;
    }
    let latest = batches.len() / 2;
    // From the back, so that each place costs one addition.
    let (mut rest, mut best) = (Moments::default(), (f64::INFINITY, latest, 0.0));
    for place in (0..batches.len()).rev() {
        rest.add(batches[place]);
        if place <= latest {
            let left = count(rest.values());
            let measure = rest.variance().unwrap_or(0.0) * (left - 1.0) / (left * left);
            if measure <= best.0 {
                best = (measure, place, rest.mean());
            }
        }
    }
    let (_, place, mean) = best;
    Some(Cut { dropped: place * BATCH, mean, at_the_latest: place == latest })
}

/// Batches of a run: more are shorter and depend on each other, fewer have a wide interval (Schmeiser 1982: 10 to 30).
pub const BATCHES: usize = 20;

/// A correlation between batches above this is not that of 20 independent ones: two standard errors, of 1 / sqrt(20) each.
pub const CORRELATION_MOST: f64 = 0.45;

/// The mean of a run's observations, with an interval that allows for their dependence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchMeans {
    /// The mean of the batches' means.
    pub mean: f64,
    /// The standard error of it.
    pub standard_error: f64,
    /// Student's interval over the batches.
    pub interval: Interval,
    /// Correlation of each batch with the next: above [`CORRELATION_MOST`] the batches are too short, and the interval is too narrow.
    pub correlation: f64,
}

/// The method of batch means (Conway 1963): `batches` batches of equal length; what does not fill the last one is left out at the
/// front. None when there are fewer than 2 batches or an observation for each.
///
/// # Panics
/// When `confidence` is not between 0 and 1.
#[must_use]
pub fn batch_means(observations: &[f64], batches: usize, confidence: f64) -> Option<BatchMeans> {
    let length = observations.len().checked_div(batches).filter(|length| batches > 1 && *length > 0)?;
    let used = &observations[observations.len() - length * batches..];
    let means: Vec<f64> = used.chunks_exact(length).map(|batch| Moments::of(batch).mean()).collect();
    let moments = Moments::of(&means);
    Some(BatchMeans {
        mean: moments.mean(),
        standard_error: moments.standard_error()?,
        interval: moments.interval(confidence)?,
        correlation: correlation(&means, &moments),
    })
}

/// Of each value with the next; 0 where nothing spreads.
fn correlation(values: &[f64], moments: &Moments) -> f64 {
    let off = |value: f64| value - moments.mean();
    let together: f64 = values.windows(2).map(|pair| off(pair[0]) * off(pair[1])).sum();
    let alone = moments.variance().unwrap_or(0.0) * (count(values.len()) - 1.0);
    if alone > 0.0 { together / alone } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use framesim_workloads::streams::{Domain, Seeds};

    use super::*;

    /// Noise around `level`.
    fn noise(count: u32, seed: u64, level: impl Fn(u32) -> f64) -> Vec<f64> {
        let mut coins = Seeds::new(seed, 0).coins(Domain::Check, "test", "noise");
        let mut toss = || f64::from(u32::try_from(coins.below(1001)).expect("small")) / 1000.0 - 0.5;
        (0..count).map(|place| level(place) + toss()).collect()
    }

    #[test]
    fn the_cut_lies_where_the_ramp_ends() {
        let ramp = noise(1_000, 3, |place| f64::from(place.min(200)) / 10.0);
        let cut = mser5(&ramp).expect("long enough");
        assert!((190..=230).contains(&cut.dropped), "{cut:?}");
        assert!((cut.mean - 20.0).abs() < 0.05 && !cut.at_the_latest, "{cut:?}");
    }

    #[test]
    fn the_cut_is_the_one_that_trying_all_places_finds() {
        for seed in 0..20 {
            let values = noise(100, seed, |place| f64::from(place % 7) / 3.0);
            let batches: Vec<f64> = values.chunks(5).map(|batch| batch.iter().sum::<f64>() / 5.0).collect();
            let measure = |place: usize| {
                let rest = &batches[place..];
                let mean = rest.iter().sum::<f64>() / count(rest.len());
                rest.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count(rest.len() * rest.len())
            };
            let best = (0..=10).min_by(|&a, &b| measure(a).total_cmp(&measure(b))).expect("places");
            assert_eq!(mser5(&values).map(|cut| cut.dropped), Some(best * 5), "seed {seed}");
        }
    }

    #[test]
    fn a_run_that_only_rises_says_that_it_is_too_short() {
        let rising: Vec<f64> = (0..200_u32).map(f64::from).collect();
        assert!(mser5(&rising).expect("long enough").at_the_latest);
        assert_eq!(mser5(&rising[..49]), None);
    }

    #[test]
    fn intervals_of_batches_hold_the_mean_about_as_often_as_they_say() {
        let batches = |seed| batch_means(&noise(2_000, seed, |_| 4.0), 20, 0.95).expect("long enough");
        let holding = (0..100).filter(|&seed| batches(seed).interval.holds(4.0)).count();
        assert!((90..=99).contains(&holding), "{holding} of 100");
        let plain = Moments::of(&noise(2_000, 1, |_| 4.0)).interval(0.95).expect("many values").half_width();
        let ratio = batches(1).interval.half_width() / plain;
        assert!((0.6..1.7).contains(&ratio), "{ratio}");
    }

    #[test]
    fn batches_too_short_for_the_dependence_are_told_by_their_correlation() {
        let slow = noise(400, 2, |place| f64::from(place / 40 % 2) * 10.0);
        assert!(batch_means(&slow, 40, 0.95).expect("long enough").correlation > 0.5);
        assert_eq!(batch_means(&slow, 1, 0.95), None);
        assert_eq!(batch_means(&slow[..3], 4, 0.95), None);
    }
}
