//! The bootstrap: the spread of a mean, from the values themselves instead of a law.

use framesim_models::Coins;
use framesim_workloads::streams::{Domain, Seeds};

use super::{Interval, count};

/// Resamples of a bootstrap: its own error is then about a hundredth of the interval.
pub const RESAMPLES: u32 = 10_000;

/// Resamples that are added up side by side: additions of one wait for each other, those of several do not.
const ABREAST: usize = 2;
const _: () = assert!((RESAMPLES as usize).is_multiple_of(ABREAST), "resamples come in whole blocks");

/// Sets that are drawn from together: where a draw falls is looked up once for all of them.
const TOGETHER: usize = 8;

/// A number of each set; 0 for those that there are too few of.
type Row = [f64; TOGETHER];

/// Draws that are kept to be used again: 32 MiB of them.
const KEPT_MOST: usize = 1 << 24;

/// The percentile interval of the mean (Efron 1979): the means of [`RESAMPLES`] draws of as many values, with replacement.
///
/// The draws come from `seed` alone: the same values in the same order have the same interval. None for fewer than two values.
///
/// # Panics
/// When `confidence` is not between 0 and 1.
#[must_use]
pub fn bootstrap_mean(values: &[f64], confidence: f64, seed: u64) -> Option<Interval> {
    Bootstrap::new(seed).intervals(&[values], confidence)[0]
}

/// Bootstraps under one seed. Sets of values of equal size have the same draws, which are made once for all of them.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    seed: u64,
    /// Of how many values the draws are.
    values: usize,
    /// Places of [`ABREAST`] resamples after each other: first that of the first draw of each, then that of the second.
    draws: Vec<u16>,
}

impl Bootstrap {
    /// Under this seed.
    #[must_use]
    pub fn new(seed: u64) -> Bootstrap {
        Bootstrap { seed, values: 0, draws: Vec::new() }
    }

    /// As [`bootstrap_mean`], of each set.
    ///
    /// # Panics
    /// When `confidence` is not between 0 and 1.
    pub fn intervals(&mut self, sets: &[impl AsRef<[f64]>], confidence: f64) -> Vec<Option<Interval>> {
        assert!(confidence > 0.0 && confidence < 1.0, "a confidence is between 0 and 1, found {confidence}");
        let sets: Vec<&[f64]> = sets.iter().map(AsRef::as_ref).collect();
        let mut intervals = Vec::with_capacity(sets.len());
        for sets in sets.chunk_by(|one, next| one.len() == next.len()).flat_map(|equal| equal.chunks(TOGETHER)) {
            if sets[0].len() < 2 {
                intervals.extend(sets.iter().map(|_| None));
                continue;
            }
            let means = self.resample(&rows(sets));
            let mut of_set = Vec::with_capacity(means.len());
            for set in 0..sets.len() {
                of_set.clear();
                of_set.extend(means.iter().map(|row| row[set]));
                intervals.push(Some(middle(&mut of_set, confidence)));
            }
        }
        intervals
    }

    /// The means of all resamples.
    fn resample(&mut self, values: &[Row]) -> Vec<Row> {
        let mut resampled = Vec::with_capacity(RESAMPLES as usize);
        if values.len() * RESAMPLES as usize <= KEPT_MOST {
            self.keep_draws(values.len());
            for block in self.draws.chunks_exact(values.len() * ABREAST) {
                resampled.extend(means(values, block));
            }
        } else {
            let (mut coins, mut block) = (self.coins(), vec![0; values.len() * ABREAST]);
            for _ in 0..RESAMPLES as usize / ABREAST {
                draw::<u32>(&mut coins, values.len(), &mut block);
                resampled.extend(means(values, &block));
            }
        }
        resampled
    }

    fn coins(&self) -> Coins {
        Seeds::new(self.seed, 0).coins(Domain::Check, "statistics", "bootstrap")
    }

    fn keep_draws(&mut self, values: usize) {
        if self.values == values {
            return;
        }
        let mut coins = self.coins();
        self.values = values;
        self.draws.clear();
        self.draws.resize(values * RESAMPLES as usize, 0);
        for block in self.draws.chunks_exact_mut(values * ABREAST) {
            draw(&mut coins, values, block);
        }
    }
}

/// A place among values.
trait Place: Copy + TryFrom<u64> {
    fn place(self) -> usize;
}

impl Place for u16 {
    fn place(self) -> usize {
        self.into()
    }
}

impl Place for u32 {
    fn place(self) -> usize {
        self as usize
    }
}

/// Draws the places of some resamples, one resample after the other.
fn draw<P: Place>(coins: &mut Coins, values: usize, block: &mut [P]) {
    for resample in 0..ABREAST {
        for place in block.iter_mut().skip(resample).step_by(ABREAST) {
            *place = P::try_from(coins.below(values as u64)).ok().expect("a place among so many values");
        }
    }
}

/// The first values of all sets, then the second ones.
fn rows(sets: &[&[f64]]) -> Vec<Row> {
    let row = |place: usize| {
        let mut row = [0.0; TOGETHER];
        for (number, set) in row.iter_mut().zip(sets) {
            *number = set[place];
        }
        row
    };
    (0..sets[0].len()).map(row).collect()
}

/// The means of some resamples, each added up in the order of its draws.
fn means<P: Place>(values: &[Row], block: &[P]) -> [Row; ABREAST] {
    let mut sums = [[0.0; TOGETHER]; ABREAST];
    for places in block.chunks_exact(ABREAST) {
        for (sums, place) in sums.iter_mut().zip(places) {
            for (sum, value) in sums.iter_mut().zip(&values[place.place()]) {
                *sum += value;
            }
        }
    }
    sums.map(|sums| sums.map(|sum| sum / count(values.len())))
}

/// What lies between the tails.
fn middle(means: &mut [f64], confidence: f64) -> Interval {
    let tail = (1.0 - confidence) / 2.0 * f64::from(RESAMPLES);
    let beyond = (0..means.len()).take_while(|place| count(*place) + 1.0 < tail).count();
    let (low, high) = (beyond, means.len() - 1 - beyond);
    // Only two places of the sorted means are needed.
    let low = *means.select_nth_unstable_by(low, f64::total_cmp).1;
    let high = *means.select_nth_unstable_by(high, f64::total_cmp).1;
    Interval { low, high }
}

#[cfg(test)]
mod tests {
    use framesim_models::index;

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
    fn draws_that_are_used_again_and_draws_that_are_not_kept_give_the_same() {
        let values: Vec<f64> = (0..2_000_u32).map(|place| f64::from(place * 37 % 101)).collect();
        let plain = |values: &[f64]| {
            let mut coins = Seeds::new(3, 0).coins(Domain::Check, "statistics", "bootstrap");
            let mean = |_| {
                let draws = (0..values.len()).map(|_| values[index(coins.below(values.len() as u64))]);
                draws.fold(0.0, |sum, value| sum + value) / count(values.len())
            };
            let mut means: Vec<f64> = (0..RESAMPLES).map(mean).collect();
            means.sort_unstable_by(f64::total_cmp);
            // 250 of 10,000 are beyond either end.
            Interval { low: means[250], high: means[10_000 - 251] }
        };
        let mut bootstrap = Bootstrap::new(3);
        // Nine of five values are more than are drawn from together.
        let five = (0..9).map(|at| &values[at * 5..][..5]);
        let sets: Vec<&[f64]> = five.chain([&values[..40], &values[..1], &values[5..10], &values]).collect();
        let expected: Vec<_> = sets.iter().map(|set| (set.len() > 1).then(|| plain(set))).collect();
        assert_eq!(bootstrap.intervals(&sets, 0.95), expected);
        assert!(values.len() * RESAMPLES as usize > KEPT_MOST);
    }

    #[test]
    fn the_seed_alone_decides() {
        let values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0];
        assert_eq!(bootstrap_mean(&values, 0.9, 1), bootstrap_mean(&values, 0.9, 1));
        assert_ne!(bootstrap_mean(&values, 0.9, 1), bootstrap_mean(&values, 0.9, 2));
        assert_eq!(bootstrap_mean(&[1.0], 0.9, 1), None);
    }
}
