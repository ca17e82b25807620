//! Measures over a whole run: the mean over time, and the footprint of a heap.

use serde::{Deserialize, Serialize};

use super::Ratio;
use crate::Nanos;

/// The mean of a value over simulated time: each value counts for as long as it held.
///
/// Values of the same instant weigh nothing, but the last of them holds from then on: sample after all that happens at an
/// instant, or after each part of it, the mean is the same.
///
/// ```
/// use framesim_models::Nanos;
/// use framesim_models::metrics::TimeWeighted;
/// let mut free = TimeWeighted::new(Nanos(0), 10);
/// free.set(Nanos(30), 2);
/// assert_eq!(format!("{:.2}", free.mean(Nanos(40))), "8.00");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeWeighted {
    start: Nanos,
    since: Nanos,
    value: u64,
    /// Sum of value times nanoseconds, up to `since`.
    sum: u128,
}

impl TimeWeighted {
    /// A value that holds from `start` on.
    #[must_use]
    pub fn new(start: Nanos, value: u64) -> TimeWeighted {
        TimeWeighted { start, since: start, value, sum: 0 }
    }

    /// The value that holds from `now` on; an earlier time than the last counts as that.
    #[inline]
    pub fn set(&mut self, now: Nanos, value: u64) {
        let now = now.max(self.since);
        self.sum += u128::from(self.value) * u128::from(now.0 - self.since.0);
        self.since = now;
        self.value = value;
    }

    /// The mean from the start to `now`; when no time has passed, the value itself.
    #[must_use]
    pub fn mean(&self, now: Nanos) -> Ratio {
        let mut until = self.clone();
        until.set(now, self.value);
        let value = Ratio::new(u128::from(self.value), 1).unwrap_or(Ratio::ZERO);
        Ratio::new(until.sum, u128::from(until.since.0 - until.start.0)).unwrap_or(value)
    }
}

/// How much more memory a heap held than its program had live: the four ratios of Johnstone and Wilson, "The memory
/// fragmentation problem: solved?" (ISMM 1998).
///
/// Always `at_most_live <= of_maxima <= at_most_held`, and all are 1 for a program that never frees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Held and live at the first moment of most live memory.
    most_live: (u64, u64),
    /// Held and live at the first moment of most held memory.
    most_held: (u64, u64),
    /// Sum of millionths of held / live times the weight, and of the weights.
    mean: (u128, u128),
}

impl Footprint {
    /// `held` and `live` bytes that lasted for `weight`: nanoseconds, bytes allocated, or 1 for each event; the caller names
    /// which. Moments without live memory have no ratio and do not count in the mean.
    pub fn record(&mut self, weight: u64, held: u64, live: u64) {
        if live > self.most_live.1 {
            self.most_live = (held, live);
        }
        if held > self.most_held.0 {
            self.most_held = (held, live);
        }
        if let Some(ratio) = Ratio::new(u128::from(held), u128::from(live)) {
            self.mean.0 += u128::from(ratio.ppm()) * u128::from(weight);
            self.mean.1 += u128::from(weight);
        }
    }

    /// Ratio 1: held / live, averaged over all moments. Each moment's ratio is rounded down to a millionth.
    #[must_use]
    pub fn mean(&self) -> Option<Ratio> {
        Ratio::new(self.mean.0, self.mean.1.saturating_mul(1_000_000))
    }

    /// Ratio 2: held / live at the moment of most live memory.
    #[must_use]
    pub fn at_most_live(&self) -> Option<Ratio> {
        ratio(self.most_live.0, self.most_live.1)
    }

    /// Ratio 3: held / live at the moment of most held memory; none when nothing was live then.
    #[must_use]
    pub fn at_most_held(&self) -> Option<Ratio> {
        ratio(self.most_held.0, self.most_held.1)
    }

    /// Ratio 4: most held / most live, at whatever moments.
    #[must_use]
    pub fn of_maxima(&self) -> Option<Ratio> {
        ratio(self.most_held.0, self.most_live.1)
    }
}

fn ratio(held: u64, live: u64) -> Option<Ratio> {
    Ratio::new(u128::from(held), u128::from(live))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_instant_weigh_nothing_but_the_last_goes_on() {
        let mut value = TimeWeighted::new(Nanos(5), 4);
        for spike in [1_000, 7, 2] {
            value.set(Nanos(15), spike);
        }
        assert_eq!(format!("{:.2}", value.mean(Nanos(25))), "3.00");
        assert_eq!(format!("{:.2}", value.mean(Nanos(15))), "4.00");
    }

    #[test]
    fn a_mean_over_no_time_is_the_value() {
        assert_eq!(format!("{}", TimeWeighted::new(Nanos(5), 4).mean(Nanos(5))), "4.0000");
    }

    #[test]
    fn the_four_ratios_of_a_heap_that_keeps_what_it_held() {
        let mut heap = Footprint::default();
        heap.record(1, 100, 100);
        heap.record(1, 120, 50); // most held
        heap.record(2, 110, 104); // most live
        heap.record(1, 110, 0); // no ratio
        let written = [heap.mean(), heap.at_most_live(), heap.at_most_held(), heap.of_maxima()]
            .map(|ratio| format!("{:.3}", ratio.expect("live memory was seen")));
        assert_eq!(written, ["1.379", "1.058", "2.400", "1.154"]);
    }

    #[test]
    fn a_program_that_never_frees_has_four_ratios_of_one() {
        let mut heap = Footprint::default();
        for live in 1..100 {
            heap.record(3, live, live);
        }
        for ratio in [heap.mean(), heap.at_most_live(), heap.at_most_held(), heap.of_maxima()] {
            assert_eq!(ratio.map(Ratio::ppm), Some(1_000_000));
        }
    }

    #[test]
    fn a_heap_that_was_never_used_has_no_ratio() {
        let heap = Footprint::default();
        assert_eq!((heap.mean(), heap.of_maxima()), (None, None));
    }
}
